# SPDX-License-Identifier: Apache-2.0
"""torchvision's Faster and Mask R-CNN with a fixed number of rows, so that engines with static shapes run them.

The network keeps its proposals and its NMS inside (they are part of what it learned) but selects by masks and top-k
in place of lists of unknown length: only the output of NonMaxSuppression itself has an open length. Torchvision's own
code, padded to the same number of rows, is what it is compared with. Imports PyTorch: use import_torch() before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import nms, roi_align

from sightline.builders.sources.torch_modules import anchors_of
from sightline.builders.sources.torch_network import TorchNetwork

_CANDIDATES = 2000  # detections of all classes that enter the last NMS, the best by score
_LEAST_PIXELS = 1e-2
_NOTHING = -1.0  # score of a row that does not count


def network(model: Any, size: tuple[int, int], origin: str, defaults: Mapping[str, Any]) -> TorchNetwork:
    """boxes (N, D, 4) xyxy network pixels, labels (N, D) from 1 on, scores (N, D), masks (N, D, 1, 28, 28) 0..1.

    D is torchvision's box_detections_per_img; rows past the last detection are zero.
    """
    head = {"kind": "mask_rcnn", "background": "first"}
    static, original = StaticRcnn(model, size).eval(), PaddedRcnn(model).eval()
    return TorchNetwork(static, origin, {**defaults, "head": head}, original, rows=True)


class PaddedRcnn(nn.Module):
    """Torchvision's own way from a normalised picture to detections, padded with zero rows."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = model.backbone, model.rpn, model.roi_heads

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        sizes = [(images.shape[2], images.shape[3])] * images.shape[0]
        features = self.backbone(images)
        proposals, _ = self.rpn(ImageList(images, sizes), features)
        found, _ = self.roi_heads(features, proposals, sizes)
        names = ("boxes", "labels", "scores", "masks")[: 4 if self.roi_heads.has_mask() else 3]
        rows = self.roi_heads.detections_per_img
        return tuple(torch.stack([_padded(item[name].float(), rows) for item in found]) for name in names)


