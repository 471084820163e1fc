# SPDX-License-Identifier: Apache-2.0
"""A raw picture as a camera or a decoder gives it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BadInputError

MAX_PIXELS = 50_000_000
MAX_ENCODED_BYTES = 64 << 20  # of an image file


class PixelFormat(IntEnum):
    """Order of the bytes; the numbers are part of the wire contract."""

    I420 = 0
    NV12 = 1
    RGB = 2
    BGR = 3


class ColourSpace(IntEnum):
    """YUV matrix and range; the numbers are part of the wire contract. Ignored for RGB and BGR."""

    BT601_LIMITED = 0
    BT709_LIMITED = 1
    BT601_FULL = 2
    BT709_FULL = 3


def frame_bytes(width: int, height: int, pixel_format: PixelFormat) -> int:
    """Size in bytes of a packed frame; chroma planes of odd sizes are rounded up."""
    if pixel_format in (PixelFormat.RGB, PixelFormat.BGR):
        return width * height * 3
    return width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture: `data` is uint8 of shape (n_bytes,), packed without row padding."""

    data: NDArray[np.uint8]
    width: int
    height: int
    pixel_format: PixelFormat = PixelFormat.I420
    colour: ColourSpace = ColourSpace.BT601_LIMITED

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.width * self.height > MAX_PIXELS:
            raise BadInputError(
                f"frame is {self.width}x{self.height}; width and height must be at least 1 "
                f"and their product at most {MAX_PIXELS}"
            )
        if self.data.dtype != np.uint8 or self.data.ndim != 1 or not self.data.flags.c_contiguous:
            raise BadInputError(
                f"frame data is {self.data.dtype} of shape {self.data.shape}; it must be contiguous uint8 of one dimension"
            )
        need = frame_bytes(self.width, self.height, self.pixel_format)
        if self.data.size < need:
            raise BadInputError(
                f"frame data has {self.data.size} bytes; "
                f"{self.width}x{self.height} {self.pixel_format.name} needs {need}"
            )

    @classmethod
    def from_rgb(cls, image: NDArray[np.uint8]) -> Frame:
        """Wrap an RGB array of shape (height, width, 3), uint8."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise BadInputError(
                f"image is {image.dtype} of shape {image.shape}; it must be uint8 of shape (height, width, 3)"
            )
        height, width = image.shape[:2]
        return cls(np.ascontiguousarray(image).reshape(-1), width, height, PixelFormat.RGB)

    @property
    def info(self) -> NDArray[np.int32]:
        """FRAME_INFO of the wire contract, int32 of shape (4,)."""
        return np.array([self.width, self.height, self.pixel_format, self.colour], dtype=np.int32)
