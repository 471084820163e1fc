# SPDX-License-Identifier: Apache-2.0
"""The instance segmenter's task: a detector with a mask branch of prototypes and coefficients.

Source of the ideas, written anew: YOLACT (Bolya 2019). An object's mask is the sum of the picture's prototypes
weighted by the coefficients of the cell that found it, cut at its box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.builders.train.dataset import INPUT_SIZE, Sample, Scenes, batches
from sightline.builders.train.detect import spread, tensors
from sightline.builders.train.evaluate import (
    NMS_IOU,
    SCORE_THRESHOLD,
    Evaluation,
    evaluate,
    select,
)
from sightline.builders.train.frozen import (
    Features,
    FeatureStore,
    FrozenTrunk,
    OpenTrunk,
    as_tensors,
    stored_batches,
)
from sightline.builders.train.loss import Matches, detection_loss, matched
from sightline.builders.train.metrics import mask_ious
from sightline.builders.train.network import StreetDetector, anchor_points, conv

PROTOTYPES = 32
PROTOTYPE_STRIDE = 4
_MIDDLE = 24
_MOST_MATCHES = 96
_MASK_WEIGHT = 4.0
_EVALUATED = 60
_MOST_MASKS = 100
_MATCHED_SCORE = 0.35


class SegmentNetwork(nn.Module):
    """images (N, 3, H, W) float 0..1 -> boxes (N, 4, A) cxcywh pixels, class logits (N, C, A), coefficients
    (N, 32, A), prototypes (N, 32, H / 4, W / 4).

    frozen: the detector is left as it is, and only the mask branch learns.
    """

    def __init__(self, detector: StreetDetector, frozen: bool) -> None:
        super().__init__()
        self.trunk: nn.Module = FrozenTrunk(detector) if frozen else OpenTrunk(detector)
        _, shallow, *levels = detector.widths
        self.coefficients = nn.ModuleList(
            nn.Sequential(conv(width, 32, 1), conv(32, 32, 3), nn.Conv2d(32, PROTOTYPES, 1))
            for width in levels
        )
        self.deep, self.shallow = conv(levels[0], _MIDDLE, 1), conv(shallow, _MIDDLE, 1)
        self.grow = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.mix = conv(_MIDDLE, _MIDDLE, 3)
        self.prototype = nn.Conv2d(_MIDDLE, PROTOTYPES, 1)

    def branch(self, features: Features) -> tuple[Tensor, Tensor]:
        """Coefficients and prototypes of the trunk's features."""
        p4, *levels = features
        parts = [branch(level).flatten(2) for branch, level in zip(self.coefficients, levels, strict=True)]
        mixed = self.mix(self.grow(self.deep(levels[0])) + self.shallow(p4))
        return torch.cat(parts, 2).tanh(), self.prototype(mixed)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features, boxes, logits = self.trunk(images)
        return (boxes, logits, *self.branch(features))


class ExportedSegmenter(nn.Module):
    """images (N, 3, H, W) 0..1 -> (N, 4 + C + 32, A) and (N, 32, H / 4, W / 4), the layout of a YOLOv8-seg export."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.read(self.network.trunk(images))  # type: ignore[operator]

    def read(self, trunk: tuple[Features, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The outputs for what the trunk gives."""
        features, boxes, logits = trunk
        coefficients, prototypes = self.network.branch(features)  # type: ignore[operator]
        return torch.cat([boxes, logits.sigmoid(), coefficients], 1), prototypes


