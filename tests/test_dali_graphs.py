# SPDX-License-Identifier: Apache-2.0
"""The DALI graphs on CPU operators against the C core: the same geometry, levels of 255 within a quarter.

The promise is 2 levels. What is left are DALI's float32 positions: most where noise is reduced much. Sizes beyond 10,000
pixels a side, where those are coarser, get the 2 levels.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sightline.builders.stages.images import decode_image
from sightline.card import InputSpec
from sightline.errors import BadInputError
from sightline.frame import ColourSpace, Frame, PixelFormat, frame_bytes
from sightline.preprocess_ext import letterbox
from sightline.preprocess_ext.dali import DaliPictures
from sightline.scenes import Scene
from tests.needs import needs

needs("nvidia.dali")

LEVELS, LEVELS_OF_LONG = 0.25, 2.0
RESIZES = ("letterbox", "stretch", "corner", "crop")
FILTERS = ("bilinear", "triangle", "box")
SIZES = (
    (96, 64), (97, 65), (95, 63), (191, 127), (200, 140), (333, 77), (37, 61), (61, 37), (640, 360),
    (1, 1), (1, 50), (50, 1), (2, 2), (700, 3), (3, 700),
)  # fmt: skip
CORE_RESIZE = {"corner": "letterbox_corner", "crop": "centre_crop"}


def by_core(frame: Frame, spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """TENSOR and GEOMETRY of the C core."""
    out = np.empty((3, spec.size[1], spec.size[0]), np.float32)
    geometry = letterbox(
        frame,
        out,
        mean=spec.mean,
        std=spec.std,
        resize=CORE_RESIZE.get(spec.resize, spec.resize),  # type: ignore[arg-type]
        colour=spec.colour,
        pad_value=spec.pad,
        interpolation=spec.filter,
        short_side=spec.short_side or 0,
    )
    return out, geometry.as_array()


def assert_same(frames: Sequence[Frame], tensors: Any, geometry: Any, spec: InputSpec, levels: float) -> None:
    differences = []
    for frame, tensor, fit in zip(frames, tensors, geometry, strict=True):
        wanted, wanted_fit = by_core(frame, spec)
        what = f"{frame.width}x{frame.height} {frame.pixel_format.name} {frame.colour.name} {spec}"
        assert fit.tobytes() == wanted_fit.tobytes(), f"GEOMETRY {fit} must be {wanted_fit}: {what}"
        difference = np.abs(tensor.astype(np.float64) - wanted) * np.array(spec.std)[:, None, None]
        assert difference.max() <= levels, f"{difference.max()} levels: {what}"
        differences.append(difference.ravel())
    every = np.concatenate(differences)
    print(
        f"{spec.filter} {spec.resize}: max {every.max():.4f}, mean {every.mean():.5f}, "
        f"above 1: {np.mean(every > 1):.2%} of {every.size} values"
    )


def noise(rng: np.random.Generator, sizes: Sequence[tuple[int, int]]) -> list[Frame]:
    """A frame of noise for each size; formats and colour spaces take turns; a few bytes too many."""
    kinds = itertools.cycle(itertools.product(PixelFormat, ColourSpace))
    frames = []
    for (width, height), (kind, colour) in zip(sizes, kinds, strict=False):
        data = rng.integers(0, 256, frame_bytes(width, height, kind) + 5, np.uint8)
        frames.append(Frame(data, width, height, kind, colour))
    return frames


@lru_cache(maxsize=4)
def scene(width: int, height: int, kind: PixelFormat = PixelFormat.RGB) -> Frame:
    picture, _ = Scene(3, size=(width, height)).frame(2.0)
    return Frame.from_rgb(picture) if kind is PixelFormat.RGB else Frame.from_rgb(picture[..., ::-1].copy())


@pytest.mark.parametrize(
    ("resize", "kernel"),
    [
        *itertools.product(RESIZES, ("bilinear", "triangle")),
        ("letterbox", "box"),  # slow; the geometry is the same code for all kernels
        ("crop", "box"),
    ],
)
def test_frames_of_all_sizes_and_formats(resize: Any, kernel: Any) -> None:
    spec = InputSpec(size=(96, 64), resize=resize, filter=kernel, mean=(10, 20, 30), std=(50, 60, 70))
    frames = noise(np.random.default_rng(0), SIZES)
    tensors, geometry = DaliPictures(spec.model_dump(), "letterbox", batch=len(frames)).frames(frames)
    assert tensors.shape == (len(frames), 3, 64, 96)
    assert_same(frames, tensors, geometry, spec, LEVELS)


@pytest.mark.parametrize("kind", PixelFormat)
def test_every_colour_space_in_both_orders(kind: PixelFormat) -> None:
    rng = np.random.default_rng(1)
    for order in ("rgb", "bgr"):
        spec = InputSpec(size=(33, 47), colour=order, mean=(1, 2, 3), std=(4, 5, 6), pad=7.5)
        frames = [
            Frame(rng.integers(0, 256, frame_bytes(61, 45, kind), np.uint8), 61, 45, kind, colour)
            for colour in ColourSpace
        ]
        tensors, geometry = DaliPictures(spec.model_dump(), "letterbox", batch=4).frames(frames)
        assert_same(frames, tensors, geometry, spec, LEVELS)


@pytest.mark.parametrize("kernel", FILTERS)
def test_drawn_scenes(kernel: Any) -> None:
    spec = InputSpec(size=(160, 160), filter=kernel)
    frames = [scene(321, 183), scene(161, 123, PixelFormat.BGR)]
    tensors, geometry = DaliPictures(spec.model_dump(), "letterbox").frames(frames)
    assert_same(frames, tensors, geometry, spec, LEVELS)


@pytest.mark.parametrize(("kernel", "short_side"), [("bilinear", 257), ("triangle", 64), ("triangle", 100)])
def test_short_side(kernel: Any, short_side: int) -> None:
    spec = InputSpec(size=(64, 64), resize="crop", short_side=short_side, filter=kernel)
    frames = noise(np.random.default_rng(2), SIZES)
    tensors, geometry = DaliPictures(spec.model_dump(), "letterbox", batch=len(frames)).frames(frames)
    assert_same(frames, tensors, geometry, spec, LEVELS)


@pytest.mark.parametrize(("kernel", "resizes"), [("bilinear", RESIZES), ("triangle", ("letterbox", "crop"))])
def test_long_pictures(kernel: Any, resizes: Sequence[Any]) -> None:
    rng = np.random.default_rng(3)
    for resize in resizes:
        spec = InputSpec(size=(96, 64), resize=resize, filter=kernel)
        frames = noise(rng, [(12_001, 5), (5, 12_001), (65_535, 2), (2, 65_535)])
        tensors, geometry = DaliPictures(spec.model_dump(), "letterbox", batch=4).frames(frames)
        assert_same(frames, tensors, geometry, spec, LEVELS_OF_LONG)


def test_geometry_of_a_thousand_sizes() -> None:
    """Roundings and ties: the geometry has the core's bits, whatever the size."""
    rng = np.random.default_rng(4)
    sizes = [(int(w), int(h)) for w, h in rng.integers(1, 90, (1000, 2))]
    frames = [Frame(np.zeros(w * h * 3, np.uint8), w, h, PixelFormat.RGB) for w, h in sizes]
    for resize in ("letterbox", "crop"):
        spec = InputSpec(size=(23, 16), resize=resize)
        pictures = DaliPictures(spec.model_dump(), "letterbox", batch=1000)
        _, geometry = pictures.frames(frames)
        for frame, fit in zip(frames, geometry, strict=True):
            assert fit.tobytes() == by_core(frame, spec)[1].tobytes(), (frame.width, frame.height, resize)


