# SPDX-License-Identifier: Apache-2.0
"""Cars, trucks and buses: several body shapes each, in metres, as low-polygon solids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.scenes.canvas import Colour
from sightline.scenes.solids import Solid, SolidBuilder

_PAINTS: tuple[Colour, ...] = (
    (236, 236, 232),
    (196, 200, 204),
    (122, 128, 134),
    (58, 60, 66),
    (28, 30, 34),
    (150, 24, 28),
    (196, 40, 36),
    (28, 62, 122),
    (44, 104, 168),
    (30, 84, 60),
    (176, 150, 112),
    (214, 166, 40),
    (92, 62, 48),
    (204, 96, 36),
)
_BUS_PAINTS: tuple[Colour, ...] = (
    (214, 36, 36),
    (238, 188, 40),
    (40, 110, 180),
    (60, 150, 84),
    (232, 232, 226),
    (226, 120, 40),
    (120, 60, 140),
)
_CARGO_PAINTS: tuple[Colour, ...] = (
    (238, 238, 234), (210, 212, 210), (60, 96, 140), (150, 60, 48), (70, 110, 70), (222, 176, 60),
)  # fmt: skip
_TRUCK_LOW = 0.45
_GLASS: Colour = (52, 66, 78)
_TRIM: Colour = (34, 36, 38)
_HEAD: Colour = (238, 240, 228)
_TAIL: Colour = (170, 18, 20)


def _pick(rng: np.random.Generator, options: tuple[Colour, ...]) -> Colour:
    colour = np.array(options[int(rng.integers(len(options)))], float) + rng.normal(0, 7, 3)
    red, green, blue = np.clip(colour, 12, 246).tolist()
    return red, green, blue


def _darker(colour: Colour, factor: float) -> Colour:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def _ends(b: SolidBuilder, half: float, front: float, rear: float, low: float, lamp_y: float) -> None:
    """Lamps, plates and grille on both ends."""
    for sign in (-1.0, 1.0):
        inner, outer = sorted((sign * half * 0.55, sign * half * 0.94))
        b.plate(inner, outer, lamp_y - 0.09, lamp_y + 0.09, front, True, _HEAD)
        b.plate(inner, outer, lamp_y - 0.10, lamp_y + 0.12, rear, False, _TAIL)
        b.lamps.append((np.array([sign * half * 0.75, lamp_y, front]), 0.13, "head"))
        b.lamps.append((np.array([sign * half * 0.75, lamp_y, rear]), 0.11, "tail"))
    b.plate(-half * 0.45, half * 0.45, lamp_y - 0.14, lamp_y + 0.06, front, True, _TRIM)
    b.plate(-0.26, 0.26, low + 0.14, low + 0.27, front, True, (226, 226, 216))
    b.plate(-0.26, 0.26, low + 0.26, low + 0.39, rear, False, (226, 226, 216))
    for end, is_front in ((front, True), (rear, False)):
        b.plate(-half, half, low, low + 0.11, end, is_front, _TRIM)


def _cabin(b: SolidBuilder, base: list[tuple[float, float]], w: float, w_top: float, paint: Colour) -> None:
    """Greenhouse over (z, y) points: foot of windscreen, roof front, roof rear, foot of rear window."""
    (z0, y0), (z1, y1), (z2, y2), (z3, y3) = base
    b.loft([(z0, y0, w), (z1, y1, w_top), (z2, y2, w_top), (z3, y3, w)], [paint, paint, paint])
    b.sides([(z0, y0, w), (z1, y1, w_top), (z2, y2, w_top), (z3, y3, w)], paint)
    for (za, ya, wa), (zb, yb, wb), out in (
        ((z0, y0, w), (z1, y1, w_top), (0.0, 0.5, 1.0)),
        ((z3, y3, w), (z2, y2, w_top), (0.0, 0.5, -1.0)),
    ):
        ends = [(za + t * (zb - za), ya + t * (yb - ya), (wa + t * (wb - wa)) * 0.9) for t in (0.1, 0.92)]
        (z_low, y_low, w_low), (z_high, y_high, w_high) = ends
        pane = [
            (-w_low, y_low, z_low),
            (w_low, y_low, z_low),
            (w_high, y_high, z_high),
            (-w_high, y_high, z_high),
        ]
        b.face(pane, out, _GLASS, 1)
    mid = (z1 + z2) / 2
    lo, hi = 0.08, 0.86

    def at(t: float, z_low: float, z_high: float, y_low: float, y_high: float) -> tuple[float, float, float]:
        return z_low + t * (z_high - z_low), y_low + t * (y_high - y_low), w + t * (w_top - w) + 0.01

    front = [
        (lo, z0 - 0.12, z1 - 0.1),
        (hi, z0 - 0.12, z1 - 0.1),
        (hi, mid + 0.05, mid + 0.05),
        (lo, mid + 0.05, mid + 0.05),
    ]
    b.sides([at(t, zl, zh, y0, y1) for t, zl, zh in front], _GLASS, 1)
    rear = [
        (lo, mid - 0.05, mid - 0.05),
        (hi, mid - 0.05, mid - 0.05),
        (hi, z3 + 0.12, z2 + 0.1),
        (lo, z3 + 0.12, z2 + 0.1),
    ]
    b.sides([at(t, zl, zh, y3, y2) for t, zl, zh in rear], _GLASS, 1)


@dataclass(frozen=True)
class _CarShape:
    """Metres: length, half width, roof and waist height, and where the glass begins, leans and ends."""

    length: float
    half_width: float
    roof: float
    waist: float
    bonnet: float
    boot: float
    screen_slope: float
    rear_slope: float


_CARS = {
    "saloon": _CarShape(4.6, 0.9, 1.45, 0.92, 1.25, 0.75, 0.75, 0.7),
    "hatchback": _CarShape(4.0, 0.86, 1.5, 0.95, 1.05, 0.12, 0.6, 0.45),
    "estate": _CarShape(4.7, 0.93, 1.7, 1.08, 1.2, 0.1, 0.65, 0.25),
    "van": _CarShape(4.8, 0.95, 1.95, 1.1, 0.75, 0.05, 0.55, 0.1),
    "sports": _CarShape(4.3, 0.92, 1.25, 0.82, 1.5, 0.5, 0.85, 0.9),
}


def car(rng: np.random.Generator) -> Solid:
    """Saloon, hatchback, estate, van or sports car."""
    b = SolidBuilder()
    shape = list(_CARS.values())[int(rng.integers(len(_CARS)))]
    length, w, waist = shape.length * rng.uniform(0.95, 1.05), shape.half_width, shape.waist
    roof = shape.roof * rng.uniform(0.97, 1.04)
    paint = _pick(rng, _PAINTS)
    f, r, low = length / 2, -length / 2, 0.24
    screen, tail, nose = f - shape.bonnet, r + shape.boot, waist - 0.14
    front = [(f, low, w), (f, nose - 0.08, w), (f - 0.15, nose + 0.02, w), (screen, waist, w)]
    profile = [*front, (tail, waist, w), (r, waist - 0.06, w), (r, low, w)]
    b.loft(profile, [paint] * 6)
    b.sides(profile, paint)
    glass = [
        (screen, waist),
        (screen - shape.screen_slope, roof),
        (tail + shape.rear_slope, roof),
        (tail, waist),
    ]
    _cabin(b, glass, w, w * 0.8, paint)
    b.band((f, r), (low, low + 0.12), w + 0.01, _TRIM)
    for z in (screen - 1.15, screen - 0.1):
        b.band((z, z - 0.03), (low + 0.15, waist), w + 0.01, _darker(paint, 0.6))
    _ends(b, w, f, r, low, nose - 0.14)
    b.wheels(0.33, w + 0.02, [f - 0.85, r + 0.85], (150, 152, 156))
    return b.build()


def _box(b: SolidBuilder, z: tuple[float, float], y: tuple[float, float], w: float, paint: Colour) -> None:
    (z0, z1), (y0, y1) = z, y
    b.loft([(z1, y0, w), (z1, y1, w), (z0, y1, w), (z0, y0, w)], [paint, _darker(paint, 1.03), paint])
    b.sides([(z1, y0, w), (z1, y1, w), (z0, y1, w), (z0, y0, w)], paint)


def truck(rng: np.random.Generator) -> Solid:
    """Box lorry or tipper with a cab in front."""
    b = SolidBuilder()
    closed = int(rng.integers(3)) == 0
    length, w = float(rng.uniform(6.2, 8.6)), 1.18
    f, r = length / 2, -length / 2
    paint, cargo = _pick(rng, _PAINTS), _pick(rng, _CARGO_PAINTS)
    cab_back, roof = f - 1.9, float(rng.uniform(2.5, 2.85))
    top = float(rng.uniform(3.0, 3.4)) if closed else float(rng.uniform(1.7, 2.1))
    _box(b, (r, cab_back - 0.15), (0.95, top), w, cargo)
    _box(b, (r + 0.1, f - 0.2), (0.6, 0.95), w * 0.7, (44, 44, 46))
    if closed:
        for t in np.linspace(0.12, 0.88, 6):
            z = r + t * (cab_back - 0.15 - r)
            b.band((z, z - 0.05), (1.0, top - 0.05), w + 0.01, _darker(cargo, 0.82))
        mid = (1.2 + top) / 2
        b.band((r + 0.5, cab_back - 0.7), (mid - 0.3, mid + 0.3), w + 0.02, _pick(rng, _PAINTS))
    b.plate(-0.04, 0.04, 1.0, top - 0.1, r - 0.01, False, _darker(cargo, 0.55))
    for x in (-0.9, 0.84):
        b.plate(x, x + 0.06, 1.0, top - 0.1, r - 0.01, False, _darker(cargo, 0.7))
    _cab(b, (f, cab_back), roof, w, paint)
    _ends(b, w, f + 0.01, r - 0.02, _TRUCK_LOW, 0.85)
    b.wheels(0.48, w + 0.02, [f - 0.95, r + 1.0, r + 2.05], (170, 170, 170))
    return b.build()


def _cab(b: SolidBuilder, z: tuple[float, float], roof: float, w: float, paint: Colour) -> None:
    """A lorry's cab from z[0] in front to z[1]."""
    (f, back), low, slim = z, _TRUCK_LOW, w * 0.95
    foot = [(f, low, w), (f, 1.45, w)]
    b.loft([*foot, (f - 0.25, roof, slim), (back, roof, slim), (back, low, w)], [paint] * 4)
    b.sides([*foot, (f - 0.25, roof, w), (back, roof, w), (back, low, w)], paint)
    wide, high, ledge = w * 0.9, w * 0.86, roof - 0.25
    screen = [(-wide, 1.5, f + 0.01), (wide, 1.5, f + 0.01), (high, ledge, f - 0.2), (-high, ledge, f - 0.2)]
    b.face(screen, (0, 0.2, 1), _GLASS, 1)
    window = [(f - 0.2, 1.5), (f - 0.35, roof - 0.3), (f - 1.2, roof - 0.3), (f - 1.2, 1.5)]
    b.sides([(along, up, w + 0.02) for along, up in window], _GLASS, 1)


