# SPDX-License-Identifier: Apache-2.0
"""The same object, the same id, from frame to frame: ByteTrack and SORT, one tracker a camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightline.preprocess_ext import _tracks
from sightline.preprocess_ext.arguments import Floats, fraction, int32

MAX_TRACKS = 1024
MAX_TRACK_DETECTIONS = 1024
MAX_DETECTIONS_GIVEN = 1 << 24
MAX_FRAMES = 1_000_000
TRACK_STATES = ("seen", "unconfirmed", "lost")
"""States of a track: told in the latest frame; born but not told yet; without a detection, its box is predicted."""


class Detected(Protocol):
    """What a frame shows, as `sightline.Detections` has it: (N, 4) xyxy pixels, (N,) scores 0..1, (N,) class ids."""

    @property
    def boxes(self) -> NDArray[np.float32]: ...
    @property
    def scores(self) -> NDArray[np.float32]: ...
    @property
    def classes(self) -> NDArray[np.int32]: ...


def _whole(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, Integral) or not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must be a whole number in {low}..{high}")


@dataclass(frozen=True)
class ByteTrack:
    """Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box" (ECCV 2022).

    Decides as Ultralytics' BYTETracker (8.4) does, and gives the same ids; the defaults are its own. Where two
    assignments cost exactly the same it may choose another. Scores are compared as float32.
    high_score: from it on (>=) a detection takes part in the first association; low_score: above it (>) in the second.
    new_score: from it on (>=) a detection without a track begins one. match_cost: the first association takes pairs
    with 1 - IoU (IoU times score with fuse_score) below it. buffer_frames: how long a lost track lives at 30 frames a
    second; it scales with frame_rate. gate: largest squared Mahalanobis distance of a pair, as DeepSORT has it (9.4877
    is 95 % of chi-square with 4 degrees of freedom); 0 for none, as ByteTrack. max_tracks and max_detections bound
    memory and work: the best by score take part. Raises ValueError.
    """

    high_score: float = 0.25
    low_score: float = 0.1
    new_score: float = 0.25
    match_cost: float = 0.8
    fuse_score: bool = True
    buffer_frames: int = 30
    frame_rate: float = 30.0
    gate: float = 0.0
    max_tracks: int = 512
    max_detections: int = 512

    def __post_init__(self) -> None:
        for name in ("high_score", "low_score", "new_score", "match_cost"):
            fraction(name, getattr(self, name))
        if self.low_score > self.high_score:
            raise ValueError(
                f"low_score is {self.low_score}; it must not exceed high_score, {self.high_score}"
            )
        if not 0.0 <= self.frame_rate <= 1000.0:
            raise ValueError(f"frame_rate is {self.frame_rate}; it must lie in 0..1000 frames a second")
        if not (self.gate >= 0.0 and self.gate <= 1e12):
            raise ValueError(f"gate is {self.gate}; it must lie in 0..1e12")
        _whole("buffer_frames", self.buffer_frames, 0, MAX_FRAMES)
        _whole("max_tracks", self.max_tracks, 1, MAX_TRACKS)
        _whole("max_detections", self.max_detections, 1, MAX_TRACK_DETECTIONS)


@dataclass(frozen=True)
class Sort:
    """Bewley et al., "Simple Online and Realtime Tracking" (ICIP 2016).

    Decides as the authors' sort.py (2023, with lap) does, and gives the same ids; the defaults are its own. Scores
    play no part: give it detections above your threshold. max_age: frames that a track lives without a detection.
    min_hits: detections in a row before a track is told (always told in the first min_hits frames). iou: least IoU of a
    pair, above 0, up to 1. max_tracks and max_detections bound memory and work: the best by score take part.
    Raises ValueError.
    """

    max_age: int = 1
    min_hits: int = 3
    iou: float = 0.3
    max_tracks: int = 512
    max_detections: int = 512

    def __post_init__(self) -> None:
        if not 0.0 < self.iou <= 1.0:
            raise ValueError(f"iou is {self.iou}; it must be above 0, up to 1")
        _whole("max_age", self.max_age, 0, MAX_FRAMES)
        _whole("min_hits", self.min_hits, 0, MAX_FRAMES)
        _whole("max_tracks", self.max_tracks, 1, MAX_TRACKS)
        _whole("max_detections", self.max_detections, 1, MAX_TRACK_DETECTIONS)


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks of a camera after its latest frame, N of them: seen and unconfirmed ones, then lost ones.

    ids: (N,) int64, from 1 on. boxes: (N, 4) float32, xyxy pixels, the filter's estimate for the latest frame (for a
    lost track its prediction). scores and classes: (N,) of the latest detection. states: (N,) int32, index into
    TRACK_STATES. detections: (N,) int32, index among the latest frame's detections, -1 without one. first_frames and
    last_frames: (N,) int64, numbers (from 1) of the frames with the first and the latest detection.
    """

    ids: NDArray[np.int64]
    boxes: Floats
    scores: Floats
    classes: NDArray[np.int32]
    states: NDArray[np.int32]
    detections: NDArray[np.int32]
    first_frames: NDArray[np.int64]
    last_frames: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class TrackCounts:
    """What a tracker has counted since its start. dropped_*: left out for max_detections and max_tracks."""

    frames: int
    next_id: int
    refused_detections: int
    dropped_detections: int
    dropped_births: int
    tracks: int


