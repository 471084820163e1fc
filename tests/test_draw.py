# SPDX-License-Identifier: Apache-2.0
"""What is drawn on pictures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.clients._tags import DARK_INK, LIGHT_INK, ink_on
from sightline.clients.draw import PALETTE, class_colour, draw_detections
from sightline.errors import BadInputError
from sightline.results import Detections

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
