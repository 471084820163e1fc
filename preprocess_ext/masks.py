# SPDX-License-Identifier: Apache-2.0
"""Instance masks as regions of bits: from prototypes, pasted from Mask R-CNN, their outlines, and drawing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BadInputError
from sightline.frame import Frame
from sightline.preprocess_ext import _masks
from sightline.preprocess_ext.arguments import MAX_SIDE_PIXELS, Floats, expect, fraction

MAX_MASK_SIDE = 4096
MAX_MASK_CHANNELS = 4096
_NO_GEOMETRY = np.empty(0, np.float32)
_FIRST_POINTS = 512
_FIRST_CONTOURS = 64


class MaskRegion(NamedTuple):
    """The pixels of a mask inside a rectangle of the frame; all others are not set.

    bits: uint64 of shape (height, ceil(width / 64)), the leftmost pixel of a row in the lowest bit of its first
    word, bits behind the last pixel 0. Empty when width or height is 0.
    """

    x: int
    y: int
    width: int
    height: int
    bits: NDArray[np.uint64]

    @classmethod
    def from_array(cls, mask: NDArray[np.uint8] | NDArray[np.bool_], x: int = 0, y: int = 0) -> MaskRegion:
        """Pixels of `mask`, uint8 or bool of shape (height, width), that are not 0; its first pixel lies at x, y."""
        rows = mask_bytes("mask", mask)
        height, width = rows.shape
        bits = np.zeros((height, -(-width // 64)), np.uint64)
        if mask.size:
            _masks.region_from_bytes(np.array((x, y, width, height), np.int32), rows, bits)
        return cls(x, y, width, height, bits)

    def to_array(self) -> NDArray[np.uint8]:
        """uint8 of shape (height, width), 0 or 1."""
        numbers, bits = region_arguments(self)
        out = np.zeros((self.height, self.width), np.uint8)
        if out.size:
            _masks.region_to_bytes(numbers, bits, out)
        return out

    def to_frame(self, width: int, height: int) -> NDArray[np.uint8]:
        """uint8 of shape (height, width), 0 or 1: the mask in its frame. What lies outside is cut off."""
        out = np.zeros((height, width), np.uint8)
        left, top = max(self.x, 0), max(self.y, 0)
        part = self.to_array()[top - self.y : max(height - self.y, 0), left - self.x : max(width - self.x, 0)]
        out[top : top + part.shape[0], left : left + part.shape[1]] = part
        return out


def prototype_masks(
    prototypes: Floats,
    coefficients: Floats,
    boxes: Floats,
    network_size: tuple[int, int],
    geometry: Floats | None = None,
) -> list[MaskRegion]:
    """Masks of the objects inside their boxes: coefficients times prototypes, enlarged bilinearly, > 0.

    prototypes: float32 (C, h, w); coefficients: float32 (N, C); boxes: float32 (N, 4) xyxy. network_size: width
    and height of the network's input in pixels, whole multiples of the prototypes'. With `geometry`, float32 (7,) of
    Geometry.as_array(), boxes and masks are in source pixels, as Ultralytics' process_mask_native (retina_masks); without, in
    network pixels, as its process_mask with upsample. Bit-equal to computing whole masks and cropping them; pixels at
    whole numbers, left and top of a box included, right and bottom not. What a crop cut away repeats the edge of what
    the network saw. Raises ValueError.
    """
    boxes, view = _view(prototypes, coefficients, boxes, network_size, geometry)
    regions = np.empty((len(boxes), 4), np.int32)
    _masks.prototype_regions(view, *network_size, prototypes.shape[2], prototypes.shape[1], boxes, regions)
    bits, starts = _room(regions)
    if len(boxes):
        _masks.prototype_masks(prototypes, coefficients, regions, view, *network_size, bits, starts)
    return _regions(regions, bits, starts)


def prototype_rles(
    prototypes: Floats,
    coefficients: Floats,
    boxes: Floats,
    network_size: tuple[int, int],
    geometry: Floats | None = None,
) -> list[bytes]:
    """The masks of prototype_masks as COCO run lengths, one text an object; no mask of a whole frame is ever made.

    The texts are those of pycocotools.mask.encode for frames of the source's (without geometry: the network's) size.
    """
    boxes, view = _view(prototypes, coefficients, boxes, network_size, geometry)
    if not len(boxes):
        return []
    return _masks.prototype_rles(prototypes, coefficients, boxes, view, *network_size)


def paste_masks(
    masks: Floats, boxes: Floats, width: int, height: int, *, threshold: float = 0.5
) -> list[MaskRegion]:
    """Masks of Mask R-CNN in their boxes, as torchvision.models.detection.roi_heads.paste_masks_in_image > threshold.

    masks: float32 (N, h, w), probabilities; boxes: float32 (N, 4) xyxy in pixels of the frame, whose size is `width`
    x `height`. Raises ValueError, also for boxes that are not finite or reach beyond 2^23 pixels.
    """
    expect("masks", masks, np.float32, (None, None, None))
    boxes = _boxes(boxes, len(masks))
    if not (1 <= masks.shape[1] <= MAX_MASK_SIDE and 1 <= masks.shape[2] <= MAX_MASK_SIDE):
        raise ValueError(
            f"masks has shape {masks.shape}; height and width must lie in 1..{MAX_MASK_SIDE} cells"
        )
    frame_size(width, height)
    fraction("threshold", threshold)
    regions = np.empty((len(boxes), 4), np.int32)
    _masks.paste_regions(boxes, masks.shape[2], masks.shape[1], width, height, regions)
    bits, starts = _room(regions)
    if len(boxes):
        _masks.paste_masks(masks, boxes, width, height, threshold, regions, bits, starts)
    return _regions(regions, bits, starts)


def mask_contours(region: MaskRegion) -> list[NDArray[np.int32]]:
    """Outlines of the parts of a mask, each int32 of shape (K, 2): x, y of its corner pixels in the frame.

    As cv2.findContours with RETR_EXTERNAL and CHAIN_APPROX_SIMPLE (Suzuki and Abe 1985): outer borders of parts
    that touch at sides or corners, parts inside a hole of another one left out; ordered by their first pixel, row by
    row. Holes have no outline. Raises ValueError.
    """
    numbers, bits = region_arguments(region)
    if not bits.size:
        return []
    room = _FIRST_POINTS, _FIRST_CONTOURS
    while True:
        points, ends = np.empty((room[0], 2), np.int32), np.empty(room[1], np.int32)
        need = _masks.contours(numbers, bits, points, ends)
        if need[0] <= room[0] and need[1] <= room[1]:
            break
        room = max(need[0], room[0]), max(need[1], room[1])
    return np.split(points[: need[0]], ends[: need[1]])[: need[1]]


def overlay_mask(frame: Frame, region: MaskRegion, colour: Sequence[int], alpha: float = 0.5) -> None:
    """Blend a colour into the pixels of a mask, in place. What lies outside the frame is left out.

    colour: red, green, blue, 0..255. alpha: 0 leaves the frame as it is, 1 covers it. In I420 and NV12 a chroma sample is
    blended by the share of its pixels that are set. Raises BadInputError for the frame, ValueError for the rest.
    """
    if not frame.data.flags.writeable:
        raise BadInputError("frame data is read-only; it must be writable")
    frame_size(frame.width, frame.height)
    if len(colour) != 3 or not all(0 <= level <= 255 for level in colour):
        raise ValueError(f"colour is {tuple(colour)}; it must be three numbers in 0..255")
    fraction("alpha", alpha)
    numbers, bits = region_arguments(region)
    if bits.size:
        size = frame.width, frame.height, int(frame.pixel_format), int(frame.colour)
        _masks.overlay(frame.data, *size, numbers, bits, np.array(colour, np.uint8), alpha)


def frame_size(width: int, height: int) -> None:
    """Raises ValueError for a frame that no mask can have."""
    if not (1 <= width <= MAX_SIDE_PIXELS and 1 <= height <= MAX_SIDE_PIXELS):
        raise ValueError(f"the frame is {width}x{height}; both sides must lie in 1..{MAX_SIDE_PIXELS} pixels")


def mask_bytes(name: str, mask: NDArray[np.uint8] | NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mask as contiguous uint8 of shape (height, width). Raises ValueError."""
    if mask.ndim != 2 or mask.dtype not in (np.uint8, np.bool_) or max(mask.shape) > MAX_SIDE_PIXELS:
        raise ValueError(
            f"{name} is {mask.dtype} of shape {mask.shape}; it must be uint8 or bool of shape (height, width), "
            f"sides of at most {MAX_SIDE_PIXELS}"
        )
    return np.ascontiguousarray(mask).view(np.uint8)


