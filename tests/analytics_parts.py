# SPDX-License-Identifier: Apache-2.0
"""Small parts for the tests of analytics: scenes for rules, frames and results for a camera."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sightline.clients.analytics.camera import CameraAnalytics
from sightline.clients.analytics.rule_set import STATES
from sightline.clients.analytics.rule_state import RuleState
from sightline.clients.analytics.scene import Scene, TrackedObject
from sightline.clients.analytics.settings import Analytics
from sightline.clients.streams.results import StreamFrame, StreamResult
from sightline.frame import Frame, PixelFormat, frame_bytes
from sightline.results import Detections

LABELS = ("person", "car", "face")
NOON = 1_768_478_400.0  # 2026-01-15T12:00:00Z, a Thursday
EPOCH = 1_768_478_400_000
Place = tuple[float, float]
Step = tuple[float, Mapping[int, Place]]


def state_of(document: Mapping[str, Any], **others: Any) -> RuleState[Any]:
    """The rule of a YAML document at work."""
    rule = Analytics.model_validate({"rules": [{"name": "it", **document}], **others}).rules[0]
    return STATES[type(rule)](rule)


class Stage:
    """Objects that stand at given places; `play` tells what a rule says about it."""

    def __init__(self, state: RuleState[Any], *, label: str = "person", size: Place = (0.1, 0.1)) -> None:
        self.state = state
        self.objects: dict[int, TrackedObject] = {}
        self._label, self._size = label, size

    def at(
        self,
        seconds: float,
        places: Mapping[int, Place],
        *,
        ended: Iterable[int] = (),
        aspect: float = 1.0,
        unix: float | None = None,
        has_frame: bool = True,
        speeds: Mapping[int, float] | None = None,
    ) -> list[tuple[str, int | None, dict[str, Any]]]:
        """One moment: places are those of both anchors. Type, object and data of what has happened."""
        seen = []
        for key, place in places.items():
            found = self.objects.setdefault(key, TrackedObject(key, self._label, 0, 0.9))
            found.bottom = found.centre = place
            found.size, found.seen_at = self._size, seconds
            found.speed_kmh = None if speeds is None else speeds.get(key)
            seen.append(found)
        moment = NOON + seconds if unix is None else unix
        happenings = self.state.observe(Scene(seconds, moment, aspect, seen, frozenset(ended), has_frame))
        return [(one.type, one.about.id if one.about else None, dict(one.data)) for one in happenings]

    def play(self, steps: Sequence[Step]) -> list[tuple[float, str, int | None]]:
        """Time, type and object of all that has happened."""
        return [(at, kind, key) for at, places in steps for kind, key, _ in self.at(at, places)]


def stream_frame(
    number: int,
    seconds: float,
    *,
    size: tuple[int, int] = (640, 360),
    epoch: int = EPOCH,
    unix: float | None = None,
    data: Any = None,
    pixel_format: PixelFormat = PixelFormat.I420,
    pts: float | None = None,
    name: str = "gate",
) -> StreamFrame:
    """A frame `seconds` after noon; decoded_at is 1000 s later than that."""
    count = frame_bytes(*size, pixel_format)
    pixels = np.zeros(count, np.uint8) if data is None else data
    return StreamFrame(
        0,
        name,
        epoch,
        number,
        seconds if pts is None else pts,
        1000.0 + seconds,
        NOON + seconds if unix is None else unix,
        Frame(pixels, *size, pixel_format),
    )


def detections(*found: Sequence[Any], labels: tuple[str, ...] = LABELS) -> Detections:
    """Objects as (x1, y1, x2, y2), then perhaps the label and the score."""
    names = [one[4] if len(one) > 4 else labels[0] for one in found]
    return Detections(
        np.array([one[:4] for one in found], np.float32).reshape(-1, 4),
        np.array([one[5] if len(one) > 5 else 0.9 for one in found], np.float32),
        np.array([labels.index(name) for name in names], np.int32),
        labels,
    )


def stream_result(
    source: StreamFrame, *found: Sequence[Any], labels: tuple[str, ...] = LABELS
) -> StreamResult:
    """What the engine hands to analytics."""
    return StreamResult(source, detections(*found, labels=labels), 0.05)


def box_at(
    x: float, y: float, width: float = 60.0, height: float = 100.0
) -> tuple[float, float, float, float]:
    """A box whose lower side has its middle at x, y (pixels)."""
    return x - width / 2, y - height, x + width / 2, y


class Time:
    """The engine's monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def walk(
    analytics: CameraAnalytics,
    where: Callable[[int], list[Any]],
    frames: int,
    *,
    start: int = 0,
    epoch: int = EPOCH,
    size: tuple[int, int] = (640, 360),
    rate: float = 10.0,
) -> list[StreamResult]:
    """`frames` frames at 10 a second; where(n) gives the objects."""
    results = []
    for n in range(start, start + frames):
        source = stream_frame(n, n / rate, epoch=epoch, size=size)
        result = analytics.observe(stream_result(source, *where(n)))
        assert result is not None
        results.append(result)
    return results


def across(n: int) -> list[Any]:
    """From the left to the right, 10 pixels a frame."""
    return [box_at(10.0 + 10 * n, 200.0)]
