# SPDX-License-Identifier: Apache-2.0
"""Opens a user's ONNX file without trusting it.

The result is self-contained: weights kept outside the file are read here, once, from inside the model's
folder, so that no later step (and no race with a changed link) opens a path that the file names. What it claims is
checked (onnx_checks) before any parser in C++ that trusts its files sees it.
"""

from __future__ import annotations

import ast
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sightline.builders.external_data import embed_external_data
from sightline.builders.onnx_checks import check_graph, check_wire
from sightline.builders.onnx_checks.names import quoted
from sightline.builders.onnx_checks.wire import WireError
from sightline.errors import MissingDependencyError, ModelFileError

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

MAX_MODEL_BYTES = (1 << 31) - 1  # protobuf's own limit for one message
MAX_NAMES_BYTES = 1 << 18
MAX_SIDE_PIXELS = 8192
_START_BYTES = 4096
_FIRST_BYTES = (
    frozenset(  # fields of a model, of their right type: the exporters begin with ir_version (0x08)
        (0x08, 0x28, *(number << 3 | 2 for number in (2, 3, 4, 6, 7, 8, 14)))
    )
)

EXPORT_HINT = "Export it with: yolo export model=MODEL.pt format=onnx"
_KNOWN_STARTS = (
    (b"PK\x03\x04", f"it is a zip archive, as PyTorch saves (.pt). {EXPORT_HINT}"),
    (b"\x80", f"it looks like a Python pickle, which Sightline never opens. {EXPORT_HINT}"),
    (b"version https://git-lfs", "it is a Git LFS pointer; fetch the real file with: git lfs pull"),
    (b"<", "it looks like XML or HTML, perhaps a saved error page; download it again"),
    (b"\x89HDF", "it is an HDF5 (Keras) file; export the model to ONNX first"),
    (b"\xff\xd8\xff", "it is a JPEG picture"),
)

Dims = tuple[int | None, ...]


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and data type of an input or output; dims: None where the file leaves one open.

    ranked: False where the file does not even say how many dimensions there are; dims is () then.
    """

    name: str
    dims: Dims
    element: str
    ranked: bool = True


@dataclass(frozen=True)
class OnnxSource:
    """A checked ONNX model. `content` holds the whole model, external weights included."""

    path: Path
    content: bytes = field(repr=False)
    sha256: str
    input: TensorInfo
    layout: Literal["NCHW", "NHWC"]
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str] = field(repr=False)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the input in pixels; None where the model accepts several."""
        height, width = self.input.dims[2:] if self.layout == "NCHW" else self.input.dims[1:3]
        return None if width is None or height is None else (width, height)

    @property
    def exported_size(self) -> tuple[int, int] | None:
        """The input's width and height; where open, what the exporter noted in `imgsz` ([height, width])."""
        if self.size:
            return self.size
        noted = _literal(self.metadata.get("imgsz", ""))
        if isinstance(noted, (list, tuple)) and len(noted) == 2 and all(type(v) is int for v in noted):
            height, width = noted
            if 8 <= width <= MAX_SIDE_PIXELS and 8 <= height <= MAX_SIDE_PIXELS:
                return width, height
        return None

    @property
    def takes_bytes(self) -> bool:
        """Whether the network wants pixels as bytes, 0..255, so that the card's mean must be 0 and its std 1."""
        return self.input.element == "UINT8"

    @property
    def exported_labels(self) -> tuple[str, ...]:
        """Class names that an Ultralytics export carries; empty where there are none that can be used."""
        return labels_from_names(self.metadata.get("names", ""))


def open_onnx(path: Path) -> OnnxSource:
    """Read and check an ONNX file with one image input.

    Raises ModelFileError, which names the node, weight or field, for a file that is missing, no ONNX, damaged, too large,
    of a version that is not read, has custom operators, weights outside its folder, or does not take one 3-channel image.
    Time and memory grow with the file's size alone, whatever it claims.
    """
    onnx = _import_onnx()
    content = _read(path)
    digest = hashlib.sha256(content)
    model = _parse(onnx, path, content)
    changed = len(model.training_info) > 0
    changed |= embed_external_data(model, path.parent, digest, MAX_MODEL_BYTES)
    try:
        changed |= check_graph(model)
    except ModelFileError as error:
        raise ModelFileError(f"{path} cannot be used: {error}") from error
    if changed:
        content = _serialize(model, path)
    tensor, layout = _image_input(onnx, model, path)
    outputs = tuple(_tensor_info(onnx, value) for value in model.graph.output)
    if not outputs:
        raise ModelFileError(f"{path} has no outputs; export the model again")
    metadata = {item.key: item.value for item in model.metadata_props}
    return OnnxSource(path, content, digest.hexdigest(), tensor, layout, outputs, metadata)


def labels_from_names(text: str) -> tuple[str, ...]:
    """Class names from a Python literal such as "{0: 'car', 1: 'bus'}", never evaluated as code.

    Empty where the text is no such literal. Repeated names get their number so that labels stay unique.
    """
    names = _literal(text)
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(len(names))):
        return ()
    labels: list[str] = []
    for index in range(len(names)):
        label = str(names[index]).strip()
        labels.append(label if label and label not in labels else f"{label or 'class'}_{index}")
    return tuple(labels)


