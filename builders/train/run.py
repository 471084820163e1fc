# SPDX-License-Identifier: Apache-2.0
"""What every training job shares: its options, its device, its folders, and the run itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Idle OpenMP threads that spin take the cores from the processes that draw; torch reads this when it starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from sightline.errors import MissingDependencyError, SightlineError

if TYPE_CHECKING:
    from sightline.builders.train.loop import Task, Trainer
    from sightline.builders.train.progress import Lines

Size = tuple[int, int]


@dataclass(frozen=True)
class Options:
    """What the command line says of a run. None: the task's own value.

    out: folder of the model. work: folder of drawn data and of the checkpoint, from which a run with the same
    folder goes on; None: drawn data in a temporary folder, the checkpoint in `out`. workers: processes that draw, 0
    for one a core. threads: of the training itself, 0 for one a core.
    """

    out: Path
    work: Path | None = None
    epochs: float | None = None
    minutes: float | None = None
    batch: int | None = None
    rate: float | None = None
    seed: int = 1
    device: str = "auto"
    precision: str = "auto"
    patience: int = 0
    evaluations: int = 10
    workers: int = 0
    threads: int = 0


@dataclass(frozen=True)
class _Usual:
    """Values for a task where the options have none."""

    epochs: float
    batch: int
    rate: float
    average: float


USUAL = {
    "classify": _Usual(12, 32, 3e-3, 0.998),
    "detect": _Usual(60, 8, 1.5e-3, 0.999),
    "segment": _Usual(60, 8, 1.5e-3, 0.998),
    "semantic": _Usual(30, 8, 2e-3, 0.998),
    "embed": _Usual(12, 64, 2e-3, 0.998),
}
_LARGER_ON_CUDA = 4
"""Batches are this many times larger on a GPU, and the rate twice as high."""


def chosen_device(device: str) -> str:
    """cpu or cuda. Raises MissingDependencyError without torch, SightlineError when the device is not there."""
    if device not in ("auto", "cpu", "cuda"):
        raise SightlineError(f"device is {device!r}; it must be auto, cpu or cuda")
    missing = []
    for name in ("torch", "onnx", "openvino", "cv2"):
        try:
            __import__(name)
        except ImportError:
            missing.append({"cv2": "opencv-python-headless"}.get(name, name))
    if missing:
        raise MissingDependencyError(
            f"training needs {', '.join(missing)}; install it with: pip install 'sightline[train,server]'"
        )
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise SightlineError(
            "device is cuda, but torch sees no CUDA device; use cpu, or install a CUDA build of torch"
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def network_size(size: Size) -> Size:
    """A size that all levels of the pyramid divide. Raises SightlineError."""
    if size[0] % 32 or size[1] % 32 or min(size) < 64:
        raise SightlineError(
            f"size is {size[0]}x{size[1]}; width and height must be multiples of 32, at least 64"
        )
    return size


def with_work(options: Options, job: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Run the job with a folder for drawn data."""
    if options.work is not None:
        return job(options.work)
    with tempfile.TemporaryDirectory(prefix="sightline-train-") as folder:
        return job(Path(folder))


def run_task(kind: str, options: Options, device: str, task: Task, lines: Lines) -> Trainer:
    """Train, from the checkpoint where there is one. What comes out is the best evaluation's averaged network."""
    from sightline.builders.train.loop import Settings, Trainer

    usual, larger = USUAL[kind], device == "cuda"
    epochs = options.epochs if options.epochs or options.minutes else usual.epochs
    settings = Settings(
        minutes=options.minutes,
        epochs=epochs,
        seed=options.seed,
        batch=options.batch or usual.batch * (_LARGER_ON_CUDA if larger else 1),
        rate=options.rate or usual.rate * (2 if larger else 1),
        average=usual.average,
        evaluations=options.evaluations,
        patience=options.patience,
        device=device,
        threads=options.threads or os.cpu_count() or 1,
        precision=options.precision,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(settings, task, checkpoint_of(options), lines)
    try:
        trainer.run()
    except KeyboardInterrupt:
        lines.say(f"stopped; the same command goes on from {checkpoint_of(options)}")
        raise
    return trainer


def checkpoint_of(options: Options) -> Path:
    """From where an interrupted run goes on."""
    return (options.work or options.out) / "checkpoint.pt"


def finished(options: Options, record: dict[str, Any], lines: Lines) -> dict[str, Any]:
    """A finished run needs no checkpoint."""
    checkpoint_of(options).unlink(missing_ok=True)
    lines.say(f"the model, its card and its record are in {options.out}")
    return record


def workers_of(options: Options) -> int:
    """How many processes draw."""
    return options.workers or os.cpu_count() or 1
