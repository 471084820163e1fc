# SPDX-License-Identifier: Apache-2.0
"""A picture into the network's input, and the geometry of the way back, without the C core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.card import InputSpec

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Fit:
    """Where a picture lies in the network's input: resized size, padding (below 0: cut away); all in pixels."""

    width: int
    height: int
    left: int
    top: int

    def geometry(self, picture: tuple[int, int]) -> NDArray[np.float32]:
        """The seven floats of GEOMETRY for a picture of this width and height."""
        scale = self.width / picture[0], self.height / picture[1]
        return np.array([1, *picture, *scale, self.left, self.top], np.float32)


def fit(picture: tuple[int, int], spec: InputSpec) -> Fit:
    """Ultralytics' letterbox, torchvision's Resize and CenterCrop, or the whole input; sizes are (width, height)."""
    network = spec.size
    if spec.resize == "stretch":
        return Fit(*network, 0, 0)
    if spec.resize == "crop":
        width, height = _covering(picture, spec)
        return Fit(width, height, -round((width - network[0]) / 2), -round((height - network[1]) / 2))
    ratio = min(network[0] / picture[0], network[1] / picture[1])
    width, height = (max(round(side * ratio), 1) for side in picture)
    if spec.resize == "corner":
        return Fit(width, height, 0, 0)
    left, top = (
        max(round((outer - inner) / 2 - 0.1), 0)
        for outer, inner in zip(network, (width, height), strict=True)
    )
    return Fit(width, height, left, top)


def network_input(picture: Picture, spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """TENSOR float32 (3, height, width) and GEOMETRY (7,) of an RGB picture uint8 (h, w, 3)."""
    size = picture.shape[1], picture.shape[0]
    place = fit(size, spec)
    width, height = spec.size
    levels = np.full((height, width, 3), float(spec.pad))
    shown = _resized(picture, place, spec.filter)[max(-place.top, 0) :, max(-place.left, 0) :]
    shown = shown[: height - max(place.top, 0), : width - max(place.left, 0)]
    levels[max(place.top, 0) :, max(place.left, 0) :][: shown.shape[0], : shown.shape[1]] = shown
    if spec.colour == "bgr":
        levels = levels[..., ::-1]
    tensor = np.moveaxis((levels - spec.mean) / spec.std, 2, 0)
    return np.ascontiguousarray(tensor, np.float32), place.geometry(size)


def bilinear_taps(position: Array, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """The two cells beside each position, counted from the middle of the first, and the weight of the second."""
    position = np.clip(position, 0, cells - 1)
    low = np.floor(position).astype(np.int64)
    return low, np.minimum(low + 1, cells - 1), position - low


def _covering(picture: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """Size whose shorter side is short_side; without one the smallest that covers the input."""
    network = spec.size
    if spec.short_side is not None:
        shorter, longer = min(picture), max(picture)
        sides = spec.short_side, spec.short_side * longer // shorter
        return sides if picture[0] <= picture[1] else (sides[1], sides[0])
    if picture[0] * network[1] <= picture[1] * network[0]:
        return network[0], network[0] * picture[1] // picture[0]
    return network[1] * picture[0] // picture[1], network[1]


def _resized(picture: Picture, place: Fit, filter_: str) -> Array:
    """Levels as float64; half-pixel centres. triangle is Pillow's, box is the mean of the covered area."""
    if filter_ == "triangle":
        from PIL import Image

        made = Image.fromarray(picture).resize((place.width, place.height), Image.Resampling.BILINEAR)
        return np.asarray(made, np.float64)
    if filter_ == "box":
        return _box(_box(picture.astype(np.float64), place.height, 0), place.width, 1)
    rows = _taps(place.height, picture.shape[0])
    columns = _taps(place.width, picture.shape[1])
    levels = picture.astype(np.float64)
    down, across = rows[2][:, None, None], columns[2][None, :, None]
    mixed = levels[rows[0]] * (1 - down) + levels[rows[1]] * down
    return np.asarray(mixed[:, columns[0]] * (1 - across) + mixed[:, columns[1]] * across)


def _taps(count: int, samples: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    return bilinear_taps((np.arange(count) + 0.5) * samples / count - 0.5, samples)


def _box(levels: Array, count: int, axis: int) -> Array:
    """Mean of the source samples under each output sample; bilinear along an axis that is enlarged."""
    samples = levels.shape[axis]
    levels = np.moveaxis(levels, axis, 0)
    if count >= samples:
        low, high, weight = _taps(count, samples)
        weight = weight.reshape(-1, *(1,) * (levels.ndim - 1))
        made = levels[low] * (1 - weight) + levels[high] * weight
    else:
        edges = np.arange(count + 1) * samples / count
        sums = np.concatenate([np.zeros_like(levels[:1]), np.cumsum(levels, axis=0)])
        whole = np.minimum(np.floor(edges).astype(np.int64), samples - 1)
        part = (edges - whole).reshape(-1, *(1,) * (levels.ndim - 1))
        at = sums[whole] + part * levels[whole]
        made = np.diff(at, axis=0) * (count / samples)
    return np.moveaxis(made, 0, axis)
