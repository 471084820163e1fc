# SPDX-License-Identifier: Apache-2.0
"""Masks in their boxes against whole masks in plain numpy, recorded Ultralytics and torchvision, and OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import BadInputError
from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.preprocess_ext import (
    CPU_LEVELS,
    MaskRegion,
    cpu_limit,
    letterbox,
    mask_contours,
    overlay_mask,
    paste_masks,
    prototype_masks,
    prototype_rles,
    rle_decode,
)
from tests.cases import about

PEERS = Path(__file__).resolve().parent / "data" / "peers"
FLOAT = np.float32


def letterbox_geometry(width: int, height: int, network: tuple[int, int]) -> np.ndarray:
    """As Ultralytics' LetterBox places a picture."""
    ratio = min(network[0] / width, network[1] / height)
    wide, high = max(1, round(width * ratio)), max(1, round(height * ratio))
    left, top = (max(0, round((network[i] - (wide, high)[i]) / 2 - 0.1)) for i in (0, 1))
    return np.array([1, width, height, wide / width, high / height, left, top], np.float32)


def crop_geometry(width: int, height: int, network: tuple[int, int]) -> np.ndarray:
    """Of the middle of a picture that is resized to cover the input: the pads are below 0."""
    out = np.empty((3, network[1], network[0]), np.float32)
    picture = Frame.from_rgb(np.zeros((height, width, 3), np.uint8))
    return letterbox(picture, out, resize="centre_crop").as_array()


def resized(rows: np.ndarray, outputs: int, cut: tuple[int, int] | None = None) -> np.ndarray:
    """Bilinear along the last axis, in float32, with the steps that masks.h names.

    cut: first sample and number of samples that are shown, perhaps more than there are; the edges repeat.
    """
    first, samples = cut or (0, rows.shape[-1])
    scale = FLOAT(samples) / FLOAT(outputs)
    at = scale * (np.arange(outputs).astype(np.float32) + FLOAT(0.5)) - FLOAT(0.5)
    at = np.maximum(at, FLOAT(0))
    low = np.minimum(at.astype(np.int64), samples - 1)
    weight = at - low.astype(np.float32)
    own = first + low
    inside = (own >= 0) & (own < rows.shape[-1])
    left = rows[..., own.clip(0, rows.shape[-1] - 1)]
    right = rows[..., (first + np.minimum(low + 1, samples - 1)).clip(0, rows.shape[-1] - 1)]
    return left + (right - left) * np.where(inside, weight, FLOAT(0))


def enlarged(
    image: np.ndarray, width: int, height: int, cut: tuple[tuple[int, int], tuple[int, int]] | None = None
) -> np.ndarray:
    """cut: along x and along y."""
    return resized(resized(image, width, cut and cut[0]).T, height, cut and cut[1]).T


