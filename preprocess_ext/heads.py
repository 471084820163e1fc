# SPDX-License-Identifier: Apache-2.0
"""A network's outputs into detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.preprocess_ext import _heads
from sightline.preprocess_ext.arguments import (
    MAX_ANCHORS,
    MAX_CLASSES,
    MAX_SIDE_PIXELS,
    Floats,
    expect,
    fraction,
)
from sightline.preprocess_ext.scores import Activation, number_of

HeadKind = Literal[
    "yolov8", "yolov5", "yolox", "end_to_end", "detr", "ssd", "efficient_nms", "mask_rcnn"
]  # in the order of sl_head_kind
HeadExtra = Literal["none", "masks", "keypoints", "angle"]
Background = Literal["none", "first", "last"]
MAX_EXTRA_VALUES = 1024
MAX_LEVELS = 8
MAX_TENSORS = 16
MAX_RANK = 4


@dataclass(frozen=True)
class Head:
    """How a network's outputs are read.

    kind, with the outputs of one picture (A anchors, C classes, E extra values; a two-dimensional output may also
    lie the other way round; coordinates are network pixels):
      yolov8 (v8, v9, 11): (4 + C + E, A) of centre x, centre y, width, height, class scores, extras
      yolov5 (v5, v7): (A, 5 + C + E) of box, objectness, class scores, extras as the export decoded them (also
        YOLOX exported with its decoding); or each level's logits, (n (5 + C), h, w) or (n, h, w, 5 + C), with `anchors`
      yolox: (A, 5 + C) before its decoding, with `strides`
      end_to_end (v10, 26): (A, 6 + E) of x1, y1, x2, y2, score, class, extras; no NMS
      detr (DETR, RT-DETR): (A, 4) boxes in 0..1 and (A, C + background) scores, or both in one; no NMS
      ssd (SSD, RetinaNet): (A, 4) deltas to `anchors` and (A, C + background) scores
      efficient_nms: count (1,), boxes (A, 4), scores (A,), classes (A,); no NMS
      mask_rcnn: boxes (A, 4), labels (A,), scores (A,); no NMS
    classes: without background. network: (width, height) pixels. extra: what a detection carries beside its box:
    mask coefficients, keypoints of keypoint_values (2 or 3) numbers, or one angle; extra_values: how many numbers.
    activation: of class scores (yolov8, detr, ssd). background: whether the scores have a column for it (detr, ssd),
    or the labels start at 1 (mask_rcnn, "first"). multi_label: every class that reaches the limit counts, not only
    the best (yolov8, yolov5, yolox, detr, ssd). normalised: boxes are 0..1 of the network's sides. anchors: float32,
    yolov5 levels (levels x n, 2) width and height, ssd (A, 4) xyxy, network pixels. strides: yolox, default 8, 16,
    32. box_weights: ssd, deltas are divided by them (1 / variance). centre_form: boxes of end_to_end, efficient_nms and
    mask_rcnn are centre x, centre y, width, height. Raises ValueError.
    """

    kind: HeadKind
    classes: int
    network: tuple[int, int]
    extra: HeadExtra = "none"
    extra_values: int = 0
    activation: Activation = "none"
    background: Background = "none"
    multi_label: bool = False
    normalised: bool = False
    keypoint_values: int = 3
    anchors: Floats | None = None
    strides: tuple[int, ...] = ()
    box_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    centre_form: bool = False
    _plan: _heads.HeadPlan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        within = {
            "classes": (self.classes, 1, MAX_CLASSES),
            "network's width": (self.network[0], 1, MAX_SIDE_PIXELS),
            "network's height": (self.network[1], 1, MAX_SIDE_PIXELS),
            "extra_values": (self.extra_values, 0, MAX_EXTRA_VALUES),
            "keypoint_values": (self.keypoint_values, 2, 3),
            "number of strides": (len(self.strides), 0, MAX_LEVELS),
            **{f"stride {i}": (stride, 1, MAX_SIDE_PIXELS) for i, stride in enumerate(self.strides)},
        }
        for name, (value, least, most) in within.items():
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}; it must lie in {least}..{most}")
        if len(self.box_weights) != 4 or not all(0 < weight < float("inf") for weight in self.box_weights):
            raise ValueError(f"box_weights is {self.box_weights}; it must be four numbers above 0")
        if self.anchors is not None:
            expect("anchors", self.anchors, np.float32, (None, 4 if self.kind == "ssd" else 2))
        plan = _heads.HeadPlan(
            number_of("kind", self.kind, HeadKind),
            number_of("extra", self.extra, HeadExtra),
            self.classes,
            self.extra_values,
            *self.network,
            number_of("activation", self.activation, Activation),
            number_of("background", self.background, Background),
            self.multi_label,
            self.normalised,
            self.keypoint_values,
            self.anchors,
            self.strides,
            self.box_weights,
            self.centre_form,
        )
        object.__setattr__(self, "_plan", plan)


class HeadDetections(NamedTuple):
    """K detections of one picture, best score first.

    boxes: float32 (K, 4) xyxy, source pixels, clipped to the picture; with an angle the box before it is turned about
    its centre by extras[:, 0] radians, from x towards y, not clipped. scores: float32 (K,). classes: int32 (K,).
    extras: float32 (K, extra_values): coefficients as they are, keypoints in source pixels, angle; numbers that are
    not finite are 0. network_boxes: float32 (K, 4) xyxy, network pixels, not clipped. indices: int32 (K,), the
    anchor, query or row of the output that a detection was read from.
    """

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int32]
    extras: Floats
    network_boxes: Floats
    indices: NDArray[np.int32]


def decode_head(
    head: Head,
    tensors: Sequence[Floats],
    geometry: Floats,
    *,
    score: float,
    iou: float = 0.45,
    max_detections: int = 300,
    class_agnostic: bool = False,
) -> HeadDetections:
    """Detections of one picture: score limit, best class, NMS where the head needs it, source pixels.

    tensors: the head's float32 C-contiguous outputs without the batch, in the order that Head names (detr and ssd
    find their boxes by their last dimension); further ones, such as prototypes, are not read. geometry: float32
    (7,), Geometry.as_array() of the frame. score: from this score on, 0..1. iou: as in nms. Anchors whose score or
    box is not finite are dropped. Raises ValueError where shapes do not fit the head, for arguments out of range
    and for a geometry that is marked invalid.
    """
    if not 1 <= len(tensors) <= MAX_TENSORS:
        raise ValueError(f"there are {len(tensors)} tensors; there must be 1..{MAX_TENSORS}")
    for number, tensor in enumerate(tensors):
        rank = min(max(np.ndim(tensor), 1), MAX_RANK)
        expect(f"tensor {number}", tensor, np.float32, (None,) * rank)
    expect("geometry", geometry, np.float32, (7,))
    fraction("score", score)
    fraction("iou", iou)
    if not 1 <= max_detections <= MAX_ANCHORS:
        raise ValueError(f"max_detections is {max_detections}; it must lie in 1..{MAX_ANCHORS}")
    out = HeadDetections(
        np.empty((max_detections, 4), np.float32),
        np.empty(max_detections, np.float32),
        np.empty(max_detections, np.int32),
        np.empty((max_detections, head.extra_values), np.float32),
        np.empty((max_detections, 4), np.float32),
        np.empty(max_detections, np.int32),
    )
    try:
        count = _heads.decode_head(head._plan, list(tensors), geometry, score, iou, class_agnostic, *out)
    except ValueError as error:
        shapes = ", ".join(str(tensor.shape) for tensor in tensors)
        raise ValueError(
            f"head {head.kind} with {head.classes} classes, tensors {shapes}, geometry {geometry.tolist()}: {error}"
        ) from None
    return HeadDetections(
        out.boxes[:count],
        out.scores[:count],
        out.classes[:count],
        out.extras[:count],
        out.network_boxes[:count],
        out.indices[:count],
    )


def decode_yolov8(
    raw: Floats,
    geometry: Floats,
    *,
    score: float,
    iou: float,
    max_detections: int,
    boxes_out: Floats,
    scores_out: Floats,
    classes_out: NDArray[np.int32],
) -> int:
    """Read the head of YOLOv8, v9 or 11: best class of each anchor, threshold, NMS, back to source pixels.

    raw: float32 (4 + C, A): centre x, centre y, width, height in network pixels, then C rows of scores after
    the sigmoid. geometry: float32 (7,), Geometry.as_array() of the frame. score: an anchor counts from this
    score on. iou: as in nms. Written, highest score first: boxes_out float32 (M, 4) xyxy in source pixels,
    clipped to the picture, scores_out float32 (M,), classes_out int32 (M,), with M >= max_detections; rows
    past the returned count are left as they are. Returns that count. Raises ValueError for arguments outside
    their range and for a geometry that is marked invalid.
    """
    expect("raw", raw, np.float32, (None, None))
    rows, anchors = raw.shape
    if not 5 <= rows <= 4 + MAX_CLASSES or not 1 <= anchors <= MAX_ANCHORS:
        raise ValueError(
            f"raw has shape {raw.shape}; it must be (4 + classes, anchors) with 1..{MAX_CLASSES} classes "
            f"and 1..{MAX_ANCHORS} anchors"
        )
    expect("geometry", geometry, np.float32, (7,))
    fraction("score", score)
    fraction("iou", iou)
    room = len(scores_out)
    if not 1 <= max_detections <= room:
        raise ValueError(f"max_detections is {max_detections}; the outputs have room for 1..{room}")
    expect("boxes_out", boxes_out, np.float32, (room, 4), writable=True)
    expect("scores_out", scores_out, np.float32, (room,), writable=True)
    expect("classes_out", classes_out, np.int32, (room,), writable=True)
    outputs = boxes_out[:max_detections], scores_out[:max_detections], classes_out[:max_detections]
    try:
        return _heads.decode_yolov8(raw, geometry, score, iou, *outputs)
    except ValueError as error:
        raise ValueError(f"geometry is {geometry.tolist()}: {error}") from None
