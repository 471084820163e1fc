# SPDX-License-Identifier: Apache-2.0
"""Raw frames to JPEG, in the colours that the frame says."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sightline.frame import ColourSpace, Frame, PixelFormat, frame_bytes

if TYPE_CHECKING:
    from av import VideoFrame

_LAYOUT = {
    PixelFormat.I420: "yuv420p",
    PixelFormat.NV12: "nv12",
    PixelFormat.RGB: "rgb24",
    PixelFormat.BGR: "bgr24",
}
_COLOUR = {
    ColourSpace.BT601_LIMITED: ("ITU601", "MPEG"),
    ColourSpace.BT709_LIMITED: ("ITU709", "MPEG"),
    ColourSpace.BT601_FULL: ("ITU601", "JPEG"),
    ColourSpace.BT709_FULL: ("ITU709", "JPEG"),
}


def copied(frame: Frame) -> Frame:
    """A copy in plain memory: the original may lie in memory that is used again."""
    size = frame_bytes(frame.width, frame.height, frame.pixel_format)
    return Frame(frame.data[:size].copy(), frame.width, frame.height, frame.pixel_format, frame.colour)


def jpeg_from_frame(frame: Frame, quality: int) -> bytes:
    """The frame as a JPEG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(rgb_from_any(frame)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def rgb_from_any(frame: Frame) -> NDArray[np.uint8]:
    """RGB of shape (height, width, 3), uint8, from a frame of any format and colour."""
    size = frame_bytes(frame.width, frame.height, frame.pixel_format)
    if frame.pixel_format in (PixelFormat.RGB, PixelFormat.BGR):
        rgb = frame.data[:size].reshape(frame.height, frame.width, 3)
        return rgb if frame.pixel_format is PixelFormat.RGB else np.ascontiguousarray(rgb[..., ::-1])
    from av.video.reformatter import ColorRange, Colorspace

    space, colour_range = _COLOUR[frame.colour]
    picture = picture_from_frame(frame).reformat(
        format="rgb24",
        src_colorspace=Colorspace[space],
        src_color_range=ColorRange[colour_range],
        dst_color_range=ColorRange.JPEG,
    )
    return np.asarray(picture.to_ndarray(), np.uint8)


def picture_from_frame(frame: Frame) -> VideoFrame:
    """A PyAV picture with the frame's bytes, in the frame's own format."""
    from av import VideoFrame

    picture = VideoFrame(frame.width, frame.height, _LAYOUT[frame.pixel_format])
    start = 0
    for plane, (columns, rows) in zip(picture.planes, _plane_shapes(frame), strict=True):
        target = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * plane.height)
        stop = start + rows * columns
        target.reshape(plane.height, plane.line_size)[:rows, :columns] = frame.data[start:stop].reshape(
            rows, columns
        )
        start = stop
    return picture


def _plane_shapes(frame: Frame) -> list[tuple[int, int]]:
    """(bytes in a row, rows) of each plane of a packed frame."""
    columns, rows = (frame.width + 1) // 2, (frame.height + 1) // 2
    if frame.pixel_format is PixelFormat.I420:
        return [(frame.width, frame.height), (columns, rows), (columns, rows)]
    if frame.pixel_format is PixelFormat.NV12:
        return [(frame.width, frame.height), (columns * 2, rows)]
    return [(frame.width * 3, frame.height)]