def whole_logits(
    prototypes: np.ndarray, vector: np.ndarray, geometry: np.ndarray | None, network: tuple[int, int]
) -> np.ndarray:
    """Of every pixel of the frame: what the C core computes in the boxes alone."""
    logits = np.zeros(prototypes.shape[1:], np.float32)
    for weight, plane in zip(vector, prototypes, strict=True):
        logits = logits + weight * plane
    if geometry is None:
        return enlarged(logits, *network)
    cell = network[0] // prototypes.shape[2]
    width, height, left, top = (int(geometry[i]) for i in (1, 2, 5, 6))
    wide, high = round(width * float(geometry[3])), round(height * float(geometry[4]))
    step = int(np.gcd.reduce([cell, left, top, wide, high]))
    factor = cell // step
    if factor > 1:
        logits = enlarged(logits, logits.shape[1] * factor, logits.shape[0] * factor)
    if left < 0 or top < 0:
        return enlarged(logits, width, height, ((left // step, wide // step), (top // step, high // step)))
    picture = logits[top // step : (top + high) // step, left // step : (left + wide) // step]
    return enlarged(picture, width, height)


def cropped(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    x, y = np.arange(mask.shape[1]), np.arange(mask.shape[0])[:, None]
    return mask & (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])


def random_boxes(rng: np.random.Generator, count: int, width: int, height: int) -> np.ndarray:
    corners = rng.uniform(-0.2, 1.2, (count, 2, 2))
    corners.sort(axis=1)
    return (corners.reshape(count, 4) * [width, height, width, height]).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    cells=st.tuples(st.integers(1, 30), st.integers(1, 24)),
    cell=st.sampled_from([1, 2, 4, 8]),
    channels=st.integers(1, 40),
    placed=st.sampled_from([None, letterbox_geometry, crop_geometry]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_whole_mask_cropped(
    size: tuple[int, int], cells: tuple[int, int], cell: int, channels: int, placed: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    network = cells[0] * cell, cells[1] * cell
    geometry = placed(*size, network) if placed else None
    frame = size if placed else network
    prototypes = rng.standard_normal((channels, cells[1], cells[0])).astype(np.float32)
    coefficients = rng.standard_normal((3, channels)).astype(np.float32)
    boxes = random_boxes(rng, 3, *frame)
    boxes[0] = -1, -1, frame[0] + 1, frame[1] + 1
    want = [
        cropped(whole_logits(prototypes, vector, geometry, network) > 0, box)
        for vector, box in zip(coefficients, boxes, strict=True)
    ]
    for level in CPU_LEVELS:
        with cpu_limit(level):
            regions = prototype_masks(prototypes, coefficients, boxes, network, geometry)
            texts = prototype_rles(prototypes, coefficients, boxes, network, geometry)
        for region, text, mask in zip(regions, texts, want, strict=True):
            np.testing.assert_array_equal(region.to_frame(*frame), mask)
            np.testing.assert_array_equal(rle_decode(text, *frame), mask)


@pytest.mark.parametrize("name", ["640x640", "1280x720", "811x1080", "500x333", "123x77", "1281x719"])
def test_agrees_with_ultralytics(name: str) -> None:
    """Recorded process_mask_native and process_mask: a pixel may only differ where rounding decides its sign."""
    network = 320, 320
    recorded = np.load(PEERS / "masks_ultralytics.npz")
    prototypes = recorded["prototypes"].astype(np.float32)
    coefficients = recorded[f"{name}_coefficients"]
    width, height = (int(side) for side in name.split("x"))
    for kind, boxes, geometry in (
        ("native", recorded[f"{name}_boxes"], letterbox_geometry(width, height, network)),
        ("network", recorded[f"{name}_network_boxes"], None),
    ):
        frame = (width, height) if geometry is not None else network
        count = len(coefficients) * frame[0] * frame[1]
        peer = np.unpackbits(recorded[f"{name}_{kind}"], count=count).reshape(-1, frame[1], frame[0])
        regions = prototype_masks(prototypes, coefficients, boxes, network, geometry)
        ours = np.stack([region.to_frame(*frame) for region in regions])
        assert peer.any()
        for vector, mask, other in zip(coefficients, ours, peer, strict=True):
            differing = mask != other
            logits = whole_logits(prototypes, vector, geometry, network)
            assert np.abs(logits[differing]).max(initial=0) < 1e-4
        assert (ours & peer).sum() / (ours | peer).sum() > 0.9999


def test_pastes_as_torchvision() -> None:
    recorded = np.load(PEERS / "masks_torchvision.npz")
    masks, boxes = recorded["masks"], recorded["boxes"]
    width, height = recorded["size"].tolist()
    peer = np.unpackbits(recorded["pasted"], count=len(masks) * width * height).reshape(-1, height, width)
    for level in CPU_LEVELS:
        with cpu_limit(level):
            regions = paste_masks(masks, boxes, width, height)
        ours = np.stack([region.to_frame(width, height) for region in regions])
        assert (ours != peer).sum() <= 3  # rounding at the threshold
    assert peer.sum() > 10_000


def test_paste_threshold_and_empty() -> None:
    masks = np.full((2, 28, 28), 0.7, np.float32)
    boxes = np.array([[10, 10, 50, 30], [900, 900, 950, 950]], np.float32)
    low, outside = paste_masks(masks, boxes, 100, 60, threshold=0.6)
    assert low.to_array().any()
    assert (outside.width, outside.height) == (0, 0)
    assert not outside.to_frame(100, 60).any()
    assert not paste_masks(masks, boxes, 100, 60, threshold=0.7)[0].to_array().any()
    assert paste_masks(masks[:0], boxes[:0], 100, 60) == []


def test_no_objects() -> None:
    prototypes = np.zeros((4, 8, 8), np.float32)
    none = np.empty((0, 4), np.float32)
    assert prototype_masks(prototypes, none, none, (32, 32)) == []
    assert prototype_rles(prototypes, none, none, (32, 32)) == []


def test_nothing_finite_is_nothing_set() -> None:
    prototypes = np.full((2, 8, 8), np.nan, np.float32)
    boxes = np.array([[0, 0, 32, 32]], np.float32)
    region = prototype_masks(prototypes, np.ones((1, 2), np.float32), boxes, (32, 32))[0]
    assert (region.width, region.height) == (32, 32)
    assert not region.to_array().any()


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 150), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_region_keeps_its_pixels(width: int, height: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 3, (height, width)).astype(np.uint8)
    for level in CPU_LEVELS:
        with cpu_limit(level):
            region = MaskRegion.from_array(mask, 7, -3)
        np.testing.assert_array_equal(region.to_array(), mask > 0)
    np.testing.assert_array_equal(region.bits, MaskRegion.from_array(mask != 0).bits)
    frame = region.to_frame(60, 40)
    part = (mask > 0)[3:43, :53]
    assert frame.sum() == part.sum()
    np.testing.assert_array_equal(frame[: part.shape[0], 7 : 7 + part.shape[1]], part)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 90), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_contours_equal_opencv(width: int, height: int, density: float, seed: int) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < density).astype(np.uint8)
    found = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(11, -5))[0]
    want = [contour[:, 0].tolist() for contour in reversed(found)]  # OpenCV lists the last found first
    assert [part.tolist() for part in mask_contours(MaskRegion.from_array(mask, 11, -5))] == want


def test_contours_of_nothing_and_of_much() -> None:
    assert mask_contours(MaskRegion.from_array(np.zeros((5, 5), np.uint8))) == []
    assert mask_contours(MaskRegion(0, 0, 0, 0, np.empty((0, 0), np.uint64))) == []
    dots = np.zeros((100, 200), np.uint8)
    dots[::2, ::2] = 1
    assert len(mask_contours(MaskRegion.from_array(dots))) == 5000


@pytest.mark.parametrize("order", [PixelFormat.RGB, PixelFormat.BGR])
def test_overlay_of_packed_pixels(order: PixelFormat) -> None:
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)
    mask = rng.integers(0, 2, (60, 90)).astype(np.uint8)
    region, colour, alpha = MaskRegion.from_array(mask, -10, 5), (250, 3, 77), 0.3
    frame = Frame(image.reshape(-1).copy(), 70, 50, order)
    overlay_mask(frame, region, colour, alpha)
    share = round(alpha * 256)
    levels = np.array(colour if order == PixelFormat.RGB else colour[::-1])
    blended = (image.astype(int) * (256 - share) + levels * share + 128) // 256
    want = np.where(region.to_frame(70, 50)[..., None] == 1, blended, image)
    np.testing.assert_array_equal(frame.data.reshape(50, 70, 3), want)


@pytest.mark.parametrize("pixel_format", [PixelFormat.I420, PixelFormat.NV12])
@pytest.mark.parametrize("colour_space", list(ColourSpace))
def test_overlay_of_yuv(pixel_format: PixelFormat, colour_space: ColourSpace) -> None:
    """A full cover turns a grey picture into the colour where the mask is, and leaves the rest."""
    width, height = 31, 21
    luma, chroma = width * height, 16 * 11
    data = np.full(luma + 2 * chroma, 128, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[4:20, 6:31] = 1
    overlay_mask(
        Frame(data, width, height, pixel_format, colour_space),
        MaskRegion.from_array(mask),
        (200, 40, 90),
        1.0,
    )
    red, blue = (
        (0.2126, 0.0722)
        if colour_space in (ColourSpace.BT709_LIMITED, ColourSpace.BT709_FULL)
        else (0.299, 0.114)
    )
    full = colour_space in (ColourSpace.BT601_FULL, ColourSpace.BT709_FULL)
    y = red * 200 + (1 - red - blue) * 40 + blue * 90
    u, v = (90 - y) / (2 * (1 - blue)), (200 - y) / (2 * (1 - red))
    want_y = y if full else 16 + y * 219 / 255
    want_u, want_v = (128 + part * (1 if full else 224 / 255) for part in (u, v))
    picture = data[:luma].reshape(height, width)
    assert (picture[mask == 0] == 128).all()
    assert np.abs(picture[mask == 1] - want_y).max() <= 0.5001
    planes = data[luma:].reshape(2, 11, 16) if pixel_format == PixelFormat.I420 else None
    planes = data[luma:].reshape(11, 16, 2).transpose(2, 0, 1) if planes is None else planes
    inside = np.zeros((11, 16), bool)
    inside[2:10, 3:16] = True
    assert np.abs(planes[0][inside] - want_u).max() <= 0.5001
    assert np.abs(planes[1][inside] - want_v).max() <= 0.5001
    assert (planes[:, ~inside] == 128).all()


PROTOTYPES = np.zeros((4, 8, 8), np.float32)
VECTORS = np.zeros((1, 4), np.float32)
BOX = np.array([[0, 0, 9, 9]], np.float32)
GEOMETRY = letterbox_geometry(64, 64, (32, 32))


_REFUSED = [
    ((PROTOTYPES[0], VECTORS, BOX, (32, 32)), "prototypes"),
    ((PROTOTYPES[:0], VECTORS, BOX, (32, 32)), "prototypes has shape"),
    ((PROTOTYPES.astype(np.float64), VECTORS, BOX, (32, 32)), "float32"),
    ((PROTOTYPES, VECTORS[:, :3], BOX, (32, 32)), "coefficients"),
    ((PROTOTYPES, VECTORS, BOX[:, :3], (32, 32)), "boxes"),
    ((PROTOTYPES, VECTORS, BOX[:0], (32, 32)), "boxes"),
    ((PROTOTYPES, VECTORS, np.full_like(BOX, np.nan), (32, 32)), "not finite"),
    ((PROTOTYPES, VECTORS, BOX, (0, 32)), "frame is 0x32"),
    ((PROTOTYPES, VECTORS, BOX, (32, 30), GEOMETRY), "multiple"),
    ((PROTOTYPES, VECTORS, BOX, (32, 32), GEOMETRY * 0), "geometry"),
    ((PROTOTYPES, VECTORS, BOX, (32, 32), GEOMETRY[:6]), "geometry"),
]


def test_refuses() -> None:
    for arguments, message in _REFUSED:
        with about(arguments, message):
            for call in (prototype_masks, prototype_rles):
                with pytest.raises(ValueError, match=message):
                    call(*arguments)


def test_paste_refuses() -> None:
    masks = np.zeros((1, 28, 28), np.float32)
    for boxes, size in ((np.full_like(BOX, np.inf), (9, 9)), (BOX * np.float32(1e9), (9, 9)), (BOX, (0, 9))):
        with pytest.raises(ValueError):
            paste_masks(masks, boxes, *size)
    with pytest.raises(ValueError, match="threshold"):
        paste_masks(masks, BOX, 9, 9, threshold=float("nan"))
    with pytest.raises(ValueError, match="masks has shape"):
        paste_masks(masks[:, :0], BOX, 9, 9)


def test_regions_and_overlays_refuse() -> None:
    region = MaskRegion.from_array(np.ones((4, 4), np.uint8))
    frame = Frame(np.zeros(48, np.uint8), 4, 4, PixelFormat.RGB)
    for broken in (region._replace(width=65), region._replace(height=-1), region._replace(x=1 << 40)):
        with pytest.raises(ValueError):
            mask_contours(broken)
        with pytest.raises(ValueError):
            overlay_mask(frame, broken, (1, 2, 3))
    with pytest.raises(ValueError, match="colour"):
        overlay_mask(frame, region, (1, 2, 256))
    with pytest.raises(ValueError, match="alpha"):
        overlay_mask(frame, region, (1, 2, 3), 1.5)
    with pytest.raises(ValueError, match="mask is"):
        MaskRegion.from_array(np.ones((4, 4), np.float32))  # type: ignore[arg-type]
    frame.data.flags.writeable = False
    with pytest.raises(BadInputError, match="read-only"):
        overlay_mask(frame, region, (1, 2, 3))
