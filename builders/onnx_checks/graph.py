# SPDX-License-Identifier: Apache-2.0
"""Names of a graph: each made once and before it is read, in subgraphs and functions too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sightline.builders.onnx_checks.names import node_text, quoted
from sightline.errors import ModelFileError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

_AGAIN = "The file is damaged; export the model again"


def check_names(graph: GraphProto, outer: frozenset[str] = frozenset()) -> bool:
    """Whether the nodes already stand in the order in which they can run; subgraphs are checked with it.

    outer: names that an enclosing graph makes. Raises ModelFileError naming a double, a missing value or a cycle.
    """
    given = _given(graph)
    makers = _makers(graph.node, given)
    for value in graph.output:
        if value.name not in makers and value.name not in given and value.name not in outer:
            raise ModelFileError(f"its output {quoted(value.name)} is made by no node. {_AGAIN}")
    doubled = _double(value.name for value in graph.output)
    if doubled is not None:
        raise ModelFileError(f"it has two outputs of the name {quoted(doubled)}. {_AGAIN}")
    sorted_already = _check_order(graph.node, makers, given | outer)
    visible = outer | given | frozenset(makers)
    for node in graph.node:
        for inner in _subgraphs(node):
            if not check_names(inner, visible):
                raise ModelFileError(f"the nodes inside {node_text(node)} stand in a wrong order. {_AGAIN}")
    return sorted_already


def check_function(function: Any) -> None:
    """The same for a function's body."""
    makers = _makers(function.node, frozenset(function.input))
    for name in function.output:
        if name not in makers and name not in function.input:
            raise ModelFileError(
                f"output {quoted(name)} of its function {quoted(function.name)} is made by no node"
            )
    if not _check_order(function.node, makers, frozenset(function.input)):
        raise ModelFileError(
            f"the nodes of its function {quoted(function.name)} stand in a wrong order. {_AGAIN}"
        )
    visible = frozenset(makers) | frozenset(function.input)
    for node in function.node:
        for inner in _subgraphs(node):
            check_names(inner, visible)


def sorted_nodes(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The nodes in an order in which they can run; they must have passed check_names."""
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    return [nodes[i] for i in _order(nodes, makers)[0]]


def reads(node: NodeProto) -> set[str]:
    """Names that a node reads from the graph that it stands in, those of its subgraphs included."""
    names = {name for name in node.input if name}
    for graph in _subgraphs(node):
        made = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        inner: set[str] = {value.name for value in graph.output}
        for item in graph.node:
            made.update(item.output)
            inner |= reads(item)
        names |= inner - made
    return names


def _subgraphs(node: NodeProto) -> list[GraphProto]:
    return [
        graph
        for item in node.attribute
        for graph in ((item.g,) if item.HasField("g") else ()) + tuple(item.graphs)
    ]


def _given(graph: GraphProto) -> frozenset[str]:
    """Inputs and weights."""
    for kind, names in (
        ("inputs", [value.name for value in graph.input]),
        ("weights", [tensor.name for tensor in graph.initializer]),
    ):
        doubled = _double(names)
        if doubled is not None:
            raise ModelFileError(f"it has two {kind} of the name {quoted(doubled)}. {_AGAIN}")
        if "" in names:
            raise ModelFileError(f"one of its {kind} has no name. {_AGAIN}")
    return frozenset([value.name for value in graph.input] + [tensor.name for tensor in graph.initializer])


def _double(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _makers(nodes: Sequence[NodeProto], given: frozenset[str]) -> dict[str, int]:
    """Which node makes a name."""
    makers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if not name:
                continue
            if name in given:
                raise ModelFileError(
                    f"{node_text(node)} makes {quoted(name)}, which is an input or weight. {_AGAIN}"
                )
            if name in makers:
                raise ModelFileError(
                    f"{node_text(nodes[makers[name]])} and {node_text(node)} both make {quoted(name)}. {_AGAIN}"
                )
            makers[name] = index
    return makers


def _check_order(nodes: Sequence[NodeProto], makers: Mapping[str, int], given: frozenset[str]) -> bool:
    for node in nodes:
        for name in node.input:
            if name and name not in makers and name not in given:
                raise ModelFileError(f"{node_text(node)} reads {quoted(name)}, which nothing makes. {_AGAIN}")
    order, left = _order(nodes, makers)
    if left:
        first = nodes[min(left)]
        raise ModelFileError(
            f"{node_text(first)} needs its own result: {len(left)} nodes stand in a cycle or behind one. {_AGAIN}"
        )
    return order == sorted(order)


def _order(nodes: Sequence[NodeProto], makers: Mapping[str, int]) -> tuple[list[int], set[int]]:
    """Kahn's order of the nodes, the given order kept where it can be, and the nodes that have none."""
    from heapq import heapify, heappop, heappush

    needs = [{makers[name] for name in reads(node) if name in makers} for node in nodes]
    followers: dict[int, list[int]] = {}
    for index, sources in enumerate(needs):
        for source in sources:
            followers.setdefault(source, []).append(index)
    missing = [len(sources) for sources in needs]
    ready = [index for index, count in enumerate(missing) if count == 0]
    heapify(ready)
    order: list[int] = []
    while ready:
        index = heappop(ready)
        order.append(index)
        for follower in followers.get(index, ()):
            missing[follower] -= 1
            if missing[follower] == 0:
                heappush(ready, follower)
    return order, set(range(len(nodes))) - set(order)
