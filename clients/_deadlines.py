# SPDX-License-Identifier: Apache-2.0
"""One thread that ends many requests at their deadlines."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_IDLE_SECONDS = 10.0
log = logging.getLogger("sightline.clients")


class Deadlines:
    """Calls functions at their moments, unless they are forgotten before. The thread ends when it idles."""

    def __init__(self) -> None:
        self._waiting: dict[int, Callable[[], None]] = {}
        self._moments: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0  # it is not woken for what comes later than that

    def add(self, seconds: float, expire: Callable[[], None]) -> int:
        """Call `expire` after so many seconds; returns the number for `forget`."""
        moment = time.monotonic() + seconds
        with self._changed:
            number = next(self._numbers)
            self._waiting[number] = expire
            heapq.heappush(self._moments, (moment, number))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sightline-deadlines", daemon=True)
                self._thread.start()
            elif moment < self._wakes_at:
                self._changed.notify()
            return number

    def forget(self, number: int) -> None:
        """It was answered in time."""
        with self._changed:
            self._waiting.pop(number, None)
            while self._moments and self._moments[0][1] not in self._waiting:
                heapq.heappop(self._moments)

    def _run(self) -> None:
        while (due := self._next_due()) is not None:
            for expire in due:
                try:
                    expire()
                except BaseException:  # of the caller's callback; the other requests have deadlines too
                    log.exception("a callback at a request's deadline failed")

    def _next_due(self) -> list[Callable[[], None]] | None:
        """What is due now, waited for; None when there was nothing to wait for."""
        with self._changed:
            if not self._moments:
                self._sleep(_IDLE_SECONDS)
            if not self._moments:
                self._thread = None
                return None
            self._sleep(self._moments[0][0] - time.monotonic())
            now, due = time.monotonic(), []
            while self._moments and self._moments[0][0] <= now:
                expire = self._waiting.pop(heapq.heappop(self._moments)[1], None)
                if expire is not None:
                    due.append(expire)
            return due

    def _sleep(self, seconds: float) -> None:
        self._wakes_at = time.monotonic() + seconds
        self._changed.wait(min(max(0.0, seconds), threading.TIMEOUT_MAX))
        self._wakes_at = 0.0
