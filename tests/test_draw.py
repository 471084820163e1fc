# SPDX-License-Identifier: Apache-2.0
"""What is drawn on pictures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.clients._tags import DARK_INK, LIGHT_INK, ink_on
from sightline.clients.draw import (
    PALETTE,
    class_colour,
    draw_class_map,
    draw_classification,
    draw_detections,
    draw_result,
)
from sightline.errors import BadInputError
from sightline.preprocess_ext import rle_encode
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

LABELS = ("car", "bus", "pedestrian")


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int32), LABELS
    )


def grey(width: int = 1280, height: int = 720) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 120, np.uint8)


def test_the_box_lies_on_its_pixels() -> None:
    image = grey()
    draw_detections(image, found((100, 200, 300, 400, 0.9, 1)))
    colour = class_colour(1)
    assert (image[200:202, 100:300] == colour).all()
    assert (image[398:400, 100:300] == colour).all()
    assert (image[200:400, 100:102] == colour).all()
    assert (image[200:400, 298:300] == colour).all()
    assert (image[205:395, 105:295] == 120).all()
    assert (image[400, 110:290] < 120).all()
    assert (image[402:] == 120).all()


def test_the_label_stands_above_the_box_and_has_ink() -> None:
    image = grey()
    draw_detections(image, found((100, 200, 300, 400, 0.9, 0)))
    tag = image[175:199, 100:180].reshape(-1, 3).astype(int)
    assert (np.abs(tag - class_colour(0)).sum(axis=1) < 6).any()
    assert (np.abs(tag - DARK_INK).sum(axis=1) < 60).any()


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 40, 40),
        (1250, 700, 1400, 900),
        (0, 0, 1280, 720),
        (10, 10, 10, 10),
        (50, 50, 40, 40),
        (5, 5, 7, 7),
        (2000, 2000, 3000, 3000),
        (float("nan"), 0, float("inf"), 5),
        (-1e30, -1e30, 1e30, 1e30),
    ],
)
@pytest.mark.parametrize("size", [(1280, 720), (64, 48), (1, 1), (3, 200)])
def test_odd_boxes_and_small_pictures(box: tuple[float, float, float, float], size: tuple[int, int]) -> None:
    image = grey(*size)
    draw_detections(image, found((*box, 0.5, 2)))
    assert image.shape == (size[1], size[0], 3)


def test_nothing_found_draws_nothing() -> None:
    image = grey()
    draw_detections(image, Detections.empty())
    assert (image == 120).all()


def test_drawing_does_not_depend_on_the_order() -> None:
    rows = [(100.0 + 20 * i, 200.0, 300.0 + 20 * i, 400.0, 0.5 + i / 10, i) for i in range(3)]
    first, second = grey(), grey()
    draw_detections(first, found(*rows))
    draw_detections(second, found(*rows[::-1]))
    np.testing.assert_array_equal(first, second)


def test_colours_are_stable_and_distinct() -> None:
    colours = [class_colour(i) for i in range(80)]
    assert colours[: len(PALETTE)] == list(PALETTE)
    assert len(set(colours)) == 80
    assert all(0 <= c <= 255 for colour in colours for c in colour)
    assert class_colour(-1) == class_colour(-1)


def relative_luminance(colour: tuple[int, int, int]) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("class_id", range(80))
def test_labels_have_contrast(class_id: int) -> None:
    """WCAG 2 asks 4.5 for text; the better of both inks is taken."""
    colour = class_colour(class_id)

    def contrast(ink: tuple[int, int, int]) -> float:
        high, low = sorted((relative_luminance(colour), relative_luminance(ink)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    assert contrast(ink_on(colour)) >= 4.0
    assert contrast(ink_on(colour)) >= max(contrast(DARK_INK), contrast(LIGHT_INK)) - 0.6


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_wrong_pictures(image: NDArray[np.uint8]) -> None:
    with pytest.raises(BadInputError, match="writable uint8"):
        draw_detections(image, Detections.empty())


def test_read_only_picture() -> None:
    image = grey()
    image.flags.writeable = False
    with pytest.raises(BadInputError, match="writable"):
        draw_detections(image, Detections.empty())


def with_mask(mask: NDArray[np.bool_], class_id: int = 1) -> Detections:
    height, width = mask.shape
    one = found((0, 0, width, height, 0.9, class_id))
    return Detections(one.boxes, one.scores, one.classes, LABELS, (rle_encode(mask),), (width, height))


def test_a_mask_is_filled_and_has_a_crisp_outline() -> None:
    image, mask = grey(), np.zeros((720, 1280), np.bool_)
    mask[200:400, 300:500] = True
    mask[260:300, 340:380] = False  # a hole
    draw_detections(image, with_mask(mask))
    colour = np.array(class_colour(1))
    for row, column in ((200, 400), (201, 400), (399, 400), (300, 300), (300, 499), (258, 360), (300, 360)):
        assert (image[row, column] == colour).all(), (row, column)
    filled = image[330, 420].astype(int)
    assert np.abs(filled - (120 * 0.6 + colour * 0.4)).max() <= 1
    assert (image[280, 360] == 120).all()  # inside the hole
    assert (image[199, 310:490] < 120).all()  # the dark edge
    assert (image[500:] == 120).all()


def test_masks_on_a_view_of_a_picture() -> None:
    wide = np.full((100, 300, 3), 120, np.uint8)
    part, whole = wide[:, 50:250], np.full((100, 200, 3), 120, np.uint8)
    mask = np.zeros((100, 200), np.bool_)
    mask[60:90, 20:120] = True
    draw_detections(part, with_mask(mask))
    draw_detections(whole, with_mask(mask))
    np.testing.assert_array_equal(part, whole)
    assert (wide[:, :50] == 120).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (64, 48)])
@pytest.mark.parametrize("set_all", [True, False])
def test_odd_masks_and_small_pictures(size: tuple[int, int], set_all: bool) -> None:
    image = grey(*size)
    draw_detections(image, with_mask(np.full((size[1], size[0]), set_all)))
    draw_class_map(image, ClassMap(np.full((size[1], size[0]), set_all, np.uint8), LABELS))
    draw_classification(image, Classification(np.ones(2, np.float32), np.arange(2, dtype=np.int32), LABELS))
    assert image.shape == (size[1], size[0], 3)


def test_masks_and_maps_of_another_picture_are_refused() -> None:
    with pytest.raises(
        BadInputError, match=r"masks are of a picture of size \(64, 48\); this one is 1280x720"
    ):
        draw_detections(grey(), with_mask(np.ones((48, 64), np.bool_)))
    with pytest.raises(BadInputError, match="class map has shape"):
        draw_class_map(grey(), ClassMap(np.zeros((48, 64), np.uint8)))


def test_a_class_map_colours_all_but_the_background() -> None:
    image, classes = grey(), np.zeros((720, 1280), np.uint8)
    classes[:, 640:] = 2
    draw_class_map(image, ClassMap(classes, ("background", "grass", "road")))
    assert (image[:600, :639] == 120).all()
    assert np.abs(image[300, 1000].astype(int) - (60 + np.array(class_colour(2)) / 2)).max() <= 1
    assert (image[300, 639] < 120).all()  # the border
    tag = image[680:715, 5:120].reshape(-1, 3).astype(int)
    assert (np.abs(tag - class_colour(2)).sum(axis=1) < 6).any()


def test_classes_are_written_into_the_corner() -> None:
    image = grey()
    scores = np.array([0.9, 0.08, 0.001], np.float32)
    draw_classification(image, Classification(scores, np.array([2, 0, 1], np.int32), LABELS))
    corner = image[:80, :250].reshape(-1, 3).astype(int)
    for class_id, is_there in ((2, True), (0, True), (1, False)):
        assert (np.abs(corner - class_colour(class_id)).sum(axis=1) < 6).any() == is_there
    assert (image[100:] == 120).all()
    assert (image[:, 400:] == 120).all()


@pytest.mark.parametrize(
    "result",
    [
        found((10, 10, 90, 90, 0.5, 0)),
        with_mask(np.ones((720, 1280), np.bool_)),
        ClassMap(np.ones((720, 1280), np.uint8), LABELS),
        Classification(np.ones(1, np.float32), np.zeros(1, np.int32), LABELS),
    ],
)
def test_results_of_every_task_are_drawn(result: Result) -> None:
    image = grey()
    draw_result(image, result)
    assert (image != 120).any()


def test_an_embedding_is_not_drawn() -> None:
    with pytest.raises(BadInputError, match="an embedding cannot be drawn"):
        draw_result(grey(), Embedding(np.ones(3, np.float32)))
