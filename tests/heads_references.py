# SPDX-License-Identifier: Apache-2.0
"""Heads once more in plain numpy, float64 where the result allows it: outputs into rows, then rows into detections."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import preprocess_references as reference
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Rows:
    """What a head says before the limit. scores: (A, C). boxes: (A, 4) xyxy, network pixels."""

    boxes: Array
    scores: Array
    extras: Array = field(default_factory=lambda: np.empty((0, 0)))
    nms: bool = True


def sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def softmax(x: Array) -> Array:
    shifted = np.exp(np.asarray(x, np.float64) - x.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def corners(centre_form: Array) -> Array:
    centre, half = centre_form[:, :2], centre_form[:, 2:4] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def yolov8(raw: Array, classes: int, *, logits: bool = False) -> Rows:
    rows = raw.T
    scores = rows[:, 4 : 4 + classes]
    return Rows(corners(rows), sigmoid(scores) if logits else scores, rows[:, 4 + classes :])


def yolov5(rows: Array, classes: int) -> Rows:
    """Rows whose objectness is low never count, whatever the product: see `detections`."""
    return Rows(corners(rows), rows[:, 4:5] * rows[:, 5 : 5 + classes], rows[:, 5 + classes :])


def yolov5_levels(levels: list[Array], anchors: Array, classes: int, network: tuple[int, int]) -> Rows:
    """levels: (n, h, w, 5 + classes) logits; anchors: (levels, n, 2). Jocher, YOLOv5: Detect.forward."""
    decoded = []
    for level, sizes in zip(levels, anchors, strict=True):
        values = sigmoid(level)
        rows, columns = level.shape[1:3]
        stride = np.array([network[0] / columns, network[1] / rows])
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        values[..., :2] = (values[..., :2] * 2 - 0.5 + grid) * stride
        values[..., 2:4] = (values[..., 2:4] * 2) ** 2 * sizes[:, None, None]
        decoded.append(values.reshape(-1, values.shape[-1]))
    return yolov5(np.concatenate(decoded), classes)


def yolox(rows: Array, classes: int, network: tuple[int, int], strides: tuple[int, ...]) -> Rows:
    """Ge et al., YOLOX: demo_postprocess."""
    grids, steps = [], []
    for stride in strides:
        columns, count = network[0] // stride, network[1] // stride
        grids.append(np.stack(np.meshgrid(np.arange(columns), np.arange(count)), axis=-1).reshape(-1, 2))
        steps.append(np.full((columns * count, 1), stride))
    grid, step = np.concatenate(grids), np.concatenate(steps)
    decoded = np.array(rows, np.float64)
    decoded[:, :2] = (rows[:, :2] + grid) * step
    decoded[:, 2:4] = np.exp(rows[:, 2:4]) * step
    return yolov5(decoded, classes)


def listed(boxes: Array, scores: Array, labels: Array, classes: int, extras: Array | None = None) -> Rows:
    spread = np.full((len(boxes), classes), -1.0)
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        if 0 <= label < classes:
            spread[row, int(label)] = score
    return Rows(boxes, spread, np.empty((len(boxes), 0)) if extras is None else extras, nms=False)


def with_background(scores: Array, activation: str, background: str) -> Array:
    activated = {"none": lambda x: x, "sigmoid": sigmoid, "softmax": softmax}[activation](scores)
    return {"none": activated, "first": activated[:, 1:], "last": activated[:, :-1]}[background]


def detr(boxes: Array, scores: Array, network: tuple[int, int], activation: str, background: str) -> Rows:
    pixels = corners(boxes * np.array([*network, *network]))
    return Rows(pixels, with_background(scores, activation, background), nms=False)


def ssd(
    deltas: Array,
    scores: Array,
    anchors: Array,
    weights: tuple[float, ...],
    network: tuple[int, int],
    activation: str,
    background: str,
) -> Rows:
    """torchvision.models.detection: BoxCoder.decode, then clip_boxes_to_image."""
    size = anchors[:, 2:] - anchors[:, :2]
    deltas = deltas / np.array(weights)
    centre = deltas[:, :2] * size + anchors[:, :2] + size / 2
    grown = np.exp(np.minimum(deltas[:, 2:], np.log(1000 / 16))) * size
    boxes = np.clip(corners(np.concatenate([centre, grown], axis=1)), 0, np.array([*network, *network]))
    return Rows(boxes, with_background(scores, activation, background))


def detections(
    rows: Rows,
    geometry: NDArray[np.float32],
    score: float,
    iou: float,
    most: int,
    *,
    multi_label: bool = False,
    class_agnostic: bool = False,
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.int64]]:
    """Boxes in source pixels, scores, classes and rows, best first."""
    scores = np.where(np.isnan(rows.scores), -np.inf, rows.scores)
    if multi_label:
        anchors, classes = np.nonzero(scores >= np.float32(score))
    else:
        anchors = np.flatnonzero(scores.max(axis=1, initial=-np.inf) >= np.float32(score))
        classes = scores[anchors].argmax(axis=1)
    boxes, best = rows.boxes[anchors].astype(np.float32), scores[anchors, classes].astype(np.float32)
    if rows.nms:
        labels = np.zeros_like(classes) if class_agnostic else classes
        kept = reference.nms(boxes, best, labels.astype(np.int32), iou)
    else:
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(best)
        kept = [i for i in np.argsort(-best, kind="stable").tolist() if finite[i]]
    chosen = np.array(kept[:most], np.int64)
    source = (boxes[chosen] - np.tile(geometry[5:7], 2)) / np.tile(geometry[3:5], 2)
    return np.clip(source, 0, np.tile(geometry[1:3], 2)), best[chosen], classes[chosen], anchors[chosen]


def bilinear(logits: Array, rows: Array, columns: Array) -> Array:
    """(C, len(rows), len(columns)) values at positions counted from the middle of the first cell."""

    def taps(position: Array, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        low = np.clip(np.floor(position), 0, cells - 1).astype(np.int64)
        return low, np.minimum(low + 1, cells - 1), position - low

    top, bottom, down = taps(rows, logits.shape[1])
    left, right, across = taps(columns, logits.shape[2])
    mixed = logits[:, top] * (1 - down)[:, None] + logits[:, bottom] * down[:, None]
    return mixed[:, :, left] * (1 - across) + mixed[:, :, right] * across


def cell_positions(pixels: int, scale: float, pad: float, network: int, cells: int) -> Array:
    """Where the middles of source pixels lie among the cells that the picture touches."""
    ratio = cells / network
    first = max(int(np.floor(pad * ratio + 1e-3)), 0)
    last = min(int(np.ceil((pad + scale * pixels) * ratio - 1e-3)) - 1, cells - 1)
    return np.clip(((np.arange(pixels) + 0.5) * scale + pad) * ratio - 0.5, first, max(first, last))
