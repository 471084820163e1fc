# SPDX-License-Identifier: Apache-2.0
"""What rules say as events: CloudEvents with ids that are the same whenever the same frame is looked at again."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
) -> Event:
    """The event of a happening in `frame`; with `idle_unix_seconds` it happened then, some time after the frame."""
    epoch, number, unix_seconds = (0, 0, 0.0) if frame is None else (*frame.order, frame.captured_unix)
    if idle_unix_seconds is not None:
        unix_seconds = idle_unix_seconds
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
    data["keep"] = _keep(rule, idle_unix_seconds is None)
    return Event(
        ":".join(str(part) for part in parts),
        TYPE_PREFIX + happening.type,
        f"/cameras/{camera}",
        utc_text(unix_seconds),
        data,
        rule.name,
    )


def without_picture(event: Event) -> Event:
    """The event as one that no picture belongs to any more."""
    keep = [wish for wish in event.data["keep"] if wish != "snapshot"]
    return replace(event, data={**event.data, "keep": keep})


def _keep(rule: Rule, has_picture: bool) -> list[str]:
    """What is to be kept of an event: the publisher puts paths in place of it."""
    return ["snapshot"] * (rule.snapshot and has_picture) + ["clip"] * rule.clip


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
