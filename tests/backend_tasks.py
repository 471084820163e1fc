# SPDX-License-Identifier: Apache-2.0
"""Post-processing stages of every head and task: their settings, and random outputs of a network.

Each case has four pictures: three that were fitted in different ways, and one that could not be used. The network's
outputs for the third are all NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2 as pb

from sightline.frame import Frame
from sightline.preprocess_ext import letterbox
from tests.backend_models import Tensors, stage_config, write_config

Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
NETWORK = (96, 64)
CLASSES, ROWS, COEFFICIENTS = 5, 120, 8
ITEMS, NAN_ITEM, BAD_ITEM = 4, 2, 3
ANCHORS_FILE = "anchors.f32"
RESIZES = ("letterbox", "letterbox_corner", "stretch", "centre_crop")


@dataclass(frozen=True)
class Case:
    """One stage. raw: makes the outputs of one picture."""

    parameters: dict[str, Any]
    raw: Callable[[np.random.Generator], list[Floats]]
    anchors: Floats | None = None


# ---------------------------------------------------------------- outputs of a network


def scores(rng: np.random.Generator, *shape: int, logits: bool = False) -> Floats:
    """Few of them high; at times equal."""
    values = np.round(rng.random(shape) ** 4, 2)
    return (10 * values - 5 if logits else values).astype(np.float32)


def centre_boxes(rng: np.random.Generator, rows: int = ROWS, *, normalised: bool = False) -> Floats:
    """Centre, width and height; many overlap, and some reach beyond the input."""
    centres = rng.integers(0, 5, (rows, 2)) / 4 + rng.normal(0, 0.03, (rows, 2))
    boxes = np.concatenate([centres, rng.uniform(0.1, 0.6, (rows, 2))], 1)
    return (boxes if normalised else boxes * np.tile(NETWORK, 2)).astype(np.float32)


def corner_boxes(rng: np.random.Generator, rows: int = ROWS) -> Floats:
    boxes = centre_boxes(rng, rows)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1).astype(np.float32)


def labels(rng: np.random.Generator, low: int, high: int) -> Floats:
    return rng.integers(low, high, ROWS).astype(np.float32)


def normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.normal(0, 1, shape).astype(np.float32)


def prototypes(rng: np.random.Generator) -> Floats:
    return normal(rng, COEFFICIENTS, 16, 24)


def rows_of(*columns: Floats) -> Floats:
    return np.ascontiguousarray(np.concatenate([one.reshape(len(one), -1) for one in columns], 1))


def turned(rows: Floats) -> Floats:
    return np.ascontiguousarray(rows.T)


def _yolov8(
    rng: np.random.Generator, *, logits: bool = False, extra: int = 0, normalised: bool = False
) -> Floats:
    boxes = centre_boxes(rng, normalised=normalised)
    return rows_of(boxes, scores(rng, ROWS, CLASSES, logits=logits), normal(rng, ROWS, extra))


def _yolov5(rng: np.random.Generator, extra: int = 0) -> Floats:
    objectness = rng.random((ROWS, 1), np.float32)
    return rows_of(centre_boxes(rng), objectness, scores(rng, ROWS, CLASSES), normal(rng, ROWS, extra))


def _levels(rng: np.random.Generator) -> list[Floats]:
    """Of three anchors each, in both layouts."""
    return [3 * normal(rng, 3 * (5 + CLASSES), 8, 12), 3 * normal(rng, 3, 4, 6, 5 + CLASSES)]


def _end_to_end(rng: np.random.Generator, extra: int = 0, *, centre: bool = False) -> Floats:
    boxes = centre_boxes(rng, normalised=True) if centre else corner_boxes(rng)
    return rows_of(boxes, scores(rng, ROWS), labels(rng, -1, CLASSES + 1), normal(rng, ROWS, extra))


def _ssd(rng: np.random.Generator, columns: int) -> list[Floats]:
    return [normal(rng, ROWS, 4), 2 * normal(rng, ROWS, columns)]


def _efficient_nms(rng: np.random.Generator) -> list[Floats]:
    count = np.array([ROWS // 2], np.float32)
    return [count, corner_boxes(rng), scores(rng, ROWS), labels(rng, 0, CLASSES)]


def _mask_rcnn(rng: np.random.Generator) -> list[Floats]:
    return [corner_boxes(rng), labels(rng, 0, CLASSES + 2), scores(rng, ROWS)]


def _mask_cells(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.random((ROWS, *shape), np.float32)


def _shapes() -> Floats:
    return np.array([[10, 13], [16, 30], [33, 23], [30, 61], [62, 45], [59, 119]], np.float32)


def _priors() -> Floats:
    return corner_boxes(np.random.default_rng(77))


# ---------------------------------------------------------------- cases

DETECT = {"stage": "postprocess", "task": "detect", "score": 0.3, "iou": 0.5, "detections": 25}
SIZED = {**DETECT, "classes": CLASSES, "size": list(NETWORK)}
MASKED = {**SIZED, "task": "segment", "extra": "masks", "extra_values": COEFFICIENTS}
WHOLE = {"stage": "postprocess", "outputs": 1}
SEMANTIC = {**WHOLE, "task": "semantic", "size": list(NETWORK)}


def _classify(**options: Any) -> dict[str, Any]:
    return {**WHOLE, "task": "classify", "top": 3, **options}


CASES: dict[str, Case] = {
    "yolov8": Case({**DETECT, "head": "yolov8"}, lambda rng: [turned(_yolov8(rng))]),
    "yolov8_logits": Case(
        {**SIZED, "head": "yolov8", "activation": "sigmoid", "multi_label": True, "class_agnostic": True},
        lambda rng: [turned(_yolov8(rng, logits=True))],
    ),
    "yolov8_rows": Case(
        {**SIZED, "head": "yolov8", "normalised": True}, lambda rng: [_yolov8(rng, normalised=True)]
    ),
    "yolov8_masks": Case(
        {**MASKED, "head": "yolov8"}, lambda rng: [turned(_yolov8(rng, extra=COEFFICIENTS)), prototypes(rng)]
    ),
    "yolov5": Case({**SIZED, "head": "yolov5"}, lambda rng: [_yolov5(rng)]),
    "yolov5_masks": Case(
        {**MASKED, "head": "yolov5"}, lambda rng: [_yolov5(rng, COEFFICIENTS), prototypes(rng)]
    ),
    "yolov5_levels": Case({**SIZED, "head": "yolov5"}, _levels, _shapes()),
    "yolox": Case(
        {**SIZED, "head": "yolox", "strides": [8, 32]},
        lambda rng: [rows_of(normal(rng, 102, 4), scores(rng, 102, 1 + CLASSES) ** np.float32(0.2))],
    ),
    "end_to_end": Case({**SIZED, "head": "end_to_end"}, lambda rng: [_end_to_end(rng)]),
    "end_to_end_centres": Case(
        {**SIZED, "head": "end_to_end", "centre_form": True, "normalised": True},
        lambda rng: [_end_to_end(rng, centre=True)],
    ),
    "end_to_end_masks": Case(
        {**MASKED, "head": "end_to_end"}, lambda rng: [_end_to_end(rng, COEFFICIENTS), prototypes(rng)]
    ),
    "detr": Case(
        {**SIZED, "head": "detr", "activation": "sigmoid"},
        lambda rng: [scores(rng, ROWS, CLASSES, logits=True), centre_boxes(rng, normalised=True)],
    ),
    "detr_one": Case(
        {**SIZED, "head": "detr", "activation": "softmax", "background": "last"},
        lambda rng: [rows_of(centre_boxes(rng, normalised=True), 3 * normal(rng, ROWS, CLASSES + 1))],
    ),
    "ssd": Case(
        {
            **SIZED,
            "head": "ssd",
            "activation": "softmax",
            "background": "first",
            "box_weights": [10, 10, 5, 5],
        },
        lambda rng: _ssd(rng, CLASSES + 1),
        _priors(),
    ),
    "ssd_sigmoid": Case(
        {**SIZED, "head": "ssd", "activation": "sigmoid", "multi_label": True, "anchors_file": ANCHORS_FILE},
        lambda rng: _ssd(rng, CLASSES)[::-1],
        _priors(),
    ),
    "efficient_nms": Case({**SIZED, "head": "efficient_nms"}, _efficient_nms),
    "mask_rcnn": Case({**SIZED, "head": "mask_rcnn", "background": "first"}, _mask_rcnn),
    "mask_rcnn_masks": Case(
        {**SIZED, "task": "segment", "head": "mask_rcnn", "background": "first"},
        lambda rng: [*_mask_rcnn(rng), _mask_cells(rng, 1, 14, 10)],
    ),
    "mask_rcnn_centres": Case(
        {**SIZED, "head": "mask_rcnn", "extra": "pasted", "centre_form": True, "normalised": True},
        lambda rng: [centre_boxes(rng, normalised=True), *_mask_rcnn(rng)[1:], _mask_cells(rng, 7, 7)],
    ),
    "classify": Case(_classify(activation="softmax"), lambda rng: [normal(rng, 10)]),
    "classify_sigmoid": Case(_classify(activation="sigmoid"), lambda rng: [normal(rng, 10)]),
    "classify_maps": Case(_classify(top=50), lambda rng: [normal(rng, 10, 1, 1)]),
    "semantic": Case({**SEMANTIC, "classes": 4}, lambda rng: [normal(rng, 4, 16, 24)]),
    "semantic_last": Case(
        {**SEMANTIC, "classes": 4, "channels_last": True}, lambda rng: [normal(rng, 16, 24, 4)]
    ),
    "semantic_nearest": Case(
        {**SEMANTIC, "classes": 256, "upsample": "classes"}, lambda rng: [normal(rng, 256, 8, 12)]
    ),
    "semantic_two": Case({**SEMANTIC, "classes": 1}, lambda rng: [normal(rng, 1, 16, 24)]),
    "embed": Case({**WHOLE, "task": "embed"}, lambda rng: [normal(rng, 33)]),
    "embed_maps": Case({**WHOLE, "task": "embed"}, lambda rng: [normal(rng, 16, 1, 1)]),
}


def geometries(resize: str) -> Floats:
    """GEOMETRY of the pictures of a case, float32 (ITEMS, 7)."""
    rows = np.zeros((ITEMS, 7), np.float32)
    for row, (width, height) in zip(rows, ((200, 120), (71, 133), (40, 30), (0, 0)), strict=True):
        if width:
            frame = Frame.from_rgb(np.zeros((height, width, 3), np.uint8))
            out = np.empty((3, NETWORK[1], NETWORK[0]), np.float32)
            row[:] = letterbox(frame, out, resize=resize).as_array()  # type: ignore[arg-type]
    return rows


def outputs_of(case: Case, seed: int) -> list[Floats]:
    """The network's outputs for all pictures, each (ITEMS, …)."""
    rng = np.random.default_rng(seed)
    raw = [np.stack(parts) for parts in zip(*(case.raw(rng) for _ in range(ITEMS)), strict=True)]
    for one in raw:
        one[NAN_ITEM] = np.nan
    return raw


