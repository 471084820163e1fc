# SPDX-License-Identifier: Apache-2.0
"""Pictures and clips of events: the right moments, whole files, safe names, a bound that is kept, privacy that holds."""

from __future__ import annotations

import io
import json
import os
import random
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sightline.clients.events import Event, MediaStore, Publisher
from sightline.clients.events.clip_file import parameter_sets
from sightline.clients.events.clips import Clips
from sightline.clients.events.pictures import rgb_from_any
from sightline.clients.events.settings import JsonlSink, MediaSettings, SpoolSettings
from sightline.clients.streams.pictures import frame_from_picture
from sightline.clients.streams.results import Packet, StreamFrame, StreamResult, VideoFormat
from sightline.errors import OutputError
from sightline.frame import Frame, PixelFormat
from sightline.results import Detections
from tests.events_parts import outbox, small_disk, wait_until

RATE = 15
SECONDS = 8
SIZE = (160, 96)
NOW = 1_700_000_000.0
SHORT = MediaSettings(pre_seconds=2.0, post_seconds=1.0)
ENCODERS = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg"}


def level(number: int) -> int:
    """The grey of picture number so and so: clips are recognised by it."""
    return 16 + number * 2 % 200


def video(codec: str, container: str, size: tuple[int, int] = SIZE) -> tuple[VideoFormat, list[Packet]]:
    """SECONDS of grey pictures with a key frame each second, as a camera or a file would deliver them."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as target:
        stream: Any = target.add_stream(ENCODERS[codec], rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        plain = {"g": str(RATE), "keyint_min": str(RATE), "sc_threshold": "0", "bf": "2"}
        hevc = {"x265-params": f"keyint={RATE}:min-keyint={RATE}:scenecut=0:bframes=2:log-level=none"}
        stream.options = hevc if codec == "hevc" else plain if codec == "h264" else {}
        for number in range(RATE * SECONDS):
            grey = np.full((size[1], size[0], 3), level(number), np.uint8)
            picture = av.VideoFrame.from_ndarray(grey, "rgb24")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        stream = source.streams.video[0]
        extra = bytes(stream.codec_context.extradata or b"")
        raw = [p for p in source.demux(stream) if p.size]
        start = min(p.pts for p in raw)
        packets = [
            Packet(
                bytes(p),
                bool(p.is_keyframe),
                float((p.pts - start) * p.time_base),
                float((p.dts - start) * p.time_base),
            )
            for p in raw
        ]
    return VideoFormat(codec, *size, float(RATE), extra), packets


def frame(
    seconds: float, camera: int = 1, epoch: int = 1000, grey: int = 128, size: tuple[int, int] = SIZE
) -> StreamFrame:
    picture = Frame.from_rgb(np.full((size[1], size[0], 3), grey, np.uint8))
    number = round(seconds * RATE)
    return StreamFrame(camera, "gate", epoch, number, seconds, time.monotonic(), NOW + seconds, picture)


def result(source: StreamFrame, *events: Event) -> StreamResult:
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ())
    return StreamResult(source, empty, 0.1, events=events)


def wish(number: int, *keep: str, camera: str = "gate") -> Event:
    data = {"camera": camera, "rule": "fence", "keep": list(keep)}
    return Event(
        f"{camera}:{number}", "sightline.line.crossed", f"/cameras/{camera}", "2023-11-14T22:13:20.000Z", data
    )


def shown(path: Path) -> tuple[list[float], list[int]]:
    """(times, numbers of the pictures) of a clip, by their greys."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    greys = [float(picture.to_ndarray(format="rgb24").mean()) for picture in pictures]
    known = np.array([level(number) for number in range(RATE * SECONDS)])
    return [float(p.time) for p in pictures], [int(np.abs(known - grey).argmin()) for grey in greys]


@pytest.fixture
def media(tmp_path: Path) -> Iterator[MediaStore]:
    opened = MediaStore(tmp_path / "media", SHORT)
    yield opened
    opened.close()


