# SPDX-License-Identifier: Apache-2.0
"""Heads that list finished detections: YOLOv10 and 26, EfficientNMS, Mask R-CNN and other exports with NMS inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sightline.builders.heads.network import (
    BACKGROUND_NAMES,
    MOST_QUERIES,
    Family,
    Network,
    OutputInfo,
    Reading,
    prototypes_of,
)

_ROW = 6  # x1, y1, x2, y2, score, class
_SORTED = frozenset(("TopK", "NonMaxSuppression"))
_OPTIONS = frozenset(("normalised", "centre_form"))
_MASK_RANKS = (3, 4)  # rows x (cells) or rows x 1 x (cells), without the batch

Indexed = tuple[int, OutputInfo]


def _flags(network: Network) -> dict[str, Any]:
    return {name: True for name in ("normalised", "centre_form") if network.option(name, False)}


# ---------------------------------------------------------------- YOLOv10, 26


def _read_end_to_end(network: Network) -> list[Reading]:
    prototypes = prototypes_of(network)
    if (prototypes is not None) != (network.card.task == "segment"):
        return []
    extra = int(prototypes[1].inner[0] or 0) if prototypes else 0
    for index, output in network.outputs:
        if len(output.inner) != 2 or output.inner[1] != _ROW + extra:
            continue
        rows = output.inner[0]
        if network.head is None and rows is not None and rows > MOST_QUERIES:
            continue
        return [_end_to_end(network, (index, output), prototypes, extra)]
    return []


def _end_to_end(network: Network, rows: Indexed, prototypes: Indexed | None, extra: int) -> Reading:
    index, output = rows
    seen = network.seen(output)
    sure = network.note("end2end") is True or (seen is not None and bool(seen.tail & _SORTED)) or bool(extra)
    found = f"{output.text} and {prototypes[1].text}" if prototypes else output.text
    masks = f", {extra} mask coefficients" if extra else ""
    flags = _centre_rows(network) or _flags(network)
    kind = "RT-DETR with its choice of rows inside" if flags else "YOLOv10/26 or an export with NMS"
    options = "".join(f", {name}: true" for name in flags)
    return Reading(
        kind="end_to_end",
        outputs=(index, prototypes[0]) if prototypes else (index,),
        classes=None,
        wanted=f"rows of {_ROW + extra} values",
        found=found,
        why=f"outputs {found}: rows of box, score and class as {kind}{masks}",
        certainty=3 if sure else 1,
        line=f"head: {{kind: end_to_end{options}}}" if options else "head: end_to_end",
        parameters={**({"extra": "masks", "extra_values": extra} if extra else {}), **flags},
    )


def _centre_rows(network: Network) -> dict[str, Any]:
    """Ultralytics 8.4 exports RT-DETR as rows whose boxes are centre x, y, width, height in 0..1."""
    named = "rtdetr" in str(network.metadata.get("description", "")).lower().replace("-", "")
    if network.head is None and (named or "GridSample" in network.evidence.operators):
        return {"normalised": True, "centre_form": True}
    return {}


def _end_to_end_needs(network: Network) -> str:
    if network.card.task == "segment":
        return "outputs (N, objects, 6 + coefficients) and prototypes (N, coefficients, rows, columns)"
    return "an output of shape (N, objects, 6): x1, y1, x2, y2, score, class"


# ---------------------------------------------------------------- lists of their own


def _is_boxes(dims: Sequence[int | None]) -> bool:
    return len(dims) == 2 and dims[1] == 4


def _lists(network: Network, batched: bool) -> tuple[Indexed, list[Indexed]] | None:
    """The boxes, and the other outputs that have a value for each of them; None where there are no such outputs."""
    dims = {index: output.inner if batched else output.dims for index, output in network.outputs}
    boxes = next((item for item in network.outputs if _is_boxes(dims[item[0]])), None)
    if boxes is None:
        return None
    rows = dims[boxes[0]][0]
    lists = [
        item
        for item in network.outputs
        if len(dims[item[0]]) == 1 and (rows is None or dims[item[0]][0] == rows)
    ]
    return boxes, lists


def _classes_and_scores(lists: Sequence[Indexed], *, classes_first: bool) -> tuple[Indexed, Indexed] | None:
    """Which of two lists has the class ids: by data type, by name, else by the order of the kind's exporter."""
    if len(lists) != 2:
        return None
    first, second = lists
    whole = [output.whole_numbers for _, output in lists]
    named = [any(word in output.name.lower() for word in ("class", "label", "cls")) for _, output in lists]
    told = whole if whole[0] != whole[1] else named
    is_first = told[0] if told[0] != told[1] else classes_first
    return (first, second) if is_first else (second, first)


