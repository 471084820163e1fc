# SPDX-License-Identifier: Apache-2.0
"""Measures the plan's sections, prints them, and writes streams.json and streams.png."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from sightline import __version__
from sightline.perf.analyzer.document import write_document
from sightline.perf.machine import machine
from sightline.perf.streams.picture import draw_picture
from sightline.perf.streams.plan import SHORT, Plan
from sightline.perf.streams.table import print_section
from sightline.perf.streams.turns import Progress


def run_streams(plan: Plan, output: Path, console: Console) -> dict[str, Any]:
    """Measure the plan's sections; returns what streams.json holds. Raises SightlineError."""
    path = output / "streams.json"
    content = {**_before(path), **_heading()}
    with tempfile.TemporaryDirectory(prefix="sightline-streams-") as folder:
        for section in plan.sections:
            with console.status(section) as status:
                known = content.get("network", {}).get("cameras", []) if "network" in plan.sections else []
                found = _measure(section, plan, Path(folder), known, lambda text, s=status: s.update(text))  # type: ignore[misc]
            content[section] = {
                "when": content["when"],
                "short": plan == replace(SHORT, sections=plan.sections),
                **found,
            }
            print_section(console, section, content[section])
            write_document(content, path)
    draw_picture(content, output / "streams.png")
    console.print(f"written: {path}, {output / 'streams.png'}")
    return content


def _heading() -> dict[str, Any]:
    return {
        "sightline": __version__,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
    }


def _before(path: Path) -> dict[str, Any]:
    """What was measured before and is not measured again."""
    import json

    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _measure(
    section: str, plan: Plan, folder: Path, known: Sequence[Mapping[str, Any]], progress: Progress
) -> dict[str, Any]:
    """One section. known: cameras that were found in this run already."""

    def decoding() -> dict[str, Any]:
        from sightline.perf.streams.decoding import measure_decoding

        return {"rows": measure_decoding(plan, folder, progress)}

    def network() -> dict[str, Any]:
        from sightline.perf.streams.serving import measure_serving

        return measure_serving(plan, folder, progress)

    def ultralytics() -> dict[str, Any]:
        from sightline.perf.streams.peers import measure_ultralytics

        ours = {int(row["rate"]): int(row["cameras"]) for row in known}
        return measure_ultralytics(plan, folder, progress, ours)

    def memory() -> dict[str, Any]:
        from sightline.perf.streams.memory import measure_memory

        return measure_memory(plan, folder, progress)

    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "decoding": decoding,
        "network": network,
        "ultralytics": ultralytics,
        "memory": memory,
    }
    return ways[section]()
