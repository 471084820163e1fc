# SPDX-License-Identifier: Apache-2.0
"""fp32 graphs to fp16 or bf16 by casts, for strongly typed networks: TensorRT 10 and 11, TensorRT-RTX.

Inputs and outputs stay float32. A node runs in the lower precision where its operator's schema allows it, and it is
not one of these: operators that overflow or cancel, nodes with weights beyond the range, nodes that the caller
names, and the tail behind the last heavy operator. The tail computes boxes in pixels: at 640, fp16 has steps of half
a pixel and bf16 of four.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sightline.builders.precision.graph import (
    HEAVY_OPERATORS,
    captured_names,
    chosen_nodes,
    drop_unused_initializers,
    element_types,
    import_onnx,
    readers,
    replace_nodes,
    weight_array,
    with_opset,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Low = Literal["fp16", "bf16"]

# They sum many values, take differences of large ones, or leave the range of fp16 (65504).
SENSITIVE_OPERATORS = frozenset(
    (
        "BatchNormalization", "CumSum", "Exp", "GroupNormalization", "GlobalLpPool", "InstanceNormalization",
        "LayerNormalization", "Log", "LogSoftmax", "LpNormalization", "LpPool", "LRN", "MeanVarianceNormalization",
        "Pow", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd",
        "ReduceSum", "ReduceSumSquare", "RMSNormalization", "Softplus", "Sqrt",
    )
)  # fmt: skip
# They have an attribute that tells the element type, or give positions and orders that must not be rounded.
_FIXED_OPERATORS = frozenset(
    (
        "ArgMax", "ArgMin", "Bernoulli", "ConstantOfShape", "EyeLike", "Multinomial", "NonMaxSuppression", "OneHot",
        "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Range", "RoiAlign", "TopK",
    )
)  # fmt: skip
_OPSET = {"fp16": 13, "bf16": 22}  # bf16 convolutions are in the standard from opset 22 on
_LARGEST = {"fp16": 65504.0, "bf16": 3.38e38}


@dataclass(frozen=True)
class CastResult:
    """The model with casts, and the names of the heavy nodes that stayed in fp32."""

    model: ModelProto
    kept: tuple[str, ...]


def cast_graph(
    model: ModelProto, precision: Low, keep_precise: Iterable[str] = (), *, emulated: bool = False
) -> CastResult:
    """The model in the lower precision; `model` itself is changed.

    emulated: in float32 with every value rounded as the lower precision rounds it, for runtimes that lack it.
    Raises CardError for a name in keep_precise that is not there.
    """
    if not emulated:
        model = with_opset(model, _OPSET[precision])
    caster = _Caster(model, precision, chosen_nodes(model, keep_precise), emulated)
    caster.run(emulated=emulated)
    drop_unused_initializers(model.graph)
    del model.graph.value_info[:]
    return CastResult(model, caster.kept_heavy)


class _Caster:
    """One pass over a graph. `low` are the nodes that change."""

    def __init__(self, model: ModelProto, precision: Low, keep: set[str], emulated: bool) -> None:
        self._onnx = import_onnx()
        self._graph = model.graph
        self._precision = precision
        self._float = int(self._onnx.TensorProto.FLOAT)
        self._low_type = int(
            getattr(self._onnx.TensorProto, "FLOAT16" if precision == "fp16" else "BFLOAT16")
        )
        self._low_dtype: Any = self._onnx.helper.tensor_dtype_to_np_dtype(self._low_type)
        self._opsets = {item.domain or "": item.version for item in model.opset_import}
        if emulated:
            self._opsets[""] = max(self._opsets.get("", 0), _OPSET[precision])
        self._types = element_types(model)
        self._weights = {tensor.name: tensor for tensor in self._graph.initializer}
        keep = keep | self._tail()
        self._captured = {name for node in self._graph.node for name in captured_names(node)}
        self._low = [node for node in self._graph.node if node.name not in keep and self._can_be_low(node)]
        self._low_names = {node.name for node in self._low}
        self._is_low_value: set[str] = set()
        self._casts: dict[tuple[str, bool], str] = {}
        self._nodes: list[NodeProto] = []

    @property
    def kept_heavy(self) -> tuple[str, ...]:
        """Convolutions and matrix products that stay in fp32."""
        return tuple(
            node.name
            for node in self._graph.node
            if node.op_type in HEAVY_OPERATORS and node.name not in self._low_names
        )

    def _tail(self) -> set[str]:
        """Nodes that no heavy operator reads from, however far down; heavy operators are not among them."""
        reading = readers(self._graph)
        feeds_heavy: set[str] = set()
        for node in reversed(self._graph.node):
            below = [reader for name in node.output for reader in reading.get(name, [])]
            if any(reader.op_type in HEAVY_OPERATORS or reader.name in feeds_heavy for reader in below):
                feeds_heavy.add(node.name)
        if not any(node.op_type in HEAVY_OPERATORS for node in self._graph.node):
            return set()
        return {
            node.name
            for node in self._graph.node
            if node.op_type not in HEAVY_OPERATORS and node.name not in feeds_heavy
        }

    def _can_be_low(self, node: NodeProto) -> bool:
        if node.op_type in SENSITIVE_OPERATORS or node.op_type in _FIXED_OPERATORS:
            return False
        if captured_names(node) or self._captured.intersection(node.output):
            return False  # graphs inside a node read values by name, in the element type that they know
        floats = [name for name in (*node.input, *node.output) if self._types.get(name) == self._float]
        return bool(floats) and self._schema_allows(node) and all(map(self._in_range, node.input))

    def _in_range(self, name: str) -> bool:
        tensor = self._weights.get(name)
        if tensor is None or tensor.data_type != self._float:
            return True
        values = np.abs(weight_array(tensor))
        return not np.any(values[np.isfinite(values)] > _LARGEST[self._precision])

    def _schema_allows(self, node: NodeProto) -> bool:
        try:
            schema = self._onnx.defs.get_schema(
                node.op_type, self._opsets.get(node.domain or "", 1), node.domain
            )
        except Exception:  # onnx.defs.SchemaError: an operator that is not in the standard
            return False
        wanted = f"tensor({'float16' if self._precision == 'fp16' else 'bfloat16'})"
        allowed = {item.type_param_str: item.allowed_type_strs for item in schema.type_constraints}
        for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
            for index, name in enumerate(names):
                if self._types.get(name) != self._float:
                    continue
                kind = formal[min(index, len(formal) - 1)].type_str
                if wanted not in allowed.get(kind, [kind]):
                    return False
        return True

    def run(self, *, emulated: bool = False) -> None:
        """Rewrite the graph. emulated: everything stays float32, and what would be low is rounded to it."""
        outputs = {value.name for value in self._graph.output}
        for node in list(self._graph.node):
            low = node.name in self._low_names
            for index, name in enumerate(node.input):
                if name and (low or not emulated):
                    node.input[index] = self._rounded(name) if emulated else self._as(name, low=low)
            self._nodes.append(node)
            if low and emulated:
                self._round_outputs(node)
            elif low:
                _retarget(node, self._float, self._low_type)
                self._mark_outputs(node, outputs)
        replace_nodes(self._graph, self._nodes)

    def _mark_outputs(self, node: NodeProto, outputs: set[str]) -> None:
        for index, name in enumerate(node.output):
            if self._types.get(name) != self._float:
                continue
            if name not in outputs:
                self._is_low_value.add(name)
                continue
            node.output[index] = f"{name}__{self._precision}"
            self._append_cast(node.output[index], name, self._float)
            self._casts[name, True] = node.output[index]

    def _as(self, name: str, *, low: bool) -> str:
        """Name of the value in the wanted precision; a cast or a converted weight is added at its first use."""
        if self._types.get(name) != self._float or (name in self._is_low_value) == low:
            return name
        if (name, low) not in self._casts:
            made = f"{name}__{self._precision if low else 'fp32'}"
            self._casts[name, low] = made
            if name in self._weights:
                values = weight_array(self._weights[name]).astype(self._low_dtype)
                self._graph.initializer.append(self._onnx.numpy_helper.from_array(values, made))
            else:
                self._append_cast(name, made, self._low_type if low else self._float)
        return self._casts[name, low]

    def _rounded(self, name: str) -> str:
        """Name of the float32 value that has been through the lower precision."""
        if self._types.get(name) != self._float or name in self._is_low_value:
            return name
        if (name, True) not in self._casts:
            made = self._casts[name, True] = f"{name}__rounded"
            if name in self._weights:
                values = weight_array(self._weights[name]).astype(self._low_dtype).astype(np.float32)
                self._graph.initializer.append(self._onnx.numpy_helper.from_array(values, made))
            else:
                self._append_rounding(name, made)
        return self._casts[name, True]

    def _round_outputs(self, node: NodeProto) -> None:
        for index, name in enumerate(node.output):
            if self._types.get(name) == self._float:
                node.output[index] = f"{name}__exact"
                self._append_rounding(node.output[index], name)
                self._is_low_value.add(name)

    def _append_rounding(self, source: str, target: str) -> None:
        self._append_cast(source, f"{target}__{self._precision}", self._low_type)
        self._append_cast(f"{target}__{self._precision}", target, self._float)

    def _append_cast(self, source: str, target: str, to: int) -> None:
        self._nodes.append(
            self._onnx.helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to)
        )


def _retarget(node: NodeProto, before: int, after: int) -> None:
    """A Cast that makes float32 makes the lower precision."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == before:
            attribute.i = after
