# SPDX-License-Identifier: Apache-2.0
"""Who is in the street and how they move: every place is a closed function of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sightline.scenes import people, signs, vehicles
from sightline.scenes.canvas import Canvas
from sightline.scenes.street import FAR_METRES, Street
from sightline.scenes.truth import CLASS_NAMES

_NEAR = 2.0
_KINDS = ("car", "truck", "bus", "motorcycle", "bicycle")
_SHARES = (0.36, 0.16, 0.12, 0.18, 0.18)
_SPACE = {"car": 8.5, "truck": 12.5, "bus": 15.5, "motorcycle": 6.0, "bicycle": 5.0}
_RIDDEN = {"motorcycle": people.motorcycle, "bicycle": people.bicycle}
_DRIVEN = {"car": vehicles.car, "truck": vehicles.truck, "bus": vehicles.bus}
_SIGNS = ("stop_sign", "speed_limit_sign", "yield_sign", "crossing_sign")
Draw = Callable[[Canvas, tuple[float, float], float, float], None]


@dataclass(frozen=True)
class Track:
    """A straight way, wrapped into [low, low + span): `start + speed * t` along it, metres and seconds.

    Along the road `lateral` is the distance from its centre line; across it, `lateral` is z.
    """

    start: float
    speed: float
    low: float
    span: float
    lateral: float
    across: bool = False


@dataclass(frozen=True)
class Actor:
    """One thing in the street. half_width and length, in metres, are those of its shadow; 0 casts none."""

    kind: int
    draw: Draw
    track: Track
    number: int
    half_width: float = 0.0
    length: float = 0.0

    def place(self, street: Street, t: float) -> tuple[float, float, float, int]:
        """World x, z, heading in radians and how often the actor has come round."""
        track = self.track
        travelled = track.start - track.low + track.speed * t
        lap = int(np.floor(travelled / track.span))
        along = track.low + travelled - lap * track.span
        if track.across:
            return along, track.lateral, np.pi / 2 if track.speed > 0 else -np.pi / 2, lap
        towards_us = track.speed < 0 or (track.lateral < 0 and track.speed == 0)
        yaw = street.camera.road_yaw(along) + (np.pi if towards_us else 0.0)
        return street.camera.road_x(track.lateral, along), along, yaw, lap


class _Crowd(list[Actor]):
    """The actors so far; each new one gets the next number."""

    def join(self, kind: str, draw: Draw, track: Track, half_width: float = 0.0, length: float = 0.0) -> None:
        self.append(Actor(CLASS_NAMES.index(kind), draw, track, len(self) + 1, half_width, length))


def populate(street: Street) -> list[Actor]:
    """All actors of a street."""
    rng = np.random.default_rng([street.seed, 37])
    crowd = _Crowd()
    density = float(rng.uniform(0.45, 0.95))
    for side in (-1.0, 1.0):
        for lane in range(street.lanes):
            speed = side * float(rng.uniform(4, 12)) if rng.random() < 0.85 else side * 0.6
            middle = side * (lane + 0.5) * street.lane_width
            _queue(rng, crowd, Track(0.0, speed, _NEAR, FAR_METRES - _NEAR, middle), density)
    if street.crossing_z > 0:
        for offset, way in ((-1.8, 1.0), (1.8, -1.0)):
            speed = way * float(rng.uniform(3, 9))
            _queue(rng, crowd, Track(0.0, speed, -34.0, 68.0, street.crossing_z + offset, True), 0.55)
    _walkers(street, rng, crowd)
    spots = [(side, float(z)) for side in (-1.0, 1.0) for z in np.arange(13, 52, 6.5)]
    rng.shuffle(spots)
    for side, z in spots[: int(rng.integers(3, 7))]:
        _sign(street, rng, crowd, side, z)
    period = float(rng.uniform(7, 11))
    for index in range(int(rng.integers(1, 4))):
        _light(street, rng, crowd, *spots[-1 - index], period)
    return crowd


def _vehicle(kind: str, rng: np.random.Generator) -> tuple[Draw, float, float]:
    """A vehicle's way of drawing itself, its half width and its length."""
    if kind in _RIDDEN:
        look, draw_rider = people.Look.random(rng), _RIDDEN[kind]

        def ride(canvas: Canvas, place: tuple[float, float], yaw: float, travelled: float) -> None:
            draw_rider(canvas, place, yaw, look, travelled * 1.4)

        return ride, 0.4, 2.0
    solid = _DRIVEN[kind](rng)

    def drive(canvas: Canvas, place: tuple[float, float], yaw: float, travelled: float) -> None:
        solid.draw(canvas, place, yaw)

    return drive, solid.half_width, solid.length


