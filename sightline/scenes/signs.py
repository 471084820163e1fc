# SPDX-License-Identifier: Apache-2.0
"""Traffic lights and signs on poles. Sign faces are drawn once, large, and scaled into the picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from sightline.scenes.canvas import Canvas, Colour

_SIDE = 256
_RED, _WHITE, _BLACK, _BLUE = (196, 24, 32), (244, 244, 240), (24, 24, 26), (24, 80, 170)


def _regular(sides: int, radius: float, start: float) -> np.ndarray:
    angles = start + np.arange(sides) * 2 * np.pi / sides
    centre = _SIDE / 2
    return np.stack([centre + radius * np.cos(angles), centre + radius * np.sin(angles)], 1)


def _fill(image: np.ndarray, points: np.ndarray, colour: tuple[int, ...]) -> None:
    cv2.fillPoly(image, [np.round(points * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)


def _text(image: np.ndarray, text: str, scale: float, colour: tuple[int, ...], thickness: int) -> None:
    (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    at = (int(_SIDE / 2 - w / 2), int(_SIDE / 2 + h / 2))
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)


@lru_cache(maxsize=32)
def sign_face(kind: str, variant: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour (256, 256, 3) uint8 RGB and coverage (256, 256) uint8 of a sign's plate."""
    image = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    alpha = np.zeros((_SIDE, _SIDE), np.uint8)
    c = (_SIDE // 2, _SIDE // 2)
    if kind == "stop_sign":
        _fill(alpha, _regular(8, 127, np.pi / 8), (255,))
        _fill(image, _regular(8, 128, np.pi / 8), _WHITE)
        _fill(image, _regular(8, 118, np.pi / 8), _RED)
        _text(image, "STOP", 2.75, _WHITE, 16)
    elif kind == "speed_limit_sign":
        cv2.circle(alpha, c, 126, 255, -1, cv2.LINE_AA)
        cv2.circle(image, c, 127, _RED, -1, cv2.LINE_AA)
        cv2.circle(image, c, 96, _WHITE, -1, cv2.LINE_AA)
        _text(image, ("30", "50", "60", "80")[variant % 4], 3.3, _BLACK, 20)
    elif kind == "yield_sign":
        for size, colour in ((127.0, _RED), (76.0, _WHITE)):
            points = _regular(3, size, np.pi / 2) - [0, 30]
            _fill(image, points, colour)
            if size > 100:
                _fill(alpha, points, (255,))
        rows, cols = np.nonzero(alpha > 20)
        image = image[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
        alpha = alpha[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    else:
        alpha[4:-4, 4:-4] = 255
        image[:] = _BLUE
        _fill(image, np.array([(128, 24), (240, 228), (16, 228)], float), _WHITE)
        for a, b, t in (
            ((128, 112), (122, 162), 20),
            ((122, 162), (98, 212), 13),
            ((122, 162), (150, 212), 13),
            ((128, 118), (100, 150), 10),
            ((128, 118), (156, 150), 10),
        ):
            cv2.line(image, a, b, _BLACK, t, cv2.LINE_AA)
        cv2.circle(image, (130, 90), 15, _BLACK, -1, cv2.LINE_AA)
    return image, alpha


def _blend(canvas: Canvas, face: np.ndarray, alpha: np.ndarray, box: np.ndarray, dim: float) -> None:
    """Resample a plate into a pixel box with sub-pixel placing."""
    height, width = canvas.image.shape[:2]
    x0, y0 = max(int(np.floor(box[0])) - 1, 0), max(int(np.floor(box[1])) - 1, 0)
    x1, y1 = min(int(np.ceil(box[2])) + 1, width), min(int(np.ceil(box[3])) + 1, height)
    if x1 - x0 < 1 or y1 - y0 < 1:
        return
    rows, cols = alpha.shape
    over = 3
    fx, fy = over * (box[2] - box[0]) / cols, over * (box[3] - box[1]) / rows
    matrix = np.array([[fx, 0, over * (box[0] - x0)], [0, fy, over * (box[1] - y0)]])
    small = face, alpha
    while small[1].shape[0] > 2.2 * over * (box[3] - box[1]) and small[1].shape[0] > 8:
        small = cv2.pyrDown(small[0]), cv2.pyrDown(small[1])
    matrix[0, 0] *= cols / small[1].shape[1]
    matrix[1, 1] *= rows / small[1].shape[0]
    size = ((x1 - x0) * over, (y1 - y0) * over)
    patch = cv2.resize(
        cv2.warpAffine(small[0], matrix, size, borderMode=cv2.BORDER_REPLICATE),
        (x1 - x0, y1 - y0),
        interpolation=cv2.INTER_AREA,
    )
    cover = cv2.resize(
        cv2.warpAffine(small[1], matrix, size), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA
    )
    weight = cover[:, :, None].astype(np.float32) / 255.0
    fogged = np.asarray(canvas.tint((0, 0, 0)), np.float32)
    clear = np.asarray(canvas.tint((255, 255, 255)), np.float32)
    colour = patch.astype(np.float32) * (dim * (clear - fogged) / 255.0) + fogged
    region = canvas.image[y0:y1, x0:x1]
    region[:] = (region * (1 - weight) + colour * weight).astype(np.uint8)
    canvas.plate(x0, y0, weight[:, :, 0])


def pole(
    canvas: Canvas, x: float, z: float, top: float, width: float = 0.09, colour: Colour = (118, 122, 126)
) -> None:
    """An upright pole that is not part of a sign's box."""
    ends = canvas.camera.project(
        np.array(
            [(x - width / 2, 0, z), (x + width / 2, 0, z), (x + width / 2, top, z), (x - width / 2, top, z)]
        )
    )
    canvas.polygon(ends, colour, extent=False)


def sign(
    canvas: Canvas,
    kind: str,
    variant: int,
    place: tuple[float, float],
    bottom: float,
    side: float,
    dim: float,
) -> None:
    """A plate of `side` metres whose lower edge is `bottom` metres up; its box leaves out the pole."""
    x, z = place
    pole(canvas, x, z + 0.05, bottom + side * 0.5)
    face, alpha = sign_face(kind, variant)
    tall = side * alpha.shape[0] / alpha.shape[1]
    corners = canvas.camera.project(np.array([(x - side / 2, bottom + tall, z), (x + side / 2, bottom, z)]))
    box = corners.reshape(4)
    canvas.include(np.array([box[[0, 1]], box[[2, 1]], box[[2, 3]], box[[0, 3]]]))
    _blend(canvas, face, alpha, box, dim)


def traffic_light(canvas: Canvas, place: tuple[float, float], bottom: float, state: int, arm: float) -> None:
    """Three lamps in a dark case; `state` 0 red, 1 amber, 2 green; `arm` metres of mast beside it."""
    x, z = place
    tall, wide = 1.25, 0.46
    foot = x + arm
    pole(canvas, foot, z + 0.1, bottom + tall * 0.75 + 0.1, 0.16, (84, 88, 92))
    if arm:
        y = bottom + tall * 0.75
        bar = canvas.camera.project(
            np.array([(foot, y, z), (foot, y + 0.12, z), (x, y + 0.12, z), (x, y, z)])
        )
        canvas.polygon(bar, (84, 88, 92), extent=False)

    def quad(w: float, y0: float, y1: float) -> np.ndarray:
        return canvas.camera.project(
            np.array([(x - w, y0, z), (x + w, y0, z), (x + w, y1, z), (x - w, y1, z)])
        )

    canvas.polygon(quad(wide / 2, bottom, bottom + tall), (196, 190, 120) if arm else (20, 22, 22))
    canvas.polygon(quad(wide / 2 - 0.05, bottom + 0.05, bottom + tall - 0.05), (26, 28, 28))
    s = canvas.camera.pixels_per_metre(z)
    lit: tuple[Colour, ...] = ((255, 44, 36), (255, 190, 40), (60, 240, 130))
    off: tuple[Colour, ...] = ((84, 22, 20), (84, 64, 22), (20, 70, 44))
    for i in range(3):
        centre = canvas.camera.project(np.array([(x, bottom + tall * (0.81 - 0.31 * i), z)]))[0]
        canvas.disc(centre, 0.15 * s, lit[i] if i == state else off[i])
        if i == state:
            canvas.lamp(
                centre, 0.14 * s, lit[i], 0.55, float(canvas.camera.project(np.array([(x, 0, z)]))[0, 1])
            )
