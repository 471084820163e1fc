# SPDX-License-Identifier: Apache-2.0
"""Watching cameras: real RTSP, real server, and what happens when they break."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from sightline.clients.streams import EventFile, Recording, Watch, parse_sources
from sightline.clients.streams.summary import Summary
from sightline.errors import OutputError, ServerUnavailable
from sightline.perf.cameras import gstreamer_missing
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import read_clip
from tests.streams_parts import BrightObjectClient, RtspServer, make_clip, object_corner, rtsp_clip

PASSWORD = "s3cret-Pa55"
COMMAND = [sys.executable, "-m", "sightline.cli", "watch"]


def outputs(seconds: int, folder: Path) -> list[str]:
    """Options of a command that ends by itself and leaves all outputs in the folder."""
    return [
        "--seconds",
        str(seconds),
        "--output",
        str(folder / "out"),
        "--events",
        str(folder / "events.jsonl"),
    ]


def eventually(check: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of `check`; fails after a generous time."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds:.0f} s"
        time.sleep(0.05)
    return value


def adds_up(summary: Summary) -> bool:
    """Each frame of each camera is accounted for."""
    return all(
        c.counts.received == c.counts.answered + sum(c.counts.dropped.values()) and c.counts.pending == 0
        for c in summary.cameras
    )


@pytest.fixture(scope="session")
def gstreamer() -> None:
    """Skips where the system's own RTSP server is not installed."""
    if missing := gstreamer_missing():
        pytest.skip(f"needs GStreamer's RTSP server: apt install {' '.join(missing)}")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "wall.mp4", seconds=6)


@pytest.fixture(scope="module")
def clip(video: Path) -> Path:
    return rtsp_clip(video, video.with_suffix(".clip"))


@pytest.fixture
def client() -> Iterator[BrightObjectClient]:
    client = BrightObjectClient()
    yield client
    client.close()


def camera_state(watch: Watch, index: int = 0) -> dict[str, Any]:
    return watch.state()["cameras"][index]  # type: ignore[no-any-return]


@pytest.mark.usefixtures("gstreamer")
def test_rtsp_cameras_are_answered_recorded_and_add_up(
    clip: Path, client: BrightObjectClient, tmp_path: Path
) -> None:
    with RtspServer(clip, count=2) as cameras:
        sources = parse_sources([f"left={cameras.url(0)}", f"right={cameras.url(1)}"])
        recording = Recording(tmp_path, ["left", "right"], size=(640, 360))
        events = EventFile(tmp_path / "events.jsonl")
        with Watch(sources, client, sinks=[recording, events]) as watch:
            eventually(lambda: all(c["answered"] >= 40 for c in watch.state()["cameras"]))
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
    with av.open(str(recording.video)) as container:
        pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    assert len(pictures) >= 5
    assert pictures[0].shape == (180, 640, 3)
    from PIL import Image

    with Image.open(recording.sheet) as sheet:
        assert sheet.width > sheet.height > 300


@pytest.mark.usefixtures("gstreamer")
def test_boxes_belong_to_their_frames(clip: Path, client: BrightObjectClient, tmp_path: Path) -> None:
    """pts and box of each event: the object is where it was drawn in that picture."""
    with RtspServer(clip) as cameras:
        events = EventFile(tmp_path / "events.jsonl")
        with Watch(parse_sources([f"door={cameras.url()}"]), client, sinks=[events]) as watch:
            eventually(lambda: camera_state(watch)["answered"] >= 40)
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    lines.sort(key=lambda line: int(line["id"].rpartition(":")[2]))  # answers may come in another order
    corners = [object_corner(number, 640, 360) for number in range(90)]
    drawn = [
        min(range(90), key=lambda n: _distance(corners[n], line["detections"][0]["box"])) for line in lines
    ]
    assert all(
        _distance(corners[n], line["detections"][0]["box"]) <= 3 for n, line in zip(drawn, lines, strict=True)
    )
    pairs = list(zip(drawn, lines, strict=True))
    for (before, first), (after, second) in itertools.pairwise(pairs):
        pictures = (after - before) % 90
        assert second["pts_seconds"] - first["pts_seconds"] == pytest.approx(pictures / 15, abs=0.02)


def _distance(corner: tuple[int, int], box: list[float]) -> float:
    return max(abs(corner[0] - box[0]), abs(corner[1] - box[1]))


