# SPDX-License-Identifier: Apache-2.0
"""streams.png: every figure that has a goal, as a share of it, and results' ages over the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.errors import MissingDependencyError, OutputError
from sightline.perf.streams.plan import SECTIONS
from sightline.perf.streams.table import Bar, bars

_INK, _GREY, _GRID, _OURS, _SHORT = "#1b2733", "#64748b", "#e2e8f0", "#1d7874", "#e9a23b"
_LINES = (("p99", "#e76f51"), ("p95", "#e9a23b"), ("p50", "#1d7874"))


def draw_picture(content: Mapping[str, Any], path: Path) -> None:
    """Draw a document of streams.json. Raises MissingDependencyError without matplotlib, OutputError for the disk."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib is not installed: pip install 'sightline[perf]'") from error
    rows = [bar for name in SECTIONS if name in content for bar in bars(name, content[name]) if bar.goal]
    curves = content.get("network", {}).get("cameras", [])
    height = 1.5 + 0.34 * max(1, len(rows)) + (2.6 if curves else 0)
    figure = Figure(figsize=(14, height), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    shares = (max(1, len(rows)) * 0.34 + 0.4, 2.2) if curves else (1,)
    axes = figure.subplots(len(shares), 1, height_ratios=shares, squeeze=False)[:, 0]
    _rows(axes[0], rows)
    if curves:
        _ages(axes[1], curves)
    figure.text(
        0.02,
        1 - 0.3 / height,
        "Streams against their goals",
        fontsize=15,
        fontweight="bold",
        color=_INK,
        va="center",
    )
    machine = content["machine"]
    about = f"on the same {machine['cores']} cores; {machine['processor']}; black mark: goal"
    figure.text(0.02, 1 - 0.6 / height, about, fontsize=9, color=_GREY, va="center")
    figure.subplots_adjust(left=0.36, right=0.66, top=1 - 0.85 / height, bottom=0.55 / height, hspace=0.35)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def _rows(axes: Any, rows: Sequence[Bar]) -> None:
    for number, bar in enumerate(rows):
        goal = bar.goal or 1.0
        axes.barh(number, min(bar.value / goal, 6.0), height=0.62, color=_OURS if bar.holds else _SHORT)
        axes.plot([1, 1], [number - 0.42, number + 0.42], color=_INK, linewidth=1.6)
        sign = "≥" if bar.at_least else "≤"
        text = f"{bar.value:g} {bar.unit} ({sign} {goal:g})  {bar.remark}"
        axes.text(
            1.015, number, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7.5, color=_INK
        )
    axes.set_xlim(0, max([1.5, *(min(bar.value / (bar.goal or 1.0), 6.0) * 1.05 for bar in rows)]))
    axes.set_yticks(range(len(rows)), [bar.name for bar in rows], fontsize=7.5, color=_INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("share of the goal", color=_GREY, fontsize=9)
    _plain(axes)
    axes.tick_params(axis="y", length=0)


def _ages(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    for row, style in zip(rows, ("-", "--", ":"), strict=False):
        windows = row.get("ages_ms_by_window", ())  # a section that an earlier version measured has none
        minutes = [number * row["window_seconds"] / 60 for number in range(len(windows))]
        for name, colour in _LINES:
            label = f"{name}, {row['cameras_at_80_percent']} cameras at {row['rate']} a second"
            axes.plot(minutes, [w[name] for w in windows], style, color=colour, linewidth=1.6, label=label)
    axes.set_ylim(0, None)
    axes.set_xlabel("minutes", color=_GREY, fontsize=9)
    axes.set_ylabel("ms", color=_GREY, fontsize=9)
    axes.set_title(
        "From decoded frame to tracked result, at 80 % of the cameras", loc="left", fontsize=10, color=_INK
    )
    axes.legend(frameon=False, fontsize=7.5, labelcolor=_INK, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=_GREY, labelsize=8)
