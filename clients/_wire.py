# SPDX-License-Identifier: Apache-2.0
"""The wire contract without any I/O: what is asked, and what the answers mean."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BadInputError, ProtocolError
from sightline.frame import Frame
from sightline.results import Detections

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
MAX_DESCRIPTION_CHARACTERS = 1 << 20
MAX_LABELS = 65_536
MAX_ROWS = 30_000
STAGES = ("decode", "letterbox", "network", "postprocess", "frames")
ERROR_PREFIX = re.compile(r"\[bad_(?:image|frame)\]\s*")

ALIGNMENT_BYTES = 64
NUMPY_TYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
_RESULT_ROWS = (("BOXES", 16), ("SCORES", 4), ("CLASSES", 4))  # bytes of a row

Answer = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Tensor:
    """One input; its bytes are `array`, or the first `size_bytes` of a registered region."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: NDArray[Any] | None = field(default=None, repr=False)
    region: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class Output:
    """One output that is asked for; with a region its bytes go there, from `offset`, at most `size_bytes`."""

    name: str
    region: str = ""
    offset: int = 0
    size_bytes: int = 0


@dataclass(frozen=True)
class Infer:
    """Run a model; answered with its outputs by name: all of them, or those that are asked for.

    An output that went to a region is answered with a Placed.
    """

    model: str
    tensors: tuple[Tensor, ...]
    outputs: tuple[Output, ...] = ()

    @property
    def names_in_regions(self) -> frozenset[str]:
        """The outputs whose bytes do not come with the answer."""
        return frozenset(output.name for output in self.outputs if output.region)


@dataclass(frozen=True)
class Placed:
    """Type and shape of an output whose bytes lie in a region."""

    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Describe:
    """Ask for a model's configuration; answered with its string parameters."""

    model: str


@dataclass(frozen=True)
class Ready:
    """Ask whether the server, or one model, is ready; answered with a bool."""

    model: str = ""


@dataclass(frozen=True)
class Index:
    """Ask for the names of all models; answered with a list."""

    token: str = field(repr=False)
    model: str = ""


@dataclass(frozen=True)
class Register:
    """Tell the server of a shared-memory region."""

    region: str
    key: str
    size_bytes: int
    token: str = field(repr=False)
    model: str = ""


@dataclass(frozen=True)
class Unregister:
    """Tell the server to forget a shared-memory region."""

    region: str
    token: str = field(repr=False)
    model: str = ""


@dataclass(frozen=True)
class Pause:
    """Wait; answered with None."""

    seconds: float
    model: str = ""


Operation = Pause | Infer | Describe | Ready | Index | Register | Unregister


def checked_model(name: str) -> str:
    """The name when it is one that a server can have. Raises BadInputError."""
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
        raise BadInputError(f"model is {name!r}; a name has only letters, digits, '_', '-' and '.'")
    return name


def image_request(model: str, encoded: bytes) -> Infer:
    """Ask for the detections of one encoded file."""
    array = np.frombuffer(encoded, np.uint8).reshape(1, -1)
    return Infer(model, (Tensor("IMAGE", "UINT8", array.shape, array),))


def frame_request(model: str, frame: Frame, region: str = "", outputs: tuple[Output, ...] = ()) -> Infer:
    """Ask for the detections of one raw frame, which lies in the region where one is named."""
    shape = (1, frame.data.size)
    info = Tensor("FRAME_INFO", "INT32", (1, 4), frame.info.reshape(1, 4))
    if region:
        pixels = Tensor("FRAME", "UINT8", shape, region=region, size_bytes=frame.data.size)
    else:
        pixels = Tensor("FRAME", "UINT8", shape, frame.data.reshape(shape))
    return Infer(f"{model}_frames", (pixels, info), outputs)


def result_area_bytes(rows: int) -> int:
    """Room for the results of one frame with so many objects at most."""
    return sum(_aligned(rows * size) for _, size in _RESULT_ROWS) + ALIGNMENT_BYTES


def shared_outputs(region: str, offset: int, rows: int) -> tuple[Output, ...]:
    """The outputs of a frame's request, one behind the other in the region; ERROR, a text, stays on the socket."""
    outputs = [Output("COUNT", region, offset, 4)]
    offset += ALIGNMENT_BYTES
    for name, size in _RESULT_ROWS:
        outputs.append(Output(name, region, offset, rows * size))
        offset += _aligned(rows * size)
    return (*outputs, Output("ERROR"))


def answer_from_region(
    answer: Mapping[str, Any], outputs: Sequence[Output], data: NDArray[np.uint8]
) -> Answer:
    """The answer with copies of what lies in the region. Raises ProtocolError where it cannot lie there."""
    whole = dict(answer)
    for output in outputs:
        placed = whole.get(output.name)
        if isinstance(placed, Placed):
            whole[output.name] = _array_at(data, output, placed)
    return whole