class Tracker:
    """The tracks of one camera. Its memory is fixed when it is made; ids start at 1, ascend, and are given once.

    One call at a time: a call while another thread is inside raises RuntimeError.
    """

    def __init__(self, options: ByteTrack | Sort | None = None) -> None:
        self.options = ByteTrack() if options is None else options
        if not isinstance(self.options, ByteTrack | Sort):
            raise ValueError(f"options are {type(options).__name__}; they must be ByteTrack or Sort")
        self._lock = Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything; ids start at 1 again."""
        method = 0 if isinstance(self.options, ByteTrack) else 1
        self._block = _tracks.Block({"method": method, **asdict(self.options)})

    def update(self, detections: Detected) -> NDArray[np.int64]:
        """Take the next frame's detections; the track id of each, int64 of shape (N,).

        An id is 1 or more; 0: no track is told for this detection (low score, or a track not confirmed yet);
        -1: the detection is refused (a coordinate that is not finite or beyond 2**24, no width or height, a score
        outside 0..1). Call it once for every frame, also when nothing was found. Raises ValueError.
        """
        return update_all([self], [detections])[0]

    def tracks(self) -> Tracks:
        """All tracks after the latest frame."""
        with _Held([self]):
            room = self.options.max_tracks
            out = Tracks(
                np.empty(room, np.int64),
                np.empty((room, 4), np.float32),
                np.empty(room, np.float32),
                np.empty(room, np.int32),
                np.empty(room, np.int32),
                np.empty(room, np.int32),
                np.empty(room, np.int64),
                np.empty(room, np.int64),
            )
            arrays = [getattr(out, name) for name in Tracks.__dataclass_fields__]
            count = _tracks.read(self._block, *arrays)
            return Tracks(*(array[:count].copy() for array in arrays))

    def counts(self) -> TrackCounts:
        """Frames, ids and what was left out."""
        with _Held([self]):
            return TrackCounts(*_tracks.count(self._block))


def update_all(trackers: Sequence[Tracker], detections: Sequence[Detected]) -> list[NDArray[np.int64]]:
    """The next frame of each camera in one call without the GIL; detections[i] go to trackers[i].

    Gives what `Tracker.update` gives for each. Arguments are checked first: after a ValueError no tracker has changed.
    """
    if len(trackers) != len(detections):
        raise ValueError(f"there are {len(trackers)} trackers and detections of {len(detections)} cameras")
    frames = [_arrays(frame) for frame in detections]
    ids = [np.empty(len(scores), np.int64) for _, scores, _ in frames]
    with _Held(trackers):
        _tracks.update(
            [tracker._block for tracker in trackers],
            [boxes for boxes, _, _ in frames],
            [scores for _, scores, _ in frames],
            [classes for _, _, classes in frames],
            ids,
        )
    return ids


def assign(costs: NDArray[np.floating[Any]], limit: float) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Exact linear assignment with a cost limit: the pairs with the least sum of (cost - limit).

    costs: (R, C); NaN or infinity forbids a pair. Gives the column of each row (R,) and the row of each column (C,),
    int32, -1 for none: what lap.lapjv(costs, extend_cost=True, cost_limit=limit) gives where the optimum is the only
    one. R and C up to 1024. Jonker and Volgenant's shortest augmenting paths (1987). Raises ValueError.
    """
    cost = _float32(costs)
    if cost.ndim != 2 or max(cost.shape) > MAX_TRACKS:
        raise ValueError(f"costs have shape {cost.shape}; it must be (R, C), each up to {MAX_TRACKS}")
    if not math.isfinite(limit):
        raise ValueError(f"limit is {limit}; it must be finite")
    if np.isneginf(cost).any():
        raise ValueError("a cost is -infinity; costs must be finite, NaN or infinity")
    column_of_row, row_of_column = np.full(cost.shape[0], -1, np.int32), np.full(cost.shape[1], -1, np.int32)
    if cost.size:
        _tracks.assign(cost, limit, column_of_row, row_of_column)
    return column_of_row, row_of_column


def _arrays(detections: Detected) -> tuple[Floats, Floats, NDArray[np.int32]]:
    boxes, scores = _float32(detections.boxes), _float32(detections.scores)
    classes = np.asarray(detections.classes)
    count = len(scores) if scores.ndim == 1 else -1
    if boxes.shape != (count, 4) or classes.shape != (count,):
        raise ValueError(
            f"boxes {boxes.shape}, scores {scores.shape} and classes {classes.shape} "
            "must have shapes (N, 4), (N,) and (N,)"
        )
    if count > MAX_DETECTIONS_GIVEN:
        raise ValueError(f"there are {count} detections; at most {MAX_DETECTIONS_GIVEN} are allowed")
    if classes.dtype == np.int32 or not count:
        return boxes, scores, np.ascontiguousarray(classes, dtype=np.int32)
    return boxes, scores, int32("classes", classes)


def _float32(array: NDArray[np.floating[Any]]) -> Floats:
    if isinstance(array, np.ndarray) and array.dtype == np.float32 and array.flags.c_contiguous:
        return array
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused
        return np.ascontiguousarray(array, dtype=np.float32)


class _Held:
    """Each tracker, once, for this thread alone."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def __enter__(self) -> None:
        for number, tracker in enumerate(self._trackers):
            if not tracker._lock.acquire(blocking=False):
                self._release(number)
                raise RuntimeError("a tracker is given twice, or another thread is inside it")

    def __exit__(self, *_: object) -> None:
        self._release(len(self._trackers))

    def _release(self, count: int) -> None:
        for tracker in self._trackers[:count]:
            tracker._lock.release()
