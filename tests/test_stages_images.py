# SPDX-License-Identifier: Apache-2.0
"""Encoded pictures that nobody vouches for: right pixels, or BadInputError, in bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sightline.builders.stages.images import Target, decode_image, target_of
from sightline.builders.stages.wire import letterbox_arguments
from sightline.errors import BadInputError
from sightline.frame import Frame
from sightline.pixels import BACKGROUND_LEVEL
from sightline.preprocess_ext import letterbox
from tests.cases import about

RED, GREEN = (200, 30, 40), (20, 180, 60)
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")
LARGE_MODES = ("RGBA", "P", "I;16")


def picture(width: int = 60, height: int = 40) -> Image.Image:
    """Left half red, right half green."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, GREEN
    return Image.fromarray(pixels)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png_bomb(width: int, height: int) -> bytes:
    """A small PNG that claims, and holds, this many black grey-level pixels."""
    packer = zlib.compressobj(1)
    row = bytes(1 + width)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, content)
        for kind, content in (
            (b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"),
            (b"IDAT", data),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def assert_red_and_green(pixels: NDArray[np.uint8], tolerance: int = 6) -> None:
    height, width = pixels.shape[:2]
    left, right = pixels[height // 2, width // 8].astype(int), pixels[height // 2, -width // 8].astype(int)
    assert np.abs(left - RED).max() <= tolerance, left
    assert np.abs(right - GREEN).max() <= tolerance, right


# ---------------------------------------------------------------- good pictures of every kind


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 95}),
    ],
)
def test_zeros_behind_a_file_are_ignored(file_format: str, options: dict[str, Any]) -> None:
    for padding in [0, 1, 1000]:
        with about(padding):
            data = np.frombuffer(encoded(picture(), file_format, **options) + bytes(padding), np.uint8)
            image = decode_image(data)
            assert (image.width, image.height, image.factor, image.pixels.shape) == (60, 40, 1, (40, 60, 3))
            assert_red_and_green(image.pixels)


@pytest.mark.parametrize(
    "options", [{"quality": 80}, {"quality": 100}, {"lossless": True}, {"quality": 9, "exif": bytes(900)}]
)
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (1600, 1200)])
def test_a_flat_webp_that_ends_in_zeros_is_whole(size: tuple[int, int], options: dict[str, Any]) -> None:
    data = encoded(Image.new("RGB", size, (255, 255, 255)), "WEBP", **options)
    image = decode_image(data + bytes(3), target=Target(384, 224))
    assert image.pixels.min() >= 250


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("target", [None, Target(15, 10)])
def test_exif_turns_the_picture_upright(file_format: str, target: Target | None) -> None:
    for orientation in range(1, 9):
        with about(orientation):
            back = {
                2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
                5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
                8: Image.Transpose.ROTATE_270,
            }  # fmt: skip
            stored = picture().transpose(back[orientation]) if orientation > 1 else picture()
            exif = Image.Exif()
            exif[0x0112] = orientation
            options = {"quality": 95, "subsampling": 0} if file_format == "JPEG" else {"lossless": True}
            image = decode_image(encoded(stored, file_format, exif=exif, **options), target=target)
            assert (image.width, image.height) == (60, 40)
            assert image.factor == (4 if target and file_format == "JPEG" else 1)
            assert_red_and_green(image.pixels, tolerance=12)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_does_not_spoil_the_picture() -> None:
    data = encoded(picture(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert_red_and_green(decode_image(data).pixels)


@pytest.mark.parametrize(
    ("mode", "size"), [*((mode, (60, 40)) for mode in MODES), *((mode, (2600, 2000)) for mode in LARGE_MODES)]
)
def test_every_mode_of_png_becomes_rgb(mode: str, size: tuple[int, int]) -> None:
    """The larger size is converted in bands."""
    if mode == "I;16":
        levels = np.asarray(picture(*size).convert("L")).astype(np.uint16) * 257
        image = Image.fromarray(levels)
    else:
        image = picture(*size).convert(mode)
    wanted = np.asarray(picture(*size).convert("L" if mode in ("L", "LA", "I;16") else "RGB").convert("RGB"))
    if mode == "1":
        wanted = np.asarray(image.convert("RGB"))
    pixels = decode_image(encoded(image, "PNG")).pixels
    assert pixels.shape == (size[1], size[0], 3)
    assert np.abs(pixels.astype(np.int16) - wanted).max() <= (
        52 if mode == "P" else 1
    )  # P has a palette of 216


def test_cmyk_and_grey_jpeg() -> None:
    assert_red_and_green(decode_image(encoded(picture().convert("CMYK"), "JPEG", quality=95)).pixels, 12)
    grey = decode_image(encoded(picture().convert("L"), "JPEG", quality=95)).pixels
    assert np.ptp(grey.astype(int), axis=2).max() == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_the_background(mode: str) -> None:
    if mode == "P":
        image = Image.new("P", (8, 8), 0)
        image.putpalette([255, 0, 0])
        data = encoded(image, "PNG", transparency=0)
    else:
        data = encoded(Image.new(mode, (8, 8), 0), "PNG")
    assert (decode_image(data).pixels == BACKGROUND_LEVEL).all()
    half = decode_image(encoded(Image.new("RGBA", (8, 8), (255, 255, 255, 128)), "PNG")).pixels
    assert abs(int(half[0, 0, 0]) - (255 + BACKGROUND_LEVEL) // 2) <= 2


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_an_animation_shows_its_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), GREEN)]
    data = encoded(
        frames[0], file_format, save_all=True, append_images=frames[1:], duration=100, lossless=True
    )
    assert np.abs(decode_image(data).pixels[8, 8].astype(int) - RED).max() <= 2


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_tiny_and_thin_pictures(file_format: str) -> None:
    for size in [(1, 1), (1, 5000), (5000, 1), (7, 3)]:
        with about(size):
            image = decode_image(
                encoded(Image.new("RGB", size, RED), file_format, quality=95), target=Target(384, 224)
            )
            assert (image.width, image.height) == size
            out = np.zeros((3, 224, 384), np.float32)
            letterbox(Frame.from_rgb(image.pixels), out)
            assert np.isfinite(out).all()


