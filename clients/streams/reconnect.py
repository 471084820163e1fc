# SPDX-License-Identifier: Apache-2.0
"""When to connect to a camera again: a state machine without I/O; every call is told the time.

Capped exponential backoff with "equal jitter" (M. Brooker, "Exponential Backoff And Jitter", 2015): a wait is
drawn from the upper half of its range, so that cameras that failed together do not come back together.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

FORGET_SECONDS = 60.0
STALL_SECONDS = 4.0
KEYFRAME_SECONDS = 20.0
"""So long a new connection that sends data is given for its first key frame; smart codecs have them that far apart."""


class LinkState(str, Enum):
    """Where one camera is in its life."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    ENDED = "ended"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Backoff:
    """Waits between attempts, in seconds; refused credentials wait longer, because cameras lock accounts."""

    first_seconds: float = 0.5
    cap_seconds: float = 8.0
    auth_first_seconds: float = 5.0
    auth_cap_seconds: float = 60.0
    steady_seconds: float = 5.0

    def range_seconds(self, failures: int, *, auth: bool) -> tuple[float, float]:
        """Shortest and longest wait after this many failures in a row (at least 1)."""
        first, cap = (
            (self.auth_first_seconds, self.auth_cap_seconds)
            if auth
            else (self.first_seconds, self.cap_seconds)
        )
        longest = min(cap, first * 2.0 ** min(failures - 1, 30))
        return longest / 2, longest


class Reconnect:
    """One camera's link: connecting -> live -> waiting -> connecting ..., never giving up until stopped."""

    def __init__(
        self,
        backoff: Backoff | None = None,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
        connections: int = 0,
    ) -> None:
        self._backoff = backoff or Backoff()
        self._uniform = uniform
        self.state = LinkState.CONNECTING
        self.failures = 0
        self.connections = connections
        self.retry_at = 0.0
        self._live_since = 0.0
        self._connecting_since = 0.0
        self._last_frame = 0.0

    def connecting(self, now: float) -> None:
        """An attempt starts."""
        if self.state is not LinkState.STOPPED:
            self.state = LinkState.CONNECTING
            self._last_frame = self._connecting_since = now

    def frame(self, now: float) -> None:
        """A picture arrived; failures are forgotten once the link was steady, not at its first picture."""
        if self.state is LinkState.STOPPED:
            return
        if self.state is not LinkState.LIVE:
            self.state = LinkState.LIVE
            self.connections += 1
            self._live_since = now
        elif now - self._live_since >= self._backoff.steady_seconds:
            self.failures = 0
        self._last_frame = now

    def data(self, now: float) -> None:
        """Pictures arrived that are left undecoded on purpose: a live link is well."""
        if self.state is LinkState.LIVE:
            self._last_frame = now

    def awaits_keyframe(self, now: float) -> None:
        """Pictures arrived with which nothing can be done before the first key frame."""
        if self.state is LinkState.CONNECTING and now - self._connecting_since < KEYFRAME_SECONDS:
            self._last_frame = now

    def failed(self, now: float, *, auth: bool = False) -> float:
        """The attempt or the link broke; gives the seconds to wait before the next attempt."""
        if self.state is LinkState.STOPPED:
            return 0.0
        self.failures += 1
        wait = self._uniform(*self._backoff.range_seconds(self.failures, auth=auth))
        self.state = LinkState.WAITING
        self.retry_at = now + wait
        return wait

    def postponed(self, retry_at: float) -> None:
        """The host's turn comes later than the backoff asked for."""
        self.retry_at = max(self.retry_at, retry_at)

    def stalled(self, now: float) -> bool:
        """True when an open link gave no picture for STALL_SECONDS."""
        return self.state in (LinkState.CONNECTING, LinkState.LIVE) and now - self._last_frame > STALL_SECONDS

    def ended(self) -> None:
        """A file was played to its end."""
        if self.state is not LinkState.STOPPED:
            self.state = LinkState.ENDED

    def stop(self) -> None:
        """No attempt follows."""
        self.state = LinkState.STOPPED


class HostPacer:
    """At most one attempt each `interval_seconds` per host, in the order of asking.

    The first attempts of up to `burst` cameras of a host are not held back, so that a start is quick.
    """

    def __init__(self, interval_seconds: float = 1.0, burst: int = 8) -> None:
        self._interval_seconds = interval_seconds
        self._burst = burst
        self._next: dict[str, float] = {}
        self._firsts: dict[str, int] = {}
        self._lock = threading.Lock()

    def reserve(self, host: str, earliest: float, *, first: bool = False) -> float:
        """The time at which the next attempt at this host may start, not before `earliest`."""
        with self._lock:
            self._forget(earliest)
            if first and self._firsts.get(host, 0) < self._burst:
                self._firsts[host] = self._firsts.get(host, 0) + 1
                self._next[host] = max(self._next.get(host, 0.0), earliest + self._interval_seconds)
                return earliest
            at = max(earliest, self._next.get(host, 0.0))
            self._next[host] = at + self._interval_seconds
            return at

    def _forget(self, now: float) -> None:
        """Hosts at which nobody has knocked for a while."""
        for host in [host for host, at in self._next.items() if at < now - FORGET_SECONDS]:
            del self._next[host]
            self._firsts.pop(host, None)
