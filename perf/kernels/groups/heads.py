# SPDX-License-Identifier: Apache-2.0
"""A 1x84x8400 head to detections, against Ultralytics' non_max_suppression on the CPU with torchvision's NMS.

Two scenes: drawn objects with crowds of boxes around them, as a trained network gives, and random boxes everywhere
(all 8,400 are candidates). Limits are the same on both sides: 30,000 candidates, 300 detections, no time limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from sightline.perf.kernels.bench import Bench, peer
from sightline.preprocess_ext import Geometry, Head, classify, decode_head, embedding, semantic_map
from sightline.preprocess_ext.arguments import Floats

SIDE, CLASSES, ANCHORS, MOST, IOU = 640, 80, 8400, 300, 0.45
GEOMETRY = Geometry(SIDE, SIDE, 1.0, 1.0, 0, 0).as_array()
HEAD = Head("yolov8", CLASSES, (SIDE, SIDE))


def scene(objects: int, seed: int = 0) -> Floats:
    """(84, 8400): boxes and scores as of a trained network; most anchors near no object score a little above zero."""
    rng = np.random.default_rng(seed)
    cells = [
        np.stack(np.meshgrid(np.arange(SIDE // s), np.arange(SIDE // s)), -1).reshape(-1, 2) * s + s / 2
        for s in (8, 16, 32)
    ]
    points = np.concatenate(cells)
    centre, size = rng.uniform(40, 600, (objects, 2)), rng.uniform(20, 160, (objects, 2))
    labels = rng.integers(0, CLASSES, objects)
    distance = np.abs((points[:, None] - centre) / size).max(axis=-1)
    nearest = distance.argmin(axis=1)
    near = np.exp(-8 * distance.min(axis=1) ** 2)
    raw = np.empty((4 + CLASSES, ANCHORS), np.float32)
    raw[:2] = (centre[nearest] + rng.normal(0, 3, (ANCHORS, 2))).T
    raw[2:4] = (size[nearest] * rng.uniform(0.85, 1.15, (ANCHORS, 2))).T
    raw[4:] = rng.random((CLASSES, ANCHORS)) ** 4 * 0.0012
    raw[4 + labels[nearest], np.arange(ANCHORS)] += (near * rng.uniform(0.6, 0.95, ANCHORS)).astype(
        np.float32
    )
    return raw


def crowd(seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    raw = rng.random((4 + CLASSES, ANCHORS), dtype=np.float32)
    raw[:4] *= np.array([[SIDE], [SIDE], [80], [80]], np.float32)
    raw[4:] **= 20
    return raw


def ours(raw: Floats, score: float) -> Any:
    return decode_head(HEAD, [raw], GEOMETRY, score=score, iou=IOU, max_detections=MOST)


def theirs(module: Any, raw: Any, score: float) -> Any:
    limits = {"max_det": MOST, "max_nms": 30_000, "max_time_img": 1e9, "nc": CLASSES}
    return module.non_max_suppression(raw[None], score, IOU, **limits)[0]


def check(module: Any, raw: Floats, score: float) -> None:
    """The same set of detections: class and score exactly, boxes within a thousandth of a pixel (clipped to the picture)."""
    have, want = ours(raw, score), theirs(module, peer("torch", "torch").from_numpy(raw), score).numpy()
    mine = np.concatenate([have.boxes, have.scores[:, None], have.classes[:, None]], axis=1)
    want[:, :4] = want[:, :4].clip(0, SIDE)
    if mine.shape != want.shape:
        raise ValueError(f"{len(mine)} detections at {score}, Ultralytics has {len(want)}")
    order = [np.lexsort((rows[:, 0], rows[:, 5], -rows[:, 4])) for rows in (mine, want)]
    if not np.allclose(mine[order[0]], want[order[1]], rtol=0, atol=1e-3):
        raise ValueError(f"detections at {score} differ from Ultralytics'")


def benches() -> Iterator[Bench]:
    torch = peer("torch", "torch")
    peer("torchvision", "torchvision")  # Ultralytics uses its NMS once it is imported
    module = peer("ultralytics.utils.nms", "ultralytics")
    torch.set_num_threads(1)
    for name, raw in (("20 objects", scene(20)), ("100 objects", scene(100)), ("random boxes", crowd())):
        tensor = torch.from_numpy(raw)
        for score in (0.25, 0.001):
            yield Bench(
                "heads",
                f"1x84x8400, {name}, conf {score}",
                partial(ours, raw, score),
                {"ultralytics": partial(theirs, module, tensor, score)},
                partial(check, module, raw, score),
                goal=10.0,
                floor_bytes=raw.nbytes,
            )
    yield from other_benches(torch)


def other_benches(torch: Any) -> Iterator[Bench]:
    rng = np.random.default_rng(1)
    small = torch.from_numpy(rng.standard_normal((1, 19, 5, 9), dtype=np.float32))
    logits = torch.nn.functional.interpolate(small, size=(90, 160), mode="bilinear")
    array, fit = logits[0].contiguous().numpy(), Geometry(1280, 720, 0.5, 0.5, 0, 0).as_array()

    def map_of_torch() -> Any:
        size = {"size": (720, 1280), "mode": "bilinear", "align_corners": False}
        return torch.nn.functional.interpolate(logits, **size).argmax(1)[0].to(torch.uint8).numpy()

    def our_map() -> Any:
        return semantic_map(array, fit, (640, 360))

    def check_map() -> None:
        share = float((our_map() != map_of_torch()).mean())
        if share > 1e-4:
            raise ValueError(f"{share:.2%} of the class map differs from torch's")

    yield Bench("heads", "class map 19x90x160 to 720p", our_map, {"torch": map_of_torch}, check_map)
    values = rng.standard_normal(1000, dtype=np.float32) * 4
    tensor = torch.from_numpy(values)

    def check_classes() -> None:
        if classify(values)[1].tolist() != tensor.softmax(0).topk(5).indices.tolist():
            raise ValueError("the five best classes differ from torch's")

    yield Bench(
        "heads",
        "top 5 of 1000, softmax",
        partial(classify, values),
        {"torch": lambda: tensor.softmax(0).topk(5)},
        check_classes,
    )

    def check_embedding() -> None:
        if not np.allclose(embedding(values), torch.nn.functional.normalize(tensor, dim=0), atol=1e-6):
            raise ValueError("the embedding differs from torch's")

    yield Bench(
        "heads",
        "embedding of 1000",
        partial(embedding, values),
        {"torch": lambda: torch.nn.functional.normalize(tensor, dim=0)},
        check_embedding,
    )
