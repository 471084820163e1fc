# SPDX-License-Identifier: Apache-2.0
"""One command from nothing to a shipped detector: draw scenes, train, export, measure, record."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Idle OpenMP threads that spin take the cores from the processes that draw; torch reads this when it starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

FIRST_TRAINING_SEED, TRAINING_SEEDS, HELD_OUT_SEEDS, FRAMES_PER_SEED = 1000, 2000, 150, 4
FULL_SIZE_SHARE = 0.25
"""Share of the training scenes that are drawn at 1280x720 and scaled down as a server does it."""


@dataclass(frozen=True)
class Scale:
    """How much to draw and how to use the machine; 0 lets the machine decide."""

    training_seeds: int = TRAINING_SEEDS
    held_out_seeds: int = HELD_OUT_SEEDS
    workers: int = 0
    batch: int = 0


def train(
    out: Path, minutes: float = 70.0, seed: int = 1, device: str = "auto", data: Path | None = None, *,
    scale: Scale = Scale(), report: Callable[[str], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train the street detector and write model.onnx, labels.txt, record.json and training.png into `out`.

    minutes: time for the training loop; drawing and measuring come on top. device: auto, cpu or cuda.
    data: folder for the drawn frames and the checkpoint; a run with the same folder reuses the frames and
    resumes; None uses a new temporary folder. Returns the record.
    The same seed gives the same frames, first weights and order of batches; as the run is bound by time, the
    number of steps, and with it the result, depends on the machine.
    Raises MissingDependencyError without torch, SightlineError when the device is not there.
    """
    say = report or _print
    used = _device(device)
    if data is None:
        with tempfile.TemporaryDirectory(prefix="sightline-train-") as folder:
            return _train(out, minutes, seed, used, Path(folder), scale, say)
    return _train(out, minutes, seed, used, data, scale, say)


def _train(
    out: Path, minutes: float, seed: int, device: str, data: Path, scale: Scale, say: Callable[[str], None]
) -> dict[str, Any]:
    from sightline.builders.train.dataset import HELD_OUT_FIRST_SEED, INPUT_SIZE, RenderPlan, render
    from sightline.builders.train.export import onnx_from_network
    from sightline.builders.train.train import Settings, Trainer
    from sightline.scenes import CLASS_NAMES

    cores = os.cpu_count() or 1
    workers = scale.workers or cores
    plan = RenderPlan(FIRST_TRAINING_SEED, scale.training_seeds, FRAMES_PER_SEED, FULL_SIZE_SHARE)
    held_out_plan = RenderPlan(HELD_OUT_FIRST_SEED, scale.held_out_seeds, FRAMES_PER_SEED, 1.0)
    frames = render(data / "train", plan, workers, _drawing(say, "training"))
    held_out = render(data / "held_out", held_out_plan, workers, _drawing(say, "held-out"))
    batch, rate = (64, 4e-3) if device == "cuda" else (8, 1.5e-3)
    settings = Settings(
        minutes=minutes, seed=seed, batch=scale.batch or batch, rate=rate, device=device, threads=cores
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "labels.txt").write_text("\n".join(CLASS_NAMES) + "\n")

    def keep(network: Any, result: Any) -> None:
        onnx_from_network(network, out / "model.onnx", INPUT_SIZE)
        say(f"exported {out / 'model.onnx'} at mAP50 {result.map50:.3f}")

    trainer = Trainer(settings, len(CLASS_NAMES), frames, held_out, data / "checkpoint.pt", say, keep)
    digest = onnx_from_network(trainer.run(), out / "model.onnx", INPUT_SIZE)
    return _record(out, trainer, plan, held_out, digest, say)


def _record(
    out: Path, trainer: Any, plan: Any, held_out: Any, digest: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure the exported file and write record.json and training.png."""
    import numpy as np

    from sightline.builders.train import record
    from sightline.builders.train.dataset import INPUT_SIZE
    from sightline.builders.train.evaluate import NMS_IOU, SCORE_THRESHOLD
    from sightline.scenes import CLASS_NAMES

    history = trainer.history
    detector = record.OnnxDetector(out / "model.onnx")
    result = record.onnx_evaluation(detector, held_out, np.arange(len(held_out)))
    history.map50.append((history.seconds, result.map50))
    record.write_picture(out / "training.png", detector, held_out, history.losses, history.map50)
    content = {
        "date": record.now(),
        "classes": list(CLASS_NAMES),
        "input_size": list(INPUT_SIZE),
        "seed": trainer.settings.seed,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "training": {"scene_seeds": plan.seeds, **trainer.summary()},
        "held_out": {**record.figures(result), "score_threshold": SCORE_THRESHOLD, "nms_iou": NMS_IOU},
        "frames_per_second_per_core": round(detector.frames_per_second(), 1),
        "processor": record.processor_name(),
        "onnx_bytes": (out / "model.onnx").stat().st_size,
        "onnx_sha256": digest,
    }
    partial = out / "record.json.partial"
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, out / "record.json")
    say(f"held-out mAP50 {result.map50:.3f}, mAP50-95 {result.map50_95:.3f}; record in {out / 'record.json'}")
    return content


def _device(device: str) -> str:
    from sightline.errors import MissingDependencyError, SightlineError

    if device not in ("auto", "cpu", "cuda"):
        raise SightlineError(f"device is {device!r}; it must be auto, cpu or cuda")
    missing = []
    for name in ("torch", "onnx", "openvino"):
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
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


def _drawing(say: Callable[[str], None], name: str) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done % max(total // 40, 1) == 0 or done == total:
            say(f"drawing {name} scenes {done}/{total}")

    return progress


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