def array_from_bytes(name: str, placed: Placed, data: Any) -> NDArray[Any]:
    """An output out of its bytes, without a copy; texts become an object array of bytes. Raises ProtocolError."""
    try:
        if placed.datatype == "BYTES":
            return np.array(_texts(bytes(data)), dtype=object).reshape(placed.shape)
        return np.frombuffer(data, NUMPY_TYPES[placed.datatype]).reshape(placed.shape)
    except (KeyError, ValueError) as error:
        raise ProtocolError(
            f"{name} is {placed.datatype} of shape {placed.shape} in {len(data)} bytes: {error}"
        ) from error


def _texts(data: bytes) -> list[bytes]:
    """Each text follows its length, four bytes, little-endian."""
    texts, start = [], 0
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        texts.append(data[start + 4 : end])
        start = end
    return texts


def _array_at(data: NDArray[np.uint8], output: Output, placed: Placed) -> NDArray[Any]:
    dtype = NUMPY_TYPES.get(placed.datatype)
    if dtype is None or any(extent < 0 for extent in placed.shape):
        raise ProtocolError(
            f"{output.name} is {placed.datatype} of shape {placed.shape}; it cannot be shared"
        )
    size_bytes = math.prod(placed.shape) * dtype.itemsize
    if size_bytes > output.size_bytes:
        raise ProtocolError(f"{output.name} has {size_bytes} bytes; there was room for {output.size_bytes}")
    return data[output.offset : output.offset + size_bytes].view(dtype).reshape(placed.shape).copy()


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


@dataclass(frozen=True)
class Description:
    """What a model tells of itself. rows: the most objects that it answers with, 0 where it does not say."""

    labels: tuple[str, ...] = ()
    rows: int = 0


def description_from_parameters(parameters: Mapping[str, str]) -> Description:
    """Labels and limits out of a model's configuration; none where it has none. Raises ProtocolError."""
    text = parameters.get("sightline", "")
    if not text:
        return Description()
    if len(text) > MAX_DESCRIPTION_CHARACTERS:
        raise ProtocolError(
            f"the model describes itself in {len(text)} characters; at most {MAX_DESCRIPTION_CHARACTERS}"
        )
    try:
        told = json.loads(text)
        labels = told.get("labels", [])
        limits = told.get("limits")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"the model's description is not a JSON object: {error}") from error
    if (
        not isinstance(labels, list)
        or len(labels) > MAX_LABELS
        or not all(isinstance(v, str) for v in labels)
    ):
        raise ProtocolError(f"the model's labels must be a list of at most {MAX_LABELS} texts")
    rows = limits.get("detections") if isinstance(limits, dict) else 0
    return Description(tuple(labels), rows if isinstance(rows, int) and 0 < rows <= MAX_ROWS else 0)


def public_models(names: Sequence[str]) -> list[str]:
    """The models that people ask for: stages of another model in the list are left out."""
    known = set(names)
    stages = {f"{name}_{stage}" for name in known for stage in STAGES}
    return sorted(known - stages)


def detections_from_answer(answer: Answer, labels: tuple[str, ...]) -> list[Detections | BadInputError]:
    """One result for each item of the request. Raises ProtocolError when the answer breaks the contract.

    A count of -1 marks an item that could not be used; its place holds the error.
    """
    counts = _output(answer, "COUNT", np.int32, 2)
    items = len(counts)
    boxes = _output(answer, "BOXES", np.float32, 3)
    scores = _output(answer, "SCORES", np.float32, 2)
    classes = _output(answer, "CLASSES", np.int32, 2)
    rows = scores.shape[1]
    if (
        counts.shape != (items, 1)
        or boxes.shape != (items, rows, 4)
        or not (scores.shape == classes.shape == (items, rows))
    ):
        raise ProtocolError(
            f"the answer's shapes do not fit: COUNT {counts.shape}, BOXES {boxes.shape}, "
            f"SCORES {scores.shape}, CLASSES {classes.shape}"
        )
    results: list[Detections | BadInputError] = []
    for item, count in enumerate(counts[:, 0].tolist()):
        if count == -1:
            results.append(BadInputError(_item_error(answer, item)))
        elif 0 <= count <= rows:
            results.append(
                Detections(boxes[item, :count], scores[item, :count], classes[item, :count], labels)
            )
        else:
            raise ProtocolError(f"the answer counts {count} objects but has {rows} rows")
    return results


def _output(answer: Answer, name: str, dtype: type[np.generic], dimensions: int) -> NDArray[Any]:
    array = answer.get(name)
    if array is None:
        raise ProtocolError(f"the answer has no {name}; it has {', '.join(answer) or 'nothing'}")
    if array.size == 0 and array.ndim == dimensions:
        return array.astype(dtype)  # an empty array over HTTP has lost its type
    if array.dtype != dtype or array.ndim != dimensions:
        raise ProtocolError(
            f"{name} is {array.dtype} of {array.ndim} dimensions; "
            f"it must be {np.dtype(dtype)} of {dimensions}"
        )
    return array


def _item_error(answer: Answer, item: int) -> str:
    try:
        text = answer["ERROR"].reshape(-1)[item]
    except (KeyError, IndexError):
        return "the server could not use this image"
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return ERROR_PREFIX.sub("", str(text)) or "the server could not use this image"
