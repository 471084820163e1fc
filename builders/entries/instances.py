# SPDX-License-Identifier: Apache-2.0
"""How many instances the network gets: from the machine's cores, or from the memory of its GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sightline.builders.engines.gpu_query import GpuInfo
from sightline.card import ModelCard

MOST_ON_A_GPU = 2
"""One copies while the other computes (Triton's guide to optimization); more only queue for the same cores of the GPU."""
MEMORY_SHARE = 0.5
"""Of the GPU, for all instances of one network: other models, DALI and CUDA itself need the rest."""
_COPIES = 4
"""Of inputs and outputs: Triton's buffer, the engine's binding, and as much again for what lies between the layers."""


@dataclass(frozen=True)
class InstanceChoice:
    """count: of instances, on each GPU where it is a GPU. why: in a sentence."""

    count: int
    why: str


def cpu_instances(card: ModelCard, cores: int) -> InstanceChoice:
    """One for each core that may be used, and one to spare for light loads."""
    if card.engine.instances:
        return InstanceChoice(card.engine.instances, "the card's engine.instances")
    return InstanceChoice(cores + 1, f"one for each of {cores} cores, and one to spare")


def gpu_instances(
    card: ModelCard, raw_dims: Sequence[Sequence[int]], network_bytes: int, gpus: Sequence[GpuInfo]
) -> InstanceChoice:
    """One or two, by what the smallest GPU can hold.

    raw_dims: the network's outputs without the batch. network_bytes: of its ONNX, as large as its weights. gpus: of the
    machine that serves; empty where that is not known.

    Instances share the weights; each has the working memory of one full batch, at most the card's workspace_mib more.
    """
    if card.engine.instances:
        return InstanceChoice(card.engine.instances, "the card's engine.instances")
    if not gpus:
        return InstanceChoice(
            1, "the GPU that will serve is not known here; engine.instances of the card sets more"
        )
    if any(gpu.is_integrated for gpu in gpus):
        return InstanceChoice(1, "the GPU shares its memory with the CPU, which decodes into it")
    width, height = card.input.size
    values = 3 * width * height + sum(math.prod(max(side, 1) for side in dims) for dims in raw_dims)
    each = _COPIES * 4 * values * card.engine.batch[-1] + (card.engine.workspace_mib << 20)
    smallest = min(gpus, key=lambda gpu: gpu.memory_bytes)
    room = int(smallest.memory_bytes * MEMORY_SHARE) - network_bytes
    count = max(1, min(MOST_ON_A_GPU, room // each))
    wanted = f"{_gib(network_bytes)} of weights and up to {_gib(each)} for each instance"
    if room < each * MOST_ON_A_GPU:
        return InstanceChoice(
            count, f"{wanted}: half of the {_gib(smallest.memory_bytes)} of {smallest.name} holds no more"
        )
    return InstanceChoice(
        count, f"{wanted} fit twice into half of the {_gib(smallest.memory_bytes)} of {smallest.name}"
    )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"
