# SPDX-License-Identifier: Apache-2.0
"""Cameras that come, change and go while others are watched; analysts; what is left behind."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sightline.clients._shm import PREFIX
from sightline.clients.events.event import Event
from sightline.clients.streams import Recording, Source, Watch
from sightline.clients.streams import watch as watching
from sightline.clients.streams.pictures import FramePool
from sightline.clients.streams.results import EventSink, StreamResult
from sightline.clients.streams.summary import Summary
from sightline.errors import InferenceError, StreamError
from sightline.frame import Frame
from tests.streams_parts import BrightObjectClient, make_clip


def eventually(check: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first true value of `check`; fails after a generous time."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds:.0f} s"
        time.sleep(0.02)
    return value


def adds_up(summary: Summary) -> bool:
    """Each frame of each camera is accounted for."""
    return all(
        c.counts.received == c.counts.answered + sum(c.counts.dropped.values()) and c.counts.pending == 0
        for c in summary.cameras
    )


def camera(watch: Watch, name: str) -> dict[str, Any]:
    """State of the camera; empty where there is none."""
    return next((c for c in watch.state()["cameras"] if c["name"] == name), {})


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "wall.mp4", seconds=4, size=(320, 180))


@pytest.fixture(autouse=True)
def _patient_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a watch that ends hands on all that was answered."""
    monkeypatch.setattr(watching, "DRAIN_SECONDS", 60.0)


@pytest.fixture
def client() -> Iterator[BrightObjectClient]:
    client = BrightObjectClient()
    yield client
    client.close()


class Notebook:
    """A sink of results and events, and a video sink, that writes all down."""

    def __init__(self) -> None:
        self.results: list[StreamResult] = []
        self.events: list[Event] = []
        self.video: list[tuple[str, int]] = []
        self.is_closed = False

    def write(self, result: StreamResult) -> None:
        self.results.append(result)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.is_closed = True

    def on_added(self, camera: int, name: str) -> None:
        self.video.append((f"added {name}", camera))

    def on_removed(self, camera: int) -> None:
        self.video.append(("removed", camera))

    def on_connected(self, camera: int, epoch: int, video: Any) -> None:
        self.video.append(("connected", camera))

    def on_packet(self, camera: int, epoch: int, packet: Any) -> None:
        self.video.append(("packet", camera))

    def on_frame(self, frame: Any) -> None:
        self.video.append(("frame", frame.camera))

    def on_disconnected(self, camera: int) -> None:
        self.video.append(("disconnected", camera))

    def of(self, camera: int) -> list[str]:
        """What happened to the video of one camera."""
        return [what for what, number in list(self.video) if number == camera]


def test_cameras_come_and_go_and_the_others_see_nothing_of_it(
    video: Path, client: BrightObjectClient
) -> None:
    notes = Notebook()
    with Watch([Source("stays", str(video), loop=True)], client, sinks=[notes], videos=[notes]) as watch:
        eventually(lambda: camera(watch, "stays").get("answered", 0) >= 5)
        assert watch.add(Source("guest", str(video), loop=True)) == 1
        with pytest.raises(StreamError, match="more than one camera"):
            watch.add(Source("guest", str(video)))
        eventually(lambda: camera(watch, "guest").get("answered", 0) >= 5)
        assert [c["id"] for c in watch.state()["cameras"]] == [0, 1]
        watch.remove("guest")
        assert [c["name"] for c in watch.state()["cameras"]] == ["stays"]
        eventually(lambda: "removed" in notes.of(1))
        assert watch.add(Source("guest", str(video), loop=True)) == 2, "a number is never given twice"
        eventually(lambda: camera(watch, "guest").get("answered", 0) >= 5)
        summary = watch.stop()
    assert adds_up(summary)
    assert summary.ok
    guest = next(c for c in summary.cameras if c.name == "guest")
    shown = {n: sum(r.source.camera == n for r in notes.results) for n in (0, 1, 2)}
    assert guest.counts.answered == shown[1] + shown[2], "what it did before is in the summary"
    assert (guest.connections, guest.was_removed) == (2, False)
    assert next(c for c in summary.cameras if c.name == "stays").connections == 1
    for number, name in ((0, "stays"), (1, "guest"), (2, "guest")):
        history = notes.of(number)
        assert history[0] == f"added {name}"
        assert history[1] == "connected"
    assert notes.of(1)[-2:] == ["disconnected", "removed"]
    with pytest.raises(StreamError, match="stopped"):
        watch.add(Source("late", str(video)))


def test_a_watch_may_begin_without_cameras(video: Path, client: BrightObjectClient) -> None:
    with Watch([], client) as watch:
        assert not watch.ended
        watch.add(Source("first", str(video), paced=False))
        watch.wait(120)
        assert watch.ended
        summary = watch.stop()
    assert summary.ok
    assert summary.received == 60
    with pytest.raises(StreamError, match="no camera is called"):
        Watch([], client).remove("first")


