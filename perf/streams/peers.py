# SPDX-License-Identifier: Apache-2.0
"""Cameras that we and Ultralytics' `track` carry: the same network, the same streams, the same cores, one after the
other: each one's largest number is searched for by itself, so that a machine that slows down meanwhile harms one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.perf.cameras import CameraServer
from sightline.perf.cameras.server import FIRST_SEED
from sightline.perf.streams.plan import Plan
from sightline.perf.streams.serving import MODEL, most_cameras, served, sustained
from sightline.perf.streams.turns import Progress
from sightline.perf.streams.worker import Worker

GOAL = 2.0
WAYS = ("streams", "threads")
_GUESS = {"ours": 12, "streams": 4, "threads": 4}
_MOST = 120
_THEIR_WARM_UP_SECONDS = 6.0  # its first frames are slow, and those that came meanwhile it has to make up for


def measure_ultralytics(
    plan: Plan, folder: Path, progress: Progress, known: Mapping[int, int] | None = None
) -> dict[str, Any]:
    """The number of cameras of each, at each rate, as JSON types. Raises MissingDependencyError without Ultralytics.

    known: our number by rate, where this run has found it already.
    """
    from sightline.perf.kernels.bench import peer

    version = peer("ultralytics", "ultralytics lap").__version__
    network = _network(folder)
    rows = []
    with served(folder) as server:
        for rate in plan.rates:
            seeds = [FIRST_SEED + i % 4 for i in range(_MOST)]
            progress(f"drawing 720p clips of {rate} frames a second")
            with CameraServer(seeds, frames_per_second=rate, seconds=plan.clip_seconds) as cameras:
                ours = (known or {}).get(rate)
                rows.append(_row(rate, cameras.urls, server.address, network, ours, progress))
    return {
        "ultralytics": version,
        "meaning": "cameras of which at least 98 % of the frames are detected and tracked; both with the shipped detector, "
        "Ultralytics on its OpenVINO backend",
        "rows": rows,
    }


def _network(folder: Path) -> dict[str, Any]:
    """What Ultralytics needs to run the shipped detector."""
    from sightline.card import load_card
    from sightline.model_repository import shipped_card
    from sightline.perf.streams.ultralytics_track import openvino_folder

    path = shipped_card(MODEL)
    card = load_card(path)
    size = (card.input.size[0], card.input.size[1])
    labels = (path.parent / "labels.txt").read_text(encoding="utf-8").split()
    model = openvino_folder(path.parent / "model.onnx", labels, size, folder)
    return {"model": str(model), "network": size, "score": card.limits.score, "iou": card.limits.iou}


def _row(
    rate: int,
    urls: Sequence[str],
    address: str,
    network: dict[str, Any],
    ours: int | None,
    progress: Progress,
) -> dict[str, Any]:
    makers: dict[str, Callable[[int], Worker]] = {
        "ours": lambda count: Worker("ours", sources=list(urls[:count]), server=address, model=MODEL)
    }
    for way in WAYS:
        makers[way] = (
            lambda count, way=way: Worker(  # type: ignore[misc]
                "ultralytics", sources=list(urls[:count]), way=way, **network
            )
        )
    most = {} if ours is None else {"ours": ours}
    for name, make in makers.items():
        if name in most:
            continue
        guess = max(1, round(_GUESS[name] * 10 / rate))

        def carries(count: int, name: str = name, make: Callable[[int], Worker] = make) -> bool:
            warm_up = 2.0 if name == "ours" else _THEIR_WARM_UP_SECONDS
            return sustained(lambda: make(count), count, rate, progress, name, warm_up=warm_up)

        most[name] = most_cameras(carries, guess, len(urls))
    theirs = max(most[way] for way in WAYS)
    return {
        "rate": rate,
        "ours": most["ours"],
        "ultralytics_one_call": most["streams"],
        "ultralytics_a_thread_a_camera": most["threads"],
        "ratio": round(most["ours"] / theirs, 2) if theirs else None,
        "goal": GOAL,
        "cores": len(os.sched_getaffinity(0)),
    }
