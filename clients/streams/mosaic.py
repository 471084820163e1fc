# SPDX-License-Identifier: Apache-2.0
"""Arranges the cameras' pictures, with boxes, in one grid."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sightline.clients.draw import draw_detections
from sightline.clients.streams.pictures import rgb_from_frame
from sightline.clients.streams.results import StreamResult
from sightline.results import Detections

_GROUND = (9, 13, 18)
_TEXT = (221, 230, 238)
_CAPTION_PIXELS = 20


def grid_shape(count: int) -> tuple[int, int]:
    """Columns and rows for so many pictures."""
    columns = math.ceil(math.sqrt(count))
    return columns, math.ceil(count / columns)


def tile_size(count: int, width: int, height: int) -> tuple[int, int]:
    """Even width and height, 16 to 9, of one of `count` pictures in a grid of at most this size."""
    columns, rows = grid_shape(count)
    tile_width = min(width // columns, height * 16 // (rows * 9))
    return max(32, tile_width // 2 * 2), max(18, tile_width * 9 // 32 * 2)


def annotated(result: StreamResult, width: int, height: int) -> NDArray[np.uint8]:
    """The result's picture with its boxes, fitted into an RGB image of shape (height, width, 3), uint8."""
    frame = result.source.frame
    scale = min(width / frame.width, height / frame.height)
    fitted_width, fitted_height = max(2, round(frame.width * scale)), max(2, round(frame.height * scale))
    found = result.detections
    factors = np.array([fitted_width / frame.width, fitted_height / frame.height] * 2, np.float32)
    scaled = Detections(found.boxes * factors, found.scores, found.classes, found.labels)
    picture = rgb_from_frame(frame, fitted_width, fitted_height)
    draw_detections(picture, scaled)
    if (fitted_width, fitted_height) == (width, height):
        return picture
    canvas = blank(width, height)
    left, top = (width - fitted_width) // 2, (height - fitted_height) // 2
    canvas[top : top + fitted_height, left : left + fitted_width] = picture
    return canvas


def blank(width: int, height: int) -> NDArray[np.uint8]:
    """An empty RGB image of shape (height, width, 3), uint8."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = _GROUND
    return image


def captioned(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """The image with a line of text above it."""
    from PIL import Image, ImageDraw, ImageFont

    width = image.shape[1]
    bar = Image.new("RGB", (width, _CAPTION_PIXELS), _GROUND)
    ImageDraw.Draw(bar).text((4, 3), text, fill=_TEXT, font=ImageFont.load_default(13))
    return np.vstack([np.asarray(bar), image])


def joined(tiles: list[NDArray[np.uint8]], columns: int, gap: int = 0) -> NDArray[np.uint8]:
    """Tiles of one size in rows of `columns`; missing ones stay empty."""
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    sheet = blank(columns * (width + gap) + gap, rows * (height + gap) + gap)
    for position, tile in enumerate(tiles):
        row, column = divmod(position, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet
