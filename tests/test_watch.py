# SPDX-License-Identifier: Apache-2.0
"""Watching cameras: real RTSP, real server, and what happens when they break."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from sightline.cli import main
from sightline.clients.streams import EventFile, Recording, Source, Watch, parse_sources, reconnect
from sightline.clients.streams.summary import Summary
from sightline.errors import OutputError, ServerUnavailable
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import read_clip
from tests.needs import needs_gstreamer
from tests.streams_parts import BrightObjectClient, RtspServer, make_clip, object_corner, rtsp_clip

PASSWORD = "s3cret-Pa55"
COMMAND = [sys.executable, "-m", "sightline.cli", "watch"]
LIMITED = [
    sys.executable,
    "-c",
    "import os, resource, sys; size = int(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); os.execv(sys.argv[2], sys.argv[2:])",
]
"""Not a preexec_fn: that forks, and gRPC, which has run in this process, may abort in a fork."""


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


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "wall.mp4", seconds=6)


@pytest.fixture(scope="module")
def clip(video: Path) -> Path:
    return rtsp_clip(video, video.with_suffix(".clip"))


@pytest.fixture(scope="module")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 30 pictures."""
    return make_clip(tmp_path_factory.mktemp("clips") / "short.mp4", seconds=2)


@pytest.fixture(scope="module")
def gstreamer(clip: Path) -> Iterator[RtspServer]:
    """GStreamer's RTSP server with three cameras."""
    needs_gstreamer()
    with RtspServer(clip, count=3) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(clip: Path) -> Iterator[RtspServer]:
    """The same, which asks for a password."""
    needs_gstreamer()
    with RtspServer(clip, user="viewer", password=PASSWORD) as running:
        yield running


@pytest.fixture
def client() -> Iterator[BrightObjectClient]:
    client = BrightObjectClient()
    yield client
    client.close()


def camera_state(watch: Watch, index: int = 0) -> dict[str, Any]:
    return watch.state()["cameras"][index]  # type: ignore[no-any-return]


def test_rtsp_cameras_are_answered_recorded_and_add_up(
    gstreamer: RtspServer, client: BrightObjectClient, tmp_path: Path
) -> None:
    sources = parse_sources([f"left={gstreamer.url(0)}", f"right={gstreamer.url(1)}"])
    recording = Recording(tmp_path, ["left", "right"], size=(640, 360))
    events = EventFile(tmp_path / "events.jsonl")
    with Watch(sources, client, sinks=[recording, events]) as watch:
        eventually(lambda: all(c["answered"] >= 20 for c in watch.state()["cameras"]))
        summary = watch.stop()
    assert summary.ok
    assert adds_up(summary)
    assert watch.stop() is summary
    assert summary.p50_ms is not None
    assert summary.p99_ms is not None
    assert summary.p50_ms <= summary.p99_ms
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(lines) == len({line["id"] for line in lines}) == events.written == summary.answered
    assert {line["camera"] for line in lines} == {"left", "right"}
    check_boxes([line for line in lines if line["camera"] == "left"])
    with av.open(str(recording.video)) as container:
        pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    assert pictures
    assert pictures[0].shape == (180, 640, 3)
    from PIL import Image

    with Image.open(recording.sheet) as sheet:
        assert sheet.width > sheet.height > 300


def check_boxes(lines: list[dict[str, Any]]) -> None:
    """pts and box of each event: the object is where it was drawn in that picture."""
    # answers may come in another order
    lines.sort(key=lambda line: (line["id"].rpartition(":")[0], int(line["id"].rpartition(":")[2])))
    corners = [object_corner(number, 640, 360) for number in range(90)]
    drawn = [
        min(range(90), key=lambda n: _distance(corners[n], line["detections"][0]["box"])) for line in lines
    ]
    assert all(
        _distance(corners[n], line["detections"][0]["box"]) <= 3 for n, line in zip(drawn, lines, strict=True)
    )
    pairs = list(zip(drawn, lines, strict=True))
    for (before, first), (after, second) in itertools.pairwise(pairs):
        if first["id"].rpartition(":")[0] != second["id"].rpartition(":")[0]:
            continue  # another connection
        pictures = (after - before) % 90
        more = second["pts_seconds"] - first["pts_seconds"] - pictures / 15
        # where this process gets no core for long, whole rounds of the clip are missing
        assert more == pytest.approx(6 * max(0, round(more / 6)), abs=0.02)


def _distance(corner: tuple[int, int], box: list[float]) -> float:
    return max(abs(corner[0] - box[0]), abs(corner[1] - box[1]))


@pytest.fixture
def provoker(clip: Path) -> Iterator[AsyncioCameraServer]:
    server = AsyncioCameraServer([read_clip(clip)] * 5)
    server.start()
    yield server
    server.stop()


