# SPDX-License-Identifier: Apache-2.0
"""All models of an entry: the stages of this version, and the two ensembles that clients ask for."""

from __future__ import annotations

import json
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.entries.context import EntryContext
from sightline.builders.entries.gpu import tensorrt_config
from sightline.builders.entries.models import (
    ERROR,
    FRAME,
    FRAME_INFO,
    GEOMETRY,
    IMAGE,
    add_step,
    plain_model,
    same,
    stage_model_config,
)
from sightline.builders.stages.wire import PARAMETER
from sightline.builders.tasks import TASKS, TensorSpec
from sightline.card import ModelCard

WARMUP_FILE = "picture.jpg"


def stage_configs(context: EntryContext) -> dict[str, pb.ModelConfig]:
    """Configurations of this version's stages, by model name."""
    made = (*_first_stages(context), _network(context), _postprocess(context))
    return {config.name: config for config in made}


def public_configs(context: EntryContext) -> dict[str, pb.ModelConfig]:
    """The ensembles: the one for encoded files, and the one for raw frames."""
    files, frames = context.public
    return {
        frames: _ensemble(context, frames, "letterbox", (FRAME, FRAME_INFO)),
        files: _ensemble(context, files, "decode", (IMAGE,)),
    }


def _first_stages(context: EntryContext) -> tuple[pb.ModelConfig, ...]:
    picture = _picture_parameters(context.card)
    outputs = (context.tensor, GEOMETRY, ERROR)
    decode = stage_model_config(
        context, "decode", (IMAGE,), outputs, backend="python", instances=context.cores, parameters=picture
    )
    letterbox = stage_model_config(
        context,
        "letterbox",
        (FRAME, FRAME_INFO),
        outputs,
        backend="sightline",
        instances=context.cores // 4,
        parameters=picture,
    )
    return decode, letterbox


def _network(context: EntryContext) -> pb.ModelConfig:
    if context.engine == "tensorrt":
        return tensorrt_config(context)
    config = stage_model_config(
        context,
        "network",
        (context.tensor,),
        context.raw,
        backend="python" if context.engine == "onnxruntime" else "sightline",
        instances=context.network_instances,
        parameters={"outputs": len(context.raw_dims), **context.network},
    )
    _warm_up(config, context)
    return config


def _warm_up(config: pb.ModelConfig, context: EntryContext) -> None:
    """The first run compiles and allocates. A server of ours also sends real pictures before it says that it is ready."""
    warmup = config.model_warmup.add(name="first_run", batch_size=1)
    tensor = warmup.inputs[context.tensor.name]
    tensor.data_type = pb.TYPE_FP32
    tensor.dims.extend(context.tensor.dims)
    tensor.random_data = True


def _postprocess(context: EntryContext) -> pb.ModelConfig:
    limits = context.card.limits.model_dump(mode="json")
    parameters = {**limits, "outputs": len(context.raw_dims), **context.plan.parameters}
    return stage_model_config(
        context,
        "postprocess",
        (*context.raw, GEOMETRY),
        answers_of(context),
        backend="sightline",
        instances=context.cores // 4,
        parameters=parameters,
    )


def answers_of(context: EntryContext) -> tuple[TensorSpec, ...]:
    """The outputs of this entry's post-processing; the length of an embedding is the network's own."""
    outputs = TASKS[context.card.task].outputs
    if context.card.task != "embed":
        return outputs
    return tuple(TensorSpec(o.name, o.data_type, (_length(context.raw_dims[0]),)) for o in outputs)


def _length(dims: tuple[int, ...]) -> int:
    product = 1
    for dim in dims:
        product *= dim
    return product


def _ensemble(context: EntryContext, name: str, first: str, inputs: tuple[TensorSpec, ...]) -> pb.ModelConfig:
    """One step after the other; every tensor keeps its name from stage to stage."""
    task = TASKS[context.card.task]
    answers = answers_of(context)
    config = plain_model(context, name, inputs, (*answers, ERROR))
    config.platform = "ensemble"
    config.version_policy.specific.versions.append(context.number)
    for output in config.output:
        if output.name == task.classification_output and context.labels:
            output.label_filename = labels_file(context.number)
    raw = [tensor.name for tensor in context.raw]
    add_step(
        config, context.stage(first), same(*(t.name for t in inputs)), same("TENSOR", "GEOMETRY", "ERROR")
    )
    add_step(config, context.stage("network"), same("TENSOR"), same(*raw))
    add_step(config, context.stage("postprocess"), same(*raw, "GEOMETRY"), same(*(a.name for a in answers)))
    if context.card.engine.response_cache:
        config.response_cache.enable = True
    config.parameters[PARAMETER].string_value = json.dumps(description(context))
    return config


def labels_file(number: int) -> str:
    """Class names of a version, a line each."""
    return f"labels_v{number}.txt"


def _picture_parameters(card: ModelCard) -> dict[str, Any]:
    letterbox = card.input.model_dump(mode="json", exclude={"size"}, exclude_none=True)
    return {"size": list(card.input.size), "letterbox": letterbox}


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
