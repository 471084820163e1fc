# SPDX-License-Identifier: Apache-2.0
"""COCO run lengths of one mask in a 720p frame, against pycocotools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sightline.perf.kernels.bench import Bench, peer
from sightline.preprocess_ext import MaskRegion, rle_decode, rle_encode, rle_encode_region

WIDTH, HEIGHT = 1280, 720


def ellipses(width: int, height: int) -> NDArray[np.uint8]:
    """A blob with a wavy border and a hole, as a person's mask has."""
    y, x = np.ogrid[:height, :width]
    across, down = (x - width / 2) / (width / 2), (y - height / 2) / (height / 2)
    wave = 0.85 + 0.1 * np.sin(9 * np.arctan2(down, across))
    mask: NDArray[np.uint8] = (
        (across**2 + down**2 < wave**2) & (across**2 + (down - 0.3) ** 2 > 0.02)
    ).astype(np.uint8)
    return mask


def benches() -> Iterator[Bench]:
    coco = peer("pycocotools.mask", "pycocotools")
    for width, height in ((300, 300), (1100, 650)):
        left, top = (WIDTH - width) // 2, (HEIGHT - height) // 2
        part = ellipses(width, height)
        frame = np.zeros((HEIGHT, WIDTH), np.uint8)
        frame[top : top + height, left : left + width] = part
        region = MaskRegion.from_array(part, left, top)
        text: bytes = coco.encode(np.asfortranarray(frame))["counts"]
        size = f"{width}x{height} in 720p"
        yield _encode(coco, f"{size} from row-major", partial(rle_encode, frame), frame, text, 2.5)
        yield _encode(
            coco,
            f"{size} from its region",
            partial(rle_encode_region, region, WIDTH, HEIGHT),
            frame,
            text,
            10.0,
        )
        yield _decode(coco, size, frame, text)


def _encode(
    coco: object,
    case: str,
    ours: Callable[[], bytes],
    frame: NDArray[np.uint8],
    text: bytes,
    goal: float,
) -> Bench:
    def check() -> None:
        if ours() != text:
            raise ValueError("the text differs from pycocotools'")

    peers = {"pycocotools": lambda: coco.encode(np.asfortranarray(frame))}  # type: ignore[attr-defined]
    return Bench("rle", case, ours, peers, check, goal)


def _decode(coco: object, size: str, frame: NDArray[np.uint8], text: bytes) -> Bench:
    given = {"size": [HEIGHT, WIDTH], "counts": text}

    def check() -> None:
        if not np.array_equal(rle_decode(text, WIDTH, HEIGHT), frame):
            raise ValueError("the mask differs from pycocotools'")

    peers = {"pycocotools": lambda: np.ascontiguousarray(coco.decode(given))}  # type: ignore[attr-defined]
    return Bench("rle", f"{size} decoded to row-major", lambda: rle_decode(text, WIDTH, HEIGHT), peers, check)
