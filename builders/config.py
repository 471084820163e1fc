# SPDX-License-Identifier: Apache-2.0
"""Triton configurations of a model's entry, made and checked through Triton's own protobuf messages.

Strings of the card are only ever assigned to fields; text_format quotes them, so that no name or label can add a field.
Rules: model_config.proto and model_config_utils.cc of release 24.10.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.stages.wire import FRAME_INFO_FIELDS, GEOMETRY_FIELDS, PARAMETER, raw_name
from sightline.builders.tasks import TASKS, TensorSpec
from sightline.card import ModelCard
from sightline.errors import BuildError

MAX_INSTANCES = 8
LABELS_FILE = "labels.txt"
STAGES = ("decode", "letterbox", "network", "postprocess")
PYTHON_STAGES = ("decode",)  # Pillow decodes files; all else is native

_IMAGE = TensorSpec("IMAGE", "UINT8", (-1,))
_FRAME = TensorSpec("FRAME", "UINT8", (-1,))
_FRAME_INFO = TensorSpec("FRAME_INFO", "INT32", (FRAME_INFO_FIELDS,))
_GEOMETRY = TensorSpec("GEOMETRY", "FP32", (GEOMETRY_FIELDS,))
_ERROR = TensorSpec("ERROR", "STRING", (1,))


@dataclass(frozen=True)
class EntryContext:
    """What the configurations of one card are made from. raw_dims: the head's network outputs without the batch."""

    card: ModelCard
    labels: tuple[str, ...]
    raw_dims: tuple[tuple[int, ...], ...]
    version: str
    cores: int

    @property
    def network_instances(self) -> int:
        """One for each core and one to spare, see _stage."""
        return self.cores + 1

    @property
    def tensor(self) -> TensorSpec:
        """The network's input."""
        width, height = self.card.input.size
        return TensorSpec("TENSOR", "FP32", (3, height, width))

    @property
    def raw(self) -> tuple[TensorSpec, ...]:
        """The network's outputs that the head reads."""
        return tuple(TensorSpec(raw_name(i), "FP32", dims) for i, dims in enumerate(self.raw_dims))


def usable_cores() -> int:
    """Cores that this process may use, at most MAX_INSTANCES."""
    return max(1, min(len(os.sched_getaffinity(0)), MAX_INSTANCES))


