# SPDX-License-Identifier: Apache-2.0
"""Makes chosen objects unrecognisable, in a copy of the picture, before it goes anywhere. What cannot be done is an error,
and then the picture must not go.

fill: the area becomes one grey; nothing of it is left. pixelate, blur: the area becomes a mean colour for each field of a grid
of at most GRID x GRID (fields of SMALLEST_FIELD pixels at least), with hard or soft borders; nothing but these means is left.
A detector that misses an object cannot have it blurred: see `Privacy.remember_seconds` and docs/rules.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sightline.clients.analytics.settings import Privacy
from sightline.errors import OutputError
from sightline.frame import Frame, PixelFormat, frame_bytes
from sightline.results import Detections

GRID = 6
SMALLEST_FIELD = 8
GREY = 128
SAME_IOU = 0.3  # from which on a box that is remembered is the object of a box that is found
GROWTH_PER_SECOND = 0.5  # of a remembered box's sides, as its object goes on
MAX_REMEMBERED = 2048
Plane = NDArray[np.uint8]
Box = tuple[float, float, float, float]


class PrivacyError(OutputError):
    """A picture cannot be made fit to be shown."""


@dataclass(frozen=True)
class _Remembered:
    box: Box  # fractions of the picture
    seen_at: float


class Cleaner:
    """Cleans one camera's pictures, one after the other."""

    def __init__(self, settings: Privacy) -> None:
        self.settings = settings
        self._all = "*" in settings.classes
        self._remembered: list[_Remembered] = []

    def clean(self, frame: Frame, detections: Detections, at: float) -> tuple[Frame, Detections]:
        """The picture without what must not be recognised, and the detections with boxes in place of such masks.

        All detections count, also those that no filter and no tracker lets through. `at`: seconds of the camera's clock.
        Raises PrivacyError; then nothing of the picture may be shown.
        """
        private = self._private(detections)
        boxes = detections.boxes[private].astype(np.float64)
        if not np.isfinite(boxes).all():
            raise PrivacyError("an object that must not be recognised has no finite box")
        found = boxes / (frame.width, frame.height, frame.width, frame.height)
        areas = [tuple(box) for box in found.tolist()] + self._missing(found, at)
        self._remember(found, at)
        return _without(frame, areas, self.settings), _without_masks(detections, private)

    def take_over(self, other: Cleaner) -> None:
        """Remember what another one remembers, whatever its classes were."""
        self._remembered = list(other._remembered)

    def _private(self, detections: Detections) -> NDArray[np.bool_]:
        """Which detections must not be recognised. Raises PrivacyError where that cannot be told."""
        wanted = self.settings.classes
        if self._all:
            return np.ones(len(detections), np.bool_)
        if not detections.labels and len(detections) and not all(name.isdigit() for name in wanted):
            raise PrivacyError(f"the model names no classes, so {', '.join(wanted)} cannot be found; use '*'")
        unknown = [name for name in wanted if detections.labels and name not in detections.labels]
        if unknown:
            raise PrivacyError(
                f"privacy names the class {unknown[0]!r}, which the model does not know; "
                f"it knows {', '.join(detections.labels[:20])}"
            )
        present = np.unique(detections.classes).tolist()
        return np.isin(detections.classes, [c for c in present if detections.label(c) in wanted])

    def _missing(self, found: NDArray[np.float64], at: float) -> list[Box]:
        """Grown boxes of objects that were found not long ago and are not now."""
        recent = [one for one in self._remembered if at - one.seen_at <= self.settings.remember_seconds]
        self._remembered = recent
        if recent and len(found):
            overlap = _overlaps(np.array([one.box for one in recent]), found)
            for _ in range(min(overlap.shape)):  # each found box stands for one remembered box, the likest
                row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
                if overlap[row, column] < SAME_IOU:
                    break
                overlap[row, :], overlap[:, column] = -1.0, -1.0
                recent[int(row)] = replace(recent[int(row)], seen_at=-math.inf)
            self._remembered = [one for one in recent if one.seen_at > -math.inf]
        return [_grown(one.box, GROWTH_PER_SECOND * (at - one.seen_at)) for one in self._remembered]

    def _remember(self, found: NDArray[np.float64], at: float) -> None:
        new = [_Remembered((b[0], b[1], b[2], b[3]), at) for b in found.tolist()]
        self._remembered = (
            (self._remembered + new)[-MAX_REMEMBERED:] if self.settings.remember_seconds else []
        )


def _grown(box: Box, part: float) -> Box:
    """The box with this part of its sides around it; the wrong way round is put right."""
    left, right = min(box[0], box[2]), max(box[0], box[2])
    top, bottom = min(box[1], box[3]), max(box[1], box[3])
    across, down = part * (right - left), part * (bottom - top)
    return left - across, top - down, right + across, bottom + down


