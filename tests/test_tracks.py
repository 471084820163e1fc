# SPDX-License-Identifier: Apache-2.0
"""Trackers: bounds, hostile detections, gating, threads; the filters and the assignment against plain numpy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from sightline.preprocess_ext import ByteTrack, Sort, Tracker, assign, update_all
from sightline.results import Detections
from tests.track_scenes import Scene, draw


def seen(boxes: Sequence[Sequence[float]], scores: Sequence[float] | None = None) -> Detections:
    count = len(boxes)
    with np.errstate(over="ignore"):
        return Detections(
            np.array(boxes, np.float32).reshape(count, 4),
            np.full(count, 0.9, np.float32) if scores is None else np.array(scores, np.float32),
            np.arange(count, dtype=np.int32),
        )


METHODS = [pytest.param(ByteTrack(), id="bytetrack"), pytest.param(Sort(), id="sort")]


# ---- the filters, with full covariance matrices ----


def byte_filter(measures: list[NDArray[np.float64] | None]) -> NDArray[np.float64]:
    """Mean after DeepSORT's filter over (cx, cy, w / h, h); None: no detection."""
    motion = np.eye(8) + np.eye(8, k=4)
    first = measures[0]
    assert first is not None
    mean = np.r_[first, np.zeros(4)]
    h = first[3]
    covariance = np.diag(np.square([h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]))
    lost = False
    for measure in measures[1:]:
        if lost:
            mean[7] = 0
        h = mean[3]
        noise = np.diag(np.square([h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]))
        mean, covariance = motion @ mean, motion @ covariance @ motion.T + noise
        lost = measure is None
        if measure is None:
            continue
        h = mean[3]
        spread = covariance[:4, :4] + np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
        gain = covariance[:, :4] @ np.linalg.inv(spread)
        mean, covariance = mean + gain @ (measure - mean[:4]), covariance - gain @ spread @ gain.T
    return mean


def test_bytetrack_filter_equals_full_matrices() -> None:
    rng = np.random.default_rng(1)
    at, measures = np.array([100.0, 80, 0.5, 60]), []
    tracker = Tracker(ByteTrack(fuse_score=False))
    for number in range(60):
        at = at + rng.normal((2, 1, 0.001, 0.1), (0.5, 0.5, 0.005, 0.5))
        x, y, aspect, height = at
        box = np.float32([x - aspect * height / 2, y - height / 2, x + aspect * height / 2, y + height / 2])
        missed = 20 <= number < 28
        tracker.update(seen([] if missed else [box]))
        w, h = np.float64(box[2:] - box[:2])
        measures.append(None if missed else np.array([box[0] + w / 2, box[1] + h / 2, w / h, h]))
        mean = byte_filter(measures)
        w, h = mean[2] * mean[3], mean[3]
        expected = [[mean[0] - w / 2, mean[1] - h / 2, mean[0] + w / 2, mean[1] + h / 2]]
        tracks = tracker.tracks()
        np.testing.assert_allclose(tracks.boxes, expected, rtol=0, atol=1e-3)
        assert tracks.ids.tolist() == [1]
        assert tracks.states.tolist() == [2 if missed else 0]
        assert tracks.last_frames.tolist() == [20 if missed else number + 1]


# ---- what a tracker does ----


@pytest.mark.parametrize("options", METHODS)
def test_an_object_keeps_its_id(options: ByteTrack | Sort) -> None:
    tracker = Tracker(options)
    for frame in range(10):
        boxes = [[10 + 3 * frame, 10, 60 + 3 * frame, 110], [300 - 2 * frame, 40, 340 - 2 * frame, 90]]
        order = [0, 1] if frame % 2 == 0 else [1, 0]
        assert tracker.update(seen([boxes[i] for i in order])).tolist() == [i + 1 for i in order]


