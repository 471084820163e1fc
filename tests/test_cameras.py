# SPDX-License-Identifier: Apache-2.0
"""The simulated cameras, played by PyAV (FFmpeg) as a user's program would."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest

from sightline.clients.rtsp.digest import DigestGuard
from sightline.clients.rtsp.rtp import MAX_PAYLOAD_BYTES, RtpSender, payloads
from sightline.errors import MissingDependencyError, PortInUseError
from sightline.perf.cameras import CameraServer, server
from sightline.perf.cameras.clip_file import Clip, nal_type, read_clip, split_nals, write_clip
from sightline.perf.cameras.clips import clip_paths, load_truth, rendered_clips
from sightline.perf.cameras.render import FRAME_MARK, ClipSpec
from tests.needs import needs_gstreamer

SIZE = (320, 180)
SMALL: dict[str, Any] = {"size": SIZE, "seconds": 1.0}
CLIP_PICTURES = 15
KINDS = ("gstreamer", "asyncio")


def cameras_of(kind: Any, count: int = 1, **options: Any) -> CameraServer:
    """Small cameras on a server of this kind; skips where it is not installed."""
    if kind == "gstreamer":
        needs_gstreamer()
    return CameraServer(count, kind=kind, **(SMALL | options))


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTLINE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=KINDS)
def playing(request: pytest.FixtureRequest) -> Iterator[CameraServer]:
    """Two cameras, on each kind of server."""
    with cameras_of(request.param, 2) as cameras:
        assert cameras.kind == request.param
        yield cameras


@contextlib.contextmanager
def opened(url: str, transport: str = "tcp", read_seconds: float = 30.0) -> Iterator[Any]:
    options = {"rtsp_transport": transport, "analyzeduration": "0", "probesize": "2048"}
    with av.open(url, options=options, timeout=(30.0, read_seconds)) as container:
        yield container


def play(url: str, frames: int, transport: str = "tcp") -> list[av.VideoFrame]:
    with opened(url, transport) as container:
        got = []
        for frame in container.decode(video=0):
            got.append(frame)
            if len(got) == frames:
                break
        return got


def clip_index(frame: av.VideoFrame) -> int:
    marks = [bytes(data) for data in frame.side_data.keys()]  # noqa: SIM118 - not a dict
    (mark,) = [mark for mark in marks if mark.startswith(FRAME_MARK)]
    return int(mark[len(FRAME_MARK) :])


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_plays_on_over_the_end_of_the_clip(playing: CameraServer, transport: str) -> None:
    frames = play(playing.urls[0], CLIP_PICTURES + 5, transport)
    assert {(frame.width, frame.height) for frame in frames} == {SIZE}
    stamps = [frame.pts for frame in frames if frame.pts is not None]
    assert len(stamps) >= len(frames) - 1
    steps = np.diff(stamps)
    assert np.all(np.abs(steps - 90_000 // 15) <= 1), steps
    indices = np.array([clip_index(frame) for frame in frames])
    assert np.all(np.diff(indices) % CLIP_PICTURES == 1), "a picture is missing or doubled"
    assert CLIP_PICTURES - 1 in indices
    assert 0 in indices


def test_decoded_pictures_are_the_drawn_ones(playing: CameraServer) -> None:
    from sightline.scenes import Scene

    spec = playing.specs[0]
    frame = play(playing.urls[0], 5)[-1]
    drawn, truth = Scene(spec.seed, size=SIZE, night=spec.night).frame(clip_index(frame) / 15)
    shown = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
    assert np.abs(shown.astype(int) - drawn).mean() < 8
    stored = load_truth(clip_paths(spec)[1])[clip_index(frame)]
    np.testing.assert_array_equal(stored.boxes, truth.boxes)
    np.testing.assert_array_equal(stored.classes, truth.classes)


def test_several_clients_at_once(playing: CameraServer) -> None:
    counts: dict[int, int] = {}

    def watch(number: int) -> None:
        counts[number] = len(play(playing.urls[number // 2], 10, ("tcp", "udp")[number % 2]))

    threads = [threading.Thread(target=watch, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert counts == dict.fromkeys(range(4), 10)


def test_unknown_camera_is_404(playing: CameraServer) -> None:
    url = playing.urls[0].replace("/camera/0", "/camera/7")
    with pytest.raises(av.error.HTTPNotFoundError), opened(url):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_digest_right_and_wrong(kind: Any) -> None:
    with cameras_of(kind, user="viewer", password="p@ss:/ word") as cameras:
        assert "p@ss" not in str(cameras.addresses)
        wrong = cameras.addresses[0].replace("://", "://viewer:guess@")
        for transport in ("tcp", "udp"):
            assert len(play(cameras.urls[0], 2, transport)) == 2
            for url in (wrong, cameras.addresses[0]):
                with pytest.raises(av.error.HTTPUnauthorizedError), opened(url, transport):
                    pass
        if cameras.pid:
            assert "word" not in " ".join(psutil.Process(cameras.pid).cmdline())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command for a certificate")
def test_rtsps_is_verified_by_the_client(tmp_path: Path) -> None:
    key, certificate, both = (tmp_path / name for name in ("key.pem", "certificate.pem", "both.pem"))
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
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    options = {"rtsp_transport": "tcp", "tls_verify": "1", "probesize": "2048", "analyzeduration": "0"}
    with CameraServer(1, kind="asyncio", certificate=both, **SMALL) as cameras:
        assert cameras.urls[0].startswith("rtsps://")
        with av.open(
            cameras.urls[0], options={**options, "ca_file": str(certificate)}, timeout=(30.0, 30.0)
        ) as container:
            assert next(container.decode(video=0)).width == SIZE[0]
        with (
            pytest.raises(av.error.FFmpegError),
            av.open(cameras.urls[0], options=options, timeout=(30.0, 30.0)),
        ):
            pass


def test_without_gstreamer_ours_is_used_and_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "gstreamer_missing", lambda: ["python3-gi"])
    cameras = CameraServer(1, **SMALL)
    with pytest.warns(RuntimeWarning, match="apt install python3-gi"):
        cameras.start()
    try:
        assert cameras.kind == "asyncio"
        assert len(play(cameras.urls[0], 2)) == 2
    finally:
        cameras.stop()
    with pytest.raises(MissingDependencyError, match="python3-gi"):
        CameraServer(1, kind="gstreamer", **SMALL).start()


@pytest.mark.parametrize("kind", KINDS)
def test_port_taken_is_explained(kind: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=str(port)):
            cameras_of(kind, port=port).start()


@pytest.mark.parametrize("kind", KINDS)
def test_stop_ends_streams_and_leaves_nothing(kind: Any) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    threads = set(threading.enumerate())
    with cameras_of(kind) as cameras, opened(cameras.urls[0]) as container:
        frames = container.decode(video=0)
        next(frames)
        cameras.stop()
        with contextlib.suppress(av.error.FFmpegError):
            for _ in frames:
                pass
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", cameras.port), timeout=2):
            pass
    assert eventually(lambda: {p.pid for p in psutil.Process().children(recursive=True)} <= before)
    assert eventually(lambda: not [t for t in set(threading.enumerate()) - threads if t.name == "cameras"])


def test_gstreamer_server_dies_with_its_starter() -> None:
    needs_gstreamer()
    code = (
        "from sightline.perf.cameras import CameraServer\n"
        "cameras = CameraServer(1, kind='gstreamer', size=(320, 180), seconds=1.0).start()\n"
        "print(cameras.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        server = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    assert eventually(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


class TestFaults:
    """Each switch of the asyncio server does to a real client what it says."""

    @pytest.fixture
    def cameras(self) -> Iterator[CameraServer]:
        with CameraServer(1, kind="asyncio", **SMALL) as cameras:
            yield cameras

    def test_frozen_camera_times_out_and_comes_back(self, cameras: CameraServer) -> None:
        with opened(cameras.urls[0], read_seconds=8.0) as container:
            frames = container.decode(video=0)
            next(frames)
            cameras.faults(0).frozen = True
            with pytest.raises(av.error.FFmpegError):
                list(itertools.islice(frames, 1000))
        cameras.faults(0).frozen = False
        assert len(play(cameras.urls[0], 3)) == 3

    def test_killed_connection_ends_the_stream(self, cameras: CameraServer) -> None:
        with opened(cameras.urls[0]) as container:
            frames = container.decode(video=0)
            next(frames)
            assert cameras.provoker.kill_connections(0) == 1
            with contextlib.suppress(av.error.FFmpegError):
                assert len(list(itertools.islice(frames, 1000))) < 1000
        assert eventually(lambda: cameras.provoker.sessions(0) == 0)

    def test_refused_and_back_on_the_same_port(self, cameras: CameraServer) -> None:
        url = cameras.urls[0]
        cameras.provoker.refuse()
        with pytest.raises(av.error.ConnectionRefusedError), opened(url):
            pass
        cameras.provoker.refuse(False)
        assert cameras.urls[0] == url
        assert len(play(url, 2)) == 2

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, av.error.HTTPUnauthorizedError),
            (404, av.error.HTTPNotFoundError),
            (503, av.error.HTTPServerError),
        ],
    )
    def test_status(self, cameras: CameraServer, status: int, error: type[Exception]) -> None:
        cameras.faults(0).status = status
        with pytest.raises(error), opened(cameras.urls[0]):
            pass

    def test_stalled_describe_runs_into_the_timeout(self, cameras: CameraServer) -> None:
        cameras.faults(0).stall_describe = True
        with pytest.raises(av.error.FFmpegError), av.open(cameras.urls[0], timeout=1.0):
            pass

    def test_delay(self, cameras: CameraServer) -> None:
        cameras.faults(0).delay_seconds = 0.3
        start = time.monotonic()
        assert len(play(cameras.urls[0], 1)) == 1
        assert time.monotonic() - start >= 0.9  # DESCRIBE, SETUP, PLAY

    def test_garbage_spoils_pictures_but_not_the_stream(self, cameras: CameraServer) -> None:
        with opened(cameras.urls[0]) as container:
            packets = container.demux(video=0)
            next(packets)
            cameras.faults(0).garbage = 1.0
            clean = read_clip(clip_paths(cameras.specs[0])[0]).access_units
            slices = {nal for unit in clean for nal in split_nals(unit)}
            assert any(
                not set(split_nals(bytes(packet))) & slices for packet in itertools.islice(packets, 300)
            )
        cameras.faults(0).garbage = 0.0
        assert len(play(cameras.urls[0], 3)) == 3

    def test_loss_loses_packets(self, cameras: CameraServer) -> None:
        with opened(cameras.urls[0], read_seconds=8.0) as container:
            frames = container.decode(video=0)
            next(frames)
            cameras.faults(0).loss = 1.0
            with pytest.raises(av.error.FFmpegError):
                list(itertools.islice(frames, 1000))

    def test_nonsense_ends_only_its_own_connection(self, cameras: CameraServer) -> None:
        nonsense = (
            b"GET / HTTP/1.1\r\n\r\n",
            os.urandom(4096) + b"\n",
            b"DESCRIBE x RTSP/1.0\r\nContent-Length: -1\r\n\r\n",
        )
        for text in nonsense:
            with socket.create_connection(("127.0.0.1", cameras.port), timeout=60) as client:
                client.sendall(text)
                client.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while client.recv(4096):
                        pass
        assert len(play(cameras.urls[0], 2)) == 2

    def test_a_client_that_does_not_read_is_not_buffered_for_ever(self, cameras: CameraServer) -> None:
        from sightline.perf.cameras.faults import Faults
        from sightline.perf.cameras.player import Player

        class FullChannel:
            sent = 0
            blocked = True

            def send(self, packet: bytes, *, control: bool = False) -> None:
                self.sent += 1

            def full(self) -> bool:
                return self.blocked

            def close(self) -> None: ...

        clip = read_clip(clip_paths(cameras.specs[0])[0])
        channel = FullChannel()
        player = Player(clip, Faults(), channel, 0)
        for number in range(5):
            player._send_picture(number)
        channel.blocked = False
        for number in range(5, 15):
            player._send_picture(number)
        assert channel.sent == 0, "the rest of a broken group of pictures was sent"
        player._send_picture(15)
        assert channel.sent > 0


def test_clip_file_round_trip_and_damage(tmp_path: Path) -> None:
    path = rendered_clips([ClipSpec(3, *SIZE, seconds=1.2)])[0]
    clip = read_clip(path)
    assert len(clip) == 18
    assert clip.keyframes == (0, 15)
    for index, unit in enumerate(clip.access_units):
        kinds = [nal_type(nal) for nal in split_nals(unit)]
        assert kinds == ([7, 8, 6, 5] if index in clip.keyframes else [6, 1]), "one slice a picture"
    copy = tmp_path / "copy.clip"
    write_clip(clip, copy)
    assert read_clip(copy) == clip
    for damaged in (copy.read_bytes()[:-1], copy.read_bytes()[:20], b"", b"\x00" * 100):
        copy.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"copy\.clip"):
            read_clip(copy)


def test_rendering_is_cached_and_reports_progress(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE_DIR", str(tmp_path))
    seen: list[tuple[int, int]] = []
    specs = [ClipSpec(seed, 64, 36, seconds=0.4) for seed in (1, 2)]
    paths = rendered_clips(specs, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    seen.clear()
    assert rendered_clips(specs, lambda done, total: seen.append((done, total))) == paths
    assert not seen
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    "length", [1, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 1, 3 * MAX_PAYLOAD_BYTES, 100_000]
)
def test_fragments_give_back_the_nal_unit(length: int) -> None:
    nal = bytes([0x65]) + os.urandom(length - 1)
    parts = list(payloads(nal))
    assert all(len(part) <= MAX_PAYLOAD_BYTES for part in parts)
    if len(parts) == 1:
        assert parts[0] == nal
        return
    assert [part[1] >> 7 for part in parts] == [1] + [0] * (len(parts) - 1)
    assert [part[1] >> 6 & 1 for part in parts] == [0] * (len(parts) - 1) + [1]
    header = bytes([parts[0][0] & 0xE0 | parts[0][1] & 0x1F])
    assert header + b"".join(part[2:] for part in parts) == nal


def test_sender_report_counts_what_was_sent() -> None:
    sender = RtpSender()
    packets = list(sender.packets([b"\x67abc", b"\x65" + bytes(5000)], 1.0))
    assert [packet[1] >> 7 for packet in packets] == [0] * (len(packets) - 1) + [1]
    report = sender.report()
    assert int.from_bytes(report[16:20], "big") == (sender.first_timestamp + 90_000) & 0xFFFFFFFF
    assert int.from_bytes(report[20:24], "big") == len(packets)
    assert int.from_bytes(report[24:28], "big") == sum(len(packet) - 12 for packet in packets)
    assert len(report) % 4 == 0


def test_digest_of_the_standards_example_form() -> None:
    guard = DigestGuard("Mufasa", "Circle Of Life")
    import hashlib

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    answer = md5(f"{md5('Mufasa:Sightline cameras:Circle Of Life')}:abc:{md5('PLAY:rtsp://x/')}")
    header = f'Digest username="Mufasa", realm="r", nonce="abc", uri="rtsp://x/", response="{answer}"'
    assert guard.admits("PLAY", header, "abc")
    assert not guard.admits("DESCRIBE", header, "abc")
    assert not guard.admits("PLAY", header, "abd")
    assert not guard.admits("PLAY", header.replace(answer[:4], "0000"), "abc")
    assert not guard.admits("PLAY", "Basic TXVmYXNhOg==", "abc")


def test_command_prints_addresses_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret word\n")
    command = [
        sys.executable,
        "-m",
        "sightline.cli",
        "cameras",
        "--count",
        "2",
        "--size",
        "320x180",  # as of the clips that are there
        "--loop-seconds",
        "1",
        "--port",
        "0",
    ]
    command += ["--user", "viewer", "--password-file", str(password)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        addresses = [process.stdout.readline().strip() for _ in range(2)]
        assert [address.rsplit("/", 1)[1] for address in addresses] == ["0", "1"]
        url = addresses[0].replace("://", "://viewer:secret%20word@")
        assert len(play(url, 2)) == 2
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "secret" not in rest + errors
    assert eventually(lambda: not [child for child in children if child.is_running()])


def test_clip_is_a_value() -> None:
    clip = Clip(2, 2, 1, (b"x",), (0,), b"\x67\x64\x00\x1f", b"\x68")
    assert clip.profile_level_id == "64001f"
