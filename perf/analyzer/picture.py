# SPDX-License-Identifier: Apache-2.0
"""perf.png: throughput against latency, one point a concurrency, and where the time of a frame goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline.errors import MissingDependencyError, OutputError
from sightline.perf.analyzer.document import Setting
from sightline.perf.analyzer.report import LoadPoint

_INK, _GREY, _GRID = "#1b2733", "#64748b", "#e2e8f0"
_LINES = (("p99_ms", "p99", "#e76f51"), ("p90_ms", "p90", "#e9a23b"), ("p50_ms", "p50", "#1d7874"))
_PARTS = (
    ("queue_ms", "waiting", "#cbd5e1"),
    ("input_ms", "tensors in", "#8ab6d6"),
    ("infer_ms", "work", "#1d7874"),
    ("output_ms", "tensors out", "#f4a259"),
)


def draw_picture(setting: Setting, points: Sequence[LoadPoint], path: Path) -> None:
    """Write the picture. Raises MissingDependencyError without matplotlib, OutputError where it cannot be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib is not installed: pip install 'sightline[perf]'") from error
    figure = Figure(figsize=(12, 5.4), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    way = "shared memory" if setting.shared_memory else "gRPC"
    figure.suptitle(
        f"{setting.model}: throughput and latency",
        x=0.055,
        y=0.97,
        ha="left",
        fontsize=15,
        fontweight="bold",
        color=_INK,
    )
    size = f"{setting.request_bytes / 1e6:.2f} MB a request"
    subtitle = f"perf_analyzer against Triton {setting.triton}, {setting.input} through {way}, {size}"
    figure.text(0.055, 0.895, subtitle, fontsize=9.5, color=_GREY)
    _curves(left, points)
    _stages(right, points)
    figure.subplots_adjust(left=0.055, right=0.985, top=0.8, bottom=0.12, wspace=0.32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def _frame(axes: Any, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=_INK, pad=10)
    axes.set_xlabel(x_label, color=_GREY, fontsize=9.5)
    axes.set_ylabel(y_label, color=_GREY, fontsize=9.5)
    axes.tick_params(colors=_GREY, labelsize=9, length=0)
    axes.grid(True, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def _curves(axes: Any, points: Sequence[LoadPoint]) -> None:
    _frame(axes, "Latency seen by the client", "frames a second", "milliseconds")
    ordered = sorted(points, key=lambda point: point.latency.concurrency)
    rates = [point.latency.frames_per_second for point in ordered]
    for field, label, colour in _LINES:
        times = [getattr(point.latency, field) for point in ordered]
        axes.plot(
            rates,
            times,
            color=colour,
            linewidth=2,
            marker="o",
            markersize=6,
            markeredgecolor="white",
            label=label,
        )
    for point in ordered:
        place = (point.latency.frames_per_second, point.latency.p99_ms)
        text = f"{point.latency.concurrency}"
        axes.annotate(
            text, place, xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9, color=_INK
        )
    axes.set_xlim(0, max(rates) * 1.12)
    axes.set_ylim(0, max(point.latency.p99_ms for point in points) * 1.18)
    axes.legend(
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        loc="upper left",
        title="numbers: requests in flight",
        title_fontsize=8.5,
    )


def _stages(axes: Any, points: Sequence[LoadPoint]) -> None:
    best = max(points, key=lambda point: point.latency.frames_per_second)
    title = f"Where a frame's time goes at {best.latency.concurrency} in flight"
    _frame(axes, title, "milliseconds in the server (mean)", "")
    names = [stage.model for stage in best.stages]
    prefix = _common_prefix(names)
    labels = [name[len(prefix) :] or name for name in names]
    start = [0.0] * len(names)
    for field, label, colour in _PARTS:
        widths = [getattr(stage, field) for stage in best.stages]
        axes.barh(labels, widths, left=start, color=colour, label=label, height=0.55)
        start = [a + b for a, b in zip(start, widths, strict=True)]
    for row, total in enumerate(start):
        axes.text(total, row, f" {total:.1f}", va="center", fontsize=9, color=_INK)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, max(start) * 1.15 or 1)
    axes.legend(frameon=False, fontsize=9, labelcolor=_INK, loc="lower right")


def _common_prefix(names: Sequence[str]) -> str:
    """What all names share up to an underscore."""
    first, last = min(names), max(names)
    same = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    return first[: first.rfind("_", 0, same) + 1] if len(names) > 1 else ""
