# SPDX-License-Identifier: Apache-2.0
"""Rules of the folder: configuration, versions, labels, and the files that backends load."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sightline.builders.rules.folders import CONFIG, ENSEMBLE, PLATFORMS, REQUEST_FILE
from sightline.builders.rules.problem import Case, Check, Problem

_ONNX_FILE, _PLAN_FILE = "model.onnx", "model.plan"
_ONEOF = "another member of oneof"
_NATIVE_FILES = ("model.xml", "model.bin")
_NATIVE_STAGES = ("network", "fused")


def _readable(case: Case) -> Iterator[Problem]:
    if _ONEOF not in case.model.unread:
        yield Problem(
            f"{CONFIG} cannot be read ({case.model.unread})", "correct the field, or build the entry again"
        )


def _exclusive(case: Case) -> Iterator[Problem]:
    if _ONEOF in case.model.unread:
        yield Problem(f"{CONFIG} has two schedulers ({case.model.unread})", "keep one of them")


def _name(case: Case) -> Iterator[Problem]:
    name = case.model.config.name
    if name and name != case.model.name:
        yield Problem(f"name is {name!r} in the folder {case.model.name!r}", "rename one of them")


def _version(case: Case) -> Iterator[Problem]:
    model = case.model
    if model.versions:
        return
    wanted = list(model.config.version_policy.specific.versions) or "a folder such as 1"
    there = ", ".join(model.folders) or "none"
    yield Problem(
        f"no version can be loaded: wanted is {wanted}, folders are {there}", "add the version's folder"
    )


def _named_versions(case: Case) -> Iterator[Problem]:
    model = case.model
    missing = set(model.config.version_policy.specific.versions) - set(model.existing_versions)
    if missing and model.versions:
        yield Problem(
            f"version_policy names {sorted(missing)}, which has no folder", "add it, or leave it out"
        )


def _labels(case: Case) -> Iterator[Problem]:
    for output in case.model.config.output:
        if output.label_filename and output.label_filename not in case.model.files:
            yield Problem(
                f"output {output.name!r} has label_filename {output.label_filename!r}, which is not there",
                "put the file beside config.pbtxt, or leave label_filename out",
            )


def _missing(
    case: Case, backend: str, complete: Callable[[set[str]], bool], wanted: str
) -> Iterator[Problem]:
    """A problem for each version of a model of the backend whose files are not complete."""
    if case.model.backend != backend or case.model.is_ensemble:
        return
    for version in case.model.versions:
        names = {name.partition("/")[2] for name in case.model.files if name.startswith(f"{version}/")}
        if not complete(names):
            yield Problem(f"version {version} has no {wanted}", "add the file, or build the entry again")


def _python_file(case: Case) -> Iterator[Problem]:
    name = case.model.config.default_model_filename or "model.py"
    yield from _missing(case, "python", lambda names: name in names, name)


def _tensorrt_file(case: Case) -> Iterator[Problem]:
    name = case.model.config.default_model_filename or _PLAN_FILE
    yield from _missing(
        case,
        "tensorrt",
        lambda names: name in names or {REQUEST_FILE, _ONNX_FILE} <= names,
        f"{name}, nor {REQUEST_FILE} and {_ONNX_FILE} from which it would be built",
    )


def _dali_file(case: Case) -> Iterator[Problem]:
    name = case.model.config.default_model_filename or "model.dali"
    yield from _missing(case, "dali", lambda names: bool({name, "dali.py"} & names), f"{name} or dali.py")


def _native_file(case: Case) -> Iterator[Problem]:
    if case.model.stage in _NATIVE_STAGES:
        wanted = " and ".join(_NATIVE_FILES)
        yield from _missing(case, "sightline", lambda names: set(_NATIVE_FILES) <= names, wanted)


def _backend(case: Case) -> Iterator[Problem]:
    model = case.model
    if model.is_ensemble:
        return
    allowed = case.rule.allowed.get(case.target, ())
    if model.backend not in allowed:
        said = f"backend is {model.config.backend!r} and platform {model.config.platform!r}"
        yield Problem(f"{said}, which {case.target} does not have", f"use one of {', '.join(allowed)}")


def _platform(case: Case) -> Iterator[Problem]:
    """Other backends, Python too, take any platform."""
    config = case.model.config
    is_known = config.backend in PLATFORMS.values() and config.platform not in ("", ENSEMBLE)
    if is_known and PLATFORMS.get(config.platform) != config.backend:
        yield Problem(
            f"backend {config.backend!r} is set with platform {config.platform!r}", "leave platform out"
        )


UNREAD_CHECKS: dict[str, Check] = {"config-readable": _readable, "batching-exclusive": _exclusive}
FILE_CHECKS: dict[str, Check] = {
    "name-is-folder": _name,
    "version-folder": _version,
    "version-named": _named_versions,
    "label-file": _labels,
    "python-file": _python_file,
    "tensorrt-file": _tensorrt_file,
    "dali-file": _dali_file,
    "native-file": _native_file,
    "backend-known": _backend,
    "backend-platform": _platform,
}
