# SPDX-License-Identifier: Apache-2.0
"""A tiny repository of Python-backend models that follow the wire contract, to test the server's life."""

from __future__ import annotations

import json
from pathlib import Path

# Answers at once; a picture of one byte N keeps it busy for N tenths of a second.
MODEL = """\
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        data = request.inputs()[0].as_numpy()
        if data.shape[1] == 1:
            time.sleep(float(data[0, 0]) / 10)
        n = data.shape[0]
        return pb_utils.InferenceResponse([
            pb_utils.Tensor("COUNT", np.ones((n, 1), np.int32)),
            pb_utils.Tensor("BOXES", np.zeros((n, 1, 4), np.float32)),
        ])
"""
MODEL_THAT_DOES_NOT_LOAD = """\
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("the weights are missing")
"""
MODEL_THAT_ANSWERS_NONSENSE = MODEL.replace("np.zeros((n, 1, 4)", "np.full((n, 1, 4), np.nan")
_OUTPUTS = """output [
  { name: "COUNT" data_type: TYPE_INT32 dims: [1] },
  { name: "BOXES" data_type: TYPE_FP32 dims: [-1, 4] }
]
"""
_ENCODED = '{ name: "IMAGE" data_type: TYPE_UINT8 dims: [-1] }'
_FRAME_INFO = '{ name: "FRAME_INFO" data_type: TYPE_INT32 dims: [4] }'
_FRAME = f'{{ name: "FRAME" data_type: TYPE_UINT8 dims: [-1] }}, {_FRAME_INFO}'


def write_repository(folder: Path, *, model: str = MODEL, instances: int = 1) -> Path:
    """Ensembles `tiny` and `tiny_frames`, each over a Python model of this source; returns the folder."""
    for ensemble, inputs in (("tiny", _ENCODED), ("tiny_frames", _FRAME)):
        _write_model(folder / f"{ensemble}_network", inputs, model, instances)
        _write_ensemble(folder / ensemble, inputs)
    return folder


def _write_model(folder: Path, inputs: str, source: str, instances: int) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(source, encoding="utf-8")
    (folder / "config.pbtxt").write_text(
        f'name: "{folder.name}"\nbackend: "python"\nmax_batch_size: 4\ninput [ {inputs} ]\n{_OUTPUTS}'
        f"instance_group [ {{ kind: KIND_CPU count: {instances} }} ]\n"
        "dynamic_batching { default_queue_policy { max_queue_size: 2 } }\n",
        encoding="utf-8",
    )


def _write_ensemble(folder: Path, inputs: str) -> None:
    names = ["IMAGE"] if "IMAGE" in inputs else ["FRAME", "FRAME_INFO"]
    input_map = "".join(f'input_map {{ key: "{name}" value: "{name}" }} ' for name in names)
    output_map = "".join(f'output_map {{ key: "{name}" value: "{name}" }} ' for name in ("COUNT", "BOXES"))
    parameter = json.dumps(json.dumps({"task": "detect", "labels": ["thing"], "version": 1}))
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        f'name: "{folder.name}"\nplatform: "ensemble"\nmax_batch_size: 4\ninput [ {inputs} ]\n{_OUTPUTS}'
        f'ensemble_scheduling {{ step {{ model_name: "{folder.name}_network" model_version: -1 '
        f"{input_map}{output_map}}} }}\n"
        f'parameters {{ key: "sightline" value {{ string_value: {parameter} }} }}\n',
        encoding="utf-8",
    )
