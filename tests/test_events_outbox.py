# SPDX-License-Identifier: Apache-2.0
"""The outbox: what put() has returned for arrives, whatever is killed; one sink's trouble is no other's."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.clients.events import Event, EventStore, Outbox
from sightline.clients.events.cursors import Reader
from sightline.clients.events.dead import DeadLetters, dead_letters, retry_dead
from sightline.clients.events.delivery import STRANGE_ERRORS, Delivery
from sightline.clients.events.settings import JsonlSink, SpoolSettings, SqlSink, WebhookSink
from sightline.clients.events.sink import SinkAway, SinkRefuses, json_text
from sightline.clients.events.spool import Spool
from sightline.clients.page.control import EventQuery
from sightline.errors import OutputError
from tests.events_parts import QUICK, event, figures, numbers, outbox, receiver, wait_until

KILLS = 4


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """For events that are to be tried again."""
    monkeypatch.setattr("sightline.clients.events.delivery.RETRY_LOOK_SECONDS", 0.1)


_PUBLISHER = """
import os, sys, time
from pathlib import Path
from sightline.clients.events import Event, EventStore, Outbox
from sightline.clients.events.event import utc_text
from sightline.clients.events.settings import JsonlSink, SqlSink
from sightline.clients.events.sink_files import LinesOut
from sightline.clients.events import sink_sql, sink_webhook, sink_kafka, sink_mqtt, sink_redis
folder, NOW = Path(sys.argv[1]), utc_text(time.time())

def publish(first):
    sinks = [JsonlSink(kind="jsonl", path=folder / "events.jsonl"), SqlSink(kind="sql", url=f"sqlite:///{folder}/events.db")]
    outbox = Outbox(folder / "box", None, sinks, store=EventStore(folder / "store.db"))
    for number in range(first, first + 100_000):
        outbox.put(Event(f"gate:1:{number}", "sightline.test", "/cameras/gate", NOW, {"number": number}))
        os.write(1, b"%d\\n" % number)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.write(1, b"pid %d\\n" % os.getpid())  # before anything that is acknowledged
        publish(int(line))
    os.waitpid(pid, 0)
    os.write(1, b"gone\\n")
"""


def killed_at_random(folder: Path) -> list[int]:
    """Publishers that are killed -9, one after the other; the numbers whose put() had returned."""
    chance, acknowledged = random.Random(5), []
    process = subprocess.Popen(
        [sys.executable, "-c", _PUBLISHER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for turn in range(KILLS):
        process.stdin.write(f"{turn * 100_000}\n")
        process.stdin.flush()
        pid, after = 0, chance.randrange(60)
        for line in process.stdout:
            if line.startswith("pid"):
                pid = int(line.split()[1])
            elif line.startswith("gone"):
                break
            else:
                acknowledged.append(int(line))
                if acknowledged[-1] % 100_000 == after:
                    assert pid, "process 0 is this process and all of its group"
                    threading.Timer(chance.random() * 0.02, os.kill, (pid, 9)).start()
    process.communicate(timeout=120)
    return acknowledged


def test_kill_9_at_random_moments_loses_no_acknowledged_event(tmp_path: Path) -> None:
    acknowledged = killed_at_random(tmp_path)
    store = EventStore(tmp_path / "store.db")
    sinks = [
        JsonlSink(kind="jsonl", path=tmp_path / "events.jsonl"),
        SqlSink(kind="sql", url=f"sqlite:///{tmp_path}/events.db"),
    ]
    with outbox(tmp_path / "box", *sinks, store=store) as opened:
        assert opened.drain(120), opened.state()
        assert all(
            sink["damaged"] == sink["dropped"] == sink["refused"] == 0 for sink in opened.state()["sinks"]
        )
    with (tmp_path / "events.jsonl").open() as file:
        found = numbers([json.loads(line) for line in file])  # without what came twice
    assert found == sorted(found)
    assert set(acknowledged) <= set(found)
    assert len(set(found) - set(acknowledged)) <= KILLS  # written, and killed before that was told
    rows = sqlite3.connect(tmp_path / "events.db").execute("SELECT id FROM sightline_events").fetchall()
    assert sorted(int(row[0].split(":")[2]) for row in rows) == found
    positions = [one["position"] for one in store.query(EventQuery(limit=1000))]
    assert len(set(positions)) == min(1000, len(found))
    store.close()
    assert len(acknowledged) > KILLS


class Fickle:
    """A sink that does what a test tells it; only for faults that real ones do not have on demand."""

    lossy = False
    batch = 10

    def __init__(self) -> None:
        self.got: list[int] = []
        self.trouble: Any = lambda events: None
        self.interrupted = threading.Event()

    def open(self) -> None:
        pass

    def send(self, events: Sequence[Event]) -> None:
        self.trouble(events)
        self.got += [one.data["number"] for one in events]

    def close(self) -> None:
        pass

    def interrupt(self) -> None:
        self.interrupted.set()


class Line:
    """One delivery to a Fickle sink."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.sink = Spool(folder), Fickle()
        self.notices: list[str] = []
        dead = DeadLetters(folder / "dead", "fickle")
        reader = Reader(self.spool, "fickle")
        self.delivery = Delivery("fickle", self.sink, reader, dead, notice=self.notices.append, pace=QUICK)

    def put(self, *wanted: int) -> None:
        self.spool.put([json_text(event(number)).encode() for number in wanted])

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: Any) -> None:
        self.delivery.stop(0.0)
        self.spool.wake()
        self.delivery.join()
        self.spool.close()


