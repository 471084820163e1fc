# SPDX-License-Identifier: Apache-2.0
"""A compact residual network (He 2016, written anew) for whole pictures: class scores or embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.builders.train.network import conv


class Residual(nn.Module):
    """Two 3x3 convolutions beside a short cut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, 3, stride),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
        )
        same = inputs == outputs and stride == 1
        self.short_cut: nn.Module = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.short_cut(x))


class Trunk(nn.Module):
    """images (N, 3, H, W) float 0..1 -> features (N, widths[-1], H / 16, W / 16), or / 32 with first_stride 2."""

    def __init__(
        self, widths: tuple[int, int, int, int], depths: tuple[int, int, int, int], first_stride: int = 1
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, widths[0] // 2 + 4, 3, 2)]
        inputs = widths[0] // 2 + 4
        for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                stride = (2 if level else first_stride) if not block else 1
                layers.append(Residual(inputs, width, stride))
                inputs = width
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images * 2 - 1)
        return features


class Classifier(nn.Module):
    """images (N, 3, H, W) float 0..1 -> logits (N, C)."""

    def __init__(self, classes: int, widths: tuple[int, int, int, int] = (24, 48, 96, 160)) -> None:
        super().__init__()
        self.trunk = Trunk(widths, (1, 1, 1, 1))
        self.score = nn.Sequential(nn.Dropout(0.1), nn.Linear(widths[-1], classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.score(self.trunk(images).mean((2, 3)))
        return logits


class Embedder(nn.Module):
    """images (N, 3, H, W) float 0..1 -> embeddings (N, D) of length 1."""

    def __init__(self, dimensions: int = 128, widths: tuple[int, int, int, int] = (32, 64, 128, 160)) -> None:
        super().__init__()
        self.trunk = Trunk(widths, (1, 1, 1, 1), first_stride=2)
        self.project = nn.Linear(3 * widths[-1], dimensions)

    def forward(self, images: Tensor) -> Tensor:
        features = self.trunk(images)
        upper, lower = features.chunk(2, 2)
        parts = [upper.mean((2, 3)), lower.mean((2, 3)), features.amax((2, 3))]
        return functional.normalize(self.project(torch.cat(parts, 1)), dim=1)
