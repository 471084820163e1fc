# SPDX-License-Identifier: Apache-2.0
"""The annotated RTSP streams: FFmpeg plays them, nobody holds them up, and garbage does not end them."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest

from sightline.clients.annotated import AnnotatedServer, cameras, session
from sightline.clients.annotated import server as annotated_server
from sightline.clients.annotated.encoder import Encoder, parameter_sets
from sightline.clients.draw import class_colour
from sightline.clients.page import stills
from sightline.clients.rtsp.channels import InterleavedChannel, UdpChannel
from sightline.clients.service import WatchService, described
from sightline.clients.streams.names import Source
from sightline.clients.streams.results import ObjectInfo, StreamFrame, StreamResult
from sightline.clients.streams.watch import Watch
from sightline.errors import ConfigError, OutputError, PortInUseError, StreamError
from sightline.frame import Frame
from sightline.results import Detections
from tests.streams_parts import BrightObjectClient, find_object, make_clip

SIZE = (640, 360)
NAME = "gate one"
USER, PASSWORD = "wall", "steinbruch81"
PATIENCE_SECONDS = 120.0
QUICK = {"timeout": "60000000", "analyzeduration": "100000", "probesize": "100000"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object that moves on a dark wall."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=3.0, size=SIZE)


class Client(BrightObjectClient):
    """Finds the bright object; is asked about crops as well."""

    def submit_infer(self, model: str, image: Frame) -> Future[Detections]:
        return self.submit(model, image)


@pytest.fixture(autouse=True)
def _patient_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A starved camera may take long for its first picture."""
    monkeypatch.setattr(session, "FIRST_PICTURE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def client() -> Iterator[Client]:
    """Closed afterwards."""
    made = Client()
    yield made
    made.close()


@pytest.fixture
def running(clip: Path, client: BrightObjectClient) -> Iterator[tuple[AnnotatedServer, Watch]]:
    """Two cameras, watched; nothing of the server is left afterwards."""
    server = AnnotatedServer(0, rate=15)
    server.open()
    sources = [Source(name, str(clip), loop=True) for name in (NAME, "yard")]
    watch = Watch(sources, client, sinks=[server], videos=[server])  # type: ignore[arg-type]
    watch.start()
    yield server, watch
    watch.stop()
    server.close()
    _nothing_left(server.port)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("annotated")]


def _nothing_left(port: int) -> None:
    assert _soon(lambda: not _threads())
    assert _soon(lambda: not [
        c for c in psutil.Process().net_connections("inet") if c.laddr and c.laddr.port == port
    ])  # fmt: skip
    assert _soon(lambda: not psutil.Process().net_connections("udp"))


