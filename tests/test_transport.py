# SPDX-License-Identifier: Apache-2.0
"""Frames and results through shared memory against a real server: the default, its bounds, and what crashes leave."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc

from sightline.clients import AsyncClient, Client, _sharing
from sightline.clients._ring import Ring
from sightline.clients._shm import FOLDER, PREFIX
from sightline.clients.client import CLOSED
from sightline.clients.streams.pictures import frame_from_picture, plain_frame
from sightline.deploy import LocalServer
from sightline.errors import BadInputError, DeadlineExceeded, ServerUnavailable
from sightline.frame import Frame, PixelFormat
from sightline.results import Detections
from tests.red_models import BOX, encoded, picture, write_repository

PATIENCE_SECONDS = 30.0
WIDTH, HEIGHT = 640, 360


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A real tritonserver with the detector of pure red."""
    repository = write_repository(tmp_path_factory.mktemp("red"), instances=2)
    with LocalServer(repository, log_dir=tmp_path_factory.mktemp("log")) as server:
        yield server
        server.kill()  # draining is tested elsewhere


@pytest.fixture
def client(red: LocalServer) -> Iterator[Client]:
    with Client(red.grpc_address) as opened:
        yield opened
    assert own_regions() == []


@pytest.fixture
def hurried(red: LocalServer) -> Iterator[Client]:
    """A client of which requests stay unanswered: what a busy server still reads, the next client's sweep finds."""
    with Client(red.grpc_address) as opened:
        yield opened
    left = set(own_regions())
    assert not left or wait_until(lambda: is_swept(red, left))


def own_regions() -> list[str]:
    return [path.name for path in FOLDER.glob(f"{PREFIX}{os.getpid()}-*")]


def regions_of(server: LocalServer) -> set[str]:
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as triton:
        headers = {"triton-grpc-protocol-sightline-token": server.token}
        return set(triton.get_system_shared_memory_status(headers=headers).regions)


def wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def boxes(result: Any) -> list[list[float]]:
    assert isinstance(result, Detections), result
    return [[float(v) for v in row] for row in result.boxes]


def filled(slot: Frame, *, busy: bool = False) -> Frame:
    slot.data[:] = picture(busy=busy).reshape(-1)
    return slot


def rgb_slot(client: Client, **how: Any) -> Frame:
    return client.frame_slot(WIDTH, HEIGHT, PixelFormat.RGB, **how)


