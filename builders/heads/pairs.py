# SPDX-License-Identifier: Apache-2.0
"""Heads with boxes in one output and class scores in another: DETR and RT-DETR, SSD and RetinaNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sightline.builders.heads.anchors import anchor_rows
from sightline.builders.heads.network import (
    BACKGROUND_NAMES,
    MOST_QUERIES,
    Family,
    Network,
    OutputInfo,
    Reading,
    strides_of,
)

_SSD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_PLAIN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class _Pair:
    """Boxes and scores, or both in one output."""

    outputs: tuple[int, ...]
    scores: OutputInfo
    rows: int
    columns: int  # of the scores, background included
    found: str


@dataclass(frozen=True)
class _Scores:
    """How the columns become scores of classes."""

    activation: str
    background: str
    why: str

    def classes(self, columns: int) -> int:
        return columns - (self.background != "none")


def _pair(network: Network) -> _Pair | None:
    flat = [item for item in network.outputs if len(item[1].sizes) == 2]
    boxes = next((item for item in flat if item[1].inner[1] == 4), None)
    if boxes is None:
        return None
    rows = int(boxes[1].inner[0] or 0)
    others = [item for item in flat if item is not boxes and item[1].inner[0] == rows]
    if len(others) != 1:
        return None
    index, scores = others[0]
    found = f"{boxes[1].text} and {scores.text}"
    return _Pair((boxes[0], index), scores, rows, int(scores.inner[1] or 0), found)


def _single(network: Network) -> _Pair | None:
    """DETR's boxes and scores side by side, as Ultralytics exports RT-DETR."""
    for index, output in network.outputs:
        if len(output.sizes) != 2:
            continue
        rows, columns = output.sizes
        grid = strides_of(rows, network.size) or strides_of(columns, network.size)
        if columns > 4 and (network.head is not None or (10 <= rows <= MOST_QUERIES >= columns and not grid)):
            return _Pair((index,), output, rows, columns - 4, output.text)
    return None


def _known_scores(network: Network, scores: OutputInfo, columns: int) -> list[_Scores]:
    """How the scores may be meant: by the card, else by the graph, else by the labels, else all that are usual."""
    usual = _by_graph(network, scores) or [_Scores("sigmoid", "none", "sigmoid"), _with_background(network)]
    labels = network.labels
    if labels and labels[0].lower() in BACKGROUND_NAMES and len(labels) == columns:
        usual = [form for form in usual if form.background == "first"] or usual
    elif labels:
        usual = [form for form in usual if form.classes(columns) == len(labels)] or usual
    head = network.head
    if head is not None and (head.activation or head.background):
        activation = head.activation or usual[0].activation
        background = head.background or ("none" if activation == "sigmoid" else usual[0].background)
        return [_Scores(activation, background, "as the card says")]
    return usual


def _with_background(network: Network) -> _Scores:
    place = "last" if _pair_is_detr(network) else "first"
    return _Scores("softmax", place, f"softmax, background {place}")


def _pair_is_detr(network: Network) -> bool:
    pair = _pair(network)
    return pair is None or pair.rows <= MOST_QUERIES


def _by_graph(network: Network, scores: OutputInfo) -> list[_Scores]:
    seen = network.seen(scores)
    if seen is None:
        return []
    if "Sigmoid" in seen.last:
        return [_Scores("none", "none", "sigmoid in the graph")]
    if "Softmax" in seen.last:
        place = "last" if _pair_is_detr(network) else "first"
        return [_Scores("none", place, f"softmax in the graph, background {place}")]
    if "GridSample" in network.evidence.operators:  # deformable attention: RT-DETR, Deformable DETR, DINO
        return [_Scores("sigmoid", "none", "sigmoid, as networks with deformable attention have it")]
    return []


# ---------------------------------------------------------------- DETR


def _read_detr(network: Network) -> list[Reading]:
    pair = _pair(network)
    if pair is not None:
        if network.head is None and pair.rows > MOST_QUERIES:
            return []
        forms = _known_scores(network, pair.scores, pair.columns)
        return [_detr(network, pair, form, 2 if len(forms) == 1 else 1) for form in forms]
    single = _single(network)
    if single is None:
        return []
    form = _Scores("none", "none", "scores as they are")
    if network.head is not None and (network.head.activation or network.head.background):
        form = _known_scores(network, single.scores, single.columns)[0]
    seen = network.seen(single.scores)
    sure = seen is not None and "Sigmoid" in seen.tail and "TopK" not in seen.tail
    return [_detr(network, single, form, 3 if sure and single.columns == 2 else 1)]


