# SPDX-License-Identifier: Apache-2.0
"""Decode, preprocess and track with the network stubbed, against bare libavcodec and OpenCV's loop."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sightline.perf.cameras import CameraServer
from sightline.perf.cameras.server import FIRST_SEED
from sightline.perf.streams.material import SIZES, clip_specs, video_files
from sightline.perf.streams.plan import Plan
from sightline.perf.streams.turns import Comparison, Progress, in_turns
from sightline.perf.streams.worker import Worker

SHIPPED_INPUT, LARGE_INPUT = (384, 224), (640, 640)
"""Width and height of the shipped detector's input, and of what most published networks take."""
GOALS = {"libavcodec": 0.8, "OpenCV loop": 2.0}
RTSP_RATE = 15


def measure_decoding(plan: Plan, folder: Path, progress: Progress) -> list[dict[str, Any]]:
    """One row a case, as JSON types."""
    return [comparison.as_json() for comparison in _cases(plan, folder, progress)]


def _cases(plan: Plan, folder: Path, progress: Progress) -> Iterator[Comparison]:
    files = max(2, len(os.sched_getaffinity(0)))
    for name, size in SIZES.items():
        progress(f"drawing {name} clips")
        paths = [
            str(path) for path in video_files(clip_specs(files, size, seconds=plan.clip_seconds), folder)
        ]
        case = f"{files} files of {name}, as fast as they go"
        yield _compare(case, paths, size, plan, progress)
        if name == "720p":
            yield _compare(f"{case}, to 640x640", paths, size, plan, progress, network=LARGE_INPUT)
    for name, size in SIZES.items():
        count = plan.rtsp_cameras if name == "720p" else max(1, plan.rtsp_cameras // 2)
        seeds = [FIRST_SEED + i % 2 for i in range(count)]
        with CameraServer(
            seeds, size=size, frames_per_second=RTSP_RATE, seconds=plan.clip_seconds
        ) as cameras:
            case = f"{count} RTSP cameras of {name} at {RTSP_RATE} a second"
            yield _compare(case, cameras.urls, size, plan, progress, by="cpu")


def _compare(
    case: str,
    sources: Sequence[str],
    size: tuple[int, int],
    plan: Plan,
    progress: Progress,
    by: str = "rate",
    network: tuple[int, int] = SHIPPED_INPUT,
) -> Comparison:
    frame = {"network": network, "size": size}
    with ExitStack() as opened:
        workers = {
            "ours": opened.enter_context(Worker("ours", sources=sources, **frame)),
            "libavcodec": opened.enter_context(Worker("bare", sources=sources)),
            "OpenCV loop": opened.enter_context(
                Worker("opencv", sources=sources, decoder_threads=1, **frame)
            ),
        }
        warm_up = 1.0 if by == "rate" else 2.0
        turns = in_turns(workers, plan.rounds, plan.seconds, progress, case, warm_up)
    return Comparison(case, turns, GOALS, by)
