# SPDX-License-Identifier: Apache-2.0
"""What a graph tells about the meaning of its outputs: the operators before each, and the exporter's notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_MAX_VISITED = 4096  # nodes before one output
# They move values and leave them as they are.
_MOVES = frozenset(
    ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Concat", "Slice", "Split",
     "Gather", "GatherElements", "GatherND", "Expand", "Pad")
)  # fmt: skip
# Layers with weights: what lies before them says nothing of an output's form.
_LAYERS = frozenset(
    ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "BatchNormalization", "LayerNormalization",
     "GlobalAveragePool", "AveragePool", "MaxPool", "Attention")
)  # fmt: skip


@dataclass(frozen=True)
class OutputEvidence:
    """Operators before one output.

    last: the nearest that change values, one a branch. tail: all up to the nearest layers with weights.
    """

    last: frozenset[str] = frozenset()
    tail: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GraphEvidence:
    """producer: who exported, such as "pytorch 2.6.0". operators: types of all nodes. metadata: the exporter's notes."""

    producer: str = ""
    operators: frozenset[str] = frozenset()
    outputs: Mapping[str, OutputEvidence] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def of(self, output: str) -> OutputEvidence | None:
        """The evidence of an output; None where the graph was not looked at."""
        return self.outputs.get(output)


def evidence_from_onnx(model: ModelProto) -> GraphEvidence:
    """Look at the graph of a parsed ONNX model. Bounded in time, whatever the graph is; never raises for it."""
    makers = {name: node for node in model.graph.node for name in node.output if name}
    return GraphEvidence(
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        operators=frozenset(node.op_type for node in model.graph.node),
        outputs={value.name: _before(value.name, makers) for value in model.graph.output},
        metadata={item.key: item.value for item in model.metadata_props},
    )


def _before(output: str, makers: Mapping[str, NodeProto]) -> OutputEvidence:
    last: set[str] = set()
    tail: set[str] = set()
    seen: set[str] = set()
    waiting: list[tuple[str, bool]] = [(output, True)]
    while waiting and len(seen) < _MAX_VISITED:
        name, only_moves = waiting.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        kind = node.op_type
        tail.add(kind)
        if only_moves and kind not in _MOVES and kind != "Constant":
            last.add(kind)
        if kind not in _LAYERS:
            waiting += [(name, only_moves and kind in _MOVES) for name in _values(node)]
    return OutputEvidence(frozenset(last), frozenset(tail))


def _values(node: NodeProto) -> Sequence[str]:
    """Inputs that carry values; not the shapes and indices beside them."""
    inputs = list(node.input)
    return inputs[:1] if node.op_type in _MOVES and node.op_type != "Concat" else inputs
