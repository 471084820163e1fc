# SPDX-License-Identifier: Apache-2.0
"""kernels.json: every timing, and on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sightline import __version__
from sightline.perf.kernels.bench import Timing
from sightline.perf.machine import machine
from sightline.preprocess_ext import cpu

_PEERS = (
    "torch",
    "torchvision",
    "ultralytics",
    "opencv-python-headless",
    "pycocotools",
    "nvidia-dali-cuda130",
    "numpy",
)


def document(
    timings: Sequence[Timing], missing: Mapping[str, str], copy_bytes_per_second: float
) -> dict[str, Any]:
    """The measurement as JSON types. missing: why a group was not measured."""
    return {
        "sightline": __version__,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {**machine(), "instructions": cpu()},
        "peers": {name: found for name in _PEERS if (found := _version(name))},
        "copy_gigabytes_per_second": round(copy_bytes_per_second / 1e9, 2),
        "meaning": "ratio = time of the fastest peer / our time, both in turns, median over the rounds; one thread",
        "not_measured": dict(missing),
        "rows": [_row(timing) for timing in timings],
    }


def _row(timing: Timing) -> dict[str, Any]:
    return {
        "group": timing.group,
        "case": timing.case,
        "ours_ms": round(timing.ours_seconds * 1e3, 5),
        "peers_ms": {name: round(value * 1e3, 5) for name, value in timing.peers_seconds.items()},
        "fastest_peer": timing.fastest_peer,
        "ratio": round(timing.ratio, 3),
        "ratios": [round(ratio, 3) for ratio in timing.ratios],
        "goal": timing.goal,
        "floor_ms": round(timing.floor_seconds * 1e3, 5) if timing.floor_seconds else None,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
