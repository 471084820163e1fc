# SPDX-License-Identifier: Apache-2.0
"""Pictures as the network sees them: letterboxed and normalised by the C core as the served stage does it."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from sightline.builders.calibration.pictures import PictureSource, Skipped, calibration_pictures
from sightline.errors import OutputError
from sightline.frame import Frame
from sightline.preprocess_ext import letterbox

if TYPE_CHECKING:
    from sightline.card import InputSpec, ModelCard

Floats = NDArray[np.float32]
MEMORY_BYTES = 512 << 20
"""Tensors beyond this lie in a temporary file, which has no name and ends with the set."""
_RESIZE: dict[str, Any] = {"corner": "letterbox_corner", "crop": "centre_crop"}


@dataclass(frozen=True, eq=False)
class CalibrationSet(Sequence[Floats]):
    """Network inputs of real pictures. data: float32 of shape (n, 3, height, width). origin: where they are from."""

    data: Floats
    origin: str
    found: int
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.data)

    @overload
    def __getitem__(self, index: int) -> Floats: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Floats]: ...
    def __getitem__(self, index: int | slice) -> Floats | Sequence[Floats]:
        if isinstance(index, slice):
            return CalibrationSet(self.data[index], self.origin, self.found, self.skipped)
        tensor: Floats = self.data[index]
        return tensor

    def __iter__(self) -> Iterator[Floats]:
        return iter(self.data)

    @property
    def note(self) -> str:
        """What was used, for people."""
        left_out = f", {len(self.skipped)} left out" if self.skipped else ""
        return f"{len(self)} pictures of {self.origin} ({self.found} found{left_out})"


def network_tensor(spec: InputSpec, picture: NDArray[np.uint8], out: Floats | None = None) -> Floats:
    """One picture, uint8 RGB of shape (h, w, 3), as the network's input: float32 of shape (3, height, width)."""
    width, height = spec.size
    out = np.empty((3, height, width), np.float32) if out is None else out
    letterbox(
        Frame.from_rgb(picture),
        out,
        mean=spec.mean,
        std=spec.std,
        resize=_RESIZE.get(spec.resize, spec.resize),
        colour=spec.colour,
        pad_value=spec.pad,
        interpolation=spec.filter,
        short_side=spec.short_side or 0,
    )
    return out


def calibration_tensors(
    card: ModelCard,
    *,
    images: Path | None = None,
    count: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> CalibrationSet:
    """The network's inputs for the card's calibration pictures.

    images, count: instead of the card's calibration.images and calibration.samples.
    Raises BuildError where fewer than LEAST_PICTURES can be used, OutputError where there is no room for them.
    """
    images = card.calibration.images if images is None else images
    count = card.calibration.samples if count is None else count
    source = PictureSource()
    data = _room(count, card.input.size)
    used = 0
    for picture in calibration_pictures(images, count, source, target=_decode_size(card.input)):
        network_tensor(card.input, picture, data[used])
        used += 1
        if progress:
            progress("pictures", used, count)
    return CalibrationSet(data[:used], source.origin, source.found, tuple(source.skipped))


def _decode_size(spec: InputSpec) -> tuple[int, int] | None:
    """What the served stage asks of a picture; a crop needs its shorter side in full."""
    return None if spec.resize == "crop" else spec.size


def _room(count: int, size: tuple[int, int]) -> Floats:
    width, height = size
    shape = (count, 3, height, width)
    need = 4 * int(np.prod(shape))
    if need <= MEMORY_BYTES:
        return np.empty(shape, np.float32)
    try:
        with tempfile.TemporaryFile(prefix="sightline_calibration_") as file:
            os.posix_fallocate(file.fileno(), 0, need)
            room = mmap.mmap(file.fileno(), need)
    except OSError as error:
        raise OutputError(
            f"{count} calibration pictures of {width}x{height} need {need >> 20} MiB in {tempfile.gettempdir()}: "
            f"{error.strerror}. Set a smaller calibration.samples"
        ) from error
    return np.frombuffer(room, np.float32).reshape(shape)
