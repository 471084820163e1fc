# SPDX-License-Identifier: Apache-2.0
"""perf.json: everything that was measured, and on what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sightline import __version__
from sightline.errors import OutputError
from sightline.perf.analyzer.report import LoadPoint
from sightline.perf.analyzer.tax import ServingTax
from sightline.perf.machine import machine


@dataclass(frozen=True)
class Setting:
    """What was measured. request_bytes: the largest request. shared_memory: how tensors came to the server."""

    model: str
    input: str
    server: str
    triton: str
    shared_memory: bool
    request_bytes: int
    seconds: float


def document(setting: Setting, points: Sequence[LoadPoint], tax: ServingTax | None) -> dict[str, Any]:
    """The measurement as JSON types."""
    return {
        "sightline": __version__,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        **asdict(setting),
        "points": [_point(point) for point in points],
        "serving_tax": _tax(tax) if tax else None,
    }


def write_document(content: dict[str, Any], path: Path) -> None:
    """Write through a partial file. Raises OutputError."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def _point(point: LoadPoint) -> dict[str, Any]:
    latency = asdict(point.latency)
    return {
        **{key: round(value, 3) for key, value in latency.items()},
        "wall_seconds": round(point.wall_seconds, 3),
        "attempts": point.attempts,
        "frames": point.cpu.frames,
        "cpu_ms_a_frame": _rounded(point.cpu.ms_a_frame()),
        "server_cpu_seconds": round(sum(v for k, v in point.cpu.parts.items() if k != "perf_analyzer"), 3),
        "client_cpu_seconds": round(point.cpu.parts["perf_analyzer"], 3),
        "stages": [{**asdict(stage), **_rounded(_times(stage))} for stage in point.stages],
    }


def _times(stage: object) -> dict[str, float]:
    return {name: getattr(stage, name) for name in ("queue_ms", "input_ms", "infer_ms", "output_ms")}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in values.items()}


def _tax(tax: ServingTax) -> dict[str, Any]:
    return {
        "meaning": "frames/s through the served ensemble / frames/s of a bare OpenVINO loop, same engine and cores",
        "ratio": round(tax.ratio, 4),
        "ratios": [round(ratio, 4) for ratio in tax.ratios],
        "model": tax.model,
        "concurrency": tax.concurrency,
        "cores": tax.cores,
        "rounds": len(tax.served),
        "served_frames_per_second": [round(p.latency.frames_per_second, 2) for p in tax.served],
        "bare_frames_per_second": [round(run.frames_per_second, 2) for run in tax.bare],
        "cpu_ratio": round(tax.cpu_ratio, 4) if tax.served_cpu_ms.keys() != {"perf_analyzer"} else None,
        "bare_core_share": round(tax.bare_core_share, 4),
        "bare_cpu_ms_a_frame": round(tax.bare_cpu_ms, 3),
        "served_cpu_ms_a_frame": _rounded(tax.served_cpu_ms),
    }