def address_of(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_shared_memory_is_the_default_and_changes_no_answer(red: LocalServer, protocol: Any) -> None:
    address = red.grpc_address if protocol == "grpc" else red.http_address
    grey = np.full((60, 80, 3), 90, np.uint8)
    with (
        Client(address, protocol=protocol) as shared,
        Client(address, protocol=protocol, shared_memory="off") as plain,
    ):
        for image in (picture(), grey, picture(width=800, height=600)):
            one, other = shared.detect("red", image), plain.detect("red", image)
            for name in ("boxes", "scores", "classes"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
                assert getattr(one, name).dtype == getattr(other, name).dtype
        stats = shared.stats()
        assert (stats.shared_requests, stats.shared_results, stats.fallbacks) == (3, 3, 0)
        assert (stats.in_use, stats.frames_in_place) == (0, 0)
        assert stats.regions == stats.registrations <= 3
        assert plain.stats().to_dict() == {**dict.fromkeys(stats.to_dict(), 0), "socket_requests": 3}


def test_regions_are_private_and_used_again(red: LocalServer, client: Client) -> None:
    for _ in range(10):
        assert boxes(client.detect("red", picture())) == [list(BOX)]
    stats = client.stats()
    assert (stats.regions, stats.registrations, stats.shared_requests) == (1, 1, 10)
    (name,) = own_regions()
    info = (FOLDER / name).stat()
    assert info.st_mode & 0o777 == 0o600
    assert info.st_size == stats.region_bytes
    assert name in regions_of(red)


def test_a_slot_is_sent_without_a_copy_and_used_again(client: Client) -> None:
    places = set()
    for _ in range(2):
        slot = filled(rgb_slot(client))
        places.add(address_of(slot.data))
        assert client.stats().in_use == 1
        assert boxes(client.submit("red", slot).result(PATIENCE_SECONDS)) == [list(BOX)]
        assert boxes(client.detect("red", slot)) == [list(BOX)]
        del slot
        gc.collect()
        assert client.stats().in_use == 0
    stats = client.stats()
    assert len(places) == 1
    assert (stats.frames_in_place, stats.shared_requests, stats.regions) == (4, 4, 1)


def test_a_slot_is_kept_while_its_data_is(client: Client) -> None:
    view = filled(rgb_slot(client)).data[100:200].reshape(10, 10)
    kept = view.copy()
    other = filled(rgb_slot(client))
    other.data[:] = 7
    assert client.detect("red", picture())
    np.testing.assert_array_equal(view, kept)
    assert client.stats().in_use == 2


def test_a_slot_outlives_its_client(red: LocalServer) -> None:
    with Client(red.grpc_address) as first:
        slot = filled(rgb_slot(first))
    assert own_regions() == []
    assert slot.data.reshape(HEIGHT, WIDTH, 3)[110, 310].tolist() == [255, 0, 0]
    with Client(red.grpc_address) as second:
        assert boxes(second.detect("red", slot)) == [list(BOX)]
        assert second.stats().frames_in_place == 0


def test_one_slot_in_two_requests_at_once(client: Client) -> None:
    slot = filled(rgb_slot(client))
    pending = [client.submit("red", slot) for _ in range(4)]
    assert [boxes(p.result(PATIENCE_SECONDS)) for p in pending] == [[list(BOX)]] * 4


def test_bad_slots(client: Client) -> None:
    for width, height in ((0, 5), (5, -1), (100_000, 100_000)):
        with pytest.raises(BadInputError, match="width and height"):
            client.frame_slot(width, height)


async def test_slots_of_the_asyncio_client(red: LocalServer) -> None:
    async with AsyncClient(red.grpc_address) as client:
        slot = filled(client.frame_slot(WIDTH, HEIGHT, PixelFormat.RGB))
        assert boxes(await client.detect("red", slot)) == [list(BOX)]
        assert client.stats().frames_in_place == 1
        del slot
    assert own_regions() == []


async def test_what_a_forgotten_asyncio_client_left_is_swept(red: LocalServer) -> None:
    forgotten = AsyncClient(red.grpc_address)
    assert boxes(await forgotten.detect("red", picture())) == [list(BOX)]
    await forgotten._transport.close()
    (name,) = own_regions()
    assert name in regions_of(red)
    del forgotten
    gc.collect()
    async with AsyncClient(red.grpc_address) as client:
        assert boxes(await client.detect("red", picture())) == [list(BOX)]
    assert name not in regions_of(red)  # at the first sweep a busy server may still hold it
    assert own_regions() == []


def test_pictures_are_unpacked_into_slots(client: Client) -> None:
    av = pytest.importorskip("av")
    image = picture(width=322, height=182)
    decoded = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
    plain, slot = frame_from_picture(decoded), frame_from_picture(decoded, client.frame_slot)
    np.testing.assert_array_equal(plain.data, slot.data)
    assert (plain.width, plain.height, plain.colour) == (slot.width, slot.height, slot.colour)
    assert client.stats().in_use == 1


def test_a_full_ring_falls_back_and_is_bounded(client: Client) -> None:
    client._session.ring = Ring(max_regions=2)
    held = [filled(rgb_slot(client)) for _ in range(2)]
    start = time.monotonic()
    third = filled(rgb_slot(client, wait_seconds=0.05))
    assert 0.05 <= time.monotonic() - start < PATIENCE_SECONDS
    assert boxes(client.detect("red", third)) == [list(BOX)]
    assert boxes(client.detect("red", picture())) == [list(BOX)]
    stats = client.stats()
    assert (stats.regions, stats.in_use, stats.waits, stats.fallbacks) == (2, 2, 1, 2)
    assert len(own_regions()) == 2
    held.clear()
    gc.collect()
    assert boxes(client.detect("red", picture())) == [list(BOX)]
    assert client.stats().fallbacks == 2


def test_a_slot_is_waited_for(client: Client) -> None:
    client._session.ring = Ring(max_regions=1)
    held = [filled(rgb_slot(client))]
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(rgb_slot, client, wait_seconds=PATIENCE_SECONDS)
        assert wait_until(lambda: client.stats().waits == 1)
        held.clear()
        gc.collect()
        slot = waiting.result(PATIENCE_SECONDS)
    assert isinstance(slot, _sharing.FrameSlot)


def test_many_threads_in_a_small_ring(client: Client) -> None:
    client._session.ring = Ring(max_regions=3)

    def ask(number: int) -> bool:
        slot = filled(rgb_slot(client)) if number % 2 else picture()
        return boxes(client.detect("red", slot)) == [list(BOX)]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(32)))
    stats = client.stats()
    assert stats.regions <= 3
    assert stats.shared_requests + stats.socket_requests == 32


