# SPDX-License-Identifier: Apache-2.0
"""Cuts objects out of pictures, in the picture's own pixel format: no pixel is converted twice on its way to a model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sightline.frame import Frame, PixelFormat

Box = tuple[float, float, float, float]


def crop(frame: Frame, box: Box, margin: float = 0.0) -> Frame | None:
    """A packed copy of what `box` (xyxy pixels) shows, with `margin` of its sides around it; None where nothing is left.

    Of I420 and NV12 the crop begins at even pixels, so that its colours are the picture's own.
    """
    across, down = margin * (box[2] - box[0]), margin * (box[3] - box[1])
    if not all(math.isfinite(value) for value in (*box, across, down)):
        return None
    left, top = max(0, math.floor(box[0] - across)), max(0, math.floor(box[1] - down))
    right, bottom = min(frame.width, math.ceil(box[2] + across)), min(frame.height, math.ceil(box[3] + down))
    planar = frame.pixel_format in (PixelFormat.I420, PixelFormat.NV12)
    if planar:
        left, top = left // 2 * 2, top // 2 * 2
    if right <= left or bottom <= top:
        return None
    if not planar:
        rows = frame.data[: frame.width * frame.height * 3].reshape(frame.height, frame.width, 3)
        data = np.ascontiguousarray(rows[top:bottom, left:right]).reshape(-1)
    else:
        data = _planar(frame, left, top, right, bottom)
    return replace(frame, data=data, width=right - left, height=bottom - top)


def _planar(
    frame: Frame, left: int, top: int, right: int, bottom: int
) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    luma_size = frame.width * frame.height
    half_width, half_height = (frame.width + 1) // 2, (frame.height + 1) // 2
    luma = frame.data[:luma_size].reshape(frame.height, frame.width)[top:bottom, left:right]
    chroma = frame.data[luma_size : luma_size + 2 * half_width * half_height]
    rows, columns = slice(top // 2, (bottom + 1) // 2), slice(left // 2, (right + 1) // 2)
    if frame.pixel_format is PixelFormat.NV12:
        colours = chroma.reshape(half_height, half_width, 2)[rows, columns]
    else:
        colours = chroma.reshape(2, half_height, half_width)[:, rows, columns]
    return np.concatenate((luma.reshape(-1), colours.reshape(-1)))
