# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression: hard, by distance-IoU, soft, and of oriented boxes.

In all of them a better score comes first, and of equal scores the lower index. Boxes and scores that are not finite are
left out. `classes` None means that boxes of all classes suppress each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.preprocess_ext import _boxes
from sightline.preprocess_ext.arguments import MAX_ANCHORS, Floats, choice, fraction, int32

Classes = NDArray[np.integer[Any]]
Indices = NDArray[np.int64]

METHODS = {"iou": 0, "diou": 1}
SOFT_METHODS = {"linear": 0, "gaussian": 1}
OVERLAPS = {"polygon": 0, "probiou": 1}


def nms(
    boxes: Floats, scores: Floats, classes: Classes | None, iou: float, *, method: str = "iou"
) -> Indices:
    """Indices that greedy non-maximum suppression keeps, best score first, int64 of shape (K,).

    boxes: (N, 4) xyxy; scores: (N,); classes: (N,) integers, or None for class-agnostic suppression. A box that
    overlaps a better kept box of its class by more than `iou` (0..1) is left out. With method "iou" the kept set is that
    of torchvision.ops.nms (classes None) or of batched_nms compared class by class, also where an IoU meets the
    threshold. With "diou" the overlap is IoU minus the squared distance of the centres over the squared diagonal of the
    box around both (Zheng et al., AAAI 2020). At most the best 30,000 boxes are looked at. Raises ValueError.
    """
    boxes, scores, ids = _checked(boxes, scores, classes, 4)
    fraction("iou", iou)
    distance = choice("method", method, METHODS) == 1
    keep = np.empty(len(scores), np.int64)
    return keep[: _boxes.nms(boxes, scores, ids, iou, distance, keep)] if len(keep) else keep


def soft_nms(
    boxes: Floats,
    scores: Floats,
    classes: Classes | None,
    *,
    method: str = "gaussian",
    sigma: float = 0.5,
    iou: float = 0.3,
    score: float = 0.001,
) -> tuple[Indices, Floats]:
    """Soft-NMS (Bodla et al., ICCV 2017): indices kept, int64 (K,), and their lowered scores, float32 (K,), best first.

    boxes: (N, 4) xyxy; scores: (N,); classes: (N,) integers or None. The best box is kept and lowers the scores of its
    class: "gaussian" by exp(-IoU² / sigma), sigma in 0.001..1000; "linear" by 1 - IoU where IoU is above `iou`. Then the
    best that is left follows, until all that are left are below `score` (0..1). At most the best 4,096 boxes are looked
    at. Raises ValueError.
    """
    boxes, scores, ids = _checked(boxes, scores, classes, 4)
    kind = choice("method", method, SOFT_METHODS)
    fraction("iou", iou)
    fraction("score", score)
    if not 0.001 <= sigma <= 1000.0:
        raise ValueError(f"sigma is {sigma}; it must lie in 0.001..1000")
    keep, lowered = np.empty(len(scores), np.int64), np.empty(len(scores), np.float32)
    count = _boxes.soft_nms(boxes, scores, ids, kind, iou, sigma, score, keep, lowered) if len(keep) else 0
    return keep[:count], lowered[:count]


def oriented_nms(
    boxes: Floats,
    scores: Floats,
    classes: Classes | None,
    limit: float,
    *,
    overlap: str = "polygon",
    fast: bool = False,
) -> Indices:
    """Indices of oriented boxes that non-maximum suppression keeps, best score first, int64 of shape (K,).

    boxes: (N, 5) centre x, centre y, width, height, angle in radians from the x axis towards the y axis; scores: (N,);
    classes: (N,) integers or None. A box is left out when its overlap with a better kept box of its class is above
    `limit` (0..1). overlap: "polygon" is the exact intersection over union; "probiou" is that of the boxes' Gaussians
    (Llerena et al. 2021). fast: every better box suppresses, kept or not (Fast NMS, Bolya et al., ICCV 2019);
    with "probiou" this is what Ultralytics does. A box without area overlaps nothing; numbers beyond 1e9 count as not
    finite. At most the best 4,096 boxes are looked at. Raises ValueError.
    """
    boxes, scores, ids = _checked(boxes, scores, classes, 5)
    fraction("limit", limit)
    kind = choice("overlap", overlap, OVERLAPS)
    keep = np.empty(len(scores), np.int64)
    return keep[: _boxes.oriented_nms(boxes, scores, ids, limit, kind, fast, keep)] if len(keep) else keep


def _checked(
    boxes: Floats, scores: Floats, classes: Classes | None, width: int
) -> tuple[Floats, Floats, NDArray[np.int32] | None]:
    boxes = np.ascontiguousarray(boxes, dtype=np.float32)
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    class_ids = None if classes is None else np.asarray(classes)
    count = len(scores) if scores.ndim == 1 else -1
    if boxes.shape != (count, width) or (class_ids is not None and class_ids.shape != (count,)):
        third = None if class_ids is None else class_ids.shape
        raise ValueError(
            f"boxes {boxes.shape}, scores {scores.shape} and classes {third} "
            f"must have shapes (N, {width}), (N,) and (N,)"
        )
    if count > MAX_ANCHORS:
        raise ValueError(f"there are {count} boxes; at most {MAX_ANCHORS} are allowed")
    return boxes, scores, None if class_ids is None or not count else int32("classes", class_ids)
