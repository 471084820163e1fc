# SPDX-License-Identifier: Apache-2.0
"""Looks after the cameras' threads: those that died or hang are replaced, those that were removed are seen off."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

from sightline.clients.streams.camera import Camera

LOOK_SECONDS = 0.25
HANG_SECONDS = 25.0
"""Longer than any blocking call of FFmpeg's with our timeouts."""
DRAIN_SECONDS = 2.0
LEAVE_SECONDS = 30.0
"""So long a removed camera's thread is waited for; one that hangs longer is left to itself."""


class Supervisor:
    """A thread that looks at all cameras a few times a second.

    cameras: those of now. leaving: those that were removed, until `left` was called with them.
    restart: replaces a camera's reader. alarm: is told that a camera's thread dies again and again.
    """

    def __init__(
        self,
        cameras: Callable[[], Sequence[Camera]],
        leaving: Callable[[], Sequence[Camera]],
        *,
        restart: Callable[[Camera], None],
        alarm: Callable[[Camera], None],
        left: Callable[[Camera], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cameras, self._leaving = cameras, leaving
        self._restart, self._alarm, self._left = restart, alarm, left
        self._now = now
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch-supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the cameras are the caller's from here on."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(DRAIN_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Look at all of them once."""
        now = self._now()
        for camera in self._cameras():
            with contextlib.suppress(Exception):  # no thread can be had now, say: it is looked at again
                self._look_after(camera, now)
        for camera in self._leaving():
            with contextlib.suppress(Exception):
                if is_gone(camera, now):
                    self._left(camera)

    def _look_after(self, camera: Camera, now: float) -> None:
        reader = camera.reader
        if camera.crashes.resting_until is None:
            if reader.is_alive() and now - reader.beat <= HANG_SECONDS:
                return
            reader.abandon()
            if camera.crashes.crashed(now):
                self._alarm(camera)
        if camera.crashes.may_start(now):
            camera.crashes.started()
            self._restart(camera)


def is_gone(camera: Camera, now: float) -> bool:
    """Whether a removed camera's thread has ended, or hangs for good, and its answers have come or were given up."""
    since = now - (camera.leaving_since or 0.0)
    if since > DRAIN_SECONDS:
        camera.lane.abandon()
    is_silent = not camera.reader.is_alive() or since > LEAVE_SECONDS
    return is_silent and camera.lane.is_empty
