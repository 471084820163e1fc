# SPDX-License-Identifier: Apache-2.0
"""The figures of a section for a terminal, and as bars against their goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Bar:
    """One figure and its goal. at_least: whether it must reach the goal or stay below it."""

    name: str
    value: float
    goal: float | None
    unit: str
    at_least: bool = True
    remark: str = ""

    @property
    def holds(self) -> bool:
        """Whether the goal is met; True without one."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def bars(section: str, found: Mapping[str, Any]) -> list[Bar]:
    """The figures of a section that have a goal."""
    makers = {"decoding": _decoding, "network": _network, "ultralytics": _ultralytics, "memory": _memory}
    return makers[section](found)


def print_section(console: Console, section: str, found: Mapping[str, Any]) -> None:
    """One line a figure."""
    table = Table(title=section, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("figure", "value", "goal", ""):
        table.add_column(name, justify="left" if name in ("figure", "") else "right", header_style="dim")
    for bar in bars(section, found):
        sign = "≥" if bar.at_least else "≤"
        goal = "-" if bar.goal is None else f"{sign} {bar.goal:g}"
        style = None if bar.holds else "yellow"
        table.add_row(bar.name, f"{bar.value:g} {bar.unit}".strip(), goal, bar.remark, style=style)
    console.print(table)


def _decoding(found: Mapping[str, Any]) -> list[Bar]:
    made = []
    for row in found["rows"]:
        ours = row["ways"]["ours"]
        for way, ratio in row["ratios"].items():
            theirs = row["ways"][way]
            remark = (
                f"{ours['frames_per_second']:.0f} and {theirs['frames_per_second']:.0f} frames/s, CPU "
                f"{ours['cpu_ms_a_frame']:.2f} and {theirs['cpu_ms_a_frame']:.2f} ms a frame"
            )
            name = f"{row['case']}: ours to {way}" + (", by CPU time" if row["by"] == "cpu" else "")
            made.append(Bar(name, ratio["ratio"], ratio["goal"], "times", remark=remark))
    return made


def _network(found: Mapping[str, Any]) -> list[Bar]:
    answered = found["answered"]
    remark = f"{answered['ours_frames_per_second']:.0f} of {answered['bare_frames_per_second']:.0f} frames/s"
    made = [
        Bar(
            "frames answered, of the bare engine's",
            answered["ratio"],
            answered["goal"],
            "times",
            remark=remark,
        )
    ]
    for row in found["cameras"]:
        rate, ages = row["rate"], row["ages_ms"] or {}
        made.append(Bar(f"cameras at {rate} a second", row["cameras"], None, ""))
        if ages:
            at = f"{row['cameras_at_80_percent']} cameras at {rate} a second, {row['minutes']:g} minutes"
            slope = row["p99_slope_ms_an_hour"]
            remark = f"p50 {ages['p50']:.1f}, p95 {ages['p95']:.1f}, inference {row['inference_ms']:.1f} ms"
            remark += "" if slope is None else f"; {slope} ms/h"
            made.append(
                Bar(f"{at}: p99", ages["p99"], row["p99_limit_ms"], "ms", at_least=False, remark=remark)
            )
            made.append(Bar(f"{at}: p95/p50", row["p95_by_p50"], row["p95_by_p50_goal"], "", at_least=False))
    return made


def _ultralytics(found: Mapping[str, Any]) -> list[Bar]:
    made = []
    for row in found["rows"]:
        theirs = f"{row['ultralytics_one_call']} (one call), {row['ultralytics_a_thread_a_camera']} (a thread each)"
        name = f"cameras at {row['rate']} a second, ours to Ultralytics track"
        made.append(
            Bar(name, row["ratio"] or 0.0, row["goal"], "times", remark=f"{row['ours']} and {theirs}")
        )
    return made


def _memory(found: Mapping[str, Any]) -> list[Bar]:
    changes = found["changes"]
    before, after = changes["before"], changes["after"]
    remark = (
        f"threads {before['threads']} → {after['threads']}, descriptors {before['descriptors']} → {after['descriptors']}, "
        f"/dev/shm files {before['shared_memory_files']} → {after['shared_memory_files']}"
    )
    return [
        Bar("memory a 720p camera", found["mb_a_camera"], found["goal_mb_a_camera"], "MB", at_least=False),
        Bar(
            f"growth over {changes['changes']} source changes",
            changes["rss_growth_mb"],
            changes["rss_growth_limit_mb"],
            "MB",
            at_least=False,
            remark=remark,
        ),
    ]
