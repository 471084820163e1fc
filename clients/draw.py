# SPDX-License-Identifier: Apache-2.0
"""Draws results on an RGB picture: crisp boxes and outlines with a dark edge, coloured areas, and tags rendered once."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from sightline.clients._tags import Colour, draw_tag, tag_rows
from sightline.errors import BadInputError
from sightline.frame import Frame
from sightline.results import Classification, ClassMap, Detections, Result

PALETTE: tuple[Colour, ...] = (
    (56, 189, 248),
    (251, 146, 60),
    (74, 222, 128),
    (244, 114, 182),
    (250, 204, 21),
    (167, 139, 250),
    (45, 212, 191),
    (248, 113, 113),
    (163, 230, 53),
    (129, 140, 248),
    (232, 121, 249),
    (253, 186, 116),
)
REFERENCE_HEIGHT_PIXELS = 720
BLACK: Colour = (0, 0, 0)
EDGE_DARKNESS = 0.45
MASK_OPACITY = 0.4
MAP_OPACITY = 0.5
UNDRAWN_LABELS = frozenset({"background", "void", "unlabelled", "unlabeled", "ignore"})
MOST_TAGS = 8
SMALLEST_AREA = 0.002  # of the picture, for a class to have a tag
SMALLEST_SCORE = 0.005  # of a class after the best
_GOLDEN_RATIO = 0.6180339887498949


def class_colour(class_id: int) -> Colour:
    """The colour (red, green, blue) of a class, the same in every picture and process."""
    if 0 <= class_id < len(PALETTE):
        return PALETTE[class_id]
    hue = (class_id * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.62 if class_id % 2 else 0.5, 0.8)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_result(image: NDArray[np.uint8], result: Result) -> None:
    """Draw what a model of any task says on `image` itself, as draw_detections, draw_class_map and draw_classification.

    Raises BadInputError, also for an embedding, which has nothing to draw.
    """
    if isinstance(result, Detections):
        draw_detections(image, result)
    elif isinstance(result, ClassMap):
        draw_class_map(image, result)
    elif isinstance(result, Classification):
        draw_classification(image, result)
    else:
        raise BadInputError("an embedding cannot be drawn; compare it with others instead")


def draw_detections(image: NDArray[np.uint8], detections: Detections) -> None:
    """Draw on `image` itself, a writable RGB array of shape (height, width, 3), uint8: masks where there are any, else boxes.

    Line width and text size follow the picture's height; the highest scores lie on top. Raises BadInputError, also for
    masks of a picture of another size.
    """
    thickness, text_pixels = _sizes(image)
    height, width = image.shape[:2]
    if detections.masks is not None and detections.size != (width, height):
        raise BadInputError(
            f"the masks are of a picture of size {detections.size}; this one is {width}x{height}"
        )
    corners = _whole_pixels(detections.boxes, width, height)
    order = np.argsort(detections.scores, kind="stable")
    if detections.masks is not None:
        _draw_masks(image, detections, order, thickness)
    else:
        for index in order:
            _draw_box(image, corners[index], class_colour(int(detections.classes[index])), thickness)
    for index in order:
        class_id = int(detections.classes[index])
        text = f"{detections.label(class_id)} {detections.scores[index]:.0%}"
        x, y = corners[index][:2]
        draw_tag(image, x, y, text, class_colour(class_id), text_pixels, above=True)


def draw_class_map(image: NDArray[np.uint8], found: ClassMap) -> None:
    """Colour the classes of a map on `image` itself, a writable RGB array of the map's size, with a legend.

    A class that is called background, void, unlabelled or ignore is left as it is. Raises BadInputError.
    """
    from sightline.preprocess_ext import MaskRegion, overlay_mask

    _, text_pixels = _sizes(image)
    if image.shape[:2] != found.classes.shape:
        raise BadInputError(
            f"the class map has shape {found.classes.shape}; the picture has {image.shape[:2]}"
        )
    hidden = {i for i, label in enumerate(found.labels) if label.lower() in UNDRAWN_LABELS}
    with _frame_of(image) as frame:
        for area in found.areas():
            if area.class_id not in hidden:
                region = MaskRegion.from_array(found.mask(area.class_id))
                overlay_mask(frame, region, class_colour(area.class_id), MAP_OPACITY)
        overlay_mask(frame, MaskRegion.from_array(_borders(found.classes)), BLACK, EDGE_DARKNESS)
    areas = [a for a in found.areas() if a.class_id not in hidden and a.fraction >= SMALLEST_AREA]
    tags = [(f"{area.label} {area.fraction:.0%}", class_colour(area.class_id)) for area in areas]
    _draw_corner(image, tags, text_pixels, bottom=True)


def draw_classification(image: NDArray[np.uint8], found: Classification) -> None:
    """Write the best classes into the left upper corner of `image`, a writable RGB array (height, width, 3), uint8.

    Raises BadInputError.
    """
    _, text_pixels = _sizes(image)
    seen = [one for number, one in enumerate(found) if number == 0 or one.score >= SMALLEST_SCORE]
    tags = [(f"{one.label} {one.score:.0%}", class_colour(one.class_id)) for one in seen]
    _draw_corner(image, tags, text_pixels, bottom=False)


def _sizes(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Thickness of lines and size of text, pixels. Raises BadInputError for what cannot be drawn on."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.flags.writeable:
        raise BadInputError(
            f"image is {image.dtype} of shape {image.shape}; "
            "it must be writable uint8 of shape (height, width, 3)"
        )
    scale = max(0.5, min(image.shape[:2]) / REFERENCE_HEIGHT_PIXELS)
    return max(1, round(2 * scale)), max(10, round(17 * scale))


def _draw_corner(
    image: NDArray[np.uint8], tags: list[tuple[str, Colour]], text_pixels: int, *, bottom: bool
) -> None:
    """Tags one below the other, as many as fit into half of the picture but at least one; the first at the top."""
    step, margin = tag_rows(text_pixels) + max(1, text_pixels // 8), max(2, text_pixels // 2)
    tags = tags[: max(1, min(MOST_TAGS, (image.shape[0] // 2) // step))]
    y = image.shape[0] - margin - step * len(tags) if bottom else margin
    for text, colour in tags:
        draw_tag(image, margin, y, text, colour, text_pixels)
        y += step


def _draw_masks(
    image: NDArray[np.uint8], detections: Detections, order: NDArray[np.intp], thickness: int
) -> None:
    """Fill each mask and draw its outline with a dark edge around it."""
    from sightline.preprocess_ext import MaskRegion, overlay_mask, rle_box

    with _frame_of(image) as frame:
        for index in order:
            x, y, width, height = rle_box((detections.masks or ())[index], frame.width, frame.height)
            if not width:
                continue
            mask = detections.mask(int(index))[y : y + height, x : x + width]
            colour = class_colour(int(detections.classes[index]))
            line = mask & ~_shrunk(mask, thickness)
            overlay_mask(frame, MaskRegion.from_array(mask, x, y), colour, MASK_OPACITY)
            overlay_mask(frame, MaskRegion.from_array(_rim(mask), x - 1, y - 1), BLACK, EDGE_DARKNESS)
            overlay_mask(frame, MaskRegion.from_array(line, x, y), colour, 1.0)


@contextmanager
def _frame_of(image: NDArray[np.uint8]) -> Iterator[Frame]:
    """The picture as a frame to draw on: itself, or a copy that goes back where it does not lie in one piece."""
    whole = np.ascontiguousarray(image)
    yield Frame.from_rgb(whole)
    if whole is not image:
        image[:] = whole


def _shrunk(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The mask without its outermost pixels; outside of the array nothing is set."""
    for _ in range(pixels):
        wide = np.pad(mask, 1)
        mask = wide[1:-1, 1:-1] & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask


