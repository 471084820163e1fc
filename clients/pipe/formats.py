# SPDX-License-Identifier: Apache-2.0
"""Results as they are written: our own JSON, COCO results, OPEX 1.0 and one COCO file of all.

COCO: https://cocodataset.org/#format-results and #format-data. OPEX: the JSON object of
https://github.com/WaikatoLink2020/objdet-predictions-exchange-format as fast-opex describes it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.clients.pipe.answers import Answer
from sightline.clients.pipe.item import text_of
from sightline.errors import BadInputError
from sightline.results import Classification, ClassMap, Detection, Detections, Embedding

FORMATS = ("json", "coco", "opex")
NUMBERED_CLASSES = 1_000  # room for those of a model that does not name its classes
_OBJECTS = ("detect", "segment", "semantic")


@dataclass(frozen=True)
class Picture:
    """The image that a result is about. width, height: pixels, upright. number: unique in its folder, stream or run."""

    name: bytes
    number: int
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Categories:
    """COCO category ids for the classes of several models: those of the first from 1 on, then the next's.

    models: names and class names in order.
    """

    models: tuple[tuple[str, tuple[str, ...]], ...]

    def number(self, model: str, class_id: int) -> int:
        """Category id of a model's class."""
        first = 1
        for name, labels in self.models:
            if name == model:
                return first + class_id
            first += len(labels) or NUMBERED_CLASSES
        raise BadInputError(f"model {model} has no categories")

    def rows(self) -> list[dict[str, Any]]:
        """COCO's categories; a class of a second model has the model's name before it where the name is taken."""
        rows: list[dict[str, Any]] = []
        taken: set[str] = set()
        for model, labels in self.models:
            for class_id, label in enumerate(labels or [str(i) for i in range(NUMBERED_CLASSES)]):
                name = label if label not in taken else f"{model}/{label}"
                taken.add(name)
                rows.append({"id": self.number(model, class_id), "name": name, "supercategory": model})
        return rows


def check_format(name: str, tasks: dict[str, str], has_chain: bool) -> None:
    """Whether the models' tasks can be written so. tasks: of the models of whole images. Raises BadInputError."""
    if name not in FORMATS:
        raise BadInputError(f"format is {name!r}; it must be one of {', '.join(FORMATS)}")
    fit = ("", *_OBJECTS) if name == "coco" else ("", "detect", "segment")
    for model, task in tasks.items():
        if name != "json" and task not in fit:
            raise BadInputError(
                f"--format {name} is for models with objects; {model} has the task {task}. Use --format json, or "
                f"--chain {model} behind a detector"
            )
    first = next(iter(tasks), "")
    if has_chain and tasks.get(first) not in ("", "detect", "segment"):
        raise BadInputError(f"--chain asks about the objects of {first}, which has the task {tasks[first]}")


def payload_of(name: str, picture: Picture, answers: tuple[Answer, ...], categories: Categories) -> bytes:
    """A result in one of FORMATS, one line of UTF-8 JSON."""
    if name == "coco":
        return _line(coco_results(picture, answers, categories))
    if name == "opex":
        return _line(opex_value(picture, answers))
    return _line(json_value(picture, answers))


def json_value(picture: Picture, answers: tuple[Answer, ...]) -> dict[str, Any]:
    """Our own: everything that is known."""
    return {
        "format": "sightline-1",
        **_name_values(picture.name),
        "number": picture.number,
        "width": picture.width,
        "height": picture.height,
        "sha256": picture.sha256,
        "answered_at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "answers": [_answer_value(answer) for answer in answers],
    }