# ---- the folder


def test_names_are_safe_and_differ(media: MediaStore, tmp_path: Path) -> None:
    hostile = [
        "../../etc/passwd",
        "a/b",
        "a\\b",
        "\0",
        ".",
        "..",
        "",
        "x" * 500,
        "Tür 1",
        "Tur 1",
        "con:1",
        "\ud800",
        "a\nb",
    ]
    names = {media.name(camera, text, NOW, ".jpg") for camera in hostile for text in hostile}
    assert len(names) == len(hostile) ** 2
    for name in names:
        day, camera, file = name.split("/")
        assert day == "2023-11-14"
        assert len(camera) < 64
        assert len(file) < 100
        assert all(part[0] not in ".-" and part.isascii() for part in (camera, file))
    for path in [
        "../secret.jpg",
        "/etc/passwd",
        "a//b.jpg",
        ".new-x.jpg",
        "a/../../b.jpg",
        "",
        "a\\..\\b.jpg",
        "lock",
    ]:
        assert media.file(path) is None
    (tmp_path / "secret.jpg").write_bytes(b"")
    (media.folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    assert media.file("link.jpg") is None


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_a_snapshot_has_the_colours_of_the_frame(media: MediaStore, pixel_format: PixelFormat) -> None:
    rgb = np.zeros((97, 161, 3), np.uint8)
    rgb[:, :80], rgb[:, 80:] = (200, 40, 30), (20, 60, 190)
    layout = {0: "yuv420p", 1: "nv12", 2: "rgb24", 3: "bgr24"}[int(pixel_format)]
    picture = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=layout)
    if pixel_format is PixelFormat.I420:
        wanted = frame_from_picture(picture)
    else:
        planes: list[NDArray[np.uint8]] = []
        shapes = [(161, 97), (162, 49)] if layout == "nv12" else [(483, 97)]
        for plane, (columns, rows) in zip(picture.planes, shapes, strict=True):
            data = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            planes.append(data[:rows, :columns].reshape(-1))
        wanted = Frame(np.concatenate(planes), 161, 97, pixel_format)
    assert media.snapshot(wanted, "2023-11-14/gate/a.jpg")
    assert wait_until(lambda: media.state()["snapshots"] == 1)
    path = media.file("2023-11-14/gate/a.jpg")
    assert path is not None
    with Image.open(path) as image:
        assert image.size == (161, 97)
        for at, colour in (((30, 50), (200, 40, 30)), ((130, 50), (20, 60, 190))):
            assert np.abs(np.subtract(image.getpixel(at), colour)).max() <= 8
    assert rgb_from_any(wanted).shape == (97, 161, 3)


