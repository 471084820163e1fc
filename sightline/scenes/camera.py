# SPDX-License-Identifier: Apache-2.0
"""A street camera: a pinhole above the road whose picture plane is upright, so verticals stay vertical."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR_METRES = 1.0
_PIXEL_LIMIT = 8000.0


@dataclass(frozen=True)
class Camera:
    """World axes: x right, y up, z ahead (metres); the camera stands at (x_metres, height_metres, 0)."""

    focal_pixels: float
    centre_x: float
    horizon_y: float
    x_metres: float
    height_metres: float
    bend: float = 0.0
    """Curvature of the road: its centre line lies at x = bend * z**2."""

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) float64 of world points (N, 3)."""
        depth = np.maximum(points[:, 2], NEAR_METRES)
        scale = self.focal_pixels / depth
        out = np.empty((len(points), 2))
        out[:, 0] = self.centre_x + (points[:, 0] - self.x_metres) * scale
        out[:, 1] = self.horizon_y + (self.height_metres - points[:, 1]) * scale
        return np.clip(out, -_PIXEL_LIMIT, _PIXEL_LIMIT, out=out)

    def pixels_per_metre(self, z_metres: float) -> float:
        return self.focal_pixels / max(z_metres, NEAR_METRES)

    def road_x(self, lateral_metres: float, z_metres: float) -> float:
        """World x of a place given by its distance from the road's centre line."""
        return lateral_metres + self.bend * z_metres * z_metres

    def road_yaw(self, z_metres: float) -> float:
        """Heading of the road in radians, 0 is straight ahead, positive turns right."""
        return float(np.arctan(2.0 * self.bend * z_metres))
