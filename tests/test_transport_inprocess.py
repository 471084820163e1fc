# SPDX-License-Identifier: Apache-2.0
"""The server inside this process: the same answers as through a socket, the same errors, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.clients import AsyncClient, Client, _wire
from sightline.clients._deadlines import Deadlines
from sightline.clients._inproc import InProcessTransport
from sightline.clients._session import INPROC, Deadline, Session
from sightline.clients.inprocess._host import TritonError
from sightline.errors import (
    BadInputError,
    Cancelled,
    DeadlineExceeded,
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
    ServerStartError,
    ServerUnavailable,
)
from sightline.frame import PixelFormat
from sightline.perf.transport.bench import transport_rows
from sightline.perf.transport.repository import INPUT, MODEL, OUTPUT, write_identity
from sightline.results import Detections
from sightline.runtime import runtime_folder
from tests.red_models import BOX, LABELS, encoded, picture, write_repository

PATIENCE_SECONDS = 120.0
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("red"), instances=2)


@pytest.fixture(scope="module")
def client(red: Path) -> Iterator[Client]:
    with Client(f"inproc:{red}") as opened:
        yield opened


def boxes(result: Any) -> list[list[float]]:
    assert isinstance(result, Detections), result
    return [[float(v) for v in row] for row in result.boxes]


def left_behind() -> list[str]:
    regions = [path.name for path in SHARED_MEMORY.glob(f"sightline_server_*_{os.getpid()}_*")]
    return regions + [path.name for path in runtime_folder().glob(f"run-*_{os.getpid()}_*")]


def test_it_is_a_client_like_any_other(client: Client, red: Path) -> None:
    assert client.address == f"inproc:{red}"
    assert client.ready()
    assert client.ready("red")
    assert not client.ready("absent")
    assert client.labels("red") == LABELS
    for image in (picture(), encoded(picture())):
        result = client.detect("red", image)
        assert boxes(result) == [list(BOX)]
        assert (result.scores.dtype, result.classes.dtype) == (np.float32, np.int32)
    grey = np.full((50, 60, 3), 90, np.uint8)
    assert len(client.detect("red", grey)) == 0
    slot = client.frame_slot(640, 360, PixelFormat.RGB)
    slot.data[:] = picture().reshape(-1)
    assert boxes(client.submit("red", slot).result(PATIENCE_SECONDS)) == [list(BOX)]
    assert client.stats().socket_requests == client.stats().fallbacks == client.stats().regions == 0


def test_errors_are_the_same(client: Client) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no model 'absent'; it has red$"):
        client.detect("absent", picture())
    with pytest.raises(BadInputError, match="this is no JPEG"):
        client.detect("red", b"broken")
    assert isinstance(client.submit("red", b"broken").exception(PATIENCE_SECONDS), BadInputError)
    with pytest.raises(BadInputError, match="model is"):
        client.detect("../red", picture())
    results = client.detect_batch("red", [picture(), b"broken", encoded(picture())])
    assert [type(r).__name__ for r in results] == ["Detections", "BadInputError", "Detections"]


def test_deadlines_and_cancelling(client: Client) -> None:
    busy = picture(busy=True)
    with pytest.raises(DeadlineExceeded, match=r"0\.1 s"):
        client.detect("red", busy, timeout_seconds=0.1)
    start = time.monotonic()
    assert isinstance(client.submit("red", busy, timeout_seconds=0.1).exception(), DeadlineExceeded)
    assert time.monotonic() - start < PATIENCE_SECONDS
    pending = client.submit("red", busy)
    assert pending.cancel()
    with pytest.raises(Cancelled):
        pending.result(PATIENCE_SECONDS)
    assert boxes(client.detect("red", picture())) == [list(BOX)]


def test_threads_share_it(client: Client) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: boxes(client.detect("red", picture())), range(16)))
    assert found == [[list(BOX)]] * 16


async def test_asyncio(client: Client, red: Path) -> None:
    async with AsyncClient(f"inproc:{red}") as other:
        assert boxes(await other.detect("red", picture())) == [list(BOX)]
        assert await other.labels("red") == LABELS
        task = other.submit("red", picture(busy=True))
        assert boxes(await other.detect("red", encoded(picture()))) == [list(BOX)]
        task.cancel()
    with pytest.raises(ServerUnavailable, match="closed"):
        await other.detect("red", picture())
    assert boxes(client.detect("red", picture())) == [
        list(BOX)
    ]  # the server lives as long as one client does


def test_answers_are_bit_equal_to_those_over_grpc(server: Any, repository: Path) -> None:
    from sightline.scenes import Scene

    image = np.ascontiguousarray(Scene(seed=5).frame(1.0)[0])
    images: list[Any] = [image, encoded(image)]
    with (
        Client(f"inproc:{repository}") as inside,
        Client(server.grpc_address) as shared,
        Client(server.grpc_address, shared_memory="off") as plain,
    ):
        for image in images:
            one = inside.detect("street_detect", image)
            assert len(one)
            for other in (shared, plain):
                found = other.detect("street_detect", image)
                for name in ("boxes", "scores", "classes"):
                    np.testing.assert_array_equal(getattr(one, name), getattr(found, name))
        assert inside.labels("street_detect") == plain.labels("street_detect")
        assert shared.stats().shared_results == 1


def test_an_empty_or_absent_repository_is_said(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ServerStartError, match="holds no model"):
            Client(f"inproc:{folder}")


def test_models_that_do_not_load_are_named(tmp_path: Path) -> None:
    before = left_behind()
    environment = dict(os.environ)
    write_repository(tmp_path)
    (tmp_path / "red_decode" / "1" / "model.py").write_text(
        "class TritonPythonModel:\n    def initialize(self, args):\n        raise RuntimeError('no weights')\n",
        encoding="utf-8",
    )
    (tmp_path / "red_letterbox" / "config.pbtxt").write_text("nonsense {", encoding="utf-8")
    with pytest.raises(ServerStartError) as caught:
        Client(f"inproc:{tmp_path}")
    assert "red_decode" in str(caught.value)
    assert "no weights" in str(caught.value)
    assert "red_letterbox" in str(caught.value)
    assert left_behind() == before
    assert dict(os.environ) == environment


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessTransport]:
    """The native backend, which needs no other process."""
    folder = write_identity(tmp_path_factory.mktemp("identity"), (3, 64, 65))
    transport = InProcessTransport(Session(str(folder), 0, INPROC, "off"))
    yield transport
    transport.close()


def request(array: np.ndarray[Any, Any], datatype: str = "FP32", name: str = INPUT) -> _wire.Infer:
    return _wire.Infer(MODEL, (_wire.Tensor(name, datatype, array.shape, array),))


def ask(transport: InProcessTransport, operation: _wire.Infer) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = transport.perform(operation, Deadline.after(PATIENCE_SECONDS))[OUTPUT]
    return found


def test_tensors_come_back_and_keep_their_memory(identity: InProcessTransport) -> None:
    tensors = [np.random.default_rng(n).random((1, 3, 64, 65), np.float32) for n in range(6)]
    answers = [ask(identity, request(tensor)) for tensor in tensors]
    for tensor, answer in zip(tensors, answers, strict=True):
        np.testing.assert_array_equal(tensor, answer)
    places = {answer.__array_interface__["data"][0] for answer in answers}
    assert len(places) == 6
    assert all(place % 64 == 0 for place in places)
    del answers, answer
    again = ask(identity, request(tensors[0]))
    assert again.__array_interface__["data"][0] in places


def test_special_values_pass_bit_by_bit(identity: InProcessTransport) -> None:
    bits = np.random.default_rng(3).integers(0, 1 << 32, (1, 3, 64, 65), np.uint32)
    tensor = bits.view(np.float32)
    np.testing.assert_array_equal(ask(identity, request(tensor)).view(np.uint32), bits)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (request(np.zeros((1, 3, 64, 64), np.float32)), InferenceError),
        (request(np.zeros((1, 3, 64, 65), np.uint8), "UINT8"), InferenceError),
        (request(np.zeros((1, 3, 64, 65), np.float64)), InferenceError),
        (request(np.zeros((1, 3, 64, 65), np.float32), name="OTHER"), InferenceError),
        (request(np.zeros((1,) * 9, np.float32)), ProtocolError),
        (_wire.Infer(MODEL, ()), InferenceError),
    ],
)
def test_bad_tensors_are_refused(identity: InProcessTransport, operation: _wire.Infer, kind: type) -> None:
    with pytest.raises(kind):
        ask(identity, operation)
    good = np.ones((1, 3, 64, 65), np.float32)
    np.testing.assert_array_equal(ask(identity, request(good)), good)


def test_callbacks_from_many_requests_at_once(identity: InProcessTransport) -> None:
    tensors = [np.full((1, 3, 64, 65), n, np.float32) for n in range(64)]
    answers: dict[int, Any] = {}
    finished = threading.Semaphore(0)

    def keep(number: int, answer: Any, error: BaseException | None) -> None:
        answers[number] = error or float(answer[OUTPUT].max())
        finished.release()

    for number, tensor in enumerate(tensors):
        identity.start(
            request(tensor), Deadline.after(PATIENCE_SECONDS), lambda a, e, n=number: keep(n, a, e)
        )
    assert all(finished.acquire(timeout=PATIENCE_SECONDS) for _ in tensors)
    assert answers == {n: float(n) for n in range(64)}


def test_closing_waits_for_a_request_that_is_being_started(tmp_path: Path) -> None:
    transport = InProcessTransport(Session(str(write_identity(tmp_path, (1, 2, 2))), 0, INPROC, "off"))
    host = transport._server.host
    closing = threading.Thread(target=transport.close)
    tensor = np.ones((1, 1, 2, 2), np.float32)

    class Slow:
        """An input at which the start of the request stops until another thread closes the server."""

        def __getitem__(self, index: int) -> Any:
            if index == 0:
                closing.start()
                closing.join(0.3)
            return (INPUT.encode(), b"FP32", tensor.shape, tensor)[index]

    call = host.start(MODEL.encode(), [Slow()], [], None)  # type: ignore[list-item]
    with contextlib.suppress(TritonError):  # it may be cancelled in time
        host.finish(call, PATIENCE_SECONDS)
    closing.join(PATIENCE_SECONDS)
    assert not closing.is_alive()
    with pytest.raises(TritonError, match="stopped"):
        host.ready(None)


def test_the_last_client_may_be_closed_in_a_callback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = left_behind()
    transport = InProcessTransport(Session(str(write_identity(tmp_path, (1, 2, 2))), 0, INPROC, "off"))
    closed = threading.Event()

    def close(answer: Any, error: BaseException | None) -> None:
        transport.close()
        closed.set()

    transport.start(request(np.ones((1, 1, 2, 2), np.float32)), Deadline.after(PATIENCE_SECONDS), close)
    assert closed.wait(PATIENCE_SECONDS)
    end = time.monotonic() + PATIENCE_SECONDS
    while left_behind() != before and time.monotonic() < end:
        time.sleep(0.05)
    assert left_behind() == before
    assert "left running" not in caplog.text


def test_closing_spares_processes_that_other_threads_have_started(tmp_path: Path) -> None:
    child, before = None, set(processes_of_run(os.getpid()))
    transport = InProcessTransport(Session(str(write_repository(tmp_path)), 0, INPROC, "off"))
    try:
        environment = {**os.environ, "SIGHTLINE_RUN": str(transport._server._run)}
        child = subprocess.Popen(["sleep", "60"], env=environment)
        assert len(set(processes_of_run(os.getpid())) - before) > 1
        transport.close()
        assert set(processes_of_run(os.getpid())) - before == {str(child.pid)}
        assert child.poll() is None
    finally:
        transport.close()
        if child is not None:
            child.kill()
            child.wait()


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    head = "import os, sys; from sightline.clients import Client; from tests.red_models import picture;"
    return subprocess.run(
        [sys.executable, "-c", head + script, str(folder)], capture_output=True, text=True, timeout=240
    )


def test_a_client_that_nobody_closed_ends_cleanly(red: Path) -> None:
    done = run(
        "client = Client('inproc:' + sys.argv[1]); print(len(client.detect('red', picture())), os.getpid())",
        red,
    )
    assert (done.returncode, done.stderr) == (0, "")
    pid = done.stdout.split()[1]
    assert not list(SHARED_MEMORY.glob(f"sightline_server_*_{pid}_*"))
    assert not list(runtime_folder().glob(f"run-*_{pid}_*"))


def test_a_fork_leaves_the_server_to_its_parent(tmp_path: Path) -> None:
    done = run(
        "client = Client('inproc:' + sys.argv[1])\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    for ask in (client.ready, lambda: Client('inproc:' + sys.argv[1])):\n"
        "        try:\n"
        "            ask()\n"
        "        except Exception as error:\n"
        "            print(type(error).__name__, flush=True)\n"
        "    sys.exit(5)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), client.ready())",
        write_identity(tmp_path, (1, 2, 2)),
    )
    assert done.stdout.splitlines() == ["ServerUnavailable", "ServerStartError", "5 True"], done.stderr


def processes_of_run(pid: int) -> list[str]:
    """Processes that a server inside the process `pid` has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"_{pid}_".encode() in (folder / "environ").read_bytes().partition(b"SIGHTLINE_RUN=")[2][:80]:
                found.append(folder.name)
    return found


