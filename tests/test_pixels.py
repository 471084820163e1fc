# SPDX-License-Identifier: Apache-2.0
"""Types, layouts, filters and crops of the letterbox, against numpy, OpenCV and Pillow; the geometry's inverse."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import preprocess_references as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.preprocess_ext import CPU_LEVELS, Geometry, cpu_limit, letterbox
from tests.cases import about

SIZES = [(200, 100), (320, 180), (643, 361), (643, 100), (31, 361), (96, 40)]
IMAGE = np.random.default_rng(4).integers(0, 256, (361, 643, 3), dtype=np.uint8)


def floats(frame: Frame, size: tuple[int, int], **options: object) -> np.ndarray:
    out = np.full((3, size[1], size[0]), np.nan, np.float32)
    letterbox(frame, out, **options)  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_types_and_layouts_are_the_floats_rounded(pixel_format: PixelFormat, dtype: type[np.generic]) -> None:
    for resize, order in product(["letterbox", "letterbox_corner", "stretch", "centre_crop"], ["rgb", "bgr"]):
        with about(order, resize):
            frame = reference.random_frame(np.random.default_rng(7), 151, 83, pixel_format)
            options = {"resize": resize, "colour": order, "mean": (1, 2, 3), "std": (1, 1.5, 0.9)}
            plain = floats(frame, (67, 61), **options)
            wanted = (
                np.rint(plain).clip(0, 255).astype(np.uint8) if dtype is np.uint8 else plain.astype(dtype)
            )
            planes, pixels = np.empty((3, 61, 67), dtype), np.empty((61, 67, 3), dtype)
            fits = [
                letterbox(frame, out, layout=layout, **options)
                for out, layout in ((planes, "chw"), (pixels, "hwc"))
            ]  # type: ignore
            np.testing.assert_array_equal(planes, wanted)
            np.testing.assert_array_equal(pixels, np.moveaxis(wanted, 0, 2))
            assert fits[0] == fits[1]


@pytest.mark.parametrize("size", SIZES)
def test_triangle_is_pillows_bilinear(size: tuple[int, int]) -> None:
    """Pillow rounds to 8 bits after each of its two passes: half a level each."""
    out = floats(Frame.from_rgb(IMAGE), size, resize="stretch", interpolation="triangle", std=(1, 1, 1))
    wanted = np.asarray(Image.fromarray(IMAGE).resize(size, Image.Resampling.BILINEAR))
    np.testing.assert_allclose(np.moveaxis(out, 0, 2), wanted, atol=1.0)


@pytest.mark.parametrize("size", SIZES)
def test_box_is_opencvs_area(size: tuple[int, int]) -> None:
    out = floats(Frame.from_rgb(IMAGE), size, resize="stretch", interpolation="box", std=(1, 1, 1))
    wanted = cv2.resize(IMAGE.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(np.moveaxis(out, 0, 2), wanted, atol=0.01)


@pytest.mark.parametrize("interpolation", ["triangle", "box"])
@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_antialiased_filters_keep_a_plain_colour_and_are_bilinear_when_enlarging(
    pixel_format: PixelFormat, interpolation: str
) -> None:
    frame = reference.random_frame(np.random.default_rng(8), 41, 23, pixel_format)
    larger = [
        floats(frame, (97, 61), resize="stretch", interpolation=name) for name in ("bilinear", interpolation)
    ]
    np.testing.assert_allclose(larger[1], larger[0], atol=1e-4)
    plain = Frame(np.full_like(frame.data, 77), 41, 23, pixel_format, ColourSpace.BT601_FULL)
    small = floats(plain, (9, 7), resize="stretch", interpolation=interpolation, std=(1, 1, 1))
    np.testing.assert_allclose(small, np.broadcast_to(small[:, :1, :1], small.shape), atol=1e-3)


@pytest.mark.parametrize("interpolation", ["triangle", "box"])
def test_antialiased_yuv_is_filtered_plane_by_plane(interpolation: str) -> None:
    rng = np.random.default_rng(9)
    frame = reference.random_frame(rng, 120, 80, PixelFormat.I420, ColourSpace.BT709_FULL)
    luma, chroma = frame.data[:9600].reshape(80, 120), frame.data[9600:].reshape(2, 40, 60)

    def sized(plane: np.ndarray) -> np.ndarray:
        packed = np.ascontiguousarray(np.repeat(plane[..., None], 3, axis=2))
        kept = floats(
            Frame.from_rgb(packed), (30, 16), resize="stretch", interpolation=interpolation, std=(1, 1, 1)
        )
        return kept[0].astype(np.float64)

    yuv = np.stack([sized(luma), sized(chroma[0]), sized(chroma[1])], axis=-1)
    wanted = np.moveaxis(reference.rgb_from_yuv(yuv, ColourSpace.BT709_FULL), 2, 0)
    out = floats(frame, (30, 16), resize="stretch", interpolation=interpolation, std=(1, 1, 1))
    np.testing.assert_allclose(out, wanted, atol=0.01)


@pytest.mark.parametrize("source", [(640, 480), (480, 640), (501, 333), (300, 300), (1280, 720)])
def test_centre_crop_as_torchvision(source: tuple[int, int]) -> None:
    """Resize(256) and CenterCrop(224) by its published arithmetic, the pixels by Pillow's resize."""
    image = np.random.default_rng(5).integers(0, 256, (source[1], source[0], 3), dtype=np.uint8)
    short, long = min(source), max(source)
    resized = (256, 256 * long // short) if source[0] <= source[1] else (256 * long // short, 256)
    left, top = (round((side - 224) / 2.0) for side in resized)
    whole = np.asarray(Image.fromarray(image).resize(resized, Image.Resampling.BILINEAR))
    out = np.empty((224, 224, 3), np.uint8)
    fit = letterbox(
        Frame.from_rgb(image),
        out,
        resize="centre_crop",
        short_side=256,
        interpolation="triangle",
        layout="hwc",
        std=(1, 1, 1),
    )
    assert (fit.pad_left, fit.pad_top) == (-left, -top)
    wanted = whole[top : top + 224, left : left + 224].astype(int)
    np.testing.assert_allclose(out.astype(int), wanted, atol=1)


@settings(max_examples=60, deadline=None)
@given(
    source=st.tuples(st.integers(1, 300), st.integers(1, 90)),
    network=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    pixel_format=st.sampled_from(PixelFormat),
    resize=st.sampled_from(["letterbox", "letterbox_corner", "stretch", "centre_crop"]),
    interpolation=st.sampled_from(["bilinear", "bilinear", "triangle", "box"]),
    dtype=st.sampled_from([np.float32, np.float16, np.uint8]),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_level_gives_the_same_bits(
    source: tuple[int, int],
    network: tuple[int, int],
    pixel_format: PixelFormat,
    resize: str,
    interpolation: str,
    dtype: type[np.generic],
    seed: int,
) -> None:
    frame = reference.random_frame(np.random.default_rng(seed), *source, pixel_format)
    told = []
    for level in CPU_LEVELS:
        out = np.zeros((3, network[1], network[0]), dtype)
        with cpu_limit(level):
            letterbox(frame, out, resize=resize, interpolation=interpolation, mean=(3, -2, 1))  # type: ignore[arg-type]
        told.append(out.tobytes())
    assert len(set(told)) == 1


@settings(max_examples=60, deadline=None)
@given(
    source=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    resize=st.sampled_from(["letterbox", "letterbox_corner", "stretch"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_inverse_of_the_geometry(source: tuple[int, int], resize: str, seed: int) -> None:
    width, height, left, top = reference.fit(source, (640, 480), resize)
    fit = Geometry(*source, width / source[0], height / source[1], left, top)
    corners = np.random.default_rng(seed).uniform(0, 1, (5, 2, 2)) * source
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
    there = fit.boxes_to_network(boxes)
    scale, pad = np.array([fit.scale_x, fit.scale_y] * 2), np.array([left, top] * 2)
    np.testing.assert_allclose(there, boxes * scale + pad, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(
        fit.boxes_to_source(there), boxes, atol=0.01 * max(1 / fit.scale_x, 1 / fit.scale_y)
    )
    np.testing.assert_allclose(fit.points_to_source(there[:, :2]), fit.boxes_to_source(there)[:, :2])


def test_inverse_clips_and_keeps_confidence() -> None:
    fit = Geometry(100, 50, 2.0, 2.0, 10, 20)
    np.testing.assert_array_equal(fit.boxes_to_source([[-5, 0, 1e9, 40]]), [[0, 0, 100, 10]])
    np.testing.assert_array_equal(
        fit.points_to_source([[30, 40, 0.9], [0, 0, 0.1]]), np.float32([[10, 10, 0.9], [0, 0, 0.1]])
    )
    assert fit.boxes_to_source(np.zeros((0, 4))).shape == (0, 4)
    assert fit.points_to_source(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("fit", "boxes", "message"),
    [
        (Geometry(9, 9, 1, 1, 0, 0), np.zeros((2, 3)), "must be \\(N, 4\\)"),
        (Geometry(9, 9, 1, 1, 0, 0), np.zeros((2, 5)), "must be \\(N, 4\\)"),
        (Geometry(9, 9, 0, 1, 0, 0), np.zeros((2, 4)), "cannot be inverted"),
        (Geometry(9, 9, float("nan"), 1, 0, 0), np.zeros((2, 4)), "cannot be inverted"),
    ],
)
def test_bad_geometry_and_shapes(fit: Geometry, boxes: np.ndarray, message: str) -> None:
    for call in (fit.boxes_to_source, fit.boxes_to_network):
        with pytest.raises(ValueError, match=message):
            call(boxes)
