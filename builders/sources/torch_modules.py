# SPDX-License-Identifier: Apache-2.0
"""Small PyTorch modules that stand around a source's network. Imports PyTorch: use import_torch() before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sightline.builders.sources.torch_network import outputs_of


class Flat(nn.Module):
    """Gives float32 tensors: one, or a plain tuple of several."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = tuple(tensor.float() for tensor in outputs_of(self.inner(images)))
        return outputs[0] if len(outputs) == 1 else outputs


class Picked(nn.Module):
    """Gives what `pick` takes from the inner module's answer."""

    def __init__(self, inner: nn.Module, pick: Callable[[Any], Any], argument: str | None = None) -> None:
        super().__init__()
        self.inner, self.pick, self.argument = inner, pick, argument

    def forward(self, images: Tensor) -> Any:
        answer = self.inner(**{self.argument: images}) if self.argument else self.inner(images)
        return self.pick(answer)


class SegmentationLogits(nn.Module):
    """torchvision's logits at their own stride, without the auxiliary output and the enlargement to the input."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.backbone, self.classifier = model.backbone, model.classifier

    def forward(self, images: Tensor) -> Any:
        features = self.backbone(images)
        return self.classifier(features.get("out", features))


class DetectorFeatures(nn.Module):
    """The part of torchvision's detectors that has batch normalisation: backbone and the heads on its features."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.head = model.head if hasattr(model, "head") else model.rpn.head

    def forward(self, images: Tensor) -> Any:
        return self.head(list(self.backbone(images).values()))


def without_last_linear(model: nn.Module) -> nn.Module | None:
    """The network up to its last fully connected layer, whose input is the embedding; None where it has no such."""
    names = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not names:
        return None
    parent, _, last = names[-1].rpartition(".")
    setattr(model.get_submodule(parent), last, nn.Identity())
    return model


def anchors_of(generator: nn.Module, features: list[Tensor], size: tuple[int, int]) -> Tensor:
    """torchvision's anchors (A, 4), xyxy pixels, for a picture of `size` (width, height)."""
    from torchvision.models.detection.image_list import ImageList

    width, height = size
    images = ImageList(torch.zeros(1, 3, height, width), [(height, width)])
    anchors: Tensor = generator(images, features)[0]
    return anchors