def _overlaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of boxes (N, 4) and (M, 4), float64 of shape (N, M)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0.0, None).prod(2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    likeness: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return likeness


def _without(frame: Frame, areas: list[Box], settings: Privacy) -> Frame:
    """A copy of the frame in which the areas (fractions of the picture) are cleaned; the frame itself without any."""
    pixels = [_pixels(_grown(area, settings.margin), frame.width, frame.height) for area in areas]
    pixels = [area for area in pixels if area[0] < area[2] and area[1] < area[3]]
    if not pixels:
        return frame
    data = frame.data[: frame_bytes(frame.width, frame.height, frame.pixel_format)].copy()
    copy = replace(frame, data=data)
    for plane, step in _planes(copy):
        for left, top, right, bottom in pixels:
            part = plane[top // step : -(-bottom // step), left // step : -(-right // step)]
            _clean(part, settings.method, max(2, SMALLEST_FIELD // step))
    return copy


def _pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Whole pixels that a box touches, from even ones to even ones, so that no chroma sample is shared with what is shown."""
    left, top = math.floor(box[0] * width), math.floor(box[1] * height)
    right, bottom = max(math.ceil(box[2] * width), left + 1), max(math.ceil(box[3] * height), top + 1)
    left, top, right, bottom = max(0, left), max(0, top), min(width, right), min(height, bottom)
    return left // 2 * 2, top // 2 * 2, min(width, right + right % 2), min(height, bottom + bottom % 2)


def _planes(frame: Frame) -> list[tuple[Plane, int]]:
    """Views of (rows, columns, channels) on a frame's data, each with its pixels per sample."""
    width, height = frame.width, frame.height
    if frame.pixel_format in (PixelFormat.RGB, PixelFormat.BGR):
        return [(frame.data.reshape(height, width, 3), 1)]
    half_width, half_height = (width + 1) // 2, (height + 1) // 2
    luma = (frame.data[: width * height].reshape(height, width, 1), 1)
    chroma = frame.data[width * height :]
    if frame.pixel_format is PixelFormat.NV12:
        return [luma, (chroma.reshape(half_height, half_width, 2), 2)]
    if frame.pixel_format is PixelFormat.I420:
        both = chroma.reshape(2, half_height, half_width, 1)
        return [luma, (both[0], 2), (both[1], 2)]
    raise PrivacyError(f"pictures of the format {frame.pixel_format!r} cannot be cleaned")


def _clean(part: Plane, method: str, smallest: int) -> None:
    """Clean a part of a plane in place."""
    if method == "fill":
        part[...] = GREY
        return
    rows, columns = _fields(part.shape[0], smallest), _fields(part.shape[1], smallest)
    sums = np.add.reduceat(np.add.reduceat(part, columns.starts, 1, np.uint32), rows.starts, 0)
    means = sums / (rows.sizes[:, None, None] * columns.sizes[None, :, None])
    if method == "pixelate":
        strips = np.rint(means).astype(np.uint8).repeat(columns.sizes, 1)
        for strip, start, size in zip(strips, rows.starts.tolist(), rows.sizes.tolist(), strict=True):
            part[start : start + size] = strip
        return
    for channel in range(part.shape[2]):
        soft = (rows.weights @ means[..., channel].astype(np.float32)) @ columns.weights.T
        soft += 0.5
        part[..., channel] = soft  # cut off, which rounds


@dataclass(frozen=True, eq=False)
class _Fields:
    """The grid's fields along one side. weights (pixels, fields): how much of each field's mean a pixel has when the borders
    are soft, linear between the fields' middles."""

    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    weights: NDArray[np.float32]


@lru_cache(maxsize=512)
def _fields(length: int, smallest: int) -> _Fields:
    count = max(1, min(GRID, length // smallest))
    borders = np.linspace(0, length, count + 1).astype(np.intp)
    centres = (borders[:-1] + borders[1:] - 1) / 2
    where = np.arange(length)
    weights = np.stack([np.interp(where, centres, row) for row in np.eye(count)], 1)
    return _Fields(borders[:-1], np.diff(borders), weights.astype(np.float32))


def _without_masks(detections: Detections, private: NDArray[np.bool_]) -> Detections:
    """The detections, where the outline of a private object is its box."""
    if detections.masks is None or detections.size is None or not private.any():
        return detections
    from sightline.preprocess_ext import rle_encode

    width, height = detections.size
    masks = list(detections.masks)
    for index in np.flatnonzero(private).tolist():
        x1, y1, x2, y2 = np.clip(detections.boxes[index], 0, (width, height, width, height)).tolist()
        mask = np.zeros((height, width), np.uint8)
        mask[int(y1) : math.ceil(y2), int(x1) : math.ceil(x2)] = 1
        masks[index] = rle_encode(mask)
    return replace(detections, masks=tuple(masks))
