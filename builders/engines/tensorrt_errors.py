# SPDX-License-Identifier: Apache-2.0
"""TensorRT's complaints in words: which node, which type, what to do next."""

from __future__ import annotations

from typing import Any

from sightline.builders.engines.tensorrt_api import Api, LogKeeper
from sightline.errors import BuildError, ModelFileError

_NOT_SUPPORTED = ("UNSUPPORTED_NODE", "UNSUPPORTED_GRAPH")
_NOISE = ("CUDA driver version is insufficient", "No CUDA-capable device", "Thread context has not been set")
_SHOWN_NODES = 5
_SHOWN_CHARACTERS = 600


def parser_error(api: Api, parser: Any) -> BuildError:
    """What the ONNX parser refused: a line for each node, at most _SHOWN_NODES."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if any(error.code().name == "MODEL_DESERIALIZE_FAILED" for error in errors) or not errors:
        return ModelFileError(f"{api.title} cannot read the network as ONNX; the file is damaged")
    lines = [_node_line(api, error) for error in errors]
    more = f"\n  and {len(lines) - _SHOWN_NODES} more" if len(lines) > _SHOWN_NODES else ""
    if len(lines) == 1:
        return BuildError(lines[0])
    return BuildError(
        f"{api.title} does not take {len(lines)} nodes:\n"
        + "\n".join(f"  {line}" for line in lines[:_SHOWN_NODES])
        + more
    )


def _node_line(api: Api, error: Any) -> str:
    name, operator = _text(error, "node_name"), _text(error, "node_operator")
    node = f"node {name!r}" if name else f"node number {error.node()}"
    kind = f" of type {operator}" if operator else ""
    code, reason = error.code().name, _reason(str(error.desc()))
    if "Plugin not found" in reason:
        return (
            f"{node}{kind} is not supported by {api.title}: it is neither an ONNX operator that TensorRT knows nor "
            "a plugin that is loaded. Export the model without it"
        )
    if code.startswith(_NOT_SUPPORTED):
        return f"{node}{kind} is not supported by {api.title}: {reason or code.lower().replace('_', ' ')}"
    return f"{node}{kind} cannot be used by {api.title}: {reason or code}"


def _text(error: Any, method: str) -> str:
    """Of `node_name` and its like, which came with TensorRT 10."""
    call = getattr(error, method, None)
    return str(call()) if call is not None else ""


def _reason(description: str) -> str:
    """The lines that say something: no messages about the driver, no bare C++ conditions."""
    lines = [line.strip() for line in description.splitlines() if not any(noise in line for noise in _NOISE)]
    kept = [line for line in lines if line and line not in ("false", "creator")]
    return "; ".join(kept)[:_SHOWN_CHARACTERS]


def build_error(api: Api, keeper: LogKeeper) -> BuildError:
    """Why the builder gave no engine, from what it logged."""
    said = [text for text in keeper.errors if not any(noise in text for noise in _NOISE)]
    reason = "; ".join(said[-3:])[:_SHOWN_CHARACTERS] or "it logged no reason"
    lower = reason.lower()
    hint = ""
    if "out of memory" in lower or "outofmemory" in lower or "insufficient memory" in lower:
        hint = ". Lower engine.workspace_mib or the largest size in engine.batch, or free GPU memory"
    elif "infer output types" in lower or "no low-precision" in lower:
        hint = ". Name the node, or its type, in the card's engine.keep_precise: it stays in fp32 then"
    elif "hw-specific datatypes" in lower:
        hint = ". fp8 needs SM 89 or later: build for those only, or choose engine.precision: int8"
    elif "target gpu sm" in lower or "unsupported sm" in lower:
        hint = f". {api.title} does not support this GPU"
    return BuildError(f"{api.title} could not build the engine: {reason}{hint}")
