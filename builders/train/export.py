# SPDX-License-Identifier: Apache-2.0
"""ONNX from a trained network."""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightline.builders.train.network import StreetDetector

OPSET = 17
_STORED_HALF_FROM = 256
"""Weights with at least this many values are stored as fp16 where that is asked for."""


class ExportedDetector(nn.Module):
    """images (N, 3, H, W) 0..1 -> (N, 4 + C, A): cx, cy, w, h in input pixels, then class scores 0..1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        boxes, logits = self.network(images)
        return torch.cat([boxes, logits.sigmoid()], 1)


def onnx_from_network(network: StreetDetector, path: Path, size: tuple[int, int]) -> str:
    """Write a detector to `path` in one rename; size is (width, height). Returns the file's SHA-256."""
    return onnx_from_module(ExportedDetector(network), path, size, ("output0",))


def onnx_from_module(
    module: nn.Module,
    path: Path,
    size: tuple[int, int],
    outputs: Sequence[str],
    *,
    half_weights: bool = False,
) -> str:
    """Write `path` in one rename: input `images` (N, 3, H, W), the named outputs. Returns the file's SHA-256.

    size is (width, height). half_weights: large weights are stored as fp16 behind a Cast to fp32, which halves the
    file; all arithmetic stays fp32.
    """
    model = copy.deepcopy(module).cpu().eval()
    example = torch.zeros(1, 3, size[1], size[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(partial),
            opset_version=OPSET,
            input_names=["images"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in ("images", *outputs)},
            dynamo=False,
        )
    if half_weights:
        _store_half(partial)
    os.replace(partial, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _store_half(path: Path) -> None:
    """Replace large fp32 weights of a file by fp16 weights and a Cast."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path))
    casts: list[Any] = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        if values.size < _STORED_HALF_FROM or np.abs(values).max() > 6e4:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_half"))
        casts.append(
            helper.make_node("Cast", [name + "_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
