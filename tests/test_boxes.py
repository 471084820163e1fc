# SPDX-License-Identifier: Apache-2.0
"""Head decoding and NMS against plain numpy, on random, tied, degenerate and hostile boxes."""

from __future__ import annotations

import numpy as np
import preprocess_references as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.frame import Frame
from sightline.preprocess_ext import Geometry, decode_yolov8, letterbox, nms
from tests.cases import about

GEOMETRY = Geometry(1280, 720, 0.3, 0.3, 0, 4).as_array()
MOST_CANDIDATES = 30_000


def decode(
    raw: np.ndarray, geometry: np.ndarray = GEOMETRY, score: float = 0.25, iou: float = 0.45, most: int = 300
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outputs = np.empty((most, 4), np.float32), np.empty(most, np.float32), np.empty(most, np.int32)
    count = decode_yolov8(
        raw,
        geometry,
        score=score,
        iou=iou,
        max_detections=most,
        boxes_out=outputs[0],
        scores_out=outputs[1],
        classes_out=outputs[2],
    )
    return outputs[0][:count], outputs[1][:count], outputs[2][:count]


def random_raw(rng: np.random.Generator, classes: int, anchors: int, *, steps: int = 0) -> np.ndarray:
    """A head's output with crowded boxes; `steps` rounds scores and boxes so that many are equal."""
    raw = rng.random((4 + classes, anchors)).astype(np.float32)
    raw[:4] *= np.array([[384], [224], [80], [80]], np.float32)
    raw[4:] **= 3
    if steps:
        raw[4:] = np.round(raw[4:] * steps) / steps
        raw[:4] = np.round(raw[:4] / 16) * 16
    return raw


def assert_same(have: tuple[np.ndarray, ...], want: tuple[np.ndarray, ...]) -> None:
    np.testing.assert_array_equal(have[1], want[1])
    np.testing.assert_array_equal(have[2], want[2])
    np.testing.assert_allclose(have[0], want[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("classes", "anchors", "steps"),
    [(1, 1, 0), (1, 700, 0), (11, 800, 0), (80, 520, 4), (3, 513, 16), (2, 512, 4)],
)
def test_decode_equals_reference(classes: int, anchors: int, steps: int) -> None:
    raw = random_raw(np.random.default_rng(anchors + steps), classes, anchors, steps=steps)
    for score, iou, most in ((0.25, 0.45, 300), (0.0, 0.7, 2000), (0.6, 0.0, 5), (0.25, 1.0, 100)):
        assert_same(
            decode(raw, GEOMETRY, score, iou, most), reference.decode_yolov8(raw, GEOMETRY, score, iou, most)
        )


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(0, 120),
    classes=st.integers(1, 3),
    grid=st.integers(1, 12),
    iou=st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.45, 0.5, 0.7, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_nms_equals_reference_on_ties(count: int, classes: int, grid: int, iou: float, seed: int) -> None:
    """Boxes on a coarse grid: equal boxes, equal scores, IoU at the threshold, no area, inside out."""
    rng = np.random.default_rng(seed)
    boxes = rng.integers(0, grid + 1, (count, 4)).astype(np.float32)
    scores = (rng.integers(0, 5, count) / 4).astype(np.float32)
    labels = rng.integers(0, classes, count).astype(np.int32)
    assert nms(boxes, scores, labels, iou).tolist() == reference.nms(boxes, scores, labels, iou)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), anchors=st.integers(1, 300), classes=st.integers(1, 4))
def test_strange_numbers_are_dropped(seed: int, anchors: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    raw = random_raw(rng, classes, anchors)
    strange = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, -0.0, 1e-45], np.float32)
    where = rng.random(raw.shape) < 0.1
    raw[where] = rng.choice(strange, int(where.sum()))
    have = decode(raw)
    assert np.isfinite(have[0]).all()
    assert np.isfinite(have[1]).all()
    with np.errstate(all="ignore"):
        want = reference.decode_yolov8(raw, GEOMETRY, 0.25, 0.45, 300)
    assert_same(have, want)


