# SPDX-License-Identifier: Apache-2.0
"""Calibration pictures: from a folder that nobody vouches for, from a recording, from drawn scenes."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sightline.builders.calibration import (
    LEAST_PICTURES,
    PictureSource,
    calibration_pictures,
    calibration_tensors,
    network_tensor,
    tensors,
)
from sightline.builders.calibration.video import MOST_FRAMES_READ
from sightline.card import InputSpec
from sightline.errors import BuildError, OutputError
from sightline.frame import Frame
from sightline.preprocess_ext import letterbox
from tests.precision_networks import SIZE, small_card
from tests.streams_parts import find_object, make_clip

SIZE_OF_PICTURES = (48, 32)


def write_picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE_OF_PICTURES, (level, 10, 10)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty pictures in two folders; the level of red is the number."""
    place = tmp_path / "pictures"
    for number in range(20):
        write_picture(place / ("early" if number < 10 else "late") / f"{number:02}.png", number)
    return place


def reds(spec: Path | None, count: int, source: PictureSource | None = None) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in calibration_pictures(spec, count, source)]


def test_pictures_are_spread_evenly_over_the_folder(folder: Path) -> None:
    source = PictureSource()
    assert reds(folder, 10, source) == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert (source.found, source.used, source.skipped) == (20, 10, [])
    assert reds(folder, 100) == list(range(20))


def test_hostile_files_are_skipped_with_a_reason_and_replaced(folder: Path, tmp_path: Path) -> None:
    bomb = np.zeros((1, 1, 3), np.uint8)
    Image.fromarray(bomb).save(folder / "early" / "00.png")
    (folder / "early" / "01.png").write_bytes(b"GIF89a, or so it says")
    (folder / "early" / "02.png").write_bytes((folder / "late" / "12.png").read_bytes()[:50])
    (folder / "late" / "15.png").unlink()
    write_picture(tmp_path / "secret.png", 200)
    (folder / "late" / "15.png").symlink_to(tmp_path / "secret.png")
    (folder / "late" / "notes.txt").write_text("no picture")
    os.mkfifo(folder / "late" / "pipe.png")
    (folder / "late" / "loop").symlink_to(folder)
    source = PictureSource()
    found = reds(folder, 40, source)
    assert 200 not in found
    assert len(found) == source.used == 17
    reasons = {item.name: item.reason for item in source.skipped}
    assert set(reasons) == {"early/01.png", "early/02.png", "late/15.png", "late/pipe.png"}
    assert "not a JPEG, PNG or WebP" in reasons["early/01.png"]
    assert "damaged" in reasons["early/02.png"]
    assert "leads out of the folder" in reasons["late/15.png"]
    assert "not a regular file" in reasons["late/pipe.png"]
    few = reds(folder, 10)
    assert len(few) == 10, "the next ones that were not asked for take the place of the bad ones"


def test_a_picture_with_too_many_pixels_is_skipped(folder: Path) -> None:
    Image.new("1", (9000, 9000)).save(folder / "early" / "00.png")
    source = PictureSource()
    reds(folder, 20, source)
    assert [item.name for item in source.skipped] == ["early/00.png"]
    assert "megapixels" in source.skipped[0].reason


def test_too_few_pictures_say_why_and_what_is_needed(tmp_path: Path, folder: Path) -> None:
    for path in sorted(folder.rglob("*.png"))[LEAST_PICTURES - 1 :]:
        path.write_bytes(b"no")
    with pytest.raises(
        BuildError, match=r"7 of 20 pictures can be used, at least 8.*early/07.*not a JPEG.*…"
    ):
        reds(folder, 20)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match=r"0 of 0 pictures"):
        reds(tmp_path / "empty", 20)
    with pytest.raises(BuildError, match="do not exist"):
        reds(tmp_path / "nowhere", 20)
    with pytest.raises(ValueError, match="count is 0"):
        reds(folder, 0)


def test_drawn_scenes_are_the_same_every_time() -> None:
    first, again = (list(calibration_pictures(None, 2)) for _ in range(2))
    assert [picture.shape for picture in first] == [(360, 640, 3)] * 2
    np.testing.assert_array_equal(first, again)
    assert np.abs(first[0].astype(int) - first[1]).mean() > 0.5


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4")])
def test_frames_of_a_recording_are_spread_evenly(tmp_path: Path, ending: str, codec: str) -> None:
    """The object in the picture tells which picture it is; it moves 8 pixels a picture."""
    clip = make_clip(tmp_path / f"clip.{ending}", seconds=4.0, codec=codec, b_frames=2)
    source = PictureSource()
    lefts = [
        float(find_object(_i420(picture)).boxes[0, 0]) for picture in calibration_pictures(clip, 12, source)
    ]
    numbers = np.array([(index + 0.5) * 60 / 12 for index in range(12)])
    np.testing.assert_allclose(lefts, numbers * 8, atol=9)
    assert (source.used, source.origin) == (12, str(clip))