def mask_targets(batch: list[Sample], matches: Matches, device: torch.device) -> Tensor:
    """How much of each prototype cell each matched object covers, of four points: (P, H / 4, W / 4) float 0..1."""
    halves = [np.ascontiguousarray(s.owners[1::2, 1::2]) for s in batch if s.owners is not None]
    owners = torch.from_numpy(np.stack(halves)).to(device)
    numbers = np.zeros((len(batch), max(*(len(s.found) for s in batch), 1)), np.int64)
    for row, sample in zip(numbers, batch, strict=True):
        row[: len(sample.found)] = sample.found[:, 5]
    wanted = torch.from_numpy(numbers).to(device)[matches.images, matches.objects]
    pairs, place = torch.unique(torch.stack([matches.images, wanted]), dim=1, return_inverse=True)
    whole = (owners[pairs[0]] == pairs[1][:, None, None].to(owners.dtype)).float()
    return functional.avg_pool2d(whole[:, None], PROTOTYPE_STRIDE // 2)[:, 0][place]


def mask_loss(
    coefficients: Tensor, prototypes: Tensor, target: Tensor, boxes: Tensor, matches: Matches
) -> Tensor:
    """Cross entropy and Dice inside the boxes, a mean over the matches.

    coefficients (P, 32); prototypes (B, 32, h, w); target (P, h, w); boxes (P, 4) xyxy of the truth, pixels.
    """
    height, width = prototypes.shape[2:]
    logits = torch.empty_like(target)
    for image in matches.images.unique().tolist():
        mine = matches.images == image
        logits[mine] = (coefficients[mine] @ prototypes[image].flatten(1)).view(-1, height, width)
    cell = boxes / PROTOTYPE_STRIDE
    xs = torch.arange(width, device=boxes.device) + 0.5
    ys = torch.arange(height, device=boxes.device) + 0.5
    across = (xs > cell[:, None, 0] - 0.5) & (xs < cell[:, None, 2] + 0.5)
    along = (ys > cell[:, None, 1] - 0.5) & (ys < cell[:, None, 3] + 0.5)
    inside = (along[:, :, None] & across[:, None]).float()
    area = inside.sum((1, 2)).clamp(min=1.0)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (entropy * inside).sum((1, 2)) / area
    shown = logits.sigmoid() * inside
    dice = 1 - (2 * (shown * target).sum((1, 2)) + 1) / ((shown + target * inside).sum((1, 2)) + 1)
    return (entropy + 0.5 * dice).mean()


class SegmentTask:
    """Losses of detection and masks; the score is the mAP50 of masks on held-out pictures.

    start: the detector to begin with. stores: what that detector makes of the training and the held-out pictures;
    with them it is left as it is, and only the mask branch learns, from pictures that are not varied.
    """

    score_name = "mask mAP50"

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
        self.network: nn.Module = SegmentNetwork(start or StreetDetector(len(classes)), stores is not None)
        self.images, self.stores = len(train), stores

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
        """Losses of boxes, scores and masks; of masks alone where the detector is frozen."""
        samples, stored = batch
        images, truth, classes, real, hidden = tensors(samples, device)
        if stored is None:
            boxes, logits, coefficients, prototypes = network(images)
        else:
            features, boxes, logits = as_tensors(stored, device)
            coefficients, prototypes = network.branch(features)  # type: ignore[operator]
        points, strides = anchor_points(images.shape[2], images.shape[3], device)
        total = prototypes.float().sum() * 0
        if stored is None:
            box_loss, score_loss, matches = detection_loss(
                boxes.float(), logits.float(), truth, classes, real, hidden, points, strides
            )
            total = total + box_loss + score_loss
        else:
            matches = matched(boxes, logits, truth, classes, real, points, strides)
        matches = _some(matches)
        if len(matches.images):
            picked = coefficients.float().transpose(1, 2)[matches.images, matches.cells]
            target = mask_targets(samples, matches, device)
            wanted = truth[matches.images, matches.objects]
            total = total + _MASK_WEIGHT * mask_loss(picked, prototypes.float(), target, wanted, matches)
        return total

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Figures on evenly spread held-out pictures."""
        model = ExportedSegmenter(network).eval()
        picks = spread(len(self.held_out), _EVALUATED)
        place = iter(picks)

        def infer(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            with torch.no_grad():
                if self.stores is None:
                    raw, prototypes = model(torch.from_numpy(images).to(device))
                else:
                    stored = as_tensors(self.stores[1](np.array([next(place)])), device)
                    raw, prototypes = model.read(stored)
                return np.asarray(raw.float().cpu()), np.asarray(prototypes.float().cpu())

        result = segment_evaluation(infer, self.held_out, len(self.classes), self.size, _EVALUATED)
        return {
            "mask mAP50": result.masks.map50,
            "mask mAP50-95": result.masks.map50_95,
            "box mAP50": result.boxes.map50,
            "mask IoU": result.mask_iou,
        }


def _some(matches: Matches) -> Matches:
    """At most _MOST_MATCHES of the matches, chosen by chance."""
    if len(matches.images) <= _MOST_MATCHES:
        return matches
    picks = torch.randperm(len(matches.images), device=matches.images.device)[:_MOST_MATCHES]
    return Matches(
        matches.images[picks], matches.cells[picks], matches.objects[picks], matches.weights[picks]
    )


@dataclass(frozen=True)
class SegmentFigures:
    """AP of masks and of boxes, and the mean IoU of the masks of objects that were found."""

    masks: Evaluation
    boxes: Evaluation
    mask_iou: float


@dataclass(frozen=True)
class Segmented:
    """What is found in one picture: rows (N, 6) [x0, y0, x1, y1, score, class], best first, and masks (N, H, W) bool."""

    rows: np.ndarray
    masks: np.ndarray


def segmented(
    raw: np.ndarray,
    prototypes: np.ndarray,
    classes: int,
    size: tuple[int, int],
    score: float = SCORE_THRESHOLD,
    most: int = _MOST_MASKS,
) -> Segmented:
    """Objects of one picture from its outputs (4 + C + 32, A) and (32, h, w), in pixels of the network's input."""
    from sightline.preprocess_ext.masks import prototype_masks

    rows, cells = select(raw[: 4 + classes], score, NMS_IOU, most)
    coefficients = np.ascontiguousarray(raw[4 + classes :, cells].T, np.float32)
    boxes = np.clip(rows[:, :4], 0, [size[0], size[1]] * 2).astype(np.float32)
    regions = prototype_masks(np.ascontiguousarray(prototypes, np.float32), coefficients, boxes, size)
    masks = np.zeros((len(rows), size[1], size[0]), bool)
    for mask, region in zip(masks, regions, strict=True):
        mask[:] = region.to_frame(*size).astype(bool)
    return Segmented(rows, masks)


def segment_evaluation(
    infer: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    held_out: Scenes,
    classes: int,
    size: tuple[int, int] = INPUT_SIZE,
    most: int | None = None,
) -> SegmentFigures:
    """Figures of infer((B, 3, H, W) float32 0..1) -> raw head and prototypes, on `most` held-out pictures."""
    found, truth, hidden, overlaps = [], [], [], []
    for index in spread(len(held_out), most):
        sample = held_out.sample(int(index)).fitted(size)
        image = sample.picture.transpose(2, 0, 1)[None].astype(np.float32) / 255.0
        raw, prototypes = infer(np.ascontiguousarray(image))
        result = segmented(raw[0], prototypes[0], classes, size)
        if sample.owners is None:
            continue
        real = sample.owners[None] == sample.found[:, 5, None, None]
        found.append(result.rows)
        truth.append(sample.found[:, :5])
        hidden.append(sample.hidden)
        overlaps.append(mask_ious(result.masks, np.asarray(real)))
    return SegmentFigures(
        evaluate(found, truth, hidden, classes, overlaps),
        evaluate(found, truth, hidden, classes),
        _matched_iou(found, truth, overlaps),
    )


def _matched_iou(found: list[np.ndarray], truth: list[np.ndarray], overlaps: list[np.ndarray]) -> float:
    """Mean mask IoU of confident detections with the object of their class that they overlap most."""
    values: list[float] = []
    for rows, real, overlap in zip(found, truth, overlaps, strict=True):
        same = rows[:, 5:6] == real[None, :, 0]
        best = np.where(same, overlap, 0.0).max(1, initial=0.0)
        values += best[(rows[:, 4] >= _MATCHED_SCORE) & (best > 0.1)].tolist()
    return float(np.mean(values)) if values else 0.0
