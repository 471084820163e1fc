# SPDX-License-Identifier: Apache-2.0
"""A folder of images as a source: sorted by name; what is half written or no image is left out."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.frame import MAX_ENCODED_BYTES, MAX_PIXELS

if TYPE_CHECKING:
    from av import VideoFrame

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_FORMATS = ("JPEG", "PNG", "WEBP")
_DIGITS = re.compile(r"(\d+)")


def images_of(folder: str) -> list[Path]:
    """Its images, frame2.jpg before frame10.jpg; hidden ones and links out of the folder are left out."""
    root = Path(folder)
    found = [
        path
        for path in root.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and _is_inside(path, root)
    ]
    return sorted(found, key=lambda path: _natural(path.name))


def picture_of(path: Path) -> VideoFrame | None:
    """The decoded image, upright by EXIF; None where it is half written, too large, or no image."""
    import numpy as np
    from av import VideoFrame
    from PIL import Image, ImageOps

    try:
        if path.stat().st_size > MAX_ENCODED_BYTES:
            return None
        with Image.open(io.BytesIO(path.read_bytes()), formats=_FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return None
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        return VideoFrame.from_ndarray(np.asarray(upright), "rgb24")
    except Exception:  # Pillow raises many kinds; an image that is not whole is one of them
        return None


def _is_inside(path: Path, root: Path) -> bool:
    try:
        return path.is_file() and path.resolve().is_relative_to(root.resolve())
    except OSError:
        return False


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(name)]