def test_a_track_begins_unconfirmed() -> None:
    """ByteTrack tells a track in its second frame, but for the first frame's own."""
    tracker = Tracker()
    box = [[0, 0, 50, 50]]
    assert tracker.update(seen([])).tolist() == []
    assert tracker.update(seen(box)).tolist() == [0]
    assert tracker.tracks().states.tolist() == [1]
    assert tracker.update(seen(box)).tolist() == [1]


def test_low_scores_keep_a_track_but_begin_none() -> None:
    tracker = Tracker(ByteTrack(high_score=0.5, new_score=0.6))
    near, far = [0, 0, 50, 50], [200, 0, 250, 50]
    assert tracker.update(seen([near, far], [0.9, 0.55])).tolist() == [1, 0]
    assert tracker.update(seen([near, far], [0.2, 0.3])).tolist() == [1, 0]
    assert tracker.update(seen([near], [0.1])).tolist() == [0]
    assert tracker.tracks().states.tolist() == [2]


@pytest.mark.parametrize(("rate", "frames"), [(30.0, 10), (15.0, 5), (60.0, 20)])
def test_the_buffer_follows_the_frame_rate(rate: float, frames: int) -> None:
    def id_after(gap: int) -> int:
        tracker = Tracker(ByteTrack(buffer_frames=10, frame_rate=rate))
        box = [[0, 0, 50, 50]]
        for detections in [seen(box)] * 3 + [seen([])] * gap + [seen(box)] * 2:
            told = tracker.update(detections)
        return int(told[0])

    assert id_after(frames) == 1
    assert id_after(frames + 2) == 2  # one frame more is of grace, as in the reference


def test_the_gate_forbids_a_jump() -> None:
    for gate, expected in ((0.0, 1), (9.4877, 0)):
        tracker = Tracker(ByteTrack(gate=gate, fuse_score=False))
        for _ in range(20):
            tracker.update(seen([[0, 0, 100, 100]]))
        assert tracker.update(seen([[40, 0, 140, 100]])).tolist() == [expected]


@pytest.mark.parametrize("options", METHODS)
def test_reset_forgets(options: ByteTrack | Sort) -> None:
    tracker = Tracker(options)
    box = seen([[0, 0, 50, 50]])
    first = tracker.update(box)
    tracker.update(seen([[200, 0, 250, 50]]))
    tracker.reset()
    assert tracker.update(box).tolist() == first.tolist() == [1]
    assert tracker.counts().frames == 1


# ---- hostile detections ----

BAD_BOXES: list[list[float]] = [
    [np.nan, 0, 10, 10],
    [0, 0, np.inf, 10],
    [-np.inf, 0, 10, 10],
    [0, 0, 0, 10],
    [0, 10, 10, 0],
    [0, 0, 1e39, 10],
    [0, 0, 2.0**25, 10],
    [0, 0, 1e-44, 1e7],
]


@pytest.mark.parametrize("options", METHODS)
@pytest.mark.parametrize("bad", BAD_BOXES)
def test_bad_boxes_are_refused_alone(options: ByteTrack | Sort, bad: list[float]) -> None:
    tracker, clean = Tracker(options), Tracker(options)
    for frame in range(5):
        good = [5.0 + frame, 5, 60 + frame, 90]
        assert tracker.update(seen([bad, good, bad])).tolist() == [-1, *clean.update(seen([good])), -1]
    np.testing.assert_array_equal(tracker.tracks().boxes, clean.tracks().boxes)
    assert tracker.counts().refused_detections == 10


@pytest.mark.parametrize("score", [np.nan, np.inf, -0.1, 1.1])
def test_bad_scores_are_refused_alone(score: float) -> None:
    assert Tracker().update(seen([[0, 0, 9, 9], [20, 0, 29, 9]], [score, 0.9])).tolist() == [-1, 1]