def addresses(server: AsyncioCameraServer, *names: str) -> list[str]:
    return [f"{name}=rtsp://127.0.0.1:{server.port}/camera/{n}" for n, name in enumerate(names)]


@pytest.mark.parametrize("fault", ["garbage", "refused"])
def test_faults_of_a_running_camera(
    provoker: AsyncioCameraServer, client: BrightObjectClient, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Noticed, healed by itself; the other camera sees nothing of it. Frozen and killed ones: test_faults_cameras.py."""
    # where this process gets no core for some seconds, no camera has stalled
    monkeypatch.setattr(reconnect, "STALL_SECONDS", 10.0)
    with Watch(parse_sources(addresses(provoker, "sick", "well")), client) as watch:
        eventually(lambda: all(c["answered"] >= 3 for c in watch.state()["cameras"]))
        faults = provoker.faults(0)
        faults.garbage = float(fault == "garbage")
        provoker.refuse(fault == "refused")
        if fault == "refused":
            provoker.kill_connections(0)
        eventually(
            lambda: camera_state(watch)["connections"] > 1 or camera_state(watch)["state"] == "waiting"
        )
        well = camera_state(watch, 1)["answered"]
        eventually(lambda: camera_state(watch, 1)["answered"] >= well + 5)
        faults.garbage = 0.0
        provoker.refuse(False)
        answered = camera_state(watch)["answered"]
        eventually(lambda: camera_state(watch)["answered"] >= answered + 3)
        summary = watch.stop()
    assert adds_up(summary)
    assert summary.cameras[1].connections == 1


def test_faults_of_the_first_dialogue(
    provoker: AsyncioCameraServer, client: BrightObjectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told and healed; the last camera has none."""
    monkeypatch.setattr(reconnect, "Backoff", functools.partial(reconnect.Backoff, auth_first_seconds=0.2))
    for number, status in enumerate((503, 404, 401)):
        provoker.faults(number).status = status
    provoker.faults(3).stall_describe = True
    with Watch(parse_sources(addresses(provoker, "busy", "none", "shut", "mute", "well")), client) as watch:
        eventually(lambda: all(camera_state(watch, number)["reason"] for number in range(4)))
        eventually(lambda: camera_state(watch, 4)["answered"] >= 5)
        for number in range(4):
            provoker.faults(number).status, provoker.faults(number).stall_describe = None, False
        eventually(lambda: all(c["answered"] >= 3 for c in watch.state()["cameras"]))
        assert watch.stop().ok


def test_udp_with_loss_goes_on(provoker: AsyncioCameraServer, client: BrightObjectClient) -> None:
    provoker.faults(0).loss = 0.02
    with Watch(parse_sources(addresses(provoker, "lossy", "well")), client, transport="udp") as watch:
        eventually(lambda: all(c["answered"] >= 10 for c in watch.state()["cameras"]))
        assert watch.stop().ok


def test_wrong_password_and_wrong_path_are_told_apart(
    guarded: RtspServer, client: BrightObjectClient
) -> None:
    address = f"127.0.0.1:{guarded.port}"
    urls = {
        "wrong": f"rtsp://viewer:wrong-Pa55@{address}/camera/0",
        "odd": f"rtsp://viewer:{PASSWORD}@{address}/nothing",
        "right": guarded.url(0, f"viewer:{PASSWORD}@"),
    }
    with Watch(parse_sources([f"{name}={url}" for name, url in urls.items()]), client) as watch:
        wrong = eventually(lambda: camera_state(watch, 0)["error"])
        odd = eventually(lambda: camera_state(watch, 1)["error"])
        eventually(lambda: camera_state(watch, 2)["answered"] > 0)
        summary = watch.stop()
    assert "password" in wrong
    assert "path" in odd
    assert not summary.ok
    assert adds_up(summary)
    everything = wrong + odd + json.dumps(summary.to_dict()) + json.dumps(watch.state()) + repr(watch.sources)
    assert "Pa55" not in everything


def test_the_command_never_prints_a_password(guarded: RtspServer, tmp_path: Path, free_port: int) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(
        f"wrong: rtsp://viewer:wrong-Pa55@127.0.0.1:{guarded.port}/camera/0\n"
        f"odd: rtsp://viewer:${{CAMERA_PASSWORD}}@127.0.0.1:{guarded.port}/nothing?password=Pa55\n"
        "gone: rtsp://a:b/Pa55@127.0.0.1:1/x\n"
    )
    outputs = ["--page", "0", "--output", str(tmp_path / "out"), "--events", str(tmp_path / "events.jsonl")]
    command = [*COMMAND, "--sources", str(file), "--server", f"127.0.0.1:{free_port}", *outputs]
    with Commanded(command, {"CAMERA_PASSWORD": PASSWORD}) as running:
        eventually(lambda: all(camera["error"] for camera in running.state()["cameras"]))
        status, output, errors = running.stop()
    assert status == 1
    assert "Traceback" not in errors
    written = (tmp_path / "out" / "summary.json").read_text()
    assert "Pa55" not in output + errors + written
    assert "refuses the user name or password" in output


def test_without_a_server_frames_are_dropped_by_reason(video: Path, free_port: int) -> None:
    from sightline.clients import Client

    sources = parse_sources([f"door={video}"], loop=True)
    with Client(f"127.0.0.1:{free_port}", timeout_seconds=2) as client, Watch(sources, client) as watch:
        eventually(lambda: camera_state(watch)["dropped"].get("server_unavailable", 0) >= 10)
        assert watch.state()["server"] == "down"
        summary = watch.stop()
    assert not summary.ok
    assert adds_up(summary)
    assert summary.answered == 0


def test_a_server_that_goes_and_comes_is_used_again_at_once(video: Path) -> None:
    up = True

    def before() -> None:
        if not up:
            raise ServerUnavailable("nothing answers")

    client = BrightObjectClient(before)
    with Watch(parse_sources([f"door={video}"], loop=True), client) as watch:
        eventually(lambda: camera_state(watch)["answered"] >= 3)
        up = False
        eventually(lambda: camera_state(watch)["dropped"].get("server_unavailable", 0) >= 5)
        answered = camera_state(watch)["answered"]
        up = True
        eventually(lambda: camera_state(watch)["answered"] >= answered + 3)
        assert adds_up(watch.stop())
    client.close()


def test_a_slow_server_gets_the_newest_frames(video: Path) -> None:
    client = BrightObjectClient(lambda: time.sleep(0.2))
    with Watch(parse_sources([f"door={video}"], loop=True), client) as watch:
        eventually(lambda: camera_state(watch)["answered"] >= 4)
        eventually(lambda: camera_state(watch)["dropped"].get("superseded", 0) > 0)
        summary = watch.stop()
    client.close()
    assert adds_up(summary)
    assert summary.dropped["superseded"] > 0
    assert summary.cameras[0].counts.answered < summary.cameras[0].counts.received


def test_every_nth_frame(video: Path, client: BrightObjectClient) -> None:
    with Watch([Source("door", str(video), paced=False)], client, every=5) as watch:
        watch.wait(120)
        summary = watch.stop()
    assert adds_up(summary)
    assert summary.received == 90
    assert summary.dropped["skipped"] == 72


def test_a_full_disk_is_told_once_and_the_streams_go_on(video: Path, client: BrightObjectClient) -> None:
    notices: list[str] = []
    sinks = [EventFile("/dev/full")]
    with Watch(
        parse_sources([f"door={video}"], loop=True), client, sinks=sinks, notice=notices.append
    ) as watch:
        eventually(lambda: camera_state(watch)["answered"] >= 10)
        summary = watch.stop()
    assert len(notices) == 1
    assert "space" in notices[0]
    assert summary.output_errors == {"EventFile": summary.answered}
    assert adds_up(summary)
    assert not summary.ok


def test_a_start_that_fails_tells_its_own_reason(video: Path, client: BrightObjectClient) -> None:
    class NoPage:
        def open(self, names: list[str], state: Any) -> None:
            raise OutputError("the page did not start")

        def close(self) -> None:
            closed.append(self)

    closed: list[NoPage] = []
    watch = Watch(parse_sources([f"door={video}"]), client, page=NoPage())  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="did not start"):
        watch.start()
    assert not watch.stop().ok
    again = Watch(parse_sources([f"door={video}"]), client, page=NoPage())  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="did not start"), again:
        pass
    assert len(closed) == 2


