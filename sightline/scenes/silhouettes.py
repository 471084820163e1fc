# SPDX-License-Identifier: Apache-2.0
"""A canvas that also keeps the exact silhouette of each object, pixel by pixel, without drawing another bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sightline.scenes.canvas import Canvas

POLE = 255
"""Label of poles and masts, which belong to no object."""
MOST_OBJECTS = 254
_SHIFT = 4
_ONE = 1 << _SHIFT
_COVERED = 127


@dataclass
class _Scratch:
    """Coverage (H, W) uint8 of what is being drawn, and the box that it may touch: x0, y0, x1, y1."""

    cover: np.ndarray
    low: list[float]
    high: list[float]

    @staticmethod
    def empty(height: int, width: int) -> _Scratch:
        return _Scratch(np.zeros((height, width), np.uint8), [math.inf, math.inf], [-math.inf, -math.inf])

    def touch(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self.low = [min(self.low[0], x0), min(self.low[1], y0)]
        self.high = [max(self.high[0], x1), max(self.high[1], y1)]

    def stamp_into(self, labels: np.ndarray, label: int) -> None:
        """Label what is covered by at least half, and begin anew."""
        if self.high[0] < self.low[0]:
            return
        height, width = self.cover.shape
        x0, y0 = max(math.floor(self.low[0]) - 2, 0), max(math.floor(self.low[1]) - 2, 0)
        x1, y1 = min(math.ceil(self.high[0]) + 3, width), min(math.ceil(self.high[1]) + 3, height)
        self.low, self.high = [math.inf, math.inf], [-math.inf, -math.inf]
        if x1 <= x0 or y1 <= y0:
            return
        region = self.cover[y0:y1, x0:x1]
        labels[y0:y1, x0:x1][region > _COVERED] = label
        region[:] = 0


class SilhouetteCanvas(Canvas):
    """`labels` (H, W) uint8: 0 nothing, the number given to begin(), or POLE; nearer things cover farther ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        height, width = self.image.shape[:2]
        self.labels = np.zeros((height, width), np.uint8)
        self._body, self._pole = _Scratch.empty(height, width), _Scratch.empty(height, width)

    def end(self) -> tuple[np.ndarray, float]:
        """As Canvas.end(), and the object's pixels are labelled."""
        self._pole.stamp_into(self.labels, POLE)
        self._body.stamp_into(self.labels, self.owner)
        return super().end()

    def polygon(self, pixels: np.ndarray, colour: Sequence[float], extent: bool = True) -> None:
        """As Canvas.polygon()."""
        super().polygon(pixels, colour, extent)
        scratch = self._body if extent else self._pole
        (x0, y0), (x1, y1) = pixels.min(0).tolist(), pixels.max(0).tolist()
        scratch.touch(x0, y0, x1, y1)
        fixed = (pixels * _ONE).round().astype(np.int32)
        cv2.fillConvexPoly(scratch.cover, fixed, 255, cv2.LINE_AA, _SHIFT)

    def limb(self, a: np.ndarray, b: np.ndarray, width: float, colour: Sequence[float]) -> None:
        """As Canvas.limb()."""
        before = len(self._extent)
        super().limb(a, b, width, colour)
        quad = np.array(self._extent[before : before + 4])
        (x0, y0), (x1, y1) = quad.min(0).tolist(), quad.max(0).tolist()
        self._body.touch(x0, y0, x1, y1)
        fixed = np.round(quad * _ONE).astype(np.int32)
        cv2.fillConvexPoly(self._body.cover, fixed, 255, cv2.LINE_AA, _SHIFT)

    def _dot(self, x: float, y: float, radius: float, colour: Sequence[float]) -> None:
        super()._dot(x, y, radius, colour)
        self._body.touch(x - radius, y - radius, x + radius, y + radius)
        at = (round(x * _ONE), round(y * _ONE))
        cv2.circle(self._body.cover, at, max(round(radius * _ONE), 4), 255, -1, cv2.LINE_AA, _SHIFT)

    def plate(self, x: int, y: int, weight: np.ndarray) -> None:
        """As Canvas.plate(): the plate's coverage becomes part of the silhouette."""
        height, width = weight.shape
        self._body.touch(x, y, x + width, y + height)
        region = self._body.cover[y : y + height, x : x + width]
        np.maximum(region, np.round(weight * 255).astype(np.uint8), out=region)

    def hide(self, cover: np.ndarray) -> None:
        """As Canvas.hide(): what is behind it is not seen any more."""
        self.labels[cover > 0] = 0