@pytest.mark.usefixtures("gstreamer")
def test_a_camera_that_dies_comes_back_and_takes_nothing_with_it(
    clip: Path, video: Path, client: BrightObjectClient
) -> None:
    with RtspServer(clip) as cameras:
        sources = parse_sources([f"mortal={cameras.url()}", f"other={video}"], loop=True)
        with Watch(sources, client) as watch:
            eventually(lambda: camera_state(watch)["answered"] >= 10)
            cameras.kill()
            eventually(lambda: camera_state(watch)["state"] == "waiting", 10)
            assert camera_state(watch)["reason"]
            other = camera_state(watch, 1)["answered"]
            eventually(lambda: camera_state(watch, 1)["answered"] >= other + 15)
            cameras.start()
            before = camera_state(watch)["answered"]
            eventually(lambda: camera_state(watch)["answered"] >= before + 10)
            summary = watch.stop()
    assert summary.ok
    assert adds_up(summary)
    assert summary.cameras[0].connections == 2
    assert summary.cameras[1].connections == 1


@pytest.mark.usefixtures("gstreamer")
def test_a_camera_that_freezes_is_noticed(clip: Path, client: BrightObjectClient) -> None:
    with RtspServer(clip) as cameras, Watch(parse_sources([f"door={cameras.url()}"]), client) as watch:
        eventually(lambda: camera_state(watch)["answered"] >= 10)
        cameras.freeze(True)
        eventually(lambda: camera_state(watch)["state"] == "waiting")
        cameras.freeze(False)
        before = camera_state(watch)["answered"]
        eventually(lambda: camera_state(watch)["answered"] >= before + 10, 60)
        assert watch.stop().ok


@pytest.fixture
def provoker(clip: Path) -> Iterator[AsyncioCameraServer]:
    server = AsyncioCameraServer([read_clip(clip), read_clip(clip)])
    server.start()
    yield server
    server.stop()


def addresses(server: AsyncioCameraServer) -> list[str]:
    return [f"{name}=rtsp://127.0.0.1:{server.port}/camera/{n}" for n, name in enumerate(["sick", "well"])]


@pytest.mark.parametrize("fault", ["frozen", "garbage", "cut", "refused"])
def test_faults_of_a_running_camera(
    provoker: AsyncioCameraServer, client: BrightObjectClient, fault: str
) -> None:
    """Noticed soon, healed by itself; the other camera sees nothing of it."""
    with Watch(parse_sources(addresses(provoker)), client) as watch:
        eventually(lambda: all(c["answered"] >= 10 for c in watch.state()["cameras"]))
        faults = provoker.faults(0)
        faults.frozen, faults.garbage = fault == "frozen", float(fault == "garbage")
        provoker.refuse(fault == "refused")
        if fault in ("cut", "refused"):
            provoker.kill_connections(0)
        eventually(
            lambda: camera_state(watch)["connections"] > 1 or camera_state(watch)["state"] == "waiting",
            30 if fault == "garbage" else 10,  # now and then a random byte string is a picture
        )
        well = camera_state(watch, 1)["answered"]
        eventually(lambda: camera_state(watch, 1)["answered"] >= well + 15)
        faults.frozen, faults.garbage = False, 0.0
        provoker.refuse(False)
        answered = camera_state(watch)["answered"]
        eventually(lambda: camera_state(watch)["answered"] >= answered + 10)
        summary = watch.stop()
    assert adds_up(summary)
    assert summary.cameras[1].connections == 1


@pytest.mark.parametrize(("status", "stalled"), [(503, False), (404, False), (401, False), (None, True)])
def test_faults_of_the_first_dialogue(
    provoker: AsyncioCameraServer, client: BrightObjectClient, status: int | None, stalled: bool
) -> None:
    provoker.faults(0).status, provoker.faults(0).stall_describe = status, stalled
    with Watch(parse_sources(addresses(provoker)), client) as watch:
        assert eventually(lambda: camera_state(watch)["reason"])
        eventually(lambda: camera_state(watch, 1)["answered"] >= 15)
        provoker.faults(0).status, provoker.faults(0).stall_describe = None, False
        eventually(lambda: camera_state(watch)["answered"] >= 10)
        assert watch.stop().ok


