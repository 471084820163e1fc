# SPDX-License-Identifier: Apache-2.0
"""What stands before the network: the stages that make TENSOR and GEOMETRY out of encoded files and out of raw frames.

On a CPU one stage each: `decode` (Pillow and the C core, or DALI, as measured) and `letterbox` (the native backend).
On the target server DALI does both on the GPU; it knows no strings and fails all items for one that is bad, so Python
stages stand before and behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.entries.context import EntryContext
from sightline.builders.entries.models import (
    ERROR,
    FRAME,
    FRAME_INFO,
    GEOMETRY,
    IMAGE,
    bound_queue,
    plain_model,
    same,
    stage_model_config,
)
from sightline.builders.preprocess.dali_stages import (
    INSTANCES,
    DaliStage,
    check_stage_tensors,
    dali_stage_spec,
    frame_errors_tensors,
)
from sightline.builders.tasks import TensorSpec
from sightline.card import ModelCard


@dataclass(frozen=True)
class Step:
    """One step of an ensemble: the maps go from the stage's tensor to the ensemble's."""

    stage: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Front:
    """The way from what a client sends to TENSOR, GEOMETRY and ERROR."""

    inputs: tuple[TensorSpec, ...]
    steps: tuple[Step, ...]
    configs: tuple[pb.ModelConfig, ...]


def file_front(context: EntryContext) -> Front:
    """For encoded files."""
    if context.target != "server":
        config = _picture_stage(context, "decode", (IMAGE,), "python", context.cores)
        return Front((IMAGE,), (Step("decode", same("IMAGE"), _MADE),), (config,))
    inputs, outputs = check_stage_tensors()
    check = stage_model_config(
        context,
        "check",
        inputs,
        outputs,
        backend="python",
        instances=context.cores,
        parameters=picture_parameters(context.card),
    )
    steps = (
        Step("check", same("IMAGE"), same("CHECKED", "VALID", "ERROR")),
        Step("decode", {"IMAGE": "CHECKED", "VALID": "VALID"}, same("TENSOR", "GEOMETRY")),
    )
    return Front((IMAGE,), steps, (check, _dali_model(context, "decode")))


def frame_front(context: EntryContext) -> Front:
    """For raw frames."""
    tensors = (FRAME, FRAME_INFO)
    if context.target != "server":
        config = _picture_stage(context, "letterbox", tensors, "sightline", context.cores // 4)
        return Front(tensors, (Step("letterbox", same("FRAME", "FRAME_INFO"), _MADE),), (config,))
    inputs, outputs = frame_errors_tensors()
    errors = stage_model_config(
        context,
        "frame_errors",
        inputs,
        outputs,
        backend="python",
        instances=context.cores // 4,
        parameters=picture_parameters(context.card),
    )
    steps = (
        Step("letterbox", same("FRAME", "FRAME_INFO"), same("TENSOR", "GEOMETRY")),
        Step("frame_errors", same("FRAME_INFO", "GEOMETRY"), same("ERROR")),
    )
    return Front(tensors, steps, (_dali_model(context, "letterbox"), errors))


def picture_parameters(card: ModelCard) -> dict[str, Any]:
    """What every stage that makes the network's input is told."""
    letterbox = card.input.model_dump(mode="json", exclude={"size"}, exclude_none=True)
    return {"size": list(card.input.size), "letterbox": letterbox}


_MADE = same("TENSOR", "GEOMETRY", "ERROR")


def _picture_stage(
    context: EntryContext, stage: str, inputs: tuple[TensorSpec, ...], backend: str, instances: int
) -> pb.ModelConfig:
    return stage_model_config(
        context,
        stage,
        inputs,
        (context.tensor, GEOMETRY, ERROR),
        backend=backend,
        instances=instances,
        parameters=picture_parameters(context.card),
    )


def _dali_model(context: EntryContext, stage: DaliStage) -> pb.ModelConfig:
    spec = dali_stage_spec(context.card, stage)
    config = plain_model(context, context.stage(stage), spec.inputs, spec.outputs)
    config.backend = spec.backend
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_GPU, count=INSTANCES)
    sizes = [size for size in context.card.engine.batch if size > 1]
    config.dynamic_batching.preferred_batch_size.extend(sizes or [1])
    bound_queue(config, context)
    for tensor in config.input:
        tensor.allow_ragged_batch = tensor.name in spec.ragged
    for name, value in spec.parameters.items():
        config.parameters[name].string_value = value
    return config
