# SPDX-License-Identifier: Apache-2.0
"""How many requests of all cameras together are under way: as many as keep the server busy, and no more.

What waits, waits here, where a newer frame takes its place, and not in the server's queue, where it grows old.
The limit rises by one in a round while answers come within a target, and falls by a tenth when they do not (AIMD: Chiu and
Jain, "Analysis of the Increase and Decrease Algorithms", 1989). The target follows the shortest answer time, which is
measured anew once in PROBE_SECONDS with few requests under way (as BBR does: Cardwell et al., ACM Queue 14(5), 2016).
No I/O, every call is told the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

PROBE_SECONDS = 30.0
TARGET_TIMES = 3.0
"""Answers may take so many times as long as the shortest: batches form, and no stage idles."""
LEAST_TARGET_SECONDS = 0.02
MOST_OF_DEADLINE = 0.25
START_LIMIT = 8.0
MOST = 512.0


class Waiting(Protocol):
    """A lane that wants to send."""

    def pump(self) -> None:
        """Send if there is room."""


class FlowLimit:
    """Lets requests enter while there is room, and wakes those that wait in the order of their coming. Safe for threads."""

    def __init__(self) -> None:
        self._limit = START_LIMIT
        self._under_way = 0
        self._waiting: dict[Waiting, None] = {}
        self._is_waking = False
        self._shortest: float | None = None
        self._next_probe = 0.0
        self._saved_limit = 0.0
        self._probe_answers = 0
        self._lock = threading.Lock()

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return max(1, int(self._limit))

    def enter(self, lane: Waiting) -> bool:
        """Whether the lane may send one request; else it is woken when it may."""
        with self._lock:
            if self._under_way < self.limit:
                self._under_way += 1
                self._waiting.pop(lane, None)
                return True
            self._waiting.setdefault(lane)
            return False

    def leave(self) -> None:
        """One request is not under way any more."""
        with self._lock:
            self._under_way -= 1
        self.wake()

    def wake(self) -> None:
        """Those that wait send what there is room for. One thread at a time does it, and not from within itself."""
        with self._lock:
            if self._is_waking:  # that one looks again after each
                return
            self._is_waking = True
        try:
            while (pump := self._next()) is not None:
                pump()
        except BaseException:
            self._is_waking = False
            raise

    def forget(self, lane: Waiting) -> None:
        """The lane sends no more."""
        with self._lock:
            self._waiting.pop(lane, None)

    def answered(self, seconds: float, deadline_seconds: float, now: float) -> None:
        """A request was answered after so long."""
        with self._lock:
            self._shortest = seconds if self._shortest is None else min(self._shortest, seconds)
            if self._probe_answers:
                self._probe(seconds)
            elif now >= self._next_probe:
                self._begin_probe(seconds, now)
            else:
                self._adjust(seconds, deadline_seconds)
        self.wake()

    def _adjust(self, seconds: float, deadline_seconds: float) -> None:
        target = max(LEAST_TARGET_SECONDS, TARGET_TIMES * (self._shortest or 0.0))
        if seconds > min(target, MOST_OF_DEADLINE * deadline_seconds):
            self._limit = max(1.0, self._limit - 0.1)
        elif self._waiting and self._limit < MOST:  # else the limit is not what holds back
            self._limit += 1.0 / self._limit

    def _begin_probe(self, seconds: float, now: float) -> None:
        self._next_probe = now + PROBE_SECONDS
        if not self._waiting:  # nothing queues: what is measured is the shortest as it is
            self._shortest = seconds
            return
        self._saved_limit = self._limit
        self._limit = max(1.0, self._limit / 4)
        self._shortest = None
        self._probe_answers = int(self._saved_limit + 3 * self._limit) + 1

    def _probe(self, seconds: float) -> None:
        """Those that were under way before come first, late; then those that met an empty queue."""
        self._probe_answers -= 1
        if self._probe_answers == 0:
            self._limit = self._saved_limit

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._under_way >= self.limit or not self._waiting:
                self._is_waking = False
                return None
            lane = next(iter(self._waiting))
            del self._waiting[lane]
            return lane.pump
