# SPDX-License-Identifier: Apache-2.0
"""ByteTrack with 100 objects a frame against a published Python package; one call tracks the whole drawn sequence.

Ultralytics' BYTETracker makes the same decisions, so its ids must equal ours. It was the fastest in Python of what pip
installs, before boxmot 25.0 and bytetracker 0.3.2, which also decide differently (thresholds, box conventions);
boxmot's C++ library, which its user builds against OpenCV and Eigen, took 0.7 times as long as Ultralytics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from sightline.perf.kernels.bench import Bench, peer
from sightline.preprocess_ext import ByteTrack, Tracker
from sightline.results import Detections

OBJECTS, FRAMES, WIDTH, HEIGHT = 100, 20, 1280, 720


def benches() -> Iterator[Bench]:
    frames = draw()
    rows = [
        np.column_stack([frame.boxes, frame.scores, frame.classes]).astype(np.float32) for frame in frames
    ]
    ultralytics = _ultralytics(rows)

    def ours() -> list[NDArray[np.int64]]:
        tracker = Tracker(ByteTrack())
        return [tracker.update(frame) for frame in frames]

    def check() -> None:
        for number, (told, row) in enumerate(zip(ours(), ultralytics(), strict=True)):
            expected = np.zeros(len(told), np.int64)
            expected[row[:, 7].astype(int)] = row[:, 4].astype(int)
            if not np.array_equal(told, expected):
                raise ValueError(f"track ids differ in frame {number}: {told} and {expected}")

    yield Bench(
        "tracks",
        f"ByteTrack, {OBJECTS} objects, {FRAMES} frames",
        ours,
        {"Ultralytics": ultralytics},
        check,
        goal=2.0,
    )


def draw() -> list[Detections]:
    """Objects that walk and now and then are missed or seen with a low score."""
    rng = np.random.default_rng(11)
    at = rng.uniform(0, 1, (OBJECTS, 2)) * (WIDTH, HEIGHT)
    step = rng.normal(0, 3, (OBJECTS, 2))
    height = rng.uniform(30, 120, OBJECTS)
    half = np.stack([height * rng.uniform(0.4, 1.5, OBJECTS), height], 1) / 2
    frames = []
    for _ in range(FRAMES):
        at += step
        boxes = np.concatenate([at - half, at + half], 1) + rng.normal(0, 1, (OBJECTS, 4))
        scores = rng.uniform(0.15, 0.98, OBJECTS)
        seen = rng.random(OBJECTS) > 0.02
        frames.append(
            Detections(
                boxes[seen].astype(np.float32),
                scores[seen].astype(np.float32),
                np.zeros(int(seen.sum()), np.int32),
            )
        )
    return frames


def _ultralytics(rows: list[NDArray[np.float32]]) -> Callable[[], list[NDArray[np.float32]]]:
    tracking = peer("ultralytics.trackers.byte_tracker", "ultralytics lap")
    boxes = [peer("ultralytics.engine.results", "ultralytics").Boxes(row, (HEIGHT, WIDTH)) for row in rows]
    options = ByteTrack()
    arguments = SimpleNamespace(
        track_high_thresh=options.high_score,
        track_low_thresh=options.low_score,
        new_track_thresh=options.new_score,
        track_buffer=options.buffer_frames,
        match_thresh=options.match_cost,
        fuse_score=options.fuse_score,
    )

    def run() -> list[NDArray[np.float32]]:
        tracker = tracking.BYTETracker(arguments)
        return [tracker.update(box).reshape(-1, 8) for box in boxes]

    return run
