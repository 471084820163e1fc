# SPDX-License-Identifier: Apache-2.0
"""Writes what torchvision and Ultralytics keep of many sets of boxes to tests/data/peers; takes no arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torchvision
import ultralytics
from numpy.typing import NDArray
from torchvision.ops.boxes import _batched_nms_vanilla
from ultralytics.utils.metrics import batch_probiou
from ultralytics.utils.nms import TorchNMS

FOLDER = Path(__file__).resolve().parent.parent / "data" / "peers"
THRESHOLDS = (0.0, 0.1, 0.25, 1 / 3, 0.45, 0.5, 0.7, 0.9, 1.0)
Array = NDArray[np.float32]


def grid_boxes(rng: np.random.Generator, count: int) -> Array:
    """On whole numbers: equal boxes, boxes that touch, boxes without area or inside out, IoU exactly at a threshold."""
    return rng.integers(0, 12, (count, 4)).astype(np.float32)


def upright_boxes(rng: np.random.Generator, count: int) -> Array:
    corner = rng.uniform(0, 150, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 80, (count, 2))], axis=1).astype(np.float32)


def nested_boxes(rng: np.random.Generator, count: int) -> Array:
    """IoU is a ratio of small whole numbers; far from the origin, where float32 is coarse."""
    width, height = rng.integers(1, 9, (2, count)).astype(np.float32)
    offset = np.float32(2.0 ** rng.integers(0, 20))
    return np.stack([np.full(count, offset), np.zeros(count), offset + width, height], axis=1).astype(
        np.float32
    )


def scores_of(rng: np.random.Generator, count: int) -> Array:
    """Half the time with many ties."""
    scores = rng.random(count).astype(np.float32)
    return (np.round(scores * 4) / 4).astype(np.float32) if rng.random() < 0.5 else scores


def upright_cases() -> Iterator[dict[str, NDArray[np.generic] | float]]:
    makers: tuple[Callable[[np.random.Generator, int], Array], ...] = (
        grid_boxes,
        upright_boxes,
        nested_boxes,
    )
    for seed in range(81):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 70))
        boxes, scores = makers[seed % 3](rng, count), scores_of(rng, count)
        classes, iou = rng.integers(0, 3, count).astype(np.int32), THRESHOLDS[seed // 3 % len(THRESHOLDS)]
        tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
        yield {
            "boxes": boxes,
            "scores": scores,
            "classes": classes,
            "iou": iou,
            "agnostic": torchvision.ops.nms(*tensors, iou).numpy().astype(np.int16),
            "per_class": _batched_nms_vanilla(*tensors, torch.from_numpy(classes), iou)
            .numpy()
            .astype(np.int16),
        }


def oriented_cases() -> Iterator[dict[str, NDArray[np.generic] | float]]:
    for seed in range(30):
        rng = np.random.default_rng(1000 + seed)
        count = int(rng.integers(1, 60))
        place, size = rng.uniform(0, 120, (count, 2)), rng.uniform(4, 60, (count, 2))
        boxes = np.concatenate([place, size, rng.uniform(-3.2, 3.2, (count, 1))], axis=1).astype(np.float32)
        scores, limit = rng.permutation(count).astype(np.float32) / count, float(rng.uniform(0.05, 0.8))
        tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
        yield {
            "boxes": boxes,
            "scores": scores,
            "iou": limit,
            "fast": TorchNMS.fast_nms(*tensors, limit, iou_func=batch_probiou).numpy().astype(np.int16),
        }


def save(name: str, cases: Iterator[dict[str, NDArray[np.generic] | float]], versions: str) -> None:
    arrays = {
        f"{key}_{number}": np.asarray(value)
        for number, case in enumerate(cases)
        for key, value in case.items()
    }
    np.savez_compressed(FOLDER / f"boxes_{name}.npz", versions=np.array(versions), **arrays)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, ultralytics {ultralytics.__version__}"
    save("upright", upright_cases(), versions)
    save("oriented", oriented_cases(), versions)
