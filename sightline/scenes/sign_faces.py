# SPDX-License-Identifier: Apache-2.0
"""Faces of traffic signs for the classifier: those of the scenes and more of the same making."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from sightline.errors import SightlineError
from sightline.scenes.signs import sign_face

_SIDE = 256
_MIDDLE = _SIDE // 2
Rgb = tuple[int, int, int]
_RED: Rgb = (196, 24, 32)
_WHITE: Rgb = (244, 244, 240)
_BLACK: Rgb = (24, 24, 26)
_BLUE: Rgb = (24, 80, 170)
_YELLOW: Rgb = (244, 190, 30)
_GREY: Rgb = (120, 122, 124)
Face = tuple[np.ndarray, np.ndarray]

_OF_SCENES: dict[str, tuple[str, int]] = {
    "stop": ("stop_sign", 0),
    "yield": ("yield_sign", 0),
    "pedestrian_crossing": ("crossing_sign", 0),
    "speed_limit_30": ("speed_limit_sign", 0),
    "speed_limit_50": ("speed_limit_sign", 1),
    "speed_limit_60": ("speed_limit_sign", 2),
    "speed_limit_80": ("speed_limit_sign", 3),
}


def _fill(image: np.ndarray, points: list[tuple[float, float]], colour: tuple[int, ...]) -> None:
    cv2.fillPoly(image, [np.round(np.array(points) * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)


def _disc(image: np.ndarray, radius: int, colour: tuple[int, ...]) -> None:
    cv2.circle(image, (_MIDDLE, _MIDDLE), radius, colour, -1, cv2.LINE_AA)


def _stroke(image: np.ndarray, points: list[tuple[int, int]], colour: Rgb, width: int) -> None:
    for a, b in itertools.pairwise(points):
        cv2.line(image, a, b, colour, width, cv2.LINE_AA)


def _letter(image: np.ndarray, text: str, scale: float, colour: Rgb, width: int, down: int = 0) -> None:
    (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, width)
    at = (_MIDDLE - w // 2, _MIDDLE + h // 2 + down)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)


def _round(colour: Rgb) -> Face:
    """A round plate with a white rim."""
    image, alpha = np.zeros((_SIDE, _SIDE, 3), np.uint8), np.zeros((_SIDE, _SIDE), np.uint8)
    _disc(alpha, 126, (255,))
    _disc(image, 127, _WHITE)
    _disc(image, 118, colour)
    return image, alpha


def _square(colour: Rgb) -> Face:
    image, alpha = np.zeros((_SIDE, _SIDE, 3), np.uint8), np.zeros((_SIDE, _SIDE), np.uint8)
    alpha[4:-4, 4:-4] = 255
    image[:] = _WHITE
    image[14:-14, 14:-14] = colour
    return image, alpha


def _warning() -> Face:
    """A white triangle with a red rim, point up."""
    image, alpha = np.zeros((_SIDE, _SIDE, 3), np.uint8), np.zeros((_SIDE, _SIDE), np.uint8)
    outline = [(128.0, 14.0), (252.0, 230.0), (4.0, 230.0)]
    _fill(alpha, outline, (255,))
    _fill(image, outline, _RED)
    _fill(image, [(128, 70), (207, 206), (49, 206)], _WHITE)
    return image, alpha


def _arrow(image: np.ndarray, tip: tuple[int, int], way: tuple[int, int], colour: Rgb, size: int) -> None:
    """A filled arrow head at tip; way is its unit direction."""
    (x, y), (dx, dy) = tip, way
    foot = (x - dx * size, y - dy * size)
    _fill(
        image,
        [(x, y), (foot[0] - dy * size, foot[1] + dx * size), (foot[0] + dy * size, foot[1] - dx * size)],
        colour,
    )


def _no_entry() -> Face:
    image, alpha = _round(_RED)
    cv2.rectangle(image, (44, 104), (212, 152), _WHITE, -1)
    return image, alpha


def _no_vehicles() -> Face:
    image, alpha = _round(_RED)
    _disc(image, 92, _WHITE)
    return image, alpha


def _no_parking() -> Face:
    image, alpha = _round(_RED)
    _disc(image, 94, _BLUE)
    cv2.line(image, (62, 62), (194, 194), _RED, 26, cv2.LINE_AA)
    return image, alpha


def _end_of_limits() -> Face:
    image, alpha = _round(_WHITE)
    cv2.circle(image, (_MIDDLE, _MIDDLE), 121, _GREY, 6, cv2.LINE_AA)
    for shift in (-36, -12, 12, 36):
        cv2.line(image, (52 + shift, 204 + shift), (204 + shift, 52 + shift), _BLACK, 9, cv2.LINE_AA)
    keep = np.zeros((_SIDE, _SIDE), np.uint8)
    _disc(keep, 120, (255,))
    image[keep < 128] = _WHITE
    return image, alpha


def _priority_road() -> Face:
    image, alpha = np.zeros((_SIDE, _SIDE, 3), np.uint8), np.zeros((_SIDE, _SIDE), np.uint8)
    for reach, colour in ((126, _WHITE), (82, _YELLOW)):
        diamond = [
            (128.0, 128.0 - reach),
            (128.0 + reach, 128.0),
            (128.0, 128.0 + reach),
            (128.0 - reach, 128.0),
        ]
        _fill(image, diamond, colour)
        if reach > 100:
            _fill(alpha, diamond, (255,))
    return image, alpha


def _straight_ahead() -> Face:
    image, alpha = _round(_BLUE)
    _stroke(image, [(128, 208), (128, 96)], _WHITE, 30)
    _arrow(image, (128, 40), (0, -1), _WHITE, 58)
    return image, alpha


def _turn_right() -> Face:
    image, alpha = _round(_BLUE)
    _stroke(image, [(88, 204), (88, 118), (160, 118)], _WHITE, 28)
    _arrow(image, (218, 118), (1, 0), _WHITE, 54)
    return image, alpha


def _turn_left() -> Face:
    image, alpha = _turn_right()
    return np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(alpha[:, ::-1])


def _roundabout() -> Face:
    image, alpha = _round(_BLUE)
    for turn in (0, 120, 240):
        cv2.ellipse(image, (_MIDDLE, _MIDDLE), (66, 66), 0, turn + 18, turn + 92, _WHITE, 22, cv2.LINE_AA)
        angle = np.deg2rad(turn + 8)
        tip = np.array([_MIDDLE + 66 * np.cos(angle - 0.32), _MIDDLE + 66 * np.sin(angle - 0.32)])
        along = np.array([np.sin(angle), -np.cos(angle)])
        out = np.array([np.cos(angle), np.sin(angle)])
        base = tip - along * 46
        _fill(image, [tuple(tip), tuple(base + out * 34), tuple(base - out * 34)], _WHITE)
    return image, alpha


def _bicycle_path() -> Face:
    image, alpha = _round(_BLUE)
    for x in (76, 180):
        cv2.circle(image, (x, 160), 36, _WHITE, 11, cv2.LINE_AA)
    _stroke(image, [(76, 160), (108, 102), (166, 102), (124, 160), (76, 160)], _WHITE, 11)
    _stroke(image, [(124, 160), (100, 86)], _WHITE, 11)
    _stroke(image, [(84, 84), (116, 84)], _WHITE, 13)
    _stroke(image, [(180, 160), (160, 76), (190, 70)], _WHITE, 11)
    return image, alpha


def _parking() -> Face:
    image, alpha = _square(_BLUE)
    _letter(image, "P", 6.2, _WHITE, 34)
    return image, alpha


def _danger() -> Face:
    image, alpha = _warning()
    _fill(image, [(114, 96), (142, 96), (135, 164), (121, 164)], _BLACK)
    cv2.circle(image, (128, 185), 13, _BLACK, -1, cv2.LINE_AA)
    return image, alpha


def _lights_ahead() -> Face:
    image, alpha = _warning()
    cv2.rectangle(image, (110, 96), (146, 198), _BLACK, -1)
    for y, colour in ((114, (226, 40, 40)), (147, (244, 190, 30)), (180, (40, 180, 90))):
        cv2.circle(image, (128, y), 13, colour, -1, cv2.LINE_AA)
    return image, alpha


def _bends() -> Face:
    image, alpha = _warning()
    _stroke(image, [(140, 200), (140, 172), (112, 148), (112, 128)], _BLACK, 15)
    _arrow(image, (112, 92), (0, -1), _BLACK, 36)
    return image, alpha


_DRAWN: dict[str, Callable[[], Face]] = {
    "no_entry": _no_entry,
    "no_vehicles": _no_vehicles,
    "no_parking": _no_parking,
    "end_of_limits": _end_of_limits,
    "priority_road": _priority_road,
    "straight_ahead": _straight_ahead,
    "turn_right": _turn_right,
    "turn_left": _turn_left,
    "roundabout": _roundabout,
    "bicycle_path": _bicycle_path,
    "parking": _parking,
    "danger": _danger,
    "lights_ahead": _lights_ahead,
    "bends": _bends,
}

SIGN_NAMES: tuple[str, ...] = (*_OF_SCENES, *_DRAWN)
"""Every sign that can be drawn, in the order of the classifier's labels."""


@lru_cache(maxsize=64)
def face_of(name: str) -> Face:
    """Colour (H, W, 3) uint8 RGB and coverage (H, W) uint8 of a sign's plate.

    Raises SightlineError for a name that is not in SIGN_NAMES.
    """
    if name in _OF_SCENES:
        return sign_face(*_OF_SCENES[name])
    if name not in _DRAWN:
        raise SightlineError(f"sign is {name!r}; known are {', '.join(SIGN_NAMES)}")
    return _DRAWN[name]()
