# SPDX-License-Identifier: Apache-2.0
"""Opens an encoded picture that nobody vouches for, within bounded memory.

The format is told by the first bytes (JPEG, PNG and WebP only), the size by the header before anything is
decoded. A picture much larger than wanted is decoded at 1/2, 1/4 or 1/8 (JPEG: in the DCT, so that it is also
cheaper); positions scale exactly, and `DecodedImage.in_full_size` puts a geometry back into the full picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.errors import BadInputError
from sightline.frame import MAX_ENCODED_BYTES, MAX_PIXELS
from sightline.pixels import rgb_pixels

MAX_DECODE_BYTES = 208_000_000  # the decoder's own buffers; 50 megapixels of RGB, four bytes each, just fit
_ORIENTATION_TAG = 0x0112
_FACTORS = (8, 4, 2)
_PADDING_BLOCK = 1 << 16
_FEW_ZEROS = 64
_METADATA_CHUNKS = (b"EXIF", b"XMP ")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An upright picture. pixels: uint8 RGB of shape (h, w, 3), 1/factor of width x height, rounded up."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    factor: int

    def in_full_size(self, geometry: NDArray[np.float32]) -> NDArray[np.float32]:
        """The geometry (7,) of `pixels` as that of the full picture: source size and scales change."""
        full = geometry.copy()
        full[1:3] = self.width, self.height
        full[3:5] /= self.factor
        return full


@dataclass(frozen=True)
class Target:
    """What will be asked of a decoded picture.

    width, height: pixels that it is resized to. cover: no side may become smaller than these; without, it fits into
    them. antialiased: each output sample is made of all samples below it, so that a picture twice as large as it is used
    keeps what a full one would give.
    """

    width: int
    height: int
    cover: bool = False
    antialiased: bool = False


def target_of(size: tuple[int, int], letterbox: Mapping[str, Any]) -> Target:
    """The target for a network's input of `size` (width, height) and the keyword arguments of preprocess_ext.letterbox."""
    short = letterbox.get("short_side", 0)
    width, height = (short, short) if short else size
    cover = letterbox.get("resize") in ("stretch", "centre_crop")
    return Target(width, height, cover, letterbox.get("interpolation", "bilinear") != "bilinear")


def decode_image(
    encoded: NDArray[np.uint8] | bytes, *, target: Target | tuple[int, int] | None = None
) -> DecodedImage:
    """Decode a JPEG, PNG or WebP file: EXIF orientation applied, alpha over grey, an animation's first frame.

    encoded: the file's bytes, uint8 of shape (n_bytes,); zeros behind the file are ignored.
    target: what will be asked of the picture, (width, height) that it must fit into will do; None decodes at full size.
    Raises BadInputError for anything else, damaged files, more than 64 MiB or 50 megapixels, and pictures
    whose decoder would need more than MAX_DECODE_BYTES.
    """
    if isinstance(target, tuple):
        target = Target(*target)
    data = memoryview(encoded)  # type: ignore[arg-type,unused-ignore]  # numpy 1 has no __buffer__ to see
    file_format = _sniff(data)
    data = _whole_webp(data) if file_format == "WEBP" else _without_padding(data)
    try:
        with Image.open(io.BytesIO(data), formats=[file_format]) as image:
            return _decode(image, target)
    except BadInputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInputError(f"the picture has more than {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except MemoryError as error:
        raise BadInputError("there is not enough memory to decode the picture") from error
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise BadInputError(f"the {file_format} file is damaged or cut off: {error}") from error


def _sniff(data: memoryview) -> str:
    start = bytes(data[:12])
    if len(data) > MAX_ENCODED_BYTES:
        raise BadInputError(f"the file has {len(data)} bytes; at most {MAX_ENCODED_BYTES} are taken")
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "WEBP"
    what = f"it starts with {start[:8].hex(' ')}" if start.strip(b"\0") else "it is empty"
    raise BadInputError(f"this is not a JPEG, PNG or WebP picture: {what}")


def _without_padding(data: memoryview) -> memoryview:
    """The file without the zeros behind it: a decoder would read them as the missing rest of a cut-off picture."""
    end = len(data)
    while end > 0:
        start = max(0, end - _PADDING_BLOCK)
        tail = bytes(data[start:end]).rstrip(b"\0")
        if tail:
            return data[: start + len(tail)]
        end = start
    return data[:0]


def _whole_webp(data: memoryview) -> memoryview:
    """The file as long as its RIFF header says, if all its chunks are there; it may rightly end in zeros.

    Layout: RFC 9649. Zeros in the last eighth pass: flat pictures end in up to a twentieth of zeros. So a WebP that
    lost less than that, and was padded again, is decoded with a damaged lower edge.
    """
    size = 8 + int.from_bytes(data[4:8], "little")
    filled = len(_without_padding(data[:size]))
    position, kind = 12, b""
    while position + 8 <= size and position < filled:
        kind = bytes(data[position : position + 4])
        position += 8 + int.from_bytes(data[position + 4 : position + 8], "little")
        position += position % 2
    cut = size - filled > max(size // 8, _FEW_ZEROS) and kind not in _METADATA_CHUNKS
    if cut or len(data) < size or position < size - 1:
        raise BadInputError("the WEBP file is damaged or cut off")
    return data[:size]


def _decode(image: Any, target: Target | None) -> DecodedImage:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadInputError(
            f"the picture has {width}x{height} pixels; at most {MAX_PIXELS / 1e6:.0f} megapixels are taken"
        )
    orientation = _orientation(image)
    turned = orientation >= 5
    factor = _factor((height, width) if turned else (width, height), target, image.format == "JPEG")
    if image.format == "JPEG" and factor > 1:
        image.draft(None, (width // factor, height // factor))
    drafted = image.size
    _check_memory(image, width * height)
    remaining = factor if drafted == (width, height) else 1
    pixels = rgb_pixels(image, remaining)
    if orientation in _UPRIGHT:
        pixels = np.asarray(Image.fromarray(pixels).transpose(_UPRIGHT[orientation]))
    full = (height, width) if turned else (width, height)
    return DecodedImage(np.ascontiguousarray(pixels), *full, factor)


def _orientation(image: Any) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block does not spoil the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _factor(size: tuple[int, int], target: Target | None, is_jpeg: bool) -> int:
    """Largest of 8, 4, 2, 1 that leaves the picture at least as large as it is used, twice as large if antialiased.

    For a JPEG that saves most of the decoding. Other formats are reduced for the sake of memory only, so that four
    times the used size is left and common sizes give the very answers of a raw frame.
    """
    if target is None:
        return 1
    sides = size[0] / target.width, size[1] / target.height
    spare = 4 if not is_jpeg else 2 if target.antialiased else 1
    shrink = (min(sides) if target.cover else max(sides)) / spare
    return next((factor for factor in _FACTORS if factor <= shrink and min(size) >= factor), 1)


def _check_memory(image: Any, full_pixels: int) -> None:
    """Refuse what needs too much: Pillow keeps 4 bytes a pixel, progressive JPEG all coefficients, WebP 4 canvases."""
    width, height = image.size
    per_pixel = 4 if len(image.getbands()) > 1 or image.mode in ("I", "F") else 2
    if image.format == "WEBP":
        per_pixel = 16
    need = width * height * per_pixel
    if image.info.get("progressive"):
        need += full_pixels * 6
    if need > MAX_DECODE_BYTES:
        raise BadInputError(
            f"decoding this {image.format} picture of {width}x{height} pixels needs {need >> 20} MiB; "
            f"at most {MAX_DECODE_BYTES >> 20} MiB are given. Make it smaller, or save it as a plain JPEG"
        )
