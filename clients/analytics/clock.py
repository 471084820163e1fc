# SPDX-License-Identifier: Apache-2.0
"""One camera's own clock, for durations: it does not jump when the wall clock does, and goes at a file's speed."""

from __future__ import annotations

import math

from sightline.clients.streams.results import StreamFrame

LARGEST_STEP_SECONDS = 60.0


class CameraClock:
    """Seconds that never go back. Within a connection by the pictures' own times; between connections, and where those make
    no sense, by the monotonic time at which they were decoded."""

    def __init__(self, monotonic_seconds: float) -> None:
        self.at = 0.0
        self._started = monotonic_seconds
        self._frame_at = 0.0
        self._last: tuple[int, float, float] | None = None  # not the frame, whose picture others wait for

    def frame(self, frame: StreamFrame) -> float:
        """The time of the next frame."""
        if self._last is None:
            self._frame_at = self.at
        else:
            self._frame_at += _step(self._last, frame)
        self._last = frame.epoch, frame.pts_seconds, frame.decoded_at
        self.at = max(self.at, self._frame_at)
        return self.at

    def idle(self, monotonic_seconds: float) -> tuple[float, float]:
        """The time now, and how long ago the newest frame was decoded (infinity: there was none)."""
        if self._last is None:
            self.at = max(self.at, monotonic_seconds - self._started)
            return self.at, math.inf
        waited = max(0.0, monotonic_seconds - self._last[2])
        self.at = max(self.at, self._frame_at + waited)
        return self.at, waited


def _step(last: tuple[int, float, float], frame: StreamFrame) -> float:
    epoch, pts_seconds, decoded_at = last
    step = frame.pts_seconds - pts_seconds
    if frame.epoch == epoch and 0.0 <= step <= LARGEST_STEP_SECONDS:
        return step
    return max(0.0, frame.decoded_at - decoded_at)
