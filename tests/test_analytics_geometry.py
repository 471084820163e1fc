# SPDX-License-Identifier: Apache-2.0
"""Areas, lines, the ground and schedules, against what was worked out by hand or another way."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.clients.analytics.clock import CameraClock
from sightline.clients.analytics.geometry import (
    Area,
    Homography,
    angle_between,
    crossings,
    distance_to,
    on_one_line,
)
from sightline.clients.analytics.schedules import Timetable
from sightline.clients.analytics.settings import Analytics, Ground, Schedule
from tests.analytics_parts import stream_frame

unit = st.floats(0.0, 1.0).map(lambda value: round(value, 9))  # no edge rises by less
corners = st.lists(st.tuples(unit, unit), min_size=3, max_size=12)


@settings(max_examples=40, deadline=None)
@given(corners, st.lists(st.tuples(unit, unit), min_size=1, max_size=20))
def test_an_area_is_what_an_odd_number_of_its_edges_surrounds(points: Any, asked: Any) -> None:
    """Even-odd, edge by edge in plain Python."""
    expected = []
    for x, y in asked:
        odd = False
        for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
            if (y1 > y) != (y2 > y) and x < (y - y1) * ((x2 - x1) / (y2 - y1)) + x1:
                odd = not odd
        expected.append(odd)
    assert Area(points).contains(np.array(asked)).tolist() == expected


def test_an_area_that_crosses_itself() -> None:
    bow = Area([(0, 0), (1, 1), (1, 0), (0, 1)])
    asked = np.array([[0.1, 0.5], [0.9, 0.5], [0.5, 0.1], [0.5, 0.9], [np.nan, 0.5], [0.1, np.nan]])
    assert bow.contains(asked).tolist() == [True, True, False, False, False, False]
    star = [(math.sin(n * 0.8 * math.pi) / 2 + 0.5, math.cos(n * 0.8 * math.pi) / 2 + 0.5) for n in range(5)]
    assert Area(star).contains(np.array([[0.5, 0.5], [0.5, 0.9]])).tolist() == [False, True]


def test_points_on_one_line() -> None:
    assert on_one_line([(0.1, 0.1), (0.2, 0.2), (0.9, 0.9)])
    assert on_one_line([(0.1, 0.1)] * 3)
    assert not on_one_line([(0.1, 0.1), (0.2, 0.2), (0.9, 0.8)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(unit, unit), min_size=2, max_size=6), st.tuples(unit, unit), st.tuples(unit, unit))
def test_the_way_back_crosses_the_other_way(line: Any, start: Any, end: Any) -> None:
    assert crossings(line, start, end) == -crossings(line, end, start)


def test_distances_and_angles() -> None:
    line = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]
    assert distance_to(line, (0.5, 0.25)) == 0.25
    assert distance_to(line, (-0.3, -0.4)) == pytest.approx(0.5)
    assert distance_to([(0.5, 0.5), (0.5, 0.5)], (0.5, 0.75)) == 0.25
    assert angle_between((1, 0), (0, 1)) == pytest.approx(90)
    assert angle_between((1, 0), (-1, 0)) == pytest.approx(180)
    assert angle_between((1, 1), (2, 2)) == pytest.approx(0)


ROAD = {"image": [[0.4, 0.4], [0.6, 0.4], [1, 1], [0, 1]], "metres": [[0, 20], [10, 20], [10, 0], [0, 0]]}


def test_the_ground_maps_its_own_points_and_those_between() -> None:
    road = Homography(image=ROAD["image"], ground=ROAD["metres"])  # type: ignore[arg-type]
    assert np.allclose(road.to_metres(np.array(ROAD["image"])), ROAD["metres"])
    # The trapezium's diagonals meet where the rectangle's do.
    x, y = road.to_metres(np.array([[0.5, 0.5]]))[0]
    assert (x, y) == (pytest.approx(5.0), pytest.approx(10.0))
    assert np.isnan(road.to_metres(np.array([[0.5, 0.1]]))).all()  # above the horizon at y = 0.25


def test_more_points_are_fitted_by_least_squares() -> None:
    matrix = np.array([[30.0, 4, 1], [2, 50, -3], [0.1, 0.9, 1]])
    image = np.random.default_rng(3).uniform(0, 1, (20, 2))
    mapped = np.c_[image, np.ones(20)] @ matrix.T
    exact = mapped[:, :2] / mapped[:, 2:]
    trembling = exact + np.random.default_rng(4).normal(0, 0.01, exact.shape)
    found = Homography(image.tolist(), trembling.tolist())
    assert np.abs(found.to_metres(image) - exact).max() < 0.05


@pytest.mark.parametrize(
    ("image", "metres", "told"),
    [
        (
            [[0, 0], [0.5, 0.5], [1, 1], [0.2, 0.2]],
            [[0, 0], [1, 1], [2, 2], [3, 3]],
            "do not determine a plane",
        ),
        ([[0, 0], [0.5, 0.5], [1, 1], [0, 1]], [[0, 0], [5, 0], [5, 5], [0, 5]], "do not determine a plane"),
        ([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [1, 1], [2, 2], [0, 5]], "do not determine a plane"),
        ([[0.5, 0.5]] * 4, [[0, 0], [5, 0], [5, 5], [0, 5]], "do not determine a plane"),
        ([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [5, 0], [0, 5], [5, 5]], "same order"),
        (
            [[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]],
            [[0, 0], [10, 0], [10, 10], [0, 10], [9, 9]],
            "point 5 is 3.7 m away",
        ),
        ([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [5, 0], [5, 5]], "at least 4 items"),
        ([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [5, 0], [5, 5], [0, 5], [1, 1]], "they are pairs"),
        ([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [5, 0], [5, 5], [0, math.nan]], "finite number"),
    ],
)
def test_a_ground_that_is_none_is_told(image: Any, metres: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Ground.model_validate({"image": image, "metres": metres})


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"kind": "zone", "points": [[0, 0], [0.5, 0.5], [1, 1]]}, "lie on one line"),
        ({"kind": "line", "points": [[0.5, 0.5], [0.5, 0.5]]}, "all the same"),
        ({"kind": "speed", "above_kmh": 5}, "needs `ground`"),
        ({"kind": "speed"}, "no limit"),
        ({"kind": "attribute", "stage": "hat", "values": ["red"]}, "names the stage 'hat'"),
        ({"kind": "absence", "seconds": 5, "schedule": [{"timezone": "Mars/Base"}]}, "Mars/Base"),
        ({"kind": "absence", "seconds": 5, "schedule": [{"start": "10:00", "end": "10:00"}]}, "whole day"),
        (
            {
                "kind": "wrong_way",
                "points": [[0, 0], [1, 0], [1, 1]],
                "allowed": [[0.5, 0.5], [0.5, 0.5]],
            },
            "all the same",
        ),
    ],
)
def test_rules_that_mean_nothing_are_told(rule: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Analytics.model_validate({"rules": [{"name": "it", **rule}]})


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("schedule", "utc", "expected"),
    [
        ({}, "2026-01-15T00:00:00", True),
        ({"start": "08:00", "end": "17:30"}, "2026-01-15T08:00:00", True),
        ({"start": "08:00", "end": "17:30"}, "2026-01-15T07:59:59", False),
        ({"start": "08:00", "end": "17:30"}, "2026-01-15T17:29:59", True),
        ({"start": "08:00", "end": "17:30"}, "2026-01-15T17:30:00", False),
        ({"days": ["thu"]}, "2026-01-15T23:59:59", True),
        ({"days": ["thu"]}, "2026-01-16T00:00:00", False),
        # Over midnight: Thursday's night lasts until Friday morning, Wednesday's does not count.
        ({"days": ["thu"], "start": "22:00", "end": "06:00"}, "2026-01-15T05:00:00", False),
        ({"days": ["thu"], "start": "22:00", "end": "06:00"}, "2026-01-15T22:00:00", True),
        ({"days": ["thu"], "start": "22:00", "end": "06:00"}, "2026-01-16T05:59:59", True),
        ({"days": ["thu"], "start": "22:00", "end": "06:00"}, "2026-01-16T06:00:00", False),
        ({"days": ["thu"], "start": "22:00", "end": "06:00"}, "2026-01-16T22:00:00", False),
        # Berlin is one hour ahead of UTC in winter and two in summer.
        ({"start": "08:00", "end": "09:00", "timezone": "Europe/Berlin"}, "2026-01-15T07:30:00", True),
        ({"start": "08:00", "end": "09:00", "timezone": "Europe/Berlin"}, "2026-07-15T07:30:00", False),
        ({"start": "08:00", "end": "09:00", "timezone": "Europe/Berlin"}, "2026-07-15T06:30:00", True),
        # 2026-03-29: after 01:59 comes 03:00; a rule from 02:30 begins at 03:00 then.
        ({"start": "02:30", "end": "04:00", "timezone": "Europe/Berlin"}, "2026-03-29T00:59:00", False),
        ({"start": "02:30", "end": "04:00", "timezone": "Europe/Berlin"}, "2026-03-29T01:00:00", True),
        # 2026-10-25: 02:30 comes twice.
        ({"start": "02:30", "end": "02:45", "timezone": "Europe/Berlin"}, "2026-10-25T00:35:00", True),
        ({"start": "02:30", "end": "02:45", "timezone": "Europe/Berlin"}, "2026-10-25T01:35:00", True),
        ({"start": "02:30", "end": "02:45", "timezone": "Europe/Berlin"}, "2026-10-25T01:10:00", False),
        ({"start": "05:00", "end": "06:00", "timezone": "Asia/Kathmandu"}, "2026-01-14T23:15:00", True),
    ],
)
def test_schedules(schedule: dict[str, Any], utc: str, expected: bool) -> None:
    given_schedule = Schedule.model_validate({"timezone": "UTC", **schedule})
    assert Timetable([given_schedule]).in_force(moment(utc)) is expected


def test_a_timetable_over_a_year_is_what_the_wall_clock_says() -> None:
    """Minute by minute would take long: every 37 minutes of a year, in force for as many as the clock shows 22 to 6."""
    zone = ZoneInfo("America/New_York")
    table = Timetable([Schedule(start="22:00", end="06:00", timezone="America/New_York")])
    start = moment("2026-01-01T00:00:00")
    for step in range(0, 365 * 24 * 60, 37):
        at = start + step * 60
        hour = datetime.fromtimestamp(at, zone).hour
        assert table.in_force(at) is (hour >= 22 or hour < 6)


def test_no_schedule_is_always_and_several_are_any_of_them() -> None:
    assert Timetable([]).in_force(0.0)
    two = Timetable([Schedule(end="01:00", timezone="UTC"), Schedule(start="23:00", timezone="UTC")])
    assert [two.in_force(moment(f"2026-01-15T{hour}:30:00")) for hour in ("00", "12", "23")] == [
        True,
        False,
        True,
    ]


def test_a_cameras_clock_goes_by_the_pictures_and_never_back() -> None:
    clock = CameraClock(990.0)
    assert clock.idle(995.0) == (5.0, math.inf)
    assert clock.frame(stream_frame(0, 0.0)) == 5.0
    assert clock.frame(stream_frame(1, 0.1)) == pytest.approx(5.1)
    # The wall clock jumps by an hour: nothing. A file is read fast: its own time.
    assert clock.frame(stream_frame(2, 0.2, unix=9e9)) == pytest.approx(5.2)
    assert clock.frame(stream_frame(3, 0.3, pts=2.2)) == pytest.approx(7.2)
    # A presentation time that jumps by an hour, or back: the time between the decoded pictures.
    assert clock.frame(stream_frame(4, 0.4, pts=3600.0)) == pytest.approx(7.3)
    assert clock.frame(stream_frame(5, 0.5, pts=1.0)) == pytest.approx(7.4)
    # Another connection 30 s later, whose times begin anew.
    assert clock.frame(stream_frame(0, 30.5, pts=0.0, epoch=9_999_999_999_999)) == pytest.approx(37.4)
    # While none come, time goes on; a frame that was decoded before that is not before it.
    assert clock.idle(1032.5) == (pytest.approx(39.4), pytest.approx(2.0))
    late = stream_frame(1, 31.0, pts=0.5, epoch=9_999_999_999_999)
    assert clock.frame(late) == pytest.approx(39.4)
    assert clock.frame(stream_frame(2, 33.5, pts=3.0, epoch=9_999_999_999_999)) == pytest.approx(40.4)
