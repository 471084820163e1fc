# SPDX-License-Identifier: Apache-2.0
"""Checks of what the kernels are given; each raises ValueError that names the value and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MAX_SIDE_PIXELS = 65535
MAX_ANCHORS = 1 << 24
MAX_CLASSES = 1 << 16


def expect(
    name: str, array: Any, dtype: type[np.generic], shape: tuple[int | None, ...], *, writable: bool = False
) -> None:
    fits = (
        isinstance(array, np.ndarray)
        and array.dtype == dtype
        and array.flags.c_contiguous
        and array.ndim == len(shape)
        and all(want is None or want == have for want, have in zip(shape, array.shape, strict=True))
    )
    if not fits:
        have = (
            f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        )
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} is {have}; it must be contiguous {dtype.__name__} of shape ({want})")
    if writable and not array.flags.writeable:
        raise ValueError(f"{name} is read-only; it must be writable")


def int32(name: str, values: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    if values.dtype == np.int32:
        return np.ascontiguousarray(values, dtype=np.int32)
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} are {values.dtype}; they must be integers")
    limits = np.iinfo(np.int32)
    if values.min() < limits.min or values.max() > limits.max:
        raise ValueError(f"{name} reach from {values.min()} to {values.max()}; they must fit into int32")
    return np.ascontiguousarray(values, dtype=np.int32)


def fraction(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}; it must lie in 0..1")


def choice(name: str, value: str, choices: dict[str, int]) -> int:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    return choices[value]


def triple(name: str, values: Sequence[float]) -> Floats:
    with np.errstate(over="ignore"):
        array = np.asarray(values, np.float32)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise ValueError(f"{name} is {values}; it must be three finite numbers")
    return array
