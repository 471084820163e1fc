# SPDX-License-Identifier: Apache-2.0
"""Charts of a record: as data in the record, and as small SVG files for who wants to look at them.

{"precision_recall": {"what": …, "curves": {"car": {"recall": […], "precision": […]}}},
 "confusion": {"what": …, "labels": […], "rows": [[…]]},     rows: the truth, columns: what was found, counts
 "by_class": {"what": …, "values": {"car": 0.93}}}
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sightline.errors import MissingDependencyError, OutputError

_BY_CLASS = (("ap50", "AP50"), ("mask_ap50", "mask AP50"), ("recall", "recall"), ("iou", "IoU"))
_NUMBERS_FROM = 12
_COLOURS, _LINES = 10, ("-", "--", ":")  # matplotlib's colours come again after ten
_SIZE_INCHES = (6.4, 4.8)


def charts_from_training(training: Mapping[str, Any]) -> dict[str, Any]:
    """What a training record tells of held-out pictures with labels; empty where it tells nothing."""
    held_out = training.get("held_out")
    if not isinstance(held_out, Mapping):
        return {}
    charts: dict[str, Any] = {}
    confusion = held_out.get("confusion")
    labels = [str(label) for label in training.get("classes", ())]
    if isinstance(confusion, list) and len(confusion) == len(labels) > 0:
        charts["confusion"] = {
            "what": "held-out pictures, truth by found",
            "labels": labels,
            "rows": confusion,
        }
    curves = held_out.get("precision_recall")
    if isinstance(curves, Mapping) and curves:
        charts["precision_recall"] = {"what": "held-out pictures", "curves": dict(curves)}
    for key, what in _BY_CLASS:
        values = held_out.get(key)
        if isinstance(values, Mapping) and values:
            charts["by_class"] = {"what": f"{what}, held-out pictures", "values": dict(values)}
            break
    return charts


def draw_charts(charts: Mapping[str, Any], title: str, folder: Path) -> list[Path]:
    """Write an SVG file a chart into `folder`. Raises MissingDependencyError (matplotlib), OutputError."""
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingDependencyError(
            "charts are drawn by matplotlib, which is not installed: pip install 'sightline[perf]'"
        ) from error
    written = []
    for name, draw in _DRAW.items():
        if name not in charts:
            continue
        figure = figures.Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        draw(axes, charts[name])
        axes.set_title(f"{title}: {charts[name]['what']}", fontsize=9)
        path = folder / f"{name}.svg"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        except OSError as error:
            raise OutputError(f"the chart {path} cannot be written: {error.strerror}") from error
        written.append(path)
    return written


def _precision_recall(axes: Any, chart: Mapping[str, Any]) -> None:
    for number, (label, curve) in enumerate(chart["curves"].items()):
        style = _LINES[number // _COLOURS % len(_LINES)]
        axes.plot(curve["recall"], curve["precision"], style, label=label, linewidth=1.2)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(fontsize=7)


def _confusion(axes: Any, chart: Mapping[str, Any]) -> None:
    labels, rows = chart["labels"], chart["rows"]
    shares = [[count / max(sum(row), 1) for count in row] for row in rows]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(labels))
    axes.set_xticks(places, labels, rotation=90, fontsize=6)
    axes.set_yticks(places, labels, fontsize=6)
    axes.set(xlabel="found", ylabel="truth")
    if len(labels) <= _NUMBERS_FROM:
        for y, row in enumerate(rows):
            for x, count in enumerate(row):
                colour = "white" if shares[y][x] > 0.5 else "black"
                axes.text(x, y, str(count), ha="center", va="center", fontsize=6, color=colour)


def _by_class(axes: Any, chart: Mapping[str, Any]) -> None:
    names = list(chart["values"])
    values = [float(value or 0) for value in chart["values"].values()]
    axes.barh(names, values)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(0, 1)


_DRAW: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "precision_recall": _precision_recall,
    "confusion": _confusion,
    "by_class": _by_class,
}
