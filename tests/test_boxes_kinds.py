# SPDX-License-Identifier: Apache-2.0
"""Soft-NMS, distance-IoU and suppression of oriented boxes against plain numpy, and their bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.preprocess_ext import CPU_LEVELS, cpu_limit, nms, oriented_nms, soft_nms
from tests.cases import about


def random_boxes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    corner = rng.uniform(0, 150, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 60, (count, 2))], axis=1).astype(np.float32)
    return boxes, rng.random(count).astype(np.float32), rng.integers(0, 2, count)


def iou_matrix(boxes: np.ndarray) -> np.ndarray:
    box = boxes.astype(np.float64)
    low = np.maximum(box[:, None, :2], box[None, :, :2])
    high = np.minimum(box[:, None, 2:], box[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=2)
    area = np.prod(box[:, 2:] - box[:, :2], axis=1)
    return inter / (area[:, None] + area[None] - inter)


def plain_soft(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    method: str,
    sigma: float,
    iou: float,
    least: float,
) -> tuple[list[int], list[float]]:
    overlap = np.where(classes[:, None] == classes[None], iou_matrix(boxes), 0)
    left, kept, lowered = scores.astype(np.float64), [], []
    while len(left) and left.max() >= least:
        best = int(left.argmax())
        kept.append(best)
        lowered.append(left[best])
        gaussian = np.exp(-(overlap[best] ** 2) / sigma)
        linear = np.where(overlap[best] > iou, 1 - overlap[best], 1)
        left = left * (gaussian if method == "gaussian" else linear)
        left[kept] = -1
    return kept, lowered


@pytest.mark.parametrize("method", ["gaussian", "linear"])
def test_soft_equals_reference(method: str) -> None:
    for seed in range(12):
        with about(seed):
            rng = np.random.default_rng(seed)
            boxes, scores, classes = random_boxes(rng, 1 + 13 * seed)
            sigma, iou = float(rng.uniform(0.2, 1)), float(rng.uniform(0.1, 0.6))
            have = soft_nms(boxes, scores, classes, method=method, sigma=sigma, iou=iou, score=0.01)
            want = plain_soft(boxes, scores, classes, method, sigma, iou, 0.01)
            assert have[0].tolist() == want[0]
            np.testing.assert_allclose(have[1], want[1], rtol=1e-5)


def test_soft_of_two() -> None:
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)
    kept, scores = soft_nms(boxes, np.array([0.5, 0.8], np.float32), None, method="linear", iou=0.3)
    assert kept.tolist() == [1, 0]
    np.testing.assert_array_equal(scores, np.array([0.8, 0.25], np.float32))
    _, scores = soft_nms(boxes, np.array([0.5, 0.8], np.float32), None, sigma=0.5)
    np.testing.assert_allclose(scores, [0.8, 0.5 * math.exp(-0.5)], rtol=1e-6)
    assert soft_nms(boxes, np.array([0.5, 0.8], np.float32), np.array([0, 1]))[1].tolist()[1] == 0.5


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 60), iou=st.sampled_from([0.0, 0.2, 0.45, 0.7]), seed=st.integers(0, 2**32 - 1))
def test_diou_equals_reference(count: int, iou: float, seed: int) -> None:
    boxes, scores, classes = random_boxes(np.random.default_rng(seed), count)
    box = boxes.astype(np.float64)
    centre = (box[:, :2] + box[:, 2:]) / 2
    apart = ((centre[:, None] - centre[None]) ** 2).sum(axis=2)
    around = np.maximum(box[:, None, 2:], box[None, :, 2:]) - np.minimum(box[:, None, :2], box[None, :, :2])
    overlap = iou_matrix(boxes) - apart / (around**2).sum(axis=2)
    limit = iou
    while count and np.abs(overlap - limit).min() < 1e-5:
        limit += 3e-5
    want: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(overlap[i, k] <= limit or classes[i] != classes[k] for k in want):
            want.append(int(i))
    assert nms(boxes, scores, classes, limit, method="diou").tolist() == want


def test_class_agnostic() -> None:
    boxes = np.tile(np.array([[0, 0, 9, 9]], np.float32), (3, 1))
    assert nms(boxes, np.array([0.5, 0.9, 0.7], np.float32), None, 0.5).tolist() == [1]


@pytest.mark.parametrize("turn", [0.0, 0.3, math.pi / 2, math.pi, -7.5])
def test_oriented_of_two(turn: float) -> None:
    """A square and its half, turned together: IoU 0.5."""
    offset = np.array([math.cos(turn), math.sin(turn)]) * 2.5
    boxes = np.array([[50, 40, 10, 10, turn], [50 + offset[0], 40 + offset[1], 5, 10, turn]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert oriented_nms(boxes, scores, None, 0.499).tolist() == [0]
    assert oriented_nms(boxes, scores, None, 0.501).tolist() == [0, 1]
    assert oriented_nms(boxes, scores, np.array([0, 1]), 0.1).tolist() == [0, 1]


def test_greedy_and_fast_differ() -> None:
    """The first suppresses the second, the second would suppress the third, the first does not."""
    boxes = np.array([[0, 0, 10, 10, 0], [4, 0, 10, 10, 0], [8, 0, 10, 10, 0]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert oriented_nms(boxes, scores, None, 0.3).tolist() == [0, 2]
    assert oriented_nms(boxes, scores, None, 0.3, fast=True).tolist() == [0]


def test_all_levels_agree() -> None:
    rng = np.random.default_rng(5)
    boxes, scores, classes = random_boxes(rng, 3000)
    turned = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2], boxes[:, :1]], axis=1)
    results = []
    for level in CPU_LEVELS:
        with cpu_limit(level):
            results.append(
                [
                    nms(boxes, scores, classes, 0.6).tolist(),
                    nms(boxes, scores, None, 0.6, method="diou").tolist(),
                    soft_nms(boxes, scores, classes)[1].tolist(),
                    oriented_nms(turned, scores, None, 0.4).tolist(),
                    oriented_nms(turned, scores, None, 0.4, overlap="probiou").tolist(),
                ]
            )
    assert all(result == results[0] for result in results)


def test_crowds_are_bounded() -> None:
    """30,000 boxes in one place: no more than the stated number is looked at."""
    count = 30_000
    boxes = np.tile(np.array([[10, 10, 50, 50]], np.float32), (count, 1))
    scores = np.linspace(1, 0.5, count, dtype=np.float32)
    kept, lowered = soft_nms(boxes, scores, None, score=0.1)
    assert kept.tolist()[0] == 0
    assert (np.diff(lowered) <= 0).all()
    turned = np.concatenate([boxes, np.zeros((count, 1), np.float32)], axis=1)
    assert oriented_nms(turned, scores, None, 0.5).tolist() == [0]
    apart = turned.copy()
    apart[:, 0] = np.arange(count) * 100
    assert oriented_nms(apart, scores, None, 0.5).tolist() == list(range(4096))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 0.0}, "sigma is 0.0; it must lie in 0.001..1000"),
        ({"sigma": float("nan")}, "sigma is nan"),
        ({"score": -1.0}, "score is -1.0; it must lie in 0..1"),
        ({"iou": 2.0}, "iou is 2.0; it must lie in 0..1"),
        ({"method": "hard"}, "method is 'hard'; it must be one of linear, gaussian"),
    ],
)
def test_soft_names_bad_arguments(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        soft_nms(np.zeros((1, 4), np.float32), np.zeros(1, np.float32), None, **change)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_others_name_bad_arguments() -> None:
    boxes, scores = np.zeros((2, 5), np.float32), np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="method is 'ciou'; it must be one of iou, diou"):
        nms(boxes[:, :4], scores, None, 0.5, method="ciou")
    with pytest.raises(ValueError, match=r"limit is 1\.5; it must lie in 0\.\.1"):
        oriented_nms(boxes, scores, None, 1.5)
    with pytest.raises(ValueError, match="overlap is 'area'; it must be one of polygon, probiou"):
        oriented_nms(boxes, scores, None, 0.5, overlap="area")
    with pytest.raises(ValueError, match=r"must have shapes \(N, 5\), \(N,\) and \(N,\)"):
        oriented_nms(boxes[:, :4], scores, None, 0.5)


@pytest.mark.parametrize("shape", [(0, 4), (0, 5)])
def test_no_boxes(shape: tuple[int, int]) -> None:
    nothing = np.empty(shape, np.float32), np.empty(0, np.float32), None
    if shape[1] == 5:
        assert oriented_nms(*nothing, 0.5).tolist() == []
    else:
        assert soft_nms(*nothing)[0].tolist() == []
