# SPDX-License-Identifier: Apache-2.0
"""The detector's task: batches, loss, figures. Boxes in pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sightline.builders.train.dataset import INPUT_SIZE, Sample, Scenes, batches, letterboxed
from sightline.builders.train.evaluate import Evaluation, detections, evaluate
from sightline.builders.train.export import ExportedDetector
from sightline.builders.train.loss import detection_loss
from sightline.builders.train.network import StreetDetector, anchor_points

_EVALUATED = 160


def tensors(batch: list[Sample], device: torch.device) -> tuple[Tensor, ...]:
    """Images 0..1, then truth, classes, real and hidden padded to the batch's largest count."""
    picture = (
        torch.from_numpy(np.stack([s.picture for s in batch]))
        .to(device)
        .permute(0, 3, 1, 2)
        .float()
        .div_(255.0)
        .contiguous(memory_format=torch.channels_last)
    )
    most = max(*(len(s.found) for s in batch), 1)
    most_hidden = max(*(len(s.hidden) for s in batch), 1)
    rows = np.zeros((len(batch), most, 6), np.float32)
    covers = np.full((len(batch), most_hidden, 4), -1, np.float32)
    for i, sample in enumerate(batch):
        rows[i, : len(sample.found), :5] = sample.found[:, :5]
        rows[i, : len(sample.found), 5] = 1
        covers[i, : len(sample.hidden)] = sample.hidden
    table = torch.from_numpy(rows).to(device)
    return (
        picture,
        table[..., 1:5],
        table[..., 0].long(),
        table[..., 5] > 0,
        torch.from_numpy(covers).to(device),
    )


def spread(count: int, most: int | None) -> np.ndarray:
    """At most `most` numbers of 0..count-1, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(most or count, count)).astype(int))


def detection_evaluation(
    infer: Callable[[np.ndarray], np.ndarray],
    held_out: Scenes,
    classes: int,
    size: tuple[int, int] = INPUT_SIZE,
    most: int | None = None,
) -> Evaluation:
    """AP of infer((B, 3, H, W) float32 0..1) -> (B, 4 + C, A) on `most` evenly spread held-out pictures."""
    samples = [held_out.sample(int(i)) for i in spread(len(held_out), most)]
    found = detections(infer, [letterboxed(s.picture, size) for s in samples])
    placed = [s.fitted(size) for s in samples]
    return evaluate(found, [s.found[:, :5] for s in placed], [s.hidden for s in placed], classes)


class DetectTask:
    """Task-aligned detection losses; the score is the mAP50 on held-out pictures."""

    score_name = "mAP50"

    def __init__(
        self,
        train: Scenes,
        held_out: Scenes | None,
        classes: tuple[str, ...],
        size: tuple[int, int] = INPUT_SIZE,
    ) -> None:
        self.train, self.held_out, self.classes, self.size = train, held_out, classes, size
        self.network: nn.Module = StreetDetector(len(classes))
        self.images = len(train)

    def batches(self, size: int, seed: int) -> Iterator[list[Sample]]:
        """Endless augmented batches."""
        return batches(self.train, size, seed, self.size)

    def loss(self, network: nn.Module, batch: list[Sample], device: torch.device) -> Tensor:
        """Box and score losses."""
        images, truth, classes, real, hidden = tensors(batch, device)
        boxes, logits = network(images)
        points, strides = anchor_points(images.shape[2], images.shape[3], device)
        box_loss, score_loss, _ = detection_loss(
            boxes.float(), logits.float(), truth, classes, real, hidden, points, strides
        )
        return box_loss + score_loss

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """mAP50 and mAP50-95 on evenly spread held-out pictures."""
        if self.held_out is None:
            return {}
        model = ExportedDetector(network).eval()

        def infer(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return np.asarray(model(torch.from_numpy(images).to(device)).float().cpu())

        result = detection_evaluation(infer, self.held_out, len(self.classes), self.size, _EVALUATED)
        return {"mAP50": result.map50, "mAP50-95": result.map50_95}