class StaticRcnn(nn.Module):
    """The same for ONNX: every tensor but the indices that NMS gives has a known shape."""

    anchors: Tensor

    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone, self.rpn, self.heads, self.size = model.backbone, model.rpn, model.roi_heads, size
        with torch.no_grad():
            features = self.backbone(torch.zeros(1, 3, size[1], size[0]))
        values = list(features.values())
        anchors = anchors_of(self.rpn.anchor_generator, values, size)
        per_cell = self.rpn.anchor_generator.num_anchors_per_location()
        self.counts = [n * v.shape[2] * v.shape[3] for n, v in zip(per_cell, values, strict=True)]
        self.register_buffer("anchors", anchors)
        self.scales = {
            name: 2.0 ** round(float(torch.tensor(value.shape[2] / size[1]).log2()))
            for name, value in features.items()
        }

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.backbone(images)
        proposals, real = self._proposals(features)
        boxes, labels, scores = self._detections(features, proposals, real)
        if not self.heads.has_mask():
            return boxes, labels.float(), scores
        masks = self._masks(features, boxes, labels)
        real_rows = (scores > 0)[..., None, None, None]
        return boxes, labels.float(), scores, masks * real_rows

    def _proposals(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes (N, R, 4), and which of them count (N, R)."""
        objectness, deltas = self.rpn.head(list(features.values()))
        chosen, scores, levels = [], [], []
        start = 0
        for level, (score, delta) in enumerate(zip(objectness, deltas, strict=True)):
            count = self.counts[level]
            score, delta = _cells_last(score, 1)[..., 0], _cells_last(delta, 4)
            best, index = score.topk(min(self.rpn.pre_nms_top_n(), count), dim=1)
            anchors = self.anchors[start : start + count][index]
            delta = delta.gather(1, index[..., None].expand(-1, -1, 4))
            chosen.append(_decoded(self.rpn.box_coder, delta, anchors))
            scores.append(best.sigmoid())
            levels.append(torch.full((index.shape[1],), level))
            start += count
        boxes, score = self._clipped(torch.cat(chosen, 1)), torch.cat(scores, 1)
        valid = _at_least(boxes, self.rpn.min_size) & (score >= self.rpn.score_thresh)
        kept = self._kept(
            boxes, score, torch.cat(levels).expand_as(score), valid, self.rpn.nms_thresh, len(levels)
        )
        best, index = torch.where(kept, score, _NOTHING).topk(
            min(self.rpn.post_nms_top_n(), score.shape[1]), dim=1
        )
        return boxes.gather(1, index[..., None].expand(-1, -1, 4)), best > _NOTHING

    def _detections(
        self, features: dict[str, Tensor], proposals: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (N, D, 4), labels (N, D) and scores (N, D)."""
        pooled = self._pooled(self.heads.box_roi_pool, features, proposals)
        logits, deltas = self.heads.box_predictor(self.heads.box_head(pooled))
        classes, rows = logits.shape[-1], proposals.shape[1]
        boxes = self.heads.box_coder.decode_single(deltas, proposals.reshape(-1, 4)).reshape(
            -1, rows, classes, 4
        )
        boxes = self._clipped(boxes)[:, :, 1:].reshape(-1, rows * (classes - 1), 4)
        score = logits.softmax(-1).reshape(-1, rows, classes)[..., 1:].reshape(-1, rows * (classes - 1))
        valid = (score > self.heads.score_thresh) & _at_least(boxes, _LEAST_PIXELS)
        valid = valid & real.repeat_interleave(classes - 1, dim=1)
        count = min(_CANDIDATES, rows * (classes - 1))
        score, index = torch.where(valid, score, _NOTHING).topk(count, dim=1)
        boxes = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        label = index % (classes - 1) + 1
        kept = self._kept(boxes, score, label, score > _NOTHING, self.heads.nms_thresh, classes)
        best, order = torch.where(kept, score, _NOTHING).topk(
            min(self.heads.detections_per_img, count), dim=1
        )
        found = best > _NOTHING
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4)) * found[..., None]
        missing = self.heads.detections_per_img - best.shape[1]
        label, best = label.gather(1, order) * found, best * found
        if missing:
            boxes = nn.functional.pad(boxes, (0, 0, 0, missing))
            label, best = nn.functional.pad(label, (0, missing)), nn.functional.pad(best, (0, missing))
        return boxes, label, best

    def _masks(self, features: dict[str, Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        pooled = self._pooled(self.heads.mask_roi_pool, features, boxes)
        logits = self.heads.mask_predictor(self.heads.mask_head(pooled))
        height, width = logits.shape[-2:]
        index = labels.reshape(-1, 1, 1, 1).expand(-1, 1, height, width)
        masks: Tensor = logits.gather(1, index).sigmoid()
        return masks.reshape(-1, labels.shape[1], 1, height, width)

    def _pooled(self, pool: Any, features: dict[str, Tensor], boxes: Tensor) -> Tensor:
        """RoIAlign (N R, channels, h, w): every level for every box, of which the box's own level is taken."""
        names = [name for name in features if name in pool.featmap_names]
        scales = [self.scales[name] for name in names]
        pictures = torch.arange(boxes.shape[0]).repeat_interleave(boxes.shape[1]).to(boxes.dtype)
        flat = boxes.reshape(-1, 4)
        rois = torch.cat((pictures[:, None], flat), 1)
        low, high = (-round(float(torch.tensor(scale).log2())) for scale in (scales[0], scales[-1]))
        side = ((flat[:, 2] - flat[:, 0]) * (flat[:, 3] - flat[:, 1])).sqrt()
        level = (
            torch.floor(pool.canonical_level + torch.log2(side / pool.canonical_scale) + 1e-6).clamp(
                low, high
            )
            - low
        )
        parts: list[Tensor] = []
        for number, (name, scale) in enumerate(zip(names, scales, strict=True)):
            part = roi_align(features[name], rois, pool.output_size, scale, pool.sampling_ratio)
            parts.append(part * (level == number).to(part.dtype)[:, None, None, None])
        pooled: Tensor = torch.stack(parts).sum(0)
        return pooled

    def _kept(
        self, boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float, group_count: int
    ) -> Tensor:
        """Which rows survive NMS inside their group and picture: boxes of different groups are moved apart."""
        pictures = torch.arange(boxes.shape[0])[:, None]
        apart = (groups + pictures * group_count).to(boxes.dtype) * (max(self.size) + 1.0)
        ranked = torch.where(valid, scores, _NOTHING)
        index = nms((boxes + apart[..., None]).reshape(-1, 4), ranked.reshape(-1), iou)
        ones = torch.ones_like(index, dtype=boxes.dtype)
        mask = torch.zeros_like(ranked).reshape(-1).scatter(0, index, ones)
        return (mask.reshape(scores.shape) > 0) & valid

    def _clipped(self, boxes: Tensor) -> Tensor:
        width, height = self.size
        x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
        return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)


def _cells_last(tensor: Tensor, values: int) -> Tensor:
    """(N, anchors values, h, w) to (N, h w anchors, values), as torchvision numbers its anchors."""
    count, _, height, width = tensor.shape
    cells = tensor.reshape(count, -1, values, height, width).permute(0, 3, 4, 1, 2)
    return cells.reshape(count, -1, values)


def _decoded(coder: Any, deltas: Tensor, anchors: Tensor) -> Tensor:
    boxes: Tensor = coder.decode_single(deltas.reshape(-1, 4), anchors.reshape(-1, 4))
    return boxes.reshape(deltas.shape)


def _at_least(boxes: Tensor, pixels: float) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0] >= pixels) & (boxes[..., 3] - boxes[..., 1] >= pixels)


def _padded(rows: Tensor, count: int) -> Tensor:
    return torch.cat((rows, rows.new_zeros(count - rows.shape[0], *rows.shape[1:])))