def _soon(what: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true answer; the last one where none came in time."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _url(server: AnnotatedServer, name: str = NAME, login: str = "") -> str:
    return server.addresses()[name].replace("://", f"://{login}", 1)


def _play(
    url: str, count: int, transport: str = "tcp", during: Callable[[], None] = lambda: None
) -> list[np.ndarray[Any, Any]]:
    """RGB pictures as FFmpeg's client gets them; `during` is called while it still plays."""
    with av.open(url, options={"rtsp_transport": transport, **QUICK}, timeout=60) as container:
        got: list[np.ndarray[Any, Any]] = []
        for picture in container.decode(video=0):
            got.append(picture.to_ndarray(format="rgb24"))
            if len(got) == count:
                during()
                break
        return got


def _box_edges(picture: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Shares of the bright object's left and right edges that have the colour of its box."""
    bright = (picture > 200).all(2)
    ys, xs = np.flatnonzero(bright.sum(1) > 40), np.flatnonzero(bright.sum(0) > 20)
    assert len(ys)
    assert len(xs)
    colour = np.array(class_colour(0), np.int32)
    shares = []
    for column in (xs[0] - 1, xs[-1] + 1):
        strip = picture[ys[2] : ys[-3], max(column - 2, 0) : column + 3].astype(np.int32)
        nearest = np.abs(strip - colour).sum(2).min(1)
        shares.append(float((nearest < 150).mean()))
    return shares[0], shares[1]


def _ask(port: int, *texts: bytes) -> list[bytes]:
    """The answers of one connection, which the server may end."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link, link.makefile("rb") as lines:
        for text in texts:
            link.sendall(text)
            head = b""
            with contextlib.suppress(ConnectionError):
                while (line := lines.readline()).strip():
                    head += line
            length = re.search(rb"Content-Length: (\d+)", head)
            answers.append(head + (lines.read(int(length[1])) if length else b""))
    return answers


def _request(method: str, url: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {url} RTSP/1.0", "CSeq: 7", *headers, "", ""]).encode()


def _frame(number: int, size: tuple[int, int] = SIZE) -> StreamFrame:
    width, height = size
    data = np.full(width * height * 3 // 2, 60, np.uint8)
    data[: width * height] = np.random.default_rng(number).integers(0, 255, width * height, np.uint8)
    return StreamFrame(0, NAME, 1, number, number / 10, number / 10, 1e9, Frame(data, width, height))


def _result(number: int, size: tuple[int, int] = SIZE) -> StreamResult:
    source = _frame(number, size)
    return StreamResult(source, find_object(source.frame), 0.0, (ObjectInfo(track_id=4),))


@pytest.fixture
def fed() -> Iterator[tuple[AnnotatedServer, Callable[[int, tuple[int, int]], None]]]:
    """A server with one camera and a function that gives it a picture and waits until it is drawn."""
    server = AnnotatedServer(0, rate=60)
    server.open()
    server.on_added(0, NAME)

    def feed(number: int, size: tuple[int, int] = SIZE) -> None:
        server.write(_result(number, size))
        camera = server._cameras[0]
        assert camera is not None
        assert _soon(lambda: not camera._busy)
        time.sleep(0.02)

    yield server, feed
    server.close()
    _nothing_left(server.port)


def test_ffmpeg_plays_it_with_the_boxes_drawn_in(running: tuple[AnnotatedServer, Watch]) -> None:
    server, _ = running
    channels: list[object] = []
    for transport in ("tcp", "udp"):
        pictures = _play(_url(server), 8, transport, lambda: channels.extend(_channels(server)))
        assert {picture.shape for picture in pictures} == {(SIZE[1], SIZE[0], 3)}
        edges = np.array([_box_edges(picture) for picture in pictures])
        assert (edges > 0.8).mean() > 0.8, f"{transport}: {edges}"
    assert list(map(type, channels)) == [InterleavedChannel, UdpChannel]
    assert server.state()["pictures_failed"] == 0


def _channels(server: AnnotatedServer) -> list[object]:
    return [viewer.channel for camera in server._cameras.all() for viewer in camera.viewers]


def test_it_encodes_only_while_somebody_plays(running: tuple[AnnotatedServer, Watch]) -> None:
    server, watch = running
    assert _soon(lambda: all(camera["answered"] > 5 for camera in watch.state()["cameras"]))
    figures = server.state()
    assert (figures["viewers"], figures["encoders"], figures["pictures"]) == (0, 0, 0)
    with av.open(_url(server), options={"rtsp_transport": "tcp", **QUICK}, timeout=60) as container:
        next(container.decode(video=0))
        figures = server.state()
        assert (figures["viewers"], figures["encoders"]) == (1, 1), "of two cameras one is played"
    assert _soon(lambda: server.state()["encoders"] == 0)
    assert server.state()["viewers"] == 0


def test_a_camera_that_is_removed_ends_its_viewers(running: tuple[AnnotatedServer, Watch]) -> None:
    server, watch = running
    url = _url(server)
    with av.open(url, options={"rtsp_transport": "tcp", **QUICK}, timeout=60) as container:
        pictures = container.decode(video=0)
        next(pictures)
        watch.remove(NAME)
        assert _soon(lambda: server.state()["connections"] == 0, 30), "while its player is still there"
        with contextlib.suppress(av.FFmpegError):
            for _ in pictures:
                pass
    assert b" 404 " in _ask(server.port, _request("DESCRIBE", url))[0]
    assert list(server.addresses()) == ["yard"]
    assert len(_play(_url(server, "yard"), 2)) == 2


def test_garbage_is_answered_and_the_server_lives(running: tuple[AnnotatedServer, Watch]) -> None:
    server, _ = running
    url = _url(server)
    udp = "Transport: RTP/AVP;unicast;client_port="
    cases = {
        b"GET / HTTP/1.1\r\n\r\n": b"400",
        b"\x16\x03\x01 \xff\xfe\n": b"400",
        b"OPTIONS " + b"x" * 40_000 + b" RTSP/1.0\r\n\r\n": b"400",
        _request("DESCRIBE", url, "Content-Length: -4"): b"400",
        _request("DESCRIBE", url, "Content-Length: many"): b"400",
        _request("DESCRIBE", url, *[f"X-{number}: 1" for number in range(99)]): b"400",
        _request("DESCRIBE", "rtsp://[::1/x"): b"400",
        _request("DESCRIBE", "rtsp://h/none"): b"404",
        _request("DESCRIBE", url + "/../track9"): b"404",
        _request("RECORD", url): b"405",
        _request("PLAY", url): b"455",
        _request("PLAY", url, "Session: 00ff"): b"454",
        _request("SETUP", url): b"461",
        _request("SETUP", url, "Transport: RTP/AVP;multicast"): b"461",
        _request("SETUP", url, udp + "0-1"): b"400",
        _request("SETUP", url, udp + "70000-70001"): b"400",
        _request("SETUP", url, udp + "-"): b"400",
        _request("SETUP", url, "Transport: RTP/AVP/TCP;interleaved=254-300"): b"400",
        _request("OPTIONS", url, "Require: play.basic"): b"551",
        _request("GET_PARAMETER", url): b"200",
        _request("TEARDOWN", url): b"200",
    }
    for text, status in cases.items():
        answer = _ask(server.port, text)[0]
        assert answer.startswith(b"RTSP/1.0 " + status), (text[:80], answer)
    for text in (b"$\x00\xff\xff", b"$", b"\r\n" * 500, b"DESCRIBE"):  # nothing to be answered
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
            link.sendall(text)
    assert len(_play(url, 2)) == 2
    assert _soon(lambda: server.state()["connections"] == 0)


def test_who_may_play() -> None:
    with pytest.raises(OutputError, match="give it user and password"):
        AnnotatedServer(0, host="0.0.0.0")
    with pytest.raises(OutputError, match="user and password, or neither"):
        AnnotatedServer(0, user=USER)
    with pytest.raises(OutputError, match="rate is 0"):
        AnnotatedServer(0, rate=0)
    server = AnnotatedServer(0, user=USER, password=PASSWORD)
    try:
        with pytest.raises(PortInUseError):
            AnnotatedServer(server.port)
        server.open()
        server.on_added(0, NAME)
        server.write(_result(0))
        url = _url(server)
        assert b" 401 " in _ask(server.port, _request("DESCRIBE", "rtsp://h/none"))[0], "names are not told"
        odd = 'Authorization: Digest username="wall", response="ü", nonce="'
        asked = _request("SETUP", url)
        nonce = re.search(rb'nonce="(\w+)"', _ask(server.port, asked)[0])
        assert nonce is not None
        answers = _ask(server.port, *[_request("SETUP", url, f'{odd}{nonce[1].decode()}"')] * 4)
        assert [b" 401 " in answer for answer in answers] == [True, True, True, False], "it is ended"
        with pytest.raises(av.FFmpegError, match=r"401|Unauthorized"):
            _play(_url(server, login=f"{USER}:falsch99@"), 1)
        stop = threading.Event()
        feeder = threading.Thread(target=_feed_until, args=(server, stop))
        feeder.start()
        try:
            assert len(_play(_url(server, login=f"{USER}:{PASSWORD}@"), 2)) == 2
        finally:
            stop.set()
            feeder.join()
        assert PASSWORD not in repr(server.state()) + server.told()
    finally:
        server.close()
    _nothing_left(server.port)


def _feed_until(server: AnnotatedServer, stop: threading.Event) -> None:
    number = 1
    while not stop.wait(0.05):
        server.write(_result(number))
        number += 1


def test_one_who_reads_nothing_slows_nobody(
    fed: tuple[AnnotatedServer, Callable[..., None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WAITING_BYTES", 64 << 10)
    server, feed = fed
    feed(0)
    links = []
    for room in (8 << 10, 4 << 20):
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        link.settimeout(60)
        link.connect(("127.0.0.1", server.port))
        _start_playing(link, _url(server))
        links.append(link)
    lazy, reading = links
    received: list[int] = []
    reader = threading.Thread(target=_count, args=(reading, received))
    reader.start()
    camera = server._cameras[0]
    assert camera is not None
    [taking] = [
        viewer.channel._writer.transport  # type: ignore[attr-defined]
        for viewer in camera.viewers
        if viewer.channel._writer.get_extra_info("peername") == reading.getsockname()  # type: ignore[attr-defined]
    ]
    try:
        for number in range(1, 41):
            feed(number)  # when who reads has what came before: its thread may be starved
            assert _soon(lambda n=number: camera.pictures == n and not taking.get_write_buffer_size())  # type: ignore[misc]
        assert _soon(lambda: server.state()["viewer_pictures_lost"] > 5)
        lost = sorted(viewer.lost for viewer in camera.viewers)
        assert lost[0] == 0, "the other lost nothing"
        assert camera.pictures == 40
        assert max(viewer.channel._writer.transport.get_write_buffer_size()  # type: ignore[attr-defined]
                   for viewer in camera.viewers) < 1 << 20  # fmt: skip
    finally:
        lazy.close()
        reading.shutdown(socket.SHUT_RDWR)
        reader.join(60)
        reading.close()
    assert sum(received) > 1 << 20
    assert _soon(lambda: server.state()["connections"] == 0)


def _start_playing(link: socket.socket, url: str) -> None:
    setup = _request("SETUP", url, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
    for text in (setup, _request("PLAY", url)):
        link.sendall(text)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += link.recv(1)
        assert b" 200 " in answer


def _count(link: socket.socket, received: list[int]) -> None:
    with contextlib.suppress(OSError):
        while data := link.recv(1 << 16):
            received.append(len(data))


def test_another_size_ends_the_viewers_and_is_played_anew(
    fed: tuple[AnnotatedServer, Callable[..., None]],
) -> None:
    server, feed = fed
    feed(0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        _start_playing(link, _url(server))
        feed(1)
        feed(2, (320, 180))
        while link.recv(1 << 16):  # until it is ended
            pass
    answer = _ask(server.port, _request("DESCRIBE", _url(server)))[0]
    assert b" 200 " in answer
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        _start_playing(link, _url(server))
        feed(3, (320, 180))
        assert link.recv(1) == b"$"
        camera = server._cameras[0]
        assert camera is not None
        assert camera._encoder is not None
        assert camera._encoder.size == (320, 180)


def test_there_is_room_for_so_many(
    fed: tuple[AnnotatedServer, Callable[..., None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "MAX_VIEWERS", 1)
    server, feed = fed
    url = _url(server)
    with monkeypatch.context() as patch:
        patch.setattr(session, "FIRST_PICTURE_SECONDS", 0.2)
        assert b" 503 " in _ask(server.port, _request("DESCRIBE", url))[0], "no picture yet"
    feed(0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        _start_playing(link, url)
        setup = _request("SETUP", url, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        assert b" 453 " in _ask(server.port, setup)[0]
        assert _soon(lambda: server.state()["connections"] == 1)
        monkeypatch.setattr(session, "GREETING_SECONDS", 0.5)  # now that nobody else is to be greeted
        silent = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        with silent, contextlib.suppress(ConnectionError):
            assert silent.recv(1) == b"", "who says nothing is ended"
        assert server.state()["viewers"] == 1, "who plays may be silent for longer"
        monkeypatch.setattr(session, "SESSION_SECONDS", 0.5)
        assert _soon(lambda: server.state()["viewers"] == 0)
        with contextlib.suppress(ConnectionError):
            while link.recv(1 << 16):
                pass


def test_silent_connections_keep_nobody_out(
    fed: tuple[AnnotatedServer, Callable[..., None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotated_server, "MAX_CONNECTIONS", 4)
    server, feed = fed
    feed(0)
    with contextlib.ExitStack() as opened:
        playing = opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
        _start_playing(playing, _url(server))
        for _ in range(12):
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
        assert b" 200 " in _ask(server.port, _request("DESCRIBE", _url(server)))[0]
        assert server.state()["viewers"] == 1, "who plays goes on"


def test_key_frames_come_by_time_and_when_asked_for() -> None:
    encoder = Encoder(*SIZE, 10)
    picture = stills.annotated_picture(_result(0))
    made = [encoder.encode(picture, number / 10, keyframe=number == 5) for number in range(30)]
    assert [number for number, one in enumerate(made) if one and one.keyframe] == [0, 5, 25]
    assert all(made)
    sps, pps = parameter_sets(*SIZE, 10)
    assert made[0] is not None
    assert {sps, pps} < set(made[0].nals), "the description names the parameter sets that come"


def test_a_large_picture_is_scaled() -> None:
    source = _frame(0, (1920, 1080))
    assert stills.annotated_size(source) == (1280, 720)
    encoder = Encoder(640, 360, 10)
    assert encoder.encode(stills.annotated_picture(_result(0, (1280, 720))), 0.0)
    assert (
        stills.annotated_size(replace(source, frame=Frame(np.zeros(33 * 2 * 18, np.uint8), 44, 18)))[1] == 18
    )


class TestService:
    def _service(
        self, folder: Path, text: str, client: BrightObjectClient, notices: list[str]
    ) -> WatchService:
        path = folder / "cameras.yaml"
        path.write_text(text)
        document, adapt = described([], path, None, {})
        return WatchService(document, client, path=path, adapt=adapt, notice=notices.append)  # type: ignore[arg-type]

    def test_a_cameras_file_asks_for_it(self, tmp_path: Path, clip: Path, client: BrightObjectClient) -> None:
        notices: list[str] = []
        text = (
            f"cameras:\n  door: {{url: {clip}, loop: true, privacy: {{classes: [lamp], method: fill}}}}\n"
            f"annotated: {{port: 0, user: {USER}, password: {PASSWORD}}}\n"
        )
        service = self._service(tmp_path, text, client, notices)
        service.start()
        try:
            address = service.state()["annotated"]["addresses"]["door"]
            assert [address in notice for notice in notices if "annotated" in notice] == [True]
            pictures = _play(address.replace("://", f"://{USER}:{PASSWORD}@"), 3)
            shares = [float((picture > 200).all(2).mean()) for picture in pictures]
            assert max(shares) < 0.005, "the covered object is not to be seen"
            near = [np.abs(picture.astype(np.int32) - class_colour(0)).sum(2) < 60 for picture in pictures]
            assert min(int(one.sum()) for one in near) > 100, "its box is"
            assert PASSWORD not in repr(service.state()) + "".join(notices)
        finally:
            service.stop()
        assert _soon(lambda: not _threads())

    def test_what_is_wrong_is_said(self, tmp_path: Path, clip: Path, client: BrightObjectClient) -> None:
        text = f"cameras: {{door: {{url: {clip}}}}}\nannotated: {{port: 0, user: a, password: {PASSWORD}, rate: 0}}"
        with pytest.raises(ConfigError, match="rate") as error:
            self._service(tmp_path, text, client, [])
        assert PASSWORD not in str(error.value)
        with pytest.raises(ConfigError, match="user and password"):
            self._service(tmp_path, text.replace("user: a, ", "").replace("rate: 0", "rate: 1"), client, [])
        with pytest.raises((OutputError, StreamError), match="open to everybody"):
            self._service(
                tmp_path, f"cameras: {{door: {{url: {clip}}}}}\nannotated: {{host: 0.0.0.0}}", client, []
            )
