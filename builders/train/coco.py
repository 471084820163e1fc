# SPDX-License-Identifier: Apache-2.0
"""Pictures and objects of a COCO file: boxes, and outlines or run lengths as masks."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sightline.builders.train.dataset import Sample
from sightline.builders.train.own import Remembered, fitted_map, folder
from sightline.builders.train.pictures import letterbox, read_image
from sightline.errors import BadInputError

MOST_OBJECTS = 254
_MOST_BYTES = 2 << 30
_LEAST_PIXELS = 2.0


@dataclass(frozen=True)
class _Object:
    """box: xyxy in pixels of the picture. outline: polygons, or run lengths, or None."""

    kind: int
    box: tuple[float, float, float, float]
    crowd: bool
    outline: Any


class CocoScenes(Remembered):
    """Pictures of a folder with the objects of a COCO file.

    masks: the objects' outlines are needed too; where they overlap, a pixel belongs to the smaller one.
    """

    def __init__(self, file: Path, images: Path, size: tuple[int, int], masks: bool) -> None:
        super().__init__(size, 1 if masks else 0)
        content = _read(file)
        folder(images, "--images")
        self.size, self.masks, self._file = size, masks, file
        self.classes, numbers = _categories(file, content)
        pictures = _pictures(file, content, images)
        self.paths = list(pictures.values())
        self._places = {key: place for place, key in enumerate(pictures)}
        self._objects: list[list[_Object]] = [[] for _ in self.paths]
        for place, row in enumerate(content["annotations"]):
            self._add(place, row, numbers)
        if not any(not o.crowd for objects in self._objects for o in objects):
            raise BadInputError(
                f'{file} has no objects to learn from; "annotations" is empty, or all are crowds'
            )

    def __len__(self) -> int:
        return len(self.paths)

    def _add(self, place: int, row: Any, numbers: dict[int, int]) -> None:
        """One annotation."""
        where = f"{self._file}: annotations[{place}]"
        if not isinstance(row, dict):
            raise BadInputError(
                f"{where} is {row!r:.60}; it must be an object with image_id, category_id and bbox"
            )
        for key, known in (("image_id", self._places), ("category_id", numbers)):
            if row.get(key) not in known:
                raise BadInputError(f"{where} has {key} {row.get(key)!r}, which the file does not describe")
        box = row.get("bbox")
        if not _is_box(box):
            raise BadInputError(f"{where} has bbox {box!r:.80}; it must be [x, y, width, height] in pixels")
        x, y, width, height = (float(v) for v in row["bbox"])
        crowd, outline = bool(row.get("iscrowd", 0)), row.get("segmentation")
        if self.masks and not crowd and not _is_outline(outline):
            raise BadInputError(
                f"{where} has no usable segmentation; it must be a list of outlines [x, y, x, y, …], or run lengths"
            )
        found = _Object(numbers[row["category_id"]], (x, y, x + width, y + height), crowd, outline)
        self._objects[self._places[row["image_id"]]].append(found)

    def _make(self, index: int) -> Sample:
        image = read_image(self.paths[index])
        fitted, scale, (left, top) = letterbox(image, self.size)
        shift = np.array([left, top, left, top], np.float32)
        rows: list[tuple[float, ...]] = []
        hidden: list[np.ndarray] = []
        owners = np.zeros((self.size[1], self.size[0]), np.uint8) if self.masks else None
        for found in sorted(self._objects[index], key=lambda o: -_area(o.box)):
            box = np.clip(np.array(found.box, np.float32) * scale + shift, 0, self.size * 2)
            side = float(max(box[2] - box[0], box[3] - box[1]))
            if found.crowd or side < _LEAST_PIXELS or len(rows) == MOST_OBJECTS:
                hidden.append(box)
                continue
            rows.append((found.kind, *box.tolist(), len(rows) + 1))
            if owners is not None:
                self._mark(owners, found, image.shape[:2], scale, (left, top), len(rows))
        return Sample(
            fitted,
            np.array(rows, np.float32).reshape(-1, 6),
            np.array(hidden, np.float32).reshape(-1, 4),
            owners,
        )

    def _mark(
        self,
        owners: np.ndarray,
        found: _Object,
        shape: tuple[int, ...],
        scale: float,
        place: tuple[int, int],
        number: int,
    ) -> None:
        """Write the object's number where it is seen."""
        if isinstance(found.outline, list):
            for outline in found.outline:
                points = np.array(outline, np.float64).reshape(-1, 2) * scale + place
                points = np.clip(points, -1e4, 1e4)
                cv2.fillPoly(owners, [np.round(points * 16).astype(np.int32)], number, cv2.LINE_8, 4)
            return
        mask = _run_lengths(self._file, found.outline, shape)
        owners[fitted_map(mask, self.size, scale, place, 0) > 0] = number


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise BadInputError(f"{file} has more than {_MOST_BYTES} bytes; split it")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{file} is no COCO file that can be read: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise BadInputError(
                f'{file} has no list "{key}"; a COCO file has images, annotations and categories'
            )
    return content


