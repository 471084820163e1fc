# SPDX-License-Identifier: Apache-2.0
"""How well served answers agree with the source's: the measures of each task, in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.builders.proof.subject import Measure
from sightline.builders.train.evaluate import average_precision, box_iou, match
from sightline.card import Limits, ModelCard
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

Floats = NDArray[np.float32]
MATCH_IOU = 0.5
BORDER, BORDER_SHARE = 0.05, 0.25
IOU_BORDER = 0.1
_SAME = 0.999


def border(limit: float) -> float:
    """Scores this near the limit may fall on either side by rounding alone: such objects do not count."""
    return min(BORDER, limit * BORDER_SHARE)


def looser(limits: Limits, score: float, detections: int) -> Limits:
    """Down to a lower score, and with boxes that NMS suppresses by so little that rounding may let them live."""
    iou = min(limits.iou + IOU_BORDER, 1.0)
    return limits.model_copy(update={"score": score, "iou": iou, "detections": detections})


def limit_of(score: float) -> float:
    """The limit above which, by a border, objects from this score on are."""
    return max(score - BORDER, score / (1 + BORDER_SHARE)) * (1 - 1e-6)


def counted(card: ModelCard, found: Detections) -> NDArray[np.bool_]:
    """Which of the objects are well above the card's limit."""
    return np.asarray(found.scores >= card.limits.score + border(card.limits.score))


def object_count(result: Result) -> int:
    """How many objects of an area there are."""
    return len(_boxes(result))


@dataclass(frozen=True)
class Pair:
    """One picture's answers; loose: the source's detections within a little of the limits of score and overlap."""

    source: Result
    served: Result
    loose: Result | None = None


@dataclass
class TensorError:
    """Mean difference of one output over all pictures, as a share of its spread in the source; keeps sums only."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    differences: float = 0.0

    def add(self, source: Floats, served: Floats) -> None:
        """One picture's output from both sides."""
        values = source.astype(np.float64)
        self.count += values.size
        self.total += float(values.sum())
        self.squares += float((values * values).sum())
        self.differences += float(np.abs(values - served).sum())

    @property
    def value(self) -> float:
        """Where the source is the same everywhere, any difference is whole."""
        mean = self.total / max(self.count, 1)
        variance = self.squares / max(self.count, 1) - mean * mean
        if not variance > 1e-12 * max(mean * mean, 1e-12):
            return float(self.differences > 0)
        return float(self.differences / self.count / np.sqrt(variance))


def agreement(card: ModelCard, pairs: Sequence[Pair]) -> list[Measure]:
    """The task's measures; fewer where the pictures show nothing that can be compared."""
    made = {
        "classify": _top1,
        "detect": _map,
        "segment": _map_and_masks,
        "semantic": _miou,
        "embed": _cosine,
    }[card.task](card, pairs)
    return [measure for measure in made if measure.counted]


def _top1(card: ModelCard, pairs: Sequence[Pair]) -> list[Measure]:
    same = [_best(pair.source) == _best(pair.served) for pair in pairs]
    value = float(np.mean(same)) if same else 0.0
    return [Measure("top1_agreement", "top-1 agreement", value, card.proof.top1_agreement, True, len(same))]


def _best(result: Result) -> int:
    return int(result.classes[0]) if isinstance(result, Classification) and len(result) else -1


def _map(card: ModelCard, pairs: Sequence[Pair]) -> list[Measure]:
    """mAP50 with the source's detections as the truth."""
    classes = {int(c) for pair in pairs for side in (pair.source, pair.served) for c in _boxes(side).classes}
    precisions, objects = [], 0
    for kind in sorted(classes):
        scores, verdicts, count = _verdicts(card, pairs, kind)
        invented = int(((verdicts == 0) & (scores >= card.limits.score + border(card.limits.score))).sum())
        if count:
            precisions.append(average_precision(scores, verdicts, count))
        elif invented:
            precisions.append(0.0)
        objects += count or invented
    value = float(np.mean(precisions)) if precisions else 0.0
    return [Measure("map", "mAP50 against the source", value, card.proof.map, True, objects)]


def _verdicts(
    card: ModelCard, pairs: Sequence[Pair], kind: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    scores, verdicts, count = [], [], 0
    for pair in pairs:
        source, served = _of(_boxes(pair.source), kind), _of(_boxes(pair.served), kind)
        sure = counted(card, source)
        loose = _of(_boxes(pair.loose), kind).boxes if pair.loose is not None else source.boxes[:0]
        new = (box_iou(loose, source.boxes[sure]) < _SAME).all(
            axis=1
        )  # a second box of an object is a mistake
        borderline = np.concatenate([loose[new], source.boxes[~sure]])
        verdicts.append(match(served.boxes, source.boxes[sure], borderline, MATCH_IOU))
        scores.append(served.scores)
        count += int(sure.sum())
    return np.concatenate(scores).astype(np.float64), np.concatenate(verdicts), count


def _map_and_masks(card: ModelCard, pairs: Sequence[Pair]) -> list[Measure]:
    overlaps: list[float] = []
    for pair in pairs:
        source, served = _boxes(pair.source), _boxes(pair.served)
        ious = box_iou(source.boxes, served.boxes)
        for i in range(len(source)):
            same = np.where(served.classes == source.classes[i], ious[i], -1.0)
            j = int(same.argmax()) if len(same) else -1
            if j >= 0 and same[j] >= MATCH_IOU:
                overlaps.append(_mask_iou(source.mask(i), served.mask(j)))
    value = float(np.mean(overlaps)) if overlaps else 0.0
    masks = Measure("mask_iou", "mean mask IoU", value, card.proof.mask_iou, True, len(overlaps))
    return [*_map(card, pairs), masks]


def _mask_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def _miou(card: ModelCard, pairs: Sequence[Pair]) -> list[Measure]:
    """Mean over the classes that occur, of all pictures together."""
    from sightline.builders.train.metrics import class_ious, confusion

    table = np.zeros((256, 256), np.int64)
    for pair in pairs:
        if isinstance(pair.source, ClassMap) and isinstance(pair.served, ClassMap):
            table += confusion(pair.source.classes, pair.served.classes, 256)
    ious = class_ious(table)
    value = float(np.nanmean(ious)) if table.any() else 0.0
    return [Measure("miou", "mIoU against the source", value, card.proof.miou, True, int(table.sum()))]


def _cosine(card: ModelCard, pairs: Sequence[Pair]) -> list[Measure]:
    cosines = [
        pair.source.cosine(pair.served)
        for pair in pairs
        if isinstance(pair.source, Embedding) and isinstance(pair.served, Embedding)
    ]
    value = min(cosines, default=0.0)
    return [Measure("cosine", "smallest cosine to the source", value, card.proof.cosine, True, len(cosines))]


def with_area(found: Detections) -> Detections:
    """Without the boxes that have none, as untrained networks make them: they overlap with nothing, not even themselves."""
    x1, y1, x2, y2 = found.boxes.T
    keep = (x2 > x1) & (y2 > y1)
    masks = (
        None if found.masks is None else tuple(m for m, kept in zip(found.masks, keep, strict=True) if kept)
    )
    return Detections(
        found.boxes[keep], found.scores[keep], found.classes[keep], found.labels, masks, found.size
    )


def _boxes(result: Result | None) -> Detections:
    if not isinstance(result, Detections):
        raise TypeError(f"detections are compared, not {type(result).__name__}")
    return with_area(result)


def _of(found: Detections, kind: int) -> Detections:
    keep = found.classes == kind
    return Detections(found.boxes[keep], found.scores[keep], found.classes[keep], found.labels)
