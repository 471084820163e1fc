# SPDX-License-Identifier: Apache-2.0
"""Weights that are what they claim, and constants that do not ask for impossible sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from sightline.builders.onnx_checks.names import attribute, node_text, quoted
from sightline.errors import ModelFileError

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

MAX_ELEMENTS = 1 << 29  # of a tensor that constants ask for: 2 GiB of float32
MAX_RANK = 16
MAX_LOOP = 100_000
MAX_STEP = 1 << 16  # strides, kernels, paddings
_BITS = {
    "FLOAT": 32, "UINT8": 8, "INT8": 8, "UINT16": 16, "INT16": 16, "INT32": 32, "INT64": 64, "BOOL": 8, "FLOAT16": 16,
    "DOUBLE": 64, "UINT32": 32, "UINT64": 64, "BFLOAT16": 16, "FLOAT8E4M3FN": 8, "FLOAT8E4M3FNUZ": 8,
    "FLOAT8E5M2": 8, "FLOAT8E5M2FNUZ": 8, "UINT4": 4, "INT4": 4,
}  # fmt: skip
_FIELDS = {
    "FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data", "UINT64": "uint64_data",
    "UINT32": "uint64_data",
}  # fmt: skip
_STEPS = ("strides", "dilations", "kernel_shape")


def check_tensor(tensor: TensorProto) -> None:
    """Raises ModelFileError where the type cannot be used or the data does not have the size that the shape claims."""
    import onnx

    known = tensor.data_type in onnx.TensorProto.DataType.values()
    kind = onnx.TensorProto.DataType.Name(tensor.data_type) if known else str(tensor.data_type)
    if kind not in _BITS:
        hint = (
            "a vision network has no texts" if kind == "STRING" else "export the model in float32 or float16"
        )
        raise ModelFileError(
            f"weights {quoted(tensor.name)} are of the type {kind}, which is not read: {hint}"
        )
    if len(tensor.dims) > MAX_RANK or any(dim < 0 for dim in tensor.dims):
        raise ModelFileError(
            f"weights {quoted(tensor.name)} have the shape {list(tensor.dims)[:8]}; "
            f"at most {MAX_RANK} sizes, none negative, are read"
        )
    elements, has = prod(tensor.dims), _elements(tensor, kind)
    if elements != has:
        raise ModelFileError(
            f"weights {quoted(tensor.name)} claim the shape {list(tensor.dims)[:8]}, which is {elements} values; "
            f"the file has {has} for them. It is damaged: export the model again"
        )


def _elements(tensor: TensorProto, kind: str) -> int:
    if tensor.HasField("raw_data"):
        bits = len(tensor.raw_data) * 8
        if _BITS[kind] == 4 and prod(tensor.dims) % 2:
            bits -= 4
        return bits // _BITS[kind] if bits % _BITS[kind] == 0 else -1
    values = len(getattr(tensor, _FIELDS.get(kind, "int32_data")))
    return values * 2 - prod(tensor.dims) % 2 if _BITS[kind] == 4 else values


# ---------------------------------------------------------------- what constants ask for


def constants_of(graph: Any) -> dict[str, TensorProto]:
    """Weights and Constant nodes with whole numbers or few values, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if value is not None and node.output:
            found[node.output[0]] = value.t
    return {
        name: tensor for name, tensor in found.items() if len(tensor.dims) <= 1 and sum(tensor.dims) <= 64
    }


def check_sizes(node: NodeProto, constants: Mapping[str, TensorProto]) -> None:
    """Raises ModelFileError for a node whose constants ask for a huge tensor or an endless loop."""
    for name in _STEPS:
        item = attribute(node, name)
        if item is not None and any(not 1 <= value <= MAX_STEP for value in item.ints):
            raise ModelFileError(
                f"{node_text(node)} has {name} {list(item.ints)[:8]}; they must lie in 1..{MAX_STEP}"
            )
    item = attribute(node, "pads")
    if item is not None and any(abs(value) > MAX_STEP for value in item.ints):
        raise ModelFileError(f"{node_text(node)} has pads {list(item.ints)[:8]}; at most {MAX_STEP} is read")
    check = _CHECKS.get(node.op_type)
    if check is not None:
        check(node, [_numbers(constants.get(name)) for name in node.input])


def _numbers(tensor: TensorProto | None) -> list[float] | None:
    """The values of a small constant; None where they are not known."""
    if tensor is None:
        return None
    import onnx

    try:
        return [float(value) for value in onnx.numpy_helper.to_array(tensor).reshape(-1)]
    except (ValueError, TypeError, KeyError, RuntimeError, OverflowError):
        return None


Inputs = list[list[float] | None]


def _refuse(node: NodeProto, values: Iterable[float]) -> None:
    shown = ", ".join(f"{value:g}" for value in list(values)[:8])
    raise ModelFileError(
        f"{node_text(node)} asks for a tensor of [{shown}], more than {MAX_ELEMENTS} values; export the model again"
    )


def _product(inputs: Inputs, index: int) -> list[float] | None:
    values = inputs[index] if index < len(inputs) else None
    if values is None:
        return None
    return values if prod(max(abs(value), 1.0) for value in values) > MAX_ELEMENTS else None


def _check_shape(index: int) -> Any:
    def check(node: NodeProto, inputs: Inputs) -> None:
        values = _product(inputs, index)
        if values is not None:
            _refuse(node, values)

    return check


def _check_range(node: NodeProto, inputs: Inputs) -> None:
    if len(inputs) == 3 and all(inputs):
        start, limit, step = (values[0] for values in inputs if values)
        if step == 0 or abs(limit - start) / abs(step) > MAX_ELEMENTS:
            _refuse(node, (start, limit, step))


def _check_resize(node: NodeProto, inputs: Inputs) -> None:
    scales = inputs[2] if len(inputs) > 2 else None
    if scales and any(not 0 < scale <= 256 for scale in scales):
        _refuse(node, scales)
    _check_shape(3)(node, inputs)


def _check_pad(node: NodeProto, inputs: Inputs) -> None:
    pads = inputs[1] if len(inputs) > 1 else None
    if pads and any(abs(value) > MAX_STEP for value in pads):
        _refuse(node, pads)


def _check_loop(node: NodeProto, inputs: Inputs) -> None:
    trips = inputs[0] if inputs else None
    if trips and trips[0] > MAX_LOOP:
        raise ModelFileError(f"{node_text(node)} runs {trips[0]:g} times; at most {MAX_LOOP} is read")


_CHECKS: Mapping[str, Any] = {
    "ConstantOfShape": _check_shape(0),
    "Reshape": _check_shape(1),
    "Expand": _check_shape(1),
    "Tile": _check_shape(1),
    "OneHot": _check_shape(1),
    "Range": _check_range,
    "Resize": _check_resize,
    "Pad": _check_pad,
    "Loop": _check_loop,
}
