# SPDX-License-Identifier: Apache-2.0
"""The groups of benchmarks: a new one is a module with `benches()`, a generator of Bench, and its name here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from sightline.perf.kernels.bench import Bench

GROUPS = ("nms", "heads", "masks", "rle", "letterbox", "tracks")


def benches(group: str) -> Iterator[Bench]:
    """Benchmarks of a group (GROUPS). Raises MissingDependencyError where a peer is not installed."""
    yield from importlib.import_module(f"sightline.perf.kernels.groups.{group}").benches()
