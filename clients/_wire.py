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
from sightline.naming import STAGES as ENTRY_STAGES

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
TASK_NAME = re.compile(r"[a-z_]{0,32}")
MAX_DESCRIPTION_CHARACTERS = 1 << 20
MAX_LABELS = 65_536
MAX_ROWS = 30_000
STAGES = (*ENTRY_STAGES, "frames")
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
_STAGE = re.compile(rf"(.+?)(?:_v\d+)?_(?:{'|'.join(STAGES)})")

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
class Room:
    """An output and the bytes that it takes at most; None: a text, whose bytes come with the answer."""

    name: str
    size_bytes: int | None = None


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


def image_request(model: str, encoded: bytes, outputs: tuple[Output, ...] = ()) -> Infer:
    """Ask what is in one encoded file."""
    array = np.frombuffer(encoded, np.uint8).reshape(1, -1)
    return Infer(model, (Tensor("IMAGE", "UINT8", array.shape, array),), outputs)


def frame_request(model: str, frame: Frame, region: str = "", outputs: tuple[Output, ...] = ()) -> Infer:
    """Ask what is in one raw frame, which lies in the region where one is named."""
    shape = (1, frame.data.size)
    info = Tensor("FRAME_INFO", "INT32", (1, 4), frame.info.reshape(1, 4))
    if region:
        pixels = Tensor("FRAME", "UINT8", shape, region=region, size_bytes=frame.data.size)
    else:
        pixels = Tensor("FRAME", "UINT8", shape, frame.data.reshape(shape))
    return Infer(f"{model}_frames", (pixels, info), outputs)


def result_area_bytes(rooms: Sequence[Room]) -> int:
    """Room for the results of one frame."""
    return sum(_aligned(room.size_bytes) for room in rooms)


def shared_outputs(region: str, offset: int, rooms: Sequence[Room]) -> tuple[Output, ...]:
    """The outputs of a frame's request, one behind the other in the region; those without room stay on the socket."""
    outputs = []
    for room in rooms:
        is_there = room.size_bytes is not None
        outputs.append(
            Output(room.name, region, offset, room.size_bytes or 0) if is_there else Output(room.name)
        )
        offset += _aligned(room.size_bytes)
    return tuple(outputs)


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


def _aligned(size_bytes: int | None) -> int:
    return -(-(size_bytes or 0) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


@dataclass(frozen=True)
class Description:
    """What a model tells of itself; '' and 0 where it does not.

    rows: the most objects that it answers with. top: the most classes that it answers with.
    """

    labels: tuple[str, ...] = ()
    rows: int = 0
    task: str = ""
    top: int = 0


def description_from_parameters(parameters: Mapping[str, str]) -> Description:
    """Task, labels and limits out of a model's configuration; none where it has none. Raises ProtocolError."""
    text = parameters.get("sightline", "")
    if not text:
        return Description()
    if len(text) > MAX_DESCRIPTION_CHARACTERS:
        raise ProtocolError(
            f"the model describes itself in {len(text)} characters; at most {MAX_DESCRIPTION_CHARACTERS}"
        )
    try:
        told = json.loads(text)
        labels, task = told.get("labels", []), told.get("task", "")
        limits = told.get("limits")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"the model's description is not a JSON object: {error}") from error
    if (
        not isinstance(labels, list)
        or len(labels) > MAX_LABELS
        or not all(isinstance(v, str) for v in labels)
    ):
        raise ProtocolError(f"the model's labels must be a list of at most {MAX_LABELS} texts")
    if not isinstance(task, str) or not TASK_NAME.fullmatch(task):
        raise ProtocolError("the model's task must be a short word")
    return Description(
        tuple(labels), _limit(limits, "detections", MAX_ROWS), task, _limit(limits, "top", MAX_LABELS)
    )


def _limit(limits: Any, name: str, most: int) -> int:
    value = limits.get(name) if isinstance(limits, dict) else 0
    return value if type(value) is int and 0 < value <= most else 0


def public_models(names: Sequence[str]) -> list[str]:
    """The models that people ask for: stages of another model in the list (NAME_STAGE, NAME_vN_STAGE) are left out."""
    known = set(names)
    return sorted(name for name in known if not _is_stage(name, known))


def _is_stage(name: str, known: set[str]) -> bool:
    match = _STAGE.fullmatch(name)
    return match is not None and match[1] in known
