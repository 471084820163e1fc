# SPDX-License-Identifier: Apache-2.0
"""What the core answers to a case of backend_tasks: the same kernels through their Python face, picture by picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.preprocess_ext import (
    Head,
    HeadDetections,
    classify,
    decode_head,
    embedding,
    paste_masks,
    prototype_rles,
    rle_encode_region,
    semantic_map,
)
from tests.backend_tasks import BAD_ITEM, ITEMS, NAN_ITEM, NETWORK, Arrays, Case, Floats, has_masks

BAD_PICTURE = b"[bad_image] the picture could not be used"
BAD_ANSWER = b"[bad_answer] the network's numbers for this picture are not finite, or make no sense"
HEAD_OPTIONS = (
    "extra_values", "activation", "background", "multi_label", "normalised", "keypoint_values", "strides",
    "box_weights", "centre_form",
)  # fmt: skip


def answers_of(case: Case, raw: list[Floats], geometry: Floats) -> Arrays:
    """All outputs of the stage, from the same kernels called here, one picture after the other."""
    return {**_answers_of(case, raw, geometry), "ERROR": _errors(case)}


def _errors(case: Case) -> NDArray[Any]:
    """Detections and class maps may lack pixels and objects that are NaN; the other answers are then none."""
    errors = np.full((ITEMS, 1), b"", object)
    errors[BAD_ITEM] = BAD_PICTURE
    if case.parameters["task"] in ("classify", "embed") or case.parameters.get("head") == "efficient_nms":
        errors[NAN_ITEM] = BAD_ANSWER
    return errors


def _answers_of(case: Case, raw: list[Floats], geometry: Floats) -> Arrays:
    task = case.parameters["task"]
    items = [[np.ascontiguousarray(one[index]) for one in raw] for index in range(len(geometry))]
    if task == "classify":
        return _classes(case, items, geometry)
    if task == "semantic":
        return {"CLASS_MAP": _map(case, items, geometry)}
    if task == "embed":
        return {"EMBEDDING": _vectors(items, geometry)}
    return _detections(case, items, geometry)


def head_of(case: Case, raw: list[Floats]) -> Head:
    """The head of sightline.preprocess_ext that the settings describe."""
    values = case.parameters
    options = {name: values[name] for name in HEAD_OPTIONS if name in values}
    for name in ("strides", "box_weights"):
        if name in options:
            options[name] = tuple(options[name])
    extra = values.get("extra", "none")
    return Head(
        values["head"],
        values.get("classes", raw[0].shape[0] - 4),
        tuple(values.get("size", (1, 1))),
        extra="none" if extra == "pasted" else extra,
        anchors=case.anchors,
        **options,
    )


def _decode(case: Case, item: list[Floats], fit: Floats) -> HeadDetections | None:
    values = case.parameters
    if fit[0] == 0 or (values["head"] == "efficient_nms" and np.isnan(item[0][0])):
        return None
    return decode_head(
        head_of(case, item),
        item,
        fit,
        score=values["score"],
        iou=values["iou"],
        max_detections=values["detections"],
        class_agnostic=values.get("class_agnostic", False),
    )


def _detections(case: Case, items: list[list[Floats]], geometry: Floats) -> Arrays:
    found = [_decode(case, item, fit) for item, fit in zip(items, geometry, strict=True)]
    counts = [-1 if one is None else len(one.scores) for one in found]
    rows = max(0, *counts)
    out: Arrays = {
        "COUNT": np.array(counts, np.int32)[:, None],
        "BOXES": np.zeros((len(items), rows, 4), np.float32),
        "SCORES": np.zeros((len(items), rows), np.float32),
        "CLASSES": np.zeros((len(items), rows), np.int32),
    }
    if has_masks(case):
        out["MASKS"] = np.full((len(items), rows), b"", object)
    for index, one in enumerate(found):
        if one is None or not len(one.scores):
            continue
        out["BOXES"][index, : len(one.scores)] = one.boxes
        out["SCORES"][index, : len(one.scores)] = one.scores
        out["CLASSES"][index, : len(one.scores)] = one.classes
        if has_masks(case):
            out["MASKS"][index, : len(one.scores)] = mask_texts(items[index][-1], one, geometry[index])
    return out


def mask_texts(masks: Floats, found: HeadDetections, fit: Floats) -> list[bytes]:
    """COCO's texts: of prototypes where the detections have coefficients, else of masks to paste."""
    if found.extras.shape[1]:
        return prototype_rles(masks, found.extras, found.boxes, NETWORK, fit)
    width, height = int(fit[1]), int(fit[2])
    chosen = np.ascontiguousarray(masks.reshape(len(masks), *masks.shape[-2:])[found.indices])
    regions = paste_masks(chosen, found.boxes, width, height)
    return [rle_encode_region(region, width, height) for region in regions]


def _classes(case: Case, items: list[list[Floats]], geometry: Floats) -> Arrays:
    activation = case.parameters.get("activation", "none")
    top = min(case.parameters["top"], items[0][0].size)
    out: Arrays = {
        "SCORES": np.zeros((len(items), top), np.float32),
        "CLASSES": np.full((len(items), top), -1, np.int32),
    }
    for index, item in enumerate(items):
        if geometry[index, 0] and not np.isnan(item[0]).any():
            found = classify(item[0].ravel(), top=top, activation=activation)
            out["SCORES"][index], out["CLASSES"][index] = found
    return out


def _map(case: Case, items: list[list[Floats]], geometry: Floats) -> NDArray[np.uint8]:
    options = {
        name: case.parameters[name] for name in ("upsample", "channels_last") if name in case.parameters
    }
    width, height = geometry[:, 1:3].max(axis=0).astype(int)
    out = np.zeros((len(items), height, width), np.uint8)
    for index, (item, fit) in enumerate(zip(items, geometry, strict=True)):
        if fit[0]:
            one = semantic_map(item[0], fit, NETWORK, **options)
            out[index, : one.shape[0], : one.shape[1]] = one
    return out


def _vectors(items: list[list[Floats]], geometry: Floats) -> Floats:
    out = np.zeros((len(items), items[0][0].size), np.float32)
    for row, item, fit in zip(out, items, geometry, strict=True):
        if fit[0] and not np.isnan(item[0]).any():
            row[:] = embedding(item[0].ravel())
    return out
