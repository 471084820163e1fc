# SPDX-License-Identifier: Apache-2.0
"""Rules of inputs and outputs, and of the engine that a TensorRT model asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.rules.problem import Case, Check, Problem

_TENSORRT = "tensorrt_plan"
_OPEN = -1
_PICTURE_DIMS = 3


def _tensors(case: Case) -> Iterator[tuple[str, Any]]:
    """Inputs and outputs, each with what it is called in a text."""
    for kind, tensors in (("input", case.model.config.input), ("output", case.model.config.output)):
        for index, tensor in enumerate(tensors):
            yield f"{kind} {tensor.name!r}" if tensor.name else f"{kind} number {index + 1}", tensor


def _named(case: Case) -> Iterator[Problem]:
    for what, tensor in _tensors(case):
        if not tensor.name:
            yield Problem(f"{what} has no name", "give it one")


def _typed(case: Case) -> Iterator[Problem]:
    for what, tensor in _tensors(case):
        if tensor.data_type == pb.TYPE_INVALID:
            yield Problem(f"{what} has no data_type", "set one such as TYPE_FP32")


def _dims(case: Case) -> Iterator[Problem]:
    for what, tensor in _tensors(case):
        if not tensor.dims:
            yield Problem(f"{what} has no dims", "set them; a single value is [ 1 ]")
        elif not _sizes_hold(tensor.dims):
            yield Problem(f"{what} has dims {list(tensor.dims)}", "use sizes of at least 1, or -1 for any")


def _no_batch(case: Case) -> Iterator[Problem]:
    """Two signs of a batch in dims: an open side before the three of a picture, and a plan of a picture with four."""
    if case.model.config.max_batch_size < 1:
        return
    planned = any("size" in options for options in case.model.requests)
    for what, tensor in _tensors(case):
        is_open = len(tensor.dims) > _PICTURE_DIMS and tensor.dims[0] == _OPEN
        if is_open or (planned and what.startswith("input") and len(tensor.dims) > _PICTURE_DIMS):
            yield Problem(
                f"{what} has dims {list(tensor.dims)} and max_batch_size is {case.model.config.max_batch_size}",
                f"leave the batch out: {list(tensor.dims)[1:]}",
            )


def _reshape(case: Case) -> Iterator[Problem]:
    for what, tensor in _tensors(case):
        if not tensor.HasField("reshape"):
            continue
        shape = tensor.reshape.shape
        said = f"{what} has dims {list(tensor.dims)} and reshape {list(shape)}"
        if not shape and case.model.config.max_batch_size == 0:
            yield Problem(said, "an empty reshape needs a model that batches")
        elif not _sizes_hold(shape):
            yield Problem(said, "use sizes of at least 1, or -1 for any")
        elif _runs(tensor.dims) != _runs(shape):
            yield Problem(said, "give both the same number of elements between each two open sides")


def _format(case: Case) -> Iterator[Problem]:
    for what, tensor in _tensors(case):
        if what.startswith("input") and tensor.format and len(tensor.dims) != _PICTURE_DIMS:
            yield Problem(
                f"{what} has {pb.ModelInput.Format.Name(tensor.format)} and dims {list(tensor.dims)}",
                "give the three sides of one picture",
            )


def _tensorrt_only(case: Case) -> Iterator[Problem]:
    is_tensorrt = case.model.config.platform == _TENSORRT or case.model.backend == "tensorrt"
    for what, tensor in _tensors(case):
        if tensor.is_shape_tensor and not is_tensorrt:
            yield Problem(
                f"{what} has is_shape_tensor", f"leave it out for {case.model.backend or 'this backend'}"
            )
        if tensor.is_non_linear_format_io and not (is_tensorrt and len(tensor.dims) == _PICTURE_DIMS):
            yield Problem(f"{what} has is_non_linear_format_io", "leave it out")


def _engine_batch(case: Case) -> Iterator[Problem]:
    for options in case.model.requests:
        largest = _integers(options.get("batch"))[-1:]
        most = max(1, case.model.config.max_batch_size)
        if not largest or largest[0] < most:
            yield Problem(
                f"engine.json asks for batches {options.get('batch')} and max_batch_size is {most}",
                "build the entry again",
            )


def _engine_size(case: Case) -> Iterator[Problem]:
    for options in case.model.requests:
        size = _integers(options.get("size"))
        for tensor in case.model.config.input:
            dims = list(tensor.dims)
            if size and len(dims) == _PICTURE_DIMS and dims[1:] != size[::-1]:
                yield Problem(
                    f"input {tensor.name!r} has dims {dims} and engine.json the size {size} (width, height)",
                    "build the entry again",
                )


def _sizes_hold(dims: Sequence[int]) -> bool:
    return all(side >= 1 or side == _OPEN for side in dims)


def _runs(dims: Sequence[int]) -> list[int]:
    """Products of the sides between open ones."""
    found: list[list[int]] = [[]]
    for side in dims:
        if side == _OPEN:
            found.append([])
        else:
            found[-1].append(side)
    return [math.prod(run) for run in found]


def _integers(values: Any) -> list[int]:
    if not isinstance(values, list) or not all(isinstance(value, int) for value in values):
        return []
    return values


TENSOR_CHECKS: dict[str, Check] = {
    "tensor-name": _named,
    "tensor-type": _typed,
    "tensor-dims": _dims,
    "dims-exclude-batch": _no_batch,
    "tensor-reshape": _reshape,
    "tensor-format": _format,
    "tensor-tensorrt-only": _tensorrt_only,
    "tensorrt-batch": _engine_batch,
    "tensorrt-size": _engine_size,
}
