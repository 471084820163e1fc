# SPDX-License-Identifier: Apache-2.0
"""What a watch did, in figures that add up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sightline.clients.streams.counters import CameraCounters, Snapshot

if TYPE_CHECKING:
    from sightline.clients.streams.camera import Camera

MOST_NAMES = 1_000
EARLIER = "earlier cameras"
"""Under this name are the figures of removed cameras whose names are too many to be kept."""


@dataclass(frozen=True)
class CameraSummary:
    """One camera at the end. Rates are over its whole time, in frames per second.

    was_removed: it had been taken away before the end.
    """

    name: str
    shown: str
    counts: Snapshot
    connections: int
    seconds: float
    error: str | None = None
    was_removed: bool = False

    @property
    def adds_up(self) -> bool:
        """received = answered + dropped, with nothing left over."""
        return self.counts.adds_up and self.counts.pending == 0

    @property
    def answered_per_second(self) -> float:
        """Mean rate of answers."""
        return self.counts.answered / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        counts = self.counts
        return {
            "name": self.name,
            "source": self.shown,
            "received": counts.received,
            "answered": counts.answered,
            "dropped": counts.dropped,
            "adds_up": self.adds_up,
            "answered_per_second": round(self.answered_per_second, 2),
            "received_per_second": round(counts.received / self.seconds, 2) if self.seconds > 0 else 0.0,
            "p50_ms": counts.p50_ms,
            "p99_ms": counts.p99_ms,
            "connections": self.connections,
            "last_error": self.error,
            "removed": self.was_removed,
        }


@dataclass(frozen=True)
class Summary:
    """All cameras of a watch at its end."""

    cameras: tuple[CameraSummary, ...]
    seconds: float
    p50_ms: float | None
    p99_ms: float | None
    output_errors: dict[str, int] = field(default_factory=dict)

    @property
    def received(self) -> int:
        """Frames decoded."""
        return sum(c.counts.received for c in self.cameras)

    @property
    def answered(self) -> int:
        """Frames with a result."""
        return sum(c.counts.answered for c in self.cameras)

    @property
    def dropped(self) -> dict[str, int]:
        """Frames without a result, by reason."""
        total: Counter[str] = Counter()
        for camera in self.cameras:
            total.update(camera.counts.dropped)
        return dict(sorted(total.items()))

    @property
    def adds_up(self) -> bool:
        """received = answered + dropped on each camera."""
        return all(c.adds_up for c in self.cameras)

    @property
    def ok(self) -> bool:
        """Each camera that is still there was answered, all adds up, and every output was written."""
        answered = all(c.counts.answered > 0 or c.was_removed for c in self.cameras)
        return self.adds_up and answered and not self.output_errors

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "received": self.received,
            "answered": self.answered,
            "dropped": self.dropped,
            "adds_up": self.adds_up,
            "answered_per_second": round(self.answered / self.seconds, 2) if self.seconds > 0 else 0.0,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "output_errors": self.output_errors,
            "cameras": [c.to_dict() for c in self.cameras],
        }


class Past:
    """The figures of cameras that were removed, by their names, so that many changes need no more memory than names."""

    def __init__(self) -> None:
        self.counters: dict[str, CameraCounters] = {}
        self._shown: dict[str, str] = {}
        self._connections: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, camera: Camera, now: float) -> None:
        """The camera is no more."""
        name = camera.source.name
        if name not in self.counters and len(self.counters) >= MOST_NAMES:
            name = EARLIER
        self.counters.setdefault(name, CameraCounters()).add(camera.lane.counters)
        self._shown[name] = camera.source.shown if name != EARLIER else ""
        self._connections[name] += camera.reader.link.connections
        self._seconds[name] += now - camera.started_at

    def row(self, camera: Camera, now: float, seconds: float, error: str | None) -> CameraSummary:
        """A present camera's summary, with the figures of earlier ones of its name."""
        source, counters = camera.source, camera.lane.counters
        connections = camera.reader.link.connections
        earlier = self.counters.get(source.name)
        if earlier is not None:
            connections += self._connections[source.name]
            both = CameraCounters()
            both.add(earlier)
            both.add(counters)
            counters = both
        return CameraSummary(source.name, source.shown, counters.snapshot(now), connections, seconds, error)

    def rows(self, now: float, without: Collection[str]) -> list[CameraSummary]:
        """The other removed cameras' summaries."""
        return [
            CameraSummary(
                name,
                self._shown[name],
                counters.snapshot(now),
                self._connections[name],
                self._seconds[name],
                was_removed=True,
            )
            for name, counters in self.counters.items()
            if name not in without
        ]
