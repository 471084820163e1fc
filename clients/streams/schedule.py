# SPDX-License-Identifier: Apache-2.0
"""Which pictures of a camera are sent: a schedule by presentation time; no I/O and no clock."""

from __future__ import annotations

import math

from sightline.clients.streams.counters import DropReason

_EPSILON_SECONDS = 1e-6
_LONGEST_STEP_SECONDS = 2.0
_SMOOTHING = 0.1


class RateSchedule:
    """Takes `rate` pictures a second of presentation time, exactly on average, whatever the camera's own rate.

    Tokens come due on a grid with the period 1/rate; a picture takes the token it is nearest to. None: takes all.
    A gap in the pictures is not made up for.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._due: float | None = None
        self._last = 0.0
        self._step = 0.0

    def change(self, rate: float | None) -> None:
        """Another rate from the next picture on."""
        if rate != self.rate:
            self.rate, self._due = rate, None

    def restart(self) -> None:
        """Presentation time begins anew; the next picture is taken."""
        self._due, self._step = None, 0.0

    def due(self, pts_seconds: float) -> bool:
        """Whether the picture of this time would be taken; False stays False."""
        return self.rate is None or self._due is None or pts_seconds + self._tolerance >= self._due

    def passed(self, pts_seconds: float) -> None:
        """There was a picture of this time, which is not asked about."""
        if self.rate is not None:
            self._measure(pts_seconds)

    def take(self, pts_seconds: float) -> bool:
        """Whether this picture is taken; to be asked once for each, in the order of their times."""
        if self.rate is None:
            return True
        period = 1.0 / self.rate
        is_due = self.due(pts_seconds)
        if self._due is None:
            self._due = pts_seconds + period
        elif is_due:
            behind = pts_seconds + self._tolerance - self._due
            self._due += period * (math.floor(behind / period + _EPSILON_SECONDS) + 1)
        self._measure(pts_seconds)
        return is_due

    def _measure(self, pts_seconds: float) -> None:
        """The distance of two pictures, smoothed."""
        step = pts_seconds - self._last
        if step > 0.0 or step < -_LONGEST_STEP_SECONDS:
            self._last = pts_seconds
        if 0.0 < step <= _LONGEST_STEP_SECONDS:
            self._step += (step - self._step) * (_SMOOTHING if self._step else 1.0)

    @property
    def _tolerance(self) -> float:
        """Half the distance of two pictures, so that the nearest is taken and not the next one."""
        if self.rate is None:
            return 0.0
        return min(self._step, 1.0 / self.rate) / 2 + _EPSILON_SECONDS


class Picker:
    """The pictures to be sent: each `every`-th one, of these at most `rate` a second."""

    def __init__(self, rate: float | None = None, every: int = 1) -> None:
        self.schedule = RateSchedule(rate)
        self._every = every
        self._seen = 0

    @property
    def rate(self) -> float | None:
        """Frames a second at most; None where that decides nothing about what must be decoded."""
        return self.schedule.rate if self._every == 1 else None

    def restart(self) -> None:
        """A new connection: presentation time begins anew."""
        self.schedule.restart()

    def refusal(self, pts_seconds: float) -> DropReason | None:
        """Why this picture is not sent; None where it is."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return DropReason.SKIPPED
        return None if self.schedule.take(pts_seconds) else DropReason.RATE

    def may_skip(self, pts_seconds: float) -> bool:
        """Whether the picture of this time is not wanted whatever comes, so that it need not be decoded."""
        return self._every == 1 and not self.schedule.due(pts_seconds)

    def skipped(self, pts_seconds: float) -> None:
        """The picture of this time was not decoded."""
        self.schedule.passed(pts_seconds)
