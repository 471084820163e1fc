# SPDX-License-Identifier: Apache-2.0
"""Drawn training data: silhouettes and surfaces agree with the picture, sign crops and portraits are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sightline.errors import SightlineError
from sightline.scenes import CLASS_NAMES, HIDDEN_OWNER, SURFACE_NAMES, Scene, SceneView
from sightline.scenes.portraits import identity, portrait
from sightline.scenes.sign_crops import CROP_NAMES, NO_SIGN, sign_crop
from sightline.scenes.sign_faces import SIGN_NAMES, face_of
from sightline.scenes.surfaces import SKY, SURFACE_OF_CLASS

SIZE = (384, 216)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(500, size=SIZE, night=False, rain=False)


@pytest.fixture(scope="module")
def view(scene: Scene) -> SceneView:
    return scene.view(1.0)


@pytest.fixture(scope="module")
def behind(view: SceneView) -> list[np.ndarray]:
    return [view.image]


def test_a_view_shows_the_same_bits_as_a_frame(scene: Scene, view: SceneView) -> None:
    image, truth = scene.frame(1.0)
    assert np.array_equal(view.image, image)
    assert np.array_equal(view.truth.boxes, truth.boxes)
    assert np.array_equal(view.truth.ids, truth.ids)


def test_each_mask_lies_in_its_box_and_fills_a_good_part_of_it(view: SceneView) -> None:
    masks = view.masks()
    assert masks.shape == (len(view.truth.ids), SIZE[1], SIZE[0])
    for mask, (x0, y0, x1, y1) in zip(masks, view.truth.boxes, strict=True):
        rows, cols = np.nonzero(mask)
        assert len(rows) > 0.12 * (x1 - x0) * (y1 - y0)
        assert cols.min() >= x0 - 1.5
        assert cols.max() + 1 <= x1 + 1.5
        assert rows.min() >= y0 - 1.5
        assert rows.max() + 1 <= y1 + 1.5


def test_masks_do_not_overlap_and_surfaces_agree_with_them(view: SceneView) -> None:
    masks = view.masks()
    assert masks.sum(0).max() == 1
    for mask, kind in zip(masks, view.truth.classes, strict=True):
        assert (view.surfaces[mask] == SURFACE_OF_CLASS[kind]).all()
    assert view.owners.max() <= HIDDEN_OWNER


def test_a_silhouette_is_where_the_object_was_painted(scene: Scene) -> None:
    import cv2

    from sightline.scenes.camera import Camera
    from sightline.scenes.silhouettes import SilhouetteCanvas

    camera = Camera(focal_pixels=1100.0, centre_x=640.0, horizon_y=200.0, x_metres=0.0, height_metres=6.0)
    for kind in range(len(CLASS_NAMES)):
        actor = next((a for a in scene._actors if a.kind == kind), None)
        if actor is None or CLASS_NAMES[kind] == "traffic_light":
            continue
        canvas = SilhouetteCanvas(np.full((720, 1280, 3), 90, np.uint8), camera, (200.0,) * 3, 1e9)
        canvas.begin(1, 24.0)
        actor.draw(canvas, (1.0, 24.0), 0.4, 0.3)
        canvas.end()
        pole = cv2.dilate((canvas.labels == 255).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        painted = (canvas.image != 90).any(2) & ~pole
        both, either = (painted & (canvas.labels == 1)).sum(), (painted | (canvas.labels == 1)).sum()
        assert both / either > 0.85, CLASS_NAMES[kind]


def test_surfaces_of_a_street(view: SceneView) -> None:
    assert view.surfaces.dtype == np.uint8
    assert view.surfaces.max() < len(SURFACE_NAMES)
    share = np.bincount(view.surfaces.ravel(), minlength=len(SURFACE_NAMES)) / view.surfaces.size
    named = dict(zip(SURFACE_NAMES, share.tolist(), strict=True))
    assert named["road"] > 0.05
    assert named["building"] > 0.05
    assert 0 < named["marking"] < 0.2
    sky = view.image[view.surfaces == SKY].astype(float)
    assert sky.mean() > view.image[view.surfaces == SURFACE_NAMES.index("tree")].mean()


def test_every_sign_has_a_face_of_its_own() -> None:
    import cv2

    small = []
    for name in SIGN_NAMES:
        face, alpha = face_of(name)
        assert face.shape[:2] == alpha.shape
        assert (alpha > 127).mean() > 0.35
        small.append(cv2.resize(face, (32, 32), interpolation=cv2.INTER_AREA).astype(int))
    for i, a in enumerate(small):
        for j, b in enumerate(small[:i]):
            assert np.abs(a - b).mean() > 0.8, (SIGN_NAMES[i], SIGN_NAMES[j])


def test_an_unknown_sign_is_refused() -> None:
    with pytest.raises(SightlineError, match="'give_way'; known are stop"):
        face_of("give_way")


def test_a_sign_crop_comes_from_its_generator_alone(behind: list[np.ndarray]) -> None:
    for name in (CROP_NAMES[0], NO_SIGN):
        first, again, other = (sign_crop(name, behind, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert first.shape == (64, 64, 3)
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_an_identity_looks_the_same_from_its_number_alone(behind: list[np.ndarray]) -> None:
    pictures = [portrait(identity(n), behind, np.random.default_rng(5)) for n in (3, 3, 4)]
    assert pictures[0].shape == (96, 96, 3)
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    assert {identity(n).kind for n in range(60)} == {
        "car", "truck", "bus", "motorcycle", "bicycle", "pedestrian",
    }  # fmt: skip


def test_drawn_data_is_kept_and_reused(tmp_path: Path) -> None:
    from sightline.builders.train.dataset import RenderPlan
    from sightline.builders.train.drawn import CropPlan, render_crops
    from sightline.builders.train.views import render_views

    told: list[int] = []
    plan = CropPlan("signs", 5, 5, 1, len(CROP_NAMES), 1)
    first = render_crops(tmp_path / "signs", plan, 1, lambda done, total: told.append(done))
    assert (len(first), told) == (len(CROP_NAMES), [len(CROP_NAMES)])
    again = render_crops(tmp_path / "signs", plan, 1, lambda done, total: told.append(done))
    assert len(told) == 1
    assert np.array_equal(first.pictures[3], again.pictures[3])
    views = render_views(tmp_path / "views", RenderPlan(300, 1, 2, 0.0), 1, lambda done, total: None)
    sample = views.sample(1)
    assert sample.owners is not None
    assert sample.surfaces is not None
    assert sample.picture.shape[:2] == sample.owners.shape == sample.surfaces.shape == (216, 384)
    fitted = sample.fitted((384, 224))
    assert fitted.surfaces is not None
    assert (fitted.surfaces[:4] == 255).all()
    inside = [(fitted.owners == number).any() for number in fitted.found[:, 5]]
    assert np.mean(inside) > 0.9


def test_held_out_seeds_and_training_seeds_do_not_meet() -> None:
    from sightline.builders.train.dataset import HELD_OUT_FIRST_SEED
    from sightline.builders.train.drawn import PORTRAITS, SIGNS, VIEWS

    for train, held_out in (SIGNS, PORTRAITS, VIEWS):
        assert train.first_seed < HELD_OUT_FIRST_SEED <= held_out.first_seed
    for crops, held_crops in (SIGNS, PORTRAITS):
        assert crops.first_street + crops.streets < HELD_OUT_FIRST_SEED <= held_crops.first_street
        assert crops.first_seed + crops.things < HELD_OUT_FIRST_SEED
