# SPDX-License-Identifier: Apache-2.0
"""The shipped detector on a real server: frames answered against the bare engine, cameras a machine carries, ages."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.perf.analyzer.bare import BareLoop
from sightline.perf.analyzer.processes import ServerProcesses
from sightline.perf.cameras import CameraServer
from sightline.perf.cameras.server import FIRST_SEED
from sightline.perf.streams.footprint import memory_mb
from sightline.perf.streams.material import SIZES, clip_specs, video_files
from sightline.perf.streams.ours import BETWEEN_SECONDS, DEADLINE_SECONDS
from sightline.perf.streams.plan import Plan
from sightline.perf.streams.turns import Progress
from sightline.perf.streams.worker import Turn, Worker

MODEL = "street_detect"
ANSWERED_GOAL = 0.9
SUSTAINED_SHARE = 0.98
LOAD_SHARE = 0.8
SLACK_MS = 33.0
SPREAD_GOAL = 1.5
MAX_CAMERAS = 200
_PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class Served:
    """A running server with the shipped detector, and its bare engine in a process that waits."""

    address: str
    bare: BareLoop
    cores: int
    pids: Callable[[], list[int]]


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Build the shipped detector into the folder and serve it."""
    from sightline.builders import repository_from_card
    from sightline.card import load_card
    from sightline.deploy import LocalServer
    from sightline.model_repository import shipped_card
    from sightline.perf.analyzer import inputs
    from sightline.perf.analyzer.tax import engine_file

    card = load_card(shipped_card(MODEL))
    repository = folder / "repository"
    if not repository.exists():
        repository_from_card(card, repository)
    tensors = inputs.network_tensors(inputs.drawn_frames(), card.input.model_dump(mode="json"))
    np.save(folder / "tensors.npy", tensors)
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as opened:
        server = opened.enter_context(LocalServer(repository, log_dir=folder / "log"))
        bare = opened.enter_context(BareLoop(engine_file(repository, MODEL), folder / "tensors.npy", cores))
        processes = ServerProcesses(os.getpid())
        yield Served(server.grpc_address, bare, cores, lambda: [pid for pid, _ in processes.cpu_seconds()])


def measure_serving(plan: Plan, folder: Path, progress: Progress) -> dict[str, Any]:
    """All figures with the network, as JSON types."""
    with served(folder) as server:
        answered = _answered(plan, server, folder, progress)
        inference_ms = answered["inference_ms"]
        rows = [
            _cameras(plan, server, rate, inference_ms, answered["ours_frames_per_second"], progress)
            for rate in plan.rates
        ]
    return {"answered": answered, "cameras": rows}


def _answered(plan: Plan, server: Served, folder: Path, progress: Progress) -> dict[str, Any]:
    """Frames answered a second from files that hold back, and the bare engine, in turns."""
    files = video_files(
        clip_specs(max(4, 2 * server.cores), SIZES["720p"], seconds=plan.clip_seconds), folder
    )
    ours: list[Turn] = []
    bare: list[Any] = []
    with Worker("ours", sources=[str(path) for path in files], server=server.address, model=MODEL) as worker:
        for number in range(plan.rounds):
            steps: list[Callable[[], object]] = [
                lambda: ours.append(worker.turn(plan.seconds, warm_up=2.0)),
                lambda: bare.append(server.bare.run(plan.seconds)),
            ]
            for step in steps if number % 2 == 0 else reversed(steps):
                progress(f"frames answered: round {number + 1}/{plan.rounds}")
                step()
    ratios = [mine.frames_per_second / run.frames_per_second for mine, run in zip(ours, bare, strict=True)]
    rate = statistics.median(run.frames_per_second for run in bare)
    return {
        "ratio": round(statistics.median(ratios), 3),
        "rounds": [round(value, 3) for value in ratios],
        "goal": ANSWERED_GOAL,
        "files": len(files),
        "ours_frames_per_second": round(statistics.median(t.frames_per_second for t in ours), 1),
        "ours_cpu_ms_a_frame_without_server": round(statistics.median(t.cpu_ms for t in ours), 3),
        "bare_frames_per_second": round(rate, 1),
        "inference_ms": round(server.cores * 1e3 / rate, 2),
        "meaning": "frames answered and tracked a second from 720p files that hold back ÷ frames a second of a bare "
        "OpenVINO loop on the same cores; the decoding is part of ours",
    }


