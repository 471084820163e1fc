# SPDX-License-Identifier: Apache-2.0
"""The clients against a real server: what they answer, what they raise, and what they leave behind."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from numpy.typing import NDArray
from PIL import Image

from sightline.clients import AsyncClient, Client, _wire, aio
from sightline.clients import client as blocking
from sightline.clients._http import AsyncHttpTransport
from sightline.clients._shm import FOLDER, PREFIX
from sightline.deploy import LocalServer
from sightline.deploy.local.canary import Canary
from sightline.deploy.local.supervisor import Health, RestartPolicy
from sightline.errors import (
    BadInputError,
    Cancelled,
    DeadlineExceeded,
    InferenceError,
    ModelNotFoundError,
    ServerUnavailable,
)
from sightline.frame import Frame
from sightline.results import Detections
from tests.cases import about
from tests.red_models import BOX, BUSY_SECONDS, LABELS, QUEUE_SIZE, encoded, held, picture, write_repository

PATIENCE_SECONDS = 60.0
PROTOCOLS = ("grpc", "http")
LONG = 20  # images: more than are under way at a time


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A real tritonserver with the detector of pure red."""
    repository = write_repository(tmp_path_factory.mktemp("red"))
    policy = RestartPolicy(canary_failures=100)  # busy pictures hold its canaries up as well
    with LocalServer(repository, log_dir=tmp_path_factory.mktemp("log"), restart_policy=policy) as server:
        yield server
        server.kill()  # draining is tested elsewhere


def address_of(server: LocalServer, protocol: str) -> str:
    return server.grpc_address if protocol == "grpc" else server.http_address