def _rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels around the mask, one more on each side."""
    wide = np.pad(mask, 2)
    grown = wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return np.asarray(grown & ~wide[1:-1, 1:-1])


def _borders(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The pixels whose right or lower neighbour is of another class."""
    edge = np.zeros(classes.shape, np.bool_)
    edge[:, :-1] = classes[:, :-1] != classes[:, 1:]
    edge[:-1] |= classes[:-1] != classes[1:]
    return edge


def _whole_pixels(boxes: NDArray[np.float32], width: int, height: int) -> list[list[int]]:
    """Corners (x1, y1, x2, y2) inside the picture; the last two are exclusive."""
    safe = np.nan_to_num(boxes.astype(np.float64), nan=0.0, posinf=1e9, neginf=-1e9)
    corners = np.rint(safe).clip([0, 0, 0, 0], [width, height, width, height]).astype(np.int64)
    return [[int(v) for v in row] for row in corners]


def _draw_box(image: NDArray[np.uint8], corner: list[int], colour: Colour, thickness: int) -> None:
    x1, y1, x2, y2 = corner
    if x2 <= x1 or y2 <= y1:
        return
    _darken_frame(image, x1 - 1, y1 - 1, x2 + 1, y2 + 1)
    inner = thickness + 1
    if x2 - x1 > 2 * inner and y2 - y1 > 2 * inner:
        _darken_frame(image, x1 + thickness, y1 + thickness, x2 - thickness, y2 - thickness)
    image[y1 : min(y1 + thickness, y2), x1:x2] = colour
    image[max(y2 - thickness, y1) : y2, x1:x2] = colour
    image[y1:y2, x1 : min(x1 + thickness, x2)] = colour
    image[y1:y2, max(x2 - thickness, x1) : x2] = colour


def _darken_frame(image: NDArray[np.uint8], x1: int, y1: int, x2: int, y2: int) -> None:
    """Darken a frame of one pixel, so that a box shows on a ground of its own colour."""
    height, width = image.shape[:2]
    left, right, top, bottom = max(x1, 0), min(x2, width), max(y1, 0), min(y2, height)
    factor = 1.0 - EDGE_DARKNESS
    for row in {y1, y2 - 1}:
        if 0 <= row < height:
            image[row, left:right] = image[row, left:right] * factor
    for column in {x1, x2 - 1}:
        if 0 <= column < width:
            image[top:bottom, column] = image[top:bottom, column] * factor
