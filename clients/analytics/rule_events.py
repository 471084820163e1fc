# SPDX-License-Identifier: Apache-2.0
"""What rules say as events: CloudEvents with ids that are the same whenever the same frame is looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sightline.clients.analytics.scene import Happening, TrackedObject
from sightline.clients.analytics.settings import Rule
from sightline.clients.events.event import TYPE_PREFIX, Event, utc_text
from sightline.clients.streams.results import StreamFrame


@dataclass(frozen=True)
class FrameMark:
    """What events say of a frame; it does not hold its picture."""

    epoch: int
    number: int
    width: int
    height: int
    captured_unix: float

    @classmethod
    def of(cls, frame: StreamFrame) -> FrameMark:
        """The mark of a frame."""
        picture = frame.frame
        return cls(frame.epoch, frame.number, picture.width, picture.height, frame.captured_unix)

    @property
    def order(self) -> tuple[int, int]:
        """As StreamFrame's."""
        return self.epoch, self.number


def event_of(
    camera: str,
    rule: Rule,
    happening: Happening,
    frame: FrameMark | None,
    *,
    idle_unix_seconds: float | None = None,
    may_keep_clip: bool = True,
) -> Event:
    """The event of a happening in `frame`; with `idle_unix_seconds` it happened then, some time after the frame."""
    epoch, number = (frame.epoch, frame.number) if frame is not None else (0, 0)
    about = happening.about
    parts = [camera, epoch, number, rule.name, happening.type]
    parts += [] if about is None else [about.id]
    parts += [] if idle_unix_seconds is None else [f"idle-{idle_unix_seconds:.3f}"]
    value = happening.data.get("value", happening.data.get("limit"))
    parts += [] if value is None else [value]
    data: dict[str, Any] = {"camera": camera, "rule": rule.name, "kind": rule.kind}
    data |= {} if about is None else _about(about)
    data |= happening.data
    if frame is not None:
        data |= {"width": frame.width, "height": frame.height}
    if idle_unix_seconds is None:
        data["keep"] = _keep(rule, may_keep_clip)
        unix_seconds = 0.0 if frame is None else frame.captured_unix
    else:
        data["keep"] = []
        unix_seconds = idle_unix_seconds
    return Event(
        ":".join(str(part) for part in parts),
        TYPE_PREFIX + happening.type,
        f"/cameras/{camera}",
        utc_text(unix_seconds),
        data,
        rule.name,
    )


def _keep(rule: Rule, may_keep_clip: bool) -> list[str]:
    """What is to be kept of an event: the publisher puts paths in place of it."""
    return ["snapshot"] * rule.snapshot + ["clip"] * (rule.clip and may_keep_clip)


def _about(found: TrackedObject) -> dict[str, Any]:
    data: dict[str, Any] = {
        "label": found.label,
        "class_id": found.class_id,
        "score": round(found.score, 4),
        "track_id": found.id,
        "box": [round(value, 2) for value in found.box],
    }
    if found.speed_kmh is not None:
        data["speed_kmh"] = round(found.speed_kmh, 1)
    if found.identity is not None:
        data["identity"] = found.identity
    if found.attributes:
        data["attributes"] = dict(found.attributes)
    return data
