# SPDX-License-Identifier: Apache-2.0
"""The supervised life of cameras: events of stalls and returns, dead and hanging threads."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.clients.streams import Source, Watch, opening, reconnect
from sightline.clients.streams import supervisor as supervising
from sightline.clients.streams.restarts import CrashLoop
from sightline.clients.streams.source import CameraReader
from sightline.errors import ServerUnavailable
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import Clip, read_clip
from tests.streams_parts import BrightObjectClient, make_clip, rtsp_clip
from tests.test_engine_dynamic import (  # noqa: F401 - a fixture
    Notebook,
    _patient_end,
    adds_up,
    camera,
    eventually,
)

SIZE = (320, 180)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("life") / "wall.mp4", seconds=4, size=SIZE)


@pytest.fixture(scope="module")
def clip(video: Path) -> Clip:
    return read_clip(rtsp_clip(video, video.with_suffix(".clip")))


@pytest.fixture
def client() -> Iterator[BrightObjectClient]:
    client = BrightObjectClient()
    yield client
    client.close()


@pytest.fixture
def provoker(clip: Clip) -> Iterator[AsyncioCameraServer]:
    server = AsyncioCameraServer([clip])
    server.start()
    yield server
    server.stop()


def address(server: AsyncioCameraServer, number: int = 0) -> str:
    return f"rtsp://127.0.0.1:{server.port}/camera/{number}"


def kinds(notes: Notebook, name: str) -> list[str]:
    """Types of the camera's life events so far."""
    return [e.type.removeprefix("sightline.camera.") for e in list(notes.events) if e.camera == name]


def test_stall_loss_refusal_and_return_are_events(
    provoker: AsyncioCameraServer, client: BrightObjectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnect, "Backoff", functools.partial(reconnect.Backoff, auth_first_seconds=0.2))
    for module, name in ((reconnect, "STALL"), (opening, "OPEN_TIMEOUT"), (opening, "READ_TIMEOUT")):
        monkeypatch.setattr(module, f"{name}_SECONDS", 10.0)  # no stall but ours, also where both ends starve
    notes, faults = Notebook(), provoker.faults(0)
    with Watch([Source("gate", address(provoker))], client, sinks=[notes]) as watch:
        eventually(lambda: kinds(notes, "gate") == ["live"])
        faults.frozen = True
        eventually(lambda: kinds(notes, "gate")[1:] == ["stalled"])
        faults.frozen = False
        eventually(lambda: kinds(notes, "gate")[2:] == ["live"])
        faults.status = 401
        provoker.kill_connections(0)
        eventually(lambda: kinds(notes, "gate")[3:] == ["lost", "auth_refused"])
        faults.status = None
        eventually(lambda: kinds(notes, "gate")[5:] == ["live"])
        summary = watch.stop()
    assert adds_up(summary)
    assert summary.cameras[0].connections == 3
    events = [e for e in notes.events if e.camera == "gate"]
    assert len({e.id for e in events}) == len(events)
    assert all(e.source == "/cameras/gate" and e.time.endswith("Z") for e in events)


def test_the_servers_going_and_coming_are_events(video: Path) -> None:
    is_up = threading.Event()

    def before() -> None:
        if not is_up.is_set():
            raise ServerUnavailable("nothing answers")

    client, notes = BrightObjectClient(before), Notebook()
    with Watch([Source("door", str(video), loop=True)], client, sinks=[notes]) as watch:
        eventually(lambda: any(e.type == "sightline.server.down" for e in notes.events))
        is_up.set()
        eventually(lambda: any(e.type == "sightline.server.up" for e in notes.events))
        assert adds_up(watch.stop())
    client.close()


class Dying:
    """Makes sessions of one camera end their thread, or hang, while `fault` says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.fault = ""
        self.release = threading.Event()
        session = CameraReader._session

        def broken(reader: CameraReader) -> None:
            if reader.source.name == name and self.fault == "dies":
                raise SystemExit
            if reader.source.name == name and self.fault == "hangs":
                reader.beat -= supervising.HANG_SECONDS  # as if for long; the others may be slow
                self.release.wait(60)
                return
            session(reader)

        monkeypatch.setattr(CameraReader, "_session", broken)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fault", ["dies", "hangs"])
def test_a_thread_that_dies_or_hangs_is_replaced(
    video: Path, client: BrightObjectClient, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    dying, notes = Dying(monkeypatch, "sick"), Notebook()
    dying.fault = fault
    sources = [Source("sick", str(video), loop=True), Source("well", str(video), loop=True)]
    with Watch(sources, client, sinks=[notes], videos=[notes]) as watch:
        eventually(lambda: camera(watch, "sick")["restarts"] >= 1)
        dying.fault = ""
        eventually(lambda: camera(watch, "sick")["answered"] >= 3)
        assert camera(watch, "well")["restarts"] == 0
        dying.release.set()
        summary = watch.stop()
    assert summary.ok
    assert adds_up(summary)
    assert notes.of(0).count("added sick") == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_crash_loop_rests_and_is_told(
    video: Path, client: BrightObjectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "LOOK_SECONDS", 0.02)
    dying, notes = Dying(monkeypatch, "sick"), Notebook()
    dying.fault = "dies"
    sources = [Source("sick", str(video), loop=True), Source("well", str(video), loop=True)]
    with Watch(sources, client, sinks=[notes]) as watch:
        eventually(lambda: kinds(notes, "sick") == ["crash_loop"])
        assert camera(watch, "sick")["restarts"] == 4
        dying.fault = ""
        crashes = watch._cameras["sick"].crashes
        assert crashes.resting_until is not None
        assert crashes.resting_until > time.monotonic()
        crashes.resting_until = time.monotonic()
        eventually(lambda: camera(watch, "sick")["answered"] >= 5)
        well = next(c for c in watch.stop().cameras if c.name == "well")
    assert (well.connections, well.counts.dropped.get("damaged", 0)) == (1, 0)
    assert CrashLoop().may_start(0.0)


def test_a_thread_that_hangs_at_the_end_does_not_hold_the_figures_back(
    video: Path, client: BrightObjectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "LEAVE_SECONDS", 0.5)
    dying = Dying(monkeypatch, "sick")
    dying.fault = "hangs"
    notes = Notebook()
    with Watch([Source("well", str(video), loop=True)], client, videos=[notes]) as watch:
        number = watch.add(Source("sick", str(video)))
        watch.remove("sick")
        eventually(lambda: "removed" in notes.of(number))
        dying.release.set()
        assert adds_up(watch.stop())


def test_a_stream_that_is_joined_long_before_a_key_frame_comes_alive(
    video: Path, client: BrightObjectClient, tmp_path: Path
) -> None:
    import dataclasses

    whole = read_clip(rtsp_clip(video, tmp_path / "wall.clip"))
    late = whole.access_units[1:15] * 5 + whole.access_units  # 4.7 s without a key frame
    clip = dataclasses.replace(whole, access_units=late, keyframes=(0, 70))
    server = AsyncioCameraServer([clip])
    server.start()
    try:
        with Watch([Source("smart", address(server))], client) as watch:
            first = eventually(lambda: (state := camera(watch, "smart"))["answered"] >= 1 and state)
            assert first["connections"] == 1
            eventually(lambda: camera(watch, "smart")["answered"] >= 5)
            summary = watch.stop()
    finally:
        server.stop()
    assert adds_up(summary)