def test_udp_with_loss_goes_on(provoker: AsyncioCameraServer, client: BrightObjectClient) -> None:
    provoker.faults(0).loss = 0.02
    with Watch(parse_sources(addresses(provoker)), client, transport="udp") as watch:
        eventually(lambda: all(c["answered"] >= 30 for c in watch.state()["cameras"]))
        assert watch.stop().ok


@pytest.mark.parametrize(
    ("login", "path", "reason"),
    [("viewer:wrong-Pa55@", "camera/0", "password"), (f"viewer:{PASSWORD}@", "nothing", "path")],
)
@pytest.mark.usefixtures("gstreamer")
def test_wrong_password_and_wrong_path_are_told_apart(
    clip: Path, client: BrightObjectClient, login: str, path: str, reason: str
) -> None:
    with RtspServer(clip, user="viewer", password=PASSWORD) as cameras:
        url = f"rtsp://{login}127.0.0.1:{cameras.port}/{path}"
        good = cameras.url(0, f"viewer:{PASSWORD}@")
        with Watch(parse_sources([f"wrong={url}", f"right={good}"]), client) as watch:
            told = eventually(lambda: camera_state(watch)["error"])
            eventually(lambda: camera_state(watch, 1)["answered"] > 0)
            summary = watch.stop()
    assert reason in told
    assert not summary.ok
    assert adds_up(summary)
    everything = told + json.dumps(summary.to_dict()) + json.dumps(watch.state()) + repr(watch.sources)
    assert "Pa55" not in everything