BAD_INFOS = (
    (0, 1, 2, 0), (1, -1, 2, 0), (2**31 - 1, 2**31 - 1, 0, 0), (-(2**31), -(2**31), 1, 3), (9, 9, 4, 0), (9, 9, -1, 0),
    (9, 9, 0, 4), (9, 9, 0, -1), (65_536, 1, 2, 0), (8000, 8000, 0, 0), (50, 50, 2, 0),
)  # fmt: skip


@pytest.mark.parametrize("kernel", ["bilinear", "triangle"])
def test_a_bad_frame_has_no_geometry_and_the_others_are_right(kernel: Any) -> None:
    spec = InputSpec(size=(32, 32), filter=kernel)
    good = noise(np.random.default_rng(5), [(40, 30)])[0]
    pictures = DaliPictures(spec.model_dump(), "letterbox", batch=2 * len(BAD_INFOS))
    datas = [part for _ in BAD_INFOS for part in (np.full(200, 9, np.uint8), good.data)]
    infos = [part for info in BAD_INFOS for part in (np.array(info, np.int64).astype(np.int32), good.info)]
    tensors, geometry = pictures.packed(datas, infos)
    assert not geometry[::2].any()
    assert np.isfinite(tensors).all()
    assert_same([good] * len(BAD_INFOS), tensors[1::2], geometry[1::2], spec, LEVELS)


