# SPDX-License-Identifier: Apache-2.0
"""A small anchor-free detector: split-and-merge stages, a two-way pyramid, separate class and box branches.

Source of the ideas, written anew: CSPNet (Wang 2019) for the stages, PANet (Liu 2018) for the pyramid, YOLOX
(Ge 2021) for the branches and the box code (centre offset and log size on each cell).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
_LOG_SIZE_LIMIT = 4.0


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
        nn.ReLU(inplace=True),
    )


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with a short cut if asked."""

    def __init__(self, channels: int, short_cut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels, 3), conv(channels, channels, 3))
        self.short_cut = short_cut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.short_cut else y


class Stage(nn.Module):
    """Half of the channels passes by, half goes through bottlenecks; all are merged."""

    def __init__(self, inputs: int, outputs: int, depth: int, short_cut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = conv(inputs, 2 * half, 1)
        self.blocks = nn.ModuleList(Bottleneck(half, short_cut) for _ in range(depth))
        self.merge = conv((2 + depth) * half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        merged: Tensor = self.merge(torch.cat(parts, 1))
        return merged


class Context(nn.Module):
    """Three chained 5x5 max pools (SPPF)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = conv(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.merge = conv(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        merged: Tensor = self.merge(torch.cat(parts, 1))
        return merged


class Head(nn.Module):
    """Class scores and boxes of one pyramid level."""

    def __init__(self, channels: int, middle: int, classes: int, stride: int) -> None:
        super().__init__()
        last_box, last_score = nn.Conv2d(middle, 4, 1), nn.Conv2d(middle, classes, 1)
        self.box = nn.Sequential(conv(channels, middle, 3), last_box)
        self.score = nn.Sequential(conv(channels, middle, 3), last_score)
        for layer, start in ((last_box, 0.0), (last_score, -math.log(250.0))):
            if layer.bias is not None:
                nn.init.constant_(layer.bias, start)
        self.stride = stride

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.box(x).flatten(2), self.score(x).flatten(2)


class StreetDetector(nn.Module):
    """images (N, 3, H, W) float 0..1 -> boxes (N, 4, A) cxcywh pixels, class logits (N, C, A).

    H and W are divisible by 32.
    """

    def __init__(
        self, classes: int, widths: tuple[int, int, int, int, int] = (16, 32, 64, 96, 128), middle: int = 56
    ) -> None:
        super().__init__()
        self.classes, self.widths = classes, widths
        a, b, c, d, e = widths
        self.stem = nn.Sequential(conv(3, a, 3, 2), conv(a, b, 3, 2), Stage(b, b, 1))
        self.stage8 = nn.Sequential(conv(b, c, 3, 2), Stage(c, c, 2))
        self.stage16 = nn.Sequential(conv(c, d, 3, 2), Stage(d, d, 2))
        self.stage32 = nn.Sequential(conv(d, e, 3, 2), Stage(e, e, 1), Context(e))
        self.up16 = Stage(d + e, d, 1, False)
        self.up8 = Stage(c + d, c, 1, False)
        self.down16 = conv(c, c, 3, 2)
        self.out16 = Stage(c + d, d, 1, False)
        self.down32 = conv(d, c, 3, 2)
        self.out32 = Stage(c + e, e, 1, False)
        self.grow = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.heads = nn.ModuleList(
            Head(w, middle, classes, s) for w, s in zip((c, d, e), STRIDES, strict=True)
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of the backbone at strides 4, 8, 16 and 32."""
        p4 = self.stem(images)
        p8 = self.stage8(p4)
        p16 = self.stage16(p8)
        return p4, p8, p16, self.stage32(p16)

    def pyramid(self, p8: Tensor, p16: Tensor, p32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features for the heads at strides 8, 16 and 32, of the backbone's."""
        n16 = self.up16(torch.cat([self.grow(p32), p16], 1))
        n8 = self.up8(torch.cat([self.grow(n16), p8], 1))
        m16 = self.out16(torch.cat([self.down16(n8), n16], 1))
        m32 = self.out32(torch.cat([self.down32(m16), p32], 1))
        return n8, m16, m32

    def decode(self, levels: tuple[Tensor, Tensor, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and logits of the pyramid's features."""
        raw, scores = zip(*(head(level) for head, level in zip(self.heads, levels, strict=True)), strict=True)
        points, strides = anchor_points(images.shape[2], images.shape[3], images.device)
        raw_boxes = torch.cat(raw, 2)
        centres = points + raw_boxes[:, :2] * strides
        sizes = torch.exp(raw_boxes[:, 2:].clamp(-_LOG_SIZE_LIMIT, _LOG_SIZE_LIMIT)) * (2.0 * strides)
        return torch.cat([centres, sizes], 1), torch.cat(scores, 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        _, p8, p16, p32 = self.encode(images)
        return self.decode(self.pyramid(p8, p16, p32), images)


def anchor_points(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cell centres (1, 2, A) in pixels, x before y, and cell sizes (1, 1, A)."""
    points, strides = [], []
    for stride in STRIDES:
        ys = (torch.arange(height // stride, device=device, dtype=torch.float32) + 0.5) * stride
        xs = (torch.arange(width // stride, device=device, dtype=torch.float32) + 0.5) * stride
        grid = torch.meshgrid(ys, xs, indexing="ij")
        points.append(torch.stack([grid[1].flatten(), grid[0].flatten()]))
        strides.append(torch.full((1, points[-1].shape[1]), float(stride), device=device))
    return torch.cat(points, 1)[None], torch.cat(strides, 1)[None]