class LongPause(_wire.Pause):
    """A closing client's pause while the server still reads, which a busy machine's server does for longer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(8 * seconds)


@pytest.fixture(autouse=True)
def _patient_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wire, "Pause", LongPause)
    for module in (blocking, aio):
        monkeypatch.setattr(module, "CLOSE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture(params=PROTOCOLS)
def client(request: pytest.FixtureRequest, red: LocalServer) -> Iterator[Client]:
    with Client(
        address_of(red, request.param), protocol=request.param, timeout_seconds=PATIENCE_SECONDS
    ) as opened:
        yield opened


@pytest.fixture(params=PROTOCOLS)
async def async_client(request: pytest.FixtureRequest, red: LocalServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(
        address_of(red, request.param), protocol=request.param, timeout_seconds=PATIENCE_SECONDS
    ) as opened:
        yield opened


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which nobody listens, and which no other process is given meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def boxes(result: object) -> list[list[float]]:
    assert isinstance(result, Detections), result
    return [[float(v) for v in row] for row in result.boxes]


def own_regions() -> list[str]:
    return [path.name for path in FOLDER.glob(f"{PREFIX}{os.getpid()}-*")]


def regions_of(server: LocalServer) -> dict[str, Any]:
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as triton:
        headers = {"triton-grpc-protocol-sightline-token": server.token}
        return dict(triton.get_system_shared_memory_status(headers=headers).regions)


def upright_and_turned(folder: Path) -> Path:
    """A file whose pixels lie on their side and whose EXIF says so."""
    path = folder / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(picture()).copy()).save(path, exif=exif)
    return path


def with_transparent_surroundings() -> Image.Image:
    """RGBA: all pure red, but transparent outside BOX, where the server sees grey."""
    rgba = np.zeros((*picture().shape[:2], 4), np.uint8)
    x1, y1, x2, y2 = (int(v) for v in BOX)
    rgba[..., 0] = 255
    rgba[y1:y2, x1:x2, 3] = 255
    return Image.fromarray(rgba)


def every_kind_of_image(folder: Path) -> dict[str, Any]:
    image = picture()
    (folder / "picture.png").write_bytes(encoded(image))
    turned = upright_and_turned(folder)
    wide = np.zeros((360, 700, 3), np.uint8)
    wide[:, :640] = image
    return {
        "path": folder / "picture.png",
        "text path": str(folder / "picture.png"),
        "PNG bytes": encoded(image),
        "WebP bytes": encoded(image, "WEBP"),
        "bytearray": bytearray(encoded(image)),
        "array": image,
        "array that is a view": wide[:, :640],
        "PIL": Image.fromarray(image),
        "PIL with alpha": with_transparent_surroundings(),
        "PIL with palette": Image.fromarray(image).quantize(8),
        "PIL file, turned": Image.open(turned),
        "file, turned": turned,
        "Frame": Frame.from_rgb(image),
    }


def test_every_image_type_gives_the_same_boxes(client: Client, tmp_path: Path) -> None:
    for kind, image in every_kind_of_image(tmp_path).items():
        result = client.detect("red", image)
        assert boxes(result) == [list(BOX)], kind
        assert [(d.label, d.class_id, d.score) for d in result] == [("red", 1, 0.75)], kind


def test_nothing_found_is_an_empty_result(client: Client) -> None:
    grey = np.full((50, 60, 3), 90, np.uint8)
    for image in (grey, encoded(grey)):
        result = client.detect("red", image)
        assert len(result) == 0
        assert result.boxes.shape == (0, 4)
        assert result.boxes.dtype == np.float32
        assert result.classes.dtype == np.int32


def test_labels_and_readiness(client: Client) -> None:
    assert client.labels("red") == LABELS
    assert client.ready()
    assert client.ready("red")
    assert not client.ready("absent")


_BAD_IMAGES = [
    (b"not an image", "no JPEG"),
    (b"", "empty"),
    ("/no/such/file.jpg", "cannot be read"),
    ("/", "not a file"),
    ("a\0b", "cannot be read"),
    (np.zeros((4, 4), np.uint8), "shape"),
    (np.zeros((4, 4, 3), np.float32), "uint8"),
    (7, "int"),
]


def test_bad_images_are_explained(client: Client) -> None:
    for image, words in _BAD_IMAGES:
        with about(image, words):
            with pytest.raises(BadInputError, match=words) as caught:
                client.detect("red", image)
            assert "[bad_" not in str(caught.value)
            assert "red_decode" not in str(caught.value)


def test_one_bad_image_of_a_batch_fails_alone(client: Client) -> None:
    image = picture()
    results = client.detect_batch("red", [image, b"broken", encoded(image), 7, *[encoded(image)] * 4])  # type: ignore[list-item]
    assert [type(r).__name__ for r in results[:4]] == [
        "Detections",
        "BadInputError",
        "Detections",
        "BadInputError",
    ]
    assert all(boxes(r) == [list(BOX)] for i, r in enumerate(results) if i not in (1, 3))


def test_a_batch_reads_a_generator_as_it_goes(client: Client) -> None:
    taken = []

    def images() -> Iterator[Any]:
        for number in range(LONG):
            taken.append(number)
            yield picture()

    each = client.detect_each("red", images())
    next(each)
    assert len(taken) < LONG
    assert sum(isinstance(r, Detections) for r in each) == LONG - 1


def test_unknown_model_names_those_there_are(client: Client) -> None:
    for ask in (lambda: client.detect("absent", picture()), lambda: client.labels("absent")):
        with pytest.raises(ModelNotFoundError, match=r"no model 'absent'; it has red$"):
            ask()


def test_model_names_that_no_server_has(client: Client) -> None:
    for name in ["../red", "red/versions/1", "", "a b", ".", "..", "r\0d", "x" * 200]:
        with about(name), pytest.raises(BadInputError, match="model is"):
            client.detect(name, picture())


def test_deadline_names_its_value(client: Client, red: LocalServer) -> None:
    for image in (picture(busy=True), encoded(picture(busy=True))):
        with held(red.repository), pytest.raises(DeadlineExceeded, match=r"0\.1 s"):
            client.detect("red", image, timeout_seconds=0.1)
    assert boxes(client.detect("red", picture())) == [list(BOX)]


def test_deadline_must_be_positive(client: Client) -> None:
    with pytest.raises(BadInputError, match="timeout_seconds is 0"):
        client.detect("red", picture(), timeout_seconds=0)


def test_submit_and_callback(client: Client) -> None:
    called = threading.Event()
    pending = client.submit("red", picture())
    pending.add_done_callback(lambda done: called.set() if done is pending else None)
    assert boxes(pending.result(PATIENCE_SECONDS)) == [list(BOX)]
    assert called.wait(PATIENCE_SECONDS)
    assert pending.done()
    assert pending.exception() is None
    assert not pending.cancel()


def test_submit_carries_errors_in_its_result(client: Client) -> None:
    pending = client.submit("red", b"broken")
    assert isinstance(pending.exception(PATIENCE_SECONDS), BadInputError)
    with pytest.raises(BadInputError):
        pending.result()


@pytest.mark.parametrize("raw", [True, False])
def test_cancel(client: Client, red: LocalServer, raw: bool) -> None:
    client.labels("red")
    image = picture(busy=True)
    with held(red.repository):
        pending = client.submit("red", image if raw else encoded(image))
        with pytest.raises(DeadlineExceeded, match="still under way"):
            pending.result(0.05)
        assert pending.cancel()
    with pytest.raises(Cancelled):
        pending.result(PATIENCE_SECONDS)
    assert boxes(client.detect("red", picture())) == [list(BOX)]


def answers(client: Client) -> bool:
    try:
        return boxes(client.detect("red", encoded(picture()))) == [list(BOX)]
    except ServerUnavailable:
        return False


def test_overload_is_said(client: Client, red: LocalServer) -> None:
    client.labels("red")
    busy = encoded(picture(busy=True))
    with held(red.repository):
        pending = [client.submit("red", busy) for _ in range(QUEUE_SIZE + 8)]
        assert wait_until(lambda: any(p.done() for p in pending))
        refused = [p.exception() for p in pending if p.done()]
        for request in pending:
            request.cancel()
    assert any(isinstance(e, ServerUnavailable) and "is overloaded" in str(e) for e in refused), refused
    assert wait_until(lambda: answers(client))


@contextmanager
def no_cancellation_seen(server: LocalServer) -> Iterator[None]:
    """The server tells of every request that ends early meanwhile; there must be none."""
    headers = {"triton-grpc-protocol-sightline-token": server.token}
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as triton:
        triton.update_log_settings({"log_verbose_level": 1}, headers=headers)
        start = server.log_path.stat().st_size
        try:
            yield
        finally:
            triton.update_log_settings({"log_verbose_level": 0}, headers=headers)

    def told() -> str:
        return server.log_path.read_bytes()[start:].decode(errors="replace")

    assert wait_until(lambda: "ModelInferHandler" in told())  # a thread of ours writes the log
    assert "Cancellation" not in told()


def test_grpc_leaves_what_nobody_waits_for_to_its_end(red: LocalServer) -> None:
    """A cancellation that meets its answer would crash this tritonserver."""
    busy = encoded(picture(busy=True))
    with no_cancellation_seen(red), Client(red.grpc_address) as client:
        client.labels("red")
        with held(red.repository):
            with pytest.raises(DeadlineExceeded):
                client.detect("red", busy, timeout_seconds=BUSY_SECONDS / 2)
            pending = client.submit("red", busy)
            time.sleep(BUSY_SECONDS / 5)
            assert pending.cancel()


async def test_grpc_leaves_what_no_task_waits_for_to_its_end(red: LocalServer) -> None:
    busy = encoded(picture(busy=True))
    with no_cancellation_seen(red):
        async with AsyncClient(red.grpc_address) as client:
            await client.labels("red")
            with held(red.repository):
                with pytest.raises(DeadlineExceeded):
                    await client.detect("red", busy, timeout_seconds=BUSY_SECONDS / 2)
                task = client.submit("red", busy)
                await asyncio.sleep(BUSY_SECONDS / 5)
                task.cancel()


def test_a_canary_that_is_late_is_left_to_its_end(red: LocalServer) -> None:
    busy = encoded(picture(busy=True))
    canary = Canary(red.grpc_address, red.token)
    with no_cancellation_seen(red), Client(red.grpc_address, timeout_seconds=PATIENCE_SECONDS) as client:
        client.labels("red")
        assert wait_until(lambda: canary.probe().health is Health.OK)
        with held(red.repository):
            requests = [client.submit("red", busy) for _ in range(3)]
            found = canary.probe()
        for request in requests:
            request.result()
        assert wait_until(lambda: canary.probe().health is Health.OK)
    canary.close()
    assert found.health is Health.FAILED
    assert "no answer within 3 s" in found.reason


def test_a_failed_grpc_request_holds_no_image(red: LocalServer) -> None:
    """Neither while the server still works on it, nor in a circle that waits for the garbage collector."""

    def fails(image: NDArray[np.uint8]) -> bool:
        try:
            client.detect("red", image, timeout_seconds=BUSY_SECONDS / 5)
        except DeadlineExceeded:
            return True
        return False

    gc.disable()
    try:
        with Client(red.grpc_address, shared_memory="off") as client:
            client.labels("red")
            image = picture(busy=True)
            remembered = weakref.ref(image)
            with held(red.repository):
                assert fails(image)
                del image
                assert wait_until(lambda: remembered() is None)
    finally:
        gc.enable()


def test_a_grpc_callback_may_close_the_client_but_not_wait(red: LocalServer) -> None:
    client, seen = Client(red.grpc_address), []

    def use(_: object) -> None:
        try:
            client.detect("red", picture())
        except InferenceError as error:
            seen.append(str(error))
        client.close()
        seen.append("closed")

    with held(red.repository):
        pending = client.submit("red", picture(busy=True))
        pending.add_done_callback(use)
    assert wait_until(lambda: len(seen) == 2)
    assert "callback" in seen[0]


def test_http_cancels_in_silence_what_is_refused_meanwhile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, deaf_port: int
) -> None:
    under_way = threading.Event()

    async def refuse(*_: object) -> None:
        under_way.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE_SECONDS)
        raise ServerUnavailable("overloaded")

    monkeypatch.setattr(AsyncHttpTransport, "perform", refuse)
    with Client(f"localhost:{deaf_port}", protocol="http", timeout_seconds=PATIENCE_SECONDS) as client:
        pending = client.submit("red", picture())
        assert under_way.wait(PATIENCE_SECONDS)
        assert pending.cancel()
        assert wait_until(pending.done)
    gc.collect()
    assert caplog.text == ""


def test_many_threads_share_one_client(client: Client) -> None:
    grey = np.full((60, 80, 3), 90, np.uint8)

    def ask(number: int) -> bool:
        expected = [list(BOX)] if number % 2 else []
        return boxes(client.detect("red", picture() if number % 2 else grey)) == expected

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(16)))


def test_closed_client_says_so(red: LocalServer) -> None:
    client = Client(red.grpc_address)
    client.close()
    client.close()
    for call in (lambda: client.detect("red", picture()), lambda: client.submit("red", picture())):
        with pytest.raises(ServerUnavailable, match="closed"):
            call()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_absent_server_is_said_quickly(protocol: Any, deaf_port: int) -> None:
    start = time.monotonic()
    with Client(f"localhost:{deaf_port}", protocol=protocol, timeout_seconds=120) as client:
        with pytest.raises(
            ServerUnavailable, match=rf"nothing answers at localhost:{deaf_port}.*sightline serve"
        ):
            client.detect("red", picture())
        assert not client.ready()
        assert isinstance(client.submit("red", picture()).exception(PATIENCE_SECONDS), ServerUnavailable)
    assert time.monotonic() - start < PATIENCE_SECONDS


def test_the_other_protocols_port_is_recognised(red: LocalServer) -> None:
    with Client(red.http_address) as client, pytest.raises(InferenceError, match="protocol='http'"):
        client.detect("red", picture())
    with (
        Client(red.grpc_address, protocol="http") as client,
        pytest.raises(InferenceError, match="protocol='grpc'"),
    ):
        client.detect("red", picture())


@pytest.mark.parametrize(
    ("address", "protocol", "shown"),
    [
        ("localhost", "grpc", "localhost:8001"),
        ("localhost", "http", "localhost:8000"),
        ("http://box:80/", "http", "box:80"),
        ("[::1]:9", "grpc", "[::1]:9"),
        ("[::1]", "grpc", "[::1]:8001"),
    ],
)
def test_addresses(address: str, protocol: Any, shown: str) -> None:
    with Client(address, protocol=protocol) as client:
        assert client.address == shown


@pytest.mark.parametrize(
    "address", ["", ":8001", "host:", "host:0", "host:99999", "host:x", "a/b:1", "https://a:1"]
)
def test_bad_addresses(address: str) -> None:
    with pytest.raises(BadInputError, match="address is"):
        Client(address)


def test_bad_options() -> None:
    with pytest.raises(BadInputError, match="protocol is 'rest'"):
        Client(protocol="rest")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="shared_memory is 'on'"):
        Client(shared_memory="on")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="timeout_seconds is -1"):
        Client(timeout_seconds=-1)


def test_frames_go_through_shared_memory(red: LocalServer, client: Client) -> None:
    image = picture()
    client.detect("red", encoded(image))
    assert own_regions() == []
    for _ in range(5):
        assert boxes(client.detect("red", image)) == [list(BOX)]
    assert len(own_regions()) == 1
    name = own_regions()[0]
    assert regions_of(red)[name].byte_size >= image.nbytes
    client.close()
    assert own_regions() == []
    assert name not in regions_of(red)


def test_shared_memory_can_be_turned_off(red: LocalServer) -> None:
    with Client(red.grpc_address, shared_memory="off") as client:
        assert boxes(client.detect("red", picture())) == [list(BOX)]
        assert own_regions() == []


def test_wrong_token_falls_back_to_the_socket(red: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    with Client(red.grpc_address, token="wrong") as client:
        assert boxes(client.detect("red", picture())) == [list(BOX)]
        assert boxes(client.detect("red", picture())) == [list(BOX)]
    assert "without shared memory" in caplog.text
    assert "wrong" not in caplog.text
    assert own_regions() == []


def test_region_of_an_unanswered_request_is_not_used_again(red: LocalServer, client: Client) -> None:
    client.detect("red", picture())
    first = own_regions()
    with held(red.repository), pytest.raises(DeadlineExceeded):
        client.detect("red", picture(busy=True), timeout_seconds=0.1)
    assert boxes(client.detect("red", picture())) == [list(BOX)]
    (other,) = set(own_regions()) - set(first)
    time.sleep(2 * BUSY_SECONDS)
    assert wait_until(lambda: boxes(client.detect("red", encoded(picture()))) == [list(BOX)])
    client.close()
    assert not {*first, other} & set(regions_of(red))
    assert own_regions() == []


def test_client_that_nobody_closed_leaves_nothing(red: LocalServer) -> None:
    script = (
        "import sys; from sightline.clients import Client; from tests.red_models import picture;"
        "client = Client(sys.argv[1]); print(len(client.detect('red', picture())));"
        "client.stats(); print(*(r.name for r in client._session.ring._free))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, red.grpc_address], capture_output=True, text=True, timeout=180
    )
    assert (done.returncode, done.stderr) == (0, "")
    count, name = done.stdout.split()
    assert count == "1"
    assert name not in regions_of(red)
    assert not (FOLDER / name).exists()


def test_what_a_killed_client_left_is_swept(red: LocalServer) -> None:
    script = (
        "import os, sys; from sightline.clients import Client; from tests.red_models import picture;"
        "client = Client(sys.argv[1]); client.detect('red', picture()); os.kill(os.getpid(), 9)"
    )

    child = subprocess.Popen([sys.executable, "-c", script, red.grpc_address])
    assert child.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    orphans = {path.name for path in FOLDER.glob(f"{PREFIX}{child.pid}-*")}
    assert len(orphans) == 1
    with Client(red.grpc_address, timeout_seconds=PATIENCE_SECONDS) as client:
        client.detect("red", picture())
    assert not orphans & (set(regions_of(red)) | {path.name for path in FOLDER.glob(f"{PREFIX}*")})


async def test_async(async_client: AsyncClient, red: LocalServer, tmp_path: Path) -> None:
    for kind, image in every_kind_of_image(tmp_path).items():
        assert boxes(await async_client.detect("red", image)) == [list(BOX)], kind
    assert await async_client.labels("red") == LABELS
    assert await async_client.ready()
    results = await async_client.detect_batch("red", [picture(), b"broken", encoded(picture())])
    assert [type(r).__name__ for r in results] == ["Detections", "BadInputError", "Detections"]
    with pytest.raises(ModelNotFoundError, match=r"it has red$"):
        await async_client.detect("absent", picture())
    with pytest.raises(DeadlineExceeded, match=r"0\.1 s"), held(red.repository):
        await async_client.detect("red", picture(busy=True), timeout_seconds=0.1)


async def test_async_cancel(async_client: AsyncClient, red: LocalServer) -> None:
    await async_client.labels("red")
    with held(red.repository):
        task = async_client.submit("red", picture(busy=True))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert boxes(await async_client.detect("red", picture())) == [list(BOX)]
    await async_client.close()
    with pytest.raises(ServerUnavailable, match="closed"):
        await async_client.detect("red", picture())
    assert own_regions() == []


def _ask_for_ever(client: Client) -> None:
    while True:
        client.detect("red", picture())


def test_server_killed_and_back(red: LocalServer, client: Client) -> None:
    assert boxes(client.detect("red", picture())) == [list(BOX)]
    restarts, pid = red.restarts, red.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ServerUnavailable):
        _ask_for_ever(client)
    assert wait_until(lambda: red.restarts > restarts and red.state == "ready")
    assert wait_until(client.ready)
    for image in (picture(), encoded(picture())):
        assert boxes(client.detect("red", image)) == [list(BOX)]
    assert len(own_regions()) == 1
    assert set(own_regions()) <= set(regions_of(red))
    client.close()
    assert own_regions() == []


def test_shipped_detector_agrees_with_itself(server: Any) -> None:
    """Files without loss, arrays and PIL images give the same boxes in source pixels over both protocols."""
    from sightline.scenes import Scene

    image = np.ascontiguousarray(Scene(seed=5).frame(1.0)[0])
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    results = []
    for protocol in PROTOCOLS:
        with Client(address_of(server, protocol), protocol=protocol) as client:  # type: ignore[arg-type]
            results += [
                client.detect("street_detect", i) for i in (image, file.getvalue(), Image.fromarray(image))
            ]
            assert client.labels("street_detect")
    first = results[0]
    height, width = image.shape[:2]
    assert len(first)
    assert (first.boxes >= 0).all()
    assert (first.boxes <= [width, height, width, height]).all()
    for other in results[1:]:
        np.testing.assert_array_equal(other.classes, first.classes)
        np.testing.assert_allclose(other.boxes, first.boxes, atol=0.01)
