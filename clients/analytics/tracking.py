# SPDX-License-Identifier: Apache-2.0
"""Follows one camera's objects: filter, tracker, ids that are given once, speeds on the ground."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sightline.clients.analytics.geometry import Homography
from sightline.clients.analytics.scene import TrackedObject
from sightline.clients.analytics.settings import Analytics, ObjectFilter, Tracking
from sightline.preprocess_ext.tracks import MAX_FRAMES, ByteTrack, Sort, Tracker
from sightline.results import Detections

TRACKED_WIDTH = 1280.0  # pixels to which boxes are scaled, so that tracks outlive a change of resolution
HIGH_SCORE, LOW_SCORE = 0.25, 0.1
FIRST_RATE = 15.0
RATE_CHANGE = 1.5  # from which on the tracker is made anew
RATE_FRAMES = 10
RATE_SMOOTHING = 0.1
LONGEST_INTERVAL = 3.0  # of the ones before
LEAST_LOST_FRAMES = 2.5
VOTE_MEMORY = 0.9
SPEED_SECONDS = 1.0
LEAST_SPEED_SECONDS = 0.8
LEAST_SPEED_SAMPLES = 3
SPEED_SAMPLES = 12
EXACT_ANCHOR = 1e-6  # keeps what touches the picture's right and lower edge inside a zone that ends there


@dataclass(eq=False)
class _Follow:
    """What only the tracker needs to know of an object."""

    object: TrackedObject
    votes: dict[int, float] = field(default_factory=dict)
    places: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=SPEED_SAMPLES))


@dataclass(frozen=True, eq=False)
class Followed:
    """objects: of each detection, None where it is not followed. ended: ids that are not followed any more."""

    objects: tuple[TrackedObject | None, ...]
    ended: frozenset[int] = frozenset()


class ObjectTracker:
    """The objects of one camera, with ids from 1 on that are given once, also over restarts.

    rate: frames a second that are expected; None: measured. The tracker's memory is counted in frames: it is long enough for
    a rate that is half as high again, and what was not seen for `lost_seconds` is another object. When the measured rate has
    changed by more, the tracker is made anew, and the objects keep their ids.
    """

    def __init__(self, settings: Analytics, rate: float | None = None) -> None:
        self._settings = settings
        self._ground = _ground(settings)
        self._interval = 1.0 / (rate or FIRST_RATE)
        self._tracker, self._tracker_rate = _tracker(settings, rate or FIRST_RATE), rate or FIRST_RATE
        self._stale = False
        self._frames = 0
        self._seen_at: float | None = None
        self._next_id = 1
        self._follows: dict[int, _Follow] = {}

    @property
    def rate(self) -> float:
        """Frames a second, measured."""
        return 1.0 / self._interval

    def __len__(self) -> int:
        return len(self._follows)

    def replace(self, settings: Analytics) -> None:
        """Go on with other settings; objects keep their ids."""
        before, self._settings = self._settings, settings
        self._stale |= (before.track, before.objects) != (settings.track, settings.objects)
        if before.ground != settings.ground:
            self._ground = _ground(settings)
            for follow in self._follows.values():
                follow.places.clear()
                follow.object.speed_kmh = None

    def restart(self) -> frozenset[int]:
        """Forget all objects, as the pictures do not go on where they ended; ids that are not followed any more."""
        ended = frozenset(follow.object.id for follow in self._follows.values())
        self._follows.clear()
        self._tracker.reset()
        self._seen_at = None
        return ended

    def expire(self, at: float) -> frozenset[int]:
        """Objects that were not seen for too long at this time, which are forgotten."""
        oldest = at - max(self._settings.track.lost_seconds, LEAST_LOST_FRAMES * self._interval)
        gone = [key for key, follow in self._follows.items() if follow.object.seen_at < oldest]
        return frozenset(self._follows.pop(key).object.id for key in gone)

    def update(self, detections: Detections, width: int, height: int, at: float) -> Followed:
        """The next frame: boxes are in pixels of width x height, `at` is in seconds of the camera's clock."""
        self._measure_rate(at)
        ended = self.expire(at)
        objects: list[TrackedObject | None] = [None] * len(detections)
        chosen = _chosen(detections, self._settings.objects, self._settings.track)
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and the tracker refuses it
            boxes = detections.boxes[chosen] * np.float32(TRACKED_WIDTH / width)
        given = Detections(boxes, detections.scores[chosen], detections.classes[chosen])
        ids = self._tracker.update(given).tolist()
        if self._stale:
            ids = self._renew(given, ids)
        with np.errstate(invalid="ignore", over="ignore"):
            places = _anchors(given.boxes, width, height)
        details = zip(
            chosen.tolist(),
            ids,
            detections.boxes[chosen].tolist(),
            given.scores.tolist(),
            given.classes.tolist(),
            places.tolist(),
            strict=True,
        )
        for index, track, box, score, class_id, place in details:
            if track > 0:  # told by the tracker
                follow = self._follow(track, at)
                _see(follow, detections, class_id, score, box, place, at)
                objects[index] = follow.object
        self._measure_speeds([found for found in objects if found is not None], at)
        return Followed(tuple(objects), ended)

    def _follow(self, track: int, at: float) -> _Follow:
        follow = self._follows.get(track)
        if follow is None:
            follow = _Follow(TrackedObject(self._next_id, first_at=at))
            self._follows[track] = follow
            self._next_id += 1
        return follow

    def _measure_rate(self, at: float) -> None:
        if self._seen_at is not None and at > self._seen_at:
            interval = min(at - self._seen_at, LONGEST_INTERVAL * self._interval)  # a gap is no rate
            self._interval += RATE_SMOOTHING * (interval - self._interval)
        self._seen_at = at
        self._frames += 1
        change = self._tracker_rate * self._interval
        if self._frames >= RATE_FRAMES and not 1 / RATE_CHANGE <= change <= RATE_CHANGE:
            self._stale = True

    def _renew(self, given: Detections, ids: list[int]) -> list[int]:
        """Another tracker from this frame on; an object goes on under the track of its detection."""
        self._tracker, self._tracker_rate = _tracker(self._settings, self.rate), self.rate
        self._stale, self._frames = False, 0
        renewed: list[int] = self._tracker.update(given).tolist()
        before, self._follows = self._follows, {}
        for old, new in zip(ids, renewed, strict=True):
            if new > 0 and old in before:
                self._follows[new] = before.pop(old)
        for position, follow in enumerate(before.values()):  # not seen now: they only wait to be forgotten
            self._follows[-1 - position] = follow
        return renewed

    def _measure_speeds(self, objects: list[TrackedObject], at: float) -> None:
        if self._ground is None or not objects:
            return
        metres = self._ground.to_metres(np.array([found.bottom for found in objects])).tolist()
        where = {found.id: place for found, place in zip(objects, metres, strict=True)}
        for follow in self._follows.values():
            place = where.get(follow.object.id)
            if place is not None:
                follow.object.speed_kmh = _speed(follow.places, at, place[0], place[1])


