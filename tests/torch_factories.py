# SPDX-License-Identifier: Apache-2.0
"""Small networks for `source: python:tests.torch_factories:NAME`, with layouts that are published."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
YOLOV5_ANCHORS = (
    (10.0, 13.0, 16.0, 30.0, 33.0, 23.0),
    (30.0, 61.0, 62.0, 45.0, 59.0, 119.0),
    (116.0, 90.0, 156.0, 198.0, 373.0, 326.0),
)


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.SiLU())


class _Pyramid(nn.Module):
    """Feature maps at strides 8, 16 and 32."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(_block(3, width, 2), _block(width, width, 2), _block(width, width, 2))
        self.second, self.third = _block(width, width, 2), _block(width, width, 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.stem(images)
        second = self.second(first)
        return [first, second, self.third(second)]


class YoloxLike(nn.Module):
    """YOLOX's raw head: (N, A, 5 + classes) of box, objectness and scores, before its decoding."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = _Pyramid()
        self.boxes = nn.ModuleList(nn.Conv2d(16, 4, 1) for _ in STRIDES)
        self.scores = nn.ModuleList(nn.Conv2d(16, 1 + classes, 1) for _ in STRIDES)

    def forward(self, images: Tensor) -> Tensor:
        levels = [
            torch.cat((box(part), score(part).sigmoid()), 1).flatten(2)
            for part, box, score in zip(self.backbone(images), self.boxes, self.scores, strict=True)
        ]
        return torch.cat(levels, 2).permute(0, 2, 1)


class YoloV5Like(nn.Module):
    """The exported head of classic YOLOv5: (N, A, 5 + classes), boxes in pixels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone, self.values = _Pyramid(), 5 + classes
        self.heads = nn.ModuleList(nn.Conv2d(16, 3 * self.values, 1) for _ in STRIDES)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self._level(index, part) for index, part in enumerate(self.backbone(images))], 1)

    def _level(self, index: int, features: Tensor) -> Tensor:
        _, _, height, width = features.shape
        raw = (
            self.heads[index](features)
            .reshape(-1, 3, self.values, height, width)
            .permute(0, 1, 3, 4, 2)
            .sigmoid()
        )
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        grid = torch.stack((columns, rows), -1).to(raw.dtype) - 0.5
        anchors = torch.tensor(YOLOV5_ANCHORS[index]).reshape(1, 3, 1, 1, 2)
        centre = (raw[..., :2] * 2 + grid) * STRIDES[index]
        size = (raw[..., 2:4] * 2) ** 2 * anchors
        return torch.cat((centre, size, raw[..., 4:]), -1).reshape(-1, 3 * height * width, self.values)


class UNet(nn.Module):
    """Encoder and decoder with skips; logits of the input's size."""

    def __init__(self, classes: int, width: int = 8) -> None:
        super().__init__()
        self.down1, self.down2 = _block(3, width), _block(width, 2 * width, 2)
        self.bottom = _block(2 * width, 4 * width, 2)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join2, self.join1 = _block(4 * width, 2 * width), _block(2 * width, width)
        self.logits = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        first = self.down1(images)
        second = self.down2(first)
        up = self.join2(torch.cat((self.up2(self.bottom(second)), second), 1))
        up = self.join1(torch.cat((self.up1(up), first), 1))
        return {"out": self.logits(up), "aux": up}


class Tower(nn.Module):
    """A re-identification embedder: unit vectors (N, size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(3, 16, 2), _block(16, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.embed = nn.Linear(32, size)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(self.embed(self.features(images)), dim=1)


class Siamese(nn.Module):
    """Distance of two pictures by one tower."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.tower = Tower(size)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (self.tower(left) - self.tower(right)).norm(dim=1)


def yolox(classes: int = 4) -> nn.Module:
    return YoloxLike(classes)


def yolov5(classes: int = 4) -> nn.Module:
    return YoloV5Like(classes)


def unet(classes: int = 4) -> nn.Module:
    return UNet(classes)


def tower(size: int = 24) -> nn.Module:
    return Tower(size)


def siamese(size: int = 24) -> nn.Module:
    return Siamese(size)


def not_a_module() -> str:
    return "text"
