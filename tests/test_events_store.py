# SPDX-License-Identifier: Apache-2.0
"""The page's store: it answers as a plain search through all events would."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sightline.clients.events import Event, EventStore
from sightline.clients.events.event import utc_text
from sightline.clients.page.control import EventQuery
from sightline.errors import BadInputError, OutputError

NOW = 1_700_000_000.0
COUNT = 1500


def made(number: int, chance: random.Random) -> Event:
    data = {
        "camera": chance.choice(["gate", "yard", "dock"]),
        "rule": chance.choice(["fence", "zone", "speed"]) if number % 97 else "rare",
        "label": chance.choice(["person", "car"]),
        "number": number,
    }
    seconds = NOW - chance.uniform(0, 3 * 86_400)  # not in the order of time
    kind = chance.choice(["sightline.line.crossed", "sightline.zone.entered"])
    return Event(f"e{number}", kind, f"/cameras/{data['camera']}", utc_text(seconds), data)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    chance = random.Random(7)
    return [made(number, chance) for number in range(COUNT)]


@pytest.fixture(scope="module")
def store(events: list[Event], tmp_path_factory: pytest.TempPathFactory) -> Any:
    opened = EventStore(tmp_path_factory.mktemp("store") / "events.db", now=lambda: NOW)
    for first in range(0, COUNT, 500):
        opened.append_all(events[first : first + 500])
    yield opened
    opened.close()


def expected(events: list[Event], query: EventQuery, positions: dict[str, int]) -> list[str]:
    before = next((one for one in events if positions[one.id] == query.before), None)

    def fits(one: Event) -> bool:
        key = (one.time, positions[one.id])
        return (
            (not query.cameras or one.camera in query.cameras)
            and (not query.types or one.type in query.types)
            and (not query.rules or one.data["rule"] in query.rules)
            and (not query.labels or one.data["label"] in query.labels)
            and (query.since is None or one.time >= query.since)
            and (query.until is None or one.time < query.until)
            and (before is None or key < (before.time, positions[before.id]))
        )

    found = sorted(filter(fits, events), key=lambda one: (one.time, positions[one.id]), reverse=True)
    return [one.id for one in found[: query.limit]]


def test_queries_answer_as_a_plain_search(events: list[Event], store: EventStore) -> None:
    chance = random.Random(8)
    positions = {f"e{number}": number + 1 for number in range(COUNT)}
    day = [utc_text(NOW - hours * 3600) for hours in range(0, 72, 6)]
    for _ in range(80):
        query = EventQuery(
            cameras=tuple(chance.sample(["gate", "yard", "nowhere"], chance.randrange(3))),
            types=tuple(chance.sample(["sightline.line.crossed", "sightline.none"], chance.randrange(3))),
            rules=tuple(chance.sample(["fence", "rare", "zone"], chance.randrange(3))),
            labels=tuple(chance.sample(["person", "car"], chance.randrange(3))),
            since=chance.choice([None, None, *day]),
            until=chance.choice([None, None, *day]),
            before=chance.choice([None, None, chance.randrange(1, COUNT + 1)]),
            limit=chance.choice([1, 10, 100]),
        )
        found = store.query(query)
        assert [one["id"] for one in found] == expected(events, query, positions), query


def test_pages_follow_each_other_without_gap(events: list[Event], store: EventStore) -> None:
    seen: list[str] = []
    before = None
    while page := store.query(EventQuery(cameras=("gate", "dock"), before=before, limit=300)):
        seen += [one["id"] for one in page]
        before = page[-1]["position"]
    assert len(seen) == len(set(seen)) == sum(one.camera != "yard" for one in events)


@pytest.mark.parametrize(("hours", "seconds"), [(1.0, 60), (6.0, 300), (24.0, 3600), (72.0, 86_400)])
def test_counts_are_those_of_the_events(
    events: list[Event], store: EventStore, hours: float, seconds: int
) -> None:
    from sightline.clients.events.store_reader import unix_of

    first = (NOW - hours * 3600) // seconds * seconds
    for camera in ("gate", ""):
        wanted: Counter[tuple[str, str, str, str]] = Counter()
        for one in events:
            unix = unix_of(one.time, 0.0)
            if unix >= first and camera in ("", one.camera):
                start = utc_text(unix // seconds * seconds)
                wanted[start, one.camera, one.data["rule"], one.type] += 1
        rows = store.counts(camera, hours)
        assert {(r["start"], r["camera"], r["rule"], r["type"]): r["count"] for r in rows} == wanted
        assert [row["start"] for row in rows] == sorted(row["start"] for row in rows)


def test_the_same_event_is_kept_and_counted_once(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.db", now=lambda: NOW)
    one = Event("a", "sightline.x", "/cameras/gate", utc_text(NOW), {"camera": "gate", "rule": "r"})
    other = Event("a", "sightline.x", "/cameras/yard", utc_text(NOW), {"camera": "yard"})
    assert store.append(one) == store.append(one) == 1
    assert store.append(other) > 1
    assert store.counts("gate", 1)[0]["count"] == 1
    (found,) = store.query(EventQuery(cameras=("gate",)))
    assert found == {**one.to_dict(), "position": 1}
    strange = Event("b", "sightline.x", "/s", "no time", {})
    store.append(strange)
    assert store.query(EventQuery(limit=1))[0]["id"] in ("a", "b")
    store.close()
    store.close()
    with pytest.raises(OutputError, match="cannot be written"):
        store.append(one)


def test_the_oldest_go_by_age_and_by_size(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.db", max_days=2.0, max_bytes=1 << 20, now=lambda: NOW)
    old = [Event(f"o{n}", "t", "/s", utc_text(NOW - 3 * 86_400), {"camera": "c"}) for n in range(50)]
    new = [
        Event(f"n{n}", "t", "/s", utc_text(NOW - 9000 + n), {"camera": "c", "x": "x" * 500})
        for n in range(2500)
    ]
    store.append_all(old)
    assert store.trim() == 50
    assert store.counts("c", 96) == []
    store.append_all(new)
    assert 0 < store.trim() < 2500
    left = store.query(EventQuery(limit=1000))
    assert [one["id"] for one in left][:3] == ["n2499", "n2498", "n2497"]
    assert sum(row["count"] for row in store.counts("c", 24)) == 2500  # charts outlive the events
    store.close()


def test_a_damaged_file_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"this is no database at all, whatever it is called" * 100)
    notices: list[str] = []
    store = EventStore(path, notice=notices.append)
    store.append(Event("a", "t", "/s", utc_text(NOW), {}))
    assert len(store.query(EventQuery())) == 1
    assert "begun anew" in notices[0]
    assert len(list(tmp_path.glob("events.db.damaged-*"))) == 1
    store.close()


def test_queries_that_make_no_sense_are_refused(store: EventStore) -> None:
    with pytest.raises(BadInputError, match="no time"):
        store.query(EventQuery(since="yesterday"))
    with pytest.raises(BadInputError, match="at most"):
        store.query(EventQuery(labels=tuple(map(str, range(300)))))
    assert len(store.query(EventQuery(limit=10_000_000))) == 1000
    assert store.query(EventQuery(cameras=("'; DROP TABLE events; --",))) == []
    assert json.dumps(store.query(EventQuery(limit=1)))
