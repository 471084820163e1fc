# SPDX-License-Identifier: Apache-2.0
"""Where a picture lies in a network's input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sightline.preprocess_ext import _pixels
from sightline.preprocess_ext.arguments import Floats


class Geometry(NamedTuple):
    """Where a picture lies in a network's input: network_x = source_x * scale_x + pad_left, also y.

    A pad below 0 says how much of the resized picture a crop cut away. Pixel edges are at whole numbers.
    """

    source_width: int
    source_height: int
    scale_x: float
    scale_y: float
    pad_left: int
    pad_top: int

    def as_array(self) -> Floats:
        """GEOMETRY of the wire contract: float32 of shape (7,), 1 (valid) and then the fields in order."""
        return np.array((1.0, *self), dtype=np.float32)

    def boxes_to_source(self, boxes: ArrayLike) -> Floats:
        """Boxes (N, 4) xyxy from network to source pixels, clipped to the picture; float32. Raises ValueError."""
        copied = _rows("boxes", boxes, 4)
        _pixels.boxes_to_source(self.as_array(), copied)
        return copied

    def boxes_to_network(self, boxes: ArrayLike) -> Floats:
        """Boxes (N, 4) xyxy from source to network pixels, not clipped; float32. Raises ValueError."""
        copied = _rows("boxes", boxes, 4)
        _pixels.boxes_to_network(self.as_array(), copied)
        return copied

    def points_to_source(self, points: ArrayLike) -> Floats:
        """Points (N, 2 or more) from network to source pixels, clipped to the picture; float32.

        The first two columns are x and y; the others (a keypoint's confidence) stay. Raises ValueError.
        """
        copied = _rows("points", points, 2, more=True)
        _pixels.points_to_source(self.as_array(), copied)
        return copied


def _rows(name: str, values: ArrayLike, columns: int, *, more: bool = False) -> Floats:
    copied = np.array(values, dtype=np.float32, order="C", ndmin=2)
    if copied.size == 0 and copied.ndim == 2:
        copied = copied.reshape(0, max(copied.shape[1], columns))
    if copied.ndim != 2 or copied.shape[1] < columns or (copied.shape[1] > columns and not more):
        raise ValueError(
            f"{name} has shape {copied.shape}; it must be (N, {columns}{' or more' if more else ''})"
        )
    return copied
