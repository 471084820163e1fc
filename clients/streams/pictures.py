# SPDX-License-Identifier: Apache-2.0
"""Decoded video pictures to packed frames, and packed frames to small RGB images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.frame import ColourSpace, Frame, PixelFormat, frame_bytes

if TYPE_CHECKING:
    from av import VideoFrame

_BT709 = 1
_FULL_RANGE = 2
_PLANAR_420 = ("yuv420p", "yuvj420p")
_SWS_MATRIX = {
    ColourSpace.BT601_LIMITED: ("ITU601", "MPEG"),
    ColourSpace.BT709_LIMITED: ("ITU709", "MPEG"),
    ColourSpace.BT601_FULL: ("ITU601", "JPEG"),
    ColourSpace.BT709_FULL: ("ITU709", "JPEG"),
}


def colour_of(picture: VideoFrame) -> ColourSpace:
    """Matrix and range of a picture; what the stream does not say is BT.601 limited, as in libswscale."""
    full = int(picture.color_range) == _FULL_RANGE or picture.format.name.startswith("yuvj")
    if int(picture.colorspace) == _BT709:
        return ColourSpace.BT709_FULL if full else ColourSpace.BT709_LIMITED
    return ColourSpace.BT601_FULL if full else ColourSpace.BT601_LIMITED


_MOST_SIZES = 8

NewFrame = Callable[[int, int, PixelFormat, ColourSpace], Frame]
"""Makes an empty frame of this width, height, format and colour, as `Client.frame_slot` does."""


def plain_frame(width: int, height: int, pixel_format: PixelFormat, colour: ColourSpace) -> Frame:
    """An empty frame in plain memory."""
    data = np.empty(frame_bytes(width, height, pixel_format), np.uint8)
    return Frame(data, width, height, pixel_format, colour)


class FramePool:
    """Makes frames in memory that is used again when nobody holds the frame before: fresh memory costs as much as the copy.

    most: frames of one size that are kept while nobody has them. Safe for threads.
    """

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._free: dict[int, deque[tuple[NDArray[np.uint8], dict[str, Any]]]] = {}

    def frame(self, width: int, height: int, pixel_format: PixelFormat, colour: ColourSpace) -> Frame:
        """As `plain_frame`."""
        size_bytes = frame_bytes(width, height, pixel_format)
        free = self._free.get(size_bytes)
        try:
            loan = free.pop() if free else None
        except IndexError:  # another thread took it
            loan = None
        lent = _Loan(self, *(loan or _memory(size_bytes)))
        return Frame(np.asarray(lent), width, height, pixel_format, colour)

    def put_back(self, memory: NDArray[np.uint8], interface: dict[str, Any]) -> None:
        """Called where the last array goes, which may be anywhere: no lock."""
        if memory.size not in self._free and len(self._free) >= _MOST_SIZES:
            self._free.clear()  # the cameras have changed
        self._free.setdefault(memory.size, deque(maxlen=self._most)).append((memory, interface))


def _memory(size_bytes: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    memory = np.empty(size_bytes, np.uint8)
    return memory, memory.__array_interface__


class _Loan:
    """Memory in the hands of arrays; numpy keeps the object whose interface it uses alive, through all views."""

    __slots__ = ("__array_interface__", "_memory", "_pool")

    def __init__(self, pool: FramePool, memory: NDArray[np.uint8], interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface
        self._pool, self._memory = pool, memory

    def __del__(self) -> None:
        self._pool.put_back(self._memory, self.__array_interface__)


def frame_from_picture(picture: VideoFrame, new_frame: NewFrame = plain_frame) -> Frame:
    """A packed I420 copy without row padding, in a frame that `new_frame` makes.

    Only one thread may use a picture at a time.
    """
    colour = colour_of(picture)
    if picture.format.name not in _PLANAR_420:
        picture = picture.reformat(format="yuv420p")
    frame = new_frame(picture.width, picture.height, PixelFormat.I420, colour)
    data, start = frame.data, 0
    for plane in picture.planes:
        rows, columns = plane.height, plane.width
        padded = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * rows).reshape(
            rows, plane.line_size
        )
        stop = start + rows * columns
        data[start:stop].reshape(rows, columns)[...] = padded[:, :columns]
        start = stop
    return frame


def rgb_from_frame(frame: Frame, width: int, height: int) -> NDArray[np.uint8]:
    """The I420 frame scaled to an RGB image of shape (height, width, 3), uint8, colours as the frame says."""
    from av import VideoFrame
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    picture = VideoFrame(frame.width, frame.height, "yuv420p")
    start = 0
    for plane in picture.planes:
        rows, columns = plane.height, plane.width
        target = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * rows).reshape(
            rows, plane.line_size
        )
        stop = start + rows * columns
        target[:, :columns] = frame.data[start:stop].reshape(rows, columns)
        start = stop
    matrix, value_range = _SWS_MATRIX[frame.colour]
    scaled = picture.reformat(
        width,
        height,
        "rgb24",
        src_colorspace=Colorspace[matrix],
        src_color_range=ColorRange[value_range],
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.FAST_BILINEAR,
    )
    return np.ascontiguousarray(scaled.to_ndarray())
