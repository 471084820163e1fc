# SPDX-License-Identifier: Apache-2.0
"""What a caller may pass as an image, turned into what goes over the wire."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BadInputError
from sightline.frame import MAX_ENCODED_BYTES, Frame

if TYPE_CHECKING:
    from PIL import Image

ImageLike = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, NDArray[np.uint8], Frame, "Image.Image"
]

_ORIENTATION_TAG = 0x0112
_FIRST_TURNED, _LAST_TURNED = 5, 8  # EXIF orientations that exchange width and height
# Where a PNG may say how it is turned, even behind its pixels: Pillow decodes them all to find out.
_PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


def item_from(image: ImageLike) -> bytes | Frame:
    """An encoded file as bytes, or a raw Frame.

    Paths are read; arrays are RGB of shape (height, width, 3), uint8; PIL images are turned upright by EXIF,
    and become RGB, as the server does with files. Raises BadInputError.
    """
    if isinstance(image, Frame):
        return image
    if isinstance(image, np.ndarray):
        return Frame.from_rgb(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _checked(bytes(image), "the image")
    if isinstance(image, (str, os.PathLike)):
        return _file_bytes(Path(image))
    if _is_pil(image):
        return _frame_from_pil(image)
    raise BadInputError(
        f"image is a {type(image).__name__}; it must be a path, the bytes of a JPEG, PNG or WebP file, "
        "an RGB array of shape (height, width, 3), a PIL image or a Frame"
    )


def size_of(item: bytes | Frame) -> tuple[int, int]:
    """Width and height, upright, of what was sent; a file's from its header. Raises BadInputError."""
    if isinstance(item, Frame):
        return item.width, item.height
    from PIL import Image

    try:
        with Image.open(io.BytesIO(item), formats=("JPEG", "PNG", "WEBP")) as opened:
            width, height = opened.size
            may_be_turned = opened.format != "PNG" or any(mark in item for mark in _PNG_MARKS)
            turned = may_be_turned and _orientation(opened) >= _FIRST_TURNED
    except Exception as error:  # Pillow raises many types on damaged files
        raise BadInputError(f"the size of the image cannot be read: {error}") from error
    return (height, width) if turned else (width, height)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block does not spoil the picture; the server sees it so too
        return 1
    return value if isinstance(value, int) and 1 <= value <= _LAST_TURNED else 1


def _file_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_ENCODED_BYTES:
            raise BadInputError(
                f"{path} has {path.stat().st_size} bytes; at most {MAX_ENCODED_BYTES} are allowed"
            )
        if not path.is_file():
            raise BadInputError(f"{path} is not a file")
        return _checked(path.read_bytes(), str(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(f"image {path} cannot be read: {reason}") from error


def _checked(data: bytes, what: str) -> bytes:
    if not data:
        raise BadInputError(f"{what} is empty; a JPEG, PNG or WebP file is needed")
    if len(data) > MAX_ENCODED_BYTES:
        raise BadInputError(f"{what} has {len(data)} bytes; at most {MAX_ENCODED_BYTES} are allowed")
    return data


def _is_pil(image: object) -> bool:
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(image).__mro__)


def _frame_from_pil(image: Image.Image) -> Frame:
    from PIL import ImageOps

    from sightline.pixels import rgb_pixels

    try:
        upright = ImageOps.exif_transpose(image)
        if upright.palette is not None and upright.palette.mode == "RGBA":  # in a file it is said elsewhere
            upright = upright.convert("RGBA")
        return Frame.from_rgb(rgb_pixels(upright))
    except (OSError, ValueError, SyntaxError) as error:
        raise BadInputError(f"the PIL image cannot be read: {error}") from error