def entry_configs(context: EntryContext) -> dict[str, pb.ModelConfig]:
    """Configurations of all models of a card, by model name; the stages come before the ensembles that use them."""
    name = context.card.name
    picture_outputs = (context.tensor, _GEOMETRY, _ERROR)
    answers = TASKS[context.card.task].outputs
    few = max(2, context.cores // 4)
    picture = _picture_parameters(context.card)
    head = _head_parameters(context)
    return {
        f"{name}_decode": _stage(
            context, "decode", (_IMAGE,), picture_outputs, max(2, context.cores), picture
        ),
        f"{name}_letterbox": _stage(
            context, "letterbox", (_FRAME, _FRAME_INFO), picture_outputs, few, picture
        ),
        f"{name}_network": _network(context),
        f"{name}_postprocess": _stage(context, "postprocess", (*context.raw, _GEOMETRY), answers, few, head),
        f"{name}_frames": _ensemble(context, f"{name}_frames", "letterbox", (_FRAME, _FRAME_INFO)),
        name: _ensemble(context, name, "decode", (_IMAGE,)),
    }


def config_text(config: pb.ModelConfig) -> str:
    """The configuration as config.pbtxt holds it. Raises BuildError where it would not be read back the same."""
    text: str = text_format.MessageToString(config, as_utf8=True)
    again = pb.ModelConfig()
    try:
        text_format.Parse(text, again)
    except text_format.ParseError as error:
        raise BuildError(f"the configuration of {config.name} cannot be read back: {error}") from error
    if again != config:
        raise BuildError(f"the configuration of {config.name} changes when it is read back")
    return text


def _stage(
    context: EntryContext,
    stage: str,
    inputs: Iterable[TensorSpec],
    outputs: Iterable[TensorSpec],
    instances: int,
    parameters: Mapping[str, Any],
) -> pb.ModelConfig:
    """A stage with a bounded queue and, for light loads, an instance to spare.

    With queue limits Triton 2.51 does not wake its batcher for a request that comes while no instance waits for
    work (RateLimiter::PayloadSlotAvailable), not even in the moment between an answer and the instance's return:
    such a request then waits for the batcher's next look, up to 500 ms. So no stage has a single instance.

    A preferred size of 1 keeps Triton from merging requests: one instance would work through them one by one while the
    others idle. (Queue limits exist on the dynamic batcher only, so that it cannot be left out.)
    """
    config = _model(context, f"{context.card.name}_{stage}", inputs, outputs)
    config.backend = "python" if stage in PYTHON_STAGES else "sightline"
    group = config.instance_group.add()
    group.kind = pb.ModelInstanceGroup.KIND_CPU
    group.count = instances
    config.dynamic_batching.preferred_batch_size.append(1)
    config.dynamic_batching.max_queue_delay_microseconds = 0
    policy = config.dynamic_batching.default_queue_policy
    policy.max_queue_size = context.card.engine.queue
    policy.default_timeout_microseconds = int(context.card.engine.queue_seconds * 1e6)
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
    policy.allow_timeout_override = True
    for tensor in config.input:
        if tensor.name in (_IMAGE.name, _FRAME.name):
            tensor.allow_ragged_batch = True
    config.parameters[PARAMETER].string_value = json.dumps({"stage": stage, **parameters})
    return config


def _network(context: EntryContext) -> pb.ModelConfig:
    parameters = {"outputs": len(context.raw_dims)}
    config = _stage(context, "network", (context.tensor,), context.raw, context.network_instances, parameters)
    warmup = config.model_warmup.add()
    warmup.name = "first_run"
    warmup.batch_size = 1
    tensor = warmup.inputs[context.tensor.name]
    tensor.data_type = pb.TYPE_FP32
    tensor.dims.extend(context.tensor.dims)
    tensor.random_data = True
    return config


def _ensemble(
    context: EntryContext, model: str, first_stage: str, inputs: tuple[TensorSpec, ...]
) -> pb.ModelConfig:
    task = TASKS[context.card.task]
    config = _model(context, model, inputs, (*task.outputs, _ERROR))
    config.platform = "ensemble"
    for output in config.output:
        if output.name == task.classification_output:
            output.label_filename = LABELS_FILE
    name = context.card.name
    raw = [tensor.name for tensor in context.raw]
    _step(config, f"{name}_{first_stage}", [t.name for t in inputs], ["TENSOR", "GEOMETRY", "ERROR"])
    _step(config, f"{name}_network", ["TENSOR"], raw)
    _step(config, f"{name}_postprocess", [*raw, "GEOMETRY"], [t.name for t in task.outputs])
    config.parameters[PARAMETER].string_value = json.dumps(_description(context))
    return config


def _step(config: pb.ModelConfig, model: str, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Add a step whose tensors have the same names inside the ensemble."""
    step = config.ensemble_scheduling.step.add()
    step.model_name = model
    step.model_version = -1
    step.input_map.update({name: name for name in inputs})
    step.output_map.update({name: name for name in outputs})


def _model(
    context: EntryContext, name: str, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]
) -> pb.ModelConfig:
    config = pb.ModelConfig(name=name, max_batch_size=context.card.engine.batch[-1])
    for specs, fields in ((inputs, config.input), (outputs, config.output)):
        for spec in specs:
            fields.add(name=spec.name, data_type=pb.DataType.Value(f"TYPE_{spec.data_type}"), dims=spec.dims)
    return config


def _picture_parameters(card: ModelCard) -> dict[str, Any]:
    letterbox = card.input.model_dump(mode="json", include={"mean", "std", "resize", "colour"})
    return {"size": list(card.input.size), "letterbox": letterbox}


def _head_parameters(context: EntryContext) -> dict[str, Any]:
    return {
        "head": context.card.head,
        "outputs": len(context.raw_dims),
        **context.card.limits.model_dump(mode="json"),
    }


def _description(context: EntryContext) -> dict[str, Any]:
    """What a client learns of the model through the model-config call."""
    width, height = context.card.input.size
    return {
        "task": context.card.task,
        "labels": list(context.labels),
        "input": {"width": width, "height": height},
        "head": context.card.head,
        "limits": context.card.limits.model_dump(mode="json"),
        "version": context.version,
    }
