# SPDX-License-Identifier: Apache-2.0
"""Heads with one row for each cell of a grid: YOLOv5 and v7, YOLOv8, v9 and 11, YOLOX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.builders.heads.anchors import anchor_rows
from sightline.builders.heads.network import Family, Network, OutputInfo, Reading, prototypes_of, strides_of

_ANCHORS_PER_CELL = 3  # YOLOv5, v7 and kin
_NMS_ROW = 6  # x1, y1, x2, y2, score, class
_YOLOV5_EXAMPLE = "[[10, 13], [16, 30], [33, 23], …]"


@dataclass(frozen=True)
class _Grid:
    """An output of two inner dimensions beside the prototypes that belong to it."""

    index: int
    output: OutputInfo
    rows: int
    columns: int
    prototypes: tuple[int, OutputInfo] | None

    @property
    def extra(self) -> int:
        """Mask coefficients of an anchor."""
        return self.prototypes[1].sizes[0] if self.prototypes else 0

    @property
    def outputs(self) -> tuple[int, ...]:
        return (self.index, self.prototypes[0]) if self.prototypes else (self.index,)

    @property
    def found(self) -> str:
        return " and ".join(
            output.text for output in (self.output, self.prototypes and self.prototypes[1]) if output
        )


def _grid(network: Network) -> _Grid | None:
    prototypes = prototypes_of(network)
    if network.card.task == "segment" and prototypes is None:
        return None
    if network.card.task == "detect" and prototypes is not None:
        return None
    for index, output in network.outputs:
        if len(output.sizes) == 2 and min(output.sizes) > 4:
            return _Grid(index, output, *output.sizes, prototypes)
    return None


def _pose_values(network: Network) -> int:
    """Numbers of a pose model's keypoints, from the exporter's notes."""
    shape = network.note("kpt_shape")
    fits = isinstance(shape, (list, tuple)) and len(shape) == 2 and all(type(value) is int for value in shape)
    return shape[0] * shape[1] if fits and shape[1] in (2, 3) else 0


def _extra(network: Network, grid: _Grid) -> tuple[int, Mapping[str, Any]]:
    if grid.extra:
        return grid.extra, {"extra": "masks", "extra_values": grid.extra}
    if keypoints := _pose_values(network):
        each = int(network.note("kpt_shape")[1])
        return keypoints, {"extra": "keypoints", "extra_values": keypoints, "keypoint_values": each}
    return 0, {}


def _flags(network: Network, *names: str) -> dict[str, bool]:
    return {name: True for name in names if network.option(name, False)}


# ---------------------------------------------------------------- YOLOv8, v9, 11


def _read_yolov8(network: Network) -> list[Reading]:
    grid = _grid(network)
    if grid is None or network.note("task") == "obb":
        return []
    extra, parameters = _extra(network, grid)
    transposed = _is_transposed(network, grid, extra)
    values, anchors = (grid.columns, grid.rows) if transposed else (grid.rows, grid.columns)
    classes = values - 4 - extra
    known = bool(strides_of(anchors, network.size))
    asked = network.head is not None
    fits = classes == len(network.labels)
    if classes < 1 or (not asked and not known and (transposed or values > anchors)):
        return []
    if asked and not known and grid.columns == _NMS_ROW and not fits:
        return []
    needed = _yolov8_shape(network, extra)
    way = ", transposed" if transposed else ""
    masks = f", {extra} mask coefficients" if grid.extra else ""
    return [
        Reading(
            kind="yolov8",
            outputs=grid.outputs,
            classes=classes,
            wanted=f"an output of shape {needed}",
            found=grid.found,
            why=f"outputs {grid.found}: YOLOv8/v9/11 layout{way}, {classes} classes{masks}",
            certainty=2 if known and (fits or not transposed) else 1,
            line="head: yolov8",
            parameters={**parameters, **_yolov8_options(network)},
            hint=_yolov8_hint(network, classes),
        )
    ]


def _yolov8_options(network: Network) -> dict[str, Any]:
    activation = network.option("activation", "none")
    options: dict[str, Any] = {} if activation == "none" else {"activation": activation}
    return {**options, **_flags(network, "multi_label", "normalised")}


def _yolov8_shape(network: Network, extra: int = 0) -> str:
    if network.labels:
        return f"(N, {4 + len(network.labels) + extra}, anchors)"
    return f"(N, 4 + classes{f' + {extra}' if extra else ''}, anchors)"


def _is_transposed(network: Network, grid: _Grid, extra: int) -> bool:
    if strides_of(grid.columns, network.size):
        return False
    if strides_of(grid.rows, network.size):
        return True
    if network.labels:
        return grid.rows != 4 + len(network.labels) + extra == grid.columns
    return network.head is not None and grid.columns < grid.rows


def _yolov8_hint(network: Network, classes: int) -> str:
    if classes - len(network.labels) == 32 and network.card.task == "detect":
        return " The 32 extra rows look like mask coefficients: this is a segmentation model."
    return ""


def _yolov8_needs(network: Network) -> str:
    needed = f"a first output of shape {_yolov8_shape(network)}"
    if network.card.task == "segment":
        return f"{needed} plus mask coefficients, and prototypes of shape (N, coefficients, rows, columns)"
    return needed


def _yolov8_advice(network: Network) -> str:
    first = network.outputs[0][1]
    if network.note("task") == "obb":
        return "It is a model of turned boxes (task obb), which have no place in the answers of a detector"
    if network.card.task == "detect" and prototypes_of(network):
        return "The output with prototypes says: this looks like a segmentation model. Set task: segment"
    if network.card.task == "segment" and not prototypes_of(network):
        return "There are no prototypes, so this looks like a detection model. Set task: detect"
    if len(first.inner) == 2 and None in first.inner:
        return f"The shape {first.text} depends on the picture (NMS inside the model?). Export without NMS: nms=False"
    if len(first.inner) == 2 and first.inner[1] == _NMS_ROW:
        return "It looks like an export with NMS inside; write head: end_to_end, or export it with nms=False"
    if len(first.inner) == 2 and (first.inner[0] or 0) > (first.inner[1] or 0):
        return (
            "It is transposed: anchors come before the rows. Export without the final transpose "
            "(YOLOv5 and YOLOX exports have this layout and another meaning: head: yolov5, head: yolox)"
        )
    return ""


# ---------------------------------------------------------------- YOLOv5, v7, YOLOX


def _read_yolov5(network: Network) -> list[Reading]:
    grid = _grid(network)
    if grid is None:
        return _read_levels(network)
    extra, parameters = _extra(network, grid)
    values, anchors = _row_values(network, grid, 5 + extra), grid.rows
    classes, asked = values - 5 - extra, network.head is not None
    decoded_yolox = bool(strides_of(anchors, network.size))
    per_cell = anchors % _ANCHORS_PER_CELL == 0 and bool(
        strides_of(anchors // _ANCHORS_PER_CELL, network.size)
    )
    if classes < 1 or not (asked or per_cell or decoded_yolox):
        return []
    if decoded_yolox and not per_cell and not asked and not _may_be(network, grid, decoded=True):
        return []
    name = (
        f"YOLOv5/v7 layout, {_ANCHORS_PER_CELL} anchors a cell"
        if per_cell
        else "YOLOX with its decoding, or YOLOv5"
    )
    return [
        Reading(
            kind="yolov5",
            outputs=grid.outputs,
            classes=classes,
            wanted=f"an output of shape {_yolov5_shape(network, extra)}",
            found=grid.found,
            why=f"outputs {grid.found}: {name}, boxes decoded, {classes} classes",
            certainty=2,
            line="head: yolov5",
            parameters={**parameters, **_flags(network, "multi_label", "normalised")},
        )
    ]


def _row_values(network: Network, grid: _Grid, others: int) -> int:
    """Values of an anchor: the columns, or the rows where the card asks for the head and they are meant."""
    if network.head is None or grid.columns == others + len(network.labels):
        return grid.columns
    return min(grid.rows, grid.columns)


def _may_be(network: Network, grid: _Grid, *, decoded: bool) -> bool:
    """Whether a YOLOX head can be decoded (or not): its decoding takes the exponential of the sizes."""
    seen = network.seen(grid.output)
    return seen is None or ("Exp" in seen.tail) == decoded


def _yolov5_shape(network: Network, extra: int = 0) -> str:
    if network.labels:
        return f"(N, anchors, {5 + len(network.labels) + extra})"
    return f"(N, anchors, 5 + classes{f' + {extra}' if extra else ''})"


def _read_levels(network: Network) -> list[Reading]:
    """One output a level before decoding: (N, n (5 + C), h, w) or (N, n, h, w, 5 + C)."""
    width, height = network.size
    levels, values = [], set()
    for index, output in network.outputs:
        sizes = output.sizes
        if network.card.task != "detect" or len(sizes) not in (3, 4):
            continue
        rows, columns = sizes[1:3]
        if width % columns or height % rows or width // columns != height // rows or columns == width:
            continue
        levels.append((index, output, columns))
        values.add((len(sizes), sizes[0] if len(sizes) == 3 else sizes[3]))
    if (
        not 2 <= len(levels) <= 5
        or len(values) != 1
        or len({columns for *_, columns in levels}) != len(levels)
    ):
        return []
    return _levels_reading(network, levels, *values.pop())


def _levels_reading(
    network: Network, levels: Sequence[tuple[int, OutputInfo, int]], rank: int, values: int
) -> list[Reading]:
    shapes = _ANCHORS_PER_CELL if rank == 3 else levels[0][1].sizes[0]
    classes = values // (shapes if rank == 3 else 1) - 5
    if classes < 1 or (rank == 3 and values % shapes):
        return []
    anchors = anchor_rows(network.option("anchors", None), 2)
    found = ", ".join(output.text for _, output, _ in levels)
    count = shapes * len(levels)
    missing = ""
    if len(anchors) != count:
        missing = (
            f"its levels are not decoded and need {count} anchors (width, height in network pixels), not {len(anchors)}: "
            f"head: {{kind: yolov5, anchors: {_YOLOV5_EXAMPLE}}}, in the order of the outputs. They are in the "
            "training's yaml file, or in the checkpoint: model.model[-1].anchor_grid"
        )
    return [
        Reading(
            kind="yolov5",
            outputs=tuple(index for index, *_ in levels),
            classes=classes,
            wanted=f"levels of {shapes} x (5 + classes) values",
            found=found,
            why=f"outputs {found}: YOLOv5 levels before decoding, {shapes} anchors a cell, {classes} classes",
            certainty=2,
            line="head: {kind: yolov5, anchors: anchors.npy}",
            parameters={"anchors": anchors, **_flags(network, "multi_label")},
            missing=missing,
        )
    ]


def _read_yolox(network: Network) -> list[Reading]:
    grid = _grid(network)
    if grid is None or grid.prototypes:
        return []
    asked = network.head is not None
    found = strides_of(grid.rows, network.size)
    strides = tuple(network.option("strides", found))
    classes = _row_values(network, grid, 5) - 5
    if classes < 1 or not (asked or (found and _may_be(network, grid, decoded=False))):
        return []
    missing = "" if strides else "the card must name its levels: head: {kind: yolox, strides: [8, 16, 32]}"
    return [
        Reading(
            kind="yolox",
            outputs=grid.outputs,
            classes=classes,
            wanted=f"an output of shape {_yolov5_shape(network)}",
            found=grid.found,
            why=f"outputs {grid.found}: YOLOX before its decoding, strides {list(strides)}, {classes} classes",
            certainty=2,
            line=f"head: {{kind: yolox, strides: {list(strides)}}}",
            parameters={"strides": list(strides), **_flags(network, "multi_label")},
            missing=missing,
        )
    ]


def _yolov5_needs(network: Network) -> str:
    return f"an output of shape {_yolov5_shape(network)}, or levels (N, n x (5 + classes), rows, columns) with anchors"


def _yolox_needs(network: Network) -> str:
    return f"an output of shape {_yolov5_shape(network)} with an anchor for each cell of its strides"


def _no_advice(_: Network) -> str:
    return ""


FAMILIES = (
    Family(
        "yolov8",
        _read_yolov8,
        _yolov8_needs,
        _yolov8_advice,
        frozenset(("activation", "multi_label", "normalised")),
    ),
    Family(
        "yolov5", _read_yolov5, _yolov5_needs, _no_advice, frozenset(("anchors", "multi_label", "normalised"))
    ),
    Family("yolox", _read_yolox, _yolox_needs, _no_advice, frozenset(("strides", "multi_label"))),
)
