# SPDX-License-Identifier: Apache-2.0
"""Whether frames may be sent to the server now; no I/O, every call is told the time."""

from __future__ import annotations

import threading
from collections.abc import Callable

PROBE_SECONDS = 0.25


class ServerGate:
    """Open while the server answers; after a failure one frame each PROBE_SECONDS tries if it is back.

    changed: is told when the server goes down (False) and comes back (True).
    """

    def __init__(self, changed: Callable[[bool], None] = lambda is_up: None) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._state = "unknown"
        self._next_probe = 0.0

    @property
    def state(self) -> str:
        """'unknown' before the first answer, then 'up' or 'down'."""
        return self._state

    def allows(self, now: float) -> bool:
        """True when a frame may be sent."""
        with self._lock:
            if self._state != "down":
                return True
            if now < self._next_probe:
                return False
            self._next_probe = now + PROBE_SECONDS
            return True

    def answered(self) -> None:
        """The server gave an answer, be it an error."""
        with self._lock:
            is_news, self._state = self._state == "down", "up"
        if is_news:
            self._changed(True)

    def unavailable(self, now: float) -> None:
        """Nobody answered at the server's address."""
        with self._lock:
            is_news = self._state != "down"
            if is_news:
                self._state, self._next_probe = "down", now + PROBE_SECONDS
        if is_news:
            self._changed(False)
