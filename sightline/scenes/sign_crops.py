# SPDX-License-Identifier: Apache-2.0
"""Cut-outs of traffic signs as a camera sees them: distance, angle, light, dirt, things in front, blur, noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sightline.scenes.scene import Scene
from sightline.scenes.sign_faces import SIGN_NAMES, face_of

NO_SIGN = "no_sign"
CROP_NAMES: tuple[str, ...] = (*SIGN_NAMES, NO_SIGN)
"""Classes of sign crops: each sign that can be drawn, and none."""
_OVER = 2


def street_pictures(first_seed: int, count: int) -> list[np.ndarray]:
    """Drawn streets (360, 640, 3) uint8 RGB, a seed each: what stands behind the signs."""
    return [Scene(first_seed + i, size=(640, 360)).frame(1.0 + i % 7)[0] for i in range(count)]


@dataclass(frozen=True)
class _View:
    """How a sign is seen. side: pixels of the plate; crop: pixels of the cut-out; night: lit by headlamps only."""

    side: float
    crop: int
    night: bool

    @staticmethod
    def random(rng: np.random.Generator) -> _View:
        side = float(np.exp(rng.uniform(np.log(15.0), np.log(90.0))))
        return _View(side, max(int(side / rng.uniform(0.55, 1.0)), 12), bool(rng.random() < 0.3))


def sign_crop(name: str, behind: list[np.ndarray], rng: np.random.Generator, side: int = 64) -> np.ndarray:
    """One cut-out (side, side, 3) uint8 RGB of the class `name` of CROP_NAMES before one of the pictures `behind`.

    Everything about the view comes from rng. Raises SightlineError for an unknown name.
    """
    view = _View.random(rng)
    picture = _backdrop(behind, view, rng)
    if name == NO_SIGN:
        _decoy(picture, rng)
    else:
        _place(picture, name, view, rng)
    if rng.random() < 0.3:
        _cover(picture, rng)
    return cv2.resize(_camera(picture, view, rng), (side, side), interpolation=cv2.INTER_LINEAR)


def _backdrop(behind: list[np.ndarray], view: _View, rng: np.random.Generator) -> np.ndarray:
    """A float32 patch (crop, crop, 3) of a street, sometimes with the sign's pole."""
    source = behind[int(rng.integers(len(behind)))]
    span = int(np.clip(view.crop * rng.uniform(0.4, 1.6), 16, min(source.shape[:2]) - 1))
    y, x = (int(rng.integers(s - span)) for s in source.shape[:2])
    patch = source[y : y + span, x : x + span]
    picture = cv2.resize(patch, (view.crop, view.crop), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    picture *= rng.uniform(0.2, 0.6) if view.night else rng.uniform(0.7, 1.2)
    if rng.random() < 0.7:
        middle, wide = view.crop * rng.uniform(0.42, 0.58), max(view.crop * rng.uniform(0.04, 0.1), 1.0)
        picture[view.crop // 2 :, int(middle - wide / 2) : int(middle + wide / 2) + 1] = rng.uniform(30, 170)
    return picture


def _corners(view: _View, rng: np.random.Generator, aspect: float) -> np.ndarray:
    """Where the plate's corners (4, 2) float32 fall: turned, tilted and a little off the middle."""
    half = np.array(
        [view.side / 2 * (rng.uniform(0.6, 1.0) if rng.random() < 0.5 else 1.0), view.side / 2 * aspect]
    )
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    angle = rng.normal(0, 0.09)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    keystone = 1 + unit[:, :1] * rng.normal(0, 0.06)
    points = unit * half * np.concatenate([np.ones_like(keystone), keystone], 1) @ turn
    points += rng.normal(0, 0.02, (4, 2)) * view.side
    spare = max(view.crop - view.side, 0) / 2 + 0.05 * view.side
    return np.asarray(points + view.crop / 2 + rng.uniform(-spare, spare, 2), np.float32)


def _place(picture: np.ndarray, name: str, view: _View, rng: np.random.Generator) -> None:
    """Blend the lit and weathered plate into the picture."""
    face, alpha = face_of(name)
    while face.shape[1] > 2.5 * _OVER * view.side and face.shape[1] > 16:
        face, alpha = cv2.pyrDown(face), cv2.pyrDown(alpha)
    rows, cols = alpha.shape
    source = np.array([[0, 0], [cols, 0], [cols, rows], [0, rows]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, _corners(view, rng, rows / cols) * _OVER)
    large = (view.crop * _OVER, view.crop * _OVER)
    plate = cv2.warpPerspective(_weathered(face, rng), matrix, large, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpPerspective(alpha, matrix, large)
    size = (view.crop, view.crop)
    weight = cv2.resize(cover, size, interpolation=cv2.INTER_AREA)[..., None].astype(np.float32) / 255
    colour = cv2.resize(plate, size, interpolation=cv2.INTER_AREA) * _light(view, rng)
    picture += weight * (colour - picture)


def _weathered(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The face float32, faded, dirty and with the shadow of something across it."""
    plate = face.astype(np.float32)
    if rng.random() < 0.5:
        plate += rng.uniform(0, 0.45) * (np.float32(rng.uniform(110, 190)) - plate)
    if rng.random() < 0.3:
        coarse = rng.random((6, 6)).astype(np.float32)
        stain = cv2.resize(coarse, plate.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., None]
        plate *= 1 - rng.uniform(0.1, 0.5) * np.clip(stain, 0, 1)
    if rng.random() < 0.25:
        shade = np.zeros(plate.shape[:2], np.uint8)
        points = rng.uniform(-0.3, 1.3, (3, 2)) * plate.shape[1::-1]
        cv2.fillConvexPoly(shade, cv2.convexHull(points.astype(np.int32)), 255)
        plate *= 1 - (rng.uniform(0.25, 0.6) * (shade > 0))[..., None].astype(np.float32)
    return plate


def _light(view: _View, rng: np.random.Generator) -> np.ndarray:
    """Gain of each channel on the plate."""
    level = rng.uniform(0.22, 1.05) if view.night else rng.uniform(0.45, 1.15)
    return np.asarray(level * rng.uniform(0.88, 1.12, 3), np.float32)


def _decoy(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Sometimes the grey back of a sign, or a coloured plate that means nothing."""
    if rng.random() < 0.5:
        return
    side = picture.shape[0]
    colour = [float(rng.uniform(70, 160))] * 3 if rng.random() < 0.6 else rng.uniform(20, 230, 3).tolist()
    centre, reach = (side // 2, side // 2), int(side * rng.uniform(0.25, 0.48))
    if rng.random() < 0.5:
        cv2.circle(picture, centre, reach, colour, -1, cv2.LINE_AA)
    else:
        tall = int(reach * rng.uniform(0.4, 1.0))
        cv2.rectangle(
            picture, (centre[0] - reach, centre[1] - tall), (centre[0] + reach, centre[1] + tall), colour, -1
        )


def _cover(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Something in front: a pole, leaves, or the edge of a larger thing; at most about a third is hidden."""
    side, kind = picture.shape[0], int(rng.integers(3))
    if kind == 0:
        x, wide = side * rng.uniform(0.1, 0.9), side * rng.uniform(0.04, 0.14)
        picture[:, int(x) : int(x + wide) + 1] = rng.uniform(20, 140)
    elif kind == 1:
        corner = rng.integers(0, 2, 2) * side
        for _ in range(int(rng.integers(8, 26))):
            at = np.clip(corner + rng.normal(0, 0.24, 2) * side, -side, 2 * side).astype(int)
            leaf = (np.array([60, 92, 44]) * rng.uniform(0.4, 1.4)).tolist()
            cv2.circle(
                picture,
                tuple(at.tolist()),
                max(int(side * rng.uniform(0.03, 0.09)), 1),
                leaf,
                -1,
                cv2.LINE_AA,
            )
    else:
        depth = int(side * rng.uniform(0.1, 0.32))
        edge = (np.s_[:depth], np.s_[side - depth :], np.s_[:, :depth], np.s_[:, side - depth :])
        picture[edge[int(rng.integers(4))]] = rng.uniform(20, 200, 3)


def _camera(picture: np.ndarray, view: _View, rng: np.random.Generator) -> np.ndarray:
    """Exposure, glare, blur, noise and compression; returns uint8."""
    if rng.random() < 0.05:
        glare = np.zeros(picture.shape[:2], np.float32)
        at = tuple((rng.uniform(0, 1, 2) * view.crop).astype(int).tolist())
        cv2.circle(glare, at, max(view.crop // 5, 1), 1.0, -1)
        picture += 200 * cv2.GaussianBlur(glare, (0, 0), max(view.crop / 10, 0.5))[..., None]
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.1) * (0.55 + view.crop / 80))
    if rng.random() < 0.2:
        reach = int(rng.integers(2, 4 + view.crop // 24))
        picture = cv2.blur(picture, (reach, 1) if rng.random() < 0.6 else (1, reach))
    picture = picture * rng.uniform(0.8, 1.2) + rng.uniform(-8, 8)
    sigma = rng.uniform(2, 12) if view.night else rng.uniform(0.5, 7)
    picture = picture + rng.standard_normal(picture.shape, np.float32) * np.float32(sigma)
    image = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
        image = np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR))
    return image
