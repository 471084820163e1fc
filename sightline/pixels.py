# SPDX-License-Identifier: Apache-2.0
"""PIL images to RGB pixels, the same way for files on the server and for images in a client."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BACKGROUND_LEVEL = 114  # shows through where a picture is transparent: the level of the letterbox's padding
_BAND_PIXELS = 4_000_000


def rgb_pixels(image: Image.Image, factor: int = 1) -> NDArray[np.uint8]:
    """RGB pixels of a PIL image of any mode, uint8 of shape (height, width, 3), both divided by `factor` and rounded up.

    16-bit grey keeps its upper 8 bits; transparent pixels become BACKGROUND_LEVEL. Works in bands of rows, so that no
    second full picture is held. Raises what Pillow raises on damaged data.
    """
    image.load()
    width, height = image.size
    if width * height <= _BAND_PIXELS:
        return _reduced(_band_rgb(image), factor)
    rows = max(_BAND_PIXELS // (width * factor), 1) * factor
    out = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        part = _reduced(_band_rgb(band), factor)
        out[top // factor : top // factor + len(part)] = part
    return out


def _reduced(band: Any, factor: int) -> NDArray[np.uint8]:
    return np.asarray(band.reduce(factor) if factor > 1 else band)


def _band_rgb(band: Any) -> Any:
    """8-bit RGB of any mode that the three formats have."""
    if band.mode == "RGB":
        return band
    if band.mode.startswith("I") or band.mode == "F":  # 16-bit grey
        levels = np.asarray(band).astype(np.int64) >> 8
        return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in band.mode or "transparency" in band.info:
        band = band.convert("RGBA")
        grey = Image.new("RGB", band.size, (BACKGROUND_LEVEL,) * 3)
        grey.paste(band, mask=band.getchannel("A"))
        return grey
    return band.convert("RGB")
