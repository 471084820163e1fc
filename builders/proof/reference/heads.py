# SPDX-License-Identifier: Apache-2.0
"""Outputs of a network into detections, head by head. Sources: the published code of each family, named at each function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.card import Limits

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """What a head says before the score limit. boxes: (A, 4) xyxy, network pixels. scores: (A, C). extras: (A, E)."""

    boxes: Array
    scores: Array
    extras: Array = field(default_factory=lambda: np.empty((0, 0)))
    nms: bool = True


@dataclass(frozen=True)
class Found:
    """Detections of one picture, best first. boxes: (K, 4) xyxy, source pixels. rows: from which row of the head."""

    boxes: Array
    scores: Array
    classes: NDArray[np.int64]
    extras: Array
    rows: NDArray[np.int64]


def rows_of(kind: str, raw: Sequence[Floats], values: Mapping[str, Any]) -> Rows:
    """Read the outputs (without the batch) as the head's parameters say."""
    return _READERS[kind]([np.asarray(tensor, np.float64) for tensor in raw], values)


def detections(rows: Rows, geometry: Floats, limits: Limits, values: Mapping[str, Any]) -> Found:
    """Score limit, NMS, source pixels."""
    scores = np.where(np.isnan(rows.scores), -np.inf, rows.scores)
    if values.get("multi_label"):
        anchors, classes = np.nonzero(scores >= limits.score)
    else:
        anchors = np.flatnonzero(scores.max(axis=1, initial=-np.inf) >= limits.score)
        classes = scores[anchors].argmax(axis=1)
    boxes, best = rows.boxes[anchors], scores[anchors, classes]
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(best)
    order = [i for i in np.argsort(-best, kind="stable").tolist() if finite[i]]
    if rows.nms:
        order = _nms(boxes, classes, order, limits)
    kept = np.array(order[: limits.detections], np.int64)
    shift, scale, size = (np.tile(geometry[i : i + 2], 2) for i in (5, 3, 1))
    source = np.clip((boxes[kept] - shift) / scale, 0, size)
    extras = rows.extras[anchors[kept]] if len(rows.extras) else np.empty((len(kept), 0))
    return Found(source, best[kept], classes[kept], extras, anchors[kept])


def sigmoid(x: Array) -> Array:
    """Logistic function."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -700, 700))))


def softmax(x: Array) -> Array:
    """Over the last dimension."""
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def activated(x: Array, values: Mapping[str, Any]) -> Array:
    """Class scores with the head's activation."""
    return {"sigmoid": sigmoid, "softmax": softmax}.get(values.get("activation", "none"), np.asarray)(x)