def test_a_removed_camera_that_was_never_seen_again_stays_in_the_summary(
    video: Path, client: BrightObjectClient
) -> None:
    with Watch([Source("a", str(video), loop=True), Source("b", str(video), loop=True)], client) as watch:
        eventually(lambda: camera(watch, "b").get("answered", 0) >= 5)
        watch.remove("b")
        summary = watch.stop()
    assert adds_up(summary)
    row = next(c for c in summary.cameras if c.name == "b")
    assert row.was_removed
    assert row.counts.answered >= 5


def test_a_changed_rate_needs_no_new_connection_and_a_changed_address_does(
    video: Path, client: BrightObjectClient
) -> None:
    source = Source("door", str(video), loop=True)
    with Watch([source], client) as watch:
        eventually(lambda: camera(watch, "door")["answered"] >= 5)
        source = replace(source, rate=2.0, deadline_seconds=1.5, model="other")
        watch.change(source)
        eventually(lambda: camera(watch, "door")["dropped"].get("rate", 0) >= 10)
        state = camera(watch, "door")
        assert (state["connections"], state["rate"], state["model"]) == (1, 2.0, "other")
        watch.change(replace(source, url=f"{video.parent}/../{video.parent.name}/{video.name}", rate=None))
        eventually(lambda: camera(watch, "door")["connections"] == 2)
        answered = camera(watch, "door")["answered"]
        eventually(lambda: camera(watch, "door")["answered"] >= answered + 5)
        summary = watch.stop()
    assert adds_up(summary)
    assert summary.cameras[0].connections == 2


class Counting:
    """An analyst that numbers what it sees; may break, and may hide. numbers: a clip that begins anew is a new epoch."""

    def __init__(self, name: str, fault: str = "") -> None:
        self.name, self.fault = name, fault
        self.numbers: list[tuple[int, int]] = []
        self.idles = 0
        self.is_closed = False
        self.threads: set[str] = set()

    def observe(self, result: StreamResult) -> StreamResult | None:
        self.threads.add(threading.current_thread().name)
        self.numbers.append((result.source.epoch, result.source.number))
        if self.fault == "breaks":
            raise ValueError("rtsp://u:secret-pa55@host")
        return None if self.fault == "hides" else replace(result, counts={"seen": {"n": len(self.numbers)}})

    def idle(self, unix_seconds: float) -> tuple[Event, ...]:
        self.threads.add(threading.current_thread().name)
        self.idles += 1
        return (Event(f"{self.name}:{self.idles}", "sightline.test", "/x", "t", {"camera": self.name}),)

    def close(self) -> tuple[Event, ...]:
        self.is_closed = True
        return (Event(f"{self.name}:end", "sightline.end", "/x", "t", {"camera": self.name}),)


def test_analysts_see_answers_in_order_and_time_passing(video: Path) -> None:
    slow_first = iter([0.2, 0.0] * 10_000)
    client = BrightObjectClient(lambda: time.sleep(next(slow_first)))  # every other answer is overtaken
    made: dict[str, Counting] = {}
    notes = Notebook()
    assert isinstance(notes, EventSink)

    def analyst(source: Source) -> Counting:
        return made.setdefault(source.name, Counting(source.name))

    with Watch([Source("door", str(video), loop=True)], client, sinks=[notes], analysts=analyst) as watch:
        eventually(lambda: camera(watch, "door")["answered"] >= 10 and made["door"].idles >= 2)
        assert camera(watch, "door")["counts"]["seen"]["n"] > 0
        other = Counting("other")
        watch.set_analyst("door", other)
        eventually(lambda: made["door"].is_closed and len(other.numbers) > 3)
        watch.remove("door")
        eventually(lambda: other.is_closed)
        seen = len(other.numbers)
        summary = watch.stop()
    client.close()
    assert adds_up(summary)
    assert len(other.numbers) == seen
    for one in (made["door"], other):
        assert one.numbers == sorted(one.numbers)
        assert one.threads == {"watch-results"}
    assert {e.id for e in notes.events if e.type == "sightline.test"} >= {"door:1", "door:2"}
    shown = [(r.source.epoch, r.source.number) for r in notes.results]
    assert shown == made["door"].numbers + other.numbers


