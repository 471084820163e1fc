# SPDX-License-Identifier: Apache-2.0
"""What a record says of held-out pictures: figures, and what its charts are drawn from (precision-recall, confusion)."""

from __future__ import annotations

from typing import Any

import numpy as np

from sightline.builders.train.classify import Labelled, classification_table
from sightline.builders.train.dataset import Scenes
from sightline.builders.train.detect import detection_evaluation
from sightline.builders.train.evaluate import NMS_IOU, SCORE_THRESHOLD
from sightline.builders.train.metrics import accuracy, class_ious, recalls
from sightline.builders.train.record import OnnxNetwork, by_class, curves, figures
from sightline.builders.train.segment import segment_evaluation
from sightline.builders.train.semantic import semantic_table

Size = tuple[int, int]
Classes = tuple[str, ...]


def of_classifier(network: OnnxNetwork, held_out: Labelled, classes: Classes) -> dict[str, Any]:
    """Accuracy, each class's recall, and how often class i (row) was called j (column)."""
    table = classification_table(network, held_out, len(classes))
    return {
        "accuracy": round(accuracy(table), 4),
        "mean_recall": round(float(np.nanmean(recalls(table))), 4),
        "pictures": int(table.sum()),
        "recall": by_class(recalls(table), classes),
        "confusion": table.tolist(),
    }


def of_detector(network: OnnxNetwork, held_out: Scenes, classes: Classes, size: Size) -> dict[str, Any]:
    """AP of the boxes."""
    result = detection_evaluation(network, held_out, len(classes), size)
    return {
        **figures(result, classes),
        "score_threshold": SCORE_THRESHOLD,
        "nms_iou": NMS_IOU,
        "precision_recall": curves(result, classes),
    }


def of_segmenter(network: OnnxNetwork, held_out: Scenes, classes: Classes, size: Size) -> dict[str, Any]:
    """AP of masks and boxes; the curves are the masks'."""

    def infer(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raw, prototypes = network.outputs(images)
        return raw, prototypes

    result = segment_evaluation(infer, held_out, len(classes), size)
    return {
        "masks": figures(result.masks, classes),
        "boxes": figures(result.boxes, classes),
        "mask_iou": round(result.mask_iou, 4),
        "score_threshold": SCORE_THRESHOLD,
        "nms_iou": NMS_IOU,
        "precision_recall": curves(result.masks, classes),
    }


def of_semantic(network: OnnxNetwork, held_out: Scenes, classes: Classes, size: Size) -> dict[str, Any]:
    """IoU of each class on the classes of the enlarged logits, and the pixels of class i (row) that were called j."""
    table = semantic_table(network, held_out, len(classes), size)
    return {
        "miou": round(float(np.nanmean(class_ious(table))), 4),
        "pixel_accuracy": round(accuracy(table), 4),
        "frames": len(held_out),
        "iou": by_class(class_ious(table), classes),
        "confusion": table.tolist(),
    }
