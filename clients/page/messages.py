# SPDX-License-Identifier: Apache-2.0
"""Results as the page gets them: boxes, what analytics know of them, and outlines of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.clients.streams.results import ObjectInfo, StreamResult
from sightline.results import Detections

OUTLINE_TOLERANCE_PIXELS = 1.0
LEAST_AREA_PIXELS = 12.0
MAX_MASKS = 60


def result_document(result: StreamResult) -> dict[str, Any]:
    """A result as plain values.

    boxes: [x1, y1, x2, y2, score, label, class id] in pixels of the frame. info: of each box an object with id, speed (km/h),
    identity and attributes, as far as they are known. masks: of each box its outlines, each a flat list x, y, x, y, …
    """
    source = result.source
    document: dict[str, Any] = {
        "type": "result",
        "camera": source.camera,
        "epoch": source.epoch,
        "pts": round(source.pts_seconds, 5),
        "width": source.frame.width,
        "height": source.frame.height,
        "boxes": [
            [*(round(v, 1) for v in d.box), round(d.score, 3), d.label, d.class_id] for d in result.detections
        ],
    }
    if result.objects:
        document["info"] = [_info(one) for one in result.objects]
    if result.detections.masks is not None:
        document["masks"] = outlines(result.detections)
    if result.counts:
        document["counts"] = {rule: dict(values) for rule, values in result.counts.items()}
    return document


def _info(one: ObjectInfo) -> dict[str, Any]:
    known = {
        "id": one.track_id,
        "speed": None if one.speed_kmh is None else round(one.speed_kmh, 1),
        "identity": one.identity,
        "attributes": dict(one.attributes) or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def outlines(detections: Detections) -> list[list[list[int]]]:
    """The outlines of each object's mask; of the first MAX_MASKS objects, empty for the others.

    Borders are followed as Suzuki and Abe, 1985, do (OpenCV) and thinned after Douglas and Peucker.
    """
    from sightline.preprocess_ext import rle_box

    if detections.masks is None or detections.size is None:
        return []
    width, height = detections.size
    found: list[list[list[int]]] = []
    for index, text in enumerate(detections.masks):
        if index >= MAX_MASKS:
            found.append([])
            continue
        x, y, wide, high = rle_box(text, width, height)
        if not wide:
            found.append([])
            continue
        mask = np.ascontiguousarray(detections.mask(index)[y : y + high, x : x + wide], np.uint8)
        found.append(_contours(mask, x, y))
    return found


def _contours(mask: NDArray[np.uint8], left: int, top: int) -> list[list[int]]:
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
    kept = [c for c in contours if cv2.contourArea(c) >= LEAST_AREA_PIXELS]
    return [[int(v) for v in cv2.approxPolyDP(c, OUTLINE_TOLERANCE_PIXELS, True).reshape(-1)] for c in kept]