@settings(max_examples=25, deadline=None)
@given(
    frames=st.lists(
        st.integers(0, 8).flatmap(
            lambda count: st.tuples(
                arrays(np.float32, (count, 4), elements=st.floats(width=32) | st.integers(0, 80).map(float)),
                arrays(np.float32, (count,), elements=st.sampled_from([0.0625, 0.1875, 0.5, 0.875, np.nan])),
            )
        ),
        max_size=8,
    ),
    method=st.sampled_from(
        [ByteTrack(max_tracks=5, max_detections=4), Sort(min_hits=1, max_tracks=5, max_detections=4)]
    ),
)
def test_any_detections(
    frames: list[tuple[NDArray[np.float32], NDArray[np.float32]]], method: ByteTrack | Sort
) -> None:
    tracker = Tracker(method)
    for boxes, scores in frames:
        ids = tracker.update(Detections(boxes, scores, np.zeros(len(scores), np.int32)))
        told = ids[ids > 0]
        tracks = tracker.tracks()
        assert len(set(told.tolist())) == len(told)
        assert set(told.tolist()) == set(tracks.ids[tracks.states == 0].tolist())
        assert len(tracks) <= 5
        assert np.isfinite(tracks.boxes).all()
        assert (ids[~np.isfinite(boxes).all(1)] == -1).all()


def test_more_than_fit_are_counted() -> None:
    few = Tracker(ByteTrack(max_tracks=3))
    rng = np.random.default_rng(3)
    boxes = [[100.0 * i, 0, 100.0 * i + 50, 60] for i in range(8)]
    scores = rng.permutation(8) / 10 + 0.25
    ids = few.update(seen(boxes, scores))
    assert sorted(scores[ids > 0]) == sorted(scores)[-3:]
    assert ids[ids > 0].tolist() == [1, 2, 3]
    assert few.counts().dropped_births == 5
    short = Tracker(ByteTrack(max_detections=3))
    np.testing.assert_array_equal(short.update(seen(boxes, scores)), ids)
    assert short.counts().dropped_detections == 5


@pytest.mark.parametrize("options", METHODS)
def test_thirty_thousand_in_one_place(options: ByteTrack | Sort) -> None:
    tracker = Tracker(options)
    crowd = seen(np.tile([10.0, 10, 110, 110], (30_000, 1)).tolist())
    for _ in range(2):
        assert (tracker.update(crowd) > 0).sum() == 512
    assert tracker.counts().dropped_detections == 2 * (30_000 - 512)


# ---- several cameras ----


@pytest.mark.parametrize("options", METHODS)
def test_cameras_do_not_touch_each_other(options: ByteTrack | Sort) -> None:
    scenes = [draw(Scene(12, 25, seed, hide=0.1, low=0.2, size=(500, 400))) for seed in range(5)]
    together, alone = [Tracker(options) for _ in scenes], [Tracker(options) for _ in scenes]
    for frames in zip(*scenes, strict=True):
        for ids, tracker, frame in zip(update_all(together, frames), alone, frames, strict=True):
            np.testing.assert_array_equal(ids, tracker.update(frame))


def test_threads_track_different_cameras_at_once() -> None:
    scenes = [draw(Scene(30, 40, seed, hide=0.1)) for seed in range(4)]

    def track(frames: list[Detections]) -> list[list[int]]:
        tracker = Tracker()
        return [tracker.update(frame).tolist() for frame in frames]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(track, scenes)) == [track(frames) for frames in scenes]


def test_nobody_enters_twice() -> None:
    tracker = Tracker()
    nothing = Detections.empty()
    with pytest.raises(RuntimeError, match="given twice"):
        update_all([tracker, tracker], [nothing, nothing])
    assert tracker.update(nothing).tolist() == []
    assert tracker.counts().frames == 1


