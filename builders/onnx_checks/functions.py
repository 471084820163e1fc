# SPDX-License-Identifier: Apache-2.0
"""Functions that a file brings along: none may call itself, and they may not unfold to a flood of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from sightline.builders.onnx_checks.names import quoted
from sightline.errors import ModelFileError

if TYPE_CHECKING:
    from onnx import FunctionProto, ModelProto, NodeProto

MAX_NODES = 1_000_000  # after unfolding

Key = tuple[str, str]


def functions_of(model: ModelProto) -> dict[Key, FunctionProto]:
    """The file's functions by domain and name. Raises ModelFileError for doubles and overloads."""
    found: dict[Key, FunctionProto] = {}
    for function in model.functions:
        key = (function.domain, function.name)
        if key in found:
            raise ModelFileError(f"it has the function {quoted(function.name)} twice; export the model again")
        found[key] = function
    return found


def all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of their subgraphs."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for item in node.attribute:
            for graph in ((item.g,) if item.HasField("g") else ()) + tuple(item.graphs):
                waiting += graph.node


def check_functions(model: ModelProto, functions: dict[Key, FunctionProto]) -> None:
    """Raises ModelFileError where functions call each other in a circle or unfold to more than MAX_NODES nodes."""
    sizes: dict[Key, int] = {}
    for key in functions:
        _measure(key, functions, sizes)
    total = sum(sizes.get((node.domain, node.op_type), 1) for node in all_nodes(model.graph.node))
    if total > MAX_NODES:
        raise ModelFileError(f"its functions unfold to {total} nodes; at most {MAX_NODES} are read")


def _measure(start: Key, functions: dict[Key, FunctionProto], sizes: dict[Key, int]) -> None:
    """The nodes that a function unfolds to, those that it calls first. Without recursion: chains may be long."""
    path: list[tuple[Key, list[Key]]] = []
    open_keys: set[Key] = set()

    def enter(key: Key) -> None:
        if key in sizes:
            return
        if key in open_keys:
            raise ModelFileError(
                f"its function {quoted(key[1])} calls itself, by way of others or directly; export the model again"
            )
        open_keys.add(key)
        path.append((key, _calls(functions[key], functions)))

    enter(start)
    while path:
        key, calls = path[-1]
        if calls:
            enter(calls.pop())
            continue
        path.pop()
        open_keys.discard(key)
        sizes[key] = _size(functions[key], sizes)


def _calls(function: Any, functions: dict[Key, FunctionProto]) -> list[Key]:
    keys = {(node.domain, node.op_type) for node in all_nodes(function.node)}
    return [key for key in keys if key in functions]


def _size(function: Any, sizes: dict[Key, int]) -> int:
    return 1 + sum(sizes.get((node.domain, node.op_type), 1) for node in all_nodes(function.node))
