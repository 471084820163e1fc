# SPDX-License-Identifier: Apache-2.0
"""What a watch did, in figures that add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sightline.clients.streams.counters import Snapshot


@dataclass(frozen=True)
class CameraSummary:
    """One camera at the end. Rates are over its whole time, in frames per second."""

    name: str
    shown: str
    counts: Snapshot
    connections: int
    seconds: float
    error: str | None = None

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
        """Each camera was answered, all adds up, and every output was written."""
        return self.adds_up and all(c.counts.answered > 0 for c in self.cameras) and not self.output_errors

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