def reason_value(name: bytes, kind: str, text: str) -> dict[str, Any]:
    """Why an image could not be used."""
    return {
        "format": "sightline-1",
        **_name_values(name),
        "error": text,
        "kind": kind,
        "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    }


def coco_results(
    picture: Picture, answers: tuple[Answer, ...], categories: Categories
) -> list[dict[str, Any]]:
    """COCO's list of results of one image. A class map is one region for each class, with the score 1."""
    rows: list[dict[str, Any]] = []
    for answer in answers:
        match answer.result:
            case Detections():
                rows += _object_rows(picture, answer, answer.result, categories)
            case ClassMap():
                rows += _region_rows(picture, answer.model, answer.result, categories)
    return rows


def coco_rows(picture: Picture, answers: tuple[Answer, ...], categories: Categories) -> tuple[str, str]:
    """What a COCO file of all holds of one image: its row, and its annotations without their ids, as JSON."""
    annotations = [
        {**row, "area": _area(row), "iscrowd": 0} for row in coco_results(picture, answers, categories)
    ]
    image = {
        "id": picture.number,
        "file_name": text_of(picture.name),
        "width": picture.width,
        "height": picture.height,
    }
    return json.dumps(image), json.dumps(annotations)


def opex_value(picture: Picture, answers: tuple[Answer, ...]) -> dict[str, Any]:
    """OPEX: boxes in whole pixels, rounded outwards; the polygon is the mask's largest outline, or the box."""
    objects: list[dict[str, Any]] = []
    for answer in answers:
        if isinstance(answer.result, Detections):
            for index, found in enumerate(answer.result):
                inner = answer.inner[index] if answer.inner else None
                objects.append(_opex_object(picture, answer.model, answer.result, index, found, inner))
    return {
        "timestamp": datetime.now().strftime("%Y%m%d_%H%M%S.%f"),
        "id": text_of(picture.name),
        "objects": objects,
        "meta": {answer.model: f"version {answer.version}" for answer in answers},
    }


def _answer_value(answer: Answer) -> dict[str, Any]:
    values: dict[str, Any] = {"model": answer.model}
    if answer.error:
        return {**values, "error": answer.error}
    values |= {"version": answer.version, "milliseconds": round(answer.milliseconds, 2)}
    if answer.crop is not None:
        values["crop"] = list(answer.crop)
    match answer.result:
        case Detections():
            values |= {"task": "detect" if answer.result.masks is None else "segment"}
            objects = answer.result.to_dicts()
            for index, inner in enumerate(answer.inner):
                if inner is not None:
                    objects[index]["next"] = _answer_value(inner)
            values["detections"] = objects
        case Classification():
            values |= {"task": "classify", "classes": answer.result.to_dicts()}
        case ClassMap():
            values |= {"task": "semantic", **answer.result.to_dict()}
        case Embedding():
            values |= {"task": "embed", **answer.result.to_dict()}
    return values


def _name_values(name: bytes) -> dict[str, Any]:
    """The name; where it is not UTF-8 also its bytes, for nothing else could find the file again."""
    values: dict[str, Any] = {"image": text_of(name)}
    if text_of(name).encode("utf-8") != name:
        values["image_base64"] = base64.b64encode(name).decode("ascii")
    return values


def _object_rows(
    picture: Picture, answer: Answer, found: Detections, categories: Categories
) -> list[dict[str, Any]]:
    rows = []
    for index, one in enumerate(found):
        x1, y1, x2, y2 = one.box
        row: dict[str, Any] = {
            "image_id": picture.number,
            "category_id": categories.number(answer.model, one.class_id),
            "bbox": [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(one.score, 4),
        }
        if one.mask is not None and found.size is not None:
            row["segmentation"] = _rle(one.mask, *found.size)
        inner = answer.inner[index] if answer.inner else None
        if inner is not None:
            row["attributes"] = _attributes(inner)
        rows.append(row)
    return rows


def _region_rows(
    picture: Picture, model: str, found: ClassMap, categories: Categories
) -> list[dict[str, Any]]:
    from sightline.preprocess_ext import rle_box, rle_encode

    rows = []
    width, height = found.size
    for area in found.areas():
        text = rle_encode(found.mask(area.class_id))
        x, y, box_width, box_height = (float(v) for v in rle_box(text, width, height))
        rows.append(
            {
                "image_id": picture.number,
                "category_id": categories.number(model, area.class_id),
                "bbox": [x, y, box_width, box_height],
                "score": 1.0,
                "segmentation": _rle(text, width, height),
            }
        )
    return rows


def _area(row: dict[str, Any]) -> float:
    from sightline.preprocess_ext import rle_area

    mask = row.get("segmentation")
    if mask:
        height, width = mask["size"]
        return float(rle_area(mask["counts"].encode("ascii"), width, height))
    return round(float(row["bbox"][2] * row["bbox"][3]), 2)


def _attributes(inner: Answer) -> dict[str, Any]:
    """What the next model said of an object, short: the best class, or how many objects."""
    match inner.result:
        case Classification() if len(inner.result):
            best = inner.result.top
            return {inner.model: best.label, f"{inner.model}_score": round(best.score, 4)}
        case Detections():
            return {inner.model: [one.label for one in inner.result]}
        case Embedding():
            return {inner.model: inner.result.to_dict()["embedding"]}
        case ClassMap():
            return {inner.model: {k: round(v, 4) for k, v in inner.result.fractions().items()}}
    return {inner.model: None}


def _opex_object(
    picture: Picture, model: str, found: Detections, index: int, one: Detection, inner: Answer | None
) -> dict[str, Any]:
    x1, y1, x2, y2 = one.box
    left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    right, bottom = min(picture.width, int(np.ceil(x2))), min(picture.height, int(np.ceil(y2)))
    meta = {"model": model}
    if inner is not None:
        meta |= {name: str(value) for name, value in _attributes(inner).items()}
    points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    if one.mask is not None:
        points = _outline(found, index) or points
    return {
        "score": round(one.score, 4),
        "label": one.label,
        "bbox": {"top": top, "left": left, "bottom": bottom, "right": right},
        "polygon": {"points": points},
        "meta": meta,
    }


def _outline(found: Detections, index: int) -> list[list[int]]:
    """The largest outer contour of a mask, points in the image's pixels."""
    from sightline.preprocess_ext import MaskRegion, mask_contours

    contours = mask_contours(MaskRegion.from_array(found.mask(index)))
    if not contours:
        return []
    return [[int(x), int(y)] for x, y in max(contours, key=_contour_area)]


def _contour_area(points: NDArray[np.int32]) -> float:
    """By the shoelace formula; points of shape (K, 2)."""
    x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _rle(text: bytes, width: int, height: int) -> dict[str, Any]:
    return {"size": [height, width], "counts": text.decode("ascii")}


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
