# SPDX-License-Identifier: Apache-2.0
"""torchvision's one-stage detectors as networks whose outputs the heads `ssd` and `yolov8` read.

Their transform (resizing and normalising) and their post-processing stay outside: both are Sightline's own stages.
Imports PyTorch: use import_torch() before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sightline.builders.sources.torch_modules import anchors_of


class Anchored(nn.Module):
    """RetinaNet and SSD: deltas (N, A, 4) and class logits (N, A, C)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.head(list(self.backbone(images).values()))
        return answer["bbox_regression"], answer["cls_logits"]


class Fcos(nn.Module):
    """FCOS in YOLOv8's layout (N, 4 + C, A): centre x, centre y, width, height, scores, without the background."""

    def __init__(self, model: Any, anchors: Tensor, size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone, self.head, self.coder, self.size = model.backbone, model.head, model.box_coder, size
        self.register_buffer("anchors", anchors)

    def forward(self, images: Tensor) -> Tensor:
        answer = self.head(list(self.backbone(images).values()))
        boxes = self.coder.decode(answer["bbox_regression"], self.anchors)
        x1, y1, x2, y2 = boxes.unbind(-1)
        width, height = self.size
        x1, x2, y1, y2 = x1.clamp(0, width), x2.clamp(0, width), y1.clamp(0, height), y2.clamp(0, height)
        centred = torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), 1)
        scores = torch.sqrt(answer["cls_logits"].sigmoid() * answer["bbox_ctrness"].sigmoid())
        return torch.cat((centred, scores[..., 1:].transpose(1, 2)), 1)


def anchored(model: Any, size: tuple[int, int]) -> tuple[nn.Module, dict[str, Any]]:
    """RetinaNet or SSD, and the card's head for an input of `size` (width, height)."""
    softmax = type(model).__name__ == "SSD"
    anchors = anchors_of(model.anchor_generator, _features(model, size), size)
    head = {
        "kind": "ssd",
        "activation": "softmax" if softmax else "sigmoid",
        "background": "first",
        "multi_label": True,
        "box_weights": tuple(float(weight) for weight in model.box_coder.weights),
        "anchors": tuple(tuple(row) for row in anchors.tolist()),
    }
    return Anchored(model).eval(), head


def fcos(model: Any, size: tuple[int, int]) -> tuple[nn.Module, dict[str, Any]]:
    """FCOS with its boxes decoded, and the card's head."""
    anchors = anchors_of(model.anchor_generator, _features(model, size), size)
    return Fcos(model, anchors, size).eval(), {"kind": "yolov8", "activation": "none", "multi_label": True}


def _features(model: Any, size: tuple[int, int]) -> list[Tensor]:
    with torch.no_grad():
        return list(model.backbone(torch.zeros(1, 3, size[1], size[0])).values())