def _nms(boxes: Array, classes: NDArray[np.int64], order: list[int], limits: Limits) -> list[int]:
    """Greedy NMS, a class at a time unless class_agnostic."""
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    waiting = np.array(order, np.int64)
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[waiting, :2])
        high = np.minimum(boxes[best, 2:], boxes[waiting, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        overlap = shared / np.maximum(area[best] + area[waiting] - shared, 1e-12)
        same = limits.class_agnostic | (classes[waiting] == classes[best])
        waiting = waiting[~((overlap > limits.iou) & same)]
    return kept


def _corners(boxes: Array) -> Array:
    centre, half = boxes[:, :2], boxes[:, 2:4] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _sides(values: Mapping[str, Any]) -> Array:
    return np.tile(np.asarray(values["size"], np.float64), 2)


def _pixels(boxes: Array, values: Mapping[str, Any]) -> Array:
    return boxes * _sides(values) if values.get("normalised") else boxes


def _upright(tensor: Array, columns: int) -> Array:
    """A two-dimensional output as (A, columns), whichever way it lies."""
    return tensor.T if tensor.shape[1] != columns or tensor.shape[0] == columns else tensor


def _yolov8(raw: list[Array], values: Mapping[str, Any]) -> Rows:
    """Ultralytics v8, v9, 11: (4 + C + E, A)."""
    classes, extras = values["classes"], values.get("extra_values", 0)
    wanted = 4 + classes + extras
    rows = raw[0].T if raw[0].shape[0] == wanted else raw[0]
    boxes = _pixels(_corners(rows), values)
    return Rows(boxes, activated(rows[:, 4 : 4 + classes], values), rows[:, 4 + classes : wanted])


def _yolov5(raw: list[Array], values: Mapping[str, Any]) -> Rows:
    """Ultralytics YOLOv5, Detect.forward: decoded rows, or one tensor of logits a level with anchors."""
    classes = values["classes"]
    rows = raw[0] if not values.get("anchors") else _yolov5_levels(raw, values)
    rows = _upright(rows, 5 + classes + values.get("extra_values", 0))
    return Rows(_pixels(_corners(rows), values), _with_objectness(rows, values), rows[:, 5 + classes :])


def _with_objectness(rows: Array, values: Mapping[str, Any]) -> Array:
    """Objectness x class score; rows whose objectness alone is below the limit never count."""
    scores = rows[:, 4:5] * rows[:, 5 : 5 + values["classes"]]
    return np.asarray(np.where(rows[:, 4:5] >= values.get("score", 0.0), scores, -np.inf))


def _yolov5_levels(raw: list[Array], values: Mapping[str, Any]) -> Array:
    anchors = np.asarray(values["anchors"], np.float64).reshape(len(raw), -1, 2)
    width = 5 + values["classes"]
    decoded = []
    for level, sizes in zip(raw, anchors, strict=True):
        cells = (
            level.reshape(len(sizes), width, *level.shape[-2:]).transpose(0, 2, 3, 1)
            if level.ndim == 3
            else level
        )
        cells = sigmoid(cells)
        rows, columns = cells.shape[1:3]
        stride = np.array(values["size"], np.float64) / (columns, rows)
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        cells[..., :2] = (cells[..., :2] * 2 - 0.5 + grid) * stride
        cells[..., 2:4] = (cells[..., 2:4] * 2) ** 2 * sizes[:, None, None]
        decoded.append(cells.reshape(-1, width))
    return np.concatenate(decoded)


def _yolox(raw: list[Array], values: Mapping[str, Any]) -> Rows:
    """Ge et al., YOLOX: demo_postprocess."""
    rows = np.array(_upright(raw[0], 5 + values["classes"]))
    grids, steps = [], []
    for stride in values.get("strides") or (8, 16, 32):
        columns, count = (side // stride for side in values["size"])
        grids.append(np.stack(np.meshgrid(np.arange(columns), np.arange(count)), axis=-1).reshape(-1, 2))
        steps.append(np.full((columns * count, 1), stride))
    grid, step = np.concatenate(grids), np.concatenate(steps)
    rows[:, :2] = (rows[:, :2] + grid) * step
    rows[:, 2:4] = np.exp(rows[:, 2:4]) * step
    return Rows(_corners(rows), _with_objectness(rows, values))


def _listed(
    boxes: Array, scores: Array, labels: Array, values: Mapping[str, Any], extras: Array | None = None
) -> Rows:
    spread = np.full((len(boxes), values["classes"]), -np.inf)
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        if 0 <= label < values["classes"]:
            spread[row, int(label)] = score
    form = _corners(boxes) if values.get("centre_form") else boxes
    kept = np.empty((len(boxes), 0)) if extras is None else extras
    return Rows(_pixels(form, values), spread, kept, nms=False)


def _end_to_end(raw: list[Array], values: Mapping[str, Any]) -> Rows:
    """Ultralytics v10, 26: x1, y1, x2, y2, score, class, extras."""
    rows = _upright(raw[0], 6 + values.get("extra_values", 0))
    return _listed(rows[:, :4], rows[:, 4], rows[:, 5], values, rows[:, 6:])


def _efficient_nms(raw: list[Array], values: Mapping[str, Any]) -> Rows:
    """TensorRT's EfficientNMS plugin: count, boxes, scores, classes."""
    count = int(raw[0].reshape(-1)[0])
    boxes, scores, labels = raw[1].reshape(-1, 4), raw[2].reshape(-1), raw[3].reshape(-1)
    return _listed(boxes[:count], scores[:count], labels[:count], values)


def _mask_rcnn(raw: list[Array], values: Mapping[str, Any]) -> Rows:
    """torchvision: boxes, labels, scores, masks."""
    labels = raw[1].reshape(-1) - (1 if values.get("background") == "first" else 0)
    return _listed(raw[0], raw[2].reshape(-1), labels, values)


def _without_background(scores: Array, values: Mapping[str, Any]) -> Array:
    kept = {"first": slice(1, None), "last": slice(None, -1)}.get(
        values.get("background", "none"), slice(None)
    )
    return np.asarray(activated(scores, values)[:, kept])


def _pair(raw: list[Array]) -> tuple[Array, Array]:
    """Boxes and scores: the first tensor whose last dimension is 4 holds the boxes."""
    first = 0 if raw[0].shape[-1] == 4 else 1
    return raw[first], raw[1 - first]


def _detr(raw: list[Array], values: Mapping[str, Any]) -> Rows:
    """Carion et al., DETR: PostProcess; RT-DETR."""
    boxes, scores = _pair(raw) if len(raw) > 1 else (raw[0][:, :4], raw[0][:, 4:])
    return Rows(_corners(boxes) * _sides(values), _without_background(scores, values), nms=False)


def _ssd(raw: list[Array], values: Mapping[str, Any]) -> Rows:
    """torchvision.models.detection: BoxCoder.decode, clip_boxes_to_image."""
    deltas, scores = _pair(raw)
    anchors = np.asarray(values["anchors"], np.float64)
    size = anchors[:, 2:] - anchors[:, :2]
    deltas = deltas / np.asarray(values.get("box_weights") or (1, 1, 1, 1), np.float64)
    centre = deltas[:, :2] * size + anchors[:, :2] + size / 2
    grown = np.exp(np.minimum(deltas[:, 2:], np.log(1000 / 16))) * size
    boxes = np.clip(_corners(np.concatenate([centre, grown], axis=1)), 0, _sides(values))
    return Rows(boxes, _without_background(scores, values))


_READERS = {
    "yolov8": _yolov8,
    "yolov5": _yolov5,
    "yolox": _yolox,
    "end_to_end": _end_to_end,
    "efficient_nms": _efficient_nms,
    "mask_rcnn": _mask_rcnn,
    "detr": _detr,
    "ssd": _ssd,
}
