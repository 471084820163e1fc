# SPDX-License-Identifier: Apache-2.0
"""One watched camera: its source, reader, lane and analyst, and what is shown of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sightline.clients.events.event import Event
from sightline.clients.streams.lane import Lane
from sightline.clients.streams.names import Source
from sightline.clients.streams.reconnect import LinkState
from sightline.clients.streams.restarts import CrashLoop
from sightline.clients.streams.results import Analyst, StreamResult
from sightline.clients.streams.source import CameraReader
from sightline.redact import redact
from sightline.results import Detections


class Camera:
    """One camera of a watch. The analyst and what is shown belong to the results' thread, the rest to the watch."""

    def __init__(
        self, number: int, lane: Lane, reader: CameraReader, analyst: Analyst | None, started_at: float
    ) -> None:
        self.number = number
        self.lane = lane
        self.reader = reader
        self.analyst = analyst
        self.crashes = CrashLoop()
        self.started_at = started_at
        self.leaving_since: float | None = None
        self._shown: Detections | None = None
        self._counts: Mapping[str, Mapping[str, Any]] = {}

    @property
    def source(self) -> Source:
        """How it is read now."""
        return self.reader.source

    def exchange(self, analyst: Analyst | None) -> tuple[Event, ...]:
        """Ask this one from now on; what the one before still had to tell."""
        before, self.analyst = self.analyst, analyst
        return (before.close() or ()) if before is not None and before is not analyst else ()

    def show(self, result: StreamResult) -> None:
        """This is its newest result."""
        self._shown = result.detections
        self._counts = result.counts

    def state(self, now: float) -> dict[str, Any]:
        """What is going on, as plain values."""
        reader, lane, source = self.reader, self.lane, self.source
        link, error = reader.link, reader.last_error
        is_waiting, is_live = link.state is LinkState.WAITING, link.state is LinkState.LIVE
        behind_ms = round(reader.behind_seconds * 1000, 1) if is_live else None
        counts = lane.counters.snapshot(now).to_dict()
        if counts["age_ms"] is not None:  # they count from the decoding on
            counts["age_ms"] = round(counts["age_ms"] + (behind_ms or 0.0), 1)
        return {
            "id": self.number,
            "name": source.name,
            "state": link.state.value,
            "retry_in_seconds": round(max(0.0, link.retry_at - now), 1) if is_waiting else None,
            "error": redact(str(error)) if error and not is_live else None,
            "reason": reader.last_reason if error and not is_live else None,
            "server_error": redact(lane.last_error) if lane.last_error else None,
            "connections": link.connections,
            "restarts": self.crashes.count,
            "model": lane.model,
            "rate": source.rate,
            "deadline_seconds": source.deadline_seconds,
            "behind_ms": behind_ms,
            "video": reader.video,
            "objects": _count_objects(self._shown) if is_live and self._shown is not None else {},
            "counts": self._counts,
            **counts,
        }


def _count_objects(detections: Detections) -> dict[str, dict[str, int]]:
    """Objects by label: {"car": {"count": 2, "class_id": 0}}."""
    counts = Counter(int(class_id) for class_id in detections.classes)
    return {
        detections.label(class_id): {"count": n, "class_id": class_id}
        for class_id, n in sorted(counts.items())
    }