def number_of(one: Event) -> int:
    return int(one.data["number"])


def test_an_event_that_breaks_its_sink_is_put_aside_at_last(tmp_path: Path) -> None:
    def trouble(events: Sequence[Event]) -> None:
        if any(number_of(one) == 3 for one in events):
            raise ZeroDivisionError("redis://user:secret-7@host broke")

    with Line(tmp_path) as line:
        line.sink.trouble = trouble
        line.put(*range(6))
        assert wait_until(lambda: line.sink.got == [0, 1, 2, 4, 5])
        (dead,) = dead_letters(tmp_path)["fickle"]
        assert dead["event"]["data"]["number"] == 3
        assert "ZeroDivisionError" in dead["reason"]
        assert "secret-7" not in json.dumps([line.notices, dead, line.delivery.figures()])
    assert STRANGE_ERRORS > 1


def test_what_arrived_before_trouble_is_not_sent_again(tmp_path: Path) -> None:
    troubles: list[Exception | None] = [
        SinkAway("away", done=2),
        SinkRefuses("never", done=1),
        SinkAway("away", done=0, after_seconds=0.1),
    ]
    with Line(tmp_path) as line:

        def trouble(events: Sequence[Event]) -> None:
            error = troubles.pop(0) if troubles else None
            if error is not None:
                line.sink.got += [number_of(one) for one in events[: getattr(error, "done", 0)]]
                raise error

        line.sink.trouble = trouble
        line.put(*range(6))
        assert wait_until(lambda: len(line.sink.got) == 5)
        assert line.sink.got == [0, 1, 2, 4, 5]
        assert dead_letters(tmp_path)["fickle"][0]["event"]["data"]["number"] == 3
        assert wait_until(lambda: line.delivery.figures()["waiting"] == 0)
        told = line.delivery.figures()
        assert (told["delivered"], told["refused"], told["state"]) == (5, 1, "idle")


def test_a_sink_that_hangs_is_interrupted_at_the_end(tmp_path: Path) -> None:
    hanging = threading.Event()

    def hang(events: Sequence[Event]) -> None:
        hanging.set()
        line.sink.interrupted.wait(60)

    with Line(tmp_path) as line:
        line.sink.trouble = hang
        line.put(1)
        assert wait_until(lambda: line.delivery.figures()["oldest_age_seconds"] is not None)
        assert hanging.wait(120)
    assert line.sink.interrupted.is_set()


