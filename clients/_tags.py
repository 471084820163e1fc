# SPDX-License-Identifier: Apache-2.0
"""Text on pictures: rounded tags in a colour, rendered once."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

DARK_INK: Colour = (17, 24, 39)
LIGHT_INK: Colour = (255, 255, 255)


def draw_tag(
    image: NDArray[np.uint8],
    x: int,
    y: int,
    text: str,
    colour: Colour,
    text_pixels: int,
    *,
    above: bool = False,
) -> int:
    """Draw a tag whose left upper corner lies at x, y (`above`: the lower one, where there is room); returns its rows.

    It is moved and cut so that it lies inside the picture, an RGB array of shape (height, width, 3), uint8.
    """
    height, width = image.shape[:2]
    ink, keep = _bitmap(text, colour, text_pixels)
    rows, columns = min(keep.shape[0], height), min(keep.shape[1], width)
    left = max(0, min(x, width - columns))
    top = y - rows if above and y >= rows else max(0, min(y, height - rows))
    ground = image[top : top + rows, left : left + columns]
    ground[:] = ((ground * keep[:rows, :columns]) >> 8) + ink[:rows, :columns]
    return rows


def tag_rows(text_pixels: int) -> int:
    """Height of a tag, pixels."""
    ascent, descent = _font(text_pixels).getmetrics()
    return int(ascent + descent + 2)


@functools.lru_cache(maxsize=2048)
def _bitmap(text: str, colour: Colour, text_pixels: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """A rounded tag: colour times cover (rows, columns, 3) and 256 minus cover (rows, columns, 1), uint16."""
    from PIL import Image, ImageDraw

    font = _font(text_pixels)
    pad = max(3, text_pixels // 3)
    left, _, right, _ = font.getbbox(text)
    columns, rows = round(right - left) + 2 * pad, tag_rows(text_pixels)
    factor = 4  # drawn larger and scaled down, for smooth corners
    cover = Image.new("L", (columns * factor, rows * factor), 0)
    ImageDraw.Draw(cover).rounded_rectangle(
        (0, 0, columns * factor - 1, rows * factor - 1), radius=max(2, text_pixels // 5) * factor, fill=255
    )
    cover = cover.resize((columns, rows), Image.Resampling.BOX)
    tag = Image.new("RGB", (columns, rows), colour)
    ImageDraw.Draw(tag).text((pad - left, 1), text, font=font, fill=ink_on(colour))
    alpha = np.asarray(cover, np.uint16)[..., None]
    ink = (np.asarray(tag, np.uint16) * alpha) // 255
    keep = 256 - (alpha + (alpha >> 7))
    return ink.astype(np.uint16), keep.astype(np.uint16)


def ink_on(colour: Colour) -> Colour:
    """Dark or light text, whichever has the higher contrast by WCAG 2 relative luminance."""
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return DARK_INK if luminance > 0.19 else LIGHT_INK


@functools.lru_cache(maxsize=32)
def _font(text_pixels: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(text_pixels)
