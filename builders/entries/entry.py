# SPDX-License-Identifier: Apache-2.0
"""All models of an entry: the stages of this version, and the two ensembles that clients ask for."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.entries.context import EntryContext
from sightline.builders.entries.fronts import Front, file_front, frame_front
from sightline.builders.entries.gpu import tensorrt_config
from sightline.builders.entries.models import (
    ERROR,
    GEOMETRY,
    add_step,
    plain_model,
    same,
    stage_model_config,
)
from sightline.builders.entries.warmup import add_warmup
from sightline.builders.stages.wire import PARAMETER
from sightline.builders.tasks import TASKS, TensorSpec

PICTURE_ERROR = "PICTURE_ERROR"
"""Inside the ensembles: why a picture could not be used; post-processing adds why one has no answer."""
ANCHORS_FILE = "anchors.f32"
MOST_ANCHORS_IN_PARAMETERS = 512


def stage_configs(context: EntryContext) -> dict[str, pb.ModelConfig]:
    """Configurations of this version's stages, by model name."""
    fronts = (*file_front(context).configs, *frame_front(context).configs)
    configs = (*fronts, _network(context), _postprocess(context))
    for config in configs:
        add_warmup(config, context)
    return {config.name: config for config in configs}


def public_configs(context: EntryContext) -> dict[str, pb.ModelConfig]:
    """The ensembles: the one for raw frames, and the one for encoded files, by model name."""
    files, frames = context.public
    return {
        frames: _ensemble(context, frames, frame_front(context)),
        files: _ensemble(context, files, file_front(context)),
    }


def labels_file(number: int) -> str:
    """Class names of a version, a line each."""
    return f"labels_v{number}.txt"


def answers_of(context: EntryContext) -> tuple[TensorSpec, ...]:
    """The outputs of this entry's post-processing; the length of an embedding is the network's own."""
    outputs = TASKS[context.card.task].outputs
    if context.card.task != "embed":
        return outputs
    return tuple(TensorSpec(o.name, o.data_type, (math.prod(context.raw_dims[0]),)) for o in outputs)


def description(context: EntryContext) -> dict[str, Any]:
    """What a client learns of the model through the model-config call."""
    width, height = context.card.input.size
    return {
        "task": context.card.task,
        "labels": list(context.labels),
        "input": {"width": width, "height": height},
        "head": context.plan.kind,
        "limits": context.card.limits.model_dump(mode="json"),
        "number": context.number,
        "version": context.version,
    }


def _network(context: EntryContext) -> pb.ModelConfig:
    if context.engine == "tensorrt":
        return tensorrt_config(context)
    return stage_model_config(
        context,
        "network",
        (context.tensor,),
        context.raw,
        backend="python" if context.engine == "onnxruntime" else "sightline",
        instances=context.network_instances,
        parameters={"outputs": len(context.raw_dims), **context.network},
    )


def _postprocess(context: EntryContext) -> pb.ModelConfig:
    limits = context.card.limits.model_dump(mode="json")
    config = stage_model_config(
        context,
        "postprocess",
        (*context.raw, GEOMETRY, ERROR),
        (*answers_of(context), ERROR),
        backend="sightline",
        instances=context.cores // 4,
        parameters={**limits, "outputs": len(context.raw_dims), **_head_parameters(context)},
    )
    config.input[-1].optional = True  # without it the stage tells of its own failures only
    return config


def _head_parameters(context: EntryContext) -> dict[str, Any]:
    """The plan's, with many anchors in a file beside the stage: a parameter may have 1 MiB."""
    parameters = dict(context.plan.parameters)
    if anchors_content(context):
        parameters["anchors_file"] = ANCHORS_FILE
        del parameters["anchors"]
    return parameters


def anchors_content(context: EntryContext) -> bytes:
    """What ANCHORS_FILE holds: little-endian float32, row by row; empty where the anchors stand in the parameters."""
    anchors = context.plan.parameters.get("anchors") or ()
    return np.asarray(anchors, "<f4").tobytes() if len(anchors) > MOST_ANCHORS_IN_PARAMETERS else b""


def _ensemble(context: EntryContext, name: str, front: Front) -> pb.ModelConfig:
    task = TASKS[context.card.task]
    answers = answers_of(context)
    config = plain_model(context, name, front.inputs, (*answers, ERROR))
    config.platform = "ensemble"
    config.version_policy.specific.versions.append(context.number)
    for output in config.output:
        if output.name == task.classification_output and context.labels:
            output.label_filename = labels_file(context.number)
    raw = same(*(tensor.name for tensor in context.raw))
    for step in front.steps:
        outputs = {name: PICTURE_ERROR if name == ERROR.name else to for name, to in step.outputs.items()}
        add_step(config, context.stage(step.stage), step.inputs, outputs)
    add_step(config, context.stage("network"), same("TENSOR"), raw)
    add_step(
        config,
        context.stage("postprocess"),
        {**raw, **same("GEOMETRY"), ERROR.name: PICTURE_ERROR},
        same(*(answer.name for answer in answers), ERROR.name),
    )
    if context.card.engine.response_cache and name == context.card.name:
        config.response_cache.enable = True
    config.parameters[PARAMETER].string_value = json.dumps(description(context))
    return config
