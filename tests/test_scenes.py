# SPDX-License-Identifier: Apache-2.0
"""Drawn scenes: a frame is a pure function of seed and time, and its truth agrees with its pixels."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import SightlineError
from sightline.scenes import CLASS_NAMES, MIN_SIDE_FRACTION, MIN_VISIBLE, Scene
from sightline.scenes.camera import Camera
from sightline.scenes.canvas import Canvas
from sightline.scenes.street import make_street
from sightline.scenes.traffic import populate

SMALL = (384, 216)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [Scene(seed, size=SMALL) for seed in range(500, 510)]


def test_same_seed_and_time_give_the_same_frame() -> None:
    first, truth = Scene(7, size=SMALL).frame(2.0)
    scene = Scene(7, size=SMALL)
    scene.frame(9.0)
    again, same_truth = scene.frame(2.0)
    assert np.array_equal(first, again)
    assert np.array_equal(truth.boxes, same_truth.boxes)
    assert np.array_equal(truth.ids, same_truth.ids)


def test_other_seed_gives_another_street() -> None:
    assert (
        np.abs(Scene(7, size=SMALL).frame(0.0)[0].astype(int) - Scene(8, size=SMALL).frame(0.0)[0]).mean() > 5
    )


def test_frame_and_truth_have_the_promised_types(scenes: list[Scene]) -> None:
    image, truth = scenes[0].frame(1.0)
    assert image.shape == (216, 384, 3)
    assert image.dtype == np.uint8
    count = len(truth.ids)
    assert truth.boxes.shape == (count, 4)
    assert (truth.boxes.dtype, truth.classes.dtype, truth.visible.dtype, truth.ids.dtype) == (
        np.float32,
        np.int32,
        np.float32,
        np.int32,
    )
    assert len(set(truth.ids.tolist())) == count


def test_boxes_lie_inside_and_meet_the_limits(scenes: list[Scene]) -> None:
    for scene in scenes:
        _, truth = scene.frame(3.0)
        sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
        assert (truth.boxes >= 0).all()
        assert (truth.boxes[:, [0, 2]] <= SMALL[0]).all()
        assert (truth.boxes[:, [1, 3]] <= SMALL[1]).all()
        assert (sides > 0).all()
        assert (sides.max(1) >= MIN_SIDE_FRACTION * SMALL[1] - 1e-3).all()
        assert (truth.visible >= MIN_VISIBLE).all()
        assert (truth.visible <= 1).all()


def test_all_classes_occur(scenes: list[Scene]) -> None:
    seen = {int(kind) for scene in scenes for t in (0.0, 5.0) for kind in scene.frame(t)[1].classes}
    assert seen == set(range(len(CLASS_NAMES)))


@pytest.mark.parametrize("kind", range(len(CLASS_NAMES)))
def test_an_object_paints_inside_its_box_and_fills_it(kind: int) -> None:
    street = next(
        s
        for s in (make_street(seed, (1280, 720), False, False) for seed in range(50))
        if kind in {a.kind for a in populate(s)}
    )
    actor = next(a for a in populate(street) if a.kind == kind)
    camera = Camera(focal_pixels=1100.0, centre_x=640.0, horizon_y=200.0, x_metres=0.0, height_metres=6.0)
    canvas = Canvas(np.full((720, 1280, 3), 90, np.uint8), camera, (200.0, 200.0, 200.0), 1e9)
    canvas.begin(1, 24.0)
    actor.draw(canvas, (1.0, 24.0), 0.4, 0.3)
    box, area = canvas.end()
    rows, cols = np.nonzero((canvas.image != 90).any(2))
    if CLASS_NAMES[kind].endswith("sign") or kind == CLASS_NAMES.index("traffic_light"):
        on_plate = (rows <= box[3]) & (np.abs(cols - (box[0] + box[2]) / 2) <= (box[2] - box[0]) / 2 + 1)
        rows, cols = rows[on_plate], cols[on_plate]
    painted = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
    assert np.abs(painted - box).max() <= 3.0, (painted, box)
    assert 0.3 < area / np.prod(box[2:] - box[:2]) <= 1.001


def test_a_nearer_object_hides_a_farther_one() -> None:
    hidden = [
        scene
        for scene in (Scene(seed, size=SMALL) for seed in range(520, 526))
        if (scene.frame(1.0)[1].visible < 0.9).any()
    ]
    assert hidden, "no scene shows occlusion"


def test_night_is_darker_than_day() -> None:
    for seed in (3, 4):
        day, _ = Scene(seed, size=SMALL, night=False, rain=False).frame(1.0)
        night, _ = Scene(seed, size=SMALL, night=True, rain=False).frame(1.0)
        assert night.mean() < 0.6 * day.mean()


def test_rain_changes_the_picture_and_keeps_the_layout() -> None:
    dry, dry_truth = Scene(4, size=SMALL, night=False, rain=False).frame(1.0)
    wet, wet_truth = Scene(4, size=SMALL, night=False, rain=True).frame(1.0)
    assert np.abs(dry.astype(int) - wet).mean() > 4
    assert np.array_equal(dry_truth.ids, wet_truth.ids)


def test_objects_move_smoothly(scenes: list[Scene]) -> None:
    for scene in scenes[:4]:
        _, before = scene.frame(2.0)
        _, after = scene.frame(2.0 + 1 / 15)
        places = {int(i): b for i, b in zip(after.ids, after.boxes, strict=True)}
        shared = [
            (b, places[int(i)])
            for i, b, v in zip(before.ids, before.boxes, before.visible, strict=True)
            if int(i) in places and v > 0.95
        ]
        assert len(places) == 0 or len(shared) >= 0.5 * (before.visible > 0.95).sum()
        for old, new in shared:
            assert np.abs((old + np.roll(old, 2) - new - np.roll(new, 2)) / 2).max() < 0.08 * SMALL[0]


def test_something_moves(scenes: list[Scene]) -> None:
    first, second = scenes[0].frame(1.0)[1], scenes[0].frame(2.0)[1]
    places = {int(i): b for i, b in zip(second.ids, second.boxes, strict=True)}
    moved = [
        np.abs(places[int(i)] - b).max()
        for i, b in zip(first.ids, first.boxes, strict=True)
        if int(i) in places
    ]
    assert max(moved) > 2.0


def test_a_small_render_shows_what_a_large_one_shows() -> None:
    import cv2

    large, large_truth = Scene(11, night=False, rain=False).frame(1.0)
    small, small_truth = Scene(11, size=SMALL, night=False, rain=False).frame(1.0)
    shrunk = cv2.resize(large, SMALL, interpolation=cv2.INTER_AREA)
    assert np.abs(cv2.blur(shrunk, (5, 5)).astype(int) - cv2.blur(small, (5, 5))).mean() < 12
    scale = SMALL[0] / 1280
    places = {int(i): b * scale for i, b in zip(large_truth.ids, large_truth.boxes, strict=True)}
    shared = [
        np.abs(places[int(i)] - b).max()
        for i, b in zip(small_truth.ids, small_truth.boxes, strict=True)
        if int(i) in places
    ]
    assert len(shared) >= 0.8 * len(small_truth.ids)
    assert np.median(shared) < 1.0


def test_a_size_that_is_too_small_is_refused() -> None:
    with pytest.raises(SightlineError, match=r"\(20, 20\).*at least"):
        Scene(1, size=(20, 20))