def inputs_of(raw: list[Floats], geometry: Floats) -> Arrays:
    return {"RAW" if index == 0 else f"RAW_{index}": one for index, one in enumerate(raw)} | {
        "GEOMETRY": geometry
    }


# ---------------------------------------------------------------- stages


def add_stages(repository: Path) -> None:
    """A model of the native backend for each case."""
    for name, case in CASES.items():
        raw = case.raw(np.random.default_rng(0))
        inputs: Tensors = {"GEOMETRY": ("FP32", [7])}
        for tensor, one in inputs_of(raw, np.empty(0, np.float32)).items():
            if tensor != "GEOMETRY":
                inputs[tensor] = ("FP32", list(one.shape))
        parameters = {**case.parameters, "outputs": len(raw)}
        if case.anchors is not None and "anchors_file" not in parameters:
            parameters["anchors"] = case.anchors.tolist()
        config = stage_config(name, parameters, inputs, {**_answers(case), "ERROR": ("STRING", [1])})
        config.input.add(name="ERROR", data_type=pb.TYPE_STRING, dims=[1], optional=True)
        write_config(repository / name, config)
        if "anchors_file" in parameters:
            assert case.anchors is not None
            case.anchors.astype("<f4").tofile(repository / name / "1" / ANCHORS_FILE)


def _answers(case: Case) -> Tensors:
    whole: dict[str, Tensors] = {
        "classify": {"SCORES": ("FP32", [-1]), "CLASSES": ("INT32", [-1])},
        "semantic": {"CLASS_MAP": ("UINT8", [-1, -1])},
        "embed": {"EMBEDDING": ("FP32", [-1])},
    }
    boxes: Tensors = {
        "COUNT": ("INT32", [1]),
        "BOXES": ("FP32", [-1, 4]),
        "SCORES": ("FP32", [-1]),
        "CLASSES": ("INT32", [-1]),
    }
    masks: Tensors = {"MASKS": ("STRING", [-1])} if has_masks(case) else {}
    return whole.get(case.parameters["task"], boxes | masks)


def has_masks(case: Case) -> bool:
    return case.parameters["task"] == "segment" or case.parameters.get("extra") == "pasted"
