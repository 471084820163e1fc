# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that need a real server: stages of the native backend, transport of a tensor, the ensemble in the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from sightline import __version__
from sightline.perf.analyzer.document import write_document
from sightline.perf.machine import machine

Progress = Callable[[str], None]


def _stages(progress: Progress) -> Sequence[dict[str, Any]]:
    from sightline.perf.stages.measure import measure_stages

    return [row.as_json() for row in measure_stages(progress=progress)]


def _transport(progress: Progress) -> Sequence[dict[str, Any]]:
    from sightline.perf.transport.bench import transport_rows

    progress("one 4.9 MB tensor, there and back")
    return transport_rows()


def _serving(progress: Progress) -> Sequence[dict[str, Any]]:
    from sightline.perf.serving.inside import measure_inside

    return [measure_inside(progress=progress).as_json()]


SYSTEMS: dict[str, Callable[[Progress], Sequence[dict[str, Any]]]] = {
    "stages": _stages,
    "transport": _transport,
    "serving": _serving,
}


def run_system(name: str, output: Path, console: Console) -> None:
    """Measure one of SYSTEMS, print its rows, write NAME.json into `output`. Raises SightlineError."""
    with console.status(name) as status:
        rows = SYSTEMS[name](lambda text: status.update(f"{name}: {text}"))
    content = {
        "sightline": __version__,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "rows": list(rows),
    }
    path = output / f"{name}.json"
    write_document(content, path)
    for row in rows:
        console.print(_line(row), markup=False, highlight=False)
    console.print(f"written: {path}")


def _line(row: dict[str, Any]) -> str:
    if "way" in row:
        goal = f", goal {row['goal']:g}" if row["goal"] else ""
        return f"{row['way']:>24}: {row['memcpys']:.2f} memcpys, p50 {row['p50_ms']:.3f} ms, p99 {row['p99_ms']:.3f} ms{goal}"
    if "measure" in row:
        return f"{row['measure']}, {row['case']}: {row['value']:.3f}, goal {row['goal']:g}"
    return f"in-process serving tax: {row['ratio']:.3f} by rate, {row['cpu_ratio']:.3f} by CPU time, goal {row['goal']:g}"