def test_what_a_killed_process_left_is_swept_at_the_next_start(red: Path, tmp_path: Path) -> None:
    script = (
        "import os, sys; from sightline.clients import Client;"
        "client = Client('inproc:' + sys.argv[1]); os.kill(os.getpid(), 9)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(red)], stdout=subprocess.DEVNULL) as child:
        assert child.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    with Client(f"inproc:{write_identity(tmp_path, (1, 2, 2))}"):
        end = time.monotonic() + PATIENCE_SECONDS
        while processes_of_run(child.pid) and time.monotonic() < end:
            time.sleep(0.05)
        assert processes_of_run(child.pid) == []
        assert not list(SHARED_MEMORY.glob(f"sightline_server_*_{child.pid}_*"))
        assert not list(runtime_folder().glob(f"run-*_{child.pid}_*"))


def test_other_libraries_keep_their_own_openssl(tmp_path: Path) -> None:
    """The server's libraries stay out of the process's global scope."""
    write_identity(tmp_path, (1, 2, 2))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from sightline.clients import Client\n"
            "with Client('inproc:' + sys.argv[1]):\n"
            "    import ctypes, ssl\n"
            "    everywhere = ctypes.CDLL(None)\n"
            "    print(hasattr(everywhere, 'TRITONSERVER_ErrorNew'), hasattr(everywhere, 'curl_easy_init'))\n"
            "    ssl.create_default_context()\n",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True False\n", "")


def test_a_failing_callback_does_not_end_the_deadlines(caplog: pytest.LogCaptureFixture) -> None:
    deadlines, finished = Deadlines(), threading.Event()
    deadlines.add(0.01, lambda: [][0])
    deadlines.add(0.05, finished.set)
    assert finished.wait(PATIENCE_SECONDS)
    assert "IndexError" in caplog.text


def test_a_repository_must_be_named() -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(BadInputError, match="inproc:FOLDER"):
            kind("inproc:")


async def test_the_event_loop_runs_while_models_load(tmp_path: Path) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with AsyncClient(f"inproc:{write_identity(tmp_path, (1, 2, 2))}") as client:
        assert all(await asyncio.gather(client.ready(), client.ready(MODEL)))
    ticking.cancel()
    assert ticks > 3
    async with AsyncClient(f"inproc:{tmp_path / 'absent'}") as client:
        for _ in range(2):
            with pytest.raises(ServerStartError, match="holds no model"):
                await client.ready()


def test_deadlines_come_in_order_and_can_be_forgotten() -> None:
    deadlines, told = Deadlines(), []
    finished = threading.Event()
    far = deadlines.add(3600.0, lambda: told.append("never"))
    end = time.monotonic() + PATIENCE_SECONDS
    while not deadlines._wakes_at:  # its thread is to sleep, and be woken
        assert time.monotonic() < end
        time.sleep(0.01)
    # none comes before all are there; the lock is one that its holder may take again
    with deadlines._changed:
        deadlines.add(0.15, lambda: (told.append("last"), finished.set()))  # type: ignore[func-returns-value]
        deadlines.add(0.05, lambda: told.append("first"))
        forgotten = deadlines.add(0.1, lambda: told.append("never"))
        deadlines.forget(forgotten)
        deadlines.forget(forgotten)
    assert finished.wait(PATIENCE_SECONDS)
    assert told == ["first", "last"]
    deadlines.forget(far)


def test_the_benchmark_measures_every_way() -> None:
    rows = transport_rows(rounds=1, shape=(3, 32, 32))
    assert [row["way"] for row in rows] == [
        "in-process",
        "ring, in place",
        "ring, copied in and out",
        "stock shared memory",
        "gRPC",
    ]
    for row in rows:
        assert row["bytes"] == 3 * 32 * 32 * 4
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["memcpys"] > 0