def test_iou_equal_to_the_threshold_does_not_suppress() -> None:
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)
    assert nms(boxes, np.array([0.9, 0.8]), np.zeros(2, np.int32), 0.5).tolist() == [0, 1]
    assert nms(boxes, np.array([0.9, 0.8]), np.zeros(2, np.int32), np.nextafter(0.5, 0)).tolist() == [0]


def test_classes_do_not_suppress_each_other() -> None:
    boxes = np.tile(np.array([[0, 0, 9, 9]], np.float32), (3, 1))
    assert nms(boxes, np.array([0.5, 0.9, 0.7]), np.array([0, 1, 0]), 0.5).tolist() == [1, 2]


def test_equal_scores_keep_their_order() -> None:
    boxes = np.arange(40, dtype=np.float32).reshape(10, 4) * 100
    boxes[:, 2:] += 10
    scores = np.array([0.0, -0.0] * 5, np.float32)
    assert nms(boxes, scores, np.zeros(10, np.int64), 0.5).tolist() == list(range(10))


def test_many_boxes_in_one_place() -> None:
    boxes = np.tile(np.array([[10, 10, 50, 50]], np.float32), (MOST_CANDIDATES, 1))
    scores = np.linspace(0.1, 1, MOST_CANDIDATES, dtype=np.float32)
    assert nms(boxes, scores, np.zeros(len(boxes), np.int32), 0.5).tolist() == [MOST_CANDIDATES - 1]


