# SPDX-License-Identifier: Apache-2.0
"""The kernels of sightline.preprocess_ext once more, in plain numpy, slow and easy to read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.frame import ColourSpace, Frame, PixelFormat, frame_bytes

Array = NDArray[np.float64]


def random_frame(
    rng: np.random.Generator,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    colour: ColourSpace = ColourSpace.BT601_LIMITED,
) -> Frame:
    data = rng.integers(0, 256, frame_bytes(width, height, pixel_format), dtype=np.uint8)
    return Frame(data, width, height, pixel_format, colour)


def fit(source: tuple[int, int], network: tuple[int, int], resize: str) -> tuple[int, int, int, int]:
    """Resized width and height, left and top padding (below 0: cut away); sizes are (width, height)."""
    if resize == "stretch":
        return (*network, 0, 0)
    if resize == "centre_crop":
        return _cover(source, network)
    ratio = min(network[0] / source[0], network[1] / source[1])
    size = [max(round(side * ratio), 1) for side in source]
    if resize == "letterbox_corner":
        return size[0], size[1], 0, 0
    pad = [max(round((outer - inner) / 2 - 0.1), 0) for outer, inner in zip(network, size, strict=True)]
    return size[0], size[1], pad[0], pad[1]


def _cover(source: tuple[int, int], network: tuple[int, int]) -> tuple[int, int, int, int]:
    """torchvision's Resize and CenterCrop, for a square input exactly."""
    if source[0] * network[1] <= source[1] * network[0]:
        width, height = network[0], network[0] * source[1] // source[0]
    else:
        width, height = network[1] * source[0] // source[1], network[1]
    return width, height, -round((width - network[0]) / 2), -round((height - network[1]) / 2)


def bilinear(plane: Array, width: int, height: int, ratio_x: float, ratio_y: float) -> Array:
    """Half-pixel centres, replicated edges; plane: (rows, columns) or (rows, columns, channels)."""

    def taps(count: int, ratio: float, samples: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        centre = np.clip((np.arange(count) + 0.5) * ratio - 0.5, 0, samples - 1)
        low = np.floor(centre).astype(np.int64)
        return low, np.minimum(low + 1, samples - 1), centre - low

    rows, columns = taps(height, ratio_y, plane.shape[0]), taps(width, ratio_x, plane.shape[1])
    extra = (1,) * (plane.ndim - 2)
    down = rows[2].reshape(-1, 1, *extra)
    mixed = plane[rows[0]] * (1 - down) + plane[rows[1]] * down
    across = columns[2].reshape(1, -1, *extra)
    return mixed[:, columns[0]] * (1 - across) + mixed[:, columns[1]] * across


def rgb_from_yuv(yuv: Array, colour: ColourSpace) -> Array:
    """(rows, columns, 3) levels; BT.601-7, BT.709-6, JFIF, through the inverse of the forward matrix."""
    red, blue = (0.299, 0.114) if colour.name.startswith("BT601") else (0.2126, 0.0722)
    green = 1 - red - blue
    forward = np.array([[red, green, blue], [-red, -green, 1 - blue], [1 - red, -green, -blue]])
    forward[1] /= 2 * (1 - blue)
    forward[2] /= 2 * (1 - red)
    limited = colour.name.endswith("LIMITED")
    luma = (yuv[..., 0] - 16) / 219 if limited else yuv[..., 0] / 255
    chroma = (yuv[..., 1:] - 128) / (224 if limited else 255)
    signal = np.concatenate([luma[..., None], chroma], axis=-1)
    return np.clip(signal @ np.linalg.inv(forward).T * 255, 0, 255)


def letterbox(
    frame: Frame,
    network: tuple[int, int],
    *,
    resize: str = "letterbox",
    colour: str = "rgb",
    mean: tuple[float, ...] = (0, 0, 0),
    std: tuple[float, ...] = (255, 255, 255),
    pad_value: float = 114,
) -> Array:
    """(3, height, width) of the network's input; `network` is (width, height)."""
    width, height, left, top = fit((frame.width, frame.height), network, resize)
    levels = np.full((network[1], network[0], 3), float(pad_value))
    shown = _resized_rgb(frame, width, height)[max(-top, 0) :, max(-left, 0) :]
    shown = shown[: network[1] - max(top, 0), : network[0] - max(left, 0)]
    levels[max(top, 0) :, max(left, 0) :][: shown.shape[0], : shown.shape[1]] = shown
    if colour == "bgr":
        levels = levels[..., ::-1]
    return np.moveaxis((levels - mean) / std, 2, 0)


def _resized_rgb(frame: Frame, width: int, height: int) -> Array:
    ratio = frame.width / width, frame.height / height
    data = frame.data[: frame_bytes(frame.width, frame.height, frame.pixel_format)].astype(np.float64)
    if frame.pixel_format in (PixelFormat.RGB, PixelFormat.BGR):
        image = bilinear(data.reshape(frame.height, frame.width, 3), width, height, *ratio)
        return image if frame.pixel_format is PixelFormat.RGB else image[..., ::-1]
    rows, columns = (frame.height + 1) // 2, (frame.width + 1) // 2
    luma, chroma = np.split(data, [frame.width * frame.height])
    if frame.pixel_format is PixelFormat.I420:
        uv = np.moveaxis(chroma.reshape(2, rows, columns), 0, 2)
    else:
        uv = chroma.reshape(rows, columns, 2)
    y = bilinear(luma.reshape(frame.height, frame.width), width, height, *ratio)
    halves = bilinear(uv, width, height, ratio[0] / 2, ratio[1] / 2)
    return rgb_from_yuv(np.concatenate([y[..., None], halves], axis=-1), frame.colour)


def nms(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], classes: NDArray[np.int32], iou: float
) -> list[int]:
    """torchvision.ops.batched_nms, box by box, in float32 with the operations in its order."""
    kept: list[int] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = [
        int(i)
        for i in np.argsort(-scores, kind="stable")
        if np.isfinite(scores[i]) and np.isfinite(boxes[i]).all()
    ]
    alive = np.ones(len(scores), dtype=bool)
    for position, best in enumerate(order):
        if not alive[best]:
            continue
        kept.append(best)
        rest = np.array(order[position + 1 :], dtype=np.int64)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        inter = np.prod(np.maximum(high - low, np.float32(0)), axis=1, dtype=np.float32)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            overlap = inter / (area[best] + area[rest] - inter)
        alive[rest[(overlap.astype(np.float64) > iou) & (classes[rest] == classes[best])]] = False
    return kept


def decode_yolov8(
    raw: NDArray[np.float32], geometry: NDArray[np.float32], score: float, iou: float, most: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Boxes, scores and classes of one raw head output."""
    rows = np.where(np.isnan(raw[4:]), -np.inf, raw[4:])
    classes = rows.argmax(axis=0).astype(np.int32)
    scores = rows.max(axis=0).astype(np.float32)
    centre, half = raw[:2].T, raw[2:4].T * np.float32(0.5)
    with np.errstate(invalid="ignore", over="ignore"):
        boxes = np.concatenate([centre - half, centre + half], axis=1)
    candidates = np.flatnonzero(scores >= np.float32(score))
    kept = candidates[nms(boxes[candidates], scores[candidates], classes[candidates], iou)][:most]
    source = (boxes[kept] - np.tile(geometry[5:7], 2)) / np.tile(geometry[3:5], 2)
    return np.clip(source, 0, np.tile(geometry[1:3], 2)), scores[kept], classes[kept]
