# SPDX-License-Identifier: Apache-2.0
"""Names out of a stranger's file, made fit for a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import NodeProto

_LONGEST = 80


def quoted(name: str) -> str:
    """The name in quotes, shortened, without control characters."""
    return repr(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")


def node_text(node: NodeProto) -> str:
    """A node for people: node '/model.0/Conv' (Conv), or by its output where it has no name."""
    operator = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    shown = repr(operator)[1:-1][:_LONGEST]
    if node.name:
        return f"node {quoted(node.name)} ({shown})"
    made = next((name for name in node.output if name), "")
    return f"the node ({shown}) that makes {quoted(made)}" if made else f"a node ({shown}) without name"


def attribute(node: NodeProto, name: str) -> Any:
    """The AttributeProto of that name; None where there is none."""
    return next((item for item in node.attribute if item.name == name), None)
