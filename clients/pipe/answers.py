# SPDX-License-Identifier: Apache-2.0
"""Which models are asked, what they answered, and how answers about a crop become answers about the whole picture."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BadInputError
from sightline.results import Classification, Detections, Result

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Step:
    """One model of a chain. only: labels of the objects that it is asked about; empty: all."""

    model: str
    only: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """models: all are asked about the whole image. chain: one after the other about the crops of what the model before
    found, beginning with the first of `models`; `MODEL:LABEL,LABEL` only about objects of these labels."""

    models: tuple[str, ...]
    chain: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.models:
            raise BadInputError("no model is named; at least one is needed")
        twice = sorted({model for model in self.models if self.models.count(model) > 1})
        if twice:
            raise BadInputError(f"{', '.join(twice)} is named twice for the same image")

        if any(not step.model for step in self.steps):
            raise BadInputError(f"chain is {self.chain}; each must be MODEL or MODEL:LABEL,LABEL")

    @property
    def steps(self) -> tuple[Step, ...]:
        """The chain, read."""
        parts = (text.partition(":") for text in self.chain)
        return tuple(
            Step(model, frozenset(label.strip() for label in labels.split(",") if label.strip()))
            for model, _, labels in parts
        )

    @property
    def all_models(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys((*self.models, *(step.model for step in self.steps))))


@dataclass(frozen=True)
class Answer:
    """What one model said of an image or of a crop. Boxes and masks are in the pixels of the whole image.

    version: of the model; 0 where it is not known. milliseconds: from sending to the answer. result: None where there is
    an error. crop: (x1, y1, x2, y2) of the whole image that was sent. inner: the next model's answers, one an object; None
    for one that it was not asked about.
    """

    model: str
    version: int
    milliseconds: float
    result: Result | None
    error: str = ""
    crop: Box | None = None
    inner: tuple[Answer | None, ...] = field(default=(), repr=False)

    def with_inner(self, inner: tuple[Answer | None, ...]) -> Answer:
        """The same with the next model's answers."""
        return replace(self, inner=inner)

    def above(self, score: float) -> Answer:
        """Only the objects and classes with at least this score, and what the next models said of those."""
        match self.result:
            case Detections() as found:
                keep = (found.scores >= score).tolist()
                inner = tuple(
                    None if one is None else one.above(score)
                    for one, kept in zip(self.inner, keep, strict=False)
                    if kept
                )
                return replace(self, result=found.above(score), inner=inner)
            case Classification() as classes:
                return replace(self, result=classes.above(score))
        return self


@dataclass(frozen=True, eq=False)
class Crop:
    """A piece of a picture: pixels is uint8 RGB of shape (height, width, 3)."""

    pixels: NDArray[np.uint8]
    box: Box


def upright_pixels(data: bytes) -> NDArray[np.uint8]:
    """RGB pixels of an image file, turned upright by EXIF: uint8 of shape (height, width, 3). Raises BadInputError."""
    from PIL import Image, ImageOps

    from sightline.pixels import rgb_pixels

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as opened:
            pixels: NDArray[np.uint8] = rgb_pixels(ImageOps.exif_transpose(opened))
    except Exception as error:  # Pillow raises many types on damaged files
        raise BadInputError(f"the image cannot be cropped: {error}") from error
    return pixels


def crops_of(pixels: Any, found: Detections) -> list[Crop | None]:
    """The piece of the picture in the box of each object, rounded outwards; None where it has no pixels."""
    height, width = pixels.shape[:2]
    crops: list[Crop | None] = []
    for x1, y1, x2, y2 in found.boxes.tolist():
        left, top = max(0, math.floor(x1)), max(0, math.floor(y1))
        right, bottom = min(width, math.ceil(x2)), min(height, math.ceil(y2))
        if right <= left or bottom <= top:
            crops.append(None)
            continue
        piece = np.ascontiguousarray(pixels[top:bottom, left:right])
        crops.append(Crop(piece, (left, top, right, bottom)))
    return crops


def placed(answer: Answer, crop: Crop, pixels: Any) -> Answer:
    """An answer about a crop with its boxes and masks where they are in the whole picture."""
    result = answer.result
    if isinstance(result, Detections):
        height, width = pixels.shape[:2]
        result = _in_whole(result, crop.box, width, height)
    return replace(answer, result=result, crop=crop.box)


def _in_whole(found: Detections, box: Box, width: int, height: int) -> Detections:
    left, top = box[:2]
    boxes = (found.boxes + np.array([left, top, left, top], np.float32)).astype(np.float32)
    masks = found.masks
    if masks is not None:
        from sightline.preprocess_ext import MaskRegion, rle_encode_region

        masks = tuple(
            rle_encode_region(MaskRegion.from_array(found.mask(index), left, top), width, height)
            for index in range(len(found))
        )
    return Detections(boxes, found.scores, found.classes, found.labels, masks, (width, height))
