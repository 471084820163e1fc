# SPDX-License-Identifier: Apache-2.0
"""The wire contract and the shared-memory pool without a server."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.builders.stages.images import decode_image
from sightline.clients import _flow, _sharing, _shm, _wire
from sightline.clients._answers import detections_from_answer
from sightline.clients._errors_border import (
    RegionBusyError,
    RegionRefusedError,
    RegionUnknownError,
    RestrictedError,
)
from sightline.clients._flow import detect
from sightline.clients._images import item_from
from sightline.clients._ring import Ring, size_class
from sightline.clients._session import Deadline, Session
from sightline.clients._shm import PREFIX, Region, find_orphans, remove_orphan
from sightline.errors import BadInputError, DeadlineExceeded, ProtocolError, ServerUnavailable
from sightline.frame import Frame, PixelFormat
from sightline.results import Detections
from sightline.runtime import ServerState, write_state
from tests.cases import about

LABELS = ("car", "bus")


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clients of tests beside these sweep /dev/shm, and take what seems left over there."""
    with tempfile.TemporaryDirectory(prefix="sightline-tests-", dir=_shm.FOLDER) as folder:
        monkeypatch.setattr(_shm, "FOLDER", Path(folder))
        yield


def answer(counts: list[int], rows: int) -> dict[str, Any]:
    items = len(counts)
    return {
        "COUNT": np.array(counts, np.int32).reshape(items, 1),
        "BOXES": np.arange(items * rows * 4, dtype=np.float32).reshape(items, rows, 4),
        "SCORES": np.full((items, rows), 0.5, np.float32),
        "CLASSES": np.zeros((items, rows), np.int32),
        "ERROR": np.array([[b"[bad_image] cut off" if count < 0 else b""] for count in counts], dtype=object),
    }


def test_each_item_gets_its_rows_or_its_error() -> None:
    first, second, third = detections_from_answer(answer([2, -1, 0], 3), LABELS)
    assert isinstance(first, Detections)
    assert first.boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert isinstance(second, BadInputError)
    assert str(second) == "cut off"
    assert isinstance(third, Detections)
    assert len(third) == 0


_MALFORMED = [
    {"COUNT": None},
    {"BOXES": None},
    {"COUNT": np.array([[4]], np.int32)},
    {"COUNT": np.array([[-2]], np.int32)},
    {"COUNT": np.array([[1.0]], np.float32)},
    {"COUNT": np.array([1], np.int32)},
    {"COUNT": np.zeros((1, 2), np.int32)},
    {"BOXES": np.zeros((1, 3, 5), np.float32)},
    {"BOXES": np.zeros((1, 2, 4), np.float32)},
    {"BOXES": np.zeros((1, 3, 4), np.float64)},
    {"SCORES": np.zeros((2, 3), np.float32)},
    {"CLASSES": np.zeros((1, 3), np.int64)},
]


def test_malformed_answers() -> None:
    for change in _MALFORMED:
        with about(change):
            values = {name: v for name, v in (answer([1], 3) | change).items() if v is not None}
            with pytest.raises(ProtocolError):
                detections_from_answer(values, LABELS)


def test_labels_of_a_description() -> None:
    assert _wire.description_from_parameters({"sightline": json.dumps({"labels": LABELS})}).labels == LABELS
    assert _wire.description_from_parameters({"sightline": "{}"}).labels == ()
    assert _wire.description_from_parameters({}).labels == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "3",
        '{"labels": "car"}',
        '{"labels": [1]}',
        "[" * 100_000,
        " " * (1 << 21),
        '{"labels": ["a"',
    ],
)
def test_damaged_descriptions(text: str) -> None:
    with pytest.raises(ProtocolError):
        _wire.description_from_parameters({"sightline": text})


def test_stages_are_no_models() -> None:
    names = ["street", "street_frames", "street_decode", "street_network", "other_network", "my_frames"]
    assert _wire.public_models(names) == ["my_frames", "other_network", "street"]


def test_requests() -> None:
    request = _wire.image_request("street", b"abc")
    assert request.model == "street"
    assert request.tensors[0].shape == (1, 3)
    frame = Frame(np.zeros(6, np.uint8), 2, 2, PixelFormat.NV12)
    pixels, info = _wire.frame_request("street", frame, "region").tensors
    assert (pixels.region, pixels.size_bytes, pixels.array) == ("region", 6, None)
    assert info.array is not None
    assert info.array.tolist() == [[2, 2, 1, 0]]


def test_a_server_that_went_away_is_asked_for_its_labels_again() -> None:
    """The flow alone: an answer, a failure, and the next request."""
    session = Session("10.0.0.1", 8001, "grpc")
    flow = detect(session, "street", b"file")
    assert isinstance(next(flow), _wire.Describe)
    assert isinstance(flow.send({"sightline": '{"labels": ["car"]}'}), _wire.Infer)
    with pytest.raises(ServerUnavailable):
        flow.throw(ServerUnavailable("gone"))
    assert isinstance(next(detect(session, "street", b"file")), _wire.Describe)