def _categories(file: Path, content: dict[str, Any]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Names in the order of their ids, and which class each id is."""
    named: dict[int, str] = {}
    for place, row in enumerate(content["categories"]):
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("id"), int)
            or not isinstance(row.get("name"), str)
        ):
            raise BadInputError(
                f"{file}: categories[{place}] is {row!r:.60}; it needs an id (a number) and a name"
            )
        named[row["id"]] = row["name"]
    names = tuple(named[key] for key in sorted(named))
    if not names or len(set(names)) != len(names):
        raise BadInputError(
            f"{file} has the categories {list(names)}; there must be some, and no two of one name"
        )
    return names, {key: i for i, key in enumerate(sorted(named))}


def _pictures(file: Path, content: dict[str, Any], images: Path) -> dict[int, Path]:
    """Path of each picture by its id; all of them lie in the folder and exist."""
    found: dict[int, Path] = {}
    root = images.resolve()
    for place, row in enumerate(content["images"]):
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("id"), int)
            or not isinstance(row.get("file_name"), str)
        ):
            raise BadInputError(
                f"{file}: images[{place}] is {row!r:.60}; it needs an id (a number) and a file_name"
            )
        path = (root / row["file_name"]).resolve()
        if not path.is_relative_to(root):
            raise BadInputError(
                f"{file}: images[{place}] has file_name {row['file_name']!r}, which leaves the folder {images}"
            )
        if not path.is_file():
            raise BadInputError(
                f"{file}: images[{place}] has file_name {row['file_name']!r}, which is not in {images}"
            )
        found[row["id"]] = path
    if not found:
        raise BadInputError(f'{file} has no pictures; "images" is empty')
    return found


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(v, (int, float)) and math.isfinite(v) and abs(v) < 1e6 for v in box)
        and box[2] > 0
        and box[3] > 0
    )


def _is_outline(outline: Any) -> bool:
    if isinstance(outline, dict):
        size = outline.get("size")
        return isinstance(outline.get("counts"), (str, list)) and isinstance(size, list) and len(size) == 2
    return (
        isinstance(outline, list)
        and len(outline) > 0
        and all(
            isinstance(part, list)
            and len(part) >= 6
            and len(part) % 2 == 0
            and all(isinstance(v, (int, float)) and math.isfinite(v) for v in part)
            for part in outline
        )
    )


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _run_lengths(file: Path, outline: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """The mask (H, W) uint8 of COCO's run lengths, as a text or as numbers."""
    from sightline.preprocess_ext.rle import rle_decode

    height, width = shape
    if outline["size"] != [height, width]:
        raise BadInputError(
            f"{file} has run lengths of size {outline['size']} for a picture of [{height}, {width}]"
        )
    counts = outline["counts"]
    if isinstance(counts, str):
        try:
            return rle_decode(counts.encode("ascii", "replace"), width, height)
        except ValueError as error:
            raise BadInputError(f"{file}: {error}") from error
    if not all(isinstance(v, int) and v >= 0 for v in counts) or sum(counts) != height * width:
        raise BadInputError(f"{file} has run lengths that do not fill a picture of {width}x{height} pixels")
    flat = np.repeat(np.arange(len(counts)) % 2, counts).astype(np.uint8)
    return np.ascontiguousarray(flat.reshape(width, height).T)