def test_without_pyav_the_command_says_what_to_install(video: Path) -> None:
    script = (
        "import sys; sys.modules['av'] = None; from sightline.cli import main; "
        f"sys.argv = ['sightline', 'watch', {str(video)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "pip install 'sightline[watch]'" in done.stderr
    assert "Traceback" not in done.stderr


def refused_command(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the command in this process; it ends with status 1."""
    monkeypatch.setattr(sys, "argv", ["sightline", "watch", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1


def test_wrong_events_leave_the_old_video(
    video: Path,
    tmp_path: Path,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "out").mkdir()
    old = tmp_path / "out" / "watch.mp4"
    old.write_bytes(b"the run before")
    options = ["--output", str(tmp_path / "out"), "--events", str(old / "events.jsonl"), "--seconds", "1"]
    refused_command([str(video), "--server", f"127.0.0.1:{free_port}", *options], monkeypatch)
    assert "events cannot be written" in capsys.readouterr().err
    assert old.read_bytes() == b"the run before"


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:6,\nother.mp4\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_in_a_videos_clothes_opens_nothing(
    video: Path, client: BrightObjectClient, tmp_path: Path, text: str
) -> None:
    shutil.copy(video, tmp_path / "other.mp4")
    (tmp_path / "door.mp4").write_text(text)
    with Watch(parse_sources([str(tmp_path / "door.mp4")]), client) as watch:
        assert eventually(lambda: camera_state(watch)["reason"])
        assert watch.stop().received == 0


@pytest.mark.parametrize("name", ["data:clip.mp4", "clip.mkv", "clip.avi", "clip.ts"])
def test_files_are_files_whatever_their_name(
    client: BrightObjectClient, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_clip(tmp_path / f"made{Path(name).suffix}", seconds=1)
    made.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (source,) = parse_sources([f"door={name}"])
    with Watch([replace(source, paced=False)], client) as watch:
        watch.wait(120)
        assert watch.stop().received >= 14


def test_stopping_ends_all_threads(gstreamer: RtspServer, client: BrightObjectClient, free_port: int) -> None:
    import threading

    before = threading.active_count()
    urls = [gstreamer.url(n) for n in range(3)] + [f"rtsp://127.0.0.1:{free_port}/x"]
    for _ in range(2):
        with Watch(parse_sources(urls), client) as watch:
            eventually(lambda: watch.state()["cameras"][0]["answered"] > 0)
    eventually(lambda: threading.active_count() <= before + 2)  # the client's own two threads may stay


class Commanded:
    """`sightline watch` with a page as a process of its own."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._shown = ""

    def __enter__(self) -> Commanded:
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, ""):
            self._shown += line
            if line.startswith("page: "):
                self._url = line.removeprefix("page: ").strip()
                return self
        raise AssertionError(self._shown + self._process.communicate()[1])

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def state(self) -> dict[str, Any]:
        """What its page tells."""
        with urllib.request.urlopen(f"{self._url}api/state", timeout=60) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def stop(self) -> tuple[int, str, str]:
        """SIGTERM; its status, output and errors."""
        self._process.send_signal(signal.SIGTERM)
        output, errors = self._process.communicate(timeout=120)
        return self._process.returncode, self._shown + output, errors


# With the real server


def test_the_command_with_real_cameras_and_server(server: Any, cameras: Any, tmp_path: Path) -> None:
    """Until a SIGTERM, which is a clean end."""
    outputs = ["--output", str(tmp_path / "out"), "--events", str(tmp_path / "events.jsonl")]
    command = [*COMMAND, *cameras.urls, "--server", server.grpc_address, "--page", "0", *outputs]
    with Commanded(command) as running:
        eventually(lambda: all(camera["answered"] > 25 for camera in running.state()["cameras"]))
        status, output, errors = running.stop()
    assert status == 0, output + errors
    assert "Summary" in output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["ok"]
    assert summary["received"] == summary["answered"] + sum(summary["dropped"].values())
    assert all(camera["answered"] > 25 for camera in summary["cameras"])
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    labels = {d["label"] for event in events for d in event["detections"]}
    assert labels & {"car", "pedestrian", "truck", "bus"}
    with av.open(str(tmp_path / "out" / "watch.mp4")) as container:
        assert any(True for _ in container.decode(video=0))
    assert (tmp_path / "out" / "contact-sheet.png").stat().st_size > 10_000


def test_an_unknown_model_is_an_error_at_once(
    server: Any, video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused_command([str(video), "--server", server.grpc_address, "--model", "no_such_model"], monkeypatch)
    assert "no_such_model" in capsys.readouterr().err


@pytest.mark.parametrize("limit_bytes", [200, 20_000])
def test_a_disk_that_is_full_fails_the_run_but_not_the_streams(
    server: Any, short_video: Path, tmp_path: Path, limit_bytes: int
) -> None:
    """No file may grow past the limit: 20,000 bytes hold summary.json, not the video; 200 hold nothing."""
    outputs = ["--output", str(tmp_path / "out")]
    done = subprocess.run(
        [*LIMITED, str(limit_bytes), *COMMAND, str(short_video), "--server", server.grpc_address, *outputs],
        env={
            **os.environ,
            "SIGHTLINE_RUNTIME_DIR": str(tmp_path),
        },  # no token: shared memory has the limit too
        capture_output=True,
        text=True,
        timeout=300,
    )
    everything = done.stdout + done.stderr
    assert done.returncode == 1, everything
    assert "Traceback" not in everything
    assert "warning: Recording cannot be written" in done.stdout
    assert "File too large" in done.stdout
    if limit_bytes < 1000:
        assert "summary.json cannot be written: File too large; free some space" in done.stderr
        assert not (tmp_path / "out" / "contact-sheet.png").exists()
        return
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert not summary["ok"]
    assert summary["adds_up"]
    assert summary["received"] == 30
    assert summary["output_errors"]["Recording"] >= 1
    assert summary["answered"] > 0
