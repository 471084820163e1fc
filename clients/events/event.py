# SPDX-License-Identifier: Apache-2.0
"""One thing that happened, as a CloudEvent (specification 1.0.2, https://cloudevents.io)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

TYPE_PREFIX = "sightline."


@dataclass(frozen=True)
class Event:
    """One event.

    id: the idempotency key: the same event always has the same, whatever is sent twice; unique within `source`.
    type: as sightline.line.crossed. source: as /cameras/gate. time: ISO 8601, UTC, with milliseconds.
    data: plain values for JSON; of a rule: camera, rule, kind, label, score, track_id, box, … and, where they are kept,
    snapshot and clip: paths below the media folder.
    """

    id: str
    type: str
    source: str
    time: str
    data: Mapping[str, Any] = field(default_factory=dict)
    subject: str | None = None

    @property
    def camera(self) -> str:
        """Name of its camera; empty where it has none."""
        return str(self.data.get("camera", ""))

    def to_dict(self) -> dict[str, Any]:
        """The CloudEvent in structured JSON form."""
        document = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time,
            "datacontenttype": "application/json",
        }
        if self.subject is not None:
            document["subject"] = self.subject
        return {**document, "data": dict(self.data)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Event:
        """The event of a structured JSON form. Raises ValueError where a field is missing or of the wrong type."""
        try:
            texts = {name: document[name] for name in ("id", "type", "source", "time")}
        except KeyError as error:
            raise ValueError(f"the event has no field {error.args[0]!r}") from None
        data, subject = document.get("data", {}), document.get("subject")
        if not all(isinstance(text, str) and text for text in texts.values()) or not isinstance(data, dict):
            raise ValueError(
                "id, type, source and time of an event are texts that are not empty, data is an object"
            )
        return cls(**texts, data=data, subject=None if subject is None else str(subject))


def utc_text(unix_seconds: float) -> str:
    """ISO 8601 with milliseconds, UTC, as 2026-11-28T07:55:00.123Z."""
    moment = datetime.fromtimestamp(unix_seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
