# SPDX-License-Identifier: Apache-2.0
"""Each rule as a table: where objects are at which time, and what must have happened, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.clients.analytics.rule_set import RuleSet
from sightline.clients.analytics.scene import Scene
from sightline.clients.analytics.settings import Analytics
from tests.analytics_parts import Stage, state_of

SQUARE = [[0.2, 0.2], [0.6, 0.2], [0.6, 0.6], [0.2, 0.6]]
IN, OUT = (0.4, 0.4), (0.8, 0.8)
GROUND = {"image": [[0, 0], [1, 0], [1, 1], [0, 1]], "metres": [[0, 0], [20, 0], [20, 20], [0, 20]]}


def zone(**more: Any) -> Stage:
    return Stage(state_of({"kind": "zone", "points": SQUARE, **more}))


def test_zone_tells_who_enters_and_leaves_with_the_time_inside() -> None:
    stage = zone()
    assert stage.at(0.0, {1: OUT}) == []
    assert stage.at(1.0, {1: IN}) == [("zone.entered", 1, {"position": [0.4, 0.4], "inside": 1})]
    assert stage.at(2.0, {1: IN, 2: IN}) == [("zone.entered", 2, {"position": [0.4, 0.4], "inside": 2})]
    assert stage.at(3.5, {1: IN, 2: IN}) == []
    assert stage.at(3.9, {1: OUT, 2: IN}) == []  # seen inside 0.4 s ago
    assert stage.state.counts() == {"inside": 2, "entered": 2, "left": 0}
    left = {"position": [0.8, 0.8], "dwell_seconds": 2.5, "reason": "moved", "inside": 1}
    assert stage.at(4.0, {1: OUT, 2: IN}) == [("zone.left", 1, left)]
    assert stage.state.counts() == {"inside": 1, "entered": 2, "left": 1}


def test_a_box_that_trembles_on_the_border_neither_enters_nor_leaves_again() -> None:
    steps = [(n / 10, {1: (0.2 + (0.01 if n % 2 else -0.01), 0.4)}) for n in range(100)]
    assert zone().play(steps) == [(0.1, "zone.entered", 1)]


def test_an_object_that_is_lost_inside_has_left() -> None:
    stage = zone()
    stage.at(0.0, {1: IN})
    stage.at(2.0, {1: IN})
    assert stage.at(2.5, {}) == []  # not seen, but followed
    [(kind, key, data)] = stage.at(3.1, {}, ended=[1])
    assert (kind, key, data["dwell_seconds"], data["reason"]) == ("zone.left", 1, 2.0, "lost")


def test_classes_choose_who_counts() -> None:
    stage = Stage(state_of({"kind": "zone", "points": SQUARE, "classes": ["car"]}))
    assert stage.at(0.0, {1: IN}) == []
    stage.objects[1].label = "car"
    assert [kind for kind, _, _ in stage.at(0.1, {1: IN})] == ["zone.entered"]


def test_a_cooldown_holds_back_beginnings_and_their_ends_but_no_count() -> None:
    stage = zone(cooldown_seconds=10)
    stage.at(0.0, {})
    told = stage.play(
        [(1.0, {1: IN}), (2.0, {1: IN, 2: IN}), (3.0, {1: IN, 2: OUT}), (4.0, {1: OUT, 2: OUT})]
    )
    assert told == [(1.0, "zone.entered", 1), (4.0, "zone.left", 1)]
    assert stage.state.counts() == {"inside": 0, "entered": 2, "left": 2}
    assert stage.play([(11.0, {3: IN})]) == [(11.0, "zone.entered", 3)]


def test_a_schedule_ends_what_it_began() -> None:
    stage = zone(schedule=[{"start": "12:00", "end": "12:01", "timezone": "UTC"}])
    assert stage.play([(0.0, {1: IN}), (59.0, {1: IN})]) == [(0.0, "zone.entered", 1)]
    [(kind, _, data)] = stage.at(60.0, {1: IN})
    assert (kind, data["reason"], data["dwell_seconds"]) == ("zone.left", "schedule", 59.0)
    assert stage.play([(61.0, {1: IN, 2: IN})]) == []
    assert stage.state.counts() == {"inside": 0, "entered": 1, "left": 1}


def line(direction: str = "both", points: Any = ((0.1, 0.5), (0.9, 0.5)), **more: Any) -> Stage:
    return Stage(state_of({"kind": "line", "points": points, "direction": direction, **more}))


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ([(0.5, 0.4), (0.5, 0.6)], "f"),
        ([(0.5, 0.6), (0.5, 0.4)], "b"),
        ([(0.5, 0.4), (0.5, 0.5), (0.5, 0.6)], "f"),  # stops exactly on it
        ([(0.5, 0.4), (0.5, 0.5), (0.5, 0.4)], ""),  # touches it
        ([(0.5, 0.4), (0.5, 0.502), (0.5, 0.499), (0.5, 0.503), (0.5, 0.56)], "f"),  # trembles
        ([(0.5, 0.4), (0.5, 0.502), (0.5, 0.499), (0.5, 0.503), (0.5, 0.44)], ""),
        ([(0.5, 0.4), (0.5, 0.6), (0.5, 0.4), (0.5, 0.6)], "fbf"),
        ([(0.95, 0.4), (0.95, 0.6)], ""),  # beside its end
        ([(0.05, 0.6), (0.5, 0.6), (0.5, 0.4), (0.95, 0.4), (0.95, 0.6)], "b"),  # back around the end
        ([(0.2, 0.5), (0.8, 0.5)], ""),  # along it
        ([(0.2, 0.1), (0.8, 0.9)], "f"),  # far in one step
    ],
)
def test_line_counts_each_crossing_once(way: list[tuple[float, float]], expected: str) -> None:
    stage = line()
    told = "".join(
        data["direction"][0] for n, place in enumerate(way) for _, _, data in stage.at(n / 10, {1: place})
    )
    assert told == expected
    assert stage.state.counts() == {"forward": expected.count("f"), "backward": expected.count("b")}


def test_a_corner_of_a_line_is_crossed_once() -> None:
    corner = ((0.1, 0.5), (0.5, 0.5), (0.9, 0.5))
    assert len(line(points=corner).play([(0.0, {1: (0.5, 0.3)}), (0.1, {1: (0.5, 0.7)})])) == 1
    bent = ((0.1, 0.7), (0.5, 0.5), (0.9, 0.7))
    assert (
        len(line(points=bent).play([(0.0, {1: (0.5, 0.3)}), (0.1, {1: (0.5, 0.5)}), (0.2, {1: (0.5, 0.7)})]))
        == 1
    )
    assert (
        line(points=bent).play([(0.0, {1: (0.3, 0.5)}), (0.1, {1: (0.5, 0.5)}), (0.2, {1: (0.7, 0.5)})]) == []
    )


def test_only_the_wanted_direction_counts() -> None:
    stage = line("forward")
    steps = [(0.0, {1: (0.5, 0.4)}), (0.1, {1: (0.5, 0.6)}), (0.2, {1: (0.5, 0.4)})]
    assert stage.play(steps) == [(0.1, "line.crossed", 1)]
    assert stage.state.counts() == {"forward": 1}


def test_who_is_lost_right_behind_the_line_has_crossed_it() -> None:
    stage = line()
    assert stage.play([(0.0, {1: (0.5, 0.4)}), (0.1, {1: (0.5, 0.501)})]) == []
    [(kind, key, data)] = stage.at(1.2, {}, ended=[1])
    assert (kind, key, data["direction"]) == ("line.crossed", 1, "forward")


grid = st.integers(0, 20).map(lambda n: n / 20)
ways = st.lists(st.tuples(grid, grid), min_size=2, max_size=30)
lines = st.lists(st.tuples(grid, grid), min_size=2, max_size=6).filter(lambda points: len(set(points)) > 1)


@settings(max_examples=50, deadline=None)
@given(ways, lines)
def test_a_way_back_in_time_counts_the_opposite(way: list[Any], points: list[Any]) -> None:
    counts = []
    for direction in (way, way[::-1]):
        stage = line(points=points)
        for n, place in enumerate(direction):
            stage.at(n / 10, {1: place})
        stage.at(99.0, {}, ended=[1])
        counts.append(stage.state.counts())
    assert (counts[0]["forward"], counts[0]["backward"]) == (counts[1]["backward"], counts[1]["forward"])


@settings(max_examples=50, deadline=None)
@given(ways)
def test_through_a_full_width_line_the_counts_say_on_which_side_it_is(way: list[Any]) -> None:
    """forward - backward = 1 above to below, 0, or -1, whatever happens between."""
    way = [(0.01 + 0.9 * x, y + 0.0123) for x, y in way]  # none exactly on the line or its ends
    stage = line(points=((0.0, 0.5), (1.0, 0.5)))
    for n, place in enumerate(way):
        stage.at(n / 10, {1: place})
    stage.at(99.0, {}, ended=[1])
    counts = stage.state.counts()
    above = [y < 0.5 for _, y in (way[0], way[-1])]
    assert counts["forward"] - counts["backward"] == int(above[0]) - int(above[1])


moves = st.lists(
    st.tuples(
        st.dictionaries(st.integers(1, 5), st.tuples(grid, grid)), st.sets(st.integers(1, 5)), st.booleans()
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(moves, st.booleans())
def test_entered_less_left_is_who_is_inside(steps: list[Any], scheduled: bool) -> None:
    hours = [{"start": "12:00", "end": "12:02", "timezone": "UTC"}] if scheduled else []
    stage, told = zone(schedule=hours), {"zone.entered": 0, "zone.left": 0}
    at = 0.0
    for places, ended, long in steps:
        at += 7.0 if long else 0.3
        there = {key: place for key, place in places.items() if key not in ended}
        for kind, _, _ in stage.at(at, there, ended=ended):
            told[kind] += 1
        counts = stage.state.counts()
        assert counts["entered"] - counts["left"] == counts["inside"]
        assert told["zone.entered"] - told["zone.left"] == counts["inside"]


def test_loitering_is_told_once_for_each_stay() -> None:
    stage = Stage(state_of({"kind": "loitering", "points": SQUARE, "seconds": 3}))
    steps = [(n / 2, {1: IN}) for n in range(10)]
    assert stage.play(steps) == [(3.0, "loitering", 1)]
    assert stage.state.counts() == {"inside": 1, "loitering": 1, "total": 1}
    stage.play([(5.0, {1: OUT}), (6.0, {1: OUT})])
    assert stage.play([(n / 2 + 10, {1: IN}) for n in range(8)]) == [(13.0, "loitering", 1)]


def test_crowding_starts_after_its_seconds_and_ends_when_it_is_calm() -> None:
    stage = Stage(state_of({"kind": "crowding", "points": SQUARE, "count": 2, "seconds": 1}))
    two, one = {1: IN, 2: IN}, {1: IN, 2: OUT}
    assert stage.play([(0.0, two), (0.5, two)]) == []
    assert stage.at(1.0, {**two, 3: IN}) == [
        ("crowding.started", None, {"count": 3, "seconds": 1.0, "track_ids": [1, 2, 3]})
    ]
    # 2 and 3 have left at 2.5; fewer than two for 1 s since then: over at 4.0, and it lasted from 0.0 to 2.5
    assert stage.play([(2.0, two)]) == []
    assert stage.play([(2.5, {**one, 3: OUT}), (3.0, {**one, 3: OUT})]) == []
    [(kind, _, data)] = stage.at(4.0, {**one, 3: OUT})
    assert (kind, data) == (
        "crowding.ended",
        {"count": 1, "most": 3, "duration_seconds": 2.5, "reason": "over"},
    )
    assert stage.state.counts() == {"inside": 1, "crowded": False, "total": 1}


def test_absence_starts_and_ends_also_while_no_frames_come() -> None:
    stage = Stage(state_of({"kind": "absence", "seconds": 5}))
    assert stage.play([(0.0, {}), (2.0, {1: IN}), (6.9, {})]) == []
    assert stage.at(7.0, {}, has_frame=False) == [
        ("absence.started", None, {"seconds": 5.0, "camera_live": False})
    ]
    assert stage.at(9.0, {}) == []
    assert stage.state.counts() == {"inside": 0, "absent": True, "total": 1}
    assert stage.at(10.0, {1: OUT}) == [("absence.ended", 1, {"duration_seconds": 8.0, "reason": "over"})]


def test_stopped_needs_a_move_before_and_is_told_once() -> None:
    stage = Stage(state_of({"kind": "stopped", "seconds": 2}), size=(0.2, 0.1))  # tolerance 0.25 * 0.2 = 0.05
    assert stage.play([(float(n), {1: (0.1, 0.5)}) for n in range(6)]) == []  # a parked one
    steps = [(6.0, {1: (0.3, 0.5)}), (7.0, {1: (0.34, 0.5)}), (8.0, {1: (0.26, 0.5)}), (9.0, {1: (0.3, 0.5)})]
    assert stage.play(steps) == [(8.0, "stopped", 1)]
    assert stage.state.counts() == {"stopped": 1, "total": 1}
    assert stage.play([(10.0, {1: (0.5, 0.5)})]) == []
    assert stage.state.counts() == {"stopped": 0, "total": 1}


def test_stopped_inside_a_zone_only() -> None:
    stage = Stage(state_of({"kind": "stopped", "seconds": 1, "points": SQUARE}))
    assert stage.play([(0.0, {1: IN}), (1.0, {1: OUT}), (2.0, {1: OUT}), (3.0, {1: OUT})]) == []
    assert stage.play([(4.0, {1: IN}), (5.0, {1: IN})]) == [(5.0, "stopped", 1)]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ((0.06, 0.0), False),
        ((-0.06, 0.0), True),
        ((0.0, 0.06), True),
        ((0.06, 0.06), False),
        ((0.01, 0.0), False),
    ],
)
def test_wrong_way_by_the_angle_to_the_arrow(step: tuple[float, float], told: bool) -> None:
    stage = Stage(
        state_of(
            {
                "kind": "wrong_way",
                "points": [[0, 0], [1, 0], [1, 1], [0, 1]],
                "allowed": [[0.1, 0.5], [0.9, 0.5]],
            }
        )
    )
    steps = [(n / 10, {1: (0.5 + n * step[0], 0.5 + n * step[1])}) for n in range(5)]
    assert stage.play(steps) == ([(0.1, "wrong_way", 1)] if told else [])


def test_wrong_way_sees_the_picture_in_its_true_shape() -> None:
    """In a picture of 16:9 a step of 0.06 and 0.06 goes 29 degrees down, not 45."""
    rule = {
        "kind": "wrong_way",
        "points": [[0, 0], [1, 0], [1, 1], [0, 1]],
        "allowed": [[0.1, 0.5], [0.9, 0.5]],
        "tolerance_degrees": 35,
    }
    for aspect, told in ((1.0, 1), (9 / 16, 0)):
        stage = Stage(state_of(rule))
        events = [
            event
            for n in range(5)
            for event in stage.at(n / 10, {1: (0.5 + n * 0.06, 0.5 + n * 0.06)}, aspect=aspect)
        ]
        assert len(events) == told


def test_speed_tells_each_limit_once_until_it_is_kept_again() -> None:
    stage = Stage(state_of({"kind": "speed", "above_kmh": 50, "below_kmh": 10}, ground=GROUND))
    speeds = [30, 51, 60, 48, 52, 44, 55, 9, 5, 10.5, 9, 12, 9]
    told = [
        (n, data["limit"])
        for n, speed in enumerate(speeds)
        for _, _, data in stage.at(float(n), {1: IN}, speeds={1: float(speed)})
    ]
    assert told == [(1, "above"), (6, "above"), (7, "below"), (12, "below")]
    assert stage.state.counts() == {"fastest_kmh": 60.0, "above": 2, "below": 2}


def test_attributes_are_told_once_for_each_object_and_value() -> None:
    document = {"kind": "attribute", "stage": "helmet", "values": ["none", "wrong"], "min_score": 0.6}
    stage = Stage(state_of(document, stages=[{"name": "helmet", "model": "helmets"}]))
    stage.at(0.0, {1: IN, 2: IN})
    told = []
    for n, (value, score) in enumerate(
        [("none", 0.5), ("none", 0.7), ("worn", 0.9), ("none", 0.9), ("wrong", 0.8)]
    ):
        stage.objects[1].attributes["helmet"] = value
        stage.objects[1].attribute_scores["helmet"] = score
        told += [
            (n, key, data["value"], data["value_score"]) for _, key, data in stage.at(n + 1.0, {1: IN, 2: IN})
        ]
    assert told == [(1, 1, "none", 0.7), (4, 1, "wrong", 0.8)]
    assert stage.state.counts() == {"none": 1, "wrong": 1}


def test_a_change_of_one_rule_keeps_the_others() -> None:
    def rules(**second: Any) -> Any:
        first = {"name": "door", "kind": "line", "points": [[0.1, 0.5], [0.9, 0.5]]}
        return Analytics.model_validate(
            {"rules": [first, {"name": "hall", "kind": "zone", "points": SQUARE, **second}]}
        ).rules

    every = RuleSet(rules())
    stage = Stage(every._states["door"])
    for n, y in enumerate((0.4, 0.6)):
        stage.at(n / 10, {1: (0.5, y)})
    hall = Stage(every._states["hall"])
    hall.at(0.1, {1: IN})
    assert every.replace(rules(clip=True, cooldown_seconds=5), 0.2) == []
    assert every.counts() == {
        "door": {"forward": 1, "backward": 0},
        "hall": {"inside": 1, "entered": 1, "left": 0},
    }
    [(rule, told)] = every.replace(rules(anchor="centre"), 0.3)
    assert (rule.name, told.type, told.data["reason"]) == ("hall", "zone.left", "changed")
    assert every.counts()["door"]["forward"] == 1
    assert every.counts()["hall"] == {"inside": 0, "entered": 0, "left": 0}


def test_thousands_of_objects_and_scenes_without_any() -> None:
    stage = zone()
    places = {n: (n % 100 / 100, n // 100 / 100) for n in range(5000)}
    stage.at(0.0, places)
    # x of 0.20, 0.21 … 0.59 and y of 0.20 … 0.49 (there are 50 rows): corners at the low side belong to it
    assert stage.state.counts()["inside"] == 40 * 30
    stage.at(1.0, {}, ended=range(5000))
    assert stage.state.counts() == {"inside": 0, "entered": 1200, "left": 1200}
    assert stage.state.observe(Scene(2.0, 0.0)) == []
