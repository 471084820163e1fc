# SPDX-License-Identifier: Apache-2.0
"""Which of two ways decodes pictures on the target `local`: Pillow and the C core, or DALI's CPU operators. Measured.

Both do what their stage does to one file, in this process, in turns, on drawn street scenes as JPEG files of usual sizes.
The medians decide. A build writes the result into its manifest.
"""

from __future__ import annotations

import io
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.builders.stages.checked import checked_picture
from sightline.builders.stages.images import decode_image, target_of
from sightline.builders.stages.wire import letterbox_arguments
from sightline.card import ModelCard
from sightline.frame import Frame
from sightline.preprocess_ext import letterbox
from sightline.preprocess_ext.dali import DaliPictures, dali_version

Way = Literal["core", "dali"]
SIZES = ((1280, 720), (1920, 1080))
_QUALITY = 88
_FEWEST_ROUNDS, _LONGEST = 3, 2.0
_Files = Sequence[NDArray[np.uint8]]
_Run = Callable[[NDArray[np.uint8]], object]


@dataclass(frozen=True)
class PreprocessChoice:
    """What was chosen, and from what.

    chosen: "core" (Pillow and the C core, stage `decode`) or "dali" (stage `decode_dali`). milliseconds: median for one
    file, by way; only "core" where DALI is not installed. rounds: files that each way did. why: a sentence for people.
    """

    chosen: Way
    milliseconds: Mapping[Way, float]
    rounds: int
    why: str

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {**asdict(self), "milliseconds": dict(self.milliseconds)}

    @property
    def stage(self) -> str:
        """Module of builders.stages that runs it."""
        return "decode_dali" if self.chosen == "dali" else "decode"


def measure_preprocessing(card: ModelCard, *, seconds: float = 4.0) -> PreprocessChoice:
    """Measure both ways for about `seconds`, at most twice as long after one round, with one thread as a stage has."""
    files = [_drawn_jpeg(size) for size in SIZES]
    runs: dict[Way, _Run] = {"core": _core(card)}
    version = dali_version()
    if version is not None:
        runs["dali"] = _dali(card)
    times = _take_turns(runs, files, seconds)
    medians: dict[Way, float] = {
        way: round(statistics.median(spent) * 1e3, 3) for way, spent in times.items()
    }
    chosen: Way = min(medians, key=lambda way: medians[way])
    return PreprocessChoice(chosen, medians, len(times["core"]), _why(chosen, medians, version))


def _take_turns(runs: Mapping[Way, _Run], files: _Files, seconds: float) -> dict[Way, list[float]]:
    """Seconds that each file took, by way; the ways take turns, so that a busy machine slows both."""
    for run in runs.values():
        for file in files:
            run(file)
    times: dict[Way, list[float]] = {way: [] for way in runs}
    started_all, rounds = time.perf_counter(), 0
    while rounds < _FEWEST_ROUNDS or time.perf_counter() - started_all < seconds:
        if rounds > 0 and time.perf_counter() - started_all > _LONGEST * seconds:
            break
        for file in files:
            for way, run in runs.items():
                started = time.perf_counter()
                run(file)
                times[way].append(time.perf_counter() - started)
        rounds += 1
    return times


def _core(card: ModelCard) -> _Run:
    width, height = card.input.size
    out = np.empty((3, height, width), np.float32)
    arguments = letterbox_arguments(card.input.model_dump())
    target = target_of(card.input.size, arguments)

    def run(file: NDArray[np.uint8]) -> object:
        image = decode_image(file, target=target)
        return image.in_full_size(letterbox(Frame.from_rgb(image.pixels), out, **arguments).as_array())

    return run


def _dali(card: ModelCard) -> _Run:
    card_input = card.input.model_dump()
    pictures = DaliPictures(card_input, "decode", batch=1, threads=1)
    return lambda file: pictures.files([np.frombuffer(checked_picture(file, card_input), np.uint8)])


def _drawn_jpeg(size: tuple[int, int]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(_drawn()).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=_QUALITY)
    return np.frombuffer(file.getvalue(), np.uint8)


@lru_cache(maxsize=1)
def _drawn() -> NDArray[np.uint8]:
    from sightline.scenes import Scene

    picture, _ = Scene(3, size=SIZES[0]).frame(2.0)
    return np.ascontiguousarray(picture)


def _why(chosen: Way, medians: Mapping[Way, float], version: str | None) -> str:
    sizes = " and ".join(f"{width}x{height}" for width, height in SIZES)
    if version is None:
        return "DALI is not installed, so that Pillow and the C core were the only way"
    names = {"core": "Pillow and the C core", "dali": f"DALI {version} on the CPU"}
    other: Way = "core" if chosen == "dali" else "dali"
    return (
        f"{names[chosen]} took {medians[chosen]:.1f} ms for a JPEG of {sizes}, {names[other]} {medians[other]:.1f} ms "
        f"(medians, one thread, {os.cpu_count()} cores)"
    )
