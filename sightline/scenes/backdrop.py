# SPDX-License-Identifier: Apache-2.0
"""Everything that never moves: sky, skyline, houses, trees and street lamps, painted once per scene."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from sightline.scenes.ground import draw_ground
from sightline.scenes.street import Street

Paint = Callable[[np.ndarray], None]
Mark = Callable[[np.ndarray, int], None]
_WALLS = (
    (168, 96, 76),
    (196, 178, 150),
    (150, 150, 148),
    (206, 200, 188),
    (122, 92, 78),
    (178, 150, 110),
    (116, 126, 136),
    (184, 120, 90),
    (92, 100, 108),
    (214, 190, 160),
)


@dataclass(frozen=True)
class _Item:
    """A thing beside the road: distance in metres, kind, and how to paint and to mark it."""

    z: float
    kind: str
    draw: Paint
    mark: Mark


@dataclass(frozen=True)
class Backdrop:
    """The empty street.

    picture: (H, W, 3) uint8 RGB. cover: (H, W) uint8, 255 where things nearer than `street.cover_z` stand.
    skyline: the far blocks on the horizon alone, as a painter of a float32 picture. items: what stands beside
    the road, far to near: its kind ("house", "tree" or "lamp"), and how to mark its pixels in a map of labels.
    """

    picture: np.ndarray
    cover: np.ndarray
    skyline: Paint
    items: tuple[tuple[str, Mark], ...]


def draw_backdrop(street: Street) -> tuple[np.ndarray, np.ndarray]:
    """The empty street (H, W, 3) uint8 RGB, and where things nearer than `street.cover_z` stand.

    The second is uint8 (H, W), 0 or 255.
    """
    backdrop = paint_backdrop(street)
    return backdrop.picture, backdrop.cover


def paint_backdrop(street: Street) -> Backdrop:
    """The empty street, and what it is made of."""
    rng = np.random.default_rng([street.seed, 23])
    image = np.zeros((street.height, street.width, 3), np.float32)
    _sky(image, street, rng)
    same = copy.deepcopy(rng)
    _skyline(image, street, rng)
    draw_ground(image, street, rng)
    picture = np.clip(image, 0, 255).astype(np.uint8)
    items = [*_houses(street, rng), *_trees(street, rng)]
    items += [_lamp_post(street, lateral, z) for lateral, z in street.lamp_posts()]
    items.sort(key=lambda item: -item.z)
    before = None
    for item in items:
        if before is None and item.z < street.cover_z:
            before = picture.copy()
        item.draw(picture)
    cover = np.zeros(picture.shape[:2], np.uint8)
    if before is not None:
        cover = np.any(picture != before, axis=2).astype(np.uint8) * 255
    return Backdrop(
        picture,
        cover,
        lambda image: _skyline(image, street, copy.deepcopy(same)),
        tuple((item.kind, item.mark) for item in items),
    )


def _sky(image: np.ndarray, street: Street, rng: np.random.Generator) -> None:
    t = np.linspace(0, 1, street.height, dtype=np.float32)[:, None, None]
    if street.night:
        high, low = np.array([10, 13, 26]), np.array([44, 42, 50])
    elif street.rain:
        high, low = np.array([138, 144, 152]), np.array(street.haze)
    else:
        options = (
            ((88, 140, 206), (206, 222, 236)),
            ((128, 160, 196), (224, 224, 220)),
            ((110, 130, 176), (244, 208, 170)),
        )
        high, low = (np.array(c) for c in options[int(rng.integers(3))])
    grade = np.clip(t * street.height / max(street.camera.horizon_y, 1.0), 0, 1)
    image[:] = high.astype(np.float32) + (low - high).astype(np.float32) * grade
    cloud = np.zeros((street.height, street.width), np.float32)
    for cells, weight in ((5, 1.0), (11, 0.6), (23, 0.35), (47, 0.2)):
        cloud += weight * cv2.resize(
            rng.normal(0, 1, (cells * 4, cells)).astype(np.float32),
            (street.width, street.height),
            interpolation=cv2.INTER_CUBIC,
        )
    veil = np.clip(cloud * 0.5 + 0.1, 0, 0.9)[..., None]
    bright = np.float32(30 if street.night else 240 if not street.rain else 176)
    image += veil * (bright - image) * (0.35 if street.night else 0.7)


def _skyline(image: np.ndarray, street: Street, rng: np.random.Generator) -> None:
    """Far, hazy blocks on the horizon."""
    unit = street.width / 40.0
    x = -unit
    base = int(street.camera.horizon_y + 3)
    while x < street.width:
        wide, tall = unit * rng.uniform(0.7, 2.4), street.height * rng.uniform(0.02, 0.1)
        colour = np.array(_WALLS[int(rng.integers(len(_WALLS)))], float) * (0.16 if street.night else 0.8)
        colour = colour + (np.array(street.haze) - colour) * 0.62
        cv2.rectangle(image, (int(x), max(int(base - tall), 0)), (int(x + wide), base), colour.tolist(), -1)
        x += wide * rng.uniform(0.8, 1.1)


def _facade(street: Street, rng: np.random.Generator, columns: int, floors: int) -> np.ndarray:
    """A wall with windows, (floors*32, columns*32, 3) uint8; row 0 is the roof line."""
    wall = np.array(_WALLS[int(rng.integers(len(_WALLS)))], float) + rng.normal(0, 8, 3)
    light = street.ambient * (0.55 if street.night else 1.0)
    image = np.empty((floors * 32, columns * 32, 3), np.float32)
    image[:] = wall * light
    image += rng.normal(0, 3, image.shape[:2])[..., None].astype(np.float32)
    style, trim = int(rng.integers(3)), wall * light * rng.uniform(0.6, 1.25)
    for floor in range(floors):
        y = floor * 32
        shop = floor == floors - 1
        for column in range(columns):
            x = column * 32
            lit = street.night and rng.random() < (0.75 if shop else 0.3)
            pane = (
                np.array([250, 214, 140]) * rng.uniform(0.6, 1.0)
                if lit
                else np.array([70, 84, 98]) * light * rng.uniform(0.7, 1.35)
            )
            x0, x1, y0, y1 = ((3, 29, 5, 29), (9, 23, 5, 26), (5, 27, 8, 24))[0 if shop else style]
            image[y + y0 - 2 : y + y1 + 2, x + x0 - 2 : x + x1 + 2] = trim
            image[y + y0 : y + y1, x + x0 : x + x1] = pane
            if not shop:
                image[y + y0 : y + y1, x + 15 : x + 17] = trim
        if shop:
            image[y : y + 5] = np.array(_WALLS[int(rng.integers(len(_WALLS)))], float) * light * 0.8
    image[:4] = trim * 0.8
    return np.clip(image, 0, 255).astype(np.uint8)


def _quad(
    picture: np.ndarray, texture: np.ndarray, corners: np.ndarray, fog: float, haze: np.ndarray, shade: float
) -> None:
    """Warp a texture onto corners (4, 2): top left, top right, bottom right, bottom left."""
    height, width = picture.shape[:2]
    low = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0)), (width, height)).astype(int)
    if np.any(high - low < 2):
        return
    rows, cols = texture.shape[:2]
    source = np.array([[0, 0], [cols, 0], [cols, rows], [0, rows]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, (corners - low).astype(np.float32))
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    colour = texture.astype(np.float32) * shade
    colour += fog * (haze.astype(np.float32) - colour)
    patch = cv2.warpPerspective(
        colour.astype(np.uint8), matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, np.round((corners - low) * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    region = picture[low[1] : high[1], low[0] : high[0]]
    weight = mask[..., None].astype(np.float32) / 255
    region[:] = (region + weight * (patch.astype(np.float32) - region)).astype(np.uint8)


def _houses(street: Street, rng: np.random.Generator) -> list[_Item]:
    items: list[_Item] = []
    camera, haze = street.camera, np.array(street.haze)
    for sign in (-1.0, 1.0):
        near = street.half_road + street.pavement + float(rng.uniform(0.2, 5.0))
        z = float(rng.uniform(2.5, 8.0))
        while z < 150:
            length, tall = float(rng.uniform(9, 20)), float(rng.uniform(7, 19))
            gap = (
                street.crossing_z > 0 and z - 1 < street.crossing_z + 7 and z + length > street.crossing_z - 7
            )
            if not gap and rng.random() < 0.92:
                columns, floors = max(int(length / 3), 2), max(int(tall / 3.2), 2)
                front, end = _facade(street, rng, columns, floors), _facade(street, rng, 3, floors)
                fog = float(1 - np.exp(-z / street.haze_metres))
                a, b = sign * near + camera.bend * z * z, sign * near + camera.bend * (z + length) ** 2
                face = camera.project(
                    np.array([(a, tall, z), (b, tall, z + length), (b, 0, z + length), (a, 0, z)])
                )
                deep = camera.project(
                    np.array([(a, tall, z), (a + sign * 9, tall, z), (a + sign * 9, 0, z), (a, 0, z)])
                )
                shade = 0.82 if sign > 0 else 1.0
                items.append(_Item(z + 0.5, "house", _painter(front, face, fog, haze, shade), _filled(face)))
                items.append(_Item(z, "house", _painter(end, deep, fog, haze, 0.7), _filled(deep)))
            z += length * (1.0 if not gap else 0.5) + (
                float(rng.uniform(1, 6)) if rng.random() < 0.3 else 0.0
            )
    return items


def _painter(texture: np.ndarray, corners: np.ndarray, fog: float, haze: np.ndarray, shade: float) -> Paint:
    return lambda picture: _quad(picture, texture, corners, fog, haze, shade)


def _filled(corners: np.ndarray) -> Mark:
    def mark(labels: np.ndarray, value: int) -> None:
        cv2.fillConvexPoly(labels, np.round(corners * 16).astype(np.int32), value, cv2.LINE_8, 4)

    return mark


def _trees(street: Street, rng: np.random.Generator) -> list[_Item]:
    items: list[_Item] = []
    for sign in (-1.0, 1.0):
        if rng.random() < 0.3:
            continue
        for z in np.arange(float(rng.uniform(14, 24)), 95, float(rng.uniform(9, 16))):
            if street.crossing_z > 0 and abs(z - street.crossing_z) < 7:
                continue
            lateral = sign * (street.half_road + street.pavement + float(rng.uniform(-0.2, 1.2)))
            items.append(_tree(street, lateral, float(z), int(rng.integers(1 << 30))))
    return items


def _tree(street: Street, lateral: float, z: float, seed: int) -> _Item:
    """A trunk and 90 discs of leaves, those below first."""
    rng = np.random.default_rng(seed)
    camera, x = street.camera, street.camera.road_x(lateral, z)
    scale, fog = camera.pixels_per_metre(z), float(1 - np.exp(-z / street.haze_metres))
    light = np.array(street.light_at(x, z)) * (0.8 if street.night else 1.0)
    haze = np.array(street.haze)
    foot, crown = camera.project(np.array([(x, 0, z), (x, rng.uniform(3.8, 5.2), z)]))
    ends = tuple(foot.astype(int).tolist()), tuple(crown.astype(int).tolist())
    thick, trunk = max(int(0.28 * scale), 1), np.array([82, 64, 50]) * light
    leaf = np.array([60, 92, 44]) + rng.normal(0, 12, 3)
    blobs = np.clip(rng.normal(0, 1, (90, 3)), -1.7, 1.7) * (0.75, 0.65, 1)
    blobs = blobs[np.argsort(blobs[:, 1])]
    tones = np.clip(leaf * (0.9 + 0.24 * blobs[:, 1:2] + 0.12 * blobs[:, 2:]), 8, 210) * light
    colours = (tones + fog * (haze - tones)).tolist()
    centres = np.round((crown + blobs[:, :2] * (1, -1) * scale) * 8).astype(int).tolist()
    radii = [max(int(r), 6) for r in (rng.uniform(0.2, 0.45, 90) * scale * 8).tolist()]

    def draw(picture: np.ndarray) -> None:
        cv2.line(picture, *ends, (trunk + fog * (haze - trunk)).tolist(), thick, cv2.LINE_AA)
        for centre, radius, colour in zip(centres, radii, colours, strict=True):
            cv2.circle(picture, centre, radius, colour, -1, cv2.LINE_AA, 3)

    def mark(labels: np.ndarray, value: int) -> None:
        cv2.line(labels, *ends, value, thick)
        for centre, radius in zip(centres, radii, strict=True):
            cv2.circle(labels, centre, radius, value, -1, cv2.LINE_8, 3)

    return _Item(z - 1.5, "tree", draw, mark)


def _lamp_post(street: Street, lateral: float, z: float) -> _Item:
    camera, x = street.camera, street.camera.road_x(lateral, z)
    reach = -np.sign(lateral) * 1.6
    points = camera.project(np.array([(x, 0, z), (x, 6.2, z), (x + reach, 6.5, z)]))
    colour = np.array([96, 100, 104]) * (0.4 if street.night else street.ambient)
    scale = camera.pixels_per_metre(z)
    fixed = [tuple(np.round(p * 8).astype(int).tolist()) for p in points]
    thick = max(int(0.11 * scale), 1)

    def draw(picture: np.ndarray) -> None:
        for a, b in ((0, 1), (1, 2)):
            cv2.line(picture, fixed[a], fixed[b], colour.tolist(), thick, cv2.LINE_AA, 3)
        if street.night:
            _shine(picture, points[2], scale)

    def mark(labels: np.ndarray, value: int) -> None:
        for a, b in ((0, 1), (1, 2)):
            cv2.line(labels, fixed[a], fixed[b], value, thick, cv2.LINE_8, 3)
        if street.night:
            bulb = tuple(points[2].astype(int).tolist())
            cv2.circle(labels, bulb, max(int(0.22 * scale), 1), value, -1)

    return _Item(z, "lamp", draw, mark)


def _shine(picture: np.ndarray, at: np.ndarray, scale: float) -> None:
    glow = np.zeros_like(picture)
    centre = tuple(at.astype(int).tolist())
    cv2.circle(glow, centre, max(int(0.9 * scale), 2), (96, 84, 56), -1, cv2.LINE_AA)
    glow = cv2.blur(glow, (2 * int(0.5 * scale) + 1,) * 2)
    cv2.add(picture, glow, picture)
    cv2.circle(picture, centre, max(int(0.22 * scale), 1), (255, 240, 200), -1, cv2.LINE_AA)
