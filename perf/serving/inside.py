# SPDX-License-Identifier: Apache-2.0
"""The serving tax without a socket and without a load generator beside it: frames/s of the ensemble, hosted in this process
and driven through the public client, ÷ frames/s of a bare OpenVINO loop on the same cores, in turns.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.frame import Frame

MODEL = "street_detect"
ROUNDS, SECONDS = 5, 4.0
IN_FLIGHT = 2 * len(os.sched_getaffinity(0))
"""Two requests a core: one at work, one waiting."""
GOAL = 0.95

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Inside:
    """One entry a round. Rates in frames/s, CPU in milliseconds a frame, of the whole process."""

    served: tuple[float, ...]
    bare: tuple[float, ...]
    served_cpu_ms: tuple[float, ...]
    bare_cpu_ms: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Served ÷ bare of each round."""
        return tuple(ours / theirs for ours, theirs in zip(self.served, self.bare, strict=True))

    def as_json(self) -> dict[str, Any]:
        """With the medians."""
        return {
            "meaning": "frames/s of the ensemble hosted in the client's process / frames/s of a bare OpenVINO loop",
            "model": MODEL,
            "in_flight": IN_FLIGHT,
            "goal": GOAL,
            "ratio": statistics.median(self.ratios),
            "ratios": self.ratios,
            "cpu_ratio": statistics.median(self.bare_cpu_ms) / statistics.median(self.served_cpu_ms),
            **asdict(self),
        }


def measure_inside(*, rounds: int = ROUNDS, seconds: float = SECONDS, progress: Progress = print) -> Inside:
    """Build the shipped detector, host it here, measure. Raises MissingDependencyError, ServerError, InferenceError."""
    from sightline.builders import repository_from_card
    from sightline.card import load_card
    from sightline.clients import Client
    from sightline.model_repository import shipped_card
    from sightline.perf.analyzer import inputs
    from sightline.perf.analyzer.bare import BareLoop
    from sightline.perf.analyzer.tax import engine_file

    with tempfile.TemporaryDirectory(prefix="sightline-serving-") as name:
        folder = Path(name)
        card = load_card(shipped_card(MODEL))
        repository_from_card(card, folder / "repository")
        pictures = inputs.drawn_frames()
        frames = [inputs.i420(picture) for picture in pictures]
        np.save(folder / "tensors.npy", inputs.network_tensors(pictures, card.input.model_dump(mode="json")))
        cores = len(os.sched_getaffinity(0))
        engine = engine_file(folder / "repository", MODEL)
        with (
            BareLoop(engine, folder / "tensors.npy", cores) as bare,
            Client(f"inproc:{folder / 'repository'}") as client,
        ):
            _drive(client, frames, 1.0)
            return _in_turns(client, frames, bare, rounds, seconds, progress)


def _in_turns(
    client: Any, frames: Sequence[Frame], bare: Any, rounds: int, seconds: float, progress: Progress
) -> Inside:
    served: list[tuple[float, float]] = []
    loops: list[tuple[float, float]] = []

    def one_bare() -> None:
        run = bare.run(seconds)
        loops.append((run.frames_per_second, run.cpu_seconds * 1e3 / run.frames))

    for number in range(rounds):
        progress(f"round {number + 1}/{rounds}")
        steps = [lambda: served.append(_drive(client, frames, seconds)), one_bare]
        for step in steps if number % 2 == 0 else reversed(steps):
            step()
    rates, cpu = zip(*served, strict=True)
    bare_rates, bare_cpu = zip(*loops, strict=True)
    return Inside(rates, bare_rates, cpu, bare_cpu)


def _drive(client: Any, frames: Sequence[Frame], seconds: float) -> tuple[float, float]:
    """Frames/s and CPU milliseconds a frame with IN_FLIGHT requests on their way."""
    start, cpu = time.monotonic(), sum(os.times()[:2])
    waiting = deque(client.submit(MODEL, frames[number % len(frames)]) for number in range(IN_FLIGHT))
    done = 0
    while time.monotonic() - start < seconds:
        waiting.popleft().result()
        done += 1
        waiting.append(client.submit(MODEL, frames[done % len(frames)]))
    while waiting:
        waiting.popleft().result()
        done += 1
    elapsed = time.monotonic() - start
    return done / elapsed, (sum(os.times()[:2]) - cpu) * 1e3 / done
