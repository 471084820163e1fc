# SPDX-License-Identifier: Apache-2.0
"""Records what Ultralytics, torchvision and torch make of small outputs, for tests/test_heads_peers.py.

Run in an environment that has them: python tests/peers/record_heads.py. Recorded with ultralytics 8.4.190,
torchvision 0.28.0 and torch 2.13.0.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torchvision  # noqa: F401  Ultralytics uses its NMS once it is imported
from torchvision.models.detection import _utils, retinanet, ssd
from ultralytics.utils import nms

FOLDER = Path(__file__).resolve().parent.parent / "data" / "peers" / "heads"
SIDE = 160


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low, high = np.array([20, 20, 10, 10]), np.array([140, 140, 60, 60])
    return (rng.random((count, 4)) * (high - low) + low).astype(np.float32)


def scores(rng: np.random.Generator, count: int, classes: int) -> np.ndarray:
    """All different, so that no order hangs on how a peer sorts equal ones."""
    return (((rng.permutation(count * classes) + 1) / (count * classes + 1)) ** 3).reshape(count, classes)


def ultralytics() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    raw = np.concatenate([boxes(rng, 400), scores(rng, 400, 5), rng.standard_normal((400, 6))], axis=1)
    tensor = torch.from_numpy(np.ascontiguousarray(raw.T, dtype=np.float32))[None]
    saved: dict[str, Any] = {"raw": tensor[0].numpy()}
    for name, options in {
        "plain": {},
        "low": {"conf_thres": 0.001, "iou_thres": 0.7},
        "agnostic": {"agnostic": True},
        "multi_label": {"conf_thres": 0.1, "multi_label": True},
        "few": {"max_det": 7},
    }.items():
        saved[name] = nms.non_max_suppression(tensor.clone(), nc=5, max_time_img=1e9, **options)[0].numpy()
    rows = np.concatenate([boxes(rng, 60), scores(rng, 60, 1), rng.integers(0, 5, (60, 1))], axis=1)
    rows = rows[np.argsort(-rows[:, 4])].astype(np.float32)
    saved["end_to_end_raw"] = rows
    saved["end_to_end"] = nms.non_max_suppression(torch.from_numpy(rows)[None], 0.25, end2end=True)[0].numpy()
    return saved


def oriented() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    raw = np.concatenate([boxes(rng, 300), scores(rng, 300, 3), rng.uniform(-0.8, 2.3, (300, 1))], axis=1)
    tensor = torch.from_numpy(np.ascontiguousarray(raw.T, dtype=np.float32))[None]
    options: dict[str, Any] = {"rotated": True, "nc": 3, "max_time_img": 1e9}
    saved: dict[str, Any] = {"raw": tensor[0].numpy()}
    for name, limits in {"plain": (0.25, 0.45), "low": (0.001, 0.7), "agnostic": (0.1, 0.3)}.items():
        kept = nms.non_max_suppression(tensor.clone(), *limits, agnostic=name == "agnostic", **options)
        saved[name] = kept[0].numpy()
    return saved


def torchvision_heads() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    centre = boxes(rng, 300)
    half = centre[:, 2:] / 2
    anchors = torch.from_numpy(np.concatenate([centre[:, :2] - half, centre[:, :2] + half], axis=1))
    deltas = torch.from_numpy(rng.normal(0, 0.4, (300, 4)).astype(np.float32))
    logits = torch.from_numpy(rng.normal(-1, 1.5, (300, 4)).astype(np.float32))
    saved: dict[str, Any] = {"anchors": anchors.numpy(), "deltas": deltas.numpy(), "logits": logits.numpy()}
    common = {"score_thresh": 0.2, "nms_thresh": 0.5, "detections_per_img": 100, "topk_candidates": 10_000}
    weights = {"ssd": (10.0, 10.0, 5.0, 5.0), "retinanet": (1.0, 1.0, 1.0, 1.0)}
    for name, kind in (("ssd", ssd.SSD), ("retinanet", retinanet.RetinaNet)):
        self = SimpleNamespace(box_coder=_utils.BoxCoder(weights[name]), **common)
        outputs = {"cls_logits": logits[None], "bbox_regression": deltas[None] * weights[name][2]}
        parts: Any = [anchors]
        if name == "retinanet":
            outputs, parts = {key: [value] for key, value in outputs.items()}, [[anchors]]
        found = kind.postprocess_detections(self, outputs, parts, [(SIDE, SIDE)])[0]
        saved.update({f"{name}_{key}": value.numpy() for key, value in found.items()})
    return saved


def scored() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    small = torch.from_numpy(rng.standard_normal((1, 7, 4, 5), dtype=np.float32))
    logits = torch.nn.functional.interpolate(small, size=(15, 20), mode="bilinear")
    resized = torch.nn.functional.interpolate(logits, size=(90, 120), mode="bilinear", align_corners=False)
    inside = torch.nn.functional.interpolate(
        logits[:, :, 3:12], size=(45, 100), mode="bilinear", align_corners=False
    )
    values = torch.from_numpy(rng.standard_normal(50, dtype=np.float32) * 5)
    softmax, sigmoid = values.softmax(0).topk(6), values.sigmoid().topk(6)
    return {
        "logits": logits[0].numpy(),
        "whole": resized.argmax(1)[0].numpy().astype(np.uint8),
        "letterboxed": inside.argmax(1)[0].numpy().astype(np.uint8),
        "values": values.numpy(),
        "softmax": softmax.values.numpy(),
        "sigmoid": sigmoid.values.numpy(),
        "best": softmax.indices.numpy(),
        "embedding": torch.nn.functional.normalize(values, dim=0).numpy(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, record in {
        "ultralytics": ultralytics,
        "oriented": oriented,
        "torchvision": torchvision_heads,
        "torch": scored,
    }.items():
        np.savez_compressed(FOLDER / f"{name}.npz", **record())
