# SPDX-License-Identifier: Apache-2.0
"""What the configurations of one entry are made from, and how its models are called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sightline.builders.heads import HeadPlan
from sightline.builders.stages.wire import raw_name
from sightline.builders.tasks import TensorSpec
from sightline.card import ModelCard
from sightline.naming import stage_model

Target = Literal["local", "server", "jetson"]
TARGETS: tuple[Target, ...] = ("local", "server", "jetson")
MAX_INSTANCES = 8


@dataclass(frozen=True)
class EntryContext:
    """One entry.

    number: the build's version, also Triton's. raw_dims: the canonical network's outputs without the batch. version: of
    Sightline. cores: of the machine that serves. engine: openvino, onnxruntime or tensorrt. decode_module: of
    builders.stages, for the stage decode where it is Python. network: more settings of the network's stage.
    """

    card: ModelCard
    plan: HeadPlan
    raw_dims: tuple[tuple[int, ...], ...]
    version: str
    cores: int
    number: int = 1
    target: Target = "local"
    engine: str = "openvino"
    decode_module: str = "decode"
    gpu_instances: int = 1
    network: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by class id."""
        return self.plan.labels

    @property
    def network_instances(self) -> int:
        """On a CPU one for each core and one to spare, see stages.stage_config."""
        if self.engine == "tensorrt":
            return self.card.engine.instances or self.gpu_instances
        return self.card.engine.instances or self.cores + 1

    @property
    def tensor(self) -> TensorSpec:
        """The network's input."""
        width, height = self.card.input.size
        return TensorSpec("TENSOR", "FP32", (3, height, width))

    @property
    def raw(self) -> tuple[TensorSpec, ...]:
        """The network's outputs that the head reads."""
        return tuple(TensorSpec(raw_name(i), "FP32", dims) for i, dims in enumerate(self.raw_dims))

    def stage(self, stage: str) -> str:
        """Name of the model that is this stage of this version."""
        return stage_model(self.card.name, self.number, stage)

    @property
    def public(self) -> tuple[str, ...]:
        """Names of the ensembles that clients ask for."""
        return self.card.name, f"{self.card.name}_frames"


def usable_cores() -> int:
    """Cores that this process may use, at most MAX_INSTANCES."""
    return max(1, min(len(os.sched_getaffinity(0)), MAX_INSTANCES))
