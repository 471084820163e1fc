# SPDX-License-Identifier: Apache-2.0
"""When a camera's thread that died or hangs is started again; no I/O, every call is told the time."""

from __future__ import annotations

from collections import deque

MOST_RESTARTS = 5
WINDOW_SECONDS = 60.0


class CrashLoop:
    """Starts again at once, but after MOST_RESTARTS within WINDOW_SECONDS only after a rest of that length."""

    def __init__(self) -> None:
        self.count = 0
        self.resting_until: float | None = None
        self._times: deque[float] = deque(maxlen=MOST_RESTARTS)

    def crashed(self, now: float) -> bool:
        """The thread is found dead or hanging; True where that makes it a loop, and it rests."""
        self._times.append(now)
        is_loop = len(self._times) == MOST_RESTARTS and now - self._times[0] <= WINDOW_SECONDS
        if is_loop:
            self.resting_until = now + WINDOW_SECONDS
            self._times.clear()
        return is_loop

    def may_start(self, now: float) -> bool:
        """Whether it may be started again now."""
        if self.resting_until is not None and now < self.resting_until:
            return False
        self.resting_until = None
        return True

    def started(self) -> None:
        """It was started again."""
        self.count += 1
