# SPDX-License-Identifier: Apache-2.0
"""People on foot, on bicycles and on motorcycles, drawn from joints with strokes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.scenes.canvas import Canvas, Colour

Point = tuple[float, float, float]
_SKIN: tuple[Colour, ...] = ((232, 190, 160), (204, 152, 118), (150, 102, 74), (96, 64, 48))
_CLOTH: tuple[Colour, ...] = (
    (40, 44, 56),
    (62, 74, 110),
    (110, 34, 40),
    (190, 50, 44),
    (226, 218, 206),
    (70, 94, 70),
    (212, 160, 50),
    (92, 92, 96),
    (54, 110, 150),
    (150, 90, 140),
    (30, 30, 32),
    (120, 96, 70),
    (232, 110, 40),
)
_CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 19)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 19)[:-1])], 1
)


def _choose(rng: np.random.Generator, options: tuple[Colour, ...]) -> Colour:
    return options[int(rng.integers(len(options)))]


@dataclass(frozen=True)
class Look:
    """What a person wears, and how tall."""

    height: float
    skin: Colour
    top: Colour
    legs: Colour
    hair: Colour
    bag: bool
    skirt: bool
    paint: Colour
    girth: float

    @staticmethod
    def random(rng: np.random.Generator) -> Look:
        return Look(
            height=float(rng.uniform(1.5, 1.92)) if rng.random() > 0.12 else float(rng.uniform(1.1, 1.4)),
            skin=_choose(rng, _SKIN),
            top=_choose(rng, _CLOTH),
            legs=_choose(rng, _CLOTH[:8] + _CLOTH[10:11]),
            hair=_choose(rng, ((34, 26, 22), (80, 54, 34), (190, 160, 100), (140, 140, 140), (20, 20, 22))),
            bag=bool(rng.random() < 0.3),
            skirt=bool(rng.random() < 0.2),
            paint=_choose(rng, _CLOTH),
            girth=float(rng.uniform(0.9, 1.2)),
        )


class _Placed:
    """Turns local (side, up, forward) metres into pixels for one object."""

    def __init__(self, canvas: Canvas, place: tuple[float, float], yaw: float) -> None:
        self.canvas, self.place = canvas, place
        self.cos, self.sin = float(np.cos(yaw)), float(np.sin(yaw))
        self.scale = canvas.camera.pixels_per_metre(place[1])

    def __call__(self, local: list[Point] | np.ndarray) -> np.ndarray:
        p = np.asarray(local, float)
        world = np.empty_like(p)
        world[:, 0] = self.place[0] + p[:, 0] * self.cos + p[:, 2] * self.sin
        world[:, 1] = p[:, 1]
        world[:, 2] = self.place[1] - p[:, 0] * self.sin + p[:, 2] * self.cos
        return self.canvas.camera.project(world)


def _stride(h: float, phase: float) -> list[Point]:
    """Joints of a walking person h metres tall: legs 0 to 5, arms 6 to 11, head, neck, bag, hair, toes."""
    swing, lift = 0.17 * h * np.sin(phase), 0.05 * h
    hip, shoulder = 0.52 * h, 0.82 * h
    lift_l, lift_r = lift * max(0.0, np.cos(phase)), lift * max(0.0, -np.cos(phase))
    return [
        (-0.09, hip, 0),
        (-0.1, 0.27 * h + lift_l, swing * 0.55 + 0.05),
        (-0.1, 0.04 * h + lift_l, swing),
        (0.09, hip, 0),
        (0.1, 0.27 * h + lift_r, -swing * 0.55 + 0.05),
        (0.1, 0.04 * h + lift_r, -swing),
        (-0.21, shoulder, 0),
        (-0.25, 0.63 * h, -swing * 0.45),
        (-0.24, 0.48 * h, -swing * 0.75 + 0.06),
        (0.21, shoulder, 0),
        (0.25, 0.63 * h, swing * 0.45),
        (0.24, 0.48 * h, swing * 0.75 + 0.06),
        (0, 0.925 * h, 0.02),
        (0, 0.84 * h, 0),
        (0, 0.70 * h, -0.17),
        (0, 0.95 * h, -0.015),
        (-0.1, 0.012 * h + lift_l, swing + 0.13),
        (0.1, 0.012 * h + lift_r, -swing + 0.13),
    ]


def _widened(corners: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """Corners (4, 2), upper left, upper right, lower right, lower left, moved apart by so many pixels."""
    return np.asarray(corners + np.array([[-upper, 0], [upper, 0], [lower, 0], [-lower, 0]]))


def pedestrian(canvas: Canvas, place: tuple[float, float], yaw: float, look: Look, phase: float) -> None:
    """A walking person; `phase` in radians is the place in the stride."""
    at = _Placed(canvas, place, yaw)
    h, s = look.height, at.scale * look.height / 1.75 * look.girth
    j = at(_stride(h, phase))
    dark: Colour = (look.top[0] * 0.82, look.top[1] * 0.82, look.top[2] * 0.82)
    legs_dark: Colour = (look.legs[0] * 0.8, look.legs[1] * 0.8, look.legs[2] * 0.8)
    for a, b, c, foot, colour in ((0, 1, 2, 16, legs_dark), (3, 4, 5, 17, look.legs)):
        canvas.limb(j[a], j[b], 0.155 * s, colour)
        canvas.limb(j[b], j[c], 0.125 * s, look.skin if look.skirt else colour)
        canvas.limb(j[c], j[foot], 0.10 * s, (32, 28, 28))
    canvas.limb(j[6], j[7], 0.105 * s, dark)
    canvas.limb(j[7], j[8], 0.09 * s, look.skin)
    canvas.polygon(_widened(j[[6, 9, 3, 0]], 0.03 * s, 0.07 * s), look.top)
    middle = (j[0] + j[3]) / 2
    canvas.limb(j[13] + [0, 0.06 * s], middle, 0.27 * s, look.top)
    if look.skirt:
        canvas.polygon(_widened(j[[0, 3, 4, 1]], 0.08 * s, 0.11 * s), look.legs)
    if look.bag:
        canvas.limb(j[14] - [0, 0.1 * s], j[14] + [0, 0.12 * s], 0.24 * s, look.paint)
    canvas.limb(j[9], j[10], 0.105 * s, dark)
    canvas.limb(j[10], j[11], 0.09 * s, look.skin)
    canvas.limb(j[13], j[12], 0.09 * s, look.skin)
    canvas.disc(j[15], 0.118 * s, look.hair)
    canvas.disc(j[12], 0.102 * s, look.skin if np.cos(yaw) < 0.3 else look.hair)


@dataclass(frozen=True)
class _Posture:
    """How a rider sits: heights in metres; reach is (side, up, ahead) of the hands, foot (up, ahead)."""

    seat: float
    reach: Point
    lean: float
    foot: tuple[float, float]


_CYCLIST = _Posture(0.98, (0.26, 1.03, 0.34), 0.14, (0.3, -0.02))
_BIKER = _Posture(0.86, (0.3, 1.02, 0.34), 0.1, (0.4, 0.0))


def _seated(posture: _Posture, phase: float) -> list[Point]:
    turn = 0.16 * np.array([np.sin(phase), np.cos(phase)])
    top = posture.seat + 0.54
    side, up, ahead = posture.reach
    return [
        (-0.1, posture.seat, -0.2),
        (-0.12, posture.seat - 0.26, 0.16),
        (-0.12, posture.foot[0] + turn[0], posture.foot[1] + turn[1]),
        (0.1, posture.seat, -0.2),
        (0.12, posture.seat - 0.26, 0.16),
        (0.12, posture.foot[0] - turn[0], posture.foot[1] - turn[1]),
        (-0.2, top, posture.lean),
        (-side, up, ahead),
        (0.2, top, posture.lean),
        (side, up, ahead),
        (0, top + 0.24, posture.lean + 0.08),
        (0, posture.seat + 0.05, -0.2),
        (0, top - 0.02, posture.lean),
        (-0.26, top - 0.28, posture.lean + 0.12),
        (0.26, top - 0.28, posture.lean + 0.12),
    ]


def _rider(canvas: Canvas, at: _Placed, look: Look, posture: _Posture, helmet: Colour, phase: float) -> None:
    s, j = at.scale, at(_seated(posture, phase))
    for a, b, c in ((0, 1, 2), (3, 4, 5)):
        canvas.limb(j[a], j[b], 0.16 * s, look.legs)
        canvas.limb(j[b], j[c], 0.125 * s, look.legs)
    canvas.limb(j[6], j[13], 0.11 * s, look.top)
    canvas.limb(j[13], j[7], 0.095 * s, look.top)
    canvas.polygon(np.array([j[6], j[8], j[3] + [0.05 * s, 0], j[0] - [0.05 * s, 0]]), look.top)
    canvas.limb(j[12], j[11], 0.27 * s, look.top)
    canvas.limb(j[8], j[14], 0.11 * s, look.top)
    canvas.limb(j[14], j[9], 0.095 * s, look.top)
    canvas.disc(j[10], 0.115 * s, look.skin)
    canvas.disc(j[10] - [0, 0.035 * s], 0.13 * s, helmet)


def _wheel(canvas: Canvas, at: _Placed, z: float, radius: float, tyre: float, colour: Colour) -> None:
    ring = np.zeros((len(_CIRCLE), 3))
    ring[:, 1] = radius + radius * _CIRCLE[:, 1]
    ring[:, 2] = z + radius * _CIRCLE[:, 0]
    pixels = at(ring)
    width = max(tyre * at.scale, 1.0)
    for i in range(len(pixels)):
        canvas.limb(pixels[i - 1], pixels[i], width, colour)
    if at.scale > 30:
        centre = pixels.mean(0)
        for i in range(0, len(pixels), 3):
            canvas.limb(centre, pixels[i], 1.0, (120, 122, 126))


def bicycle(canvas: Canvas, place: tuple[float, float], yaw: float, look: Look, phase: float) -> None:
    """Bicycle and its rider, one object."""
    at = _Placed(canvas, place, yaw)
    s = at.scale
    for z in (-0.52, 0.52):
        _wheel(canvas, at, z, 0.34, 0.045, (30, 30, 32))
    j = at(
        [
            (0, 0.34, -0.52),
            (0, 0.3, -0.05),
            (0, 0.86, -0.2),
            (0, 0.84, 0.36),
            (0, 0.34, 0.52),
            (-0.28, 1.0, 0.36),
            (0.28, 1.0, 0.36),
            (0, 0.98, 0.38),
            (0, 0.93, -0.24),
            (0, 0.93, -0.08),
        ]
    )
    for a, b in ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 4), (3, 7), (5, 6)):
        canvas.limb(j[a], j[b], max(0.05 * s, 1.0), look.paint)
    canvas.limb(j[8], j[9], 0.07 * s, (26, 26, 26))
    _rider(canvas, at, look, _CYCLIST, look.hair if look.bag else look.paint, phase)
    lamp = at([(0, 0.8, 0.45 if np.cos(yaw) < 0 else -0.55)])[0]
    colour: Colour = (255, 244, 220) if np.cos(yaw) < 0 else (255, 40, 30)
    canvas.lamp(lamp, 0.05 * s, colour, 0.35, float(at([(0, 0, 0)])[0, 1]))


_FRAME: list[Point] = [
    (0, 0.32, -0.68),
    (0, 0.42, 0),
    (0, 0.74, -0.75),
    (0, 0.74, 0.0),
    (0, 0.86, 0.3),
    (0, 0.31, 0.7),
    (-0.34, 1.0, 0.38),
    (0.34, 1.0, 0.38),
    (0, 0.86, 0.5),
    (0, 1.12, 0.45),
    (-0.16, 0.34, -0.9),
    (-0.16, 0.36, 0.0),
]


def motorcycle(canvas: Canvas, place: tuple[float, float], yaw: float, look: Look, _phase: float) -> None:
    """Motorcycle or scooter and its rider, one object."""
    at = _Placed(canvas, place, yaw)
    s = at.scale
    for z in (-0.68, 0.7):
        _wheel(canvas, at, z, 0.31, 0.14, (26, 26, 28))
    j = at(_FRAME)
    canvas.limb(j[0], j[1], 0.12 * s, (70, 70, 74))
    canvas.limb(j[1], j[3], 0.38 * s, (56, 56, 60))
    canvas.limb(j[10], j[11], 0.1 * s, (150, 150, 154))
    canvas.limb(j[5], j[4], 0.09 * s, (90, 90, 94))
    canvas.limb(j[2], j[3], 0.24 * s, look.paint)
    canvas.limb(j[3], j[4], 0.32 * s, look.paint)
    canvas.limb(j[6], j[7], 0.05 * s, (40, 40, 42))
    _rider(canvas, at, look, _BIKER, look.paint, 1.57)
    front = np.cos(yaw) < 0
    if front:
        canvas.limb(j[8], j[9], 0.26 * s, look.paint)
    end = at([(0, 0.84, 0.6) if front else (0, 0.78, -0.92)])[0]
    canvas.disc(end, (0.11 if front else 0.08) * s, (240, 240, 226) if front else (180, 20, 20))
    shine: Colour = (255, 244, 214) if front else (255, 40, 28)
    canvas.lamp(end, 0.1 * s, shine, 0.8 if front else 0.5, float(at([(0, 0, 0)])[0, 1]))
