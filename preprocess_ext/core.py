# SPDX-License-Identifier: Apache-2.0
"""The C core itself: its version and the instructions it uses. The kernels release the GIL while they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sightline.preprocess_ext import _core

CPU_LEVELS = ("scalar", "neon", "avx2", "avx512")


def version() -> str:
    """Version of the package that the C core was built for."""
    return _core.version()


def cpu() -> str:
    """Name (CPU_LEVELS) of the instruction set in use; each gives the same bits."""
    return CPU_LEVELS[_core.cpu()]


@contextmanager
def cpu_limit(highest: str) -> Iterator[str]:
    """Use nothing better than `highest` (CPU_LEVELS) in the whole process; gives what is used. For tests and benchmarks.

    Raises ValueError for another name.
    """
    if highest not in CPU_LEVELS:
        raise ValueError(f"highest is {highest!r}; it must be one of {', '.join(CPU_LEVELS)}")
    before = _core.cpu()
    try:
        yield CPU_LEVELS[_core.cpu_limit(CPU_LEVELS.index(highest))]
    finally:
        _core.cpu_limit(before)
