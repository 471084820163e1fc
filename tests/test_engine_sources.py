# SPDX-License-Identifier: Apache-2.0
"""Each kind of source, what is decoded of it, and streams that change under way: real files, sockets and certificates."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest

from sightline.clients.streams import Source, Watch
from sightline.clients.streams.results import Packet, StreamFrame, StreamResult, VideoFormat
from sightline.clients.streams.summary import Summary
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import read_clip
from tests.streams_parts import BrightObjectClient, make_clip, rtsp_clip
from tests.test_engine_dynamic import _patient_end, adds_up, camera, eventually  # noqa: F401 - a fixture

SIZE = (320, 180)
PICTURES = 60


@pytest.fixture
def client() -> Iterator[BrightObjectClient]:
    client = BrightObjectClient()
    yield client
    client.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def videos(folder: Path) -> dict[str, Path]:
    """Four seconds each, a key frame a second."""
    kinds = {"mp4": "libx264", "ts": "libx264", "hevc.ts": "libx265", "avi": "mjpeg"}
    return {
        suffix: make_clip(folder / f"wall.{suffix}", seconds=4, size=SIZE, codec=codec)
        for suffix, codec in kinds.items()
    }


class Seen:
    """A sink and a video sink."""

    def __init__(self) -> None:
        self.results: list[StreamResult] = []
        self.formats: list[VideoFormat] = []
        self.packets: list[Packet] = []
        self.frames: list[StreamFrame] = []

    def write(self, result: StreamResult) -> None:
        self.results.append(result)

    def close(self) -> None: ...

    def on_added(self, camera: int, name: str) -> None: ...

    def on_removed(self, camera: int) -> None: ...

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        self.formats.append(video)

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        self.packets.append(packet)

    def on_frame(self, frame: StreamFrame) -> None:
        self.frames.append(frame)

    def on_disconnected(self, camera: int) -> None: ...


def played(source: Source, client: Any, **options: Any) -> tuple[Summary, Seen]:
    """A file or folder, watched to its end."""
    seen = Seen()
    with Watch([source], client, sinks=[seen], videos=[seen], **options) as watch:
        watch.wait(120)
        assert watch.ended
        return watch.stop(), seen


# Files


@pytest.mark.parametrize("kind", ["mp4", "ts", "hevc.ts", "avi"])
def test_each_picture_of_an_unpaced_file_is_answered_however_slow_the_server(
    videos: dict[str, Path], kind: str
) -> None:
    client = BrightObjectClient(lambda: time.sleep(0.01))
    summary, seen = played(Source("file", str(videos[kind]), paced=False, deadline_seconds=0.001), client)
    client.close()
    assert summary.ok
    assert adds_up(summary)
    assert (summary.received, summary.answered) == (PICTURES, PICTURES)
    assert [r.source.number for r in seen.results] == list(range(PICTURES))
    assert len(seen.packets) == PICTURES
    assert all(len(r.detections) == 1 for r in seen.results)


def test_pictures_out_of_order_come_out_in_order(folder: Path, client: BrightObjectClient) -> None:
    clip = make_clip(folder / "b.mp4", seconds=4, size=SIZE, b_frames=3)
    summary, seen = played(Source("file", str(clip), paced=False), client)
    assert (summary.answered, summary.dropped) == (PICTURES, {})
    times = [r.source.pts_seconds for r in seen.results]
    assert times == sorted(times)
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([1 / 15] * (PICTURES - 1), abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "rate", "decode", "answered", "skipped"),
    [
        ("mp4", 5.0, "all", 20, 0),
        ("mp4", 5.0, "auto", 20, 0),  # all of its pictures are referred to
        ("avi", 5.0, "auto", 20, 40),  # none of its pictures is
        ("mp4", None, "keyframes", 4, 56),
        ("ts", None, "keyframes", 4, 56),
        ("hevc.ts", None, "keyframes", 4, 56),
    ],
)
def test_what_is_not_wanted_is_not_decoded(
    videos: dict[str, Path],
    client: BrightObjectClient,
    kind: str,
    rate: float,
    decode: str,
    answered: int,
    skipped: int,
) -> None:
    source = Source("file", str(videos[kind]), paced=False, rate=rate, decode=decode)
    summary, seen = played(source, client)
    assert adds_up(summary)
    assert summary.received == PICTURES == len(seen.packets), "the packets go to the page all the same"
    assert summary.answered == answered == len(seen.frames)
    assert summary.dropped.get("skipped", 0) == skipped
    assert summary.dropped.get("rate", 0) == PICTURES - answered - skipped


def test_a_rate_below_the_key_frames_needs_key_frames_only(folder: Path, client: BrightObjectClient) -> None:
    clip = make_clip(folder / "long.mp4", seconds=12, size=SIZE)
    summary, seen = played(Source("file", str(clip), paced=False, rate=0.5), client)
    assert adds_up(summary)
    assert summary.answered == 6
    assert summary.dropped["skipped"] >= 140, "after the first two key frames only key frames are decoded"
    assert all(len(r.detections) == 1 for r in seen.results)


def test_b_pictures_are_skipped_where_the_rate_does_not_need_them(
    folder: Path, client: BrightObjectClient
) -> None:
    clip = make_clip(folder / "bb.mp4", seconds=4, size=SIZE, b_frames=2)
    summary, seen = played(Source("file", str(clip), paced=False, rate=3.0), client)
    assert adds_up(summary)
    assert summary.answered == 12
    assert summary.dropped["skipped"] >= 5
    assert summary.dropped.get("damaged", 0) == 0
    assert all(len(r.detections) == 1 for r in seen.results)


def test_going_from_key_frames_to_all_pictures_meets_no_missing_reference(
    folder: Path, client: BrightObjectClient
) -> None:
    clip = make_clip(folder / "switch.mp4", seconds=8, size=SIZE, b_frames=2)
    seen = Seen()
    source = Source("file", str(clip), loop=True, decode="keyframes")
    with Watch([source], client, sinks=[seen]) as watch:
        for decode in ("keyframes", "all", "keyframes", "auto"):
            answered = camera(watch, "file")["answered"]
            watch.change(Source("file", str(clip), loop=True, decode=decode))
            eventually(lambda before=answered: camera(watch, "file")["answered"] >= before + 2)  # type: ignore[misc]
        summary = watch.stop()
    assert adds_up(summary)
    assert summary.cameras[0].connections == 1
    assert summary.dropped.get("damaged", 0) == 0
    assert all(len(r.detections) == 1 for r in seen.results)


def test_size_and_clock_change_under_way(folder: Path, client: BrightObjectClient) -> None:
    """Two recordings one after the other in one stream: another size, and time that begins anew."""
    first = make_clip(folder / "one.ts", seconds=2, size=(320, 180))
    second = make_clip(folder / "two.ts", seconds=2, size=(640, 360))
    both = folder / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    summary, seen = played(Source("file", str(both), paced=False), client)
    assert adds_up(summary)
    assert summary.answered >= PICTURES - 2
    sizes = [(r.source.frame.width, r.source.frame.height) for r in seen.results]
    assert sizes == sorted(sizes)
    assert set(sizes) == {(320, 180), (640, 360)}
    assert (seen.formats[-1].width, seen.formats[-1].height) == (640, 360)
    assert len({r.source.event_id for r in seen.results}) == len(seen.results)
    epochs = [r.source.epoch for r in seen.results]
    assert epochs == sorted(epochs)


def test_a_folder_of_images(folder: Path, client: BrightObjectClient, videos: dict[str, Path]) -> None:
    images = folder / "images"
    images.mkdir()
    with av.open(str(videos["mp4"])) as container:
        for number, picture in enumerate(itertools.islice(container.decode(video=0), 12)):
            picture.to_image().save(images / f"frame{number}.jpg")
    (images / "frame5.jpg").write_bytes((images / "frame5.jpg").read_bytes()[:900])  # being written
    (images / "frame7.jpg").write_bytes(b"")
    paced, _ = played(Source("folder", str(images), rate=50.0), client)
    assert adds_up(paced)
    assert (paced.received, paced.dropped["damaged"]) == (12, 2)  # a newer image may have replaced others
    summary, seen = played(Source("folder", str(images), rate=50.0, paced=False), client)
    assert adds_up(summary)
    assert (summary.received, summary.answered, summary.dropped) == (12, 10, {"damaged": 2})
    assert [r.source.number for r in seen.results] == [0, 1, 2, 3, 4, 6, 8, 9, 10, 11]
    assert all(len(r.detections) == 1 for r in seen.results)


@pytest.mark.parametrize(
    ("url", "reason"), [("v4l2:///dev/video97", "no device /dev/video97"), ("", "no image")]
)
def test_what_cannot_be_read_is_told_in_plain_words(
    client: BrightObjectClient, tmp_path: Path, url: str, reason: str
) -> None:
    with Watch([Source("odd", url or str(tmp_path))], client) as watch:
        eventually(lambda: reason in (camera(watch, "odd")["error"] or ""))
        assert camera(watch, "odd")["state"] in ("waiting", "connecting")
        assert adds_up(watch.stop())


# HTTP


@pytest.fixture(scope="module")
def web(videos: dict[str, Path]) -> Iterator[str]:
    """Base address of a server with the files, and a live multipart MJPEG stream."""
    with av.open(str(videos["avi"])) as container:
        jpegs = [bytes(packet) for packet in container.demux(video=0) if packet.size]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/live.mjpg":
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    for jpeg in itertools.cycle(jpegs):
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        time.sleep(1 / 30)
                except OSError:
                    return
            data = next(p.read_bytes() for kind, p in videos.items() if self.path == f"/wall.{kind}")
            start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
            self.send_response(206)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            try:
                self.wfile.write(data[start:])
            except OSError:
                return

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["live.mjpg", "wall.ts", "wall.mp4", "wall.hevc.ts"])
def test_http(web: str, client: BrightObjectClient, path: str) -> None:
    seen = Seen()
    with Watch([Source("web", f"{web}/{path}")], client, sinks=[seen]) as watch:
        eventually(lambda: camera(watch, "web")["answered"] >= 10)
        assert adds_up(watch.stop())
    assert sum(len(r.detections) == 1 for r in seen.results) >= 10


# TLS


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Path:
    """Of 127.0.0.1, signed by itself, with its key."""
    path = folder / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=camera",
    ]
    command += [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(path),
        "-out",
        str(folder / "cert.pem"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + (folder / "cert.pem").read_text())
    return path


@pytest.fixture(scope="module")
def secure(certificate: Path, folder: Path) -> Iterator[AsyncioCameraServer]:
    video = make_clip(folder / "secure.mp4", seconds=4, size=SIZE)
    server = AsyncioCameraServer(
        [read_clip(rtsp_clip(video, folder / "secure.clip"))],
        user="viewer",
        password="s3cret-Pa55",
        certificate=certificate,
    )
    server.start()
    yield server
    server.stop()


def test_a_certificate_is_verified_unless_that_is_switched_off(
    secure: AsyncioCameraServer, folder: Path, client: BrightObjectClient
) -> None:
    url = f"rtsps://viewer:s3cret-Pa55@127.0.0.1:{secure.port}/camera/0"
    trusted = str(folder / "cert.pem")
    other_name = url.replace("127.0.0.1", "localhost")
    sources = [
        Source("trusted", url, ca_file=trusted),
        Source("unknown", url),
        Source("off", url, tls_verify=False),
        Source("no-file", url, ca_file=str(folder / "none.pem")),
        Source("other-name", other_name, ca_file=trusted),
    ]
    with Watch(sources, client) as watch:
        for name in ("trusted", "off"):
            eventually(lambda name=name: camera(watch, name)["answered"] >= 5)  # type: ignore[misc]
        for name in ("unknown", "no-file", "other-name"):
            eventually(lambda name=name: camera(watch, name)["reason"])  # type: ignore[misc]
            assert camera(watch, name)["received"] == 0
        assert "Pa55" not in str(watch.state())
        summary = watch.stop()
    assert adds_up(summary)
