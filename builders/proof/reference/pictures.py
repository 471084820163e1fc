# SPDX-License-Identifier: Apache-2.0
"""Answers about pixels: masks of instances and maps of classes, in the pixels of the source picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.proof.reference.pixels import bilinear_taps

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


def class_map(logits: Floats, geometry: Floats, values: Mapping[str, Any]) -> NDArray[np.uint8]:
    """(height, width) uint8: the best class of each pixel after interpolating the logits (C, h, w)."""
    maps = np.moveaxis(logits, 2, 0) if values.get("channels_last") else logits
    if values.get("upsample") == "classes":
        best = maps.argmax(axis=0)
        rows, columns = _positions(geometry, best.shape, values)
        return np.asarray(best[np.rint(rows).astype(int)][:, np.rint(columns).astype(int)], np.uint8)
    shown = sampled(maps.astype(np.float64), *_positions(geometry, maps.shape[1:], values))
    return np.asarray(shown.argmax(axis=0), np.uint8)


def prototype_masks(
    coefficients: Array, prototypes: Floats, boxes: Array, geometry: Floats, values: Mapping[str, Any]
) -> NDArray[np.bool_]:
    """(K, height, width): Ultralytics' process_mask_native: coefficients x prototypes, enlarged, the padding cut off,
    scaled to the picture, above 0, inside the box."""
    flat = prototypes.reshape(len(prototypes), -1).astype(np.float64)
    maps = (coefficients @ flat).reshape(-1, *prototypes.shape[1:])
    picture = int(geometry[2]), int(geometry[1])
    if (geometry[5:7] < 0).any():  # a crop: the picture reaches beyond the map, whose edges are repeated
        shown = sampled(maps, *_positions(geometry, prototypes.shape[1:], values))
    else:
        shown = _scaled(_without_padding(maps, geometry, values["size"]), picture)
    return np.asarray((shown > 0) & _inside(boxes, geometry))


def pasted_masks(masks: Floats, boxes: Array, geometry: Floats) -> NDArray[np.bool_]:
    """(K, height, width): torchvision's paste_masks_in_image: each (m, m) mask stretched over its box, from 0.5 on."""
    width, height = int(geometry[1]), int(geometry[2])
    out = np.zeros((len(masks), height, width), np.bool_)
    for index, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
        side = mask.shape[-1]
        padded = np.pad(mask.reshape(side, side).astype(np.float64), 1)
        x = ((np.arange(width) + 0.5) - box[0]) / max(box[2] - box[0], 1e-6) * side + 0.5
        y = ((np.arange(height) + 0.5) - box[1]) / max(box[3] - box[1], 1e-6) * side + 0.5
        out[index] = sampled(padded[None], y, x)[0] >= 0.5
    return out


def sampled(maps: Array, rows: Array, columns: Array) -> Array:
    """(C, rows, columns): values at positions counted from the middle of the first cell."""
    top, bottom, down = bilinear_taps(rows, maps.shape[1])
    left, right, across = bilinear_taps(columns, maps.shape[2])
    mixed = maps[:, top] * (1 - down)[:, None] + maps[:, bottom] * down[:, None]
    return np.asarray(mixed[:, :, left] * (1 - across) + mixed[:, :, right] * across)


def _without_padding(maps: Array, geometry: Floats, network: tuple[int, int]) -> Array:
    """The cells under the picture, enlarged so far that they are whole cells."""
    rows, columns = maps.shape[1:]
    cell = network[0] // columns
    left, top = int(geometry[5]), int(geometry[6])
    width, height = (round(float(geometry[1 + i]) * float(geometry[3 + i])) for i in (0, 1))
    step = math.gcd(cell, left, top, width, height)
    larger = _scaled(maps, (rows * cell // step, columns * cell // step))
    return larger[:, top // step : (top + height) // step, left // step : (left + width) // step]


def _scaled(maps: Array, size: tuple[int, int]) -> Array:
    """(C, *size): bilinear, half-pixel centres, edges repeated."""
    if maps.shape[1:] == size:
        return maps
    rows, columns = (
        (np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(size, maps.shape[1:], strict=True)
    )
    return sampled(maps, rows, columns)


def _positions(geometry: Floats, cells: tuple[int, ...], values: Mapping[str, Any]) -> tuple[Array, Array]:
    """Rows and columns of the cells under the middles of the source's pixels; edges are repeated."""
    network = values["size"]
    across = _axis(int(geometry[1]), geometry[3], geometry[5], network[0], cells[-1])
    down = _axis(int(geometry[2]), geometry[4], geometry[6], network[1], cells[-2])
    return down, across


def _axis(pixels: int, scale: float, pad: float, network: int, cells: int) -> Array:
    ratio = cells / network
    first = max(int(np.floor(pad * ratio + 1e-3)), 0)
    last = min(int(np.ceil((pad + scale * pixels) * ratio - 1e-3)) - 1, cells - 1)
    middles = ((np.arange(pixels) + 0.5) * scale + pad) * ratio - 0.5
    return np.asarray(np.clip(middles, first, max(first, last)), np.float64)


def _inside(boxes: Array, geometry: Floats) -> NDArray[np.bool_]:
    """Pixels at whole numbers; left and top belong to a box, right and bottom do not."""
    x, y = np.arange(int(geometry[1])), np.arange(int(geometry[2]))
    across = (x >= boxes[:, 0:1]) & (x < boxes[:, 2:3])
    down = (y >= boxes[:, 1:2]) & (y < boxes[:, 3:4])
    return np.asarray(down[:, :, None] & across[:, None, :])