def region_arguments(region: MaskRegion) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """x, y, width, height as int32, and the bits. Raises ValueError for a region that contradicts itself."""
    x, y, width, height, bits = region
    if not (
        0 <= width <= MAX_SIDE_PIXELS and 0 <= height <= MAX_SIDE_PIXELS and max(abs(x), abs(y)) <= 1 << 30
    ):
        raise ValueError(f"the region {x, y, width, height} must have sides of 0..{MAX_SIDE_PIXELS} pixels")
    expect("bits", bits, np.uint64, (height, -(-width // 64)))
    return np.array((x, y, width, height), np.int32), bits


def _boxes(boxes: Floats, count: int) -> Floats:
    if not isinstance(boxes, np.ndarray) or boxes.dtype != np.float32 or boxes.shape != (count, 4):
        have = f"{boxes.dtype} of shape {boxes.shape}" if isinstance(boxes, np.ndarray) else type(boxes)
        raise ValueError(f"boxes is {have}; it must be float32 of shape ({count}, 4)")
    return np.ascontiguousarray(boxes)


def _view(
    prototypes: Floats,
    coefficients: Floats,
    boxes: Floats,
    network_size: tuple[int, int],
    geometry: Floats | None,
) -> tuple[Floats, Floats]:
    """Boxes, and the geometry as the C shell wants it, after everything was checked."""
    expect("prototypes", prototypes, np.float32, (None, None, None))
    channels, height, width = prototypes.shape
    if not 1 <= channels <= MAX_MASK_CHANNELS or min(height, width) < 1 or max(height, width) > MAX_MASK_SIDE:
        raise ValueError(
            f"prototypes has shape {prototypes.shape}; it must have 1..{MAX_MASK_CHANNELS} channels "
            f"and sides of 1..{MAX_MASK_SIDE} cells"
        )
    expect("coefficients", coefficients, np.float32, (None, channels))
    boxes = _boxes(boxes, len(coefficients))
    frame_size(*network_size)
    if geometry is None:
        return boxes, _NO_GEOMETRY
    expect("geometry", geometry, np.float32, (7,))
    cell = network_size[0] // width
    if network_size != (cell * width, cell * height):
        raise ValueError(
            f"network_size is {network_size}; it must be the same multiple of the prototypes' {width}x{height} cells"
        )
    return boxes, geometry


def _room(regions: NDArray[np.int32]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """One array for the bits of all regions, and where each begins."""
    words = -(-regions[:, 2].astype(np.int64) // 64) * regions[:, 3]
    starts = np.zeros(len(regions) + 1, np.int64)
    np.cumsum(words, out=starts[1:])
    return np.empty(max(int(starts[-1]), 1), np.uint64), starts


def _regions(
    regions: NDArray[np.int32], bits: NDArray[np.uint64], starts: NDArray[np.int64]
) -> list[MaskRegion]:
    places = starts.tolist()
    return [
        MaskRegion(x, y, width, height, bits[places[i] : places[i + 1]].reshape(height, -(-width // 64)))
        for i, (x, y, width, height) in enumerate(regions.tolist())
    ]