@pytest.mark.timeout(120)
def test_candidates_are_bounded() -> None:
    """The worst case, nothing overlaps: the best 30,000 are kept and no more are looked at."""
    count = MOST_CANDIDATES + 5000
    corner = np.stack([np.arange(count) % 200, np.arange(count) // 200], axis=1).astype(np.float32) * 10
    scores = np.random.default_rng(0).permutation(count).astype(np.float32) / count
    kept = nms(np.concatenate([corner, corner + 5], axis=1), scores, np.zeros(count, np.int32), 0.5)
    np.testing.assert_array_equal(kept, np.argsort(-scores, kind="stable")[:MOST_CANDIDATES])


@pytest.mark.timeout(120)
def test_a_threshold_of_zero_cannot_stall() -> None:
    raw = np.ones((84, 100_000), np.float32)
    raw[0] = np.arange(100_000) * 3
    boxes, scores, classes = decode(raw, score=0.0)
    assert len(boxes) == 300
    assert set(classes.tolist()) == {0}
    assert set(scores.tolist()) == {1.0}


def test_boxes_come_back_to_the_source_and_are_clipped() -> None:
    frame = Frame(np.zeros(1280 * 720 * 3 // 2, np.uint8), 1280, 720)
    fit = letterbox(frame, np.empty((3, 224, 384), np.float32))
    raw = np.zeros((5, 2), np.float32)
    raw[:, 0] = (100 * 0.3, 200 * 0.3 + 4, 60 * 0.3, 40 * 0.3, 0.9)
    raw[:, 1] = (384, 224, 60, 60, 0.8)
    boxes, scores, _ = decode(raw, fit.as_array())
    np.testing.assert_allclose(boxes, [[70, 180, 130, 220], [1180, 190 / 0.3, 1280, 720]], rtol=1e-5)
    np.testing.assert_array_equal(scores, np.array([0.9, 0.8], np.float32))


@settings(max_examples=100, deadline=None)
@given(
    source=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_geometry_round_trip(source: tuple[int, int], corner: tuple[float, float, float, float]) -> None:
    """A box of the source, carried forward by the fit and decoded again, is the same box."""
    width, height, left, top = reference.fit(source, (320, 256), "letterbox")
    fit = Geometry(*source, width / source[0], height / source[1], left, top)
    xs = np.sort(np.array(corner[:2])) * source[0]
    ys = np.sort(np.array(corner[2:])) * source[1]
    x, y = xs * fit.scale_x + left, ys * fit.scale_y + top
    raw = np.array([x.mean(), y.mean(), np.ptp(x), np.ptp(y), 0.9], np.float32).reshape(5, 1)
    boxes, _, _ = decode(raw, fit.as_array())
    np.testing.assert_allclose(boxes[0], [xs[0], ys[0], xs[1], ys[1]], atol=1e-3 * max(source) / 50 + 1e-3)


def test_rows_past_the_count_stay() -> None:
    outputs = np.full((5, 4), 7, np.float32), np.full(5, 7, np.float32), np.full(5, 7, np.int32)
    raw = np.array([50, 50, 10, 10, 0.9], np.float32).reshape(5, 1)
    count = decode_yolov8(
        raw,
        GEOMETRY,
        score=0.5,
        iou=0.5,
        max_detections=3,
        boxes_out=outputs[0],
        scores_out=outputs[1],
        classes_out=outputs[2],
    )
    assert count == 1
    assert all((output[1:] == 7).all() for output in outputs)


def test_nothing_found() -> None:
    assert len(decode(np.zeros((6, 50), np.float32))[0]) == 0
    assert nms(np.empty((0, 4), np.float32), np.empty(0), np.empty(0, np.int32), 0.5).tolist() == []


RAW = np.zeros((6, 5), np.float32)


_BAD_ARGUMENTS = [
    ({"raw": np.zeros((4, 5), np.float32)}, "raw has shape (4, 5); it must be (4 + classes, anchors)"),
    ({"raw": np.zeros((6, 0), np.float32)}, "raw has shape (6, 0)"),
    ({"raw": np.zeros((1, 6, 5), np.float32)}, "raw is float32 of shape (1, 6, 5)"),
    ({"raw": RAW.astype(np.float16)}, "raw is float16"),
    ({"raw": np.asfortranarray(RAW)}, "contiguous"),
    ({"geometry": np.zeros(6, np.float32)}, "geometry is float32 of shape (6,)"),
    ({"geometry": np.zeros(7, np.float32)}, "geometry is [0.0, 0.0"),
    ({"geometry": np.full(7, np.nan, np.float32)}, "geometry is [nan"),
    ({"score": 1.5}, "score is 1.5; it must lie in 0..1"),
    ({"iou": float("nan")}, "iou is nan; it must lie in 0..1"),
    ({"max_detections": 4}, "max_detections is 4; the outputs have room for 1..3"),
    ({"max_detections": 0}, "max_detections is 0"),
    ({"boxes_out": np.empty((2, 4), np.float32)}, "boxes_out is float32 of shape (2, 4)"),
    ({"classes_out": np.empty(3, np.int64)}, "classes_out is int64"),
    ({"scores_out": np.broadcast_to(np.float32(0), (3,))}, "scores_out is"),
]


def test_bad_arguments_are_named() -> None:
    for change, message in _BAD_ARGUMENTS:
        with about(change, message):
            arguments: dict[str, object] = {
                "raw": RAW,
                "geometry": GEOMETRY,
                "score": 0.25,
                "iou": 0.45,
                "max_detections": 3,
                "boxes_out": np.empty((3, 4), np.float32),
                "scores_out": np.empty(3, np.float32),
                "classes_out": np.empty(3, np.int32),
            }
            with pytest.raises(ValueError) as caught:
                decode_yolov8(**{**arguments, **change})  # type: ignore[arg-type]
            assert message in str(caught.value)


@pytest.mark.parametrize(
    ("boxes", "scores", "classes", "iou", "message"),
    [
        (np.zeros((2, 4)), np.zeros(3), np.zeros(2, np.int32), 0.5, "must have shapes (N, 4), (N,) and (N,)"),
        (np.zeros((2, 5)), np.zeros(2), np.zeros(2, np.int32), 0.5, "boxes (2, 5)"),
        (np.zeros((2, 4)), np.zeros(2), np.zeros(2), 0.5, "classes are float64; they must be integers"),
        (np.zeros((2, 4)), np.zeros(2), np.array([0, 2**40]), 0.5, "must fit into int32"),
        (np.zeros((2, 4)), np.zeros(2), np.zeros(2, np.int32), -0.1, "iou is -0.1"),
    ],
)
def test_nms_names_bad_arguments(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        nms(boxes, scores, classes, iou)
    assert message in str(caught.value)
