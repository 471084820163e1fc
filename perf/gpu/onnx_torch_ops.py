# SPDX-License-Identifier: Apache-2.0
"""ONNX operators in terms of PyTorch. Each takes torch, the inputs (None where one is left out) and the attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Attributes = Mapping[str, Any]
Operator = Callable[[Any, list[Any], Attributes], Any]


def _padding(torch: Any, x: Any, attributes: Attributes, value: float = 0.0) -> tuple[Any, Any]:
    """The input, padded where the sides differ, and the padding that the operator itself does."""
    spatial = x.ndim - 2
    pads = list(attributes.get("pads", [0] * 2 * spatial))
    mode = attributes.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(x, attributes, upper=mode == "SAME_UPPER")
    before, after = pads[:spatial], pads[spatial:]
    if before == after:
        return x, before
    flat = [side for pair in reversed(list(zip(before, after, strict=True))) for side in pair]
    return torch.nn.functional.pad(x, flat, value=value), [0] * spatial


def _same(x: Any, attributes: Attributes, *, upper: bool) -> list[int]:
    before, after = [], []
    kernel = attributes["kernel_shape"]
    strides = attributes.get("strides", [1] * len(kernel))
    dilations = attributes.get("dilations", [1] * len(kernel))
    for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        need = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        small, large = need // 2, need - need // 2
        before.append(small if upper else large)
        after.append(large if upper else small)
    return before + after


def _conv(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    weights = inputs[1]
    x, padding = _padding(torch, inputs[0], {"kernel_shape": list(weights.shape[2:]), **attributes})
    function = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}
    return function[weights.ndim - 2](
        x,
        weights,
        inputs[2] if len(inputs) > 2 else None,
        attributes.get("strides", 1),
        padding,
        attributes.get("dilations", 1),
        attributes.get("group", 1),
    )


def _conv_transpose(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    if pads[:2] != pads[2:]:
        raise ValueError("ConvTranspose with unequal pads")
    return torch.nn.functional.conv_transpose2d(
        inputs[0],
        inputs[1],
        inputs[2] if len(inputs) > 2 else None,
        attributes.get("strides", 1),
        pads[:2],
        attributes.get("output_padding", 0),
        attributes.get("group", 1),
        attributes.get("dilations", 1),
    )


def _max_pool(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    x, padding = _padding(torch, inputs[0], attributes, float("-inf"))
    return torch.nn.functional.max_pool2d(
        x,
        attributes["kernel_shape"],
        attributes.get("strides", 1),
        padding,
        attributes.get("dilations", 1),
        bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    if pads[:2] != pads[2:]:
        raise ValueError("AveragePool with unequal pads")
    return torch.nn.functional.avg_pool2d(
        inputs[0],
        attributes["kernel_shape"],
        attributes.get("strides", 1),
        pads[:2],
        bool(attributes.get("ceil_mode", 0)),
        bool(attributes.get("count_include_pad", 0)),
    )


def _resize(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    x = inputs[0]
    sizes = inputs[3] if len(inputs) > 3 else None
    if sizes is not None and sizes.numel():
        size = [int(value) for value in sizes[2:]]
    else:
        scales = inputs[2]
        size = [int(side * float(scale)) for side, scale in zip(x.shape[2:], scales[2:], strict=True)]
    mode = attributes.get("mode", "nearest")
    position = attributes.get("coordinate_transformation_mode", "half_pixel")
    if mode == "nearest":
        rounding = attributes.get("nearest_mode", "round_prefer_floor")
        if (position, rounding) == ("asymmetric", "floor"):
            return torch.nn.functional.interpolate(x, size=size, mode="nearest")
        whole = all(new % old == 0 for new, old in zip(size, x.shape[2:], strict=True))
        if position == "half_pixel" and whole:
            return torch.nn.functional.interpolate(x, size=size, mode="nearest-exact")
        raise ValueError(f"Resize nearest, {position}, {rounding}")
    if mode != "linear" or position not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise ValueError(f"Resize {mode}, {position}")
    corners = position == "align_corners"
    return torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=corners)


def _split(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    axis = attributes.get("axis", 0)
    sizes = inputs[1] if len(inputs) > 1 and inputs[1] is not None else attributes.get("split")
    if sizes is None:
        return inputs[0].tensor_split(attributes["outputs"], axis)
    return inputs[0].split([int(size) for size in sizes], axis)


def _slice(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    x = inputs[0]
    starts, ends = ([int(value) for value in one] for one in inputs[1:3])
    axes = [int(v) for v in inputs[3]] if len(inputs) > 3 and inputs[3] is not None else range(len(starts))
    steps = [int(v) for v in inputs[4]] if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    where: list[slice] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 0:
            size = x.shape[axis]
            first, last, _ = slice(start, None if end < -size else end, step).indices(size)
            index = torch.arange(first, last, step, device=x.device)
            x = x.index_select(axis, index)
            continue
        where[axis] = slice(start, min(end, x.shape[axis]), step)
    return x[tuple(where)]


def _reshape(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    x = inputs[0]
    keep_zero = bool(attributes.get("allowzero", 0))
    wanted = [int(value) for value in inputs[1]]
    return x.reshape([x.shape[i] if v == 0 and not keep_zero else v for i, v in enumerate(wanted)])


def _gather(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    x, index = inputs[0], inputs[1].to(torch.int64)
    axis = attributes.get("axis", 0) % x.ndim
    if index.ndim == 0:
        return x.select(axis, int(index))
    index = torch.where(index < 0, index + x.shape[axis], index)
    picked = x.index_select(axis, index.reshape(-1))
    return picked.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _axes(inputs: list[Any], attributes: Attributes) -> list[int] | None:
    if len(inputs) > 1 and inputs[1] is not None:
        return [int(value) for value in inputs[1]]
    axes = attributes.get("axes")
    return list(axes) if axes is not None else None


def _reduce(function: Callable[[Any, Any, list[int], bool], Any]) -> Operator:
    def run(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
        axes = _axes(inputs, attributes)
        axes = list(range(inputs[0].ndim)) if axes is None else axes
        return function(torch, inputs[0], axes, bool(attributes.get("keepdims", 1)))

    return run


def _squeeze(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    axes = _axes(inputs, attributes)
    return inputs[0].squeeze() if axes is None else inputs[0].squeeze(tuple(axes))


def _unsqueeze(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    axes = _axes(inputs, attributes) or []
    x = inputs[0]
    whole = x.ndim + len(axes)
    for axis in sorted(one % whole for one in axes):
        x = x.unsqueeze(axis)
    return x


def _clip(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    def limit(index: int, name: str) -> Any:
        given = inputs[index] if len(inputs) > index else None
        return float(given) if given is not None else attributes.get(name)

    low, high = limit(1, "min"), limit(2, "max")
    return inputs[0].clamp(low, high) if low is not None or high is not None else inputs[0]


def _cast(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    types = {
        1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool,
        10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
    }  # fmt: skip
    x, wanted = inputs[0], types[attributes["to"]]
    if wanted is torch.float32 and x.dtype is torch.float16:
        return x  # a half run stays half
    return x.to(wanted)


def _constant(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in attributes:
            value = attributes[name]
            return torch.from_numpy(value.copy()) if name == "value" else torch.tensor(value)
    raise ValueError("Constant without a value")


def _constant_of_shape(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    value = attributes.get("value")
    shape = [int(side) for side in inputs[0]]
    return (
        torch.zeros(shape)
        if value is None
        else torch.full(shape, value.reshape(-1)[0].item()).to(torch.from_numpy(value.copy()).dtype)
    )


def _expand(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    shape = [int(side) for side in inputs[1]]
    return inputs[0].broadcast_to(torch.broadcast_shapes(tuple(inputs[0].shape), tuple(shape)))


def _gemm(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    a = inputs[0].mT if attributes.get("transA", 0) else inputs[0]
    b = inputs[1].mT if attributes.get("transB", 0) else inputs[1]
    product = attributes.get("alpha", 1.0) * (a @ b)
    has_bias = len(inputs) > 2 and inputs[2] is not None
    return product + attributes.get("beta", 1.0) * inputs[2] if has_bias else product


def _batch_norm(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    x, scale, bias, mean, variance = inputs[:5]
    return torch.nn.functional.batch_norm(x, mean, variance, scale, bias, eps=attributes.get("epsilon", 1e-5))


def _layer_norm(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    axis = attributes.get("axis", -1) % inputs[0].ndim
    bias = inputs[2] if len(inputs) > 2 else None
    shape = inputs[0].shape[axis:]
    return torch.nn.functional.layer_norm(inputs[0], shape, inputs[1], bias, attributes.get("epsilon", 1e-5))


def _lp_norm(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    axis = attributes.get("axis", -1)
    norm = inputs[0].norm(attributes.get("p", 2), axis, keepdim=True)
    return inputs[0] / norm.clamp_min(1e-12)


def _divide(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    whole = not inputs[0].is_floating_point() and not inputs[1].is_floating_point()
    return torch.div(inputs[0], inputs[1], rounding_mode="trunc" if whole else None)


def _hard_sigmoid(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    return (inputs[0] * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)).clamp(0, 1)


def _gelu(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    return torch.nn.functional.gelu(inputs[0], approximate=attributes.get("approximate", "none"))


def _shape(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    return torch.tensor(inputs[0].shape[attributes.get("start", 0) : attributes.get("end")])


def _arg_max(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    return inputs[0].argmax(attributes.get("axis", 0), keepdim=bool(attributes.get("keepdims", 1)))


def _flatten(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    axis = attributes.get("axis", 1) % (inputs[0].ndim + 1)
    rows = 1
    for side in inputs[0].shape[:axis]:
        rows *= side
    return inputs[0].reshape(rows, -1)


def _concat(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    return torch.cat(inputs, attributes["axis"])


def _range(torch: Any, inputs: list[Any], attributes: Attributes) -> Any:
    start, limit, step = (one.item() for one in inputs)
    return torch.arange(start, limit, step, dtype=inputs[0].dtype)


def _both(function: Callable[[Any, Any], Any]) -> Operator:
    """Of two tensors on one device."""
    return lambda torch, inputs, attributes: function(inputs[0], inputs[1])


# Inputs that are read as numbers, by their position: they stay on the CPU.
NUMBERS: dict[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Range": (0, 1, 2),
    "ReduceL2": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}

OPERATORS: dict[str, Operator] = {
    "Add": _both(lambda a, b: a + b),
    "ArgMax": _arg_max,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": lambda torch, i, a: i[0].ceil(),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _divide,
    "Dropout": lambda torch, i, a: i[0],
    "Equal": _both(lambda a, b: a == b),
    "Erf": lambda torch, i, a: i[0].erf(),
    "Exp": lambda torch, i, a: i[0].exp(),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": lambda torch, i, a: i[0].floor(),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda torch, i, a: i[0].mean((-2, -1), keepdim=True),
    "GlobalMaxPool": lambda torch, i, a: i[0].amax((-2, -1), keepdim=True),
    "Greater": _both(lambda a, b: a > b),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda torch, i, a: torch.nn.functional.hardswish(i[0]),
    "Identity": lambda torch, i, a: i[0],
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda torch, i, a: torch.nn.functional.leaky_relu(i[0], a.get("alpha", 0.01)),
    "Less": _both(lambda a, b: a < b),
    "Log": lambda torch, i, a: i[0].log(),
    "LpNormalization": _lp_norm,
    "MatMul": _both(lambda a, b: a @ b),
    "Max": lambda torch, i, a: i[0] if len(i) == 1 else torch.maximum(i[0], i[1]),
    "MaxPool": _max_pool,
    "Min": lambda torch, i, a: i[0] if len(i) == 1 else torch.minimum(i[0], i[1]),
    "Mul": _both(lambda a, b: a * b),
    "Neg": lambda torch, i, a: -i[0],
    "Pow": _both(lambda a, b: a**b),
    "Range": _range,
    "Reciprocal": lambda torch, i, a: i[0].reciprocal(),
    "ReduceL2": _reduce(lambda torch, x, axes, keep: x.norm(2, axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda torch, x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda torch, x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda torch, x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda torch, x, axes, keep: x.sum(axes, keepdim=keep)),
    "Relu": lambda torch, i, a: i[0].relu(),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": lambda torch, i, a: i[0].sigmoid(),
    "Slice": _slice,
    "Softmax": lambda torch, i, a: i[0].softmax(a.get("axis", -1)),
    "Softplus": lambda torch, i, a: torch.nn.functional.softplus(i[0]),
    "Split": _split,
    "Sqrt": lambda torch, i, a: i[0].sqrt(),
    "Squeeze": _squeeze,
    "Sub": _both(lambda a, b: a - b),
    "Tanh": lambda torch, i, a: i[0].tanh(),
    "Transpose": lambda torch, i, a: i[0].permute(a.get("perm", list(reversed(range(i[0].ndim))))),
    "Unsqueeze": _unsqueeze,
    "Where": lambda torch, i, a: torch.where(i[0], i[1], i[2]),
}
