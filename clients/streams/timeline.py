# SPDX-License-Identifier: Apache-2.0
"""Turns a connection's timestamps into seconds from its start; no I/O."""

from __future__ import annotations

from fractions import Fraction

MAX_GAP_SECONDS = 10.0


class TimestampJump(Exception):  # noqa: N818 - not an error: it asks for a new epoch
    """The camera's clock went back or leapt ahead."""


class Timeline:
    """Seconds since the first packet. The first packet of an RTSP stream may come without a timestamp."""

    def __init__(self, time_base: Fraction, frames_per_second: float) -> None:
        self.period_seconds = 1.0 / frames_per_second if 1.0 <= frames_per_second <= 240.0 else 1.0 / 15.0
        self._numerator, self._denominator = time_base.numerator, time_base.denominator
        self._base: int | None = None
        self._unknown = 0
        self._last_dts = -1.0

    def packet(self, pts: int | None, dts: int | None) -> tuple[float, float]:
        """(pts, dts) of the next packet in seconds, dts strictly rising. Raises TimestampJump."""
        known_dts = dts if dts is not None else pts
        if known_dts is None:
            seconds = 0.0 if self._last_dts < 0 else self._last_dts + self.period_seconds
            self._unknown += self._base is None
            self._last_dts = seconds
            return seconds, seconds
        if self._base is None:
            periods = self._unknown * self.period_seconds
            self._base = known_dts - round(periods * self._denominator / self._numerator)
        dts_seconds = self._seconds(known_dts)
        if self._last_dts >= 0 and not 0 < dts_seconds - self._last_dts <= MAX_GAP_SECONDS:
            raise TimestampJump
        self._last_dts = dts_seconds
        pts_seconds = dts_seconds if pts is None else max(self._seconds(pts), dts_seconds)
        return pts_seconds, dts_seconds

    def frame(self, pts: int | None) -> float:
        """Seconds of a decoded picture; without a timestamp, those of the newest packet."""
        if pts is None or self._base is None:
            return max(self._last_dts, 0.0)
        return max(self._seconds(pts), 0.0)

    def _seconds(self, ticks: int) -> float:
        return (
            (ticks - (self._base or 0)) * self._numerator / self._denominator
        )  # a Fraction would cost more than all else