def bus(rng: np.random.Generator) -> Solid:
    """City bus with a window band, doors and a destination board."""
    b = SolidBuilder()
    length, w, top = float(rng.uniform(9.0, 11.5)), 1.25, float(rng.uniform(2.95, 3.2))
    f, r, low = length / 2, -length / 2, 0.32
    paint = _pick(rng, _BUS_PAINTS)
    lower = _pick(rng, _BUS_PAINTS) if rng.random() < 0.4 else _darker(paint, 0.85)
    slim = w * 0.97
    b.loft([(f, low, w), (f, 1.2, w), (f - 0.12, top, slim), (r, top, slim), (r, low, w)], [paint] * 4)
    b.sides([(f, low, w), (f, 1.2, w), (f - 0.12, top, w), (r, top, w), (r, low, w)], paint)
    b.band((f, r), (low, 0.95), w + 0.01, lower)
    panes = [(f - 0.15, 1.3), (f - 0.22, 2.45), (r + 0.3, 2.45), (r + 0.3, 1.3)]
    b.sides([(along, up, w + 0.01) for along, up in panes], _GLASS, 1)
    for z in np.arange(r + 1.5, f - 0.9, 1.45):
        b.band((z, z - 0.1), (1.3, 2.45), w + 0.02, _TRIM, 2)
    for z in (f - 0.55, 0.2):
        x = w + 0.03
        b.face([(x, 0.45, z), (x, 2.4, z), (x, 2.4, z - 1.0), (x, 0.45, z - 1.0)], (1, 0, 0), (72, 88, 98), 2)
    wide, high, lean = w * 0.92, w * 0.9, f - 0.07
    screen = [(-wide, 1.15, f + 0.01), (wide, 1.15, f + 0.01), (high, 2.5, lean), (-high, 2.5, lean)]
    b.face(screen, (0, 0.1, 1), _GLASS, 1)
    b.plate(-w * 0.7, w * 0.7, top - 0.42, top - 0.14, f + 0.01, True, (30, 26, 20))
    b.plate(-w * 0.55, w * 0.5, top - 0.35, top - 0.22, f + 0.02, True, (250, 180, 40), 2)
    b.plate(-w * 0.8, w * 0.8, 1.6, 2.5, r - 0.01, False, _GLASS)
    b.plate(-w * 0.7, w * 0.7, 0.75, 1.25, r - 0.01, False, _darker(lower, 0.6))
    _ends(b, w, f + 0.01, r - 0.02, low, 0.72)
    b.wheels(0.48, w + 0.03, [f - 2.4, r + 2.6], (120, 120, 124))
    return b.build()
