# SPDX-License-Identifier: Apache-2.0
"""Low-polygon bodies: faces in local metres, culled, sorted and filled through the camera."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sightline.scenes.canvas import Canvas, Colour

Point = tuple[float, float, float]
_SUN = np.array([-0.45, 0.8, -0.4])


@dataclass
class SolidBuilder:
    """Collects faces. Local axes: x right, y up, z forward; faces are seen from their clockwise side."""

    points: list[np.ndarray] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    lamps: list[tuple[np.ndarray, float, str]] = field(default_factory=list)

    def face(
        self,
        points: list[Point],
        outward: tuple[float, float, float],
        colour: Colour,
        layer: int = 0,
    ) -> None:
        """Add a convex planar face; its winding is chosen so that `outward` is its front."""
        p = np.asarray(points, float)
        normal = np.cross(p[1] - p[0], p[2] - p[1])
        if normal @ np.asarray(outward) < 0:
            p = p[::-1]
        self.points.append(p)
        self.colours.append(np.asarray(colour, float))
        self.layers.append(layer)

    def loft(self, profile: list[Point], colours: list[Colour]) -> None:
        """Strips across the width along a profile of (z, y, half width), front bottom to rear bottom."""
        centre = np.mean([(y, z) for z, y, _ in profile], axis=0)
        for (z0, y0, w0), (z1, y1, w1), colour in zip(profile[:-1], profile[1:], colours, strict=True):
            out = (0.0, (y0 + y1) / 2 - centre[0], (z0 + z1) / 2 - centre[1])
            normal = np.array([0.0, -(z1 - z0), y1 - y0])
            out_n = normal if normal[1] * out[1] + normal[2] * out[2] >= 0 else -normal
            quad = [(-w0, y0, z0), (w0, y0, z0), (w1, y1, z1), (-w1, y1, z1)]
            self.face(quad, tuple(out_n), colour)

    def sides(self, outline: list[Point], colour: Colour, layer: int = 0) -> None:
        """The same convex outline of (z, y, half width) on the left and on the right."""
        for sign in (-1.0, 1.0):
            self.face([(sign * w, y, z) for z, y, w in outline], (sign, 0.0, 0.0), colour, layer)

    def band(
        self,
        z: tuple[float, float],
        y: tuple[float, float],
        half_width: float,
        colour: Colour,
        layer: int = 1,
    ) -> None:
        """The same upright rectangle on the left and on the right."""
        (z0, z1), (y0, y1), w = z, y, half_width
        self.sides([(z0, y0, w), (z0, y1, w), (z1, y1, w), (z1, y0, w)], colour, layer)

    def plate(
        self,
        x0: float,
        x1: float,
        y0: float,
        y1: float,
        z: float,
        front: bool,
        colour: Colour,
        layer: int = 1,
    ) -> None:
        """An upright rectangle across the front or the rear."""
        self.face(
            [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)],
            (0, 0, 1.0 if front else -1.0),
            colour,
            layer,
        )

    def wheels(self, radius: float, half_width: float, at_z: list[float], hub: Colour) -> None:
        angles = np.linspace(0, 2 * np.pi, 15)[:-1]
        for z in at_z:
            for part, colour in ((1.0, (24, 24, 26)), (0.6, hub), (0.18, (50, 50, 52))):
                circle = [
                    (z + part * radius * np.cos(a), radius + part * radius * np.sin(a), half_width)
                    for a in angles
                ]
                self.sides(circle, colour, 2 if part == 1.0 else 3)

    def build(self) -> Solid:
        return Solid(self)


class Solid:
    """A finished body, ready to be drawn many times."""

    def __init__(self, parts: SolidBuilder) -> None:
        self.points = np.concatenate(parts.points)
        counts = np.array([len(p) for p in parts.points])
        self.starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.counts = counts
        self.layers = np.array(parts.layers)
        self.lamps = parts.lamps
        normals = [np.cross(p[1] - p[0], p[2] - p[1]) for p in parts.points]
        self.normals = np.array([n / (np.linalg.norm(n) + 1e-9) for n in normals])
        self.colours = np.array(parts.colours)
        self.length = float(np.ptp(self.points[:, 2]))
        self.half_width = float(self.points[:, 0].max())
        self.height = float(self.points[:, 1].max())

    def draw(self, canvas: Canvas, place: tuple[float, float], yaw: float, bounce: float = 0.0) -> None:
        """Draw at ground position (x, z), heading `yaw` radians from straight ahead."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        world = self.points @ turn
        world += (place[0], bounce, place[1])
        pixels = canvas.camera.project(world)
        s = self.starts
        a, b, c = pixels[s], pixels[s + 1], pixels[s + 2]
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - b[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - b[:, 0])
        depth = np.add.reduceat(world[:, 2], s) / self.counts
        shade = 0.62 + 0.38 * np.clip((self.normals @ turn) @ _SUN, -0.25, 1.0)
        order = np.lexsort((-depth, self.layers))
        lit = (self.colours * shade[:, None]).tolist()
        for i in order[area[order] > 0].tolist():
            canvas.polygon(pixels[s[i] : s[i] + self.counts[i]], lit[i])
        self._light(canvas, turn, place)

    def _light(self, canvas: Canvas, turn: np.ndarray, place: tuple[float, float]) -> None:
        for at, radius, kind in self.lamps:
            facing = np.array([0, 0, 1.0 if kind == "head" else -1.0]) @ turn
            if facing[2] > -0.25:
                continue
            world = (at @ turn + (place[0], 0.0, place[1]))[None]
            pixel = canvas.camera.project(world)[0]
            ground = canvas.camera.project(world * [1, 0, 1])[0, 1]
            scale = canvas.camera.pixels_per_metre(world[0, 2])
            colour = (255.0, 244.0, 214.0) if kind == "head" else (255.0, 40.0, 28.0)
            canvas.lamp(pixel, radius * scale, colour, 1.0 if kind == "head" else 0.6, ground)
