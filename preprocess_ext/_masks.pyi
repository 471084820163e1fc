# SPDX-License-Identifier: Apache-2.0
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bits = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
Counts = NDArray[np.uint32]

def prototype_regions(
    geometry: Floats,
    network_width: int,
    network_height: int,
    map_width: int,
    map_height: int,
    boxes: Floats,
    regions: Ints,
) -> None: ...
def prototype_masks(
    data: Floats,
    coefficients: Floats,
    regions: Ints,
    geometry: Floats,
    network_width: int,
    network_height: int,
    bits: Bits,
    starts: NDArray[np.int64],
) -> None: ...
def prototype_rles(
    data: Floats,
    coefficients: Floats,
    boxes: Floats,
    geometry: Floats,
    network_width: int,
    network_height: int,
) -> list[bytes]: ...
def paste_regions(
    boxes: Floats, width: int, height: int, frame_width: int, frame_height: int, regions: Ints
) -> None: ...
def paste_masks(
    masks: Floats,
    boxes: Floats,
    frame_width: int,
    frame_height: int,
    threshold: float,
    regions: Ints,
    bits: Bits,
    starts: NDArray[np.int64],
) -> None: ...
def region_to_bytes(numbers: Ints, bits: Bits, out: Bytes) -> None: ...
def region_from_bytes(numbers: Ints, data: Bytes, bits: Bits) -> None: ...
def contours(numbers: Ints, bits: Bits, points: Ints, ends: Ints) -> tuple[int, int]: ...
def overlay(
    data: Bytes,
    width: int,
    height: int,
    pixel_format: int,
    colour_space: int,
    numbers: Ints,
    bits: Bits,
    colour: Bytes,
    alpha: float,
) -> None: ...
def rle_encode(numbers: Ints, bits: Bits, mask: Bytes, frame_width: int, frame_height: int) -> bytes: ...
def rle_counts(text: Bytes, frame_width: int, frame_height: int, counts: Counts) -> int: ...
def rle_text(counts: Counts, frame_width: int, frame_height: int, text: Bytes) -> int: ...
def rle_area(counts: Counts, frame_width: int, frame_height: int) -> int: ...
def rle_region(counts: Counts, frame_width: int, frame_height: int) -> tuple[int, int, int, int]: ...
def rle_iou(
    counts: Counts,
    starts: NDArray[np.int64],
    first_count: int,
    crowd: Bytes,
    frame_width: int,
    frame_height: int,
    out: NDArray[np.float64],
) -> None: ...
def rle_merge(
    a: Counts, b: Counts, frame_width: int, frame_height: int, intersect: bool, out: Counts
) -> int: ...
def rle_decode(counts: Counts, out: Bytes) -> None: ...
