# SPDX-License-Identifier: Apache-2.0
"""Prototype masks of 32 x 160 x 160 to source size, against Ultralytics' process_mask_native on the CPU.

Ours are boxes of bits (what is drawn, sent and counted), theirs full frames of bytes; the rows "as full frames" pay for
those too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.perf.kernels.bench import Bench, peer
from sightline.preprocess_ext import MaskRegion, prototype_masks, prototype_rles, rle_decode

NETWORK = (640, 640)
CELLS = 160
CHANNELS = 32
SIZES = ((640, 640), (1280, 720))
GOALS = {10: 50.0, 100: 100.0}
MOST_DIFFERING = 1e-5
"""Share of set pixels that rounding may turn where a logit is next to 0."""

Array = NDArray[np.float32]


def smooth_prototypes(rng: np.random.Generator) -> Array:
    """Blobs as a network's prototypes are: noise at 20 x 20, enlarged."""
    coarse = rng.standard_normal((CHANNELS, 21, 21)).astype(np.float32)
    at = np.arange(CELLS) / 8
    low, weight = at.astype(int), (at % 1).astype(np.float32)
    rows = coarse[:, low] + (coarse[:, low + 1] - coarse[:, low]) * weight[:, None]
    fine: Array = rows[..., low] + (rows[..., low + 1] - rows[..., low]) * weight
    return np.ascontiguousarray(fine)


def object_boxes(rng: np.random.Generator, count: int, width: int, height: int) -> Array:
    """Sides of 5 to 30 % of the picture's, anywhere in it."""
    centre, half = rng.random((count, 2)), rng.uniform(0.025, 0.15, (count, 2))
    corners = np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, 1)
    boxes: Array = (corners * [width, height, width, height]).astype(np.float32)
    return boxes


def letterboxed(width: int, height: int) -> Array:
    """GEOMETRY of a picture in the network's input."""
    ratio = min(NETWORK[0] / width, NETWORK[1] / height)
    wide, high = round(width * ratio), round(height * ratio)
    pads = round((NETWORK[0] - wide) / 2 - 0.1), round((NETWORK[1] - high) / 2 - 0.1)
    return np.array([1, width, height, wide / width, high / height, *pads], np.float32)


def full_frames(regions: list[MaskRegion], width: int, height: int) -> NDArray[np.uint8]:
    return np.stack([region.to_frame(width, height) for region in regions])


def benches() -> Iterator[Bench]:
    torch = peer("torch", "torch")
    ops = peer("ultralytics.utils.ops", "ultralytics")
    torch.set_num_threads(1)
    rng = np.random.default_rng(3)
    prototypes = smooth_prototypes(rng)
    for width, height in SIZES:
        for count, goal in GOALS.items():
            coefficients = rng.standard_normal((count, CHANNELS)).astype(np.float32)
            boxes = object_boxes(rng, count, width, height)
            given = prototypes, coefficients, boxes, NETWORK, letterboxed(width, height)
            tensors = [torch.from_numpy(array) for array in given[:3]]
            yield from _pair(ops, given, tensors, (width, height), goal)


def _pair(
    ops: Any, given: tuple[Any, ...], tensors: list[Any], size: tuple[int, int], goal: float
) -> Iterator[Bench]:
    width, height = size

    def theirs() -> Any:
        return ops.process_mask_native(*tensors, (height, width))

    def check() -> None:
        ours, peers = full_frames(prototype_masks(*given), width, height), theirs().numpy()
        differing = int((ours != peers).sum())
        if differing > MOST_DIFFERING * peers.sum():
            raise ValueError(f"{differing} of {int(peers.sum())} mask pixels differ from Ultralytics'")

    def check_rles() -> None:
        masks = np.stack([rle_decode(rle, width, height) for rle in prototype_rles(*given)])
        if not np.array_equal(masks, full_frames(prototype_masks(*given), width, height)):
            raise ValueError("run lengths and regions hold other masks")
        check()

    case = f"{len(given[1])} objects to {width}x{height}"
    peers = {"ultralytics": theirs}
    yield Bench("masks", case, lambda: prototype_masks(*given), peers, check, goal)
    yield Bench("masks", f"{case}, as RLE", lambda: prototype_rles(*given), peers, check_rles, goal)
    frames = Bench(
        "masks", f"{case}, as full frames", lambda: full_frames(prototype_masks(*given), *size), peers, check
    )
    yield frames
