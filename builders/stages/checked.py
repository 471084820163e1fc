# SPDX-License-Identifier: Apache-2.0
"""Makes encoded pictures safe for DALI, which fails a whole batch over one file that it cannot read.

An ordinary JPEG is checked segment by segment and goes on in its encoded form. Anything else that our own decoder reads
(PNG, WebP, four components, transparency, …) goes on as plain pixels, a PPM: DALI too decodes those formats on the CPU,
and this way a picture gives the same pixels on every target. What our decoder refuses is refused here with its words.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.builders.stages.images import MAX_DECODE_BYTES, decode_image
from sightline.builders.stages.jpeg import PlainJpeg, has_exif, plain_jpeg
from sightline.errors import BadInputError
from sightline.frame import MAX_ENCODED_BYTES, MAX_PIXELS

_JPEG = b"\xff\xd8\xff"
_ORIENTATION_TAG = 0x0112
_PROGRESSIVE_BYTES_PER_PIXEL = 10  # what our own decoder would need, see images._check_memory
_MAX_RESIZED = 1 << 24


def checked_picture(encoded: NDArray[np.uint8] | bytes, card_input: Mapping[str, Any]) -> bytes:
    """The picture as a file that DALI reads: a JPEG of nothing but what is needed, or a PPM (a PNG beyond 64 MiB).

    encoded: the file's bytes, uint8 of one dimension, zeros behind the file ignored. card_input: `size`, `resize` and
    `short_side` of the card's input. Raises BadInputError.
    """
    plain = _plain(bytes(encoded))
    if plain is not None:
        turned = plain.orientation >= 5
        check_crop(*((plain.height, plain.width) if turned else (plain.width, plain.height)), card_input)
        return plain.content
    image = decode_image(encoded)
    check_crop(image.width, image.height, card_input)
    return _pixels_as_file(image.pixels)


def check_crop(width: int, height: int, card_input: Mapping[str, Any]) -> None:
    """Raise BadInputError where a picture of this size, resized for a crop, does not cover the network's input."""
    if card_input.get("resize") != "crop":
        return
    wide, high = card_input["size"]
    short = int(card_input.get("short_side") or 0)
    by_width = width <= height if short else width * high <= height * wide
    if by_width:
        whole_width = short or wide
        whole_height = whole_width * height // width
    else:
        whole_height = short or high
        whole_width = whole_height * width // height
    if whole_width < wide or whole_height < high:
        raise BadInputError(
            f"the picture of {width}x{height} pixels is {whole_width}x{whole_height} after resizing; "
            f"the crop of {wide}x{high} does not fit into it"
        )
    if max(whole_width, whole_height) > _MAX_RESIZED:
        raise BadInputError(f"the picture of {width}x{height} pixels is too narrow to be resized and cropped")


@lru_cache(maxsize=1)
def tiny_picture() -> bytes:
    """A good JPEG of 8 by 8 grey pixels, which takes the place of a bad file."""
    file = io.BytesIO()
    Image.new("L", (8, 8), 114).save(file, "JPEG")
    plain = plain_jpeg(file.getvalue(), 1)
    if plain is None:
        raise RuntimeError("Pillow wrote a JPEG that is not an ordinary one")
    return plain.content


def _plain(data: bytes) -> PlainJpeg | None:
    """The file as an ordinary JPEG within the bounds of our own decoder; None where that has to judge it."""
    if not data.startswith(_JPEG) or len(data) > MAX_ENCODED_BYTES:
        return None
    plain = plain_jpeg(data, _orientation(data) if has_exif(data) else 1)
    if plain is None or plain.width * plain.height > MAX_PIXELS:
        return None
    needed = plain.width * plain.height * _PROGRESSIVE_BYTES_PER_PIXEL
    return None if plain.progressive and needed > MAX_DECODE_BYTES else plain


def _orientation(data: bytes) -> int:
    """As images.decode_image reads it: a broken EXIF block does not spoil the picture."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _pixels_as_file(pixels: NDArray[np.uint8]) -> bytes:
    height, width = pixels.shape[:2]
    if pixels.nbytes <= MAX_ENCODED_BYTES:
        return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