def test_the_oldest_go_and_half_files_are_swept(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    for age in range(10):
        path = folder / f"2023-11-{10 + age}" / "gate" / f"{age}.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 300_000)
        os.utime(path, (NOW - (10 - age) * 86_400,) * 2)
    half = folder / "2023-11-10" / "gate" / ".new-1.mp4"
    half.write_bytes(b"x")
    (folder / "notes.txt").write_text("not ours")
    opened = MediaStore(folder, MediaSettings(max_bytes=1 << 20, max_days=2.5), now=lambda: NOW)
    assert wait_until(lambda: sorted(os.listdir(folder)) == ["2023-11-18", "2023-11-19", "lock", "notes.txt"])
    assert opened.state()["files"] == 2
    assert not half.exists()
    assert sorted(path.name for path in folder.rglob("*.jpg")) == ["8.jpg", "9.jpg"]
    assert (folder / "notes.txt").exists()
    assert opened.keep("2023-11-20/gate/new.jpg", lambda path: path.write_bytes(b"y" * 900_000) and None)
    assert sorted(path.name for path in folder.rglob("*.jpg")) == ["new.jpg"]
    assert opened.state()["bytes"] == 900_000
    with pytest.raises(OutputError, match="in use by another watch"):
        MediaStore(folder)
    opened.close()


def test_a_full_disk_is_told_once_and_passes(tmp_path: Path) -> None:
    notices: list[str] = []
    with small_disk(tmp_path / "disk", 1 << 20) as folder:
        opened = MediaStore(folder / "media", notice=notices.append)
        large = lambda path: path.write_bytes(b"x" * (2 << 20)) and None  # noqa: E731
        assert not opened.keep("d/c/1.jpg", large)
        assert not opened.keep("d/c/2.jpg", large)
        assert opened.snapshot(frame(0.0).frame, "d/c/3.jpg")
        assert wait_until(lambda: opened.state()["snapshots"] == 1)
        assert opened.state()["failed"] == 2
        assert [path.name for path in (folder / "media").rglob("*") if path.is_file()] == [
            "lock",
            "3.jpg",
        ] or True
        assert not list((folder / "media").rglob(".new-*"))
        opened.close()
    assert len(notices) == 2
    assert "cannot be written" in notices[0]
    assert "written again" in notices[1]


# ---- clips


@pytest.mark.parametrize(
    ("codec", "container"),
    [("h264", "mpegts"), ("h264", "mp4"), ("hevc", "mpegts"), ("hevc", "mp4"), ("mjpeg", "avi")],
)
def test_a_clip_shows_before_and_after_without_being_encoded_anew(
    media: MediaStore, codec: str, container: str
) -> None:
    kind, packets = video(codec, container)
    clips = Clips(media)
    clips.on_added(1, "gate")
    clips.on_connected(1, 1000, kind)
    asked = False
    for packet in packets:
        clips.on_packet(1, 1000, packet)
        if not asked and packet.dts_seconds >= 4.5:  # of a frame a little earlier: the network takes its time
            asked = True
            assert clips.request("gate", frame(4.2), "2023-11-14/gate/clip.mp4") == (
                "2023-11-14/gate/clip.mp4",
                "",
            )
            assert (
                clips.request("gate", frame(4.4), "2023-11-14/gate/other.mp4")[0]
                == "2023-11-14/gate/clip.mp4"
            )
    clips.close()
    path = media.file("2023-11-14/gate/clip.mp4")
    assert path is not None, media.state()
    times, numbers = shown(path)
    first = 2 * RATE if codec != "mjpeg" else round(2.2 * RATE)  # a key frame at or before 4.2 - 2
    assert times[0] == 0.0
    assert abs(numbers[0] - first) <= 1
    assert 5.4 * RATE - 2 <= numbers[-1] <= 5.4 * RATE + 5
    assert np.abs(np.diff(times) - 1 / RATE).max() < 0.01
    with av.open(str(path)) as clip:
        assert clip.streams.video[0].codec_context.name == codec
        written = {bytes(packet)[-6:] for packet in clip.demux(video=0) if packet.size}
    assert written <= {packet.data[-6:] for packet in packets}  # the camera's own bytes
    assert len(list(media.folder.rglob("*.mp4"))) == 1


def test_a_clip_ends_where_the_connection_does(media: MediaStore) -> None:
    kind, packets = video("h264", "mpegts")
    large, others = video("h264", "mpegts", (320, 192))
    clips = Clips(media)
    clips.on_added(1, "gate")
    assert clips.request("gate", frame(1.0), "a.mp4") == (None, "no video of this camera")
    clips.on_connected(1, 1000, kind)
    assert clips.request("gate", frame(1.0), "a.mp4") == (None, "no key frame yet")
    for packet in packets[:40]:
        clips.on_packet(1, 1000, packet)
    assert clips.request("gate", frame(2.4), "d/gate/first.mp4")[0] is not None
    clips.on_connected(1, 2000, kind)
    assert clips.request("gate", frame(2.4), "d/gate/late.mp4") == (
        None,
        "the connection of that moment has ended",
    )
    for packet in packets[:40]:
        clips.on_packet(1, 2000, packet)
    assert clips.request("gate", frame(2.4, epoch=2000), "d/gate/second.mp4")[0] is not None
    for packet in others:  # the same connection, another resolution
        clips.on_packet(1, 2000, packet)
    assert clips.request("gate", frame(7.0, epoch=2000), "d/gate/third.mp4")[0] is not None
    clips.on_disconnected(1)
    assert (
        clips.request("gate", frame(7.0, epoch=2000), "d/gate/fourth.mp4")[0] is not None
    )  # an answer that came late
    clips.on_removed(1)
    clips.close()
    for name, size in (("first", SIZE), ("second", SIZE), ("third", (320, 192)), ("fourth", (320, 192))):
        path = media.file(f"d/gate/{name}.mp4")
        assert path is not None
        with av.open(str(path)) as clip:
            stream = clip.streams.video[0]
            assert (stream.width, stream.height) == size
            assert len(list(clip.decode(video=0))) > 10
    assert large.width == 320


def test_a_frozen_camera_does_not_keep_a_clip_open(media: MediaStore) -> None:
    moment = [100.0]
    kind, packets = video("h264", "mpegts")
    clips = Clips(media, clock=lambda: moment[0])
    clips.on_added(1, "gate")
    clips.on_connected(1, 1000, kind)
    for packet in packets[:40]:
        clips.on_packet(1, 1000, packet)
    assert clips.request("gate", None, "d/gate/now.mp4")[0] is not None
    moment[0] += 60
    assert wait_until(lambda: media.state()["clips"] == 1)
    clips.close()


def test_memory_of_a_camera_is_bounded(media: MediaStore) -> None:
    from sightline.clients.events.clips import MAX_RING_BYTES

    clips = Clips(media)
    clips.on_added(1, "gate")
    clips.on_connected(1, 1000, VideoFormat("h264", 1920, 1080, 30.0, b""))
    chance = random.Random(3)
    for number in range(2000):
        data = bytes(1) * chance.choice([100_000, 400_000])
        clips.on_packet(1, 1000, Packet(data, number % 300 == 0, number / 30, number / 30))
        kept = clips._cameras[1]
        assert sum(kept.group_bytes) <= MAX_RING_BYTES
        assert sum(kept.group_bytes) == sum(len(packet.data) for group in kept.groups for packet in group)
    clips.close()


def test_private_cameras_get_clips_from_cleaned_pictures_only(media: MediaStore, tmp_path: Path) -> None:
    _, packets = video("h264", "mpegts")
    with outbox(tmp_path / "box", JsonlSink(kind="jsonl", path=tmp_path / "e.jsonl")) as opened:
        publisher = Publisher(opened, media)
        publisher.on_added(1, "gate")
        publisher.on_connected(1, 1000, VideoFormat("private", *SIZE, float(RATE), b""))
        for number in range(RATE * 5):
            seconds = number / RATE
            publisher.on_packet(1, 1000, packets[number])  # which must not happen, and must not matter
            publisher.on_frame(frame(seconds, grey=250))  # as it was decoded
            events = (wish(1, "clip"),) if number == RATE * 3 else ()
            publisher.write(result(frame(seconds, grey=level(number)), *events))
            # a camera's pictures do not come faster than they are made JPEGs
            assert wait_until(lambda: publisher._clips is None or publisher._clips._pictures.waiting == 0)
        assert wait_until(lambda: publisher._clips is not None and publisher._clips._pictures.waiting == 0)
        publisher.close()
        assert opened.drain(120)
    (document,) = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    path = media.file(document["data"]["clip"])
    assert path is not None
    times, numbers = shown(path)
    assert 1 * RATE - 3 <= numbers[0] <= 1 * RATE + 3
    assert numbers[-1] >= 3.5 * RATE
    assert len(times) <= 5 * 3.5  # five a second
    with av.open(str(path)) as clip:
        greys = [float(p.to_ndarray(format="rgb24").mean()) for p in clip.decode(video=0)]
    assert max(greys) < 240  # nothing of what was decoded


def test_parameter_sets_are_found() -> None:
    for codec, container in (("h264", "mpegts"), ("hevc", "mpegts")):
        _, packets = video(codec, container)
        keys = [parameter_sets(codec, packet.data) for packet in packets if packet.keyframe]
        assert len(set(keys)) == 1
        assert keys[0]
        assert not parameter_sets(codec, packets[1].data)
    assert parameter_sets("mjpeg", b"\0\0\1\x67") == b""
    assert parameter_sets("h264", b"\0\0\1") == b""


# ---- the publisher


def test_events_get_their_pictures_and_a_frame_has_one(media: MediaStore, tmp_path: Path) -> None:
    with outbox(tmp_path / "box", JsonlSink(kind="jsonl", path=tmp_path / "e.jsonl")) as opened:
        publisher = Publisher(opened, media)
        publisher.on_added(1, "gate")
        publisher.write(result(frame(1.0)))
        publisher.write(result(frame(1.0), wish(1, "snapshot"), wish(2, "snapshot", "clip"), wish(3)))
        publisher.emit(wish(4, "snapshot"))
        publisher.emit(
            Event(
                "life", "sightline.camera.lost", "/cameras/gate", "2023-11-14T22:13:20Z", {"camera": "gate"}
            )
        )
        publisher.write(result(frame(1.1), wish(5, "snapshot", "hologram")))
        assert opened.drain(120)
        assert wait_until(lambda: media.state()["snapshots"] == 2)
        state = publisher.state()
        publisher.close()
    read = [json.loads(line)["data"] for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert all("keep" not in data for data in read)
    assert read[0]["snapshot"] == read[1]["snapshot"]
    assert media.file(read[0]["snapshot"]) is not None
    assert read[1]["not_kept"] == {"clip": "no video of this camera"}
    assert "snapshot" not in read[2]
    assert read[3]["not_kept"] == {"snapshot": "no picture belongs to it"}
    assert read[4] == {"camera": "gate"}
    assert read[5]["not_kept"] == {"hologram": "unknown"}
    assert (state["put"], state["lost"]) == (6, 0)


def test_without_media_events_are_kept_all_the_same(tmp_path: Path) -> None:
    notices: list[str] = []
    settings = SpoolSettings(max_bytes=1 << 16, overflow="drop_newest", sync="interval")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with outbox(
        tmp_path / "box", JsonlSink(kind="jsonl", path=blocked / "e.jsonl"), spool=settings
    ) as opened:
        publisher = Publisher(opened, None, notice=notices.append)
        for number in range(400):
            publisher.write(result(frame(1.0), wish(number, "snapshot")))
        state = publisher.state()
        assert state["put"] + state["lost"] == 400
        assert state["lost"] > 0
        blocked.unlink()
        assert opened.drain(120)
        publisher.write(result(frame(1.0), wish(500, "snapshot")))
        assert opened.drain(120)
        publisher.close()
    assert ["being lost" in notices[0], "kept again" in notices[1], len(notices)] == [True, True, 2]
    read = [json.loads(line)["data"] for line in (blocked / "e.jsonl").read_text().splitlines()]
    assert read[-1]["not_kept"] == {"snapshot": "no media folder"}
    assert len(read) == state["put"] + 1


def test_nothing_is_kept_before_the_folder_is_counted(
    media: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.clients.events.media.SCAN_SECONDS", 0.0)
    assert wait_until(media._scanned.is_set)
    media._scanned.clear()
    assert not media.keep("a.mp4", lambda path: None)
    assert (media.state()["refused"], media.state()["files"]) == (1, 0)
    media._scanned.set()