def _is_count(output: OutputInfo) -> bool:
    return output.inner in ((1,), ()) or output.dims == (1,)


def _read_efficient_nms(network: Network) -> list[Reading]:
    found = _lists(network, batched=True)
    if found is None or network.card.task != "detect" or len(network.outputs) != 4:
        return []
    boxes, lists = found
    lists = [item for item in lists if not ("num" in item[1].name.lower() and _is_count(item[1]))]
    counts = [
        item for item in network.outputs if item is not boxes and item not in lists and _is_count(item[1])
    ]
    pair = _classes_and_scores(lists, classes_first=False)
    if pair is None or len(counts) != 1:
        return []
    classes, scores = pair
    tensorflow = network.evidence.producer.startswith("tf2onnx") and "detection_boxes" in boxes[1].name
    return [
        Reading(
            kind="efficient_nms",
            outputs=(counts[0][0], boxes[0], scores[0], classes[0]),
            classes=None,
            wanted="count, boxes, scores and classes",
            found=network.shapes,
            why=f"outputs {network.shapes}: count, boxes, scores and classes after NMS",
            certainty=3,
            line="head: efficient_nms",
            parameters=_flags(network),
            missing="TensorFlow's detection API gives boxes as y1, x1, y2, x2, which are not read; "
            "export the network without its post-processing"
            if tensorflow
            else "",
        )
    ]


def _read_mask_rcnn(network: Network) -> list[Reading]:
    for batched in (True, False):
        found = _lists(network, batched)
        pair = _classes_and_scores(found[1], classes_first=True) if found else None  # as torchvision has them
        if found is None or pair is None:
            continue
        masks = _masks(network, found[0], batched)
        counted = any(_is_count(item[1]) and item not in pair for item in network.outputs)
        if counted or (network.card.task == "segment" and masks is None):
            return []
        chosen = [found[0], *pair, *([masks] if masks and network.card.task == "segment" else [])]
        return [_mask_rcnn(network, chosen, batched)]
    return []


def _masks(network: Network, boxes: Indexed, batched: bool) -> Indexed | None:
    """(objects, 1, m, m) or (objects, m, m): a mask for each box."""
    rows = boxes[1].dims[1 if batched else 0]
    for item in network.outputs:
        dims = item[1].inner if batched else item[1].dims
        if len(dims) in _MASK_RANKS and dims[0] == rows and dims[-1] == dims[-2]:
            return item
    return None


def _mask_rcnn(network: Network, chosen: Sequence[Indexed], batched: bool) -> Reading:
    counted = bool(network.labels) and network.labels[0].lower() in BACKGROUND_NAMES
    background = network.option("background", "none" if counted else "first")
    parameters: Mapping[str, Any] = {"background": background, **_flags(network)}
    masks = " and masks" if len(chosen) == 4 else ""
    starts = 0 if background == "none" else 1
    return Reading(
        kind="mask_rcnn",
        outputs=tuple(index for index, _ in chosen),
        classes=None,
        wanted="boxes, labels, scores",
        found=", ".join(f"{output.name} {output.text}" for _, output in chosen),
        why=f"outputs {network.shapes}: boxes, labels (from {starts} on), scores{masks} as torchvision exports them",
        certainty=3,
        line="head: mask_rcnn",
        parameters=parameters,
        batched=batched,
    )


def _efficient_nms_needs(_: Network) -> str:
    return "four outputs: count (N, 1), boxes (N, objects, 4), scores and classes (N, objects)"


def _mask_rcnn_needs(network: Network) -> str:
    masks = ", masks (objects, 1, m, m)" if network.card.task == "segment" else ""
    return f"outputs boxes (objects, 4), labels and scores (objects){masks}"


def _no_advice(_: Network) -> str:
    return ""


FAMILIES = (
    Family("end_to_end", _read_end_to_end, _end_to_end_needs, _no_advice, _OPTIONS),
    Family("efficient_nms", _read_efficient_nms, _efficient_nms_needs, _no_advice, _OPTIONS),
    Family("mask_rcnn", _read_mask_rcnn, _mask_rcnn_needs, _no_advice, _OPTIONS | {"background"}),
)
