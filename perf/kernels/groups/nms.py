# SPDX-License-Identifier: Apache-2.0
"""Hard NMS against torchvision and OpenCV, at 0.45 IoU.

spread: boxes of 10..60 pixels a side placed anywhere, one to 2,000 square pixels, most of which are kept.
clustered: what a detector's head gives: 40 boxes around each object, sides of 20..200 pixels, each shifted by about 8% of
its sides and scaled by about 10%, in a frame of 1280 x 1280; about one in thirty is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.perf.kernels.bench import Bench, peer
from sightline.preprocess_ext import nms

Floats = NDArray[np.float32]

IOU = 0.45
GOALS = {300: 1.2, 1000: 10.0, 8400: 20.0, 30_000: 50.0}
BOXES_PER_OBJECT = 40
CLASSES = 80


def benches() -> Iterator[Bench]:
    for count, goal in GOALS.items():
        yield _one_class(f"{count} spread", *spread(count), goal)
        yield _one_class(f"{count} clustered", *clustered(count), goal)
    yield _per_class(f"8400 clustered, {CLASSES} classes", *clustered(8400), GOALS[8400])


def spread(count: int) -> tuple[Floats, Floats]:
    """Boxes (N, 4) xyxy and scores (N,)."""
    rng = np.random.default_rng(count)
    centres = rng.random((count, 2)) * np.sqrt(count * 2000)
    return _corners(centres, rng.uniform(10, 60, (count, 2))), rng.random(count, dtype=np.float32)


def clustered(count: int) -> tuple[Floats, Floats]:
    """Boxes (N, 4) xyxy and scores (N,)."""
    rng = np.random.default_rng(count)
    objects = max(count // BOXES_PER_OBJECT, 1)
    sides = rng.uniform(20, 200, (objects, 2))
    centres = rng.random((objects, 2)) * 1280
    which = rng.integers(0, objects, count)
    shifted = centres[which] + rng.normal(0, 0.08, (count, 2)) * sides[which]
    scaled = sides[which] * np.exp(rng.normal(0, 0.1, (count, 2)))
    return _corners(shifted, scaled), rng.beta(1, 3, count).astype(np.float32)


def _corners(centres: NDArray[np.float64], sides: NDArray[np.float64]) -> Floats:
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)


def _one_class(case: str, boxes: Floats, scores: Floats, goal: float) -> Bench:
    torch, ops, cv2 = _peers()
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    classes = np.zeros(len(scores), np.int32)
    peers = {
        "torchvision": lambda: ops.nms(*tensors, IOU),
        "cv2": lambda: cv2.dnn.NMSBoxes(corner_and_size, scores, 0.0, IOU),
    }

    def check() -> None:
        have, want = nms(boxes, scores, classes, IOU), peers["torchvision"]().numpy()
        if not np.array_equal(have, want):
            raise ValueError(f"{case}: {len(have)} boxes kept, torchvision keeps {len(want)} or others")

    return Bench("nms", case, lambda: nms(boxes, scores, classes, IOU), peers, check, goal)


def _per_class(case: str, boxes: Floats, scores: Floats, goal: float) -> Bench:
    torch, ops, cv2 = _peers()
    classes = np.random.default_rng(1).integers(0, CLASSES, len(scores)).astype(np.int32)
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(classes.astype(np.int64))
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    peers = {
        "torchvision": lambda: ops.batched_nms(*tensors, IOU),
        "cv2": lambda: cv2.dnn.NMSBoxesBatched(corner_and_size, scores, classes, 0.0, IOU),
    }

    def check() -> None:
        have, want = nms(boxes, scores, classes, IOU), peers["torchvision"]().numpy()
        if set(have.tolist()) != set(want.tolist()):
            raise ValueError(f"{case}: {len(have)} boxes kept, torchvision keeps {len(want)} or others")

    return Bench("nms", case, lambda: nms(boxes, scores, classes, IOU), peers, check, goal)


def _peers() -> tuple[Any, Any, Any]:
    torch, cv2 = peer("torch", "torch"), peer("cv2", "opencv-python-headless")
    ops = peer("torchvision", "torchvision").ops
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return torch, ops, cv2
