# SPDX-License-Identifier: Apache-2.0
"""training.png: the curves of a run above examples of what the exported network says of held-out pictures."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from sightline.builders.train.loop import History

Colour = tuple[int, int, int]
SHOWN_SCORE = 0.35
_LOSS: Colour = (30, 90, 180)
_SCORE: Colour = (190, 50, 40)
_GREY: Colour = (60, 60, 60)
PALETTE: tuple[Colour, ...] = (
    (255, 82, 82), (255, 171, 64), (255, 234, 0), (118, 255, 3), (29, 233, 182), (64, 196, 255),
    (68, 138, 255), (224, 64, 251), (255, 64, 129), (198, 255, 0), (255, 255, 255),
)  # fmt: skip


def write_text(
    image: np.ndarray, text: str, at: tuple[int, int], colour: Colour, scale: float = 0.42
) -> None:
    """A line of small text."""
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def curves(history: History, score_name: str, size: tuple[int, int]) -> np.ndarray:
    """Loss and held-out score (0..1) over minutes, (H, W, 3) uint8 RGB of size (width, height)."""
    width, height = size
    image = np.full((height, width, 3), 255, np.uint8)
    left, right, top, bottom = 60, width - 60, 40, height - 40
    end = max([t for t, _ in history.losses + history.scores] + [1.0])
    peak = max([v for _, v in history.losses] + [1e-6])
    for i in range(5):
        x, y = round(left + (right - left) * i / 4), round(bottom - (bottom - top) * i / 4)
        cv2.line(image, (left, y), (right, y), (225, 225, 225), 1)
        write_text(image, f"{peak * i / 4:.1f}", (14, y + 4), _LOSS)
        write_text(image, f"{i / 4:.2f}", (right + 10, y + 4), _SCORE)
        write_text(image, f"{end * i / 240:.1f} min", (x - 16, bottom + 18), _GREY)
    for points, scale, colour in ((history.losses, peak, _LOSS), (history.scores, 1.0, _SCORE)):
        line = [
            [left + (right - left) * t / end, bottom - (bottom - top) * min(max(v / scale, 0.0), 1.0)]
            for t, v in points
        ]
        if line:
            fixed = np.array(line).round().astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(image, [fixed], False, colour, 2, cv2.LINE_AA)
            if len(line) <= 20:
                for x, y in fixed[:, 0].tolist():
                    cv2.circle(image, (x, y), 4, colour, -1, cv2.LINE_AA)
    write_text(image, "training loss", (left, 24), _LOSS)
    write_text(image, f"held-out {score_name}", (left + 150, 24), _SCORE)
    return image


def write_sheet(
    path: Path, history: History, score_name: str, examples: np.ndarray, most_bytes: int = 300_000
) -> None:
    """Curves above the examples (H, W, 3) uint8 RGB, as a PNG of at most most_bytes, in one rename."""
    picture = np.vstack([curves(history, score_name, (examples.shape[1], 300)), examples])
    coded = b""
    for scale in (1.0, 0.8, 0.65, 0.5, 0.4, 0.3):
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        coded = _palette_png(small)
        if len(coded) <= most_bytes:
            break
    partial = path.with_suffix(".partial")
    partial.write_bytes(coded)
    os.replace(partial, path)


def _palette_png(image: np.ndarray) -> bytes:
    """PNG with colours rounded to 4 bits a channel, which compresses far better."""
    rounded = (image // 16) * 17
    return bytes(
        cv2.imencode(".png", cv2.cvtColor(rounded, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    )


def tiled(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size in rows; what is missing in the last row is white."""
    blank = np.full_like(tiles[0], 255)
    filled = tiles + [blank] * (-len(tiles) % columns)
    return np.vstack([np.hstack(filled[i : i + columns]) for i in range(0, len(filled), columns)])


def boxes_drawn(picture: np.ndarray, found: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Boxes and names of rows [x0, y0, x1, y1, score, class] on a picture (H, W, 3) at twice its size."""
    image = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for x0, y0, x1, y1, score, kind in found:
        if score < SHOWN_SCORE:
            continue
        colour = PALETTE[int(kind) % len(PALETTE)]
        cv2.rectangle(image, (int(x0 * 2), int(y0 * 2)), (int(x1 * 2), int(y1 * 2)), colour, 1, cv2.LINE_AA)
        write_text(image, classes[int(kind)], (int(x0 * 2), int(y0 * 2) - 3), colour, 0.36)
    return image


def masks_drawn(picture: np.ndarray, masks: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) with the masks (N, H, W) of confident rows laid over it."""
    image = picture.astype(np.float32)
    for number, (mask, row) in enumerate(zip(masks, rows, strict=True)):
        if row[4] >= SHOWN_SCORE:
            colour = np.array(PALETTE[number % len(PALETTE)], np.float32)
            image[mask] += 0.55 * (colour - image[mask])
    return image.astype(np.uint8)


def classes_drawn(picture: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """The picture beside its class map, (H, 2 W, 3), with the names in their colours on the map."""
    colours = class_colours(len(classes))
    chart = colours[labels]
    pair = np.ascontiguousarray(np.hstack([picture, chart]))
    for i, name in enumerate(classes):
        at = (picture.shape[1] + 4 + 96 * (i % 4), picture.shape[0] - 6 - 12 * (i // 4))
        write_text(pair, name, at, (0, 0, 0), 0.34)
        write_text(pair, name, (at[0] - 1, at[1] - 1), tuple(colours[i].tolist()), 0.34)
    return pair


def class_colours(count: int) -> np.ndarray:
    """Colours (count, 3) uint8 that are far apart."""
    hues = (np.arange(count) * 67 % 180).astype(np.uint8)
    light = np.array([255, 190, 140], np.uint8)[np.arange(count) % 3]
    hsv = np.stack([hues, np.full(count, 170, np.uint8), light], 1)[None]
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0])


def labelled(picture: np.ndarray, text: str, right: bool, side: int = 96) -> np.ndarray:
    """A picture of side x side pixels above a line of text, green where it is right, red where not."""
    tile = np.full((side + 14, side + 4, 3), 255, np.uint8)
    tile[:side, 2:-2] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    write_text(tile, text[:16], (2, side + 10), (20, 120, 40) if right else (200, 20, 20), 0.3)
    return tile
