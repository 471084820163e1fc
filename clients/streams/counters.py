# SPDX-License-Identifier: Apache-2.0
"""What happened to each frame of one camera: received = answered + dropped + pending, at every moment."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

RATE_WINDOW_SECONDS = 5.0
_BUCKETS_PER_DOUBLING = 8
_FIRST_BUCKET_SECONDS = 0.0005
_BUCKETS = 18 * _BUCKETS_PER_DOUBLING
_SHOWN_EDGES_SECONDS = tuple(0.001 * 2.0**n for n in range(13))


class DropReason(str, Enum):
    """Why a frame got no answer."""

    SUPERSEDED = "superseded"
    SKIPPED = "skipped"
    BEHIND = "behind"
    RATE = "rate"
    DAMAGED = "damaged"
    EXPIRED = "expired"
    SERVER_UNAVAILABLE = "server_unavailable"
    REFUSED = "refused"
    ERROR = "error"
    STOPPED = "stopped"


DROP_MEANINGS = {
    DropReason.SUPERSEDED: "a newer frame came before this one could be sent",
    DropReason.SKIPPED: "not needed, and so not decoded; or left out by --every",
    DropReason.BEHIND: "left undecoded to be at the newest picture again: more came than this machine decodes",
    DropReason.RATE: "more frames than the camera's rate asks for",
    DropReason.DAMAGED: "the camera's data was damaged on its way",
    DropReason.EXPIRED: "no answer within the camera's deadline",
    DropReason.SERVER_UNAVAILABLE: "no server answered at the address",
    DropReason.REFUSED: "the server was overloaded and refused it",
    DropReason.ERROR: "the server answered with an error",
    DropReason.STOPPED: "the watch was stopped or the camera taken away before the answer",
}


class Histogram:
    """Latencies from 0.5 ms to 131 s in buckets that grow by 2^(1/8): percentiles are exact to 9%."""

    def __init__(self) -> None:
        self._counts = [0] * (_BUCKETS + 1)
        self._total = 0
        self._sum_seconds = 0.0

    def __len__(self) -> int:
        return self._total

    def add(self, seconds: float) -> None:
        """Count one latency; what is longer than the last bucket is counted there."""
        ratio = max(seconds, _FIRST_BUCKET_SECONDS) / _FIRST_BUCKET_SECONDS
        bucket = math.ceil(math.log2(ratio) * _BUCKETS_PER_DOUBLING - 1e-9)
        self._counts[min(bucket, _BUCKETS)] += 1
        self._total += 1
        self._sum_seconds += max(seconds, 0.0)

    def percentile_seconds(self, fraction: float) -> float | None:
        """Upper edge of the bucket in which this fraction (0..1) is reached; None when empty."""
        need = max(1, math.ceil(fraction * self._total))
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= need:
                return float(_FIRST_BUCKET_SECONDS * 2.0 ** (bucket / _BUCKETS_PER_DOUBLING))
        return None

    def merge(self, other: Histogram) -> None:
        """Add the other's counts."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self._total += other._total
        self._sum_seconds += other._sum_seconds

    def cumulative(self) -> dict[str, Any]:
        """As a Prometheus histogram: {"buckets": [[edge in seconds, count up to it], …], "sum_seconds", "count"}."""
        buckets, seen, bucket = [], 0, 0
        for edge in _SHOWN_EDGES_SECONDS:
            last = round(math.log2(edge / _FIRST_BUCKET_SECONDS) * _BUCKETS_PER_DOUBLING)
            seen += sum(self._counts[bucket : last + 1])
            bucket = last + 1
            buckets.append([edge, seen])
        return {"buckets": buckets, "sum_seconds": round(self._sum_seconds, 4), "count": self._total}


class Rate:
    """Events per second over the last RATE_WINDOW_SECONDS."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=1024)
        self._since: float | None = None

    def add(self, now: float) -> None:
        """One event."""
        if self._since is None:
            self._since = now
        self._times.append(now)

    def per_second(self, now: float) -> float:
        """Rate now; the window is shorter while the first events are younger than it."""
        while self._times and self._times[0] < now - RATE_WINDOW_SECONDS:
            self._times.popleft()
        if self._since is None or not self._times:
            return 0.0
        age = now - self._since
        if age >= RATE_WINDOW_SECONDS:
            return len(self._times) / RATE_WINDOW_SECONDS
        return (len(self._times) - 1) / max(age, 1.0)


@dataclass(frozen=True)
class Snapshot:
    """Counts of one camera at one moment. Times in milliseconds are None until the first answer."""

    received: int
    answered: int
    dropped: dict[str, int]
    pending: int
    received_per_second: float
    answered_per_second: float
    age_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    latency: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dropped_total(self) -> int:
        """Frames without an answer."""
        return sum(self.dropped.values())

    @property
    def adds_up(self) -> bool:
        """received = answered + dropped + pending."""
        return self.received == self.answered + self.dropped_total + self.pending

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self.__dict__,
            "dropped": dict(self.dropped),
            "dropped_total": self.dropped_total,
            "adds_up": self.adds_up,
        }


class CameraCounters:
    """Thread-safe counts of one camera; each received frame ends in one `answered` or one `dropped`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._answered = 0
        self._pending = 0
        self._dropped: Counter[str] = Counter()
        self._closed = False
        self._received_rate = Rate()
        self._answered_rate = Rate()
        self._newest_answer: float | None = None
        self.latency = Histogram()

    def received(self, now: float) -> None:
        """The camera sent a picture."""
        with self._lock:
            if self._closed:
                return
            self._received += 1
            self._pending += 1
            self._received_rate.add(now)

    def answered(self, decoded_at: float, now: float) -> None:
        """A frame decoded at `decoded_at` has its result."""
        with self._lock:
            if self._closed:
                return
            self._answered += 1
            self._pending -= 1
            self._answered_rate.add(now)
            self.latency.add(now - decoded_at)
            self._newest_answer = max(decoded_at, self._newest_answer or decoded_at)

    def dropped(self, reason: DropReason, frames: int = 1) -> None:
        """Frames end without an answer."""
        if not frames:
            return
        with self._lock:
            if self._closed:
                return
            self._dropped[reason.value] += frames
            self._pending -= frames

    def close(self) -> None:
        """Count what is pending as stopped, and nothing from here on: for a camera whose thread hangs at the end."""
        with self._lock:
            if self._pending > 0:
                self._dropped[DropReason.STOPPED.value] += self._pending
                self._pending = 0
            self._closed = True

    def add(self, other: CameraCounters) -> None:
        """Add the totals of another one."""
        with other._lock:
            received, answered, pending = other._received, other._answered, other._pending
            dropped = dict(other._dropped)
            with self._lock:
                self._received += received
                self._answered += answered
                self._pending += pending
                self._dropped.update(dropped)
                self.latency.merge(other.latency)

    def snapshot(self, now: float) -> Snapshot:
        """All counts at one moment."""
        with self._lock:
            p50, p99 = self.latency.percentile_seconds(0.5), self.latency.percentile_seconds(0.99)
            return Snapshot(
                received=self._received,
                answered=self._answered,
                dropped=dict(self._dropped),
                pending=self._pending,
                received_per_second=round(self._received_rate.per_second(now), 2),
                answered_per_second=round(self._answered_rate.per_second(now), 2),
                age_ms=None if self._newest_answer is None else round((now - self._newest_answer) * 1000, 1),
                p50_ms=None if p50 is None else round(p50 * 1000, 1),
                p99_ms=None if p99 is None else round(p99 * 1000, 1),
                latency=self.latency.cumulative(),
            )
