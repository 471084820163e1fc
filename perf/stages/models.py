# SPDX-License-Identifier: Apache-2.0
"""The repository that is measured: the shipped detector, which LocalServer wants, and our models beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2 as pb

NATIVE, PYTHON = "stages_native", "stages_python"
IDENTITY, TAIL = "stages_identity", "stages_tail"
CLASSES, ANCHORS, SIZE = 80, 8400, (640, 640)
OBJECTS, NEAR = 40, 6
INSTANCES = 2
SEED = 11

Specs = Mapping[str, tuple[str, tuple[int, ...]]]

_HEAD: Specs = {"RAW": ("FP32", (4 + CLASSES, ANCHORS)), "GEOMETRY": ("FP32", (7,))}
_ANSWERS: Specs = {
    "COUNT": ("INT32", (1,)),
    "BOXES": ("FP32", (-1, 4)),
    "SCORES": ("FP32", (-1,)),
    "CLASSES": ("INT32", (-1,)),
}
_TENSOR: Specs = {"TENSOR": ("FP32", (-1, -1))}
_LOOSE: Specs = {"RAW": ("FP32", (-1, -1)), "GEOMETRY": ("FP32", (7,))}
_LIMITS = {"score": 0.25, "iou": 0.45, "detections": 300}
_PYTHON_SOURCE = "from sightline.perf.stages.python_postprocess import TritonPythonModel  # noqa: F401\n"


def chain_name(stages: int) -> str:
    """The ensemble of so many identity stages and post-processing, whose small answer fits any client's region."""
    return f"stages_chain_{stages}"


def write_models(repository: Path) -> None:
    """Add the measured models to a built repository."""
    tail = {"stage": "postprocess", "head": "yolov8", "outputs": 1, **_LIMITS}
    parameter = json.dumps({**tail, "classes": CLASSES, "size": list(SIZE)})
    _write(repository, _model(NATIVE, "sightline", _HEAD, _ANSWERS, parameter))
    _write(repository, _model(PYTHON, "python", _HEAD, _ANSWERS, parameter))
    (repository / PYTHON / "1" / "model.py").write_text(_PYTHON_SOURCE, encoding="utf-8")
    _write(repository, _model(IDENTITY, "sightline", _TENSOR, _TENSOR, '{"stage": "identity"}'))
    _write(repository, _model(TAIL, "sightline", _LOOSE, _ANSWERS, json.dumps(tail)))
    for stages in (0, 1):
        _write(repository, _chain(stages))


def _model(name: str, backend: str, inputs: Specs, outputs: Specs, parameter: str) -> pb.ModelConfig:
    config = pb.ModelConfig(name=name, max_batch_size=8)
    for specs, fields in ((inputs, config.input), (outputs, config.output)):
        for tensor, (data_type, dims) in specs.items():
            fields.add(name=tensor, data_type=pb.DataType.Value(f"TYPE_{data_type}"), dims=dims)
    if backend != "ensemble":
        config.backend = backend
        config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=INSTANCES)
        config.parameters["sightline"].string_value = parameter
    return config


def _chain(stages: int) -> pb.ModelConfig:
    config = _model(chain_name(stages), "ensemble", _LOOSE, _ANSWERS, "")
    config.platform = "ensemble"
    names = ["RAW", *(f"RAW_after_{number + 1}" for number in range(stages))]
    for before, after in pairwise(names):
        step = config.ensemble_scheduling.step.add(model_name=IDENTITY, model_version=-1)
        step.input_map["TENSOR"] = before
        step.output_map["TENSOR"] = after
    step = config.ensemble_scheduling.step.add(model_name=TAIL, model_version=-1)
    step.input_map.update({"RAW": names[-1], "GEOMETRY": "GEOMETRY"})
    step.output_map.update({name: name for name in _ANSWERS})
    return config


def _write(repository: Path, config: pb.ModelConfig) -> None:
    folder = repository / config.name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")


def head_output(classes: int, anchors: int) -> NDArray[np.float32]:
    """A YOLOv8 output (4 + classes, anchors) as of a street: objects, each seen by six anchors, and noise."""
    rng = np.random.default_rng(SEED)
    raw = np.zeros((4 + classes, anchors), np.float32)
    raw[:2] = rng.uniform(0, SIZE[0], (2, anchors))
    raw[2:4] = rng.uniform(8, 120, (2, anchors))
    raw[4:] = rng.uniform(0, 0.05, (classes, anchors))
    for start in range(0, min(OBJECTS * NEAR, anchors // 2), NEAR):
        near = slice(start, start + NEAR)
        raw[:4, near] = raw[:4, start, None] + rng.uniform(-2, 2, (4, NEAR))
        raw[4 + int(rng.integers(classes)), near] = rng.uniform(0.3, 0.95, NEAR)
    return raw


def write_input(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """One request as perf_analyzer's --input-data reads it."""
    entries = {
        name: {"b64": base64.b64encode(array.tobytes()).decode("ascii"), "shape": list(array.shape)}
        for name, array in tensors.items()
    }
    path.write_text(json.dumps({"data": [entries]}), encoding="ascii")


def head_tensors(classes: int = CLASSES, anchors: int = ANCHORS) -> dict[str, NDArray[np.float32]]:
    """Inputs of the post-processing models and of the chains."""
    geometry = np.array([1, 1280, 720, 0.5, 0.5, 0, 140], np.float32)
    return {"RAW": head_output(classes, anchors), "GEOMETRY": geometry}