def _cameras(
    plan: Plan, server: Served, rate: int, inference_ms: float, capacity: float, progress: Progress
) -> dict[str, Any]:
    """Largest number of cameras that are answered in full, then the ages at 80 % of it."""
    with _streams(rate, plan.clip_seconds, MAX_CAMERAS, progress) as urls:
        most = most_cameras(
            lambda count: sustained(lambda: _ours(server, urls[:count]), count, rate, progress, "ours"),
            guess=max(1, int(capacity / rate)),
        )
        count = max(1, int(LOAD_SHARE * most))
        steady = _steady(_ours(server, urls[:count]), server, count, plan.minutes * 60, progress)
    ages = steady["ages_ms"] or {}
    return {
        "rate": rate,
        "cameras": most,
        "cameras_at_80_percent": count,
        "minutes": plan.minutes,
        "inference_ms": inference_ms,
        "p99_limit_ms": round(inference_ms + SLACK_MS, 2),
        "p99_holds": bool(ages) and ages["p99"] <= inference_ms + SLACK_MS,
        "p95_by_p50": round(ages["p95"] / ages["p50"], 3) if ages else None,
        "p95_by_p50_goal": SPREAD_GOAL,
        **steady,
    }


def _ours(server: Served, urls: Sequence[str]) -> Worker:
    return Worker("ours", sources=list(urls), server=server.address, model=MODEL)


@contextmanager
def _streams(rate: int, clip_seconds: float, count: int, progress: Progress) -> Iterator[list[str]]:
    """So many 720p cameras that send at this rate, of four scenes."""
    progress(f"drawing 720p clips of {rate} frames a second")
    seeds = [FIRST_SEED + i % 4 for i in range(count)]
    with CameraServer(seeds, frames_per_second=rate, seconds=clip_seconds) as cameras:
        yield cameras.urls


def sustained(
    make: Callable[[], Worker], count: int, rate: int, progress: Progress, who: str, *, warm_up: float = 2.0
) -> bool:
    """Whether nearly all frames of so many cameras are answered, in one of two tries: one may meet a busy moment."""
    for attempt in range(2):
        progress(f"{who}: {count} cameras at {rate} a second" + (", once more" if attempt else ""))
        with make() as worker:
            turn = worker.turn(_PROBE_SECONDS, warm_up=warm_up + count * BETWEEN_SECONDS)
        if turn.frames_per_second >= SUSTAINED_SHARE * rate * count:
            return True
    return False


def most_cameras(carries: Callable[[int], bool], guess: int, limit: int = MAX_CAMERAS) -> int:
    """The largest number for which `carries` holds, by steps of a fifth around the guess and then halving."""
    low, high = 0, limit + 1
    at = min(guess, limit)
    while high - low > max(1, low // 20):
        if carries(at):
            low = at
        else:
            high = at
        if high > limit:
            at = min(limit, max(low + 1, round(low * 1.25)))
            if low == limit:
                break
        else:
            at = (low + high) // 2 if low else max(1, min(high - 1, round(high * 0.75)))
    return low


def _steady(worker: Worker, server: Served, count: int, seconds: float, progress: Progress) -> dict[str, Any]:
    """Ages, memory and their slopes over the time."""
    progress(f"{count} cameras for {seconds / 60:.1f} minutes")
    memory: list[tuple[float, float, float]] = []

    def watch_memory() -> None:
        until = time.monotonic() + seconds + 3.0
        while time.monotonic() < until:
            time.sleep(min(5.0, seconds / 6))
            memory.append((time.monotonic(), memory_mb([worker.pid]), memory_mb(server.pids())))

    with worker:
        turn = worker.turn(seconds, warm_up=4.0 + count * BETWEEN_SECONDS, meanwhile=watch_memory)
    windows = turn.more["windows_ms"][1:]
    later = memory[len(memory) // 3 :]
    return {
        "answered_share": round(turn.frames / turn.seconds / max(count, 1), 2),
        "ages_ms": turn.more["later_ages_ms"],
        "ages_left_out": turn.more["ages_left_out"],
        "window_seconds": turn.more["window_seconds"],
        "ages_ms_by_window": windows,
        "p99_worst_window": max((w["p99"] for w in windows), default=None),
        "meaning": "ages: from the decoded picture to the tracked result at a sink, of all frames after the first window; "
        f"no rule, event or fsync is in it; frames older than {DEADLINE_SECONDS:g} s are dropped, not answered",
        "p99_slope_ms_an_hour": _slope(
            [(i * turn.more["window_seconds"], w["p99"]) for i, w in enumerate(windows)]
        ),
        "memory_mb": round(later[-1][1], 1) if later else None,
        "memory_slope_mb_an_hour": _slope([(at, mine) for at, mine, _ in later]),
        "server_memory_slope_mb_an_hour": _slope([(at, theirs) for at, _, theirs in later]),
        "dropped": turn.more["dropped"],
        "adds_up": turn.more["adds_up"],
    }


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Least squares, per hour; None for fewer than four points."""
    if len(points) < 4:
        return None
    at, values = np.array(points).T
    slope = float(np.polyfit(at - at[0], values, 1)[0]) * 3600
    return round(slope, 2) if math.isfinite(slope) else None
