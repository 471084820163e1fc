# SPDX-License-Identifier: Apache-2.0
"""Reads the weights that an ONNX file keeps in other files, and nothing else.

A location must be a relative path inside the model's folder, without '..', links or special files. Every part of
the path is opened relative to the open folder before it with O_NOFOLLOW, so that a link put there in the meantime is
refused too. Background: the onnx package's advisories CVE-2022-25882, CVE-2024-27318 and CVE-2024-5187.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from sightline.builders.onnx_checks.tensors import MAX_RANK
from sightline.errors import ModelFileError

if TYPE_CHECKING:
    import onnx

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def embed_external_data(model: onnx.ModelProto, folder: Path, digest: Any, max_bytes: int) -> bool:
    """Move external weights into the model; tell whether there were any.

    The bytes are added to `digest`, a hashlib object. Raises ModelFileError for a location outside `folder`, a
    missing or short file, or more than `max_bytes` in all.
    """
    import onnx

    model.ClearField("training_info")
    total = 0
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
            continue
        content = _external_bytes(tensor, folder, max_bytes - total)
        total += len(content)
        digest.update(content)
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT
        tensor.raw_data = content
    return total > 0


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)
        yield from _attribute_tensors(function.attribute_proto)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _sparse_tensors(graph.sparse_initializer)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        yield from _attribute_tensors(node.attribute)


def _attribute_tensors(attributes: Any) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("sparse_tensor"):
            yield from _sparse_tensors([attribute.sparse_tensor])
        yield from _sparse_tensors(attribute.sparse_tensors)
        if attribute.HasField("g"):
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)


def _sparse_tensors(sparse: Any) -> Iterator[onnx.TensorProto]:
    for tensor in sparse:
        yield tensor.values
        yield tensor.indices


def _external_bytes(tensor: onnx.TensorProto, folder: Path, max_bytes: int) -> bytes:
    fields = {item.key: item.value for item in tensor.external_data}
    parts = _safe_parts(tensor.name, fields.get("location", ""))
    offset = _number(tensor.name, "offset", fields.get("offset", "0"))
    expected = _tensor_bytes(tensor)
    length = _number(tensor.name, "length", fields.get("length", str(expected)))
    if length != expected:
        raise ModelFileError(
            f"weights '{tensor.name}' claim {length} external bytes; their shape needs {expected}"
        )
    if length > max_bytes:
        raise ModelFileError(
            f"weights '{tensor.name}' need {length} bytes; the model as a whole may not exceed 2 GiB"
        )
    descriptor = _open_inside(folder, parts, tensor.name)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if offset + length > size:
            raise ModelFileError(
                f"{'/'.join(parts)} has too few bytes for weights '{tensor.name}' ({length} from {offset}, it has {size}); "
                "copy the whole export again"
            )
        file.seek(offset)
        content = file.read(length)
    if len(content) != length:
        raise ModelFileError(
            f"{'/'.join(parts)} became shorter while weights '{tensor.name}' were read; copy the whole export again"
        )
    return content


def _safe_parts(name: str, location: str) -> tuple[str, ...]:
    path = PurePosixPath(location)
    if (
        not path.parts
        or path.is_absolute()
        or PureWindowsPath(location).is_absolute()
        or "\\" in location
        or "\0" in location
        or ".." in path.parts
    ):
        raise ModelFileError(
            f"weights '{name}' lie in {location!r}; only files inside the model's own folder are opened. "
            "Save the model as a single file, or move the file next to it"
        )
    return path.parts


def _open_inside(folder: Path, parts: tuple[str, ...], name: str) -> int:
    """Descriptor of a regular file below `folder`; no part of the path may be a link."""
    current = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER_FLAGS, dir_fd=current)
            os.close(current)
            current = inner
        descriptor = os.open(parts[-1], _FILE_FLAGS, dir_fd=current)
    except OSError as error:
        raise ModelFileError(
            f"external weights {'/'.join(parts)!r} of '{name}' cannot be opened in {folder} "
            f"({error.strerror}); "
            "links are not followed, copy the file itself"
        ) from error
    finally:
        os.close(current)
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
        os.close(descriptor)
        raise ModelFileError(
            f"external weights {'/'.join(parts)!r} must be a plain file without hard links; copy it"
        )
    return descriptor


def _number(name: str, key: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ModelFileError(f"weights '{name}' have the external {key} {text!r}; it must be a whole number")
    return int(text)


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    import onnx

    try:
        bits = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"weights '{tensor.name}' have the unknown data type {tensor.data_type}"
        ) from error
    if len(tensor.dims) > MAX_RANK or any(dim < 0 for dim in tensor.dims):
        raise ModelFileError(
            f"weights '{tensor.name}' have the shape {list(tensor.dims)[:8]}; "
            f"at most {MAX_RANK} sizes, none negative, are read"
        )
    return int(prod(tensor.dims)) * bits // 8
