# SPDX-License-Identifier: Apache-2.0
"""A thread with a bounded queue: work that does not fit is refused at once, so that nobody waits for a slow disk."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

Work = Callable[[], None]


class Worker:
    """Runs what it is given, in order. idle: called about once a second in between.

    failed: gets what work raised; the thread goes on.
    """

    def __init__(
        self,
        name: str,
        longest: int,
        *,
        idle: Work = lambda: None,
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._queue: queue.Queue[Work | None] = queue.Queue(longest)
        self._idle, self._failed = idle, failed
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, work: Work) -> bool:
        """Queue it; False where the queue is full or closed."""
        if self._closed:
            return False
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            return False
        return True

    @property
    def waiting(self) -> int:
        """How much waits, about."""
        return self._queue.qsize()

    def close(self, seconds: float) -> bool:
        """Do what is queued and end; False where it is not done after so many seconds."""
        self._closed = True
        deadline = time.monotonic() + seconds
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=seconds)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        looked = time.monotonic()
        while True:
            try:
                work = self._queue.get(timeout=1.0)
                if work is None:
                    return
                self._try(work)
            except queue.Empty:
                pass
            if time.monotonic() - looked >= 1.0:
                looked = time.monotonic()
                self._try(self._idle)

    def _try(self, work: Work) -> None:
        try:
            work()
        except Exception as error:  # the next piece of work is not to blame
            self._failed(error)
