# SPDX-License-Identifier: Apache-2.0
"""When a rule is in force: by the clock on the wall of a time zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sightline.clients.analytics.settings import Schedule

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60


class Timetable:
    """Several schedules, of which one is enough; none at all means always.

    The wall clock decides: an hour that is left out in spring is not waited for, one that comes twice in autumn counts twice.
    """

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self._windows = [_Window(schedule) for schedule in schedules]
        self._minute: int | None = None
        self._answer = True

    def in_force(self, unix_seconds: float) -> bool:
        """Whether a rule is in force at this moment."""
        if not self._windows:
            return True
        minute = int(unix_seconds // 60)  # all zones of our days differ by whole minutes
        if minute != self._minute:
            self._minute = minute
            self._answer = any(window.holds(unix_seconds) for window in self._windows)
        return self._answer


class _Window:
    def __init__(self, schedule: Schedule) -> None:
        self._days = frozenset(schedule.days or DAYS)
        self._start, self._end = _minutes(schedule.start), _minutes(schedule.end)
        self._zone = ZoneInfo(schedule.timezone) if schedule.timezone else None

    def holds(self, unix_seconds: float) -> bool:
        wall = datetime.fromtimestamp(unix_seconds, self._zone)
        minute = wall.hour * 60 + wall.minute
        today = DAYS[wall.weekday()] in self._days
        if self._start < self._end:
            return today and self._start <= minute < self._end
        yesterday = DAYS[(wall - timedelta(days=1)).weekday()] in self._days
        return (today and minute >= self._start) or (yesterday and minute < self._end)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return min(int(hours) * 60 + int(minutes), _DAY_MINUTES)
