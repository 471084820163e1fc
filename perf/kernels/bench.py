# SPDX-License-Identifier: Apache-2.0
"""Times our call and its peers in turns in one run, after their results were found equal."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sightline.errors import MissingDependencyError

ROUNDS = 7
STRETCH_SECONDS = 0.1
"""A call is repeated for so long in each round, so that the clock and a cold cache do not matter."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Bench:
    """One row of the table: the same work by us and by others.

    check: raises ValueError where results differ, called once before anything is timed. goal: least ratio of the
    fastest peer's time to ours; None where there is no goal. floor_bytes: bytes that must be read and written at the
    least, from which the memory floor is computed.
    """

    group: str
    case: str
    ours: Call
    peers: Mapping[str, Call]
    check: Call
    goal: float | None = None
    floor_bytes: int | None = None


@dataclass(frozen=True)
class Timing:
    """Medians over the rounds. ratios: fastest peer's time ÷ ours, one entry a round."""

    group: str
    case: str
    ours_seconds: float
    peers_seconds: dict[str, float]
    ratios: tuple[float, ...]
    goal: float | None
    floor_seconds: float | None = field(default=None)

    @property
    def fastest_peer(self) -> str:
        return min(self.peers_seconds, key=lambda name: self.peers_seconds[name])

    @property
    def ratio(self) -> float:
        """Median of how many times the fastest peer takes longer than we do."""
        return statistics.median(self.ratios)


def peer(module: str, install: str) -> Any:
    """Import a peer's module. Raises MissingDependencyError naming the package to install."""
    try:
        if module.partition(".")[0] == "ultralytics":  # its plain import changes other packages
            from sightline.builders.sources.torch_ultralytics import import_ultralytics

            import_ultralytics()
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(f"{module} is not installed: pip install {install}") from error


def run_bench(bench: Bench, *, rounds: int = ROUNDS, copy_bytes_per_second: float | None = None) -> Timing:
    """Check, warm up, then time all calls in turns, forwards and backwards. Raises ValueError where results differ."""
    bench.check()
    calls = {"": bench.ours, **bench.peers}
    repeats = {name: _repeats(call) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        order = list(calls) if number % 2 == 0 else list(reversed(calls))
        for name in order:
            seconds[name].append(_time(calls[name], repeats[name]))
    ours = seconds.pop("")
    fastest = [min(seconds[name][number] for name in seconds) for number in range(rounds)]
    floor = None
    if bench.floor_bytes and copy_bytes_per_second:
        floor = bench.floor_bytes / copy_bytes_per_second
    return Timing(
        bench.group,
        bench.case,
        statistics.median(ours),
        {name: statistics.median(values) for name, values in seconds.items()},
        tuple(theirs / own for theirs, own in zip(fastest, ours, strict=True)),
        bench.goal,
        floor,
    )


def copy_bandwidth() -> float:
    """Bytes a second that one thread reads and writes when it copies 64 MB (both directions counted)."""
    import numpy as np

    source, target = np.ones(1 << 26, np.uint8), np.zeros(1 << 26, np.uint8)
    times = [_time(lambda: np.copyto(target, source), 1) for _ in range(7)]
    return 2 * source.nbytes / statistics.median(times)


def _repeats(call: Call) -> int:
    """How often the call fits into a stretch; also warms it up."""
    call()
    start = time.perf_counter()
    call()
    once = max(time.perf_counter() - start, 1e-7)
    return max(1, min(100_000, round(STRETCH_SECONDS / once)))


def _time(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def ratios_text(timings: Sequence[Timing]) -> str:
    """One line a timing, for logs."""
    return "\n".join(
        f"{t.group} {t.case}: {t.ours_seconds * 1e3:.3f} ms, {t.fastest_peer} "
        f"{t.peers_seconds[t.fastest_peer] * 1e3:.3f} ms, {t.ratio:.1f} times"
        for t in timings
    )
