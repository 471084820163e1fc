# SPDX-License-Identifier: Apache-2.0
"""kernels.png: how many times faster than the fastest peer, one bar a row, with the goal as a mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.errors import MissingDependencyError, OutputError

_INK, _GREY, _GRID, _OURS, _SHORT = "#1b2733", "#64748b", "#e2e8f0", "#1d7874", "#e9a23b"


def draw_picture(content: Mapping[str, Any], path: Path) -> None:
    """Draw a document of kernels.json. Raises MissingDependencyError without matplotlib, OutputError for the disk."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib is not installed: pip install 'sightline[perf]'") from error
    rows: Sequence[Mapping[str, Any]] = content["rows"]
    height = 1.7 + 0.34 * max(1, len(rows))
    figure = Figure(figsize=(13, height), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _bars(axes, rows)
    top = 1 - 0.3 / height
    figure.text(
        0.02, top, "Kernels against the fastest peer", fontsize=15, fontweight="bold", color=_INK, va="center"
    )
    machine = content["machine"]
    about = f"one thread, in turns, results checked equal first; {machine['processor']}, {machine['instructions']}"
    figure.text(0.02, 1 - 0.62 / height, about, fontsize=9, color=_GREY, va="center")
    figure.subplots_adjust(left=0.27, right=0.68, top=1 - 0.85 / height, bottom=0.6 / height)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def _bars(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    for number, row in enumerate(rows):
        goal, ratio = row["goal"], row["ratio"]
        axes.barh(number, ratio, left=0, height=0.62, color=_OURS if not goal or ratio >= goal else _SHORT)
        if goal:
            axes.plot([goal, goal], [number - 0.42, number + 0.42], color=_INK, linewidth=1.6)
        text = f"{ratio:.1f}×   {_time(row['ours_ms'])} · {row['fastest_peer']} {_time(row['peers_ms'][row['fastest_peer']])}"
        axes.text(
            1.015, number, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color=_INK
        )
    axes.set_xscale("log")
    axes.set_xlim(0.5, max([10.0, *(max(row["ratio"], row["goal"] or 0) * 1.3 for row in rows)]))
    axes.axvline(1, color=_GREY, linewidth=0.8)
    axes.set_yticks(
        range(len(rows)), [f"{row['group']}: {row['case']}" for row in rows], fontsize=9, color=_INK
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("times faster than the fastest peer (black mark: goal)", color=_GREY, fontsize=9)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _time(milliseconds: float) -> str:
    if milliseconds >= 100:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds:.2f} ms" if milliseconds >= 1 else f"{milliseconds * 1e3:.3g} µs"
