# SPDX-License-Identifier: Apache-2.0
"""The shipped models: their records describe the files, and a few held-out pictures bear them out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.builders.train.classify import classification_table
from sightline.builders.train.dataset import HELD_OUT_FIRST_SEED, RenderPlan
from sightline.builders.train.drawn import CropPlan, render_crops
from sightline.builders.train.embed import search_figures
from sightline.builders.train.metrics import accuracy, class_ious
from sightline.builders.train.record import OnnxNetwork
from sightline.builders.train.segment import segment_evaluation
from sightline.builders.train.semantic import semantic_table
from sightline.builders.train.views import RenderedViews, render_views
from sightline.card import load_card
from sightline.scenes import CLASS_NAMES, SURFACE_NAMES
from sightline.scenes.sign_crops import CROP_NAMES
from tests.needs import needs

needs("torch", "openvino")

pytestmark = pytest.mark.train
SHIPPED = Path(__file__).parents[1] / "model_repository"
MODELS = {
    "sign_classify": ("classify", CROP_NAMES),
    "street_segment": ("segment", CLASS_NAMES),
    "road_semantic": ("semantic", SURFACE_NAMES),
    "street_embed": ("embed", ()),
}


def _record(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((SHIPPED / name / "record.json").read_text())
    return values


@pytest.mark.parametrize("name", MODELS)
def test_the_record_describes_the_file(name: str) -> None:
    task, classes = MODELS[name]
    made, content = _record(name), (SHIPPED / name / "model.onnx").read_bytes()
    assert made["onnx_sha256"] == hashlib.sha256(content).hexdigest()
    assert made["onnx_bytes"] == len(content) <= 5_000_000
    assert made["task"] == task
    assert tuple(made["classes"]) == classes
    assert made["seed"] == 1
    assert made["training"]["steps"] > 0
    assert (SHIPPED / name / "training.png").stat().st_size <= 300_000


@pytest.mark.parametrize("name", MODELS)
def test_the_card_fits_the_record(name: str) -> None:
    task, classes = MODELS[name]
    card = load_card(SHIPPED / name / "card.yaml")
    assert (card.name, card.task) == (name, task)
    assert list(card.input.size) == _record(name)["input_size"]
    assert card.labels == classes
    network = OnnxNetwork(SHIPPED / name / "model.onnx")
    width, height = card.input.size
    images = np.random.default_rng(0).random((2, 3, height, width), np.float32)
    together, alone = network.outputs(images), network.outputs(images[1:])
    for whole, part in zip(together, alone, strict=True):
        np.testing.assert_allclose(whole[1:], part, atol=2e-3 * max(float(np.abs(whole).max()), 1.0))


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> RenderedViews:
    plan = RenderPlan(HELD_OUT_FIRST_SEED + 500, 4, 2, 0.0)
    return render_views(tmp_path_factory.mktemp("views"), plan, 1, lambda done, total: None)


def test_signs_are_told_apart(tmp_path: Path) -> None:
    plan = CropPlan("signs", HELD_OUT_FIRST_SEED + 500, HELD_OUT_FIRST_SEED + 500, 2, len(CROP_NAMES), 8)
    data = render_crops(tmp_path, plan, 1, lambda done, total: None)
    table = classification_table(OnnxNetwork(SHIPPED / "sign_classify" / "model.onnx"), data, len(CROP_NAMES))
    assert accuracy(table) >= _record("sign_classify")["held_out"]["accuracy"] - 0.06


def test_objects_are_outlined(views: RenderedViews) -> None:
    network = OnnxNetwork(SHIPPED / "street_segment" / "model.onnx")
    result = segment_evaluation(lambda images: network.outputs(images)[:2], views, len(CLASS_NAMES))  # type: ignore[arg-type, return-value]
    held = _record("street_segment")["held_out"]
    assert result.masks.map50 >= held["masks"]["map50"] - 0.15
    assert result.mask_iou >= held["mask_iou"] - 0.05


def test_surfaces_are_recognised(views: RenderedViews) -> None:
    network = OnnxNetwork(SHIPPED / "road_semantic" / "model.onnx")
    table = semantic_table(network, views, len(SURFACE_NAMES))
    held = _record("road_semantic")["held_out"]
    assert accuracy(table) >= held["pixel_accuracy"] - 0.05
    assert float(np.nanmean(class_ious(table))) >= held["miou"] - 0.12


def test_what_is_the_same_is_found_again(tmp_path: Path) -> None:
    plan = CropPlan("portraits", HELD_OUT_FIRST_SEED + 5000, HELD_OUT_FIRST_SEED + 502, 2, 30, 4)
    data = render_crops(tmp_path, plan, 1, lambda done, total: None)
    network = OnnxNetwork(SHIPPED / "street_embed" / "model.onnx")
    result = search_figures(network, data)
    assert result.queries == 120
    # thirty identities are told apart more easily than the record's hundred and fifty
    assert result.recall_at_1 >= _record("street_embed")["held_out"]["recall_at_1"] - 0.05
    length = np.linalg.norm(network(np.full((1, 3, 96, 96), 0.4, np.float32)))
    assert length == pytest.approx(1.0, abs=1e-4)