def _literal(text: str) -> Any:
    if not text or len(text) > MAX_NAMES_BYTES:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            "the package 'onnx' is not installed; run: pip install 'sightline[build]'"
        ) from error
    return onnx


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not make us wait
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise ModelFileError(f"model file {path} cannot be read: it is not a plain file")
            if info.st_size > MAX_MODEL_BYTES:
                raise ModelFileError(
                    f"{path} is larger than {MAX_MODEL_BYTES} bytes, the limit of the ONNX format"
                )
            _check_start(path, file.read(_START_BYTES), info.st_size)
            file.seek(0)
            return file.read(info.st_size)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"model file {path} does not exist; check the path or the card's 'source'"
        ) from error
    except OSError as error:
        raise ModelFileError(f"model file {path} cannot be read: {error.strerror}") from error


def _check_start(path: Path, start: bytes, size: int) -> None:
    """Refuses what is no ONNX by its first bytes, before the rest is read."""
    for known, hint in _KNOWN_STARTS:
        if start.startswith(known):
            raise ModelFileError(f"{path} is not an ONNX model: {hint}")
    if start and start[0] not in _FIRST_BYTES:
        raise ModelFileError(f"{path} is not an ONNX model, or it is cut off ({size} bytes). {EXPORT_HINT}")


def _parse(onnx: Any, path: Path, content: bytes) -> ModelProto:
    from google.protobuf.message import DecodeError

    model: ModelProto = onnx.ModelProto()
    try:
        check_wire(content)
        model.ParseFromString(content)
    except WireError as error:
        raise ModelFileError(f"{path} is not an ONNX model: {error}. {EXPORT_HINT}") from error
    except DecodeError as error:
        raise ModelFileError(
            f"{path} is not an ONNX model, or it is cut off ({len(content)} bytes). {EXPORT_HINT}"
        ) from error
    if not model.graph.node:
        raise ModelFileError(
            f"{path} is not an ONNX model: it has no graph ({len(content)} bytes). {EXPORT_HINT}"
        )
    return model


def _serialize(model: ModelProto, path: Path) -> bytes:
    try:
        return bytes(model.SerializeToString())
    except ValueError as error:  # protobuf refuses messages over 2 GiB
        raise ModelFileError(f"{path} with its external weights exceeds {MAX_MODEL_BYTES} bytes") from error


def _image_input(onnx: Any, model: ModelProto, path: Path) -> tuple[TensorInfo, Literal["NCHW", "NHWC"]]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [_tensor_info(onnx, value) for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ModelFileError(
            f"{path} has {len(inputs)} inputs ({_listed(inputs[:8])}); Sightline needs one image input. "
            "Export the model so that all else is inside, or serve one branch"
        )
    tensor = inputs[0]
    if tensor.element not in ("FLOAT", "FLOAT16", "UINT8"):
        raise ModelFileError(
            f"input {quoted(tensor.name)} of {path} is {tensor.element}; it must be FLOAT, FLOAT16 or UINT8. "
            "Export the model with a float32 image as input"
        )
    if not tensor.ranked:
        raise ModelFileError(
            f"input {quoted(tensor.name)} of {path} has a dynamic rank: the file does not say how many dimensions it has. "
            "Export the model with an input of shape (N, 3, height, width)"
        )
    if len(tensor.dims) == 4 and tensor.dims[1] == 3:
        layout: Literal["NCHW", "NHWC"] = "NCHW"
    elif len(tensor.dims) == 4 and tensor.dims[3] == 3:
        layout = "NHWC"
    else:
        raise ModelFileError(
            f"input {quoted(tensor.name)} of {path} has shape {shape_text(tensor.dims)}; "
            "it must be (N, 3, height, width) or (N, height, width, 3)"
        )
    if any(side is not None and not 8 <= side <= MAX_SIDE_PIXELS for side in tensor.dims[1:] if side != 3):
        raise ModelFileError(
            f"input of {path} has shape {shape_text(tensor.dims)}; sides must be 8..{MAX_SIDE_PIXELS}"
        )
    return tensor, layout


def _tensor_info(onnx: Any, value: ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    form = value.type.WhichOneof("value")
    if form != "tensor_type":
        return TensorInfo(value.name, (), (form or "unknown").removesuffix("_type").upper(), ranked=False)
    dims = tuple(_dim(d) for d in kind.shape.dim)
    known = kind.elem_type in onnx.TensorProto.DataType.values()
    element = onnx.TensorProto.DataType.Name(kind.elem_type) if known else "UNKNOWN"
    return TensorInfo(value.name, dims, element, ranked=kind.HasField("shape"))


def _dim(dim: Any) -> int | None:
    """A dimension's size; None where it is a name, left out, or one of the numbers (0, -1) that some write for open."""
    return dim.dim_value if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0 else None


def _listed(tensors: list[TensorInfo]) -> str:
    return ", ".join(_described(tensors)) or "none"


def _described(tensors: list[TensorInfo]) -> Iterator[str]:
    for tensor in tensors:
        yield f"{quoted(tensor.name)} {tensor.element} {shape_text(tensor.dims)}"


def shape_text(dims: Dims) -> str:
    """A shape for people, such as "(N, 3, 640, 640)"; '?' is an open dimension, a first open one is N."""
    parts = [
        "N" if index == 0 and dim is None else "?" if dim is None else str(dim)
        for index, dim in enumerate(dims)
    ]
    return f"({', '.join(parts)})"