def test_room_is_made_for_other_sizes(client: Client) -> None:
    client._session.ring = Ring(max_bytes=2 << 20)
    for size in ((640, 360), (800, 600), (320, 200), (640, 360), (800, 600)) * 3:
        assert boxes(client.detect("red", picture(width=size[0] + 320, height=size[1]))) == [list(BOX)]
        assert client.stats().region_bytes <= 2 << 20
    assert client.stats().shared_requests >= 9


def test_more_results_than_there_is_room_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sharing, "DEFAULT_ROWS", 0)
    for _ in range(2):
        assert boxes(client.detect("red", picture())) == [list(BOX)]
    stats = client.stats()
    assert (stats.shared_requests, stats.shared_results) == (2, 0)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    head = (
        "import os, sys, logging, resource; from sightline.clients import Client;"
        "from tests.red_models import picture;"
    )
    return subprocess.run(
        [sys.executable, "-c", head + script, *arguments], capture_output=True, text=True, timeout=60
    )


def test_a_full_shared_memory_falls_back_and_says_so_once(red: LocalServer) -> None:
    """A limit on file sizes stands in for a full /dev/shm: both refuse to give the pages."""
    done = run(
        "logging.basicConfig(format='%(message)s');"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16));"
        "client = Client(sys.argv[1]);"
        "print([len(client.detect('red', picture())) for _ in range(3)], client.stats().fallbacks)",
        red.grpc_address,
    )
    assert (done.returncode, done.stdout) == (0, "[1, 1, 1] 3\n")
    assert done.stderr.count("without shared memory: /dev/shm is full") == 1
    assert done.stderr.count("\n") == 1


