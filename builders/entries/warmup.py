# SPDX-License-Identifier: Apache-2.0
"""Triton's own warm-up of the stages with one real picture, so that a stage that cannot answer never gets ready.

Each instance runs it before it takes requests (TritonModelInstance::WarmUp): engines finish their lazy work, and an error
keeps the model from loading. Ensembles may not have one; their stages have. Post-processing has none: it has nothing to
set up, and its input would be the network's answer.
The data lies in MODEL/warmup, as raw little-endian values; Triton takes the folder for no version.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.entries.context import EntryContext
from sightline.card import ModelCard
from sightline.frame import ColourSpace, PixelFormat
from sightline.preprocess_ext import letterbox

FOLDER = "warmup"
WIDTH, HEIGHT = 160, 120
MOST_BYTES = 256 << 20
"""Of a sample: Triton reads the file once for each item of a batch, and keeps all of them until the instance is warm."""


@dataclass(frozen=True)
class WarmupTensor:
    """What an input of this name is fed. content: from the card. is_open: the length is that of the content."""

    file: str
    content: Callable[[ModelCard], bytes]
    is_open: bool = False


def add_warmup(config: pb.ModelConfig, context: EntryContext) -> None:
    """Add the warm-up to a stage whose inputs can be made from a picture; others stay as they are."""
    if not all(tensor.name in TENSORS for tensor in config.input):
        return
    for size in _batches(config, context):
        warmup = config.model_warmup.add(name=f"picture_{size}", batch_size=size, count=1)
        for tensor in config.input:
            source = TENSORS[tensor.name]
            entry = warmup.inputs[tensor.name]
            entry.data_type = tensor.data_type
            entry.dims.extend([len(source.content(context.card))] if source.is_open else tensor.dims)
            entry.input_data_file = source.file


def warmup_files(config: pb.ModelConfig, card: ModelCard) -> dict[str, bytes]:
    """The files that the warm-up of this configuration reads, by name inside FOLDER."""
    used = {tensor for warmup in config.model_warmup for tensor in warmup.inputs}
    return {TENSORS[name].file: TENSORS[name].content(card) for name in sorted(used)}


@functools.cache
def picture() -> NDArray[np.uint8]:
    """A drawn street with a car and a person, RGB, uint8 of shape (HEIGHT, WIDTH, 3)."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (150, 180, 210))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 58, WIDTH, HEIGHT), fill=(88, 90, 94))
    for left, top, colour in ((0, 20, (146, 112, 92)), (38, 34, (170, 160, 140)), (118, 26, (120, 128, 136))):
        pen.rectangle((left, top, left + 34, 58), fill=colour)
        for x in range(left + 5, left + 30, 9):
            pen.rectangle((x, top + 6, x + 4, top + 12), fill=(60, 72, 88))
    pen.line((80, 62, 74, HEIGHT), fill=(225, 225, 220), width=3)
    pen.rectangle((88, 66, 136, 90), fill=(170, 34, 30))
    pen.polygon(((96, 66), (103, 53), (124, 53), (131, 66)), fill=(40, 46, 58))
    for x in (98, 126):
        pen.ellipse((x - 6, 84, x + 6, 96), fill=(24, 24, 26))
    pen.rectangle((34, 68, 44, 88), fill=(40, 90, 160))
    pen.rectangle((35, 88, 43, 104), fill=(46, 46, 70))
    pen.ellipse((35, 58, 43, 68), fill=(222, 180, 150))
    array = np.asarray(image)
    array.flags.writeable = False
    return array


@functools.cache
def encoded_picture() -> bytes:
    """The picture as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, format="JPEG", quality=85)
    return file.getvalue()


@functools.cache
def raw_frame() -> bytes:
    """The picture as packed I420 (JPEG's matrix and range, see frame_info)."""
    luma, blue, red = Image.fromarray(picture()).convert("YCbCr").split()
    half = (WIDTH // 2, HEIGHT // 2)
    return b"".join(
        plane.tobytes() for plane in (luma, *(c.resize(half, Image.Resampling.BOX) for c in (blue, red)))
    )


def frame_info() -> NDArray[np.int32]:
    """FRAME_INFO of raw_frame, int32 of shape (4,)."""
    return np.array([WIDTH, HEIGHT, PixelFormat.I420, ColourSpace.BT601_FULL], np.int32)


def _fitted(card: ModelCard) -> tuple[bytes, bytes]:
    """TENSOR and GEOMETRY of the picture, as the letterbox stage makes them."""
    from sightline.builders.stages.wire import letterbox_arguments
    from sightline.frame import Frame

    width, height = card.input.size
    tensor = np.empty((3, height, width), np.float32)
    values = card.input.model_dump(mode="json", exclude={"size"}, exclude_none=True)
    fit = letterbox(Frame.from_rgb(picture()), tensor, **letterbox_arguments(values))
    return tensor.astype("<f4").tobytes(), fit.as_array().astype("<f4").tobytes()


def _integers(values: Iterable[int]) -> bytes:
    return np.fromiter(values, "<i4").tobytes()


TENSORS: dict[str, WarmupTensor] = {
    "IMAGE": WarmupTensor("picture.jpg", lambda _: encoded_picture(), is_open=True),
    "VALID": WarmupTensor("valid.int32", lambda _: _integers([1])),
    "FRAME": WarmupTensor("frame.i420", lambda _: raw_frame(), is_open=True),
    "FRAME_INFO": WarmupTensor("frame_info.int32", lambda _: _integers(frame_info())),
    "TENSOR": WarmupTensor("tensor.fp32", lambda card: _fitted(card)[0]),
    "GEOMETRY": WarmupTensor("geometry.fp32", lambda card: _fitted(card)[1]),
}


def _batches(config: pb.ModelConfig, context: EntryContext) -> list[int]:
    """One picture; where requests are merged into batches for a GPU, also the largest batch that MOST_BYTES allow."""
    if config.platform != "tensorrt_plan":
        return [1]
    width, height = context.card.input.size
    return sorted({1, max(1, min(config.max_batch_size, MOST_BYTES // (12 * width * height)))})