def _detr(network: Network, pair: _Pair, form: _Scores, certainty: int) -> Reading:
    classes = form.classes(pair.columns)
    options = {"activation": form.activation, "background": form.background}
    return Reading(
        kind="detr",
        outputs=pair.outputs,
        classes=classes,
        wanted=_detr_needs(network),
        found=pair.found,
        why=f"outputs {pair.found}: DETR layout, {form.why}, {classes} classes",
        certainty=certainty,
        line=f"head: {{kind: detr, activation: {form.activation}, background: {form.background}}}",
        parameters=_given(options) | _multi_label(network),
    )


def _given(options: dict[str, str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value != "none"}


def _multi_label(network: Network) -> dict[str, Any]:
    return {"multi_label": True} if network.option("multi_label", False) else {}


def _detr_needs(network: Network) -> str:
    count = str(len(network.labels)) if network.labels else "classes"
    return f"boxes (N, queries, 4) and scores (N, queries, {count} [+ 1 for the background]), or both in one output"


# ---------------------------------------------------------------- SSD, RetinaNet


def _read_ssd(network: Network) -> list[Reading]:
    pair = _pair(network)
    if pair is None or (network.head is None and pair.rows <= MOST_QUERIES):
        return []
    forms = _known_scores(network, pair.scores, pair.columns)
    return [_ssd(network, pair, form, 2 if len(forms) == 1 else 1) for form in forms]


def _ssd(network: Network, pair: _Pair, form: _Scores, certainty: int) -> Reading:
    anchors = anchor_rows(network.option("anchors", None), 4)
    weights = network.option("box_weights", _PLAIN_WEIGHTS if form.background == "none" else _SSD_WEIGHTS)
    classes = form.classes(pair.columns)
    options = {"activation": form.activation, "background": form.background}
    inner = ", ".join(f"{name}: {value}" for name, value in options.items())
    return Reading(
        kind="ssd",
        outputs=pair.outputs,
        classes=classes,
        wanted=f"boxes (N, anchors, 4) and scores (N, anchors, {len(network.labels) or 'classes'} [+ 1])",
        found=pair.found,
        why=f"outputs {pair.found}: SSD/RetinaNet layout, {form.why}, {classes} classes, "
        f"deltas divided by {', '.join(f'{weight:g}' for weight in weights)}",
        certainty=certainty,
        line=f"head: {{kind: ssd, {inner}, anchors: anchors.npy}}",
        parameters={
            **_given(options),
            "anchors": anchors,
            "box_weights": list(weights),
            **_multi_label(network),
        },
        missing="" if len(anchors) == pair.rows else _anchors_missing(pair.rows, len(anchors), inner),
        labels=_without_background(network, form, pair.columns),
    )


def _without_background(network: Network, form: _Scores, columns: int) -> tuple[str, ...] | None:
    """Labels whose first is the background, as torchvision's categories have it, without it."""
    labels = network.labels
    if form.background == "first" and len(labels) == columns and labels[0].lower() in BACKGROUND_NAMES:
        return labels[1:]
    return None


def _anchors_missing(rows: int, given: int, inner: str) -> str:
    has = f"the card gives {given}" if given else "they are not in the graph"
    return (
        f"its boxes are deltas to {rows} anchors, and {has}. Save them as float32 ({rows}, 4), x1, y1, x2, y2 in pixels "
        f"of the network's input, in the order of the rows (numpy.save), and write into the card "
        f"head: {{kind: ssd, {inner}, anchors: anchors.npy}}"
    )


def _ssd_needs(_: Network) -> str:
    return "deltas (N, anchors, 4) and scores (N, anchors, classes [+ 1 for the background]), with anchors in the card"


def _no_advice(_: Network) -> str:
    return ""


_SCORE_OPTIONS: Sequence[str] = ("activation", "background", "multi_label")
FAMILIES = (
    Family("detr", _read_detr, _detr_needs, _no_advice, frozenset(_SCORE_OPTIONS)),
    Family("ssd", _read_ssd, _ssd_needs, _no_advice, frozenset((*_SCORE_OPTIONS, "anchors", "box_weights"))),
)