def test_a_recording_without_a_length_is_read_through(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=4.0)
    raw = tmp_path / "camera.h264"
    with av.open(str(clip)) as container, raw.open("wb") as file:
        stream = container.streams.video[0]
        plain = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in container.demux(stream):
            for made in plain.filter(packet) if packet.size else []:
                file.write(bytes(made))
    lefts = [float(find_object(_i420(picture)).boxes[0, 0]) for picture in calibration_pictures(raw, 10)]
    assert len(lefts) == 10
    assert lefts == sorted(lefts)
    assert lefts[-1] - lefts[0] > 8 * 40
    assert MOST_FRAMES_READ > 10_000


def test_a_recording_cut_off_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", seconds=4.0)
    clip.write_bytes(clip.read_bytes()[: int(clip.stat().st_size * 0.6)])
    found = list(calibration_pictures(clip, 20))
    assert LEAST_PICTURES <= len(found) <= 20


@pytest.mark.parametrize(
    "content",
    [b"", b"no video at all", b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n"],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(BuildError, match=r"clip\.mp4"):
        list(calibration_pictures(path, 10))


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(BuildError, match="no video track"):
        list(calibration_pictures(path, 10))


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(size=(64, 32)),
        InputSpec(size=(64, 32), resize="corner", colour="bgr", pad=0, mean=(1, 2, 3), std=(4, 5, 6)),
        InputSpec(size=(32, 32), resize="crop", short_side=36, filter="triangle"),
        InputSpec(size=(40, 24), resize="stretch", filter="box"),
    ],
)
def test_tensors_are_what_the_served_stage_makes(spec: InputSpec) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    width, height = spec.size
    wanted = np.empty((3, height, width), np.float32)
    letterbox(
        Frame.from_rgb(picture),
        wanted,
        mean=spec.mean,
        std=spec.std,
        resize={"corner": "letterbox_corner", "crop": "centre_crop"}.get(spec.resize, spec.resize),  # type: ignore[arg-type]
        colour=spec.colour,
        pad_value=spec.pad,
        interpolation=spec.filter,
        short_side=spec.short_side or 0,
    )
    np.testing.assert_array_equal(network_tensor(spec, picture), wanted)


def test_the_cards_pictures_become_a_set(folder: Path, tmp_path: Path) -> None:
    (folder / "early" / "03.png").write_bytes(b"no")
    card = small_card(tmp_path, calibration={"images": str(folder), "samples": 16})
    told: list[tuple[str, int, int]] = []
    made = calibration_tensors(card, progress=lambda what, done, of: told.append((what, done, of)))
    assert len(made) == 16
    assert made.data.shape == (16, 3, SIZE[1], SIZE[0])
    assert made.note == f"16 pictures of {folder} (20 found, 1 left out)"
    assert told[-1] == ("pictures", 16, 16)
    assert made[0].shape == (3, SIZE[1], SIZE[0])
    assert len(list(made[2:5])) == 3
    assert len(calibration_tensors(card, count=9)) == 9


def test_many_tensors_lie_in_a_file_that_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    monkeypatch.setattr(tensors, "MEMORY_BYTES", 1000)
    card = small_card(tmp_path, calibration={"images": str(folder), "samples": 10})
    made = calibration_tensors(card)
    monkeypatch.setattr(tensors, "MEMORY_BYTES", 1 << 30)
    np.testing.assert_array_equal(made.data, calibration_tensors(card).data)
    assert list(room.iterdir()) == []


def test_no_room_for_the_tensors_says_how_much_is_needed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RLIMIT_FSIZE fails the reservation in the kernel as a full disk does."""
    monkeypatch.setattr(tensors, "MEMORY_BYTES", 1000)
    card = small_card(tmp_path, calibration={"images": str(folder), "samples": 100})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(
            OutputError, match=r"100 calibration pictures .* MiB .*too large.*calibration\.samples"
        ):
            calibration_tensors(card)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _i420(picture: np.ndarray) -> Frame:  # type: ignore[type-arg]
    height, width = picture.shape[:2]
    planes = av.VideoFrame.from_ndarray(picture, "rgb24").to_ndarray(format="yuv420p")
    return Frame(np.ascontiguousarray(planes).reshape(-1), width, height)
