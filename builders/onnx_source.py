# SPDX-License-Identifier: Apache-2.0
"""Opens a user's ONNX file without trusting it.

The result is self-contained: weights kept outside the file are read here, once, from inside the model's
folder, so that no later step (and no race with a changed link) opens a path that the file names.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sightline.builders.external_data import embed_external_data
from sightline.errors import MissingDependencyError, ModelFileError

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

MAX_MODEL_BYTES = (1 << 31) - 1  # protobuf's own limit for one message
MAX_NAMES_BYTES = 1 << 18
MAX_SIDE_PIXELS = 8192

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
    """Name and shape of an input or output; None where the file leaves a dimension open."""

    name: str
    dims: Dims
    element: str


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
    def exported_labels(self) -> tuple[str, ...]:
        """Class names that an Ultralytics export carries; empty where there are none that can be used."""
        return labels_from_names(self.metadata.get("names", ""))


def open_onnx(path: Path) -> OnnxSource:
    """Read and check an ONNX file with one image input.

    Raises ModelFileError for a file that is missing, no ONNX, too large, has weights outside its folder,
    or does not take one 3-channel image.
    """
    onnx = _import_onnx()
    content = _read(path)
    digest = hashlib.sha256(content)
    model = _parse(onnx, path, content)
    if embed_external_data(model, path.parent, digest, MAX_MODEL_BYTES):
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
            "the package 'onnx' is not installed; run: pip install 'sightline[server]'"
        ) from error
    return onnx


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MODEL_BYTES + 1)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"model file {path} does not exist; check the path or the card's 'source'"
        ) from error
    except OSError as error:
        raise ModelFileError(f"model file {path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_MODEL_BYTES:
        raise ModelFileError(f"{path} is larger than {MAX_MODEL_BYTES} bytes, the limit of the ONNX format")
    return content


def _parse(onnx: Any, path: Path, content: bytes) -> ModelProto:
    from google.protobuf.message import DecodeError

    for start, hint in _KNOWN_STARTS:
        if content.startswith(start):
            raise ModelFileError(f"{path} is not an ONNX model: {hint}")
    model: ModelProto = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ModelFileError(
            f"{path} is not an ONNX model, or it is cut off ({len(content)} bytes). {EXPORT_HINT}"
        ) from error
    if not model.graph.node or not model.opset_import:
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
            f"{path} has {len(inputs)} inputs ({_listed(inputs)}); Sightline needs one image input"
        )
    tensor = inputs[0]
    if tensor.element not in ("FLOAT", "FLOAT16"):
        raise ModelFileError(
            f"input '{tensor.name}' of {path} is {tensor.element}; it must be FLOAT or FLOAT16"
        )
    if len(tensor.dims) == 4 and tensor.dims[1] == 3:
        layout: Literal["NCHW", "NHWC"] = "NCHW"
    elif len(tensor.dims) == 4 and tensor.dims[3] == 3:
        layout = "NHWC"
    else:
        raise ModelFileError(
            f"input '{tensor.name}' of {path} has shape {shape_text(tensor.dims)}; "
            "it must be (N, 3, height, width) or (N, height, width, 3)"
        )
    if any(side is not None and not 8 <= side <= MAX_SIDE_PIXELS for side in tensor.dims[1:] if side != 3):
        raise ModelFileError(
            f"input of {path} has shape {shape_text(tensor.dims)}; sides must be 8..{MAX_SIDE_PIXELS}"
        )
    return tensor, layout


def _tensor_info(onnx: Any, value: ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    dims = tuple(
        d.dim_value if d.WhichOneof("value") == "dim_value" and d.dim_value > 0 else None
        for d in kind.shape.dim
    )
    known = kind.elem_type in onnx.TensorProto.DataType.values()
    return TensorInfo(
        value.name, dims, onnx.TensorProto.DataType.Name(kind.elem_type) if known else "unknown"
    )


def _listed(tensors: list[TensorInfo]) -> str:
    return ", ".join(_described(tensors)) or "none"


def _described(tensors: list[TensorInfo]) -> Iterator[str]:
    for tensor in tensors:
        yield f"{tensor.name} {shape_text(tensor.dims)}"


def shape_text(dims: Dims) -> str:
    """A shape for people, such as "(N, 3, 640, 640)"; '?' is an open dimension, a first open one is N."""
    parts = [
        "N" if index == 0 and dim is None else "?" if dim is None else str(dim)
        for index, dim in enumerate(dims)
    ]
    return f"({', '.join(parts)})"
