# SPDX-License-Identifier: Apache-2.0
"""All checks of a parsed model, in the order in which each may lean on the ones before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sightline.builders.onnx_checks.functions import Key, check_functions, functions_of
from sightline.builders.onnx_checks.graph import check_function, check_names, sorted_nodes
from sightline.builders.onnx_checks.names import node_text, quoted
from sightline.builders.onnx_checks.tensors import check_sizes, check_tensor, constants_of
from sightline.builders.onnx_checks.versions import check_operator, check_versions, opsets
from sightline.errors import ModelFileError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto


def check_graph(model: ModelProto) -> bool:
    """Whether the model was changed: its nodes are put into the order in which they can run.

    Raises ModelFileError naming the node, weight or version, and what to do. External weights must have been read.
    """
    sets = check_versions(model)
    functions = functions_of(model)
    check_functions(model, functions)
    _check_nodes(model.graph, sets, functions)
    for function in functions.values():
        own = {**sets, **opsets(function.opset_import)}
        check_function(function)
        for node in function.node:
            _check_node(node, own, functions, {})
    if check_names(model.graph):
        return False
    nodes = sorted_nodes(model.graph.node)
    copies = [_copy(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return True


def _copy(node: NodeProto) -> NodeProto:
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _check_nodes(graph: GraphProto, sets: Mapping[str, int], functions: Mapping[Key, Any]) -> None:
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ModelFileError(
            f"weights {quoted(name)} are stored sparse, which engines do not read; save them dense before the export"
        )
    for tensor in graph.initializer:
        check_tensor(tensor)
    constants = constants_of(graph)
    for node in graph.node:
        _check_node(node, sets, functions, constants)


def _check_node(
    node: NodeProto,
    sets: Mapping[str, int],
    functions: Mapping[Key, Any],
    constants: Mapping[str, TensorProto],
) -> None:
    check_operator(node, sets, functions)
    for tensor in _tensors(node):
        check_tensor(tensor)
    check_sizes(node, constants)
    for item in node.attribute:
        for graph in ((item.g,) if item.HasField("g") else ()) + tuple(item.graphs):
            _check_nodes(graph, sets, functions)


def _tensors(node: NodeProto) -> Iterator[TensorProto]:
    for item in node.attribute:
        if item.HasField("sparse_tensor") or item.sparse_tensors:
            raise ModelFileError(
                f"{node_text(node)} holds sparse weights, which engines do not read; save them dense"
            )
        if item.HasField("t"):
            yield item.t
        yield from item.tensors
