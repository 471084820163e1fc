# SPDX-License-Identifier: Apache-2.0
"""Rules of batches, queues and the response cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.rules.problem import Case, Check, Problem

_DELAY = pb.ModelQueuePolicy.DELAY
_OPEN = -1


def _max_batch(case: Case) -> Iterator[Problem]:
    if case.model.config.max_batch_size < 0:
        yield Problem(f"max_batch_size is {case.model.config.max_batch_size}", "use 0, or the largest batch")


def _preferred(case: Case) -> Iterator[Problem]:
    config = case.model.config
    for field, sizes in (
        ("dynamic_batching", config.dynamic_batching.preferred_batch_size),
        ("sequence_batching.oldest", config.sequence_batching.oldest.preferred_batch_size),
    ):
        odd = [size for size in sizes if not 1 <= size <= config.max_batch_size]
        if odd:
            yield Problem(
                f"{field} has preferred_batch_size {odd} and max_batch_size is {config.max_batch_size}",
                f"use sizes of 1..{config.max_batch_size}",
            )


def _bounded(case: Case) -> Iterator[Problem]:
    config = case.model.config
    if case.model.is_ensemble or config.HasField("sequence_batching"):
        return
    if not config.HasField("dynamic_batching"):
        yield Problem(
            "there is no dynamic_batching, so that its queue has no end", "add it with default_queue_policy"
        )
    for name, policy in _policies(case):
        if policy.max_queue_size == 0:
            yield Problem(
                f"{name} has max_queue_size 0, which is without end", "set the requests that may wait"
            )


def _timeout(case: Case) -> Iterator[Problem]:
    for name, policy in _policies(case):
        if policy.default_timeout_microseconds == 0:
            yield Problem(f"{name} has no default_timeout_microseconds", "set how long a request may wait")
        elif policy.timeout_action == _DELAY and not case.model.config.dynamic_batching.preserve_ordering:
            yield Problem(
                f"{name} has timeout_action DELAY", "use REJECT, so that what is too late is refused"
            )


def _policies(case: Case) -> Iterator[tuple[str, Any]]:
    """Of the queues of the dynamic batcher."""
    config = case.model.config
    if config.HasField("dynamic_batching"):
        yield "default_queue_policy", config.dynamic_batching.default_queue_policy
        for level, policy in sorted(config.dynamic_batching.priority_queue_policy.items()):
            yield f"priority_queue_policy {level}", policy


def _priorities(case: Case) -> Iterator[Problem]:
    batching = case.model.config.dynamic_batching
    levels = batching.priority_levels
    if not levels:
        return
    if not 1 <= batching.default_priority_level <= levels:
        yield Problem(f"default_priority_level is {batching.default_priority_level}", f"use 1..{levels}")
    for level in sorted(batching.priority_queue_policy):
        if not 1 <= level <= levels:
            yield Problem(f"priority_queue_policy has the level {level}", f"use 1..{levels}")


def _ordering(case: Case) -> Iterator[Problem]:
    batching = case.model.config.dynamic_batching
    if not batching.preserve_ordering:
        return
    if batching.priority_levels > 1:
        yield Problem(
            f"preserve_ordering is set with {batching.priority_levels} priority_levels", "use one level"
        )
    for name, policy in _policies(case):
        if policy.default_timeout_microseconds and policy.timeout_action == _DELAY:
            yield Problem(f"preserve_ordering is set and {name} has timeout_action DELAY", "use REJECT")


def _ragged_tensorrt(case: Case) -> Iterator[Problem]:
    if case.model.backend != "tensorrt":
        return
    for tensor in case.model.config.input:
        if tensor.allow_ragged_batch and len(tensor.dims) != 1:
            yield Problem(
                f"input {tensor.name!r} has allow_ragged_batch and dims {list(tensor.dims)}",
                "leave allow_ragged_batch out",
            )


def _ragged_open(case: Case) -> Iterator[Problem]:
    config = case.model.config
    for tensor in config.input:
        if tensor.allow_ragged_batch and not (_OPEN in tensor.dims and config.HasField("dynamic_batching")):
            yield Problem(f"input {tensor.name!r} has allow_ragged_batch, without effect", "leave it out")


def _batch_input(case: Case) -> Iterator[Problem]:
    inputs = {tensor.name for tensor in case.model.config.input}
    for one in case.model.config.batch_input:
        said = f"batch_input {', '.join(one.target_name) or 'without target_name'}"
        if len(one.source_input) != 1 or not set(one.source_input) <= inputs:
            yield Problem(
                f"{said} has source_input {list(one.source_input)}", f"name one of {sorted(inputs)}"
            )
        if one.data_type not in (pb.TYPE_INT32, pb.TYPE_FP32):
            yield Problem(f"{said} has data_type {_type(one.data_type)}", "use TYPE_INT32 or TYPE_FP32")


def _cache_decoupled(case: Case) -> Iterator[Problem]:
    config = case.model.config
    if config.response_cache.enable and config.model_transaction_policy.decoupled:
        yield Problem("response_cache is enabled for a decoupled model", "leave one of them out")


def _cache_sequence(case: Case) -> Iterator[Problem]:
    config = case.model.config
    if config.response_cache.enable and config.HasField("sequence_batching"):
        yield Problem("response_cache is enabled with sequence_batching", "leave one of them out")


def _cache_ensemble(case: Case) -> Iterator[Problem]:
    if case.model.is_ensemble and case.model.config.response_cache.enable:
        yield Problem("response_cache has no effect on an ensemble", "use Triton 24.05 or later")


def _type(number: int) -> str:
    return str(pb.DataType.Name(number)) if number in pb.DataType.values() else str(number)


BATCH_CHECKS: dict[str, Check] = {
    "max-batch-size": _max_batch,
    "preferred-batch-size": _preferred,
    "queue-bounded": _bounded,
    "queue-timeout": _timeout,
    "priority-levels": _priorities,
    "ordering": _ordering,
    "ragged-tensorrt": _ragged_tensorrt,
    "ragged-open": _ragged_open,
    "batch-input": _batch_input,
    "cache-decoupled": _cache_decoupled,
    "cache-sequence": _cache_sequence,
    "cache-ensemble": _cache_ensemble,
}
