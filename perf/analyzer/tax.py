# SPDX-License-Identifier: Apache-2.0
"""The serving tax: what of the network's bare speed is left when the whole ensemble is served."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sightline.builders.repository import public_number
from sightline.builders.stages.cpu_engine import ENGINE_FILE
from sightline.errors import ModelNotFoundError
from sightline.naming import stage_model
from sightline.perf.analyzer.bare import BareLoop, BareRun
from sightline.perf.analyzer.report import LoadPoint


@dataclass(frozen=True)
class ServingTax:
    """Ensemble against bare loop, measured in turns.

    served, bare: one entry a round. cores: threads of the bare loop, and cores that the server may use.
    """

    model: str
    concurrency: int
    cores: int
    served: tuple[LoadPoint, ...]
    bare: tuple[BareRun, ...]

    @property
    def served_frames_per_second(self) -> float:
        return statistics.median(point.latency.frames_per_second for point in self.served)

    @property
    def bare_frames_per_second(self) -> float:
        return statistics.median(run.frames_per_second for run in self.bare)

    @property
    def ratios(self) -> list[float]:
        """Served ÷ bare of each round: the two stretches of a round lie next to each other in time."""
        return [
            point.latency.frames_per_second / run.frames_per_second
            for point, run in zip(self.served, self.bare, strict=True)
        ]

    @property
    def ratio(self) -> float:
        """Median over the rounds of frames/s served ÷ frames/s bare."""
        return statistics.median(self.ratios)

    @property
    def bare_core_share(self) -> float:
        """Share 0..1 of its cores that the bare loop got: below 1 other programs, or a slow host, took the rest."""
        return statistics.median(run.cpu_seconds / run.seconds / self.cores for run in self.bare)

    @property
    def bare_cpu_ms(self) -> float:
        """CPU milliseconds that a frame costs in the bare loop."""
        return statistics.median(run.cpu_seconds * 1000 / run.frames for run in self.bare)

    @property
    def served_cpu_ms(self) -> dict[str, float]:
        """CPU milliseconds that a frame costs served, by part: medians over the rounds."""
        rounds = [point.cpu.ms_a_frame() for point in self.served]
        parts = sorted({part for one in rounds for part in one})
        return {part: statistics.median(one.get(part, 0.0) for one in rounds) for part in parts}

    @property
    def cpu_ratio(self) -> float:
        """CPU of the bare loop ÷ CPU of server and load generator, a frame. Other programs' load changes it little."""
        return self.bare_cpu_ms / sum(self.served_cpu_ms.values())

    @property
    def server_cpu_ratio(self) -> float:
        """The same without the load generator."""
        parts = self.served_cpu_ms
        return self.bare_cpu_ms / (sum(parts.values()) - parts["perf_analyzer"])


def engine_file(repository: Path, model: str) -> Path:
    """The engine of a card in a repository on this machine. Raises ModelNotFoundError."""
    number = public_number(repository, model)
    path = repository / stage_model(model, number or 0, "network") / "1" / ENGINE_FILE
    if number is None or not path.is_file():
        raise ModelNotFoundError(f"{repository} holds no OpenVINO engine of {model!r}")
    return path


def measure_tax(
    serve: Callable[[], LoadPoint],
    bare: BareLoop,
    *,
    model: str,
    concurrency: int,
    cores: int,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> ServingTax:
    """Run the ensemble and the bare loop in turns, A B B A A B …, so that a drift of the machine hits both."""
    served: list[LoadPoint] = []
    loops: list[BareRun] = []
    for number in range(rounds):
        steps = [lambda: served.append(serve()), lambda: loops.append(bare.run(seconds))]
        names = [f"round {number + 1}/{rounds}: served", f"round {number + 1}/{rounds}: bare loop"]
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            progress(names[index])
            steps[index]()
    return ServingTax(model, concurrency, cores, tuple(served), tuple(loops))