def test_a_refused_call_changes_nothing() -> None:
    first, second = Tracker(), Tracker()
    good = seen([[0, 0, 9, 9]])

    class Bad:
        boxes, scores, classes = np.zeros((2, 5), np.float32), np.zeros(2, np.float32), np.zeros(2, np.int32)

    with pytest.raises(
        ValueError, match=r"boxes \(2, 5\), scores \(2,\) and classes \(2,\) must have shapes"
    ):
        update_all([first, second], [good, Bad()])
    with pytest.raises(ValueError, match="there are 2 trackers and detections of 1 cameras"):
        update_all([first, second], [good])
    assert first.counts().frames == second.counts().frames == 0
    assert update_all([], []) == []


# ---- arguments ----


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        (ByteTrack, {"high_score": 1.5}, "high_score is 1.5; it must lie in 0..1"),
        (ByteTrack, {"low_score": 0.5}, "low_score is 0.5; it must not exceed high_score, 0.25"),
        (ByteTrack, {"match_cost": float("nan")}, "match_cost is nan"),
        (ByteTrack, {"frame_rate": -1.0}, "frame_rate is -1.0; it must lie in 0..1000"),
        (ByteTrack, {"gate": float("nan")}, "gate is nan"),
        (ByteTrack, {"buffer_frames": -1}, "buffer_frames is -1; it must be a whole number in 0..1000000"),
        (ByteTrack, {"max_tracks": 1025}, "max_tracks is 1025; it must be a whole number in 1..1024"),
        (Sort, {"max_detections": 0}, "max_detections is 0"),
        (Sort, {"iou": 0.0}, "iou is 0.0; it must be above 0, up to 1"),
        (Sort, {"max_age": 1.5}, "max_age is 1.5; it must be a whole number"),
        (Sort, {"min_hits": -2}, "min_hits is -2"),
    ],
)
def test_bad_options_are_named(method: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        method(**change)
    assert message in str(caught.value)


def test_tracker_wants_options() -> None:
    with pytest.raises(ValueError, match="options are dict"):
        Tracker({"iou": 0.5})  # type: ignore[arg-type]


# ---- assignment ----


def best_sum(costs: NDArray[np.float32], limit: float) -> float:
    gains = np.minimum(np.nan_to_num(costs.astype(float), nan=np.inf) - limit, 0.0)
    if gains.shape[0] > gains.shape[1]:
        gains = gains.T
    rows = range(gains.shape[0])
    return min(
        sum(gains[r, c] for r, c in zip(rows, p, strict=True))
        for p in itertools.permutations(range(gains.shape[1]), len(rows))
    )


@settings(max_examples=50, deadline=None)
@given(
    costs=st.tuples(st.integers(0, 5), st.integers(0, 5)).flatmap(
        lambda shape: arrays(
            np.float32, shape, elements=st.floats(-1, 2, width=32) | st.sampled_from([0.5, np.nan, np.inf])
        )
    ),
    limit=st.floats(-1, 2),
)
def test_assignment_is_optimal(costs: NDArray[np.float32], limit: float) -> None:
    column_of_row, row_of_column = assign(costs, limit)
    rows = np.flatnonzero(column_of_row >= 0)
    np.testing.assert_array_equal(row_of_column[column_of_row[rows]], rows)
    assert (row_of_column >= 0).sum() == len(rows)
    total = (costs[rows, column_of_row[rows]].astype(float) - limit).sum()
    assert total == pytest.approx(best_sum(costs, limit), abs=1e-6)


@pytest.mark.parametrize(
    ("costs", "limit", "message"),
    [
        (np.zeros(3), 0.5, "costs have shape (3,); it must be (R, C), each up to 1024"),
        (np.zeros((1025, 1)), 0.5, "costs have shape (1025, 1)"),
        (np.zeros((2, 2)), float("inf"), "limit is inf; it must be finite"),
        (np.full((1, 1), -np.inf), 0.5, "a cost is -infinity"),
    ],
)
def test_assign_names_bad_arguments(costs: NDArray[Any], limit: float, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        assign(costs, limit)
    assert message in str(caught.value)
