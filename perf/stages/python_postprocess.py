# SPDX-License-Identifier: Apache-2.0
"""The peer: the same C kernel called from a model of Triton's Python backend. Only importable inside it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from sightline.preprocess_ext import Head, decode_head


class TritonPythonModel:
    """RAW, GEOMETRY -> COUNT, BOXES, SCORES, CLASSES, one item a request."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the same parameter as the native stage."""
        parameter = json.loads(args["model_config"])["parameters"]["sightline"]["string_value"]
        values = json.loads(parameter)
        self._head = Head("yolov8", values["classes"], tuple(values["size"]))
        self._limits: dict[str, Any] = {
            "score": values["score"],
            "iou": values["iou"],
            "max_detections": values["detections"],
        }

    def execute(self, requests: list[Any]) -> list[Any]:
        """Called by Triton."""
        return [self._response(request) for request in requests]

    def _response(self, request: Any) -> Any:
        raw, geometry = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0] for name in ("RAW", "GEOMETRY")
        )
        found = decode_head(self._head, [raw], geometry, **self._limits)
        outputs = {
            "COUNT": np.array([[len(found.scores)]], np.int32),
            "BOXES": found.boxes[None],
            "SCORES": found.scores[None],
            "CLASSES": found.classes[None],
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in outputs.items()])
