# SPDX-License-Identifier: Apache-2.0
"""Heads to answers: one entry a head, free of Triton. A decoder takes a batch of raw outputs and geometries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.preprocess_ext import decode_yolov8

Decoder = Callable[[Sequence[NDArray[np.float32]], NDArray[np.float32]], dict[str, NDArray[Any]]]

BAD_ITEM = -1


class Yolov8Decoder:
    """COUNT, BOXES, SCORES and CLASSES of the detection head of YOLOv8 and YOLO11.

    A COUNT of -1 marks an item whose picture could not be used; rows past COUNT are zero.
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._limits: dict[str, Any] = {
            "score": parameters["score"],
            "iou": parameters["iou"],
            "max_detections": parameters["detections"],
        }
        self._capacity: int = parameters["detections"]

    def __call__(
        self, raw: Sequence[NDArray[np.float32]], geometry: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        """raw[0]: float32 (N, 4 + classes, anchors); geometry: float32 (N, 7)."""
        items = len(geometry)
        counts = np.full((items, 1), BAD_ITEM, np.int32)
        boxes = np.zeros((items, self._capacity, 4), np.float32)
        scores = np.zeros((items, self._capacity), np.float32)
        classes = np.zeros((items, self._capacity), np.int32)
        for index in np.flatnonzero(geometry[:, 0]):
            counts[index] = decode_yolov8(
                raw[0][index],
                geometry[index],
                **self._limits,
                boxes_out=boxes[index],
                scores_out=scores[index],
                classes_out=classes[index],
            )
        rows = max(int(counts.max(initial=0)), 0)
        return {
            "COUNT": counts,
            "BOXES": np.ascontiguousarray(boxes[:, :rows]),
            "SCORES": np.ascontiguousarray(scores[:, :rows]),
            "CLASSES": np.ascontiguousarray(classes[:, :rows]),
        }


DECODERS: dict[str, Callable[[dict[str, Any]], Decoder]] = {"yolov8": Yolov8Decoder}