def test_a_crop_that_does_not_cover_is_not_valid() -> None:
    spec = InputSpec(size=(64, 32), resize="crop", short_side=32)
    pictures = DaliPictures(spec.model_dump(), "letterbox")
    upright, wide = (
        Frame(np.zeros(3 * 800, np.uint8), *size, PixelFormat.RGB) for size in ((20, 40), (40, 20))
    )
    _, geometry = pictures.frames([upright, wide])
    assert geometry[:, 0].tolist() == [0, 1]


def pictures_of_all_kinds() -> Iterator[tuple[str, bytes]]:
    """Drawn pictures as files without transparency."""
    image = Image.fromarray(scene(321, 183).data.reshape(183, 321, 3))
    options: list[tuple[str, str, dict[str, Any]]] = [
        ("JPEG", "RGB", {"subsampling": 0}),
        ("JPEG", "RGB", {"subsampling": 1}),
        ("JPEG", "RGB", {"subsampling": 2, "progressive": True}),
        ("JPEG", "L", {}),
        ("PNG", "RGB", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
    ]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options.append(("JPEG", "RGB", {"exif": exif}))
    for file_format, mode, extra in options:
        file = io.BytesIO()
        image.convert(mode).save(file, file_format, **extra)
        yield f"{file_format} {mode} {extra}", file.getvalue()


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_files_zero_padded_in_one_batch(colour: Any) -> None:
    """As a client sends them: one array, as wide as the longest file."""
    spec = InputSpec(size=(160, 160), colour=colour)
    files = [data for _, data in pictures_of_all_kinds()]
    batch = np.zeros((len(files), max(map(len, files)) + 100), np.uint8)
    for row, data in zip(batch, files, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    tensors, geometry = DaliPictures(spec.model_dump(), "decode", batch=len(files)).files(list(batch))
    decoded = [Frame.from_rgb(decode_image(data).pixels) for data in files]
    assert_same(decoded, tensors, geometry, spec, LEVELS)


def test_files_of_different_lengths_and_the_valid_flag() -> None:
    """As Triton merges requests: each sample has its own length."""
    spec = InputSpec(size=(64, 64))
    files = [np.frombuffer(data, np.uint8) for _, data in itertools.islice(pictures_of_all_kinds(), 4)]
    pictures = DaliPictures(spec.model_dump(), "decode", batch=8, threads=2)
    _, geometry = pictures.files(files, [True, False, True, False])
    assert geometry[:, 0].tolist() == [1, 0, 1, 0]
    assert not geometry[1].any()
    alone, _ = pictures.files(files[2:3])
    together, _ = pictures.files(files)
    assert together[2].tobytes() == alone[0].tobytes()


def test_dali_fails_a_whole_batch_and_works_again() -> None:
    """Why the stage `check` exists."""
    spec = InputSpec(size=(64, 64))
    good = np.frombuffer(next(pictures_of_all_kinds())[1], np.uint8)
    pictures = DaliPictures(spec.model_dump(), "decode")
    for bad in (good[: len(good) // 2], np.zeros(9, np.uint8)):
        with pytest.raises(BadInputError, match="DALI cannot read a picture of this batch"):
            pictures.files([good, bad])
        assert pictures.files([good])[1][0, 0] == 1


def test_too_many_items() -> None:
    pictures = DaliPictures(InputSpec(size=(8, 8)).model_dump(), "letterbox", batch=1)
    with pytest.raises(ValueError, match=r"there are 2 items; there must be 1\.\.1"):
        pictures.frames(noise(np.random.default_rng(0), SIZES[:2]))
