# SPDX-License-Identifier: Apache-2.0
"""The network as a TensorRT plan, for the targets server and jetson."""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.entries.context import EntryContext
from sightline.builders.entries.models import bound_queue, plain_model

BATCH_DELAY_MICROSECONDS = 2000


def tensorrt_config(context: EntryContext) -> pb.ModelConfig:
    """model.plan on the GPU; requests are merged up to the card's batch sizes."""
    config = plain_model(context, context.stage("network"), (context.tensor,), context.raw)
    config.platform = "tensorrt_plan"
    config.default_model_filename = "model.plan"
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_GPU, count=context.network_instances)
    sizes = [size for size in context.card.engine.batch if size > 1] or [1]
    config.dynamic_batching.preferred_batch_size.extend(sizes)
    config.dynamic_batching.max_queue_delay_microseconds = BATCH_DELAY_MICROSECONDS if sizes != [1] else 0
    bound_queue(config, context)
    return config
