# SPDX-License-Identifier: Apache-2.0
"""The kernels of the C core with their arguments checked; they release the GIL while they work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BadInputError
from sightline.frame import Frame
from sightline.preprocess_ext import _core

Floats = NDArray[np.float32]

MAX_SIDE_PIXELS = 65535
MAX_ANCHORS = 1 << 24
MAX_CLASSES = 1 << 16
_RESIZE = {"letterbox": 0, "stretch": 1}
_ORDER = {"rgb": 0, "bgr": 1}


class Geometry(NamedTuple):
    """Where a picture lies in a network's input: network_x = source_x * scale_x + pad_left, also y."""

    source_width: int
    source_height: int
    scale_x: float
    scale_y: float
    pad_left: int
    pad_top: int

    def as_array(self) -> Floats:
        """GEOMETRY of the wire contract: float32 of shape (7,), 1 (valid) and then the fields in order."""
        return np.array((1.0, *self), dtype=np.float32)


def version() -> str:
    """Version of the package that the C core was built for."""
    return _core.version()


def letterbox(
    frame: Frame,
    out: Floats,
    *,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (255.0, 255.0, 255.0),
    resize: Literal["letterbox", "stretch"] = "letterbox",
    colour: Literal["rgb", "bgr"] = "rgb",
    pad_value: float = 114.0,
) -> Geometry:
    """Write a frame into a network's input: convert, resize, pad and normalise in one pass.

    out: ndarray of shape (3, H, W), float32, C-contiguous; every value is written as (level - mean) / std,
    levels 0..255, channels in the order of `colour`, and so are mean and std. pad_value: level of the
    padding. Placed as Ultralytics' LetterBox does, bilinear with half-pixel centres as cv2.INTER_LINEAR; YUV
    is converted after ITU-R BT.601-7 / BT.709-6. Raises BadInputError for the frame, ValueError for the rest.
    """
    if max(frame.width, frame.height) > MAX_SIDE_PIXELS:
        raise BadInputError(
            f"frame is {frame.width}x{frame.height}; "
            f"width and height must be at most {MAX_SIDE_PIXELS} pixels"
        )
    _expect("out", out, np.float32, (3, None, None), writable=True)
    if out.size == 0 or max(out.shape) > MAX_SIDE_PIXELS:
        raise ValueError(f"out has shape {out.shape}; height and width must lie in 1..{MAX_SIDE_PIXELS}")
    means, stds = _triple("mean", mean), _triple("std", std)
    if stds.min() < np.finfo(np.float32).tiny:
        raise ValueError(f"std is {tuple(std)}; each number must be above 0")
    if not 0 <= pad_value <= 255:
        raise ValueError(f"pad_value is {pad_value}; it must lie in 0..255")
    fit = np.empty(7, np.float32)
    modes = _choice("resize", resize, _RESIZE), _choice("colour", colour, _ORDER)
    size = frame.width, frame.height, int(frame.pixel_format), int(frame.colour)
    _core.letterbox(frame.data, *size, out, means, stds, pad_value, *modes, fit)
    return Geometry(int(fit[1]), int(fit[2]), float(fit[3]), float(fit[4]), int(fit[5]), int(fit[6]))


def nms(boxes: Floats, scores: Floats, classes: NDArray[np.integer[Any]], iou: float) -> NDArray[np.int64]:
    """Indices that greedy non-maximum suppression per class keeps, best score first, int64 of shape (K,).

    boxes: (N, 4) xyxy; scores: (N,); classes: (N,) integers. A box that overlaps a better one of its class by
    more than `iou` (0..1) is left out: the kept set of torchvision.ops.batched_nms; equal scores keep their
    order. Boxes and scores that are not finite are left out; at most the best 30,000 are looked at.
    Raises ValueError.
    """
    boxes = np.ascontiguousarray(boxes, dtype=np.float32)
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    class_ids = np.asarray(classes)
    count = len(scores) if scores.ndim == 1 else -1
    if boxes.shape != (count, 4) or class_ids.shape != (count,):
        raise ValueError(
            f"boxes {boxes.shape}, scores {scores.shape} and classes {class_ids.shape} "
            "must have shapes (N, 4), (N,) and (N,)"
        )
    if count > MAX_ANCHORS:
        raise ValueError(f"there are {count} boxes; at most {MAX_ANCHORS} are allowed")
    _fraction("iou", iou)
    keep = np.empty(count, np.int64)
    return keep[: _core.nms(boxes, scores, _int32("classes", class_ids), iou, keep)] if count else keep


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
    _expect("raw", raw, np.float32, (None, None))
    rows, anchors = raw.shape
    if not 5 <= rows <= 4 + MAX_CLASSES or not 1 <= anchors <= MAX_ANCHORS:
        raise ValueError(
            f"raw has shape {raw.shape}; it must be (4 + classes, anchors) with 1..{MAX_CLASSES} classes "
            f"and 1..{MAX_ANCHORS} anchors"
        )
    _expect("geometry", geometry, np.float32, (7,))
    _fraction("score", score)
    _fraction("iou", iou)
    room = len(scores_out)
    if not 1 <= max_detections <= room:
        raise ValueError(f"max_detections is {max_detections}; the outputs have room for 1..{room}")
    _expect("boxes_out", boxes_out, np.float32, (room, 4), writable=True)
    _expect("scores_out", scores_out, np.float32, (room,), writable=True)
    _expect("classes_out", classes_out, np.int32, (room,), writable=True)
    outputs = boxes_out[:max_detections], scores_out[:max_detections], classes_out[:max_detections]
    try:
        return _core.decode_yolov8(raw, geometry, score, iou, *outputs)
    except ValueError as error:
        raise ValueError(f"geometry is {geometry.tolist()}: {error}") from None


def _expect(
    name: str, array: Any, dtype: type[np.generic], shape: tuple[int | None, ...], *, writable: bool = False
) -> None:
    fits = (
        isinstance(array, np.ndarray)
        and array.dtype == dtype
        and array.flags.c_contiguous
        and array.ndim == len(shape)
        and all(want is None or want == have for want, have in zip(shape, array.shape, strict=True))
    )
    if not fits:
        have = (
            f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        )
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} is {have}; it must be contiguous {dtype.__name__} of shape ({want})")
    if writable and not array.flags.writeable:
        raise ValueError(f"{name} is read-only; it must be writable")


def _int32(name: str, values: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} are {values.dtype}; they must be integers")
    limits = np.iinfo(np.int32)
    if values.min() < limits.min or values.max() > limits.max:
        raise ValueError(f"{name} reach from {values.min()} to {values.max()}; they must fit into int32")
    return np.ascontiguousarray(values, dtype=np.int32)


def _fraction(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}; it must lie in 0..1")


def _choice(name: str, value: str, choices: dict[str, int]) -> int:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    return choices[value]


def _triple(name: str, values: Sequence[float]) -> Floats:
    with np.errstate(over="ignore"):
        array = np.asarray(values, np.float32)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise ValueError(f"{name} is {values}; it must be three finite numbers")
    return array
