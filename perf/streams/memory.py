# SPDX-License-Identifier: Apache-2.0
"""Memory a camera, and what a thousand source changes leave behind."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import StreamError
from sightline.perf.cameras import CameraServer
from sightline.perf.cameras.server import FIRST_SEED
from sightline.perf.streams.footprint import Footprint, footprint, memory_mb
from sightline.perf.streams.plan import Plan
from sightline.perf.streams.serving import MODEL, served
from sightline.perf.streams.turns import Progress
from sightline.perf.streams.worker import Worker

COUNTS = (1, 4, 8, 16)
GOAL_MB = 60.0
RSS_GROWTH_MB = 10.0
SLACK = 8
"""Threads, descriptors and regions that come and go with cameras; a leak of one a change would be a hundred times as much."""
_SETTLE_SECONDS = 6.0
_WARM_CHANGES = 50
_PRESENT = 4


def measure_memory(plan: Plan, folder: Path, progress: Progress) -> dict[str, Any]:
    """Both figures, as JSON types."""
    seeds = [FIRST_SEED + i % 2 for i in range(max(COUNTS))]
    with (
        served(folder) as server,
        CameraServer(seeds, frames_per_second=15, seconds=plan.clip_seconds) as cameras,
    ):
        points = []
        for count in COUNTS:
            progress(f"memory of {count} cameras")
            points.append(_point(cameras.urls[:count], server.address, server.pids()))
        progress(f"{plan.changes} source changes")
        changes = _changes(cameras.urls[:_PRESENT], server.address, plan.changes)
    slope = float(np.polyfit(COUNTS, [p["watch_mb"] + p["server_mb"] for p in points], 1)[0])
    return {
        "mb_a_camera": round(slope, 2),
        "goal_mb_a_camera": GOAL_MB,
        "meaning": "slope of the proportional set size of watch and server together over the number of 720p cameras",
        "points": points,
        "changes": changes,
    }


def _point(urls: Sequence[str], address: str, server_pids: Sequence[int]) -> dict[str, Any]:
    found: dict[str, Any] = {"cameras": len(urls)}
    with Worker("ours", sources=list(urls), server=address, model=MODEL) as worker:

        def look() -> None:
            time.sleep(_SETTLE_SECONDS)
            found["watch_mb"] = round(memory_mb([worker.pid]), 1)
            found["server_mb"] = round(memory_mb(server_pids), 1)

        worker.turn(_SETTLE_SECONDS, warm_up=1.0, meanwhile=look)
    return found


def _changes(urls: Sequence[str], address: str, changes: int) -> dict[str, Any]:
    """In a process of its own: cameras are removed and added again and again."""
    command = [sys.executable, "-m", "sightline.perf.streams.memory"]
    question = json.dumps({"urls": list(urls), "address": address, "changes": changes})
    done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise StreamError(f"the process of the source changes ended: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def change_sources(urls: Sequence[str], address: str, changes: int) -> dict[str, Any]:
    """Remove and add cameras `changes` times in a watch; the footprint before and after."""
    from sightline.clients import Client
    from sightline.clients.streams.names import Source
    from sightline.clients.streams.watch import Watch
    from sightline.perf.streams.ours import as_if_on_many_hosts

    as_if_on_many_hosts()
    with Client(address) as client:
        sources = [Source(f"camera-{i}", url) for i, url in enumerate(urls)]
        watch = Watch(sources, client, model=MODEL)
        watch.start()
        _settle(watch)
        for number in range(_WARM_CHANGES):
            _change(watch, sources, number)
        _settle(watch)
        before, began = footprint(), time.monotonic()
        curve = [before.rss_mb]
        for number in range(changes):
            _change(watch, sources, number)
            if number % max(1, changes // 10) == 0:
                curve.append(footprint().rss_mb)
        seconds = time.monotonic() - began
        _settle(watch)
        after = footprint()
        summary = watch.stop()
    return {
        "changes": changes,
        "seconds": round(seconds, 1),
        "before": dataclasses.asdict(before),
        "after": dataclasses.asdict(after),
        "rss_growth_mb": round(after.rss_mb - before.rss_mb, 1),
        "rss_growth_limit_mb": RSS_GROWTH_MB,
        "rss_curve_mb": curve,
        "adds_up": summary.adds_up,
        "holds": _holds(before, after),
    }


def _change(watch: Any, sources: Sequence[Any], number: int) -> None:
    """One camera goes and comes again; every tenth is waited for until it is answered."""
    source = sources[number % len(sources)]
    watch.remove(source.name)
    watch.add(source)
    until = time.monotonic() + 15.0
    while number % 10 == 9 and time.monotonic() < until:
        if next(c for c in watch.state()["cameras"] if c["name"] == source.name)["answered"]:
            return
        time.sleep(0.05)


def _settle(watch: Any) -> None:
    """Wait until all cameras are answered and what was removed is gone."""
    until = time.monotonic() + 40.0
    while time.monotonic() < until and not all(c["answered"] for c in watch.state()["cameras"]):
        time.sleep(0.1)
    time.sleep(4.0)


def _holds(before: Footprint, after: Footprint) -> bool:
    return (
        after.rss_mb - before.rss_mb <= RSS_GROWTH_MB
        and after.threads <= before.threads + SLACK
        and after.descriptors <= before.descriptors + SLACK
        and after.shared_memory_files <= before.shared_memory_files + SLACK
    )


def main() -> None:
    """The process of the source changes."""
    answer = change_sources(**json.loads(sys.stdin.readline()))
    print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
