# SPDX-License-Identifier: Apache-2.0
"""What the CPU engines share: the written engine's description, test pictures, comparison, full disks, threads.

An engine is never believed: it is written, read back, run, and its answers are compared with the ONNX's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BuildError, OutputError

if TYPE_CHECKING:
    from sightline.card import ModelCard

Floats = NDArray[np.float32]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
Run = Callable[[Floats], list[NDArray[Any]]]

# Largest difference from the original, as a share of the output's largest value: (at any value, on average).
# int8 has been judged by its loss of agreement before; single values may be far off.
TOLERANCE = {"fp32": (5e-3, 1e-4), "fp16": (3e-2, 2e-3), "bf16": (0.3, 2e-2), "int8": (10.0, 5e-2)}
_TEST_IMAGES = 3
_COMPARED_TENSORS = 8
_T = TypeVar("_T")


@dataclass(frozen=True)
class Engine:
    """A written and tried engine.

    shapes: of the outputs RAW, RAW_1, … with a batch of 1. milliseconds: one image, one thread, the best run.
    differences: from the fp32 ONNX, as a share of the output's largest value. bytes: of all its files.
    notes: what the user should know. files: names inside the folder. sensitivity: of int8, where layers had to stay in
    higher precision: the report as JSON can hold it.
    """

    kind: str
    version: str
    precision: str
    shapes: tuple[tuple[int, ...], ...]
    milliseconds: float
    compared_with: str
    largest_difference: float
    mean_difference: float
    bytes: int
    notes: tuple[str, ...]
    files: tuple[str, ...]
    sensitivity: dict[str, Any] | None = None


class Cancelled(Exception):  # noqa: N818 - it is no error
    """The caller was interrupted; the work in the other thread ends."""


def in_own_thread(work: Callable[[threading.Event], _T]) -> _T:
    """Run `work` in a thread of its own; the event it gets is set when the caller is interrupted.

    OpenVINO's CPU plugin gives the thread that compiles a signal stack, and two compiled models that end in the order
    in which they began leave it pointing at freed memory. The next signal, such as Ctrl-C in the main thread, would
    then end the process with a segmentation fault.
    """
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as own_thread:
        try:
            return own_thread.submit(work, cancelled).result()
        except BaseException:
            cancelled.set()
            raise


def until_cancelled(tensors: Sequence[Floats], cancelled: threading.Event | None = None) -> Iterator[Floats]:
    """The tensors as (1, 3, height, width), until the event is set: then Cancelled is raised."""
    for tensor in tensors:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled
        yield np.ascontiguousarray(tensor, dtype=np.float32).reshape(1, *tensor.shape[-3:])


def picked(tensors: Sequence[Floats], count: int) -> list[Floats]:
    """At most `count` of the tensors, evenly spread."""
    places = np.linspace(0, len(tensors) - 1, min(len(tensors), count)).round().astype(int)
    return [tensors[int(place)] for place in places]


def trial_tensors(card: ModelCard, tensors: Sequence[Floats]) -> list[Floats]:
    """What an engine is tried with, float32 of shape (1, 3, height, width): real pictures, else random ones."""
    if len(tensors):
        return list(until_cancelled(picked(tensors, _COMPARED_TENSORS)))
    width, height = card.input.size
    generator = np.random.default_rng(0)
    mean = np.asarray(card.input.mean, np.float32).reshape(3, 1, 1)
    std = np.asarray(card.input.std, np.float32).reshape(3, 1, 1)
    coarse = generator.integers(0, 256, (_TEST_IMAGES, 3, (height + 7) // 8, (width + 7) // 8))
    pictures = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :height, :width]
    return [np.ascontiguousarray((picture[None] - mean) / std, dtype=np.float32) for picture in pictures]


@dataclass(frozen=True)
class Trial:
    """What a test run showed: the best run's time for one image, and differences as `compare` gives them."""

    milliseconds: float
    largest: float
    mean: float


def try_engine(run: Run, reference: Run, images: Sequence[Floats], precision: str, folder: Path) -> Trial:
    """Run the engine and the fp32 network on the images. Raises what `compare` raises."""
    seconds, largest, mean = [], 0.0, 0.0
    for image in images:
        started = time.perf_counter()
        answers = [np.array(output) for output in run(image)]
        seconds.append(time.perf_counter() - started)
        for answer, wanted in zip(answers, reference(image), strict=True):
            worst, average = compare(answer, wanted, precision, folder)
            largest, mean = max(largest, worst), max(mean, average)
    return Trial(min(seconds) * 1e3, largest, mean)


def compare(answer: NDArray[Any], wanted: NDArray[Any], precision: str, folder: Path) -> tuple[float, float]:
    """Largest and mean difference as shares of the largest value wanted.

    Raises BuildError where the shape is another, values are not finite, or differences are above those of TOLERANCE,
    OutputError where that is because the disk is full.
    """
    if answer.shape != wanted.shape or not np.isfinite(answer).all():
        raise_if_disk_full(folder)
        raise BuildError(
            f"the test run gave shape {answer.shape} with {np.isfinite(answer).mean():.0%} finite values; "
            f"expected {wanted.shape}, all finite. With engine.precision fp16 large weights overflow: try fp32"
        )
    scale = max(float(np.abs(wanted).max(initial=0)), 1e-6)
    difference = np.abs(answer - wanted) / scale
    worst, mean = float(difference.max(initial=0)), float(difference.mean()) if difference.size else 0.0
    allowed_worst, allowed_mean = TOLERANCE[precision]
    if not (worst <= allowed_worst and mean <= allowed_mean):  # NaN is no agreement
        raise_if_disk_full(folder)
        raise BuildError(
            f"the engine's answers differ from the ONNX's by {worst:.2%} (mean {mean:.3%}) of the largest "
            f"value; allowed are {allowed_worst:.2%} and {allowed_mean:.3%}. "
            f"Try engine.precision: {'fp32' if precision in ('fp32', 'fp16', 'bf16') else 'fp16'}"
        )
    return worst, mean


def raise_if_disk_full(folder: Path) -> None:
    """Raise OutputError if as much as was written cannot be written again: engines do not say why a write failed."""
    written = max((path.stat().st_size for path in folder.iterdir() if path.is_file()), default=0)
    probe = folder / "space_probe"
    try:
        with probe.open("wb") as file:
            remaining = written + (1 << 16)
            while remaining > 0:
                remaining -= file.write(bytes(min(remaining, 1 << 20)))
    except OSError as error:
        raise OutputError(f"the engine cannot be written to {folder}: {error.strerror}") from error
    finally:
        probe.unlink(missing_ok=True)


def first_lines(error: BaseException) -> str:
    """The telling lines of a native library's long message, at most 400 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return " ".join((useful or lines)[:2])[:400]


def folder_files(folder: Path, names: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Those of the names that exist in the folder, and their bytes together."""
    found = [folder / name for name in names if (folder / name).is_file()]
    return tuple(path.name for path in found), sum(path.stat().st_size for path in found)
