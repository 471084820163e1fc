# SPDX-License-Identifier: Apache-2.0
"""What each task answers: the outputs of its post-processing stage. A new task is a new entry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """A tensor on the wire; `dims` without the batch, -1 is any size; `data_type` is Triton's, such as FP32."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class TaskSpec:
    """The answers of a task. classification_output: the one of which Triton's own top-k labels make sense."""

    outputs: tuple[TensorSpec, ...]
    classification_output: str | None = None


_BOXES = (
    TensorSpec("COUNT", "INT32", (1,)),
    TensorSpec("BOXES", "FP32", (-1, 4)),
    TensorSpec("SCORES", "FP32", (-1,)),
    TensorSpec("CLASSES", "INT32", (-1,)),
)

TASKS: dict[str, TaskSpec] = {
    "classify": TaskSpec((TensorSpec("SCORES", "FP32", (-1,)), TensorSpec("CLASSES", "INT32", (-1,)))),
    "detect": TaskSpec(_BOXES),
    "segment": TaskSpec((*_BOXES, TensorSpec("MASKS", "STRING", (-1,)))),
    "semantic": TaskSpec((TensorSpec("CLASS_MAP", "UINT8", (-1, -1)),)),
    "embed": TaskSpec((TensorSpec("EMBEDDING", "FP32", (-1,)),)),
}
