# SPDX-License-Identifier: Apache-2.0
"""What must not be recognised leaves memory in no way: in no picture, no packet, no mask, whatever fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.clients.analytics.camera import CameraAnalytics
from sightline.clients.analytics.privacy import Cleaner, PrivacyError
from sightline.clients.analytics.privacy_video import CleanFrame, PrivacyFilter
from sightline.clients.analytics.settings import Analytics, Privacy
from sightline.clients.streams.names import Source
from sightline.clients.streams.results import Packet, StreamFrame, StreamResult, VideoFormat
from sightline.clients.streams.watch import Watch
from sightline.frame import Frame, PixelFormat, frame_bytes
from sightline.preprocess_ext import rle_decode, rle_encode
from sightline.results import Detections
from tests.analytics_parts import EPOCH, LABELS, NOON, detections, stream_frame, stream_result
from tests.streams_parts import BRIGHT, BrightObjectClient, make_clip

METHODS = ("fill", "pixelate", "blur")
YUV = (PixelFormat.I420, PixelFormat.NV12)


def picture(size: tuple[int, int], pixel_format: PixelFormat, seed: int = 1) -> Frame:
    data = np.random.default_rng(seed).integers(0, 256, frame_bytes(*size, pixel_format), np.uint8)
    return Frame(data, *size, pixel_format)


def samples(frame: Frame) -> list[tuple[Any, int]]:
    """Views of the planes, rows x columns, with their pixels per sample."""
    width, height = frame.width, frame.height
    if frame.pixel_format not in YUV:
        return [(frame.data.reshape(height, width, 3)[..., i], 1) for i in range(3)]
    half = ((height + 1) // 2, (width + 1) // 2)
    chroma = frame.data[width * height :]
    if frame.pixel_format is PixelFormat.NV12:
        both = chroma.reshape(*half, 2)
        return [
            (frame.data[: width * height].reshape(height, width), 1),
            (both[..., 0], 2),
            (both[..., 1], 2),
        ]
    both = chroma.reshape(2, *half)
    return [(frame.data[: width * height].reshape(height, width), 1), (both[0], 2), (both[1], 2)]


def cleaner(method: str = "fill", **more: Any) -> Cleaner:
    return Cleaner(Privacy.model_validate({"classes": ["face"], "method": method, "margin": 0.0, **more}))


across, down = st.floats(-20, 60, width=32), st.floats(-20, 50, width=32)
boxes = st.tuples(across, down, across, down)


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
@settings(max_examples=25, deadline=None)
@given(
    st.lists(boxes, min_size=1, max_size=4),
    st.sampled_from([(40, 30), (41, 31)]),
    st.sampled_from([0.0, 0.1]),
)
def test_a_filled_box_carries_no_information(
    pixel_format: PixelFormat, found: Any, size: Any, margin: float
) -> None:
    """Two pictures that differ inside the boxes only are one afterwards; outside nothing has changed much."""
    first = picture(size, pixel_format)
    second = replace(first, data=first.data.copy())
    other = picture(size, pixel_format, seed=2)
    for (plane, step), (source, _) in zip(samples(second), samples(other), strict=True):
        for x1, y1, x2, y2 in found:
            left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
            rows = slice(max(0, int(np.floor(top / step))), max(0, int(np.ceil(bottom / step))))
            columns = slice(max(0, int(np.floor(left / step))), max(0, int(np.ceil(right / step))))
            plane[rows, columns] = source[rows, columns]
    faces = detections(*((*box, "face") for box in found))
    cleaned = [cleaner(margin=margin).clean(frame, faces, 0.0)[0] for frame in (first, second)]
    assert np.array_equal(cleaned[0].data, cleaned[1].data)


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
@pytest.mark.parametrize("method", ["pixelate", "blur"])
@pytest.mark.parametrize("box", [(10, 8, 74, 56), (11, 9, 73.5, 55), (-30, -5, 40, 200), (3, 3, 9, 9)])
def test_a_mosaic_leaves_the_mean_of_each_field_and_no_more(
    pixel_format: PixelFormat, method: str, box: Any
) -> None:
    """Inside each field the pixels are shuffled: nothing changes. At most 6 x 6 fields, of 8 pixels at least."""
    frame = picture((90, 70), pixel_format)
    faces = detections((*box, "face"))
    before = cleaner(method).clean(frame, faces, 0.0)[0]
    shuffled = replace(frame, data=frame.data.copy())
    random = np.random.default_rng(9)
    left, top = max(0, int(box[0]) // 2 * 2), max(0, int(box[1]) // 2 * 2)
    right, bottom = min(90, -(-int(np.ceil(box[2])) // 2) * 2), min(70, -(-int(np.ceil(box[3])) // 2) * 2)
    for plane, step in samples(shuffled):
        rows, columns = (
            fields(top // step, bottom // step, 8 // step),
            fields(left // step, right // step, 8 // step),
        )
        assert max(len(rows), len(columns)) <= 7
        for y1, y2 in pairwise(rows):
            for x1, x2 in pairwise(columns):
                field = plane[y1:y2, x1:x2]
                plane[y1:y2, x1:x2] = random.permutation(field.reshape(-1)).reshape(field.shape)
    assert not np.array_equal(shuffled.data, frame.data)
    assert np.array_equal(cleaner(method).clean(shuffled, faces, 0.0)[0].data, before.data)
    for (cleaned, step), (plane, _) in zip(samples(before), samples(frame), strict=True):
        outside = np.ones(plane.shape, bool)
        outside[top // step : bottom // step, left // step : right // step] = False
        assert np.array_equal(cleaned[outside], plane[outside])
        inside = cleaned[~outside].astype(int)
        assert np.ptp(inside) < 256
        if method == "pixelate":
            assert len(np.unique(inside)) <= 36


def fields(start: int, stop: int, smallest: int) -> list[int]:
    count = max(1, min(6, (stop - start) // smallest))
    return [start + int(border) for border in np.linspace(0, stop - start, count + 1)]


def test_the_picture_itself_is_left_as_it_is() -> None:
    frame = picture((64, 48), PixelFormat.I420)
    before = frame.data.copy()
    cleaned, _ = cleaner().clean(frame, detections((10, 10, 30, 30, "face")), 0.0)
    assert np.array_equal(frame.data, before)
    assert not np.array_equal(cleaned.data, before)
    assert cleaner().clean(frame, detections((10, 10, 30, 30, "person")), 0.0)[0] is frame


def grey(frame: Frame, x: int, y: int) -> bool:
    return bool(frame.data[y * frame.width + x] == 128)


def test_an_object_that_is_not_found_any_more_stays_hidden_for_a_while() -> None:
    frame, keeper = picture((200, 100), PixelFormat.I420), cleaner(remember_seconds=0.5)
    frame.data[:] = 7
    assert grey(keeper.clean(frame, detections((50, 40, 70, 60, "face")), 0.0)[0], 60, 50)
    for at, hidden in ((0.2, True), (0.5, True), (0.6, False)):
        cleaned, _ = keeper.clean(frame, detections(), at)
        assert grey(cleaned, 60, 50) is hidden
    keeper.clean(frame, detections((50, 40, 70, 60, "face")), 1.0)
    cleaned, _ = keeper.clean(frame, detections(), 1.4)  # grown by a fifth of its sides, 4 pixels
    assert grey(cleaned, 47, 50)
    assert not grey(cleaned, 43, 50)


def test_who_is_found_again_leaves_no_trail_and_covers_for_nobody_else() -> None:
    frame, keeper = picture((200, 100), PixelFormat.I420), cleaner(remember_seconds=5)
    frame.data[:] = 7
    two = detections((50, 40, 70, 60, "face"), (54, 40, 74, 60, "face"))
    keeper.clean(frame, two, 0.0)
    cleaned, _ = keeper.clean(frame, detections((57, 40, 77, 60, "face")), 0.1)
    assert grey(cleaned, 51, 50)  # the other one, who is missed
    alone = cleaner(remember_seconds=5)
    alone.clean(frame, detections((50, 40, 70, 60, "face")), 0.0)
    cleaned, _ = alone.clean(frame, detections((56, 40, 76, 60, "face")), 0.1)
    assert not grey(cleaned, 51, 50)


def test_a_change_of_resolution_does_not_uncover() -> None:
    keeper = cleaner(remember_seconds=5)
    keeper.clean(picture((200, 100), PixelFormat.I420), detections((50, 40, 70, 60, "face")), 0.0)
    small = picture((100, 50), PixelFormat.NV12)
    assert grey(keeper.clean(small, detections(), 0.1)[0], 30, 25)


@pytest.mark.parametrize(
    ("classes", "found", "told"),
    [
        (["face"], detections((np.nan, 0, 9, 9, "face")), "no finite box"),
        (["face"], detections((0, 0, np.inf, 9, "face")), "no finite box"),
        (["fase"], detections((0, 0, 9, 9, "face")), "'fase'"),
        (["fase"], detections(), "'fase'"),
        (
            ["face"],
            Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32)),
            "names no classes",
        ),
    ],
)
def test_what_cannot_be_hidden_for_sure_is_an_error(classes: list[str], found: Detections, told: str) -> None:
    keeper = Cleaner(Privacy(classes=tuple(classes)))
    with pytest.raises(PrivacyError, match=told):
        keeper.clean(picture((64, 48), PixelFormat.I420), found, 0.0)


def test_all_classes_and_numbers_in_place_of_names() -> None:
    frame = picture((64, 48), PixelFormat.I420)
    nameless = Detections(
        np.array([[8, 8, 40, 40]], np.float32), np.ones(1, np.float32), np.full(1, 3, np.int32)
    )
    for classes in (("*",), ("3",)):
        keeper = Cleaner(Privacy(classes=classes, method="fill"))
        assert grey(keeper.clean(frame, nameless, 0.0)[0], 20, 20)


def test_outlines_become_boxes() -> None:
    size = (64, 48)
    outline = np.zeros((48, 64), np.uint8)
    outline[10:20, 12:15] = 1
    found = replace(
        detections((8, 8, 40, 30, "face"), (1, 1, 5, 5, "car")), masks=(rle_encode(outline),) * 2, size=size
    )
    _, cleaned = cleaner().clean(picture(size, PixelFormat.I420), found, 0.0)
    assert cleaned.masks is not None
    box = np.zeros((48, 64), np.uint8)
    box[8:30, 8:40] = 1
    assert np.array_equal(rle_decode(cleaned.masks[0], *size), box)
    assert np.array_equal(rle_decode(cleaned.masks[1], *size), outline)


RULE = {"name": "hall", "kind": "zone", "points": [[0, 0], [1, 0], [1, 1], [0, 1]], "clip": True}


def private_camera(**more: Any) -> CameraAnalytics:
    privacy = {"classes": ["face"], "method": "fill", **more}
    document = {"rules": [RULE], "privacy": privacy}
    return CameraAnalytics("gate", Analytics.model_validate(document), rate=10.0, now=lambda: 1000.0)


def test_what_the_filter_leaves_out_is_hidden_too() -> None:
    document = {
        "objects": {"classes": ["car"], "min_score": 0.8},
        "privacy": {"classes": ["face"], "method": "fill"},
    }
    analytics = CameraAnalytics("gate", Analytics.model_validate(document))
    shown = analytics.observe(stream_result(stream_frame(0, 0.0), (100, 100, 140, 150, "face", 0.05)))
    assert shown is not None
    assert isinstance(shown.source, CleanFrame)
    assert grey(shown.source.frame, 120, 120)


def test_a_picture_that_cannot_be_cleaned_is_withheld_and_its_events_come_later() -> None:
    analytics = private_camera()
    fine, wrong = (300, 100, 340, 150, "face"), (np.nan, 0, 9, 9, "face")
    assert analytics.observe(stream_result(stream_frame(0, 0.0), fine, wrong)) is None
    figures = analytics.figures()
    assert figures.withheld == 1
    assert "no finite box" in str(figures.last_withheld)
    [event] = analytics.idle(NOON + 0.1)
    assert (event.type, event.id, event.data["keep"]) == (
        "sightline.zone.entered",
        f"gate:{EPOCH}:0:hall:zone.entered:1",
        ["clip"],
    )
    shown = analytics.observe(stream_result(stream_frame(1, 0.1), fine))
    assert shown is not None
    assert shown.events == ()


@pytest.mark.parametrize("part", ["_rules", "_tracker", "_cleaner"])
def test_whatever_fails_nothing_goes_out(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    analytics = private_camera()

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("broken")

    monkeypatch.setattr(analytics, part, Broken())
    assert analytics.observe(stream_result(stream_frame(0, 0.0), (300, 100, 340, 150, "face"))) is None
    if part != "_tracker":
        assert analytics.figures().withheld == 1


class Recorder:
    """A VideoSink and StreamSink that keeps what it is given."""

    def __init__(self) -> None:
        self.connected: list[tuple[int, VideoFormat]] = []
        self.packets: list[Packet] = []
        self.frames: list[StreamFrame] = []
        self.results: list[StreamResult] = []

    def on_added(self, camera: int, name: str) -> None: ...
    def on_removed(self, camera: int) -> None: ...
    def on_disconnected(self, camera: int) -> None: ...

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        self.connected.append((epoch, video))

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        self.packets.append(packet)

    def on_frame(self, frame: StreamFrame) -> None:
        self.frames.append(frame)

    def write(self, result: StreamResult) -> None:
        self.results.append(result)

    def close(self) -> None: ...


VIDEO = VideoFormat("h264", 640, 360, 15.0, b"header")
PACKET = Packet(b"picture", True, 0.0, 0.0)


def test_the_filter_passes_what_is_public_and_only_what_is_cleaned_of_the_rest() -> None:
    sink, private = Recorder(), {"gate": True, "yard": False}
    door = PrivacyFilter(sink, private.__getitem__)
    for number, name in ((0, "gate"), (1, "yard")):
        door.on_added(number, name)
        door.on_connected(number, 5, VIDEO)
        door.on_packet(number, 5, PACKET)
        door.on_frame(replace(stream_frame(0, 0.0), camera=number))
    assert [video.codec for _, video in sink.connected] == ["private", "h264"]
    assert sink.connected[0][1].extradata == b""
    assert len(sink.packets) == 1
    assert [frame.camera for frame in sink.frames] == [1]
    raw = stream_result(stream_frame(1, 0.1), (300, 100, 340, 150, "face"))
    door.write(raw)  # not cleaned, by whatever mistake
    assert len(sink.frames) == 1
    cleaned = private_camera().observe(raw)
    assert cleaned is not None
    door.write(cleaned)
    assert isinstance(sink.frames[-1], CleanFrame)
    door.write(replace(cleaned, source=replace(cleaned.source, camera=1)))  # yard's video goes on as it is
    assert len(sink.frames) == 2
    assert door.held_back == 2


def test_a_camera_that_becomes_private_begins_anew_for_those_who_watch() -> None:
    sink, private = Recorder(), {"gate": False}
    door = PrivacyFilter(sink, private.__getitem__)
    door.on_added(0, "gate")
    door.on_connected(0, 5, VIDEO)
    door.on_packet(0, 5, PACKET)
    private["gate"] = True
    door.on_packet(0, 5, PACKET)
    door.on_packet(0, 5, PACKET)
    assert [video.codec for _, video in sink.connected] == ["h264", "private"]
    assert len(sink.packets) == 1
    private["gate"] = False
    door.on_packet(0, 5, PACKET)
    assert [video.codec for _, video in sink.connected] == ["h264", "private", "h264"]
    assert len(sink.packets) == 2


def test_a_camera_that_nobody_knows_is_private() -> None:
    sink = Recorder()
    door = PrivacyFilter(sink, lambda name: {}[name])
    door.on_packet(7, 5, PACKET)  # before it was added
    door.on_added(8, "gate")
    door.on_connected(8, 5, VIDEO)
    door.on_packet(8, 5, PACKET)  # is_private fails
    assert not sink.packets
    assert [video.codec for _, video in sink.connected] == ["private"]


class Fails(BrightObjectClient):
    """Finds the bright object, but each third answer is one that cannot be cleaned."""

    count = 0

    def _answer(self, frame: Frame) -> Detections:
        Fails.count += 1
        found = super()._answer(frame)
        return replace(found, boxes=found.boxes * np.float32(np.nan)) if Fails.count % 3 == 0 else found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("privacy") / "lamp.mp4", seconds=3.0, size=(320, 240))


@pytest.fixture
def client() -> Iterator[Fails]:
    made = Fails()
    yield made
    made.close()


@pytest.mark.parametrize("hidden", [True, False])
def test_no_bright_pixel_of_a_watched_film_reaches_a_sink(clip: Path, client: Fails, hidden: bool) -> None:
    """The engine reads a real file; the lamp is the only thing in it that is bright."""
    privacy = {"privacy": {"classes": ["lamp"], "method": "fill", "margin": 0.2}} if hidden else {}
    analytics = CameraAnalytics("film", Analytics.model_validate(privacy))
    video, sink = Recorder(), Recorder()
    door = PrivacyFilter(video, lambda name: analytics.settings.privacy is not None)
    with Watch(
        [Source("film", str(clip))],
        client,
        sinks=[sink, door],
        videos=[door],
        analysts=lambda source: analytics,
    ) as watch:
        watch.wait(20)
        deadline = time.monotonic() + 5
        while not watch.ended and time.monotonic() < deadline:
            time.sleep(0.05)
    frames = [*video.frames, *(result.source for result in sink.results)]
    brightest = max(int(frame.frame.data[: 320 * 240].max()) for frame in frames)
    assert len(sink.results) > 10
    if not hidden:
        assert brightest > BRIGHT
        assert len(video.packets) == 45
        return
    assert brightest < 140
    assert not video.packets
    assert [picture.codec for _, picture in video.connected] == ["private"]
    assert len(video.frames) == len(sink.results)
    assert analytics.figures().withheld > 5
    assert all(isinstance(frame, CleanFrame) for frame in frames)


def test_crops_for_second_stages_go_to_the_model_only() -> None:
    """A crop is a copy for the server of the network, which sees the whole picture anyway; no result holds it."""
    asked: list[Frame] = []

    def ask(model: str, crop: Frame) -> Future[Any]:
        asked.append(crop)
        return Future()

    document = {"stages": [{"name": "s", "model": "m"}], "privacy": {"classes": ["face"], "method": "fill"}}
    analytics = CameraAnalytics("gate", Analytics.model_validate(document), ask=ask)
    source = stream_frame(0, 0.0, data=picture((640, 360), PixelFormat.I420).data)
    shown = analytics.observe(stream_result(source, (300, 100, 340, 150, "face")))
    assert shown is not None
    [crop] = asked
    assert not np.shares_memory(crop.data, shown.source.frame.data)
    assert not np.shares_memory(source.frame.data, shown.source.frame.data)
    assert shown.detections.labels == LABELS
