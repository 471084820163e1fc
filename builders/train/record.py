# SPDX-License-Identifier: Apache-2.0
"""What a training run leaves beside its weights: the record of figures measured on the exported file."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from sightline.builders.train.evaluate import Evaluation

_SPEED_SECONDS = 6.0
_NUMBERS = re.compile(r"\[\n\s+([-+\d.eE,\s]+)\]")


class OnnxNetwork:
    """An exported file in OpenVINO on one core: (B, 3, H, W) float32 0..1 -> its outputs, in order."""

    def __init__(self, path: Path) -> None:
        import openvino

        options = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = openvino.Core().compile_model(str(path), "CPU", options)
        self._outputs = len(compiled.outputs)
        self._request = compiled.create_infer_request()
        shape = compiled.input(0).partial_shape
        self._shape = (1, 3, shape[2].get_length(), shape[3].get_length())

    def outputs(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Every output, copied."""
        found = self._request.infer({0: images})
        return tuple(np.array(found[i]) for i in range(self._outputs))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The first output, copied."""
        return self.outputs(images)[0]

    def frames_per_second(self) -> float:
        """Frames a second of CPU time at batch 1, in the best of several rounds: what a core gives when left alone."""
        image = np.full(self._shape, 0.5, np.float32)
        for _ in range(5):
            self(image)
        best, end = float("inf"), time.perf_counter() + _SPEED_SECONDS
        while time.perf_counter() < end or best == float("inf"):
            start = time.process_time()
            for _ in range(10):
                self._request.infer({0: image})
            best = min(best, (time.process_time() - start) / 10)
        return 1.0 / max(best, 1e-6)


def processor_name() -> str:
    """The processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def figures(result: Evaluation, classes: tuple[str, ...]) -> dict[str, Any]:
    """An evaluation as the record holds it."""
    return {
        "map50": round(result.map50, 4),
        "map50_95": round(result.map50_95, 4),
        "frames": result.frames,
        "objects": result.objects,
        "ap50": {classes[k]: round(v, 4) for k, v in result.ap50.items()},
    }


def curves(result: Evaluation, classes: tuple[str, ...]) -> dict[str, dict[str, list[float]]]:
    """The precision-recall curve of each class at IoU 0.50, at 21 of its recalls."""
    return {
        classes[k]: {
            "recall": [round(step / 20, 2) for step in range(21)],
            "precision": [round(float(value), 4) for value in precision[::5]],
        }
        for k, precision in result.precision.items()
    }


def by_class(values: np.ndarray, classes: tuple[str, ...]) -> dict[str, float]:
    """The values (C,) of the classes that have one."""
    return {name: round(float(v), 4) for name, v in zip(classes, values, strict=True) if not np.isnan(v)}


def now() -> str:
    """UTC date and time, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def write_record(
    folder: Path, network: OnnxNetwork, content: dict[str, Any], held_out: dict[str, Any]
) -> dict[str, Any]:
    """Write record.json for the folder's model.onnx in one rename, and return what it holds."""
    weights = (folder / "model.onnx").read_bytes()
    record = {
        "date": now(),
        **content,
        "held_out": held_out,
        "frames_per_second_per_core": round(network.frames_per_second(), 1),
        "processor": processor_name(),
        "onnx_bytes": len(weights),
        "onnx_sha256": hashlib.sha256(weights).hexdigest(),
    }
    save_record(folder, record)
    return record


def save_record(folder: Path, record: dict[str, Any]) -> None:
    """Write record.json in one rename, a list of numbers on one line."""
    text = _NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", json.dumps(record, indent=2))
    partial = folder / "record.json.partial"
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, folder / "record.json")
