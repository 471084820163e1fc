# SPDX-License-Identifier: Apache-2.0
"""The semantic segmenter's task: a class for each pixel."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.builders.train.classify import stacked
from sightline.builders.train.dataset import INPUT_SIZE, Sample, Scenes, batches
from sightline.builders.train.detect import spread
from sightline.builders.train.frozen import (
    Features,
    FeatureStore,
    FrozenTrunk,
    OpenTrunk,
    as_tensors,
    stored_batches,
)
from sightline.builders.train.metrics import IGNORED, accuracy, class_ious, confusion
from sightline.builders.train.network import StreetDetector, conv

STRIDE = 4
_WIDTHS = (24, 48, 48, 48)
_EVALUATED = 80
_RARE = 0.35


class SemanticNetwork(nn.Module):
    """images (N, 3, H, W) float 0..1 -> logits (N, C, H / 4, W / 4). H and W are divisible by 32.

    The detector's backbone and pyramid, and a decoder that adds each level to the finer one. frozen: only the decoder
    learns.
    """

    def __init__(self, classes: int, start: StreetDetector | None = None, frozen: bool = False) -> None:
        super().__init__()
        detector = StreetDetector(1) if start is None else copy.deepcopy(start)
        widths = detector.widths[1:]
        detector.heads = nn.ModuleList()
        self.trunk: nn.Module = FrozenTrunk(detector) if frozen else OpenTrunk(detector)
        self.lateral = nn.ModuleList(conv(w, own, 1) for w, own in zip(widths, _WIDTHS, strict=True))
        self.reduce = nn.ModuleList(conv(a, b, 1) for b, a in itertools.pairwise(_WIDTHS))
        self.smooth = nn.ModuleList(conv(own, own, 3) for own in _WIDTHS[:3])
        self.score = nn.Conv2d(_WIDTHS[0], classes, 1)
        self.grow = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)

    def branch(self, features: Features) -> Tensor:
        """Logits of the trunk's features."""
        x = self.lateral[3](features[3])
        for level in (2, 1, 0):
            x = self.smooth[level](self.grow(self.reduce[level](x)) + self.lateral[level](features[level]))
        scores: Tensor = self.score(x)
        return scores

    def forward(self, images: Tensor) -> Tensor:
        return self.branch(self.trunk.features(images))  # type: ignore[operator]


def class_map(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Classes (H, W) uint8 at size (width, height) from logits (C, h, w): enlarged bilinearly, then the largest."""
    planes = np.ascontiguousarray(logits.transpose(1, 2, 0), np.float32)
    grown = cv2.resize(planes, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown.argmax(2), np.uint8)


def class_weights(data: Scenes, classes: int, most: int = 200) -> np.ndarray:
    """Weight of each class in the loss, (C,) float32: rare classes count more, softened; the mean pixel weighs 1."""
    counts = np.zeros(classes)
    for index in spread(len(data), most):
        surfaces = data.sample(int(index)).surfaces
        if surfaces is not None:
            counts += np.bincount(surfaces.ravel(), minlength=256)[:classes]
    share = np.maximum(counts, 1) / max(counts.sum(), 1)
    weights = share**-_RARE
    return np.asarray(weights / (weights * share).sum(), np.float32)


class SemanticTask:
    """Weighted cross entropy; the score is the mean IoU of the classes on held-out pictures.

    start: the detector whose backbone and pyramid it begins with. stores: what that detector makes of the training
    and the held-out pictures; with them it is left as it is, and only the decoder learns, from pictures that are not
    varied.
    """

    score_name = "mIoU"

    def __init__(
        self,
        train: Scenes,
        held_out: Scenes,
        classes: tuple[str, ...],
        size: tuple[int, int] = INPUT_SIZE,
        start: StreetDetector | None = None,
        stores: tuple[FeatureStore, FeatureStore] | None = None,
    ) -> None:
        self.train, self.held_out, self.classes, self.size = train, held_out, classes, size
        self.network: nn.Module = SemanticNetwork(len(classes), start, stores is not None)
        self.images, self.stores = len(train), stores
        self._weights = torch.from_numpy(class_weights(train, len(classes)))

    def batches(self, size: int, seed: int) -> Iterator[Any]:
        """Endless batches: augmented samples, or samples and what the frozen detector makes of them."""
        if self.stores is None:
            return ((batch, None) for batch in batches(self.train, size, seed, self.size))
        return stored_batches(self.train, self.stores[0], size, seed, self.size)

    def loss(
        self,
        network: nn.Module,
        batch: tuple[list[Sample], tuple[np.ndarray, ...] | None],
        device: torch.device,
    ) -> Tensor:
        """Cross entropy of the logits, classes weighted; each pixel of theirs has the class in the middle of its cell."""
        samples, stored = batch
        surfaces = np.stack(
            [
                s.surfaces[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
                for s in samples
                if s.surfaces is not None
            ]
        )
        wanted = torch.from_numpy(surfaces.astype(np.int64)).to(device)
        if stored is None:
            logits = network(stacked([s.picture for s in samples], device))
        else:
            logits = network.branch(as_tensors(stored, device)[0])  # type: ignore[operator]
        return functional.cross_entropy(
            logits.float(), wanted, self._weights.to(device), ignore_index=IGNORED
        )

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Figures on evenly spread held-out pictures."""
        place = iter(spread(len(self.held_out), _EVALUATED))

        def infer(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                if self.stores is None:
                    logits = network(torch.from_numpy(images).to(device))
                else:
                    stored = as_tensors(self.stores[1](np.array([next(place)])), device)
                    logits = network.branch(stored[0])  # type: ignore[operator]
                return np.asarray(logits.float().cpu())

        table = semantic_table(infer, self.held_out, len(self.classes), self.size, _EVALUATED)
        return {"mIoU": float(np.nanmean(class_ious(table))), "pixel accuracy": accuracy(table)}


def semantic_table(
    infer: Callable[[np.ndarray], np.ndarray],
    held_out: Scenes,
    classes: int,
    size: tuple[int, int] = INPUT_SIZE,
    most: int | None = None,
) -> np.ndarray:
    """Confusion table (C, C) of pixels, of infer((B, 3, H, W) float32 0..1) -> (B, C, h, w)."""
    table = np.zeros((classes, classes), np.int64)
    for index in spread(len(held_out), most):
        sample = held_out.sample(int(index)).fitted(size)
        if sample.surfaces is None:
            continue
        image = np.ascontiguousarray(sample.picture.transpose(2, 0, 1)[None].astype(np.float32) / 255.0)
        table += confusion(sample.surfaces, class_map(infer(image)[0], size), classes)
    return table
