# SPDX-License-Identifier: Apache-2.0
"""Rules of instance groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.rules.problem import Case, Check, Problem

_GROUP = pb.ModelInstanceGroup


def _groups(case: Case) -> Iterator[tuple[str, Any]]:
    """The groups of a model that is no ensemble, each with what it is called in a text."""
    if not case.model.is_ensemble:
        for index, group in enumerate(case.model.config.instance_group):
            yield f"instance_group {group.name or index + 1}", group


def _kind(group: Any) -> str:
    known = group.kind in _GROUP.Kind.values()
    return str(_GROUP.Kind.Name(group.kind)) if known else f"the unknown kind {group.kind}"


def _explicit(case: Case) -> Iterator[Problem]:
    if not case.model.is_ensemble and not case.model.config.instance_group:
        yield Problem("there is no instance_group", "set kind and count")
    for what, group in _groups(case):
        if group.kind not in (_GROUP.KIND_CPU, _GROUP.KIND_GPU, _GROUP.KIND_MODEL):
            yield Problem(f"{what} is of {_kind(group)}", "use KIND_CPU or KIND_GPU")


def _gpus(case: Case) -> Iterator[Problem]:
    for what, group in _groups(case):
        if group.gpus and group.kind in (_GROUP.KIND_CPU, _GROUP.KIND_MODEL):
            yield Problem(f"{what} is of {_kind(group)} and names gpus {list(group.gpus)}", "leave gpus out")


def _no_gpu_here(case: Case) -> Iterator[Problem]:
    for what, group in _groups(case):
        if group.kind == _GROUP.KIND_GPU:
            yield Problem(f"{what} is of KIND_GPU", "use KIND_CPU on the target local")


def _profile(case: Case) -> Iterator[Problem]:
    for what, group in _groups(case):
        odd = [profile for profile in group.profile if not (profile.isascii() and profile.isdigit())]
        if group.profile and case.model.backend != "tensorrt":
            yield Problem(
                f"{what} has profile {list(group.profile)}", "leave profile out: only TensorRT has them"
            )
        elif odd:
            yield Problem(f"{what} has profile {odd}", 'use numbers such as "0"')


def _tensorrt_gpu(case: Case) -> Iterator[Problem]:
    for what, group in _groups(case):
        if case.model.backend == "tensorrt" and group.kind in (_GROUP.KIND_CPU, _GROUP.KIND_MODEL):
            yield Problem(f"{what} is of {_kind(group)}", "use KIND_GPU: TensorRT runs on nothing else")


def _dali_count(case: Case) -> Iterator[Problem]:
    count = sum(max(1, group.count) for _, group in _groups(case))
    if case.model.backend == "dali" and count > 1:
        yield Problem(f"it has {count} instances", "use one; threads and batches are set in the pipeline")


def _jetson_python(case: Case) -> Iterator[Problem]:
    for what, group in _groups(case):
        if case.model.backend == "python" and group.kind == _GROUP.KIND_GPU:
            yield Problem(f"{what} of a Python model is of KIND_GPU", "use KIND_CPU")


INSTANCE_CHECKS: dict[str, Check] = {
    "instance-kind": _explicit,
    "instance-gpus": _gpus,
    "instance-gpu-here": _no_gpu_here,
    "instance-profile": _profile,
    "tensorrt-gpu": _tensorrt_gpu,
    "dali-count": _dali_count,
    "jetson-python": _jetson_python,
}
