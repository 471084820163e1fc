# SPDX-License-Identifier: Apache-2.0
"""Pictures by number: arrays on disk, or files that are decoded, made to fit and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from sightline.errors import BadInputError

MOST_PIXELS = 100_000_000
_CACHE_BYTES = 1 << 30
PAD_VALUE = 114
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class Pictures(Protocol):
    """Pictures of one size, (H, W, 3) uint8 RGB each."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB, upright. Raises BadInputError for what is no usable image."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadInputError(
                    f"{path} has {image.width}x{image.height} pixels; at most {MOST_PIXELS} are read"
                )
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInputError(
            f"{path} is no image that can be read ({error}); remove it, or save it again"
        ) from error


def letterbox(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float, tuple[int, int]]:
    """image fitted into size (width, height) with its aspect ratio, centred on grey; scale; left and top padding."""
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    inner = (min(round(width * scale), size[0]), min(round(height * scale), size[1]))
    inner = (max(inner[0], 1), max(inner[1], 1))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    out = np.full((size[1], size[0], 3), PAD_VALUE, np.uint8)
    way = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    out[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=way)
    return out, scale, (left, top)


class FilePictures:
    """Image files made to fit `size` (width, height), and kept in memory up to 1 GiB."""

    def __init__(
        self, paths: Sequence[Path], size: tuple[int, int], resize: Literal["stretch", "letterbox"]
    ) -> None:
        self.paths, self.size, self.resize = list(paths), size, resize
        self._kept: dict[int, np.ndarray] = {}
        self._most_kept = _CACHE_BYTES // (3 * size[0] * size[1])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        if index in self._kept:
            return self._kept[index]
        image = read_image(self.paths[index])
        if self.resize == "letterbox":
            fitted = letterbox(image, self.size)[0]
        else:
            smaller = image.shape[0] > 2 * self.size[1] and image.shape[1] > 2 * self.size[0]
            way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            fitted = cv2.resize(image, self.size, interpolation=way)
        if len(self._kept) < self._most_kept:
            self._kept[index] = fitted
        return fitted
