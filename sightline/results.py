# SPDX-License-Identifier: Apache-2.0
"""What a model says about an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detection:
    """One object: `box` is (x1, y1, x2, y2) in pixels of the image sent."""

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    label: str


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found in one image, highest score first.

    boxes: ndarray of shape (N, 4), float32, xyxy pixels of the image sent.
    scores: ndarray of shape (N,), float32, 0..1.
    classes: ndarray of shape (N,), int32.
    labels: names of all classes of the model, by class id; may be empty.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    labels: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.classes.shape != (count,):
            raise ValueError(
                f"boxes {self.boxes.shape}, scores {self.scores.shape} and classes {self.classes.shape} "
                "must have shapes (N, 4), (N,) and (N,)"
            )

    @classmethod
    def empty(cls, labels: tuple[str, ...] = ()) -> Detections:
        """No objects."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), labels)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, class_id in zip(self.boxes, self.scores, self.classes, strict=True):
            x1, y1, x2, y2 = (float(v) for v in box)
            yield Detection((x1, y1, x2, y2), float(score), int(class_id), self.label(int(class_id)))

    def label(self, class_id: int) -> str:
        """Name of a class; its number where the model has no labels."""
        return self.labels[class_id] if 0 <= class_id < len(self.labels) else str(class_id)

    def above(self, score: float) -> Detections:
        """Only the objects with at least this score."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.scores[keep], self.classes[keep], self.labels)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain values for JSON: label, class_id, score, box [x1, y1, x2, y2] in pixels."""
        return [
            {
                "label": d.label,
                "class_id": d.class_id,
                "score": round(d.score, 4),
                "box": [round(v, 2) for v in d.box],
            }
            for d in self
        ]
