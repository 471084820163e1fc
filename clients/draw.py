# SPDX-License-Identifier: Apache-2.0
"""Draws detections on an RGB picture: crisp boxes with a dark edge, and labels rendered once."""

from __future__ import annotations

import colorsys
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BadInputError
from sightline.results import Detections

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (56, 189, 248),
    (251, 146, 60),
    (74, 222, 128),
    (244, 114, 182),
    (250, 204, 21),
    (167, 139, 250),
    (45, 212, 191),
    (248, 113, 113),
    (163, 230, 53),
    (129, 140, 248),
    (232, 121, 249),
    (253, 186, 116),
)
DARK_INK: Colour = (17, 24, 39)
LIGHT_INK: Colour = (255, 255, 255)
REFERENCE_HEIGHT_PIXELS = 720
EDGE_DARKNESS = 0.45
_GOLDEN_RATIO = 0.6180339887498949


def class_colour(class_id: int) -> Colour:
    """The colour (red, green, blue) of a class, the same in every picture and process."""
    if 0 <= class_id < len(PALETTE):
        return PALETTE[class_id]
    hue = (class_id * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.62 if class_id % 2 else 0.5, 0.8)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_detections(image: NDArray[np.uint8], detections: Detections) -> None:
    """Draw on `image` itself, a writable RGB array of shape (height, width, 3), uint8.

    Line width and text size follow the picture's height; the highest scores lie on top. Raises BadInputError.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.flags.writeable:
        raise BadInputError(
            f"image is {image.dtype} of shape {image.shape}; "
            "it must be writable uint8 of shape (height, width, 3)"
        )
    height, width = image.shape[:2]
    scale = max(0.5, min(height, width) / REFERENCE_HEIGHT_PIXELS)
    thickness = max(1, round(2 * scale))
    text_pixels = max(10, round(17 * scale))
    corners = _whole_pixels(detections.boxes, width, height)
    order = np.argsort(detections.scores, kind="stable")
    for index in order:
        _draw_box(image, corners[index], class_colour(int(detections.classes[index])), thickness)
    for index in order:
        class_id = int(detections.classes[index])
        text = f"{detections.label(class_id)} {detections.scores[index]:.0%}"
        _draw_label(image, corners[index], text, class_colour(class_id), text_pixels)


def _whole_pixels(boxes: NDArray[np.float32], width: int, height: int) -> list[list[int]]:
    """Corners (x1, y1, x2, y2) inside the picture; the last two are exclusive."""
    safe = np.nan_to_num(boxes.astype(np.float64), nan=0.0, posinf=1e9, neginf=-1e9)
    corners = np.rint(safe).clip([0, 0, 0, 0], [width, height, width, height]).astype(np.int64)
    return [[int(v) for v in row] for row in corners]


def _draw_box(image: NDArray[np.uint8], corner: list[int], colour: Colour, thickness: int) -> None:
    x1, y1, x2, y2 = corner
    if x2 <= x1 or y2 <= y1:
        return
    _darken_frame(image, x1 - 1, y1 - 1, x2 + 1, y2 + 1)
    inner = thickness + 1
    if x2 - x1 > 2 * inner and y2 - y1 > 2 * inner:
        _darken_frame(image, x1 + thickness, y1 + thickness, x2 - thickness, y2 - thickness)
    image[y1 : min(y1 + thickness, y2), x1:x2] = colour
    image[max(y2 - thickness, y1) : y2, x1:x2] = colour
    image[y1:y2, x1 : min(x1 + thickness, x2)] = colour
    image[y1:y2, max(x2 - thickness, x1) : x2] = colour


def _darken_frame(image: NDArray[np.uint8], x1: int, y1: int, x2: int, y2: int) -> None:
    """Darken a frame of one pixel, so that a box shows on a ground of its own colour."""
    height, width = image.shape[:2]
    left, right, top, bottom = max(x1, 0), min(x2, width), max(y1, 0), min(y2, height)
    factor = 1.0 - EDGE_DARKNESS
    for row in {y1, y2 - 1}:
        if 0 <= row < height:
            image[row, left:right] = image[row, left:right] * factor
    for column in {x1, x2 - 1}:
        if 0 <= column < width:
            image[top:bottom, column] = image[top:bottom, column] * factor


def _draw_label(
    image: NDArray[np.uint8], corner: list[int], text: str, colour: Colour, text_pixels: int
) -> None:
    height, width = image.shape[:2]
    ink, keep = _label_bitmap(text, colour, text_pixels)
    rows, columns = min(keep.shape[0], height), min(keep.shape[1], width)
    x = max(0, min(corner[0], width - columns))
    y = corner[1] - rows if corner[1] >= rows else min(corner[1], height - rows)
    ground = image[y : y + rows, x : x + columns]
    ground[:] = ((ground * keep[:rows, :columns]) >> 8) + ink[:rows, :columns]


@functools.lru_cache(maxsize=2048)
def _label_bitmap(
    text: str, colour: Colour, text_pixels: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """A rounded tag: colour times cover (rows, columns, 3) and 256 minus cover (rows, columns, 1), uint16."""
    from PIL import Image, ImageDraw

    font = _font(text_pixels)
    pad = max(3, text_pixels // 3)
    left, _, right, _ = font.getbbox(text)
    ascent, descent = font.getmetrics()
    columns, rows = round(right - left) + 2 * pad, ascent + descent + 2
    factor = 4  # drawn larger and scaled down, for smooth corners
    cover = Image.new("L", (columns * factor, rows * factor), 0)
    ImageDraw.Draw(cover).rounded_rectangle(
        (0, 0, columns * factor - 1, rows * factor - 1), radius=max(2, text_pixels // 5) * factor, fill=255
    )
    cover = cover.resize((columns, rows), Image.Resampling.BOX)
    tag = Image.new("RGB", (columns, rows), colour)
    ImageDraw.Draw(tag).text((pad - left, 1), text, font=font, fill=_ink_on(colour))
    alpha = np.asarray(cover, np.uint16)[..., None]
    ink = (np.asarray(tag, np.uint16) * alpha) // 255
    keep = 256 - (alpha + (alpha >> 7))
    return ink.astype(np.uint16), keep.astype(np.uint16)


def _ink_on(colour: Colour) -> Colour:
    """Dark or light text, whichever has the higher contrast by WCAG 2 relative luminance."""
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return DARK_INK if luminance > 0.19 else LIGHT_INK


@functools.lru_cache(maxsize=32)
def _font(text_pixels: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(text_pixels)
