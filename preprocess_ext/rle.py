# SPDX-License-Identifier: Apache-2.0
"""COCO's run lengths: texts as pycocotools writes them ("counts" of its dictionaries), in bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.preprocess_ext import _masks
from sightline.preprocess_ext.masks import MaskRegion, frame_size, mask_bytes, region_arguments

_NO_REGION = np.empty(0, np.int32)
_NO_BITS = np.empty((0, 0), np.uint64)
_NO_MASK = np.empty((0, 0), np.uint8)


def rle_encode(mask: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """Text of a mask, uint8 or bool of shape (height, width), row by row; what is not 0 counts as 1. Raises ValueError."""
    rows = mask_bytes("mask", mask)
    frame_size(rows.shape[1], rows.shape[0])
    return _masks.rle_encode(_NO_REGION, _NO_BITS, rows, rows.shape[1], rows.shape[0])


def rle_encode_region(region: MaskRegion, width: int, height: int) -> bytes:
    """Text of a mask in a frame of width x height pixels, straight from its region. Raises ValueError."""
    frame_size(width, height)
    numbers, bits = region_arguments(region)
    x, y, right, bottom = region.x, region.y, region.x + region.width, region.y + region.height
    if x < 0 or y < 0 or right > width or bottom > height:
        raise ValueError(
            f"the region {x, y, right, bottom} must lie inside the frame of {width}x{height} pixels"
        )
    if not bits.size:
        numbers, bits = np.zeros(4, np.int32), np.zeros((1, 1), np.uint64)
    return _masks.rle_encode(numbers, bits, _NO_MASK, width, height)


def rle_decode(text: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """The mask of a text: uint8 of shape (height, width), 0 or 1. Raises ValueError for a damaged text."""
    out = np.empty((height, width), np.uint8) if width > 0 and height > 0 else _NO_MASK
    _masks.rle_decode(rle_counts(text, width, height), out)
    return out


def rle_counts(text: bytes, width: int, height: int) -> NDArray[np.uint32]:
    """Lengths of the runs of zeros and ones in turn, column by column, uint32 of shape (K,).

    The text may come from anywhere. Raises ValueError for bytes that no text has, for numbers that are cut off or
    negative, and when the runs do not fill the frame of width x height pixels.
    """
    frame_size(width, height)
    if not text:
        raise ValueError("the run lengths are empty")
    counts = np.empty(len(text), np.uint32)
    try:
        return counts[: _masks.rle_counts(np.frombuffer(text, np.uint8), width, height, counts)]
    except ValueError:
        raise ValueError(
            f"the run lengths {text[:40]!r} (of {len(text)} bytes) are damaged or not those of {width}x{height} pixels"
        ) from None


def rle_area(text: bytes, width: int, height: int) -> int:
    """Pixels that are set. Raises ValueError."""
    return _masks.rle_area(rle_counts(text, width, height), width, height)


def rle_box(text: bytes, width: int, height: int) -> tuple[int, int, int, int]:
    """x, y, width, height of the smallest box around the set pixels, zeros when there are none. Raises ValueError."""
    return _masks.rle_region(rle_counts(text, width, height), width, height)


def rle_iou(
    first: Sequence[bytes], second: Sequence[bytes], width: int, height: int, crowd: Sequence[bool] = ()
) -> NDArray[np.float64]:
    """Intersection over union of each mask of `first` with each of `second`, float64 of shape (N, M).

    crowd: one flag for each of `second` (COCO's iscrowd): over the area of the mask of `first` alone. Masks that do not
    meet have 0. Raises ValueError.
    """
    out = np.zeros((len(first), len(second)))
    if len(crowd) not in (0, len(second)):
        raise ValueError(f"crowd has {len(crowd)} flags; there are {len(second)} masks")
    flags = np.array(crowd, np.uint8) if len(crowd) else np.zeros(len(second), np.uint8)
    if out.size:
        runs = [rle_counts(text, width, height) for text in (*first, *second)]
        starts = np.zeros(len(runs) + 1, np.int64)
        np.cumsum([len(counts) for counts in runs], out=starts[1:])
        _masks.rle_iou(np.concatenate(runs), starts, len(first), flags, width, height, out)
    return out


def rle_merge(texts: Sequence[bytes], width: int, height: int, *, intersect: bool = False) -> bytes:
    """Text of the union of masks, or of their intersection. Raises ValueError, also when there is none."""
    if not texts:
        raise ValueError("there are no masks to merge")
    merged = rle_counts(texts[0], width, height)
    for text in texts[1:]:
        other = rle_counts(text, width, height)
        out = np.empty(len(merged) + len(other) + 1, np.uint32)
        merged = out[: _masks.rle_merge(merged, other, width, height, intersect, out)]
    room = np.empty(7 * len(merged), np.uint8)
    return room[: _masks.rle_text(merged, width, height, room)].tobytes()
