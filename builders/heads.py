# SPDX-License-Identifier: Apache-2.0
"""How a network's outputs are read: one entry a head. A new head is an entry here and one in stages/decoders.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sightline.builders.onnx_source import shape_text
from sightline.errors import HeadMismatchError

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class HeadSpec:
    """One head.

    outputs: how many of the network's outputs the head reads, from the first.
    check: takes the shapes of all outputs (batch 1) and the card's labels, gives the labels; HeadMismatchError.
    """

    task: str
    outputs: int
    check: Callable[[Shapes, tuple[str, ...]], tuple[str, ...]]


def check_head(head: str, shapes: Shapes, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Labels of the model (made up where the card has none). Raises HeadMismatchError naming the shapes."""
    spec = HEADS[head]
    if len(shapes) < spec.outputs:
        raise HeadMismatchError(f"head '{head}' reads {spec.outputs} outputs; the network has {len(shapes)}")
    return spec.check(shapes, labels)


def _check_yolov8(shapes: Shapes, labels: tuple[str, ...]) -> tuple[str, ...]:
    """(N, 4 + classes, anchors): centre x, centre y, width, height in network pixels, then a score per class."""
    shape = shapes[0]
    wanted = f"(N, {4 + len(labels)}, anchors)" if labels else "(N, 4 + classes, anchors)"
    found = shape_text((None, *shape[1:]))
    has = f"head 'yolov8' needs a first output of shape {wanted}; the network's is {found}"
    if len(shape) != 3:
        raise HeadMismatchError(f"{has}. Export a detection model: yolo export model=MODEL.pt format=onnx")
    rows, columns = shape[1:]
    if columns == 6 and rows > columns:
        raise HeadMismatchError(f"{has}. It looks like an export with NMS inside; export it with nms=False")
    if _is_transposed(rows, columns, labels):
        raise HeadMismatchError(
            f"{has}. It is transposed: anchors come before the rows. Export without the final transpose "
            "(YOLOv5 and YOLOX exports have this layout and another meaning; 'yolov8' does not read them)"
        )
    classes = rows - 4
    if classes < 1:
        raise HeadMismatchError(f"{has}: no room for a class")
    if labels and classes != len(labels):
        masks = (
            " The 32 extra rows look like mask coefficients: this is a segmentation model."
            if classes - len(labels) == 32
            else ""
        )
        raise HeadMismatchError(
            f"{has}, which is {classes} classes against {len(labels)} labels.{masks} Check the labels file"
        )
    if len(shapes) > 1 and len(shapes[1]) == 4 and classes > 32 and not labels:
        raise HeadMismatchError(
            f"{has} with a second output {shape_text(shapes[1])}: this looks like a segmentation model"
        )
    return labels or tuple(f"class_{index}" for index in range(classes))


def _is_transposed(rows: int, columns: int, labels: tuple[str, ...]) -> bool:
    if labels:
        return rows != 4 + len(labels) and columns in (4 + len(labels), 5 + len(labels))
    return rows > columns and columns > 4


HEADS: dict[str, HeadSpec] = {"yolov8": HeadSpec(task="detect", outputs=1, check=_check_yolov8)}
