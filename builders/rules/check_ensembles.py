# SPDX-License-Identifier: Apache-2.0
"""Rules of an ensemble and the models of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.rules.folders import ENSEMBLE, ModelFolder
from sightline.builders.rules.problem import Case, Check, Problem

_NEWEST = -1
_OPEN = -1


@dataclass(frozen=True)
class Seen:
    """A tensor of an ensemble as one model declares it. batching: whether that model puts a batch in front of dims."""

    owner: str
    data_type: int
    dims: Sequence[int]
    batching: bool


def known_steps(case: Case) -> Iterator[tuple[str, Any, ModelFolder]]:
    """The steps whose model is there and can be read, each with what it is called in a text."""
    for index, step in enumerate(case.model.config.ensemble_scheduling.step):
        model = case.repository.models.get(step.model_name)
        if model is not None and not model.unread:
            yield f"step {index + 1} ({step.model_name})", step, model


def _platform(case: Case) -> Iterator[Problem]:
    config = case.model.config
    if config.platform == ENSEMBLE and not config.HasField("ensemble_scheduling"):
        yield Problem('platform is "ensemble" without ensemble_scheduling', "add the steps")
    if config.HasField("ensemble_scheduling") and config.platform != ENSEMBLE:
        yield Problem(
            f"ensemble_scheduling is set with platform {config.platform!r}", 'use platform "ensemble"'
        )
    if case.model.is_ensemble and config.backend:
        yield Problem(f"an ensemble has the backend {config.backend!r}", "leave backend out")


def _instances(case: Case) -> Iterator[Problem]:
    if case.model.is_ensemble and case.model.config.instance_group:
        yield Problem("an ensemble has an instance_group", "leave it out; its steps have instances")


def _optimization(case: Case) -> Iterator[Problem]:
    if case.model.is_ensemble and case.model.config.HasField("optimization"):
        yield Problem("an ensemble has optimization", "leave it out; its steps may have it")


def _warmup(case: Case) -> Iterator[Problem]:
    if case.model.is_ensemble and case.model.config.model_warmup:
        yield Problem("an ensemble has model_warmup", "leave it out; its steps may have it")


def _steps(case: Case) -> Iterator[Problem]:
    config = case.model.config
    if config.HasField("ensemble_scheduling") and not config.ensemble_scheduling.step:
        yield Problem("ensemble_scheduling has no step", "add the steps")
    for index, step in enumerate(config.ensemble_scheduling.step):
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step, field):
                yield Problem(f"step {index + 1} has no {field}", "set it")


def _models(case: Case) -> Iterator[Problem]:
    names = {step.model_name for step in case.model.config.ensemble_scheduling.step if step.model_name}
    for name in sorted(names - set(case.repository.models)):
        yield Problem(
            f"a step names the model {name!r}, which is not in the repository", "add it, or build again"
        )


def _circular(case: Case) -> Iterator[Problem]:
    waiting, seen = [case.model.name], set()
    while waiting:
        model = case.repository.models.get(waiting.pop())
        for step in model.config.ensemble_scheduling.step if model else ():
            if step.model_name == case.model.name:
                yield Problem("the ensemble contains itself", "take that step out")
                return
            if step.model_name not in seen:
                seen.add(step.model_name)
                waiting.append(step.model_name)


def _version(case: Case) -> Iterator[Problem]:
    for what, step, model in known_steps(case):
        if step.model_version != _NEWEST and step.model_version not in model.versions:
            there = ", ".join(map(str, model.versions)) or "none"
            yield Problem(
                f"{what} wants version {step.model_version}; loaded are {there}", "use -1, the newest"
            )


def _batch(case: Case) -> Iterator[Problem]:
    most = case.model.config.max_batch_size
    for what, _, model in known_steps(case):
        if 0 != model.config.max_batch_size < most:
            yield Problem(
                f"{what} takes batches of {model.config.max_batch_size} and the ensemble of {most}",
                "make the ensemble's max_batch_size as small",
            )


def _maps(case: Case) -> Iterator[Problem]:
    for what, step, model in known_steps(case):
        inputs = {tensor.name for tensor in model.config.input}
        needed = {tensor.name for tensor in model.config.input if not tensor.optional}
        outputs = {tensor.name for tensor in model.config.output}
        for field, names, fix in (
            ("no input_map for", needed - set(step.input_map), "map every input"),
            ("an input_map for", set(step.input_map) - inputs, f"the inputs are {sorted(inputs)}"),
            ("an output_map for", set(step.output_map) - outputs, f"the outputs are {sorted(outputs)}"),
        ):
            if names:
                yield Problem(f"{what} has {field} {sorted(names)}", fix)


def _types(case: Case) -> Iterator[Problem]:
    for name, first, other in _pairs(case):
        if first.data_type != other.data_type:
            yield Problem(
                f"{name!r} is {_type(first.data_type)} in {first.owner} and {_type(other.data_type)} in {other.owner}",
                "give them one data_type",
            )


def _shapes(case: Case) -> Iterator[Problem]:
    for name, first, other in _pairs(case):
        if not _alike(first.dims, other.dims) and not _alike(_whole(first), _whole(other)):
            yield Problem(
                f"{name!r} is {_whole(first)} in {first.owner} and {_whole(other)} in {other.owner}, batch included",
                "give them the same dims, or -1 for any size",
            )


def _pairs(case: Case) -> Iterator[tuple[str, Seen, Seen]]:
    """Each tensor as declared first, with each later declaration: the ensemble's own come before those of its steps."""
    first: dict[str, Seen] = {}
    for name, seen in _declared(case):
        if name in first:
            yield name, first[name], seen
        else:
            first[name] = seen


def _declared(case: Case) -> Iterator[tuple[str, Seen]]:
    config = case.model.config
    if not config.HasField("ensemble_scheduling"):
        return
    for tensor in (*config.input, *config.output):
        dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
        yield tensor.name, Seen("the ensemble", tensor.data_type, dims, config.max_batch_size > 0)
    for what, step, model in known_steps(case):
        batching = model.config.max_batch_size > 0
        for tensors, names in ((model.config.input, step.input_map), (model.config.output, step.output_map)):
            for tensor in tensors:
                if tensor.name in names:
                    yield names[tensor.name], Seen(what, tensor.data_type, tensor.dims, batching)


def _whole(seen: Seen) -> list[int]:
    return [_OPEN, *seen.dims] if seen.batching else list(seen.dims)


def _alike(left: Sequence[int], right: Sequence[int]) -> bool:
    """As triton::common::CompareDimsWithWildcard."""
    return len(left) == len(right) and all(
        _OPEN in (one, other) or one == other for one, other in zip(left, right, strict=True)
    )


def _type(number: int) -> str:
    return str(pb.DataType.Name(number)) if number in pb.DataType.values() else str(number)


ENSEMBLE_CHECKS: dict[str, Check] = {
    "ensemble-platform": _platform,
    "ensemble-instances": _instances,
    "ensemble-optimization": _optimization,
    "ensemble-warmup": _warmup,
    "ensemble-steps": _steps,
    "ensemble-models": _models,
    "ensemble-circular": _circular,
    "ensemble-version": _version,
    "ensemble-batch": _batch,
    "ensemble-maps": _maps,
    "ensemble-types": _types,
    "ensemble-shapes": _shapes,
}
