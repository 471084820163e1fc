# SPDX-License-Identifier: Apache-2.0
"""Single vehicles and people, each seen again from other sides, distances and in other light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from sightline.scenes import people, vehicles
from sightline.scenes.camera import Camera
from sightline.scenes.canvas import Canvas, Colour
from sightline.scenes.solids import Solid, SolidBuilder

_KINDS = ("car", "truck", "bus", "motorcycle", "bicycle", "pedestrian")
_SHARES = (0.34, 0.14, 0.12, 0.1, 0.1, 0.2)
_DRIVEN = {"car": vehicles.car, "truck": vehicles.truck, "bus": vehicles.bus}
_RIDDEN = {"motorcycle": people.motorcycle, "bicycle": people.bicycle}
_MARGIN = 24
Draw = Callable[[Canvas, tuple[float, float], float, float], None]


@dataclass(frozen=True)
class Identity:
    """One vehicle or person. reach: its largest extent in metres."""

    number: int
    kind: str
    reach: float
    draw: Draw


def identity(number: int) -> Identity:
    """The vehicle or person of a number; the same number is always the same one."""
    rng = np.random.default_rng([number, 83])
    kind = _KINDS[int(rng.choice(len(_KINDS), p=_SHARES))]
    if kind in _DRIVEN:
        body = _DRIVEN[kind](rng)
        marks = _livery(body, kind, rng)

        def drive(canvas: Canvas, place: tuple[float, float], yaw: float, _: float) -> None:
            body.draw(canvas, place, yaw)
            for mark in marks:
                mark.draw(canvas, place, yaw)

        return Identity(number, kind, max(body.length, body.height), drive)
    look = people.Look.random(rng)
    if kind in _RIDDEN:
        ride = _RIDDEN[kind]
        return Identity(number, kind, 2.0, lambda c, place, yaw, t: ride(c, place, yaw, look, t))
    return Identity(
        number, kind, look.height, lambda c, place, yaw, t: people.pedestrian(c, place, yaw, look, t)
    )


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.uniform(20, 240, 3).tolist()
    return red, green, blue


def _livery(body: Solid, kind: str, rng: np.random.Generator) -> list[Solid]:
    """What tells two vehicles of one make and paint apart: stripes, boards, a box on the roof."""
    b, marks = SolidBuilder(), []
    front, wide, tall = body.length / 2, body.half_width + 0.015, body.height
    low, high = (0.5, 0.85) if kind == "car" else (1.1, tall - 0.3)
    if rng.random() < 0.35:
        y = float(rng.uniform(low, high - 0.15))
        b.band((front * 0.92, -front * 0.92), (y, y + float(rng.uniform(0.08, 0.2))), wide, _colour(rng), 4)
    if rng.random() < 0.4:
        z, size = float(rng.uniform(-0.5, 0.3)) * front, float(rng.uniform(0.3, 0.9))
        b.band((z + size, z - size), (low, min(low + size, high)), wide + 0.01, _colour(rng), 5)
    if kind != "car" and rng.random() < 0.5:
        half = body.half_width * float(rng.uniform(0.4, 0.85))
        b.plate(-half, half, 1.25, tall - 0.25, -front - 0.03, False, _colour(rng), 5)
    if b.points:
        marks.append(b.build())
    if kind == "car" and rng.random() < 0.3:
        marks.append(
            _roof_box(tall, _colour(rng), float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.12, 0.35)))
        )
    return marks


def _roof_box(base: float, colour: Colour, half: float, tall: float) -> Solid:
    b, w = SolidBuilder(), 0.45
    profile = [(half, base, w), (half, base + tall, w), (-half, base + tall, w), (-half, base, w)]
    b.loft(profile, [colour] * 3)
    b.sides(profile, colour)
    return b.build()


@dataclass(frozen=True)
class _Light:
    """Of a view: gain of each channel, distance at which haze hides two thirds (metres), whether lamps shine."""

    gain: Colour
    haze_metres: float
    night: bool

    @staticmethod
    def random(rng: np.random.Generator) -> _Light:
        if rng.random() < 0.3:
            level = float(rng.uniform(0.3, 0.8))
            return _Light((level, level * 0.93, level * 0.82), float(rng.uniform(300, 900)), True)
        level = float(rng.uniform(0.7, 1.05))
        red, blue = rng.uniform(0.94, 1.06, 2).tolist()
        return _Light((level * red, level, level * blue), float(rng.uniform(130, 900)), False)


def portrait(who: Identity, behind: list[np.ndarray], rng: np.random.Generator, side: int = 96) -> np.ndarray:
    """A cut-out of someone, letterboxed into (side, side, 3) uint8 RGB; the view comes from rng.

    behind: pictures of streets (H, W, 3) uint8 that may stand behind.
    """
    light = _Light.random(rng)
    pixels = int(np.exp(rng.uniform(np.log(36), np.log(150))))
    canvas, box = _drawn(who, behind, light, pixels, rng)
    if light.night:
        _shine(canvas)
    picture = canvas.image
    if rng.random() < 0.25:
        _cover(picture, box, rng)
    return letterboxed_portrait(_camera(_cut(picture, box, rng), light, rng), side)


def _drawn(
    who: Identity, behind: list[np.ndarray], light: _Light, pixels: int, rng: np.random.Generator
) -> tuple[Canvas, np.ndarray]:
    """A canvas on which `who` is about `pixels` large, and its box."""
    z = float(rng.uniform(9, 40))
    along = float(rng.choice([0.0, np.pi])) + float(rng.normal(0, 0.35))
    yaw = along if rng.random() < 0.7 else float(rng.uniform(-np.pi, np.pi))
    side = 2 * pixels + 2 * _MARGIN
    x = float(rng.uniform(-0.35, 0.35)) * z
    camera = Camera(
        focal_pixels=pixels * z / who.reach, centre_x=side / 2, horizon_y=0.0, x_metres=0.0,
        height_metres=float(rng.uniform(4.6, 8.0)),
    )  # fmt: skip
    at = camera.project(np.array([(x, who.reach / 4, z)]))[0]
    camera = Camera(
        camera.focal_pixels, side - at[0], side / 2 - at[1], camera.x_metres, camera.height_metres
    )
    source = behind[int(rng.integers(len(behind)))]
    span = int(rng.integers(60, min(source.shape[:2])))
    top, left = (int(rng.integers(s - span + 1)) for s in source.shape[:2])
    ground = cv2.resize(
        source[top : top + span, left : left + span], (side, side), interpolation=cv2.INTER_LINEAR
    )
    haze = (26.0, 28.0, 38.0) if light.night else (190.0, 196.0, 204.0)
    canvas = Canvas(ground, camera, haze, light.haze_metres, light.gain)
    canvas.begin(1, z)
    who.draw(canvas, (x, z), yaw, float(rng.uniform(0, 6.28)))
    box, _ = canvas.end()
    return canvas, box


def _shine(canvas: Canvas) -> None:
    """Lamps with a little halo."""
    halo = np.zeros_like(canvas.image)
    for lamp in canvas.lamps:
        at, radius = (round(lamp.x * 8), round(lamp.y * 8)), max(round(lamp.radius * 8), 6)
        cv2.circle(canvas.image, at, radius, lamp.colour, -1, cv2.LINE_AA, 3)
        soft = [c * 0.4 * lamp.strength for c in lamp.colour]
        cv2.circle(halo, at, round(radius * 2.2), soft, -1, cv2.LINE_AA, 3)
    cv2.add(canvas.image, cv2.GaussianBlur(halo, (0, 0), max(halo.shape[0] / 60, 0.8)), canvas.image)


def _cover(picture: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> None:
    """Something in front of up to a third of the box."""
    x0, y0, x1, y1 = (int(v) for v in box)
    share = float(rng.uniform(0.08, 0.33))
    wide, tall = int((x1 - x0) * share), int((y1 - y0) * share)
    colour = (rng.uniform(20, 200) + rng.normal(0, 12, 3)).tolist()
    edges = ((x0, y0, x0 + wide, y1), (x1 - wide, y0, x1, y1), (x0, y1 - tall, x1, y1))
    a, b, c, d = edges[int(rng.integers(len(edges)))]
    cv2.rectangle(picture, (a, b), (c, d), colour, -1)


def _cut(picture: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The box with a little more or less around it."""
    height, width = picture.shape[:2]
    size = np.tile(box[2:] - box[:2], 2)
    loose = box + size * rng.uniform(-0.05, 0.1, 4) * (-1, -1, 1, 1)
    x0, y0 = np.clip(loose[:2], 0, (width - 4, height - 4)).astype(int)
    x1, y1 = np.maximum(np.clip(np.ceil(loose[2:]), 0, (width, height)).astype(int), (x0 + 4, y0 + 4))
    return picture[y0:y1, x0:x1]


def _camera(picture: np.ndarray, light: _Light, rng: np.random.Generator) -> np.ndarray:
    """Blur, exposure, noise and compression."""
    if rng.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.0))
    sigma = rng.uniform(2, 9) if light.night else rng.uniform(0.5, 5)
    noisy = picture.astype(np.float32) * rng.uniform(0.85, 1.15) + rng.uniform(-6, 6)
    noisy += rng.standard_normal(picture.shape, np.float32) * np.float32(sigma)
    image = np.clip(noisy, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))]
        image = np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR))
    return image


def letterboxed_portrait(picture: np.ndarray, side: int) -> np.ndarray:
    """Fitted into a square, centred on grey, as the embedder's input wants it."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    out = np.full((side, side, 3), 114, np.uint8)
    top, left = (side - inner[1]) // 2, (side - inner[0]) // 2
    fitted = cv2.resize(picture, inner, interpolation=cv2.INTER_LINEAR)
    out[top : top + inner[1], left : left + inner[0]] = fitted
    return out
