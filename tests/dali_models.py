# SPDX-License-Identifier: Apache-2.0
"""The stages of target `server` in the wheel's tritonserver: the DALI models' own files, run by a Python model on the CPU.

The DALI backend is in NVIDIA's containers only. HOST does with the serialized pipeline what its source says: requests that
Triton merged become one batch with a shape for each item, and one error fails them all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.entries.context import EntryContext
from sightline.builders.entries.fronts import Front, file_front, frame_front, picture_parameters
from sightline.builders.entries.models import (
    ERROR,
    GEOMETRY,
    add_step,
    config_text,
    plain_model,
    stage_model_config,
)
from sightline.builders.preprocess.dali_stages import DaliStage, dali_stage_files
from sightline.card import ModelCard

SHIM = "from sightline.builders.stages.{stage} import TritonPythonModel as TritonPythonModel\n"
HOST = """\
import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from nvidia.dali.pipeline import Pipeline


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.file = Path(args["model_repository"]) / args["model_version"] / "model.dali"
        self.open()

    def open(self):
        self.pipeline = Pipeline.deserialize(
            filename=str(self.file), num_threads=1, device_id=None,
            prefetch_queue_depth=1, exec_async=False, exec_pipelined=False,
        )
        self.pipeline.build()

    def execute(self, requests):
        try:
            return self.run(requests)
        except Exception as error:
            self.open()
            failed = pb_utils.TritonError(f"DALI error: {error}")
            return [pb_utils.InferenceResponse([], failed) for _ in requests]

    def run(self, requests):
        for name in self.inputs:
            arrays = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            self.pipeline.feed_input(name, [np.ascontiguousarray(row) for array in arrays for row in array])
        results = [np.array(output.as_array()) for output in self.pipeline.run()]
        responses, start = [], 0
        for array in arrays:
            end = start + len(array)
            tensors = [pb_utils.Tensor(n, r[start:end]) for n, r in zip(self.outputs, results)]
            responses.append(pb_utils.InferenceResponse(tensors))
            start = end
        return responses
"""
# How the backend calls DALI: src/model_provider/model_provider.h of triton-inference-server/dali_backend.
SERIALIZE = """
import importlib, sys
import importlib.util
from nvidia.dali._utils.autoserialize import invoke_autoserialize
for folder in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location('autoserialize_mod', folder + '/dali.py')
    head_module = importlib.util.module_from_spec(spec)
    sys.modules['autoserialize_mod'] = head_module
    spec.loader.exec_module(head_module)
    invoke_autoserialize(head_module, folder + '/model.dali')
"""


def serialize(*folders: Path) -> None:
    """What the DALI backend does when it loads models: each dali.py to a serialized pipeline, model.dali here."""
    command = [sys.executable, "-W", "ignore", "-c", SERIALIZE, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd="/")
    assert done.returncode == 0, done.stderr


def write_dali_files(card: ModelCard, stage: DaliStage, folder: Path, device: Any = "cpu") -> Path:
    """The folder, with all but model.dali, which serialize() makes."""
    folder.mkdir(parents=True)
    for name, content in dali_stage_files(card, stage, device=device).items():
        (folder / name).write_bytes(content)
    return folder


def write_fronts(card: ModelCard, repository: Path) -> dict[str, Path]:
    """Models `files` and `frames`: the fronts of target server; `local_dali`: the stage decode_dali.

    Returns the folders of the stages decode and letterbox, for serialize().
    """
    folders: dict[str, Path] = {}
    context = EntryContext(card, cast(Any, None), (), "0", cores=2, target="server")
    for name, front in (("files", file_front(context)), ("frames", frame_front(context))):
        for config in front.configs:
            folders |= _write_stage(card, config, repository)
        _write(_ensemble(context, name, front), repository)
    config = stage_model_config(
        context, "decode_dali", (file_front(context).inputs), (context.tensor, GEOMETRY, ERROR),
        backend="python", instances=1, parameters=picture_parameters(card),
    )  # fmt: skip
    config.name = "local_dali"
    _write(config, repository, SHIM.format(stage="decode_dali"))
    return folders


def _write_stage(card: ModelCard, config: pb.ModelConfig, repository: Path) -> dict[str, Path]:
    stage = config.name.partition("_v1_")[2]
    if config.backend != "dali":
        _write(config, repository, SHIM.format(stage=stage))
        return {}
    folder = write_dali_files(card, cast(DaliStage, stage), repository / config.name / "1")
    config.backend = "python"
    del config.instance_group[:]
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)
    config.dynamic_batching.max_queue_delay_microseconds = 50_000  # so that requests are merged
    _write(config, repository, HOST)
    return {stage: folder}


def _ensemble(context: EntryContext, name: str, front: Front) -> pb.ModelConfig:
    config = plain_model(context, name, front.inputs, (context.tensor, GEOMETRY, ERROR))
    config.platform = "ensemble"
    for step in front.steps:
        add_step(config, context.stage(step.stage), step.inputs, step.outputs)
    return config


def _write(config: pb.ModelConfig, repository: Path, source: str = "") -> None:
    folder = repository / config.name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config_text(config), encoding="utf-8")
    if source:
        (folder / "1" / "model.py").write_text(source, encoding="utf-8")