@pytest.mark.parametrize("fault", ["breaks", "hides"])
def test_an_analyst_that_breaks_or_hides_lets_nothing_out(
    video: Path, client: BrightObjectClient, fault: str
) -> None:
    notes, notices = Notebook(), []
    analyst = Counting("door", fault)
    with Watch([], client, sinks=[notes], notice=notices.append) as watch:
        watch.add(Source("door", str(video), loop=True), analyst)
        watch.add(Source("other", str(video), loop=True))
        eventually(
            lambda: camera(watch, "door")["answered"] >= 10 and camera(watch, "other")["answered"] >= 10
        )
        assert camera(watch, "door")["objects"] == {}
        summary = watch.stop()
    assert adds_up(summary)
    assert {r.source.name for r in notes.results} == {"other"}
    broken = summary.output_errors.get("analytics of door", 0)
    assert (broken == len(analyst.numbers)) if fault == "breaks" else (not summary.output_errors)
    assert "secret" not in "".join(notices)
    assert len(notices) == (fault == "breaks")


def test_changes_leave_no_threads_files_or_memory_behind(video: Path, client: BrightObjectClient) -> None:
    """30 changes of what is watched; a longer run of the same is in perf/streams."""

    def held() -> tuple[int, int, int]:
        gc.collect()
        ours = [name for name in os.listdir("/dev/shm") if name.startswith(f"{PREFIX}{os.getpid()}-")]
        return threading.active_count(), len(os.listdir("/proc/self/fd")), len(ours)

    with Watch([Source("stays", str(video), loop=True)], client, videos=[Notebook()]) as watch:

        def change(number: int) -> None:
            name = f"guest-{number % 3}"
            watch.add(Source(name, str(video), loop=True))
            if number % 2:
                watch.change(Source(name, str(video), rate=5.0))
            eventually(lambda: camera(watch, name).get("received", 0) > 0)
            watch.remove(name)

        def all_left() -> bool:
            return not watch._leaving

        def no_more_than(most: tuple[int, int, int]) -> bool:
            """Servers of other tests in this process may hold some for a while."""
            return all(now <= limit for now, limit in zip(held(), most, strict=True))

        for number in range(10):
            change(number)
        eventually(all_left)
        before = held()
        for number in range(30):
            change(number)
        eventually(all_left)
        eventually(lambda: no_more_than((before[0] + 1, before[1] + 2, before[2])))
        summary = watch.stop()
    assert adds_up(summary)
    assert len(summary.cameras) == 4


def test_the_recording_makes_room_for_cameras_that_come(
    video: Path, client: BrightObjectClient, tmp_path: Path
) -> None:
    import av

    recording = Recording(tmp_path, ["first"], size=(320, 180))
    with Watch([Source("first", str(video), loop=True)], client, sinks=[recording]) as watch:
        eventually(lambda: camera(watch, "first")["answered"] >= 10)
        for name in ("second", "third"):
            watch.add(Source(name, str(video), loop=True))
        eventually(lambda: all(c["answered"] >= 8 for c in watch.state()["cameras"]))
        watch.remove("first")
        answered = camera(watch, "second")["answered"]
        eventually(lambda: camera(watch, "second")["answered"] >= answered + 8)
        assert watch.stop().ok
    with av.open(str(recording.video)) as container:
        pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    assert {p.shape for p in pictures} == {(180, 320, 3)}
    assert pictures[-1][:90, 160:].max() > 100, "the second camera's tile"
    assert recording.sheet.exists()


def test_a_video_sink_that_breaks_takes_nothing_with_it(video: Path, client: BrightObjectClient) -> None:
    class Broken(Notebook):
        def on_packet(self, camera: int, epoch: int, packet: Any) -> None:
            raise ValueError("no")

    notes, notices = Notebook(), []
    with Watch(
        [Source("door", str(video), paced=False)], client, videos=[Broken(), notes], notice=notices.append
    ) as watch:
        watch.wait(120)
        summary = watch.stop()
    assert adds_up(summary)
    assert (summary.cameras[0].connections, summary.received) == (1, 60)
    assert summary.output_errors == {"Broken": 60}
    assert len(notices) == 1
    assert notes.of(0).count("packet") == 60


@pytest.mark.parametrize("breaks", [False, True])
def test_a_frames_memory_is_free_without_the_garbage_collector(video: Path, breaks: bool) -> None:
    """Shared memory is scarce: a circle of references would hold it until the collector comes."""

    def before() -> None:
        if breaks:
            raise InferenceError("no")

    pool, places = FramePool(most=64), set()

    class Client(BrightObjectClient):
        def frame_slot(self, *arguments: Any) -> Frame:
            frame = pool.frame(*arguments)
            places.add(frame.data.ctypes.data)
            return frame

    client = Client(before)
    gc.disable()
    try:
        with Watch([Source("door", str(video), paced=False)], client) as watch:
            watch.wait(120)
            summary = watch.stop()
    finally:
        gc.enable()
        client.close()
    assert adds_up(summary)
    assert (summary.answered, summary.dropped) == ((0, {"error": 60}) if breaks else (60, {}))
    assert len(places) <= 12
