# SPDX-License-Identifier: Apache-2.0
"""What the stage `check` lets through to DALI is what DALI reads; what it refuses has a reason."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.builders.stages.checked import check_crop, checked_picture, tiny_picture
from sightline.builders.stages.images import decode_image
from sightline.builders.stages.jpeg import plain_jpeg
from sightline.card import InputSpec
from sightline.errors import BadInputError
from sightline.scenes import Scene
from tests.needs import needs

CARD = InputSpec(size=(64, 64)).model_dump()
ORDINARY: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "4:2:2, own tables": {"subsampling": 1, "optimize": True},
    "grey": {"mode": "L"},
    "grey progressive": {"mode": "L", "progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "one pixel": {"size": (1, 1)},
    "odd": {"size": (37, 61)},
}


@lru_cache(maxsize=1)
def drawn() -> Image.Image:
    picture, _ = Scene(3, size=(320, 192)).frame(2.0)
    return Image.fromarray(picture)


def jpeg(size: tuple[int, int] = (160, 96), mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    drawn().resize(size).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


class Decoder:
    """DALI's CPU decoder alone."""

    def __init__(self) -> None:
        needs("nvidia.dali")
        self.pipeline = self._make()

    def _make(self) -> Any:
        from nvidia.dali import fn, pipeline_def, types

        @pipeline_def
        def decode() -> Any:
            file = fn.external_source(name="FILE", dtype=types.UINT8, ndim=1)
            pixels = fn.decoders.image(file, output_type=types.RGB, jpeg_fancy_upsampling=True)
            return pixels, fn.peek_image_shape(file)

        return decode(
            batch_size=1,
            num_threads=1,
            device_id=None,
            prefetch_queue_depth=1,
            exec_async=False,
            exec_pipelined=False,
        )

    def __call__(self, file: bytes) -> Any:
        """The pixels, or None where DALI fails."""
        try:
            self.pipeline.feed_input("FILE", [np.frombuffer(file, np.uint8)])
            pixels, shape = (np.array(output.at(0)) for output in self.pipeline.run())
        except RuntimeError:
            self.pipeline = self._make()
            return None
        assert tuple(shape) == pixels.shape
        return pixels


@pytest.fixture(scope="module")
def dali() -> Decoder:
    return Decoder()


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_jpeg_stays_encoded_and_keeps_its_pixels(name: str, dali: Decoder) -> None:
    for orientation in (None, 1, 2, 3, 4, 5, 6, 7, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation or 1
        extra = {} if orientation is None else {"exif": exif}
        file = jpeg(**ORDINARY[name], **extra, comment=b"hello")
        checked = checked_picture(file + bytes(1000), CARD)
        assert checked[:3] == b"\xff\xd8\xff"
        assert b"hello" not in checked
        wanted = decode_image(file).pixels
        assert np.array_equal(decode_image(checked).pixels, wanted)
        assert np.array_equal(dali(checked), wanted), "DALI and our decoder give the same pixels"


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [
        ("PNG", "RGBA"),
        ("PNG", "LA"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("WEBP", "RGBA"),
        ("WEBP", "RGB"),
        ("JPEG", "CMYK"),
    ],
)
def test_other_pictures_go_on_as_our_own_pixels(file_format: str, mode: str, dali: Decoder) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (30, 40, 4), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (30, 40), np.uint16))
    image = deep if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, file_format)
    checked = checked_picture(file.getvalue() + bytes(77), CARD)
    assert checked.startswith(b"P6\n40 30\n255\n")
    wanted = decode_image(file.getvalue()).pixels
    assert np.array_equal(dali(checked + bytes(50)), wanted)


def test_a_very_large_one_becomes_a_png(monkeypatch: pytest.MonkeyPatch, dali: Decoder) -> None:
    monkeypatch.setattr("sightline.builders.stages.checked.MAX_ENCODED_BYTES", 1000)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True)
    assert np.array_equal(dali(checked_picture(file.getvalue(), CARD)), pixels)


