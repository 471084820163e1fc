# SPDX-License-Identifier: Apache-2.0
"""Road, markings, pavement and verge, computed per pixel from the place on the ground that it shows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sightline.scenes.street import Street


def _noise(rng: np.random.Generator, side: int = 512) -> np.ndarray:
    """A tileable patch of grain and stains, float32 about 0."""
    total = np.zeros((side, side), np.float32)
    for cells, weight in ((8, 6.0), (32, 4.0), (128, 4.0), (512, 6.0)):
        grain = rng.normal(0, 1, (cells, cells)).astype(np.float32)
        grown = cv2.resize(np.tile(grain, (3, 3)), (3 * side, 3 * side), interpolation=cv2.INTER_CUBIC)
        total += weight * grown[side : 2 * side, side : 2 * side]
    return total


def _edge(distance: np.ndarray, blur: np.ndarray | np.floating) -> np.ndarray:
    """1 where distance < 0, 0 beyond, smooth over the pixel's own footprint."""
    return np.asarray(np.clip(0.5 - distance / blur, 0.0, 1.0))


def _dashes(z: np.ndarray, period: float, on: float, blur: np.ndarray) -> np.ndarray:
    place = np.abs((z % period) - period / 2)
    return _edge(place - on / 2, blur)


@dataclass(frozen=True)
class _Ground:
    """What each pixel below the horizon shows: arrays of shape (rows, W) or, for z, (rows, 1), metres.

    x_blur and z_blur are the pixel's own footprint, over which edges are smoothed.
    """

    x: np.ndarray
    lateral: np.ndarray
    z: np.ndarray
    metre: np.ndarray
    x_blur: np.ndarray
    z_blur: np.ndarray


def _ground_of(street: Street, top: int) -> _Ground:
    camera = street.camera
    rows = np.arange(top, street.height, dtype=np.float32)[:, None] + 0.5
    cols = np.arange(street.width, dtype=np.float32)[None] + 0.5
    z = np.float32(camera.focal_pixels * camera.height_metres) / (rows - np.float32(camera.horizon_y))
    metre = (z / np.float32(camera.focal_pixels)).astype(np.float32)
    x = np.float32(camera.x_metres) + (cols - np.float32(camera.centre_x)) * metre
    lateral = x - np.float32(camera.bend) * z * z
    z_blur = np.maximum(z * metre / np.float32(camera.height_metres), 0.02)
    return _Ground(x, lateral, z, metre, np.maximum(metre * 1.2, 0.02), z_blur)


def _grain(place: _Ground, rng: np.random.Generator) -> np.ndarray:
    noise = _noise(rng)

    def sample(across: float, along: float) -> np.ndarray:
        rows = np.broadcast_to((place.z * along) % 511, place.lateral.shape).astype(np.float32)
        return np.asarray(cv2.remap(noise, (place.lateral * across) % 511, rows, cv2.INTER_LINEAR))

    return sample(46, 46) / (1.0 + 14.0 * place.metre) + sample(9, 5) * 0.5


def draw_ground(image: np.ndarray, street: Street, rng: np.random.Generator) -> None:
    """Paint everything below the horizon into image (H, W, 3) float32."""
    top = int(np.ceil(street.camera.horizon_y + 1.5))
    place = _ground_of(street, top)
    grain = _grain(place, rng)
    road = _road(street, place)
    ground = _surfaces(street, place, road, rng) + grain[..., None]
    paint = np.array([222, 220, 210], np.float32)
    ground += _markings(street, place)[..., None] * (paint - ground) * 0.85
    _wet(image, ground, top, road, street)
    image[top:] = ground
    if street.night:
        image[top:] *= _lamp_light(street, place.x, place.z)
    else:
        image[top:] *= np.float32(street.ambient)
    fog = 1.0 - np.exp(-place.z / np.float32(street.haze_metres))
    image[top:] += fog[..., None] * (np.array(street.haze, np.float32) - image[top:])


def ground_parts(street: Street) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """First row of the ground, and how much of each pixel from it on is road, walk and white paint.

    The arrays are float32 (rows, W), 0..1; where road is, there is no walk to be seen.
    """
    top = int(np.ceil(street.camera.horizon_y + 1.5))
    place = _ground_of(street, top)
    walk = _edge(np.abs(place.lateral) - (street.half_road + street.pavement), place.x_blur)
    return top, _road(street, place), walk, _markings(street, place)


