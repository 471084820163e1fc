# SPDX-License-Identifier: Apache-2.0
"""Ways of working in turns on the same cores, and what their figures say about each other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sightline.perf.streams.worker import Turn, Worker

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """One case. turns: of each way, one a round. goals: least ratio of ours to a way; by: what is compared.

    by "rate": frames a second of ours ÷ theirs. by "cpu": CPU time a frame of theirs ÷ ours, where the cameras set the rate.
    """

    case: str
    turns: Mapping[str, tuple[Turn, ...]]
    goals: Mapping[str, float]
    by: str = "rate"
    ours: str = "ours"

    def ratios(self, way: str, by: str | None = None) -> list[float]:
        """Of each round: the turns of a round lie next to each other in time."""
        pairs = zip(self.turns[self.ours], self.turns[way], strict=True)
        if (by or self.by) == "rate":
            return [mine.frames_per_second / max(theirs.frames_per_second, 1e-9) for mine, theirs in pairs]
        return [theirs.cpu_ms / max(mine.cpu_ms, 1e-9) for mine, theirs in pairs]

    def ratio(self, way: str, by: str | None = None) -> float:
        """Median over the rounds."""
        return statistics.median(self.ratios(way, by))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "case": self.case,
            "by": self.by,
            "ways": {way: _way(turns) for way, turns in self.turns.items()},
            "ratios": {
                way: {
                    "ratio": round(self.ratio(way), 3),
                    "rounds": [round(value, 3) for value in self.ratios(way)],
                    "by_cpu_time": round(self.ratio(way, "cpu"), 3),
                    "goal": self.goals.get(way),
                }
                for way in self.turns
                if way != self.ours
            },
        }


def in_turns(
    workers: Mapping[str, Worker],
    rounds: int,
    seconds: float,
    progress: Progress,
    case: str,
    warm_up: float = 1.0,
) -> dict[str, tuple[Turn, ...]]:
    """A B C, C B A, A B C …, so that a drift of the machine hits all."""
    turns: dict[str, list[Turn]] = {name: [] for name in workers}
    for number in range(rounds):
        order = list(workers) if number % 2 == 0 else list(workers)[::-1]
        for name in order:
            progress(f"{case}: round {number + 1}/{rounds}, {name}")
            turns[name].append(workers[name].turn(seconds, warm_up=warm_up))
    return {name: tuple(found) for name, found in turns.items()}


def _way(turns: tuple[Turn, ...]) -> dict[str, Any]:
    return {
        "frames_per_second": round(statistics.median(t.frames_per_second for t in turns), 2),
        "cpu_ms_a_frame": round(statistics.median(t.cpu_ms for t in turns), 3),
        "cores_used": round(statistics.median(t.cpu_seconds / t.seconds for t in turns), 2),
    }
