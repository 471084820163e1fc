# SPDX-License-Identifier: Apache-2.0
"""Task-aligned assignment (TOOD, Feng 2021) with CIoU (Zheng 2020) and quality-weighted BCE."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_TOP = 9
_SCORE_POWER = 0.5
_IOU_POWER = 4.0
_REACH = 0.8
"""A cell may be chosen for a box whose centre lies within this many cells, however small the box is."""
BOX_WEIGHT = 5.0
SCORE_WEIGHT = 1.0
_EPS = 1e-7


def corners(boxes: Tensor) -> Tensor:
    """cxcywh to xyxy, last axis."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def iou(a: Tensor, b: Tensor, complete: bool) -> Tensor:
    """Pairwise IoU, or CIoU, of xyxy boxes that broadcast against each other."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    size_a, size_b = (a[..., 2:] - a[..., :2]).clamp(min=_EPS), (b[..., 2:] - b[..., :2]).clamp(min=_EPS)
    value = overlap / (size_a.prod(-1) + size_b.prod(-1) - overlap + _EPS)
    if not complete:
        return value
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) ** 2).sum(-1) / 4
    angle = torch.atan(size_a[..., 0] / size_a[..., 1]) - torch.atan(size_b[..., 0] / size_b[..., 1])
    shape = 4 / math.pi**2 * angle**2
    with torch.no_grad():
        weight = shape / (1 - value + shape + _EPS)
    return value - apart / ((hull**2).sum(-1) + _EPS) - weight * shape


def assign(
    boxes: Tensor,
    scores: Tensor,
    truth: Tensor,
    classes: Tensor,
    real: Tensor,
    points: Tensor,
    strides: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Which cells answer for which objects.

    boxes (B, A, 4) xyxy, scores (B, A, C) 0..1, truth (B, G, 4) xyxy, classes (B, G) int64, real (B, G) bool,
    points (A, 2), strides (A,). Returns chosen (B, A) bool, object (B, A) int64, quality (B, A).
    """
    centre, half = (truth[..., :2] + truth[..., 2:]) / 2, (truth[..., 2:] - truth[..., :2]) / 2
    reach = torch.maximum(half[:, :, None], (_REACH * strides)[None, None, :, None])
    inside = ((points - centre[:, :, None]).abs() < reach).all(-1) & real[..., None]
    overlap = iou(truth[:, :, None], boxes[:, None], False)
    picked = torch.gather(scores.transpose(1, 2), 1, classes[..., None].expand(-1, -1, scores.shape[1]))
    align = picked.pow(_SCORE_POWER) * (overlap + 1e-4).pow(_IOU_POWER) * inside
    top = align.topk(_TOP, -1)
    chosen = torch.zeros_like(inside).scatter_(-1, top.indices, top.values > 0) & inside
    crowded = chosen.sum(1, keepdim=True) > 1
    best = functional.one_hot((overlap * inside).argmax(1), truth.shape[1]).transpose(1, 2).bool()
    chosen = torch.where(crowded, chosen & best, chosen)
    align = align * chosen
    peak, reached = align.amax(-1, keepdim=True), (overlap * chosen).amax(-1, keepdim=True)
    quality = (align * reached / (peak + 1e-12)).amax(1)
    return chosen.any(1), chosen.float().argmax(1), quality


def _covered(points: Tensor, hidden: Tensor) -> Tensor:
    """(B, A) bool: points (A, 2) that lie in any of the boxes (B, H, 4)."""
    after = points[None, :, None] > hidden[:, None, :, :2]
    before = points[None, :, None] < hidden[:, None, :, 2:]
    return (after & before).all(-1).any(-1)


@dataclass(frozen=True)
class Matches:
    """Which cells answer for which objects: image, cell and object of each match, (P,) int64, and its weight."""

    images: Tensor
    cells: Tensor
    objects: Tensor
    weights: Tensor


@torch.no_grad()
def matched(
    boxes: Tensor,
    logits: Tensor,
    truth: Tensor,
    classes: Tensor,
    real: Tensor,
    points: Tensor,
    strides: Tensor,
) -> Matches:
    """Who answers for what; the arguments are those of detection_loss()."""
    found, scores = corners(boxes.transpose(1, 2)), logits.transpose(1, 2).sigmoid()
    chosen, owner, quality = assign(found, scores, truth, classes, real, points[0].T, strides[0, 0])
    images, cells = torch.nonzero(chosen, as_tuple=True)
    return Matches(images, cells, owner[images, cells], quality[images, cells])


def detection_loss(
    boxes: Tensor,
    logits: Tensor,
    truth: Tensor,
    classes: Tensor,
    real: Tensor,
    hidden: Tensor,
    points: Tensor,
    strides: Tensor,
) -> tuple[Tensor, Tensor, Matches]:
    """Box and score losses of a batch, and who answers for what.

    boxes (B, 4, A) cxcywh pixels and logits (B, C, A) as the network gives them; truth (B, G, 4) xyxy;
    classes (B, G); real (B, G) bool; hidden (B, H, 4) xyxy, where a detection is neither right nor wrong;
    points (1, 2, A); strides (1, 1, A).
    """
    found, scores = corners(boxes.transpose(1, 2)), logits.transpose(1, 2)
    matches = matched(boxes, logits, truth, classes, real, points, strides)
    images, cells = matches.images, matches.cells
    with torch.no_grad():
        target = torch.zeros_like(scores)
        target[images, cells, classes[images, matches.objects]] = matches.weights
        total = target.sum().clamp(min=1.0)
        counts = ~_covered(points[0].T, hidden)
        counts[images, cells] = True
    entropy = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    score_loss = (entropy * counts.float()[..., None]).sum() / total
    wanted = truth[images, matches.objects]
    box_loss = ((1 - iou(found[images, cells], wanted, True)) * matches.weights).sum() / total
    return BOX_WEIGHT * box_loss, SCORE_WEIGHT * score_loss, matches
