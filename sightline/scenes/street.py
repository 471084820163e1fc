# SPDX-License-Identifier: Apache-2.0
"""The layout of one street: sizes, materials, weather and light, all drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.scenes.camera import Camera
from sightline.scenes.canvas import Colour

FAR_METRES = 72.0


@dataclass(frozen=True)
class Street:
    """Distances in metres; `lanes` counts lanes per direction."""

    seed: int
    width: int
    height: int
    camera: Camera
    night: bool
    rain: bool
    lanes: int
    half_road: float
    pavement: float
    crossing_z: float
    zebra_z: float
    haze: Colour
    haze_metres: float
    ambient: float
    sun_shadow: float

    @property
    def lane_width(self) -> float:
        return self.half_road / self.lanes

    @property
    def cover_z(self) -> float:
        """Houses, trees and posts nearer than this hide what is farther away."""
        return self.crossing_z - 5.5 if self.crossing_z > 0 else 32.0

    def lamp_posts(self) -> list[tuple[float, float]]:
        """Places (lateral, z) of the street lamps."""
        step = 17.0
        first = 9.0 + (self.seed % 7)
        side = self.half_road + 0.8
        return [(side if i % 2 else -side, first + step * i) for i in range(5)]

    def light_at(self, x: float, z: float) -> Colour:
        """How much light falls on a thing standing at (x, z), per channel."""
        if not self.night:
            return (self.ambient, self.ambient, self.ambient)
        level = self.ambient
        for lateral, lamp_z in self.lamp_posts():
            away = (x - self.camera.road_x(lateral * 0.75, lamp_z)) ** 2 + (z - lamp_z) ** 2
            level += 0.42 * float(np.exp(-away / 60.0))
        level = min(level, 0.95)
        return (level, level * 0.93, level * 0.82)


def make_street(seed: int, size: tuple[int, int], night: bool | None, rain: bool | None) -> Street:
    """Draw a street's layout; the same seed gives the same street at every size."""
    rng = np.random.default_rng([seed, 11])
    width, height = size
    dark = bool(rng.random() < 0.34) if night is None else (rng.random(), night)[1]
    wet = bool(rng.random() < 0.3) if rain is None else (rng.random(), rain)[1]
    lanes = int(rng.integers(1, 3))
    half_road = lanes * float(rng.uniform(3.2, 3.6))
    bend = 0.0 if rng.random() < 0.5 else float(rng.uniform(-0.0022, 0.0022))
    camera = Camera(
        focal_pixels=width * float(rng.uniform(0.85, 1.35)),
        centre_x=width * float(rng.uniform(0.35, 0.65)),
        horizon_y=height * float(rng.uniform(0.16, 0.36)),
        x_metres=float(rng.uniform(-0.9, 0.9)) * half_road,
        height_metres=float(rng.uniform(4.6, 8.0)),
        bend=bend,
    )
    crossing = float(rng.uniform(26, 44)) if rng.random() < 0.55 else -1.0
    grey = float(rng.uniform(-14, 14))
    haze: Colour = (26.0, 28.0, 38.0) if dark else (186 + grey, 194 + grey, 204 + grey)
    return Street(
        seed=seed,
        width=width,
        height=height,
        camera=camera,
        night=dark,
        rain=wet,
        lanes=lanes,
        half_road=half_road,
        pavement=float(rng.uniform(2.8, 4.4)),
        crossing_z=crossing,
        zebra_z=float(rng.uniform(17, 24)),
        haze=haze,
        haze_metres=float(rng.uniform(130, 220)) if wet else float(rng.uniform(350, 900)),
        ambient=float(rng.uniform(0.24, 0.4))
        if dark
        else float(rng.uniform(0.72, 0.88) if wet else rng.uniform(0.88, 1.04)),
        sun_shadow=0.62 if dark or wet else float(rng.uniform(0.4, 0.62)),
    )