def test_why_there_is_no_sharing_is_said_once(red: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sightline.clients")
    with Client(red.grpc_address, token="") as client:
        for _ in range(3):
            assert boxes(client.detect("red", picture())) == [list(BOX)]
        assert client.stats().fallbacks == 3
    assert caplog.text.count("without shared memory") == 1
    assert "no token" in caplog.text


def is_swept(red: LocalServer, names: set[str]) -> bool:
    """Whether a new client and its sweep leave none of these; what the server still reads, they do."""
    with Client(red.grpc_address) as client:
        assert boxes(client.detect("red", picture())) == [list(BOX)]
    return not names & (regions_of(red) | {path.name for path in FOLDER.glob(f"{PREFIX}*")})


@pytest.mark.parametrize("slot", [True, False])
def test_a_client_killed_in_mid_request_leaves_nothing(red: LocalServer, slot: bool) -> None:
    script = (
        "client = Client(sys.argv[1]); client.detect('red', picture());"
        "frame = client.frame_slot(640, 360, 2);"
        "frame.data[:] = picture(busy=True).reshape(-1);"
        f"client.submit('red', {'frame' if slot else 'picture(busy=True)'});"
        "print(os.getpid(), flush=True); import time; time.sleep(0.1); os.kill(os.getpid(), 9)"
    )
    killed = run(script, red.grpc_address)
    assert killed.returncode == -signal.SIGKILL
    left = {path.name for path in FOLDER.glob(f"{PREFIX}{killed.stdout.split()[-1]}-*")}
    assert left
    assert wait_until(lambda: is_swept(red, left))


def test_what_a_killed_client_had_retired_is_swept_too(red: LocalServer) -> None:
    script = (
        "client = Client(sys.argv[1]); client.detect('red', picture());"
        "print(client.submit('red', picture(busy=True), timeout_seconds=0.1).exception());"
        "[print(r.name) for r in client._session.ring.pop_retired()]; sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    name = run(script, red.grpc_address).stdout.split()[-1]
    assert name in regions_of(red)
    assert wait_until(lambda: is_swept(red, {name}))


def test_two_processes_at_once(red: LocalServer, client: Client) -> None:
    script = (
        "client = Client(sys.argv[1]);"
        "print(sum(len(client.detect('red', picture())) for _ in range(40)), client.stats().fallbacks)"
    )
    with ThreadPoolExecutor(1) as thread:
        other = thread.submit(run, script, red.grpc_address)
        while not other.done():
            assert boxes(client.detect("red", picture())) == [list(BOX)]
        assert other.result().stdout == "40 0\n"
    assert client.stats().fallbacks == 0


def test_a_fork_leaves_its_parents_client_alone(red: LocalServer) -> None:
    done = run(
        "client = Client(sys.argv[1]); client.detect('red', picture())\n"
        "slot = client.frame_slot(640, 360, 2); slot.data[:] = picture().reshape(-1)\n"
        "client.detect('red', slot); client.detect('red', picture()); client.stats()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        client.detect('red', picture())\n"
        "    except Exception as error:\n"
        "        print(error, flush=True)\n"
        "    del client, slot; sys.exit(5)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "names = [*(r.name for r in client._session.ring._free), slot.lease.region.name]\n"
        "print(len(names), all(os.path.exists('/dev/shm/' + name) for name in names))\n"
        "print(len(client.detect('red', slot)), len(client.detect('red', picture())), client.stats().registrations)",
        red.grpc_address,
    )
    assert done.stdout.splitlines() == [f"{CLOSED}", "5", "2 True", "1 1 2"], done.stderr


def test_an_unanswered_slot_is_given_up(hurried: Client) -> None:
    slot = filled(rgb_slot(hurried), busy=True)
    with pytest.raises(DeadlineExceeded):
        hurried.detect("red", slot, timeout_seconds=0.1)
    place = address_of(slot.data)
    del slot
    gc.collect()
    other = rgb_slot(hurried)
    assert address_of(other.data) != place


def test_an_unanswered_slot_is_copied_when_asked_again(hurried: Client) -> None:
    """Late results of the first request must not be taken for those of the second."""
    slot = filled(rgb_slot(hurried), busy=True)
    with pytest.raises(DeadlineExceeded):
        hurried.detect("red", slot, timeout_seconds=0.1)
    pending = hurried.submit("red", slot)
    assert boxes(pending.result(PATIENCE_SECONDS)) == [list(BOX)]
    assert hurried.stats().frames_in_place == 1
    assert hurried.stats().shared_requests == 1


def test_the_page_shows_the_counters(client: Client) -> None:
    from sightline.clients.streams import Watch
    from sightline.clients.streams.names import parse_sources

    client.detect("red", picture())
    watch = Watch(parse_sources(["rtsp://127.0.0.1:1/none"]), client, model="red")
    assert watch.state()["transport"] == client.stats().to_dict()
    assert watch.state()["transport"]["shared_requests"] == 1


def test_a_server_that_was_killed_knows_nothing_and_is_told_again(red: LocalServer, client: Client) -> None:
    slot, other = filled(rgb_slot(client)), filled(rgb_slot(client))
    for frame in (slot, other):
        assert boxes(client.detect("red", frame)) == [list(BOX)]
    restarts, pid = red.restarts, red.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    def gone() -> bool:
        try:
            client.detect("red", encoded(picture()))
        except ServerUnavailable:
            return True
        return False

    assert wait_until(gone)
    assert wait_until(lambda: red.restarts > restarts and red.state == "ready")
    assert wait_until(client.ready)
    before = client.stats()
    for frame in (slot, other, picture(), slot):
        assert boxes(client.detect("red", frame)) == [list(BOX)]
    after = client.stats()
    assert after.shared_requests - before.shared_requests == 4
    assert after.fallbacks == before.fallbacks
    assert set(own_regions()) <= regions_of(red)
    del slot, other


def test_a_plain_frame_is_a_frame() -> None:
    frame = plain_frame(5, 3, PixelFormat.I420, Frame(np.zeros(3, np.uint8), 1, 1).colour)
    assert (frame.width, frame.height, frame.data.size) == (5, 3, 27)