# ---------------------------------------------------------------- decoding at a fraction


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(1280, 720), (1283, 719), (4000, 3000), (801, 3011)])
def test_a_fraction_keeps_the_geometry_of_the_full_picture(file_format: str, size: tuple[int, int]) -> None:
    """A rectangle is found at the same place of the full picture whichever way the picture was decoded."""
    width, height = size
    target = Target(384, 224)
    pixels = np.full((height, width, 3), 20, np.uint8)
    box = np.array([width * 0.25, height * 0.5, width * 0.75, height * 0.9]).round().astype(int)
    pixels[box[1] : box[3], box[0] : box[2]] = 250
    data = encoded(Image.fromarray(pixels), file_format, quality=95, method=0)
    image = decode_image(data, target=target)
    assert image.factor > 1 or (file_format != "JPEG" and size != (4000, 3000))
    assert image.pixels.shape == (-(-height // image.factor), -(-width // image.factor), 3)
    out = np.empty((3, target.height, target.width), np.float32)
    geometry = image.in_full_size(letterbox(Frame.from_rgb(image.pixels), out).as_array())
    assert geometry[:3].tolist() == [1, width, height]
    bright = out[0] > (20 + 250) / 2 / 255
    bright[out[0] < 0.5] = False
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
    found = (found - np.tile(geometry[5:7], 2)) / np.tile(geometry[3:5], 2)
    pixel = 1 / geometry[3:5].min()  # one network pixel, in the source
    assert np.abs(found - box).max() <= pixel + 0.01


def test_a_picture_is_never_decoded_smaller_than_it_is_used() -> None:
    for width in (383, 384, 385, 767, 768, 769, 1536, 3072):
        image = decode_image(encoded(picture(width, 100), "JPEG"), target=(384, 224))
        assert image.pixels.shape[1] >= min(width, 384)


@pytest.mark.parametrize(
    "letterbox",
    [
        {"resize": "letterbox"},
        {"resize": "letterbox_corner", "interpolation": "triangle"},
        {"resize": "stretch"},
        {"resize": "stretch", "interpolation": "box"},
        {"resize": "centre_crop"},
        {"resize": "centre_crop", "short_side": 256, "interpolation": "triangle"},
    ],
    ids=str,
)
def test_enough_pixels_are_left_for_every_resize(letterbox: dict[str, Any]) -> None:
    """No side is enlarged that the full picture would have reduced; antialiased filters keep two samples of each."""
    for size in [(3000, 2000), (2000, 3000), (3001, 449), (480, 479), (300, 2001)]:
        with about(size):
            image = decode_image(
                encoded(Image.new("RGB", size, RED), "JPEG"), target=target_of((240, 224), letterbox)
            )
            short = letterbox.get("short_side", 0)
            resized = {"width": 240, "height": 224}
            if short:
                resized = {"width": short, "height": short}
            by = [size[0] / resized["width"], size[1] / resized["height"]]
            most = min(by) if letterbox["resize"] in ("stretch", "centre_crop") else max(by)
            spare = 2 if "interpolation" in letterbox else 1
            assert image.factor <= max(1, most / spare)
            assert image.factor * 2 > min(8, most / spare)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("short_side", [0, 64])
def test_a_cropped_fraction_finds_the_same_place(file_format: str, short_side: int) -> None:
    options: dict[str, Any] = {"resize": "centre_crop", "short_side": short_side, "interpolation": "triangle"}
    pixels = np.full((600, 900, 3), 20, np.uint8)
    pixels[200:400, 350:500] = 250
    image = decode_image(
        encoded(Image.fromarray(pixels), file_format, quality=95), target=target_of((56, 48), options)
    )
    assert image.factor == (4 if file_format == "JPEG" else 2)
    out = np.empty((3, 48, 56), np.float32)
    fit = letterbox(Frame.from_rgb(image.pixels), out, **options)
    geometry = image.in_full_size(fit.as_array())
    whole = letterbox(Frame.from_rgb(pixels), out, **options)
    np.testing.assert_allclose(geometry, whole.as_array(), rtol=1e-6)
    rows, columns = (np.flatnonzero((out[0] > 0.5).any(axis=axis)) for axis in (1, 0))
    corners = whole.boxes_to_source([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]])[0]
    assert np.abs(corners - (350, 200, 500, 400)).max() <= 1 / whole.scale_x


@pytest.mark.parametrize(
    ("values", "arguments"),
    [
        ({}, {"resize": "letterbox", "interpolation": "bilinear", "pad_value": 114.0, "short_side": 0}),
        (
            {"resize": "corner", "filter": "box", "pad": 0, "short_side": None},
            {"resize": "letterbox_corner", "interpolation": "box", "pad_value": 0, "short_side": 0},
        ),
        (
            {"resize": "crop", "filter": "triangle", "short_side": 256, "colour": "bgr"},
            {"resize": "centre_crop", "interpolation": "triangle", "short_side": 256, "colour": "bgr"},
        ),
    ],
)
def test_fields_of_the_card_become_arguments(values: dict[str, Any], arguments: dict[str, Any]) -> None:
    card = {"resize": "letterbox", "mean": [0, 0, 0], "std": [1, 1, 1], "colour": "rgb", **values}
    found = letterbox_arguments(card)
    assert found | arguments == found
    assert found["std"] == [1, 1, 1]
    with pytest.raises(
        ValueError, match="resize is 'fit'; it must be one of letterbox, stretch, corner, crop"
    ):
        letterbox_arguments({**card, "resize": "fit"})


# ---------------------------------------------------------------- bad pictures


def test_other_formats_are_not_even_tried() -> None:
    for data in [
        b"",
        b"\0",
        b"\0" * 100,
        b"hello",
        b"\xff\xd8",
        b"GIF89a" + bytes(50),
        b"BM" + bytes(60),
        b"%PDF-1.7",
        b"RIFF\0\0\0\0WAVE",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"II*\0" + bytes(40),
        b"\0\0\0\x18ftypheic",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"P6 1 1 255 abc",
    ]:
        with about(data), pytest.raises(BadInputError, match="not a JPEG, PNG or WebP"):
            decode_image(data)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_cut_off_file_is_an_error(file_format: str) -> None:
    for share in [0.1, 0.5, 0.9]:
        with about(share):
            noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
            data = encoded(Image.fromarray(noise), file_format)
            cut = data[: int(len(data) * share)]
            refilled = [bytes(len(data))] if file_format != "WEBP" or share < 7 / 8 else []
            for padding in (b"", bytes(500), *refilled):
                with pytest.raises(BadInputError, match="damaged or cut off"):
                    decode_image(cut + padding)


@pytest.mark.parametrize("size", [(20_000, 20_000), (50_001, 1_000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_a_size_in_the_header_is_believed_and_refused(size: tuple[int, int]) -> None:
    """Pixels are not looked at: there is one."""
    data = bytearray(png_bomb(1, 1))
    data[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(BadInputError, match=r"megapixels|damaged"):
        decode_image(bytes(data))


def test_a_file_of_more_than_64_mebibytes() -> None:
    data = np.zeros((64 << 20) + 1, np.uint8)
    data[:3] = (0xFF, 0xD8, 0xFF)
    with pytest.raises(BadInputError, match="at most 67108864"):
        decode_image(data)


_PEAKS = """
import os, sys
from PIL import Image
from sightline.builders.stages.images import Target, decode_image
from sightline.errors import BadInputError
def peak():  # KiB; getrusage may tell that of the process which started this one
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
Image.preinit()
before = peak()
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        data = file.read()
    child = os.fork()
    if child == 0:
        try:
            decode_image(data, target=Target(384, 224))
            print("decoded", end=" ")
        except BadInputError:
            print("refused", end=" ")
        print((peak() - before) >> 10, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def peaks_mebibytes(paths: list[Path]) -> list[tuple[str, int]]:
    """Whether each picture is decoded, and by how much a process of its own grows."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAKS, *map(str, paths)], capture_output=True, timeout=240, check=True
    )
    found = [line.split() for line in done.stdout.decode().splitlines()]
    return [(outcome, int(grown)) for outcome, grown in found]


def test_no_picture_takes_more_than_256_mebibytes(tmp_path: Path) -> None:
    """The largest pictures under the limits, and some just over them, all of a few kilobytes."""
    side = (7_000, 7_100)
    pictures = {
        "bomb": (png_bomb(7_200, 7_200), "refused"),
        "grey png": (png_bomb(*side), "decoded"),
        "rgba png": (encoded(Image.new("RGBA", side), "PNG", compress_level=1), "decoded"),
        "16-bit png": (encoded(Image.new("I;16", side), "PNG", compress_level=1), "decoded"),
        "jpeg": (encoded(Image.new("RGB", side), "JPEG"), "decoded"),
        "progressive jpeg": (encoded(Image.new("RGB", (6_000, 6_000)), "JPEG", progressive=True), "refused"),
        "webp": (encoded(Image.new("RGB", (4_200, 4_200)), "WEBP", method=0), "refused"),
    }
    for kind, (data, _) in pictures.items():
        (tmp_path / kind).write_bytes(data)
    told = peaks_mebibytes([tmp_path / kind for kind in pictures])
    for (kind, (_, outcome)), (found, grown) in zip(pictures.items(), told, strict=True):
        assert found == outcome, kind
        assert grown < (256 if outcome == "decoded" else 32), kind


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_give_a_picture_or_bad_input(data: st.DataObject) -> None:
    """Whatever bytes are changed, the outcome is a picture or BadInputError."""
    file = bytearray(_SMALL[data.draw(st.sampled_from(sorted(_SMALL)))])
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(file), target=Target(32, 32))
    except BadInputError:
        return
    assert image.pixels.dtype == np.uint8
    assert image.pixels.shape[2] == 3


_SMALL = {
    "jpeg": encoded(picture(), "JPEG"),
    "progressive": encoded(picture(), "JPEG", progressive=True),
    "png": encoded(picture(), "PNG"),
    "palette": encoded(picture().convert("P"), "PNG"),
    "webp": encoded(picture(), "WEBP"),
}
