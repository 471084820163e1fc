# SPDX-License-Identifier: Apache-2.0
"""Single models of an entry through Triton's own protobuf messages.

Strings of the card are only ever assigned to fields; text_format quotes them, so that no name or label can add a field.
Rules: model_config.proto and model_config_utils.cc of release 24.10; builders/rules holds them as data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.entries.context import EntryContext
from sightline.builders.stages.wire import FRAME_INFO_FIELDS, GEOMETRY_FIELDS, PARAMETER
from sightline.builders.tasks import TensorSpec
from sightline.errors import BuildError

IMAGE = TensorSpec("IMAGE", "UINT8", (-1,))
FRAME = TensorSpec("FRAME", "UINT8", (-1,))
FRAME_INFO = TensorSpec("FRAME_INFO", "INT32", (FRAME_INFO_FIELDS,))
GEOMETRY = TensorSpec("GEOMETRY", "FP32", (GEOMETRY_FIELDS,))
ERROR = TensorSpec("ERROR", "STRING", (1,))


def plain_model(
    context: EntryContext, name: str, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]
) -> pb.ModelConfig:
    """A model with these tensors and the card's largest batch."""
    config = pb.ModelConfig(name=name, max_batch_size=context.card.engine.batch[-1])
    for specs, fields in ((inputs, config.input), (outputs, config.output)):
        for spec in specs:
            fields.add(name=spec.name, data_type=pb.DataType.Value(f"TYPE_{spec.data_type}"), dims=spec.dims)
    return config


def stage_model_config(
    context: EntryContext,
    stage: str,
    inputs: Iterable[TensorSpec],
    outputs: Iterable[TensorSpec],
    *,
    backend: str,
    instances: int,
    parameters: Mapping[str, Any],
) -> pb.ModelConfig:
    """A stage on the CPU with a bounded queue and, for light loads, an instance to spare.

    With queue limits Triton 2.51 does not wake its batcher for a request that comes while no instance waits for
    work (RateLimiter::PayloadSlotAvailable), not even in the moment between an answer and the instance's return:
    such a request then waits for the batcher's next look, up to 500 ms. So no stage has a single instance.

    A preferred size of 1 keeps Triton from merging requests: one instance would work through them one by one while the
    others idle. (Queue limits exist on the dynamic batcher only, so that it cannot be left out.)
    """
    config = plain_model(context, context.stage(stage), inputs, outputs)
    config.backend = backend
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=max(2, instances))
    config.dynamic_batching.preferred_batch_size.append(1)
    config.dynamic_batching.max_queue_delay_microseconds = 0
    bound_queue(config, context)
    for tensor in config.input:
        if tensor.name in (IMAGE.name, FRAME.name):
            tensor.allow_ragged_batch = True
    config.parameters[PARAMETER].string_value = json.dumps({"stage": stage, **parameters})
    return config


def bound_queue(config: pb.ModelConfig, context: EntryContext) -> None:
    """Triton's default is a queue without end and without a timeout."""
    policy = config.dynamic_batching.default_queue_policy
    policy.max_queue_size = context.card.engine.queue
    policy.default_timeout_microseconds = int(context.card.engine.queue_seconds * 1e6)
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
    policy.allow_timeout_override = True


def add_step(
    config: pb.ModelConfig, model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> None:
    """Add a step to an ensemble; the maps go from the model's tensor to the ensemble's."""
    step = config.ensemble_scheduling.step.add()
    step.model_name = model
    step.model_version = -1
    step.input_map.update(inputs)
    step.output_map.update(outputs)


def same(*names: str) -> dict[str, str]:
    """A map of tensors that have the same names inside the ensemble."""
    return {name: name for name in names}


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