@pytest.mark.usefixtures("gstreamer")
def test_the_command_never_prints_a_password(clip: Path, tmp_path: Path, free_port: int) -> None:
    with RtspServer(clip, user="viewer", password=PASSWORD) as cameras:
        file = tmp_path / "cameras.yaml"
        file.write_text(
            f"wrong: rtsp://viewer:wrong-Pa55@127.0.0.1:{cameras.port}/camera/0\n"
            f"odd: rtsp://viewer:${{CAMERA_PASSWORD}}@127.0.0.1:{cameras.port}/nothing?password=Pa55\n"
            "gone: rtsp://a:b/Pa55@127.0.0.1:1/x\n"
        )
        done = subprocess.run(
            [*COMMAND, "--sources", str(file), "--server", f"127.0.0.1:{free_port}", *outputs(3, tmp_path)],
            env={**os.environ, "CAMERA_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    written = (tmp_path / "out" / "summary.json").read_text()
    assert "Pa55" not in done.stdout + done.stderr + written
    assert "refuses the user name or password" in done.stdout


def test_without_a_server_frames_are_dropped_by_reason(video: Path, free_port: int) -> None:
    from sightline.clients import Client

    sources = parse_sources([f"door={video}"], loop=True)
    with Client(f"127.0.0.1:{free_port}", timeout_seconds=2) as client, Watch(sources, client) as watch:
        eventually(lambda: camera_state(watch)["dropped"].get("server_unavailable", 0) >= 20)
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
        eventually(lambda: camera_state(watch)["answered"] >= 10)
        up = False
        eventually(lambda: camera_state(watch)["dropped"].get("server_unavailable", 0) >= 10)
        answered = camera_state(watch)["answered"]
        up = True
        eventually(lambda: camera_state(watch)["answered"] >= answered + 10, 10)
        assert adds_up(watch.stop())
    client.close()


def test_a_slow_server_gets_the_newest_frames(video: Path) -> None:
    client = BrightObjectClient(lambda: time.sleep(0.3))
    with Watch(parse_sources([f"door={video}"], loop=True), client) as watch:
        eventually(lambda: camera_state(watch)["answered"] >= 8)
        summary = watch.stop()
    client.close()
    assert adds_up(summary)
    assert summary.dropped["superseded"] > 0
    assert summary.cameras[0].counts.answered < summary.cameras[0].counts.received


def test_every_nth_frame(video: Path, client: BrightObjectClient) -> None:
    with Watch(parse_sources([f"door={video}"]), client, every=5) as watch:
        watch.wait(30)
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
        eventually(lambda: camera_state(watch)["answered"] >= 20)
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
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "pip install 'sightline[watch]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_events_leave_the_old_video(video: Path, tmp_path: Path, free_port: int) -> None:
    (tmp_path / "out").mkdir()
    old = tmp_path / "out" / "watch.mp4"
    old.write_bytes(b"the run before")
    options = ["--output", str(tmp_path / "out"), "--events", str(old / "events.jsonl"), "--seconds", "1"]
    done = subprocess.run(
        [*COMMAND, str(video), "--server", f"127.0.0.1:{free_port}", *options],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "events cannot be written" in done.stderr
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
    with Watch(parse_sources([f"door={name}"]), client) as watch:
        watch.wait(30)
        assert watch.stop().received >= 14


@pytest.mark.usefixtures("gstreamer")
def test_stopping_ends_all_threads(clip: Path, client: BrightObjectClient, free_port: int) -> None:
    import threading

    before = threading.active_count()
    with RtspServer(clip, count=3) as cameras:
        urls = [cameras.url(n) for n in range(3)] + [f"rtsp://127.0.0.1:{free_port}/x"]
        for _ in range(3):
            with Watch(parse_sources(urls), client) as watch:
                eventually(lambda: watch.state()["cameras"][0]["answered"] > 0)
    assert threading.active_count() <= before + 2, "the client's own two threads may stay"


# With the real server


def test_the_command_with_real_cameras_and_server(server: Any, cameras: Any, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, *cameras.urls, "--server", server.grpc_address, "--page", "0", *outputs(8, tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["ok"]
    assert summary["received"] == summary["answered"] + sum(summary["dropped"].values())
    assert all(camera["answered"] > 10 for camera in summary["cameras"])
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events
    labels = {d["label"] for event in events for d in event["detections"]}
    assert labels & {"car", "pedestrian", "truck", "bus"}
    assert "page: http://127.0.0.1:" in done.stdout
    with av.open(str(tmp_path / "out" / "watch.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10
    assert (tmp_path / "out" / "contact-sheet.png").stat().st_size > 10_000


def test_sigterm_is_a_clean_end(server: Any, cameras: Any) -> None:
    with subprocess.Popen(
        [*COMMAND, cameras.urls[0], "--server", server.grpc_address], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any("server up" in line for line in iter(process.stdout.readline, "")), "no frame was answered"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "Summary" in output


def test_an_unknown_model_is_an_error_at_once(server: Any, video: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(video), "--server", server.grpc_address, "--model", "no_such_model"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no_such_model" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("limit_bytes", [200, 20_000])
def test_a_disk_that_is_full_fails_the_run_but_not_the_streams(
    server: Any, video: Path, tmp_path: Path, limit_bytes: int
) -> None:
    """No file may grow past the limit: 20,000 bytes hold summary.json, not the video; 200 hold nothing."""
    done = subprocess.run(
        [*COMMAND, str(video), "--server", server.grpc_address, "--output", str(tmp_path / "out")],
        env={
            **os.environ,
            "SIGHTLINE_RUNTIME_DIR": str(tmp_path),
        },  # no token: shared memory has the limit too
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
        capture_output=True,
        text=True,
        timeout=120,
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
    assert summary["received"] == 90
    assert summary["output_errors"]["Recording"] >= 1
    assert summary["answered"] > 20


@pytest.fixture
def mortal_server(repository: Path, tmp_path: Path) -> Iterator[Any]:
    """A server of one test, on its own repository: it may be killed."""
    from sightline.deploy import LocalServer

    own = shutil.copytree(repository, tmp_path / "repository")
    with LocalServer(own, log_dir=tmp_path / "log") as running:
        yield running


def test_streams_go_on_after_the_server_was_killed(mortal_server: Any, cameras: Any) -> None:
    from sightline.clients import Client

    server = mortal_server

    def states() -> list[dict[str, Any]]:
        return watch.state()["cameras"]  # type: ignore[no-any-return]

    sources = parse_sources(cameras.urls)
    with Client(server.grpc_address, timeout_seconds=4) as client, Watch(sources, client) as watch:
        eventually(lambda: all(c["answered"] >= 15 for c in states()))
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: sum(c["dropped"].get("server_unavailable", 0) for c in states()))
        eventually(lambda: server.pid not in (None, killed) and server.state == "ready", 90)
        before = [c["answered"] for c in states()]
        eventually(lambda: all(c["answered"] > b for c, b in zip(states(), before, strict=True)), 5)
        summary = watch.stop()
    assert summary.ok
    assert adds_up(summary)
