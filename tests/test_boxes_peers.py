# SPDX-License-Identifier: Apache-2.0
"""Suppression against recorded results of torchvision and Ultralytics (tests/peers/record_boxes.py), and against OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.preprocess_ext import CPU_LEVELS, cpu_limit, nms, oriented_nms

FOLDER = Path(__file__).resolve().parent / "data" / "peers"


def cases(name: str) -> Iterator[dict[str, np.ndarray]]:
    with np.load(FOLDER / f"boxes_{name}.npz") as data:
        count = 1 + max(int(key.rsplit("_", 1)[1]) for key in data.files if key != "versions")
        keys = {key.rsplit("_", 1)[0] for key in data.files if key != "versions"}
        for number in range(count):
            yield {key: data[f"{key}_{number}"] for key in keys}


@pytest.mark.parametrize("level", CPU_LEVELS)
def test_equals_torchvision(level: str) -> None:
    with cpu_limit(level):
        for case in cases("upright"):
            given = case["boxes"], case["scores"]
            assert nms(*given, None, float(case["iou"])).tolist() == case["agnostic"].tolist()
            have = nms(*given, case["classes"], float(case["iou"]))
            assert set(have.tolist()) == set(case["per_class"].tolist())


def test_probiou_equals_ultralytics() -> None:
    for case in cases("oriented"):
        kept = oriented_nms(
            case["boxes"], case["scores"], None, float(case["iou"]), overlap="probiou", fast=True
        )
        assert kept.tolist() == case["fast"].tolist()


@pytest.mark.parametrize("seed", range(8))
def test_equals_opencv(seed: int) -> None:
    """Uneven sizes, so that no IoU meets the threshold and float64 decides as float32 does."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 300, (400, 2)), rng.uniform(5, 90, (400, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    scores = rng.permutation(400).astype(np.float32) / 400 + 0.001
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    want = cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), 0.0, 0.45)
    assert nms(boxes, scores, None, 0.45).tolist() == np.ravel(want).tolist()


def iou_of_polygons(a: np.ndarray, b: np.ndarray) -> float:
    rectangles = [
        ((float(r[0]), float(r[1])), (float(r[2]), float(r[3])), float(np.degrees(r[4]))) for r in (a, b)
    ]
    points = [cv2.boxPoints(rectangle) for rectangle in rectangles]
    inter = cv2.intersectConvexConvex(*points)[0]
    return float(inter / (a[2] * a[3] + b[2] * b[3] - inter))


@pytest.mark.parametrize("seed", range(6))
def test_polygons_equal_opencv(seed: int) -> None:
    """Greedy, with OpenCV's intersection of convex polygons; no pair may come close to the limit."""
    rng = np.random.default_rng(seed)
    count = 50
    place, size = rng.uniform(0, 100, (count, 2)), rng.uniform(4, 50, (count, 2))
    boxes = np.concatenate([place, size, rng.uniform(-4, 4, (count, 1))], axis=1).astype(np.float32)
    scores = rng.permutation(count).astype(np.float32)
    overlaps = np.array([[iou_of_polygons(a, b) for b in boxes] for a in boxes])
    limit = 0.3
    while np.abs(overlaps - limit).min() < 1e-4:
        limit += 3e-4
    want: list[int] = []
    for i in np.argsort(-scores):
        if all(overlaps[i, k] <= limit for k in want):
            want.append(int(i))
    assert oriented_nms(boxes, scores, None, limit).tolist() == want
