# SPDX-License-Identifier: Apache-2.0
"""Letterbox: every pixel format, colour space, size and option against plain numpy and against OpenCV."""

from __future__ import annotations

import sys
import threading
import time

import cv2
import numpy as np
import preprocess_references as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sightline
from sightline.errors import BadInputError
from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.preprocess_ext import Geometry, letterbox, version
from tests.cases import about

LEVEL = 1 / 255
RESIZES = ["letterbox", "stretch", "letterbox_corner", "centre_crop"]
SIZES = [(1, 1), (2, 1), (1, 2), (3, 3), (5, 7), (64, 48), (65, 47), (639, 361), (1280, 720), (33, 2000)]


def run(frame: Frame, network: tuple[int, int], **options: object) -> tuple[np.ndarray, Geometry]:
    out = np.full((3, network[1], network[0]), np.nan, np.float32)
    return out, letterbox(frame, out, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("colour", list(ColourSpace))
@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_equals_reference(pixel_format: PixelFormat, colour: ColourSpace) -> None:
    rng = np.random.default_rng(int(pixel_format) * 10 + int(colour))
    for width, height in SIZES:
        frame = reference.random_frame(rng, width, height, pixel_format, colour)
        for resize in RESIZES:
            out, _ = run(frame, (96, 64), resize=resize)
            np.testing.assert_allclose(
                out, reference.letterbox(frame, (96, 64), resize=resize), atol=0.02 * LEVEL
            )


@pytest.mark.parametrize("size", [(640, 360), (100, 50), (1920, 1080), (31, 17), (384, 224)])
def test_equals_opencv_within_one_level(size: tuple[int, int]) -> None:
    image = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out, fit = run(Frame.from_rgb(image), (384, 224))
    width, height = round(size[0] * fit.scale_x), round(size[1] * fit.scale_y)
    wanted = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    inside = out[:, fit.pad_top : fit.pad_top + height, fit.pad_left : fit.pad_left + width]
    np.testing.assert_allclose(np.moveaxis(inside, 0, 2), wanted / 255, atol=1.01 * LEVEL)


_COLOURS = [
    # 100% red as the standards and JFIF round it to 8 bits
    (ColourSpace.BT601_LIMITED, (81, 90, 240), (255, 0, 0)),
    (ColourSpace.BT709_LIMITED, (63, 102, 240), (255, 0, 0)),
    (ColourSpace.BT601_FULL, (76, 85, 255), (255, 0, 0)),
    (ColourSpace.BT709_FULL, (54, 99, 255), (255, 0, 0)),
    (ColourSpace.BT601_LIMITED, (235, 128, 128), (255, 255, 255)),
    (ColourSpace.BT709_LIMITED, (16, 128, 128), (0, 0, 0)),
    (ColourSpace.BT709_FULL, (128, 128, 128), (128, 128, 128)),
]


@pytest.mark.parametrize("pixel_format", [PixelFormat.I420, PixelFormat.NV12])
def test_known_colours(pixel_format: PixelFormat) -> None:
    for colour, yuv, rgb in _COLOURS:
        with about(colour, yuv, rgb):
            chroma = np.tile(np.array(yuv[1:], np.uint8), 4)
            if pixel_format is PixelFormat.I420:
                chroma = np.sort(chroma) if yuv[1] <= yuv[2] else np.sort(chroma)[::-1]
            data = np.concatenate([np.full(16, yuv[0], np.uint8), chroma])
            out, _ = run(Frame(data, 4, 4, pixel_format, colour), (8, 8))
            np.testing.assert_allclose(out[:, 3, 3] * 255, rgb, atol=2)


def test_identity_keeps_every_level() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    out, fit = run(Frame.from_rgb(image), (16, 16), std=(1, 1, 1))
    assert fit == Geometry(16, 16, 1.0, 1.0, 0, 0)
    np.testing.assert_array_equal(np.moveaxis(out, 0, 2), image)


def test_channel_order_mean_std_and_padding() -> None:
    image = np.zeros((2, 8, 3), np.uint8)
    image[:] = (10, 20, 30)
    out, fit = run(Frame.from_rgb(image), (8, 8), colour="bgr", mean=(1, 2, 3), std=(2, 4, 8), pad_value=50)
    assert (fit.pad_left, fit.pad_top) == (0, 3)
    np.testing.assert_allclose(out[:, 4, 4], [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8])
    np.testing.assert_allclose(out[:, 0, 0], [(50 - 1) / 2, (50 - 2) / 4, (50 - 3) / 8])
    np.testing.assert_allclose(out[:, 7, 7], out[:, 0, 0])


def test_rgb_and_bgr_frames_of_one_picture_are_equal() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    bgr = Frame(np.ascontiguousarray(image[..., ::-1]).reshape(-1), 50, 40, PixelFormat.BGR)
    np.testing.assert_array_equal(run(Frame.from_rgb(image), (32, 32))[0], run(bgr, (32, 32))[0])


def test_i420_and_nv12_of_one_picture_are_equal() -> None:
    rng = np.random.default_rng(2)
    frame = reference.random_frame(rng, 51, 37, PixelFormat.I420)
    planes = frame.data[51 * 37 :].reshape(2, -1)
    nv12 = Frame(np.concatenate([frame.data[: 51 * 37], planes.T.reshape(-1)]), 51, 37, PixelFormat.NV12)
    np.testing.assert_array_equal(run(frame, (32, 32))[0], run(nv12, (32, 32))[0])


@pytest.mark.parametrize("size", [(65535, 1), (1, 65535), (65535, 700), (8000, 6000)])
def test_huge_sources(size: tuple[int, int]) -> None:
    data = np.full(size[0] * size[1] * 3, 200, np.uint8)
    out, fit = run(Frame(data, *size, PixelFormat.RGB), (64, 64), resize="stretch")
    np.testing.assert_allclose(out, 200 / 255, rtol=1e-6)
    assert (fit.source_width, fit.source_height) == size


def test_frame_may_be_longer_and_read_only() -> None:
    rng = np.random.default_rng(5)
    frame = reference.random_frame(rng, 20, 10, PixelFormat.I420)
    longer = np.concatenate([frame.data, rng.integers(0, 256, 500, dtype=np.uint8)])
    longer.flags.writeable = False
    np.testing.assert_array_equal(run(Frame(longer, 20, 10), (32, 32))[0], run(frame, (32, 32))[0])


@settings(max_examples=80, deadline=None)
@given(
    source=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    network=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    pixel_format=st.sampled_from(PixelFormat),
    colour=st.sampled_from(ColourSpace),
    resize=st.sampled_from(RESIZES),
    order=st.sampled_from(["rgb", "bgr"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size_equals_reference(
    source: tuple[int, int],
    network: tuple[int, int],
    pixel_format: PixelFormat,
    colour: ColourSpace,
    resize: str,
    order: str,
    seed: int,
) -> None:
    frame = reference.random_frame(np.random.default_rng(seed), *source, pixel_format, colour)
    out, fit = run(frame, network, resize=resize, colour=order)
    wanted = reference.letterbox(frame, network, resize=resize, colour=order)
    np.testing.assert_allclose(out, wanted, atol=0.02 * LEVEL)
    width, height, left, top = reference.fit(source, network, resize)
    assert (fit.pad_left, fit.pad_top) == (left, top)
    assert fit.scale_x == pytest.approx(width / source[0])
    assert fit.scale_y == pytest.approx(height / source[1])


def test_geometry_array() -> None:
    _, fit = run(reference.random_frame(np.random.default_rng(0), 1280, 720, PixelFormat.I420), (384, 224))
    assert fit.as_array().dtype == np.float32
    np.testing.assert_allclose(fit.as_array(), [1, 1280, 720, 0.3, 0.3, 0, 4], rtol=1e-6)


def test_threads_share_nothing() -> None:
    frames = [
        reference.random_frame(np.random.default_rng(i), 300 + i, 200, PixelFormat.I420) for i in range(8)
    ]
    wanted = [run(frame, (96, 64))[0] for frame in frames]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            if not np.array_equal(run(frames[index], (96, 64))[0], wanted[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_releases_the_gil() -> None:
    """With a switch interval this long another thread runs only when the kernel gives the GIL away."""
    frame = Frame(np.zeros(6000 * 8000 * 3, np.uint8), 8000, 6000, PixelFormat.RGB)
    out = np.empty((3, 6000, 2000), np.float32)
    go, ran = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (go.wait(), ran.set()))
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100.0)
    try:
        go.set()
        until = time.monotonic() + 30  # the other thread may get no core at first
        while not (during := ran.is_set()) and time.monotonic() < until:
            letterbox(frame, out, resize="stretch")
    finally:
        sys.setswitchinterval(interval)
    thread.join()
    assert during


def test_version_is_the_packages() -> None:
    assert version() == sightline.__version__


FRAME = Frame(np.zeros(12, np.uint8), 2, 2, PixelFormat.RGB)
OUT = np.empty((3, 4, 4), np.float32)


_BAD_ARGUMENTS = [
    (np.empty((3, 4, 4)), {}, "out is float64 of shape (3, 4, 4); it must be contiguous float32"),
    (np.empty((4, 4, 3), np.float32), {}, "shape (3, any, any)"),
    (np.empty((3, 8, 8), np.float32)[:, ::2], {}, "contiguous"),
    (np.empty((3, 0, 4), np.float32), {}, "height and width must lie in 1..65535"),
    (np.broadcast_to(np.float32(0), (3, 4, 4)).copy().view(), {"std": (0, 1, 1)}, "std is (0, 1, 1)"),
    ([[[0.0]]], {}, "out is list"),
    (OUT, {"std": (1, 1, -1)}, "must be above 0"),
    (OUT, {"std": (1e-45, 1, 1)}, "must be above 0"),
    (OUT, {"mean": (0, 0)}, "mean is (0, 0); it must be three finite numbers"),
    (OUT, {"mean": (float("nan"), 0, 0)}, "three finite numbers"),
    (OUT, {"mean": (1e39, 0, 0)}, "three finite numbers"),
    (OUT, {"pad_value": 256}, "pad_value is 256; it must lie in 0..255"),
    (OUT, {"pad_value": float("nan")}, "pad_value is nan"),
    (OUT, {"resize": "crop"}, "resize is 'crop'; it must be one of letterbox, stretch, letterbox_corner"),
    (OUT, {"layout": "nchw"}, "layout is 'nchw'; it must be one of chw, hwc"),
    (OUT, {"layout": "hwc"}, "shape (any, any, 3)"),
    (
        OUT,
        {"interpolation": "cubic"},
        "interpolation is 'cubic'; it must be one of bilinear, triangle, box",
    ),
    (OUT, {"short_side": 9}, "short_side is 9; it is for resize 'centre_crop' only"),
    (OUT, {"short_side": -1, "resize": "centre_crop"}, "short_side is -1; it must lie in 0..65535"),
    (OUT, {"short_side": 3, "resize": "centre_crop"}, "outside its bounds"),
    (OUT, {"colour": "grey"}, "colour is 'grey'; it must be one of rgb, bgr"),
]


def test_bad_arguments_are_named() -> None:
    for out, options, message in _BAD_ARGUMENTS:
        with about(out, options, message):
            with pytest.raises(ValueError) as caught:
                letterbox(FRAME, out, **options)  # type: ignore[arg-type]
            assert message in str(caught.value)


def test_read_only_output_is_refused() -> None:
    out = np.zeros((3, 4, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        letterbox(FRAME, out)


def test_too_long_side_is_bad_input() -> None:
    frame = Frame(np.zeros(65536 * 3, np.uint8), 65536, 1, PixelFormat.RGB)
    with pytest.raises(BadInputError, match="at most 65535 pixels"):
        letterbox(frame, OUT)
