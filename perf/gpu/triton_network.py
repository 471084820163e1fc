# SPDX-License-Identifier: Apache-2.0
"""A model of Triton's Python backend that runs an ONNX network with PyTorch, on the device of its instance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.perf.gpu.onnx_torch import TorchNetwork

INPUT, OUTPUT = "TENSOR", "RAW"
ONNX_FILE = "model.onnx"


def output_name(index: int) -> str:
    """RAW, RAW_1, RAW_2, …"""
    return OUTPUT if index == 0 else f"{OUTPUT}_{index}"


class TritonPythonModel:
    """Batches of all waiting requests go through the network together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network onto the instance's device."""
        kind, index = args["model_instance_kind"], args["model_instance_device_id"]
        device = f"cuda:{index}" if kind == "GPU" else "cpu"
        half = json.loads(args["model_config"])["parameters"]["half"]["string_value"] == "1"
        path = Path(args["model_repository"]) / args["model_version"] / ONNX_FILE
        self._network = TorchNetwork(path.read_bytes(), device, half=half)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """An answer for each request, in their order."""
        import triton_python_backend_utils as backend

        inputs = [backend.get_input_tensor_by_name(request, INPUT).as_numpy() for request in requests]
        outputs = self._network.run(inputs[0] if len(inputs) == 1 else np.concatenate(inputs))
        answers, start = [], 0
        for one in inputs:
            part = slice(start, start + len(one))
            tensors = [
                backend.Tensor(output_name(index), np.ascontiguousarray(output[part], np.float32))
                for index, output in enumerate(outputs)
            ]
            answers.append(backend.InferenceResponse(tensors))
            start += len(one)
        return answers