def _ground(settings: Analytics) -> Homography | None:
    return None if settings.ground is None else Homography(settings.ground.image, settings.ground.metres)


def _tracker(settings: Analytics, rate: float) -> Tracker:
    frames = min(MAX_FRAMES, math.ceil(settings.track.lost_seconds * rate * RATE_CHANGE) + 1)
    if settings.track.tracker == "sort":
        return Tracker(Sort(max_age=frames))
    high = settings.objects.min_score or HIGH_SCORE
    return Tracker(
        ByteTrack(high_score=high, new_score=high, low_score=min(LOW_SCORE, high), buffer_frames=frames)
    )


def _chosen(detections: Detections, wanted: ObjectFilter, track: Tracking) -> NDArray[np.intp]:
    """Indices of the detections that the tracker is given; ByteTrack takes low scores too."""
    boxes = detections.boxes
    keep = np.isfinite(boxes).all(1)
    if wanted.classes:
        names = {class_id: detections.label(class_id) for class_id in np.unique(detections.classes).tolist()}
        ids = [class_id for class_id, name in names.items() if name in wanted.classes]
        keep &= np.isin(detections.classes, ids)
    if track.tracker == "sort" and wanted.min_score:
        keep &= detections.scores >= wanted.min_score
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = boxes[:, 2:] - boxes[:, :2]
    if wanted.min_size != (0, 0):
        keep &= (sizes >= wanted.min_size).all(1)
    if wanted.max_size is not None:
        keep &= (sizes <= wanted.max_size).all(1)
    return np.flatnonzero(keep)


def _anchors(boxes: NDArray[np.float32], width: int, height: int) -> NDArray[np.float64]:
    """(N, 5): x of the anchors, y of the bottom, y of the centre (fractions, inside the picture), box width and height
    (units of the picture's width)."""
    across = boxes.astype(np.float64) / TRACKED_WIDTH
    aspect = height / width
    out = np.empty((len(boxes), 5))
    out[:, 0] = (across[:, 0] + across[:, 2]) / 2
    out[:, 1] = across[:, 3] / aspect
    out[:, 2] = (across[:, 1] + across[:, 3]) / (2 * aspect)
    out[:, :3] = np.minimum(np.maximum(out[:, :3], 0.0), 1.0 - EXACT_ANCHOR)
    out[:, 3:] = across[:, 2:] - across[:, :2]
    return out


def _see(
    follow: _Follow,
    detections: Detections,
    class_id: int,
    score: float,
    box: list[float],
    place: list[float],
    at: float,
) -> None:
    found, votes = follow.object, follow.votes
    for other in votes:
        votes[other] *= VOTE_MEMORY
    votes[class_id] = votes.get(class_id, 0.0) + score
    best = class_id if len(votes) == 1 else max(votes, key=votes.__getitem__)
    if best != found.class_id:
        found.class_id, found.label = best, detections.label(best)
    found.score = score
    found.box = (box[0], box[1], box[2], box[3])
    found.bottom, found.centre = (place[0], place[1]), (place[0], place[2])
    found.size = (place[3], place[4])
    found.seen_at = at


def _speed(places: deque[tuple[float, float, float]], at: float, x: float, y: float) -> float | None:
    """km/h by the least-squares slope of the places of the last second; None before there are enough of them."""
    if not (math.isfinite(x) and math.isfinite(y)):
        places.clear()
        return None
    if len(places) < 2 or at - places[-2][0] >= SPEED_SECONDS / (SPEED_SAMPLES - 2):
        places.append((at, x, y))
    else:
        places[-1] = (at, x, y)
    while at - places[0][0] > SPEED_SECONDS and len(places) > LEAST_SPEED_SAMPLES:
        places.popleft()
    if len(places) < LEAST_SPEED_SAMPLES or at - places[0][0] < LEAST_SPEED_SECONDS:
        return None
    count = len(places)
    t_sum = x_sum = y_sum = tt_sum = tx_sum = ty_sum = 0.0
    for when, east, north in places:
        t = when - at  # small numbers, so that their squares are exact enough
        t_sum += t
        x_sum += east
        y_sum += north
        tt_sum += t * t
        tx_sum += t * east
        ty_sum += t * north
    spread = tt_sum - t_sum * t_sum / count
    slope_x, slope_y = (tx_sum - t_sum * x_sum / count) / spread, (ty_sum - t_sum * y_sum / count) / spread
    return 3.6 * math.hypot(slope_x, slope_y)