def _queue(rng: np.random.Generator, crowd: _Crowd, lane: Track, density: float) -> None:
    """Fill one lane; all in it share a speed so that they never run into each other."""
    at = lane.low + float(rng.uniform(0, 6))
    while True:
        kind = _KINDS[int(rng.choice(len(_KINDS), p=_SHARES))]
        room = _SPACE[kind]
        if at + room > lane.low + lane.span:
            return
        if rng.random() < density:
            draw, half, length = _vehicle(kind, rng)
            drift = float(rng.uniform(-0.5, 0.5)) * (1.0 if kind in _RIDDEN else 0.4)
            track = replace(lane, start=at + room / 2, lateral=lane.lateral + drift)
            crowd.join(kind, draw, track, half, length)
        at += room + float(rng.exponential(3.5))


def _walkers(street: Street, rng: np.random.Generator, crowd: _Crowd) -> None:
    def add(track: Track) -> None:
        look, phase = people.Look.random(rng), float(rng.uniform(0, 6.28))

        def walk(canvas: Canvas, place: tuple[float, float], yaw: float, travelled: float) -> None:
            people.pedestrian(canvas, place, yaw, look, phase + travelled * 4.3)

        crowd.join("pedestrian", walk, track, 0.3, 0.5)

    for _ in range(int(rng.integers(2, 8))):
        side, way = (1.0 if rng.random() < 0.5 else -1.0), (1.0 if rng.random() < 0.5 else -1.0)
        lateral = side * (street.half_road + float(rng.uniform(0.7, street.pavement - 0.3)))
        start, speed = float(rng.uniform(8, 55)), way * float(rng.uniform(0.9, 1.6))
        add(Track(start, speed, _NEAR, FAR_METRES - 14, lateral))
    reach = street.half_road + 2.5
    for _ in range(int(rng.integers(0, 4))):
        way = 1.0 if rng.random() < 0.5 else -1.0
        start, speed = float(rng.uniform(-reach, reach)), way * float(rng.uniform(0.9, 1.5))
        z = street.zebra_z + float(rng.uniform(-1.4, 1.4))
        add(Track(start, speed, -reach, 2 * reach, z, True))


def _still(lateral: float, z: float) -> Track:
    return Track(z, 0.0, 0.0, 1000.0, lateral)


def _sign(street: Street, rng: np.random.Generator, crowd: _Crowd, side: float, z: float) -> None:
    kind, variant = _SIGNS[int(rng.integers(4))], int(rng.integers(4))
    bottom, plate = float(rng.uniform(2.0, 2.6)), float(rng.uniform(0.85, 1.15))
    lateral = side * (street.half_road + float(rng.uniform(0.35, 0.8)))

    def show(canvas: Canvas, place: tuple[float, float], yaw: float, travelled: float) -> None:
        lit = 1.0 if not street.night else min(0.5 + canvas.light[0], 1.0)
        signs.sign(canvas, kind, variant, place, bottom, plate, lit)

    crowd.join(kind, show, _still(lateral, z + float(rng.uniform(-1, 1))))


def _light(
    street: Street, rng: np.random.Generator, crowd: _Crowd, side: float, z: float, period: float
) -> None:
    """A traffic light that goes through its phases in `period` seconds."""
    z = street.crossing_z + 6.5 if street.crossing_z > 0 and rng.random() < 0.5 else z
    arm = side * float(rng.uniform(1.2, 3.0)) if rng.random() < 0.5 else 0.0
    bottom = float(rng.uniform(3.9, 4.8)) if arm else float(rng.uniform(2.3, 3.0))
    shift = float(rng.uniform(0, 9))

    def show(canvas: Canvas, place: tuple[float, float], yaw: float, travelled: float) -> None:
        phase = ((travelled + shift) / period) % 1.0
        signs.traffic_light(canvas, place, bottom, 2 if phase < 0.45 else 1 if phase < 0.55 else 0, arm)

    lateral = side * (street.half_road + 0.6) - arm
    crowd.join("traffic_light", show, _still(lateral, z + float(rng.uniform(-1, 1))))
