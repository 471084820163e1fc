# SPDX-License-Identifier: Apache-2.0
"""ONNX from a trained network, with the output of a YOLOv8 export."""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from sightline.builders.train.network import StreetDetector

OPSET = 17


class ExportedDetector(nn.Module):
    """images (N, 3, H, W) 0..1 -> (N, 4 + C, A): cx, cy, w, h in input pixels, then class scores 0..1."""

    def __init__(self, network: StreetDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        boxes, logits = self.network(images)
        return torch.cat([boxes, logits.sigmoid()], 1)


def onnx_from_network(network: StreetDetector, path: Path, size: tuple[int, int]) -> str:
    """Write `path` in one rename; size is (width, height). Returns the file's SHA-256."""
    model = ExportedDetector(copy.deepcopy(network).cpu()).eval()
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
            output_names=["output0"],
            dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
            dynamo=False,
        )
    os.replace(partial, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
