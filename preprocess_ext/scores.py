# SPDX-License-Identifier: Apache-2.0
"""Class scores of a whole picture, class maps and embeddings."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sightline.preprocess_ext import _heads
from sightline.preprocess_ext.arguments import (
    MAX_ANCHORS,
    MAX_CLASSES,
    MAX_SIDE_PIXELS,
    Floats,
    choice,
    expect,
)

Activation = Literal["none", "sigmoid", "softmax"]
Upsample = Literal["logits", "classes"]


def number_of(name: str, value: str, literal: Any) -> int:
    """Position of `value` in a Literal whose order is that of the core's enumeration. Raises ValueError."""
    return choice(name, value, {text: number for number, text in enumerate(get_args(literal))})


def classify(
    values: Floats, *, top: int = 5, activation: Activation = "softmax"
) -> tuple[Floats, NDArray[np.int32]]:
    """The best classes of a picture: scores float32 (K,) and class ids int32 (K,), best first.

    values: float32 (C,), a classifier's output. K is `top`, or C where that is less. Equal values: the lower class
    first. NaN is left out; with the softmax NaN and +inf are errors. Raises ValueError.
    """
    expect("values", values, np.float32, (None,))
    if not 1 <= len(values) <= MAX_CLASSES:
        raise ValueError(f"there are {len(values)} values; there must be 1..{MAX_CLASSES}")
    if top < 1:
        raise ValueError(f"top is {top}; it must be at least 1")
    most = min(top, len(values))
    scores, classes = np.empty(most, np.float32), np.empty(most, np.int32)
    count = _heads.classify(values, number_of("activation", activation, Activation), scores, classes)
    return scores[:count], classes[:count]


def embedding(values: Floats) -> Floats:
    """`values` divided by its Euclidean norm (at least 1e-12), float32 (D,). Raises ValueError where not finite."""
    expect("values", values, np.float32, (None,))
    if not 1 <= len(values) <= MAX_ANCHORS:
        raise ValueError(f"there are {len(values)} values; there must be 1..{MAX_ANCHORS}")
    out = np.empty_like(values)
    _heads.embedding(values, out)
    return out


def semantic_map(
    logits: Floats,
    geometry: Floats,
    network: tuple[int, int],
    *,
    upsample: Upsample = "logits",
    channels_last: bool = False,
    dtype: type[np.uint8] | type[np.int32] = np.uint8,
) -> NDArray[np.uint8] | NDArray[np.int32]:
    """The class of each source pixel, (source_height, source_width) of `dtype`.

    logits: float32 (C, rows, columns), or (rows, columns, C) with channels_last; they cover the whole input of the
    network, whose size is network = (width, height). geometry: float32 (7,), Geometry.as_array() of the frame.
    upsample: "logits" interpolates bilinearly between the cells that the picture touches (half-pixel centres, as
    align_corners=False) and takes the best class; "classes" takes the best class of the nearest cell. C = 1: class 1
    where the logit is above 0. What a crop cut away, which the network never saw, has the class of the nearest cell.
    The lowest class wins a tie; NaN never wins. uint8 holds 256 classes. Raises ValueError.
    """
    expect("logits", logits, np.float32, (None, None, None))
    expect("geometry", geometry, np.float32, (7,))
    classes = logits.shape[2 if channels_last else 0]
    rows, columns = logits.shape[:2] if channels_last else logits.shape[1:]
    if not 1 <= classes <= (256 if dtype is np.uint8 else MAX_CLASSES):
        raise ValueError(
            f"logits have {classes} classes; {np.dtype(dtype).name} maps hold 1..256 or int32 maps more"
        )
    for name, side in zip(("rows", "columns", "width", "height"), (rows, columns, *network), strict=True):
        if not 1 <= side <= MAX_SIDE_PIXELS:
            raise ValueError(f"{name} is {side}; it must lie in 1..{MAX_SIDE_PIXELS}")
    way = number_of("upsample", upsample, Upsample)
    width, height = geometry[1], geometry[2]
    if not (1 <= width <= MAX_SIDE_PIXELS and 1 <= height <= MAX_SIDE_PIXELS):
        raise ValueError(
            f"geometry is {geometry.tolist()}; its source must have sides of 1..{MAX_SIDE_PIXELS} pixels"
        )
    shape = int(height), int(width)
    narrow: NDArray[np.uint8] | None = np.empty(shape, np.uint8) if dtype is np.uint8 else None
    wide: NDArray[np.int32] = np.empty(shape if narrow is None else (0, 0), np.int32)
    try:
        _heads.semantic_map(
            logits, channels_last, *network, geometry, way, narrow, wide if narrow is None else None
        )
    except ValueError as error:
        raise ValueError(f"geometry is {geometry.tolist()}: {error}") from None
    return wide if narrow is None else narrow
