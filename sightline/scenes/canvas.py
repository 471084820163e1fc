# SPDX-License-Identifier: Apache-2.0
"""The picture being drawn, far to near, with a map of which object owns each pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from sightline.scenes.camera import Camera

_SHIFT = 4
_ONE = 1 << _SHIFT
Colour = tuple[float, float, float]


@dataclass
class Lamp:
    """A light source in the picture, kept for the night pass."""

    x: float
    y: float
    radius: float
    colour: Colour
    owner: int
    strength: float
    ground_y: float


@dataclass
class Canvas:
    """RGB image (H, W, 3) uint8 and the owner map at a coarser scale."""

    image: np.ndarray
    camera: Camera
    haze: Colour
    haze_metres: float
    light: Colour = (1.0, 1.0, 1.0)
    owner_step: int = 2
    lamps: list[Lamp] = field(default_factory=list)

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        shape = (-(-height // self.owner_step), -(-width // self.owner_step))
        self.owners = np.zeros(shape, np.uint8)
        self.owner = 0
        self._fog = 0.0
        self._extent: list[list[float]] = []

    def begin(self, owner: int, depth_metres: float) -> None:
        """Start an object; colours drawn from here on are hazed for this depth."""
        self.owner = owner
        self._fog = float(1.0 - np.exp(-max(depth_metres, 0.0) / self.haze_metres))
        self._extent = []

    def end(self) -> tuple[np.ndarray, float]:
        """Close an object: its box (4,) xyxy before clipping and its hull's area, in pixels."""
        points = np.array(self._extent)
        low, high = points.min(0), points.max(0)
        outline = cv2.convexHull(points.astype(np.float32))[:, 0]
        fixed = np.round(outline * (_ONE / self.owner_step)).astype(np.int32)
        cv2.fillConvexPoly(self.owners, fixed, self.owner, cv2.LINE_8, _SHIFT)
        return np.concatenate([low, high]), float(cv2.contourArea(outline))

    def tint(self, colour: Sequence[float]) -> Colour:
        """A colour under this object's light and behind this object's haze."""
        fog, (kr, kg, kb), (hr, hg, hb) = self._fog, self.light, self.haze
        r, g, b = colour[0] * kr, colour[1] * kg, colour[2] * kb
        return (r + (hr - r) * fog, g + (hg - g) * fog, b + (hb - b) * fog)

    def include(self, pixels: np.ndarray) -> None:
        """Count points (N, 2) as part of the object without drawing them."""
        self._extent.extend(pixels.tolist())

    def polygon(self, pixels: np.ndarray, colour: Sequence[float], extent: bool = True) -> None:
        """Fill a convex polygon of shape (N, 2) in pixels."""
        if extent:
            self._extent.extend(pixels.tolist())
        cv2.fillConvexPoly(
            self.image, (pixels * _ONE).round().astype(np.int32), self.tint(colour), cv2.LINE_AA, _SHIFT
        )

    def limb(self, a: np.ndarray, b: np.ndarray, width: float, colour: Sequence[float]) -> None:
        """A straight stroke with round ends from a to b, `width` pixels wide."""
        (ax, ay), (bx, by) = a.tolist(), b.tolist()
        dx, dy = bx - ax, by - ay
        half = 0.5 * width / (math.hypot(dx, dy) + 1e-6)
        nx, ny = -dy * half, dx * half
        quad = [[ax + nx, ay + ny], [bx + nx, by + ny], [bx - nx, by - ny], [ax - nx, ay - ny]]
        self._extent.extend(quad)
        fixed = np.array([[round(x * _ONE), round(y * _ONE)] for x, y in quad], np.int32)
        cv2.fillConvexPoly(self.image, fixed, self.tint(colour), cv2.LINE_AA, _SHIFT)
        if width > 2.5:
            self._dot(ax, ay, width / 2, colour)
            self._dot(bx, by, width / 2, colour)

    def disc(self, centre: np.ndarray, radius: float, colour: Sequence[float]) -> None:
        """A filled circle, radius in pixels."""
        x, y = centre.tolist()
        self._dot(x, y, radius, colour)

    def _dot(self, x: float, y: float, radius: float, colour: Sequence[float]) -> None:
        self._extent += [[x - radius, y - radius], [x + radius, y + radius]]
        at = (round(x * _ONE), round(y * _ONE))
        cv2.circle(self.image, at, max(round(radius * _ONE), 4), self.tint(colour), -1, cv2.LINE_AA, _SHIFT)

    def hide(self, cover: np.ndarray) -> None:
        """Told that something nearer was painted where cover (H, W) uint8 is above 0. Nothing to do here."""

    def plate(self, x: int, y: int, weight: np.ndarray) -> None:
        """Told of a flat picture blended in at (x, y): weight (H, W) float32 0..1. Nothing to do here."""

    def lamp(self, at: np.ndarray, radius: float, colour: Colour, strength: float, ground_y: float) -> None:
        self.lamps.append(Lamp(float(at[0]), float(at[1]), radius, colour, self.owner, strength, ground_y))
