# SPDX-License-Identifier: Apache-2.0
"""Heads against recorded results of Ultralytics, torchvision and torch (tests/peers/record_heads.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.preprocess_ext import Geometry, Head, classify, decode_head, embedding, semantic_map

FOLDER = Path(__file__).resolve().parent / "data" / "peers" / "heads"
SIDE = 160
NETWORK = (SIDE, SIDE)
GEOMETRY = Geometry(SIDE, SIDE, 1.0, 1.0, 0, 0).as_array()


def recorded(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as data:
        return dict(data)


@pytest.mark.parametrize(
    ("name", "options", "limits"),
    [
        ("plain", {}, {}),
        ("low", {}, {"score": 0.001, "iou": 0.7}),
        ("agnostic", {}, {"class_agnostic": True}),
        ("multi_label", {"multi_label": True}, {"score": 0.1}),
        ("few", {}, {"max_detections": 7}),
    ],
)
def test_ultralytics_suppression(name: str, options: dict[str, Any], limits: dict[str, Any]) -> None:
    """Boxes in network pixels are compared: Ultralytics clips later."""
    record = recorded("ultralytics")
    head = Head("yolov8", 5, NETWORK, extra="masks", extra_values=6, **options)
    have = decode_head(head, [record["raw"]], GEOMETRY, **{"score": 0.25, **limits})
    want = record[name]
    np.testing.assert_array_equal(have.scores, want[:, 4])
    np.testing.assert_array_equal(have.classes, want[:, 5])
    np.testing.assert_array_equal(have.network_boxes, want[:, :4])
    np.testing.assert_array_equal(have.extras, want[:, 6:])


@pytest.mark.parametrize(
    ("name", "limits"), [("plain", (0.25, 0.45)), ("low", (0.001, 0.7)), ("agnostic", (0.1, 0.3))]
)
def test_ultralytics_oriented_boxes(name: str, limits: tuple[float, float]) -> None:
    """x, y, width, height, score, class, angle: the same rows in the same order."""
    record = recorded("oriented")
    head = Head("yolov8", 3, NETWORK, extra="angle", extra_values=1)
    options: dict[str, Any] = {"score": limits[0], "iou": limits[1], "class_agnostic": name == "agnostic"}
    have = decode_head(head, [record["raw"]], GEOMETRY, **options)
    want = record[name]
    np.testing.assert_array_equal(have.scores, want[:, 4])
    np.testing.assert_array_equal(have.classes, want[:, 5])
    np.testing.assert_array_equal(have.extras[:, 0], want[:, 6])
    half = want[:, 2:4] / 2
    np.testing.assert_allclose(
        have.boxes, np.concatenate([want[:, :2] - half, want[:, :2] + half], axis=1), atol=1e-4
    )


def test_ultralytics_end_to_end() -> None:
    record = recorded("ultralytics")
    have = decode_head(Head("end_to_end", 5, NETWORK), [record["end_to_end_raw"]], GEOMETRY, score=0.25)
    rows = np.concatenate([have.network_boxes, have.scores[:, None], have.classes[:, None]], axis=1)
    np.testing.assert_array_equal(rows, record["end_to_end"])


@pytest.mark.parametrize(
    ("name", "weights", "options", "first"),
    [
        ("ssd", (10.0, 10.0, 5.0, 5.0), {"activation": "softmax", "background": "first"}, 1),
        ("retinanet", (1.0, 1.0, 1.0, 1.0), {"activation": "sigmoid"}, 0),
    ],
)
def test_torchvision_anchors(name: str, weights: Any, options: dict[str, Any], first: int) -> None:
    record = recorded("torchvision")
    classes = record["logits"].shape[1] - first
    head = Head(
        "ssd",
        classes,
        NETWORK,
        anchors=record["anchors"],
        box_weights=weights,
        multi_label=True,
        **options,
    )
    deltas = record["deltas"] * np.float32(weights[2])
    have = decode_head(head, [deltas, record["logits"]], GEOMETRY, score=0.2, iou=0.5, max_detections=100)
    np.testing.assert_array_equal(have.classes + first, record[f"{name}_labels"])
    np.testing.assert_allclose(have.scores, record[f"{name}_scores"], rtol=1e-5)
    np.testing.assert_allclose(have.boxes, record[f"{name}_boxes"], atol=1e-3)


def test_torch_class_maps() -> None:
    """The whole input, and a picture letterboxed into whole cells: both as torch interpolates them."""
    record = recorded("torch")
    whole = Geometry(120, 90, 1.0, 1.0, 0, 0).as_array()
    np.testing.assert_array_equal(semantic_map(record["logits"], whole, (120, 90)), record["whole"])
    inside = Geometry(100, 45, 0.8, 0.8, 0, 12).as_array()
    np.testing.assert_array_equal(semantic_map(record["logits"], inside, (80, 60)), record["letterboxed"])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_torch_best_classes(activation: Any) -> None:
    record = recorded("torch")
    scores, classes = classify(record["values"], top=6, activation=activation)
    np.testing.assert_array_equal(classes, record["best"])
    np.testing.assert_allclose(scores, record[activation], rtol=1e-6)


def test_torch_normalise() -> None:
    record = recorded("torch")
    np.testing.assert_allclose(embedding(record["values"]), record["embedding"], rtol=1e-6)