def test_damaged_files_that_pass_do_not_break_dali(dali: Decoder) -> None:
    """Bytes changed, lost and added, most of them in front of the picture, and files cut off."""
    rng = np.random.default_rng(0)
    files = [jpeg(**options) for options in ORDINARY.values()]
    passed = 0
    for index in range(1500):
        file = bytearray(files[index % len(files)])
        picture = bytes(file).find(b"\xff\xda")
        for _ in range(int(rng.integers(1, 4))):
            damage(
                file,
                int(rng.integers(min(picture + 20, len(file)) if rng.random() < 0.7 else len(file))),
                rng,
            )
        plain = plain_jpeg(bytes(file), 1)
        if plain is not None:
            passed += 1
            assert dali(plain.content) is not None, bytes(file).hex()
    assert passed > 150


def damage(file: bytearray, at: int, rng: np.random.Generator) -> None:
    kind = rng.integers(6)
    if kind < 3:
        file[at] = int(rng.integers(256))
    elif kind == 3:
        del file[at : at + int(rng.integers(1, 9))]
    elif kind == 4:
        file[at:at] = rng.integers(0, 256, int(rng.integers(1, 5)), dtype=np.uint8).tobytes()
    else:
        file.extend(b"\xff\xd9")
        file[at] ^= 1 << int(rng.integers(8))
    if len(file) < 64 or rng.random() < 0.05:
        file[:] = file[: len(file) // 2] + bytes(64)


@pytest.mark.parametrize("padding", [0, 5000])
def test_cut_off_files_are_refused(padding: int) -> None:
    for name, options in ORDINARY.items():
        file = jpeg(**options)
        for part in (0.3, 0.6, 0.9, 0.999):
            cut = file[: int(len(file) * part)]
            assert plain_jpeg(cut + bytes(padding), 1) is None, name
            with pytest.raises(BadInputError, match="damaged or cut off"):
                checked_picture(cut + bytes(padding), CARD)


def test_what_is_no_picture_is_refused() -> None:
    for file in (b"", b"\xff\xd8", b"\xff\xd8\xff", bytes(1000), b"GIF89a" + bytes(100), jpeg()[4:]):
        with pytest.raises(BadInputError, match=r"not a JPEG, PNG or WebP|damaged or cut off"):
            checked_picture(file, CARD)


def test_what_follows_the_picture_is_cut_away() -> None:
    file = jpeg()
    assert checked_picture(file + b"motion photo" * 999, CARD) == checked_picture(file, CARD)


def test_the_limits_of_our_decoder_hold() -> None:
    def sized(width: int, height: int, **options: Any) -> bytes:
        file = bytearray(jpeg(**options))
        marker = b"\xff\xc2" if options else b"\xff\xc0"
        at = bytes(file).find(marker)
        file[at + 5 : at + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
        return bytes(file)

    with pytest.raises(BadInputError, match="50 megapixels"):
        checked_picture(sized(10_000, 5_001), CARD)
    with pytest.raises(BadInputError, match=r"needs \d+ MiB"):
        checked_picture(sized(6_000, 6_000, progressive=True), CARD)


def test_the_crop_must_be_covered() -> None:
    card = InputSpec(size=(64, 32), resize="crop", short_side=32).model_dump()
    check_crop(40, 20, card)
    with pytest.raises(
        BadInputError, match=r"20x40 pixels is 32x64 after resizing; the crop of 64x32 does not fit"
    ):
        check_crop(20, 40, card)
    exif = Image.Exif()
    exif[0x0112] = 6
    with pytest.raises(BadInputError, match="96x160 pixels is 32x53"):
        checked_picture(jpeg(exif=exif), card)
    with pytest.raises(BadInputError, match="too narrow"):
        check_crop(1, 65_535, InputSpec(size=(8, 8), resize="crop", short_side=8000).model_dump())


def test_the_stand_in_is_tiny_and_good(dali: Decoder) -> None:
    assert len(tiny_picture()) < 700
    assert dali(tiny_picture()).shape == (8, 8, 3)