def _road(street: Street, place: _Ground) -> np.ndarray:
    """Coverage of asphalt, (rows, W)."""
    road = _edge(np.abs(place.lateral) - street.half_road, place.x_blur)
    if street.crossing_z > 0:
        road = np.maximum(road, _edge(np.abs(place.z - street.crossing_z) - 5.0, place.z_blur))
    return road


def _surfaces(street: Street, place: _Ground, road: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Asphalt, pavement, kerb and grass, (rows, W, 3) float32."""
    side, wet = np.abs(place.lateral), 1 if street.rain else 0
    tone = float(rng.uniform(70, 104)) - 22 * wet
    asphalt = np.array([tone, tone + 1, tone + 4], np.float32)
    slab = np.array([146, 140, 132], np.float32) + np.float32(rng.uniform(-16, 12)) - 24 * wet
    green = np.array([84, 104, 62], np.float32) + rng.normal(0, 7, 3).astype(np.float32)
    walk = _edge(side - (street.half_road + street.pavement), place.x_blur)
    near = _edge(place.z - 34, np.float32(10))
    lengthwise = _edge(np.abs((side % 1.2) - 0.6) - 0.03, place.x_blur)
    joints = _dashes(place.z, 1.2, 0.06, place.z_blur) * near + lengthwise * near
    ground = green + (slab - joints[..., None] * 22 - green) * walk[..., None]
    kerb = _edge(np.abs(side - street.half_road - 0.1) - 0.1, place.x_blur)
    ground += kerb[..., None] * (np.float32(178) - ground) * 0.6
    width = street.lane_width
    wear = sum(np.exp(-(((side % width) - c * width) ** 2) / 0.12) for c in (0.27, 0.73))
    tarmac = asphalt - np.asarray(wear * 7)[..., None]
    ground += road[..., None] * (tarmac - ground)
    return np.asarray(ground)


def _markings(street: Street, place: _Ground) -> np.ndarray:
    """Coverage of white paint, (rows, W)."""
    lateral, z, x_blur, z_blur = place.lateral, place.z, place.x_blur, place.z_blur
    paint = _edge(np.abs(lateral) - 0.07, x_blur) * (
        _dashes(z, 7.5, 4.0, z_blur) if street.lanes == 1 else 1.0
    )
    for lane in range(1, street.lanes):
        paint = np.maximum(
            paint,
            _edge(np.abs(np.abs(lateral) - lane * street.lane_width) - 0.06, x_blur)
            * _dashes(z, 6.0, 2.6, z_blur),
        )
    paint = np.maximum(paint, _edge(np.abs(np.abs(lateral) - street.half_road + 0.25) - 0.06, x_blur))
    if street.crossing_z > 0:
        paint = paint * (1 - _edge(np.abs(z - street.crossing_z) - 6.0, z_blur))
    near = np.abs(z - street.zebra_z)
    inside = _edge(np.abs(lateral) - street.half_road + 0.3, x_blur)
    paint = paint * (1 - _edge(near - 2.6, z_blur) * inside)
    stripes = _edge(np.abs((lateral % 1.0) - 0.5) - 0.26, x_blur) * _edge(near - 1.7, z_blur) * inside
    return np.asarray(np.maximum(paint, stripes))


def _wet(image: np.ndarray, ground: np.ndarray, top: int, road: np.ndarray, street: Street) -> None:
    """Mix a blurred mirror of what stands above the horizon into a wet road."""
    if not street.rain:
        return
    above = image[:top][::-1]
    mirror = cv2.resize(
        cv2.GaussianBlur(above, (0, 0), max(street.width / 160, 1.0)), (ground.shape[1], ground.shape[0])
    )
    share = (0.10 + 0.32 * road * np.linspace(1.0, 0.35, len(road), dtype=np.float32)[:, None])[..., None]
    ground += share * (mirror - ground)


def _lamp_light(street: Street, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    level = np.full(x.shape, street.ambient, np.float32)
    for lateral, lamp_z in street.lamp_posts():
        away = (x - np.float32(street.camera.road_x(lateral * 0.75, lamp_z))) ** 2 + (
            z - np.float32(lamp_z)
        ) ** 2
        level += np.float32(0.5) * np.exp(-away / 55.0)
    lit: np.ndarray = np.minimum(level, 0.95)[..., None]
    return lit * np.array([1.0, 0.92, 0.78], np.float32)
