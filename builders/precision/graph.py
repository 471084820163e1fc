# SPDX-License-Identifier: Apache-2.0
"""What the passes over an ONNX graph share: parsing, names, element types, who makes a value and who reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BuildError, CardError, MissingDependencyError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

HEAVY_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Where the arithmetic is: what is quantized, and what a sensitivity report calls a layer."""
LEAST_SPREAD = 1e-3
_SHOWN_NAMES = 5


def import_onnx() -> Any:
    """The onnx package. Raises MissingDependencyError."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            "the package 'onnx' is not installed; run: pip install 'sightline[build]'"
        ) from error
    return onnx


def model_from_bytes(content: bytes) -> ModelProto:
    """The model, every node with a name of its own, functions inlined and constants as initializers."""
    onnx = import_onnx()
    model: ModelProto = onnx.load_from_string(content)
    if model.functions:
        import onnx.inliner

        model = onnx.inliner.inline_local_functions(model)
    _name_nodes(model.graph)
    _constants_to_initializers(onnx, model.graph)
    return model


def named_nodes(content: bytes) -> bytes:
    """The model with the node names that keep_precise and the sensitivity report speak of."""
    return bytes(model_from_bytes(content).SerializeToString())


def _name_nodes(graph: GraphProto) -> None:
    """Names that are missing or repeated are made from the operator and the first output, which is unique."""
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        name = node.name
        if not name or name in taken:
            name = f"{node.op_type}_{node.output[0] if node.output else index}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)


def _constants_to_initializers(onnx: Any, graph: GraphProto) -> None:
    kept: list[NodeProto] = []
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        value = next((a for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None and node.output[0] not in outputs:
            tensor = onnx.TensorProto()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    replace_nodes(graph, kept)


def replace_nodes(graph: GraphProto, nodes: Sequence[NodeProto]) -> None:
    """Make `nodes` the graph's nodes; they may be those of the graph itself."""
    copies = list(nodes)
    del graph.node[:]
    graph.node.extend(copies)


def element_types(model: ModelProto) -> dict[str, int]:
    """Element type of every value of the main graph that can be inferred."""
    onnx = import_onnx()
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
        if value.type.tensor_type.elem_type
    }
    types.update({tensor.name: tensor.data_type for tensor in model.graph.initializer})
    return types


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside a node's attributes, such as the branches of an If, with those inside them."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield graph
            for inner in graph.node:
                yield from inner_graphs(inner)


def captured_names(node: NodeProto) -> set[str]:
    """Values of outer graphs that the graphs inside a node may read."""
    return {name for graph in inner_graphs(node) for inner in graph.node for name in inner.input if name}


def readers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """The nodes that read each value."""
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in {*node.input, *captured_names(node)} - {""}:
            found.setdefault(name, []).append(node)
    return found


def drop_unused_initializers(graph: GraphProto) -> None:
    """Remove weights that nothing reads any more."""
    used = {name for node in graph.node for name in (*node.input, *captured_names(node))}
    used |= {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def chosen_nodes(model: ModelProto, names: Iterable[str]) -> set[str]:
    """Names of the nodes that the card's engine.keep_precise means: by name, or all of an operator type.

    Raises CardError for a name that is neither.
    """
    by_name = {node.name for node in model.graph.node}
    by_type: dict[str, set[str]] = {}
    for node in model.graph.node:
        by_type.setdefault(node.op_type, set()).add(node.name)
    chosen: set[str] = set()
    for name in names:
        if name in by_name:
            chosen.add(name)
        elif name in by_type:
            chosen |= by_type[name]
        else:
            layers = [node.name for node in model.graph.node if node.op_type in HEAVY_OPERATORS]
            raise CardError(
                f"engine.keep_precise names {name!r}, which is neither a node nor an operator type of the network. "
                f"Its operator types are {', '.join(sorted(by_type))}; "
                f"its layers are {', '.join(layers[:_SHOWN_NAMES])}{', …' if len(layers) > _SHOWN_NAMES else ''}"
            )
    return chosen


def weight_array(tensor: Any) -> NDArray[Any]:
    """An initializer's values."""
    onnx = import_onnx()
    values: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    return values


def with_opset(model: ModelProto, least: int) -> ModelProto:
    """The model in an opset of at least `least`. Raises BuildError where onnx cannot convert it."""
    onnx = import_onnx()
    current = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if current >= least:
        return model
    try:
        converted: ModelProto = onnx.version_converter.convert_version(model, least)
    except Exception as error:  # the converter raises RuntimeError and its own types
        raise BuildError(
            f"the network is of ONNX opset {current} and cannot be converted to {least}, which the precision needs: "
            f"{str(error)[:300]}. Export it again with opset {least} (or at least 20)"
        ) from error
    _name_nodes(converted.graph)
    return converted


def model_bytes(model: ModelProto) -> bytes:
    """The serialized model after onnx's own checks. Raises BuildError where they fail: a fault of ours."""
    onnx = import_onnx()
    del model.graph.value_info[:]
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # ValidationError, InferenceError
        raise BuildError(f"the network in its new precision is no valid ONNX: {str(error)[:400]}") from error
    return bytes(model.SerializeToString())


def field_error(answers: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> float:
    """Mean difference as a share of the spread (standard deviation) of what was wanted, of the worst output.

    answers, wanted: the network's outputs, of shape (N, …). An output whose fields have units of their own, such as
    boxes in pixels and scores in 0..1, counts as the mean of its fields; fields are the second axis, or the third of
    three where it is shorter. A spread below LEAST_SPREAD counts as that: a class that is nowhere does not matter.
    """
    worst = 0.0
    for answer, reference in zip(answers, wanted, strict=True):
        if answer.shape != reference.shape:
            return float("inf")
        if reference.size:
            given, original = (_by_field(np.asarray(values, np.float64)) for values in (answer, reference))
            spread = np.maximum(original.std(axis=1), LEAST_SPREAD)
            error = float(np.mean(np.abs(given - original).mean(axis=1) / spread))
            worst = max(worst, error if np.isfinite(error) else float("inf"))
    return worst


def _by_field(values: NDArray[Any]) -> NDArray[Any]:
    """(fields, values of each)."""
    if values.ndim < 3:
        return values.reshape(1, -1)
    axis = 2 if values.ndim == 3 and values.shape[2] < values.shape[1] else 1
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
