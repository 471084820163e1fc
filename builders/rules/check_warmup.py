# SPDX-License-Identifier: Apache-2.0
"""Rules of a model's own warm-up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.rules.problem import Case, Check, Problem

FOLDER = "warmup"
_OPEN = -1
_BYTES = {
    **dict.fromkeys((pb.TYPE_BOOL, pb.TYPE_UINT8, pb.TYPE_INT8), 1),
    **dict.fromkeys((pb.TYPE_UINT16, pb.TYPE_INT16, pb.TYPE_FP16, pb.TYPE_BF16), 2),
    **dict.fromkeys((pb.TYPE_UINT32, pb.TYPE_INT32, pb.TYPE_FP32), 4),
    **dict.fromkeys((pb.TYPE_UINT64, pb.TYPE_INT64, pb.TYPE_FP64), 8),
}
"""A STRING's data is as long as its file; see GenerateWarmupData."""


def _samples(case: Case) -> Iterator[Any]:
    """The warm-ups that are run; those of an ensemble break a rule of their own."""
    if not case.model.is_ensemble:
        yield from (one for one in case.model.config.model_warmup if one.batch_size)


def _inputs(case: Case) -> Iterator[tuple[str, str, Any]]:
    """Each input of each warm-up: what it is called in a text, its name, itself."""
    for sample in _samples(case):
        for name, tensor in sorted(sample.inputs.items()):
            yield f"warm-up {sample.name!r} input {name!r}", name, tensor


def _same_inputs(case: Case) -> Iterator[Problem]:
    known = {tensor.name: tensor for tensor in case.model.config.input}
    needed = {name for name, tensor in known.items() if not tensor.optional}
    for sample in _samples(case):
        missing, others = needed - set(sample.inputs), set(sample.inputs) - set(known)
        if missing or others:
            yield Problem(
                f"warm-up {sample.name!r} lacks {sorted(missing)} and has {sorted(others)}, which is no input"
                if others
                else f"warm-up {sample.name!r} lacks {sorted(missing)}",
                f"give {sorted(needed)}",
            )
    for what, name, tensor in _inputs(case):
        if name in known and tensor.data_type != known[name].data_type:
            yield Problem(f"{what} has another data_type than the model", "use that of the input")


def _dims(case: Case) -> Iterator[Problem]:
    known = {tensor.name: list(tensor.dims) for tensor in case.model.config.input}
    for what, name, tensor in _inputs(case):
        dims, wanted = list(tensor.dims), known.get(name)
        fits = wanted is None or (
            len(dims) == len(wanted)
            and all(right in (_OPEN, side) for side, right in zip(dims, wanted, strict=True))
        )
        if any(side < 0 for side in dims) or not fits:
            yield Problem(f"{what} has dims {dims}", f"use sizes that fit {wanted}, the batch left out")


def _data(case: Case) -> Iterator[Problem]:
    for what, _, tensor in _inputs(case):
        if tensor.WhichOneof("input_data_type") is None:
            yield Problem(f"{what} has no data", "set input_data_file, zero_data or random_data")


def _file(case: Case) -> Iterator[Problem]:
    for what, _, tensor in _inputs(case):
        if tensor.WhichOneof("input_data_type") != "input_data_file":
            continue
        there = case.model.files.get(f"{FOLDER}/{tensor.input_data_file}")
        need = _BYTES.get(tensor.data_type, 0) * math.prod(tensor.dims)
        said = f"{what} has input_data_file {tensor.input_data_file!r}"
        if there is None:
            yield Problem(f"{said}, which is not in {FOLDER}/", "add it, or build the entry again")
        elif there < need:
            yield Problem(f"{said} of {there} bytes and needs {need}", "build the entry again")


def _batch(case: Case) -> Iterator[Problem]:
    most = max(1, case.model.config.max_batch_size)
    if case.model.is_ensemble:
        return
    for sample in case.model.config.model_warmup:
        if not 1 <= sample.batch_size <= most:
            yield Problem(f"warm-up {sample.name!r} has batch_size {sample.batch_size}", f"use 1..{most}")


WARMUP_CHECKS: dict[str, Check] = {
    "warmup-inputs": _same_inputs,
    "warmup-dims": _dims,
    "warmup-data": _data,
    "warmup-file": _file,
    "warmup-batch": _batch,
}
