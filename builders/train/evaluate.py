# SPDX-License-Identifier: Apache-2.0
"""Average precision as COCO defines it.

Source: the COCO detection metric (Lin 2014, cocodataset.org/#detection-eval). Detections in order of score
are matched greedily, each to the unmatched object of its class with the highest IoU; precision is made
monotone and sampled at 101 recalls. Detections that fall on an ignored region and match nothing do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

IOU_THRESHOLDS = tuple(float(t) for t in np.arange(0.5, 0.96, 0.05).round(2))
_RECALLS = np.linspace(0.0, 1.0, 101)
SCORE_THRESHOLD = 0.001
NMS_IOU = 0.65
MAX_DETECTIONS = 300
Picture = np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """Means over the classes that occur in the truth, and by class index, at IoU 0.50:

    ap50: average precision. precision: (101,) float64, at the recalls 0, 0.01 … 1.
    """

    map50: float
    map50_95: float
    ap50: dict[int, float]
    precision: dict[int, np.ndarray]
    frames: int
    objects: int


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of xyxy boxes, (N, 4) against (M, 4) -> (N, M) float64."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.prod(np.clip(high - low, 0, None), -1, dtype=np.float64)
    areas = np.prod(a[:, 2:] - a[:, :2], -1)[:, None] + np.prod(b[:, 2:] - b[:, :2], -1)[None]
    return np.asarray(overlap / np.maximum(areas - overlap, 1e-9))


def decode(
    output: np.ndarray, score: float = SCORE_THRESHOLD, nms_iou: float = NMS_IOU, limit: int = MAX_DETECTIONS
) -> np.ndarray:
    """Detections (N, 6) [x0, y0, x1, y1, score, class], best first, of one image's head (4 + C, A).

    NMS runs within each class.
    """
    return select(output, score, nms_iou, limit)[0]


def select(output: np.ndarray, score: float, nms_iou: float, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """What decode() gives, and the cell (N,) of the head that each detection comes from."""
    scores = output[4:]
    classes, cells = np.nonzero(scores >= score)
    values = scores[classes, cells]
    order = np.argsort(-values, kind="stable")[:3000]
    classes, cells, values = classes[order], cells[order], values[order]
    centre, half = output[:2, cells].T, output[2:4, cells].T / 2
    boxes = np.concatenate([centre - half, centre + half], 1)
    kept: list[int] = []
    for kind in np.unique(classes):
        alive = np.flatnonzero(classes == kind)
        while len(alive):
            kept.append(int(alive[0]))
            alive = alive[1:][box_iou(boxes[alive[:1]], boxes[alive[1:]])[0] <= nms_iou]
    best = np.array(sorted(kept)[:limit], int)
    rows = np.concatenate([boxes[best], values[best, None], classes[best, None]], 1)
    return rows.astype(np.float64).reshape(-1, 6), cells[best]


def match(
    found: np.ndarray,
    truth: np.ndarray,
    ignored: np.ndarray,
    threshold: float,
    overlap: np.ndarray | None = None,
) -> np.ndarray:
    """Greedy matching of one class in one image; found (N, 4) has the best first.

    overlap: (N, M) IoU of what is found with the truth; that of the boxes where it is left out.
    Returns (N,) int: 1 right, 0 wrong, -1 not counted.
    """
    verdict = np.zeros(len(found), int)
    overlap = box_iou(found, truth) if overlap is None else overlap
    taken = np.zeros(len(truth), bool)
    for i in range(len(found)):
        free = np.where(taken, -1.0, overlap[i])
        if len(free) and free.max() >= threshold:
            taken[int(free.argmax())] = True
            verdict[i] = 1
    if len(ignored) and len(found):
        low = np.maximum(found[:, None, :2], ignored[None, :, :2])
        high = np.minimum(found[:, None, 2:], ignored[None, :, 2:])
        inside = np.prod(np.clip(high - low, 0, None), -1) / np.maximum(
            np.prod(found[:, 2:] - found[:, :2], -1)[:, None], 1e-9
        )
        verdict[(verdict == 0) & (inside.max(1) >= 0.5)] = -1
    return verdict


def average_precision(scores: np.ndarray, verdicts: np.ndarray, objects: int) -> float:
    """AP over 101 recalls from scores (N,), verdicts (N,) of match(), and the number of objects."""
    return float(precision_at_recalls(scores, verdicts, objects).mean())


def precision_at_recalls(scores: np.ndarray, verdicts: np.ndarray, objects: int) -> np.ndarray:
    """The precision-recall curve: (101,) float64, monotone, 0 at recalls that are not reached."""
    counted = verdicts >= 0
    scores, right = scores[counted], verdicts[counted] == 1
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    recall, precision = hits / objects, hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return np.asarray(np.append(precision, 0.0)[np.minimum(at, len(precision))])


def evaluate(
    found: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    ignored: Sequence[np.ndarray],
    classes: int,
    overlaps: Sequence[np.ndarray] | None = None,
) -> Evaluation:
    """AP of a set of images.

    Per image: found (N, 6) of decode(), truth (M, 5) [class, xyxy], ignored (K, 4), and, where it is not the boxes
    that are compared, their overlaps (N, M), such as the IoU of masks.
    """
    ap = np.full((classes, len(IOU_THRESHOLDS)), np.nan)
    precision: dict[int, np.ndarray] = {}
    if overlaps is None:
        overlaps = [box_iou(f[:, :4], t[:, 1:]) for f, t in zip(found, truth, strict=True)]
    for kind in range(classes):
        objects = sum(int((t[:, 0] == kind).sum()) for t in truth)
        if not objects:
            continue
        mine = [f[f[:, 5] == kind] for f in found]
        real = [t[t[:, 0] == kind, 1:] for t in truth]
        close = [
            o[f[:, 5] == kind][:, t[:, 0] == kind] for o, f, t in zip(overlaps, found, truth, strict=True)
        ]
        scores = np.concatenate([m[:, 4] for m in mine])
        for column, threshold in enumerate(IOU_THRESHOLDS):
            verdicts = [
                match(m[:, :4], t, h, threshold, o)
                for m, t, h, o in zip(mine, real, ignored, close, strict=True)
            ]
            curve = precision_at_recalls(scores, np.concatenate(verdicts), objects)
            ap[kind, column] = curve.mean()
            if column == 0:
                precision[kind] = curve
    return Evaluation(
        map50=float(np.nanmean(ap[:, 0])),
        map50_95=float(np.nanmean(ap)),
        ap50={k: float(ap[k, 0]) for k in range(classes) if not np.isnan(ap[k, 0])},
        precision=precision,
        frames=len(truth),
        objects=sum(len(t) for t in truth),
    )


def detections(
    infer: Callable[[np.ndarray], np.ndarray], images: Sequence[Picture], batch: int = 8
) -> list[np.ndarray]:
    """Run infer((B, 3, H, W) float32 0..1) -> (B, 4 + C, A) over letterboxed uint8 images (H, W, 3)."""
    results: list[np.ndarray] = []
    for start in range(0, len(images), batch):
        stack = np.stack(images[start : start + batch]).transpose(0, 3, 1, 2).astype(np.float32) / 255.0
        results += [decode(o) for o in infer(np.ascontiguousarray(stack))]
    return results
