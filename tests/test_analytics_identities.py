# SPDX-License-Identifier: Apache-2.0
"""One identity across cameras: who gets which, what is never given twice, and that memory is bounded."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.clients.analytics.identities import Identities

RULES: dict[str, Any] = {"model": "people", "label": "person", "min_cosine": 0.7, "remember_seconds": 60.0}


def vector(*values: float) -> Any:
    return np.array(values, np.float32)


def test_the_likest_known_one_is_taken_and_else_a_new_one_begins() -> None:
    known = Identities()
    assert known.identify("a", 1, vector(1, 0, 0), now=0.0, **RULES) == "p-1"
    assert known.identify("a", 2, vector(0, 1, 0), now=0.0, **RULES) == "p-2"
    assert known.identify("b", 1, vector(0.9, 0.3, 0), now=1.0, **RULES) == "p-1"
    assert known.identify("b", 2, vector(0.3, 0.9, 0), now=1.0, **RULES) == "p-2"
    assert known.identify("b", 3, vector(0, 0, 5), now=1.0, **RULES) == "p-3"
    assert known.identify("c", 3, vector(0, 0, 5), now=1.0, **{**RULES, "label": "truck"}) == "p-3"
    assert known.identify("c", 4, vector(-1, 0, 0), now=1.0, **{**RULES, "label": "truck"}) == "t-4"
    assert known.identify("c", 5, vector(0, 0, -1), now=1.0, **{**RULES, "label": "7"}) == "o-5"


def test_two_objects_of_one_camera_never_have_one_identity_at_one_moment() -> None:
    known = Identities()
    assert known.identify("a", 1, vector(1, 0), now=0.0, **RULES) == "p-1"
    assert known.identify("a", 2, vector(1, 0.01), now=0.0, **RULES) == "p-2"
    known.release("a", {1})
    assert known.identify("a", 3, vector(1, 0), now=1.0, **RULES) == "p-1"
    known.seen("a", [2, 3], 200.0)  # they are there all the time
    assert known.identify("a", 4, vector(1, 0), now=200.0, **RULES) == "p-3"


def test_an_identity_is_kept_to_the_end_of_the_track_and_follows_slowly() -> None:
    known = Identities()
    turn = [vector(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, np.pi / 2, 200)]
    assert {known.identify("a", 1, one, now=float(n) / 10, **RULES) for n, one in enumerate(turn)} == {"p-1"}
    known.release("a", {1})
    assert known.identify("b", 1, vector(0, 1), now=21.0, **RULES) == "p-1"  # its mean has turned with it
    assert known.identify("b", 2, vector(1, 0), now=21.0, **RULES) == "p-2"


def test_what_was_not_seen_for_long_is_forgotten() -> None:
    known = Identities()
    known.identify("a", 1, vector(1, 0), now=0.0, **RULES)
    known.identify("a", 2, vector(0, 1), now=50.0, **RULES)
    assert known.identify("b", 1, vector(1, 0), now=61.0, **RULES) == "p-3"
    assert known.identify("b", 2, vector(0, 1), now=61.0, **RULES) == "p-2"
    assert len(known) == 2


def test_models_are_kept_apart() -> None:
    known = Identities()
    assert known.identify("a", 1, vector(1, 0), now=0.0, **RULES) == "p-1"
    assert known.identify("b", 1, vector(1, 0), now=0.0, **{**RULES, "model": "cars"}) == "p-2"
    assert known.identify("b", 2, vector(1, 0, 0), now=0.0, **RULES) == "p-3"


@pytest.mark.parametrize(
    "useless", [vector(0, 0), vector(np.nan, 1), vector(np.inf, 1), vector(), np.ones((2, 2), np.float32)]
)
def test_a_vector_of_no_use_is_nobody(useless: Any) -> None:
    known = Identities()
    assert known.identify("a", 1, useless, now=0.0, **RULES) is None
    assert len(known) == 0


def test_memory_is_bounded() -> None:
    known = Identities(max_identities=10)
    random = np.random.default_rng(0)
    for n in range(200):
        known.identify("a", n, random.normal(size=64).astype(np.float32), now=float(n) / 100, **RULES)
        known.release("a", {n})
    assert len(known) == 10
    assert not known._tracks
    with pytest.raises(ValueError, match="max_identities is 0"):
        Identities(0)


steps = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(1, 4),
        st.integers(0, 2),
        st.sampled_from(["identify", "identify", "release"]),
    ),
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_no_camera_shows_one_identity_twice(given_steps: Any) -> None:
    """Whatever comes in which order, while tracks are there their identities are their own and stay."""
    known, there = Identities(max_identities=6), dict[tuple[str, int], str]()
    faces = np.array([[1, 0, 0.2], [0.2, 1, 0], [0.9, 0.5, 0.1]], np.float32)
    for n, (camera, track, face, what) in enumerate(given_steps):
        if what == "release":
            known.release(camera, {track})
            there.pop((camera, track), None)
            continue
        name = known.identify(camera, track, faces[face], now=float(n), **RULES)
        assert name is not None
        if (camera, track) in there and len(there) < 6:
            assert there[camera, track] == name
        there[camera, track] = name
        if len(known) < 6:
            mine = [name for (where, _), name in there.items() if where == camera]
            assert len(set(mine)) == len(mine)


def test_many_cameras_at_once() -> None:
    known, wrong = Identities(max_identities=50), list[BaseException]()

    def camera(name: str) -> None:
        try:
            random = np.random.default_rng(len(name))
            for n in range(200):
                known.identify(name, n, random.normal(size=16).astype(np.float32), now=float(n), **RULES)
                known.seen(name, [n], float(n))
                known.release(name, {n - 3})
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=camera, args=("c" * n,)) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert len(known) <= 50
