# SPDX-License-Identifier: Apache-2.0
"""Run lengths: byte for byte those of pycocotools, and damaged texts are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from sightline.preprocess_ext import (
    CPU_LEVELS,
    MaskRegion,
    cpu_limit,
    rle_area,
    rle_box,
    rle_counts,
    rle_decode,
    rle_encode,
    rle_encode_region,
    rle_iou,
    rle_merge,
)

sizes = st.tuples(st.integers(1, 200), st.integers(1, 140))
seeds = st.integers(0, 2**32 - 1)


def coco_text(mask: np.ndarray) -> bytes:
    text: bytes = coco.encode(np.asfortranarray(mask))["counts"]
    return text


def coco_masks(texts: list[bytes], width: int, height: int) -> list[dict[str, Any]]:
    return [{"size": [height, width], "counts": text} for text in texts]


def random_mask(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise, or rectangles with noise: long runs, runs over many columns, and short ones."""
    mask = (rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 1])).astype(np.uint8)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.integers(0, width), rng.integers(0, height)
        mask[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width + 1)] ^= 1
    return mask


@settings(max_examples=150, deadline=None)
@given(sizes, seeds)
def test_encode_and_decode_as_pycocotools(size: tuple[int, int], seed: int) -> None:
    mask = random_mask(np.random.default_rng(seed), *size)
    want = coco_text(mask)
    for level in CPU_LEVELS:
        with cpu_limit(level):
            assert rle_encode(mask) == want
            np.testing.assert_array_equal(rle_decode(want, *size), mask)
    assert rle_encode(mask.astype(bool)) == rle_encode(mask[:, ::-1][:, ::-1]) == want
    assert rle_area(want, *size) == mask.sum()
    counts = rle_counts(want, *size)
    assert (
        coco.frPyObjects({"size": list(size[::-1]), "counts": counts.tolist()}, *size[::-1])["counts"] == want
    )


@settings(max_examples=150, deadline=None)
@given(sizes, seeds, st.booleans(), st.booleans())
def test_regions_as_pycocotools(size: tuple[int, int], seed: int, whole_columns: bool, all_set: bool) -> None:
    """Straight from a region: also one that fills whole columns, whose runs go on in the next."""
    rng = np.random.default_rng(seed)
    width, height = size
    x, y = int(rng.integers(0, width)), 0 if whole_columns else int(rng.integers(0, height))
    shape = (
        height if whole_columns else int(rng.integers(0, height - y + 1)),
        int(rng.integers(0, width - x + 1)),
    )
    part = np.ones(shape, np.uint8) if all_set else (rng.random(shape) < 0.7).astype(np.uint8)
    frame = np.zeros((height, width), np.uint8)
    frame[y : y + shape[0], x : x + shape[1]] = part
    for level in CPU_LEVELS:
        with cpu_limit(level):
            text = rle_encode_region(MaskRegion.from_array(part, x, y), width, height)
        assert text == coco_text(frame)
    assert list(rle_box(text, width, height)) == coco.toBbox(coco_masks([text], width, height))[0].tolist()


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), seeds)
def test_overlap_and_union_as_pycocotools(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts = [coco_text(random_mask(rng, *size)) for _ in range(5)]
    masks = coco_masks(texts, *size)
    for crowd in ([False] * 3, [True, False, True]):
        want = coco.iou(masks[:2], masks[2:], crowd)
        np.testing.assert_array_equal(rle_iou(texts[:2], texts[2:], *size, crowd), want)
    assert rle_merge(texts, *size) == coco.merge(masks)["counts"]
    assert rle_merge(texts[:2], *size, intersect=True) == coco.merge(masks[:2], True)["counts"]
    assert rle_iou([], texts, *size).shape == (0, 5)


def test_worst_cases() -> None:
    for mask in (np.indices((120, 130)).sum(0) % 2, np.zeros((1, 1)), np.ones((1, 1)), np.ones((700, 900))):
        assert rle_encode(mask.astype(np.uint8)) == coco_text(mask.astype(np.uint8))
    edge = np.zeros((65535, 40), np.uint8)
    edge[::7919, ::3] = 1
    assert rle_encode(edge) == coco_text(edge)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=40), st.integers(1, 30), st.integers(1, 30))
@example(b"T3", 10, 10)
@example(b"oooooooo", 10, 10)
def test_texts_from_anywhere(text: bytes, width: int, height: int) -> None:
    """Refused, or a mask of the frame."""
    try:
        mask = rle_decode(text, width, height)
    except ValueError:
        return
    assert mask.shape == (height, width)
    assert rle_area(text, width, height) == mask.sum()


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_damaged_texts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = bytearray(coco_text(random_mask(rng, 40, 30)))
    text[rng.integers(0, len(text))] = rng.integers(48, 112)
    try:
        counts = rle_counts(bytes(text), 40, 30)
    except ValueError:
        return
    assert counts.sum() == 1200


def test_refuses() -> None:
    text = coco_text(np.ones((4, 5), np.uint8))
    with pytest.raises(ValueError, match="empty"):
        rle_counts(b"", 5, 4)
    with pytest.raises(ValueError, match="not those of 5x5"):
        rle_decode(text, 5, 5)
    with pytest.raises(ValueError, match="frame is 0x4"):
        rle_decode(text, 0, 4)
    with pytest.raises(ValueError, match="frame is 0x4"):
        rle_encode(np.empty((4, 0), np.uint8))
    with pytest.raises(ValueError, match="no masks"):
        rle_merge([], 5, 4)
    with pytest.raises(ValueError, match="crowd"):
        rle_iou([text], [text], 5, 4, [True, False])
    with pytest.raises(ValueError, match="inside the frame"):
        rle_encode_region(MaskRegion.from_array(np.ones((4, 4), np.uint8), 2, 0), 5, 4)
    with pytest.raises(ValueError, match="mask is"):
        rle_encode(np.ones((4, 4, 3), np.uint8))
