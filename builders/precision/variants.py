# SPDX-License-Identifier: Apache-2.0
"""One network in a lower precision, of which any layer can be left as it was: what a sensitivity report asks of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.builders.precision.cast import Low, cast_graph
from sightline.builders.precision.graph import HEAVY_OPERATORS, chosen_nodes, model_from_bytes, weight_array
from sightline.builders.precision.quantize import QuantizedGraph, quantized_graph

if TYPE_CHECKING:
    from onnx import ModelProto

    from sightline.builders.engines.cpu import Progress

Floats = NDArray[np.float32]
Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
Rest = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True)
class Variants:
    """layers: names of the convolutions and matrix products that can be in the lower precision.

    rest: what is not quantized is in this precision; of a cast network it is the precision itself.
    """

    precision: Precision
    rest: Rest
    layers: tuple[str, ...]
    plain: bytes = field(repr=False)
    keep_precise: tuple[str, ...] = ()
    quantized: QuantizedGraph | None = field(default=None, repr=False)

    def model(
        self, kept: Collection[str] = (), *, emulated: bool = False, rest_too: bool = True
    ) -> ModelProto:
        """The network with the layers in `kept` as they were.

        emulated: what is fp16 or bf16 is float32 rounded to it, so that every CPU can run it. rest_too: of a quantized
        network; False leaves what is not quantized in fp32, which is made and run much faster.
        """
        if self.quantized is None:
            model = model_from_bytes(self.plain)
            keep = [*self.keep_precise, *kept]
        else:
            model = self.quantized.model(kept)
            present = {name for node in model.graph.node for name in (node.name, node.op_type)}
            keep = [name for name in self.keep_precise if name in present]
        if self.rest == "fp32" or (self.quantized is not None and not rest_too):
            return model
        return cast_graph(model, self.rest, keep, emulated=emulated).model

    def operators(self) -> dict[str, str]:
        """Operator of each layer."""
        graph = (self.quantized.plain if self.quantized else model_from_bytes(self.plain)).graph
        return {node.name: node.op_type for node in graph.node}

    def parameters(self) -> dict[str, int]:
        """How many weights each layer has."""
        graph = (self.quantized.plain if self.quantized else model_from_bytes(self.plain)).graph
        sizes = {tensor.name: int(weight_array(tensor).size) for tensor in graph.initializer}
        return {node.name: sum(sizes.get(name, 0) for name in node.input) for node in graph.node}


def cast_variants(onnx: bytes, precision: Low, keep_precise: Collection[str] = ()) -> Variants:
    """Variants of the network in fp16 or bf16. Raises CardError for a name in keep_precise that is not there."""
    model = model_from_bytes(onnx)
    keep = chosen_nodes(model, keep_precise)
    layers = tuple(
        node.name for node in model.graph.node if node.op_type in HEAVY_OPERATORS and node.name not in keep
    )
    return Variants(precision, precision, layers, onnx, tuple(keep_precise))


def quantized_variants(
    onnx: bytes,
    precision: Literal["int8", "fp8"],
    tensors: Sequence[Floats],
    *,
    rest: Rest = "fp32",
    keep_precise: Collection[str] = (),
    progress: Progress | None = None,
) -> Variants:
    """Variants of the network in int8 or fp8; ranges are measured once. Raises BuildError and CardError."""
    graph = quantized_graph(onnx, precision, tensors, keep_precise=keep_precise, progress=progress)
    return Variants(precision, rest, graph.layers, onnx, tuple(keep_precise), graph)