def test_types_and_cameras_choose_what_a_sink_gets(tmp_path: Path) -> None:
    everything, lines = tmp_path / "all.jsonl", tmp_path / "lines.jsonl"
    sinks = [
        JsonlSink(kind="jsonl", path=everything),
        JsonlSink(kind="jsonl", name="lines", path=lines, types=("sightline.line.*",), cameras=("gate",)),
    ]
    with outbox(tmp_path / "box", *sinks) as opened:
        opened.put(event(1), event(2, camera="yard"), event(3, type="sightline.zone.entered"), event(4))
        assert opened.drain(120)
        assert (figures(opened, "lines")["delivered"], figures(opened, "jsonl")["delivered"]) == (2, 4)
    assert [json.loads(line)["data"]["number"] for line in lines.read_text().splitlines()] == [1, 4]


def test_sinks_change_while_events_come(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.jsonl" for name in "abc"]
    first, second, third = (JsonlSink(kind="jsonl", name=path.stem, path=path) for path in paths)
    with outbox(tmp_path / "box", first, second) as opened:
        opened.put(event(1))
        assert opened.drain(120)
        before = opened._deliveries["a"]
        opened.reconfigure([first, third])
        assert opened._deliveries["a"] is before  # not touched
        opened.put(event(2))
        assert opened.drain(120)
        moved = JsonlSink(kind="jsonl", name="a", path=tmp_path / "moved.jsonl")
        opened.reconfigure([moved, third])
        opened.put(event(3))
        assert opened.drain(120)
        assert [sink["name"] for sink in opened.state()["sinks"]] == ["a", "c"]
        assert figures(opened, "a")["delivered"] == 3
        with pytest.raises(OutputError, match="two sinks are called"):
            opened.reconfigure([first, first])
    found = [
        numbers([json.loads(line) for line in path.read_text().splitlines()])
        for path in [*paths, tmp_path / "moved.jsonl"]
    ]
    assert found == [[1, 2], [1], [2, 3], [3]]
    assert sorted(path.stem for path in (tmp_path / "box").glob("*.cursor")) == ["a", "c"]
    with pytest.raises(OutputError, match="closed"):
        opened.reconfigure([])


def test_close_delivers_what_it_can_and_the_next_start_the_rest(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    sink = JsonlSink(kind="jsonl", path=blocked / "events.jsonl")  # a file is where its folder should be
    opened = Outbox(tmp_path / "box", None, [sink], pace=QUICK)
    opened.put(*[event(number) for number in range(20)])
    began = time.monotonic()
    opened.close(0.3)
    opened.close()
    assert time.monotonic() - began < 20
    blocked.unlink()
    with outbox(tmp_path / "box", sink) as again:
        assert again.drain(120)
    with (blocked / "events.jsonl").open() as file:
        assert [json.loads(line)["data"]["number"] for line in file] == list(range(20))


def test_an_overflow_is_counted_for_the_sink_that_lost(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    good = JsonlSink(kind="jsonl", name="good", path=tmp_path / "good.jsonl")
    sinks = [good, JsonlSink(kind="jsonl", name="away", path=blocked / "x.jsonl")]
    settings = SpoolSettings(max_bytes=1 << 16, sync="interval")
    with outbox(tmp_path / "box", *sinks, spool=settings) as opened:
        for first in range(0, 300, 10):
            opened.put(*[event(number, text="x" * 300) for number in range(first, first + 10)])
            assert wait_until(lambda first=first: figures(opened, "good")["delivered"] == first + 10)  # type: ignore[misc]
        lost = figures(opened, "away")["dropped"]
        assert lost > 0
        assert figures(opened, "good")["dropped"] == 0
        assert opened.state()["spool"]["overflow"]["sinks"] == {"away": lost}
        blocked.unlink()
        assert opened.drain(120)
        assert figures(opened, "away")["delivered"] + figures(opened, "away")["dropped"] == 300
        opened.put(event(300))
        assert opened.drain(120)
    with (blocked / "x.jsonl").open() as file:
        found = [json.loads(line)["data"]["number"] for line in file]
    assert found == sorted(found)
    assert found[-1] == 300


def test_events_hold_what_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with outbox(tmp_path / "box", JsonlSink(kind="jsonl", path=path)) as opened:
        opened.put(
            event(1, score=np.float32(0.5), box=np.arange(4), text="half a pair \ud800", tags={"b", "a"})
        )
        for bad in (float("nan"), object()):
            with pytest.raises(OutputError, match="cannot be written as JSON"):
                opened.put(event(2, bad=bad))
        assert opened.drain(120)
    document = json.loads(path.read_text())
    assert (document["data"]["score"], document["data"]["box"]) == (0.5, [0, 1, 2, 3])
    assert document["data"]["tags"] == ["a", "b"]


def test_a_sink_that_is_away_is_changed_and_loses_nothing(tmp_path: Path) -> None:
    good = JsonlSink(kind="jsonl", name="a", path=tmp_path / "good.jsonl")
    with receiver() as server, outbox(tmp_path / "box") as opened:
        server.answer = lambda body: 503
        opened.reconfigure([WebhookSink(kind="webhook", name="a", url=f"http://127.0.0.1:{server.port}")])
        opened.put(*[event(number) for number in range(30)])
        assert wait_until(lambda: figures(opened, "a")["oldest_age_seconds"] is not None)
        opened.reconfigure([good])
        assert opened.drain(120)
        assert (figures(opened, "a")["delivered"], figures(opened, "a")["dropped"]) == (30, 0)
    with good.path.open() as file:
        assert [json.loads(line)["data"]["number"] for line in file] == list(range(30))


def test_refused_events_are_tried_again_once_each(tmp_path: Path) -> None:
    def refuse(events: Sequence[Event]) -> None:
        raise SinkRefuses("never", done=0)

    with Line(tmp_path) as line:
        line.sink.trouble = refuse
        line.put(*range(4))
        assert wait_until(lambda: line.delivery.figures()["refused"] == 4)
        troubles: list[Exception | None] = [None, SinkAway("away"), None, SinkAway("away")]

        def away(events: Sequence[Event]) -> None:
            error = troubles.pop(0) if troubles else None
            if error is not None:
                raise error

        line.sink.trouble = away
        assert retry_dead(tmp_path, "fickle") == 4
        assert wait_until(lambda: len(line.sink.got) >= 4)
        assert wait_until(lambda: not any((tmp_path / "dead").glob("*.retry.jsonl")))
        assert line.sink.got == [0, 1, 2, 3]
        assert line.delivery.figures()["delivered"] == 4


def test_old_refused_events_are_listed_and_what_is_thrown_away_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.clients.events.dead.MAX_BYTES", 500)
    trouble = threading.Event()

    def refuse(events: Sequence[Event]) -> None:
        if not trouble.is_set():
            raise SinkRefuses("never", done=0)

    with Line(tmp_path) as line:
        line.sink.trouble = refuse
        line.put(*range(7))
        assert wait_until(lambda: line.delivery.figures()["refused"] == 7)
        kept = [one["event"]["data"]["number"] for one in dead_letters(tmp_path)["fickle"]]
        lost = line.delivery.figures()["thrown_away"]
        assert 0 < lost < 6
        assert kept == list(range(lost, 7))
        assert any("oldest refused events are thrown away" in text for text in line.notices)
        trouble.set()
        assert retry_dead(tmp_path, "fickle") == len(kept)
        assert wait_until(lambda: line.sink.got == kept)
        assert dead_letters(tmp_path) == {}
