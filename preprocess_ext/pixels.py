# SPDX-License-Identifier: Apache-2.0
"""Pixels into a network's input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BadInputError
from sightline.frame import Frame
from sightline.preprocess_ext import _pixels
from sightline.preprocess_ext.arguments import MAX_SIDE_PIXELS, Floats, choice, expect, triple
from sightline.preprocess_ext.geometry import Geometry

_RESIZE = {"letterbox": 0, "stretch": 1, "letterbox_corner": 2, "centre_crop": 3}
_ORDER = {"rgb": 0, "bgr": 1}
_LAYOUT = {"chw": 0, "hwc": 1}
_FILTER = {"bilinear": 0, "triangle": 1, "box": 2}
_OUTPUT = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.uint8): 2}
_LEAST_STD = np.finfo(np.float32).tiny

NetworkInput = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint8]


def letterbox(
    frame: Frame,
    out: NetworkInput,
    *,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (255.0, 255.0, 255.0),
    resize: Literal["letterbox", "stretch", "letterbox_corner", "centre_crop"] = "letterbox",
    colour: Literal["rgb", "bgr"] = "rgb",
    pad_value: float = 114.0,
    layout: Literal["chw", "hwc"] = "chw",
    interpolation: Literal["bilinear", "triangle", "box"] = "bilinear",
    short_side: int = 0,
) -> Geometry:
    """Write a frame into a network's input: convert, resize, pad and normalise in one pass.

    out: ndarray of shape (3, H, W), or (H, W, 3) with layout "hwc", C-contiguous, float32, float16 or uint8; every
    value is written as (level - mean) / std, levels 0..255, channels in the order of `colour`, and so are mean and
    std. float16 and uint8 round to nearest, ties to even; uint8 clamps to 0..255 (std 1 keeps levels). pad_value:
    level of the padding.

    resize: "letterbox" places as Ultralytics' LetterBox does, "letterbox_corner" in the top left corner, "stretch"
    fills, "centre_crop" is torchvision's Resize(short_side) and CenterCrop (short_side 0: the smallest picture that
    covers the input). interpolation: "bilinear" as cv2.INTER_LINEAR with half-pixel centres; antialiased "triangle"
    as Pillow's BILINEAR and "box" as cv2.INTER_AREA, both bilinear where a picture is enlarged. YUV is interpolated
    plane by plane, then converted after ITU-R BT.601-7 / BT.709-6.

    Raises BadInputError for the frame, also one that a crop cannot be cut from, ValueError for the rest.
    """
    if max(frame.width, frame.height) > MAX_SIDE_PIXELS:
        raise BadInputError(
            f"frame is {frame.width}x{frame.height}; "
            f"width and height must be at most {MAX_SIDE_PIXELS} pixels"
        )
    modes = (
        choice("resize", resize, _RESIZE),
        _short_side(short_side, resize),
        choice("colour", colour, _ORDER),
    )
    placed = choice("layout", layout, _LAYOUT)
    height, width, kind = _target(out, layout)
    means, stds = _levels(mean, std)
    if not 0 <= pad_value <= 255:
        raise ValueError(f"pad_value is {pad_value}; it must lie in 0..255")
    kernel = choice("interpolation", interpolation, _FILTER)
    fit = np.empty(7, np.float32)
    levels = out.reshape(-1).view(np.uint8)
    try:
        _pixels.convert(
            frame.data,
            frame.width,
            frame.height,
            int(frame.pixel_format),
            int(frame.colour),
            levels,
            width,
            height,
            kind,
            placed,
            means,
            stds,
            pad_value,
            *modes,
            kernel,
            fit,
        )
    except ValueError as error:
        if resize != "centre_crop" or 0 < short_side < min(width, height):
            raise
        raise BadInputError(
            f"frame is {frame.width}x{frame.height}; resized for the crop it does not cover the network's input of "
            f"{width}x{height}, or is too long: use another input.resize or a larger input.short_side"
        ) from error
    return Geometry(int(fit[1]), int(fit[2]), float(fit[3]), float(fit[4]), int(fit[5]), int(fit[6]))


def _levels(mean: Sequence[float], std: Sequence[float]) -> tuple[Floats, Floats]:
    """Means and standard deviations as the core takes them; a model's are the same for each of its frames."""
    try:
        return _known_levels(tuple(mean), tuple(std))
    except TypeError:  # no sequence of numbers, which the check says better
        return _checked_levels(mean, std)


def _checked_levels(mean: Sequence[float], std: Sequence[float]) -> tuple[Floats, Floats]:
    means, stds = triple("mean", mean), triple("std", std)
    if stds.min() < _LEAST_STD:
        raise ValueError(f"std is {tuple(std)}; each number must be above 0")
    means.setflags(write=False)
    stds.setflags(write=False)
    return means, stds


_known_levels = lru_cache(maxsize=64)(_checked_levels)


def _target(out: Any, layout: str) -> tuple[int, int, int]:
    """Height, width and number of the type of a network's input."""
    kind = out.dtype if isinstance(out, np.ndarray) and out.dtype in _OUTPUT else np.dtype(np.float32)
    shape = (None, None, 3) if layout == "hwc" else (3, None, None)
    expect("out", out, kind.type, shape, writable=True)
    height, width = out.shape[:2] if layout == "hwc" else out.shape[1:]
    if out.size == 0 or max(out.shape) > MAX_SIDE_PIXELS:
        raise ValueError(f"out has shape {out.shape}; height and width must lie in 1..{MAX_SIDE_PIXELS}")
    return height, width, _OUTPUT[kind]


def _short_side(short_side: int, resize: str) -> int:
    if short_side != 0 and resize != "centre_crop":
        raise ValueError(f"short_side is {short_side}; it is for resize 'centre_crop' only")
    if not 0 <= short_side <= MAX_SIDE_PIXELS:
        raise ValueError(f"short_side is {short_side}; it must lie in 0..{MAX_SIDE_PIXELS}")
    return int(short_side)
