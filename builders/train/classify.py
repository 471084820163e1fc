# SPDX-License-Identifier: Apache-2.0
"""The classifier's task: batches, loss, figures. One class a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.builders.train.compact import Classifier
from sightline.builders.train.dataset import degrade
from sightline.builders.train.metrics import accuracy, confusion, recalls
from sightline.builders.train.pictures import Pictures

_SMOOTHING = 0.05
_EVALUATED = 3000


@dataclass(frozen=True)
class Labelled:
    """Pictures of one size and the class of each, (N,) int64."""

    pictures: Pictures
    kinds: np.ndarray

    def __len__(self) -> int:
        return len(self.kinds)


@dataclass(frozen=True)
class Augment:
    """How a picture is varied in training. turn: degrees; shift and zoom: shares of the side; flip: mirrored too."""

    turn: float = 8.0
    shift: float = 0.08
    zoom: float = 0.15
    flip: bool = False

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Another look of image (H, W, 3) uint8, of the same size."""
        height, width = image.shape[:2]
        if rng.random() < 0.7:
            scale, angle = (
                float(np.exp(rng.uniform(-self.zoom, self.zoom))),
                float(rng.uniform(-self.turn, self.turn)),
            )
            matrix = np.array(cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale), np.float64)
            matrix[:, 2] += rng.uniform(-self.shift, self.shift, 2) * (width, height)
            image = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        if self.flip and rng.random() < 0.5:
            image = image[:, ::-1]
        return degrade(np.ascontiguousarray(image), rng)


def stacked(images: list[np.ndarray], device: torch.device) -> Tensor:
    """Images (H, W, 3) uint8 as one tensor (N, 3, H, W) float 0..1."""
    stack = torch.from_numpy(np.stack(images)).to(device)
    return stack.permute(0, 3, 1, 2).float().div_(255.0).contiguous(memory_format=torch.channels_last)


class ClassifyTask:
    """Cross entropy with smoothed labels; the score is the accuracy on held-out pictures."""

    score_name = "accuracy"

    def __init__(
        self,
        train: Labelled,
        held_out: Labelled | None,
        classes: tuple[str, ...],
        augment: Augment = Augment(),
    ) -> None:
        self.train, self.held_out, self.classes, self.augment = train, held_out, classes, augment
        self.network: nn.Module = Classifier(len(classes))
        self.images = len(train)

    def batches(self, size: int, seed: int) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        """Endless augmented batches: images (H, W, 3) uint8 and classes (B,) int64."""
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(self.train))
            order = np.resize(order, max(len(order) // size, 1) * size)
            for picks in order.reshape(-1, size):
                yield [self.augment(self.train.pictures[int(i)], rng) for i in picks], self.train.kinds[picks]

    def loss(
        self, network: nn.Module, batch: tuple[list[np.ndarray], np.ndarray], device: torch.device
    ) -> Tensor:
        """Mean cross entropy."""
        images, kinds = batch
        logits = network(stacked(images, device)).float()
        return functional.cross_entropy(
            logits, torch.from_numpy(kinds).to(device), label_smoothing=_SMOOTHING
        )

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Accuracy and the mean of the classes' recalls on evenly spread held-out pictures."""
        if self.held_out is None:
            return {}

        def infer(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return np.asarray(network(torch.from_numpy(images).to(device)).float().cpu())

        table = classification_table(infer, self.held_out, len(self.classes), _EVALUATED)
        return {"accuracy": accuracy(table), "mean recall": float(np.nanmean(recalls(table)))}


def classification_table(
    infer: Callable[[np.ndarray], np.ndarray], data: Labelled, classes: int, most: int | None = None
) -> np.ndarray:
    """Confusion table (C, C) of infer((B, 3, H, W) float32 0..1) -> (B, C) on `most` evenly spread pictures."""
    picks = np.unique(np.linspace(0, len(data) - 1, min(most or len(data), len(data))).astype(int))
    found = np.concatenate([infer(batch).argmax(1) for batch in planes(data.pictures, picks)])
    return confusion(data.kinds[picks], found, classes)


def planes(pictures: Pictures, picks: np.ndarray, batch: int = 32) -> Iterator[np.ndarray]:
    """The chosen pictures as batches (B, 3, H, W) float32 0..1."""
    for start in range(0, len(picks), batch):
        stack = np.stack([pictures[int(i)] for i in picks[start : start + batch]])
        yield np.ascontiguousarray(stack.transpose(0, 3, 1, 2).astype(np.float32) / 255.0)