def test_labels_are_asked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model may be built anew behind a client that no error tells of it."""
    session = Session("10.0.0.1", 8001, "grpc")
    flow = detect(session, "street", b"file")
    assert isinstance(next(flow), _wire.Describe)
    flow.send({"sightline": '{"labels": ["car"]}'})
    assert isinstance(next(detect(session, "street", b"file")), _wire.Infer)
    later = time.monotonic() + _flow.LABELS_AGE_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert isinstance(next(detect(session, "street", b"file")), _wire.Describe)


@pytest.mark.parametrize(
    ("answer", "is_left"),
    [
        (None, False),
        (RegionUnknownError("gone"), False),
        (RegionBusyError("busy"), True),
        (ServerUnavailable("away"), True),
        (DeadlineExceeded("late"), True),
    ],
)
def test_an_orphan_is_forgotten_when_the_server_does_not_know_it(
    answer: Exception | None, is_left: bool
) -> None:
    session = Session("10.0.0.1", 8001, "grpc")
    region = Region(1 << 16)
    try:
        session.orphans = [region.name]
        flow = _sharing._unregister_orphans(session)
        next(flow)
        with pytest.raises(StopIteration):
            flow.send(None) if answer is None else flow.throw(answer)
        assert session.orphans == ([region.name] if is_left else [])
        assert (_shm.FOLDER / region.name).exists() == is_left
    finally:
        region.close()


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_retired_regions_survive_a_broken_unregistering(answers: int) -> None:
    """Whatever ends the flow midway, a region that the server may still know is asked for again later."""
    session = Session("10.0.0.1", 8001, "grpc")
    regions = [Region(1 << 16) for _ in range(3)]
    for region in regions:
        region.registered = True
        session.ring.retire(region)
    flow = _sharing._unregister_retired(session, len(regions))
    try:
        next(flow)
        for _ in range(answers):
            flow.send(None)
        flow.close()
        assert session.ring.pop_retired() == regions[answers:]
    finally:
        for region in regions:
            region.close()


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "I;16", "1"])
def test_a_pil_image_has_the_pixels_of_its_file(mode: str) -> None:
    levels = np.linspace(0, 65535, 64 * 48).reshape(48, 64)
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16))
    else:
        rgba = np.stack(
            [levels / 257, levels[::-1] / 257, levels[:, ::-1] / 257, levels.T.reshape(48, 64) / 257]
        )
        image = Image.fromarray(np.moveaxis(rgba, 0, -1).astype(np.uint8), "RGBA").convert(mode)
    assert image.mode == mode
    file = io.BytesIO()
    image.save(file, "PNG")
    frame = item_from(image)
    assert isinstance(frame, Frame)
    assert frame.pixel_format is PixelFormat.RGB
    np.testing.assert_array_equal(frame.data.reshape(48, 64, 3), decode_image(file.getvalue()).pixels)


def test_deadline_ends() -> None:
    deadline = Deadline(1.0, time.monotonic() - 1)
    assert deadline.remaining() == 0


@pytest.fixture
def ring() -> Iterator[Ring]:
    made = Ring(max_bytes=1 << 20)
    yield made
    for region in made.close():
        region.close()


def test_size_classes_waste_little() -> None:
    for size in (1, 1 << 16, (1 << 16) + 1, 100_000, 1_382_400, 3_110_400, 1 << 26):
        found = size_class(size)
        assert size <= found <= max(1 << 16, size * 1.25)
        assert size_class(found) == found


def test_regions_are_used_again(ring: Ring) -> None:
    first = ring.take(100_000)
    assert first is not None
    assert first.size_bytes == 7 << 14
    ring.give_back(first)
    assert ring.take(90_000) is first
    assert ring.stats().in_use == 1


def test_retired_regions_are_not_used_again(ring: Ring) -> None:
    first = ring.take(100_000)
    assert first is not None
    ring.retire(first)
    assert ring.take(100_000) is not first
    assert (_shm.FOLDER / first.name).exists()  # until the server was asked to forget it
    assert ring.pop_retired() == [first]
    first.close()


def test_the_ring_is_bounded_in_bytes(ring: Ring) -> None:
    taken = [ring.take(1 << 18) for _ in range(4)]
    assert all(taken)
    assert ring.take(1) is None
    assert ring.stats().region_bytes == 1 << 20
    for region in taken:
        assert region is not None
        ring.give_back(region)
    assert ring.take(1 << 20) is None  # makes room for the next
    for region in ring.pop_retired():
        region.close()
    assert ring.take(1 << 20) is not None


def test_the_ring_is_bounded_in_number() -> None:
    ring = Ring(max_regions=2)
    taken = [ring.take(1), ring.take(1), ring.take(1)]
    assert [region is None for region in taken] == [False, False, True]
    assert ring.stats().regions == 2
    for region in ring.close():
        region.close()


def test_closing_ends_the_waiting_for_a_region() -> None:
    ring = Ring(max_regions=1)
    held = ring.take(1)
    assert held is not None
    waiting = threading.Thread(target=ring.take_waiting, args=(1, 3600.0), daemon=True)
    waiting.start()
    while not ring.stats().waits:
        time.sleep(0.001)
    ring.close()
    waiting.join(30.0)
    held.close()
    assert not waiting.is_alive()


def test_a_closed_ring_gives_nothing(ring: Ring) -> None:
    assert ring.close() == []
    assert ring.take(1) is None


def test_full_shared_memory_is_no_error(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_shm.os, "posix_fallocate", full)
    before = sorted(_shm.FOLDER.glob(f"{PREFIX}{os.getpid()}-*"))
    assert ring.take(1) is None
    assert sorted(_shm.FOLDER.glob(f"{PREFIX}{os.getpid()}-*")) == before


def test_sweep_spares_the_living() -> None:
    region = Region(1 << 16)
    try:
        assert region.name not in orphan_names()
        assert (_shm.FOLDER / region.name).exists()
    finally:
        region.close()
    assert not (_shm.FOLDER / region.name).exists()


def test_a_refusal_is_said_once_whatever_region_it_names(caplog: pytest.LogCaptureFixture) -> None:
    session = Session("127.0.0.1", 8001, "grpc")
    for name in ("one", "two"):
        session.rest_from_sharing(RegionRefusedError(f"no region {name}"))
    session.rest_from_sharing(RestrictedError("no token"))
    assert [record.message.partition("(")[2].partition(")")[0] for record in caplog.records] == [
        "no region one",
        "no token",
    ]


def orphan_names() -> list[str]:
    return [name for name, _ in find_orphans()]


def test_each_server_is_told_of_its_own_orphans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of another server stay for its own clients, also one whose state lies in another folder.

    Where no server is any more, they only lose their names.
    """
    stranger = socket.create_server(("127.0.0.1", 0))
    strange = stranger.getsockname()[1]
    monkeypatch.setenv("SIGHTLINE_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    for grpc_port, http_port in ((7001, 7000), (7011, 7010)):
        write_state(ServerState(os.getpid(), grpc_port, http_port, 1, "", "ready", "token", ""))
    names = {}
    for port in (7001, 7000, 7011, 7010, 7021, strange):
        region = Region(1 << 16, port)
        region.registered, names[port] = True, region.name
        del region
    session = Session("127.0.0.1", 7001, "grpc")
    try:
        flow, asked = _sharing._sweep(session), set()
        with contextlib.suppress(StopIteration):
            operation = next(flow)
            while True:
                asked.add(operation.region)
                operation = flow.send(None)
        assert asked & set(names.values()) == {names[7001], names[7000]}
        assert {port for port, name in names.items() if (_shm.FOLDER / name).exists()} == {
            7011,
            7010,
            strange,
        }
    finally:
        stranger.close()
        for name in names.values():
            remove_orphan(name)


@pytest.mark.parametrize("registered", [False, True])
def test_a_forgotten_region_is_swept_where_a_server_knows_it(registered: bool) -> None:
    region = Region(1 << 16)
    name, region.registered = region.name, registered
    del region
    assert (name in orphan_names()) == registered
    assert (_shm.FOLDER / name).exists() == registered
    remove_orphan(name)


def test_a_region_is_closed_though_a_server_knows_it() -> None:
    region = Region(1 << 16)
    region.registered = True
    region.close()
    assert not (_shm.FOLDER / region.name).exists()


def test_sweep_takes_what_the_dead_left() -> None:
    script = (
        "import os, pathlib, sys; from sightline.clients import _shm; _shm.FOLDER = pathlib.Path(sys.argv[1]);"
        "region = _shm.Region(1 << 16); print(region.name, flush=True); os._exit(0)"
    )
    command = [sys.executable, "-c", script, str(_shm.FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    name = done.stdout.strip()
    assert (_shm.FOLDER / name).exists()
    assert name in orphan_names()
    remove_orphan(name)
    assert not (_shm.FOLDER / name).exists()


def _leave(region: Region) -> None:
    del region


def test_a_fork_shares_no_regions_with_its_parent(ring: Ring) -> None:
    region = ring.take(1)
    assert region is not None
    ring.give_back(region)
    ring._lock.acquire()  # by a thread that the fork does not have
    try:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if ring.take(1) is None and ring.closed and ring.close() == [] else 1
            finally:  # whatever happens: two processes must not go on with the tests
                os._exit(status)
    finally:
        ring._lock.release()
    assert os.waitpid(child, 0)[1] == 0
    assert ring.take(1) is region


def test_a_fork_does_not_remove_its_parents_region() -> None:
    region = Region(1 << 16)
    try:
        child = multiprocessing.get_context("fork").Process(target=_leave, args=(region,))
        child.start()
        child.join(120)
        assert child.exitcode == 0
        assert (_shm.FOLDER / region.name).exists()
        assert region.name not in orphan_names()
    finally:
        region.close()
