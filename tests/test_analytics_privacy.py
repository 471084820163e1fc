# SPDX-License-Identifier: Apache-2.0
"""What must not be recognised leaves memory in no way: in no picture, no packet, no mask, whatever fails."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.clients.analytics.camera import CameraAnalytics
from sightline.clients.analytics.privacy import Cleaner, PrivacyError
from sightline.clients.analytics.privacy_video import CleanFrame
from sightline.clients.analytics.settings import Analytics, Privacy
from sightline.frame import Frame, PixelFormat, frame_bytes
from sightline.preprocess_ext import rle_decode, rle_encode
from sightline.results import Detections
from tests.analytics_parts import EPOCH, LABELS, NOON, detections, stream_frame, stream_result

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
