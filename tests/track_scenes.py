# SPDX-License-Identifier: Apache-2.0
"""Detections of drawn scenes: objects that move, cross, hide, come and go, as a detector would see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.preprocess_ext import ByteTrack, Sort
from sightline.results import Detections

GRID = 8
"""Boxes lie on eighths of a pixel and scores on 1/4096, so that they are stored in 16 bits without loss."""


@dataclass(frozen=True)
class Scene:
    """How a scene is drawn. Chances are per object and frame; noise in pixels (standard deviation)."""

    objects: int
    frames: int
    seed: int
    size: tuple[int, int] = (1280, 720)
    speed: float = 6.0
    noise: float = 1.0
    hide: float = 0.0  # begins to hide, for up to hide_frames
    hide_frames: int = 20
    die: float = 0.0  # leaves; another object comes
    low: float = 0.0  # seen with a low score
    double: float = 0.0  # seen twice
    false: float = 0.0  # mean number of detections of nothing in a frame
    empty: float = 0.0  # begins a stretch of up to 40 frames in which nothing is seen


def draw(scene: Scene) -> list[Detections]:
    """One `Detections` a frame."""
    rng = np.random.default_rng(scene.seed)
    size = np.array(scene.size, float)
    at, step, half = _born(rng, scene, scene.objects)
    hidden = np.zeros(scene.objects, int)
    dark, frames = 0, []
    for _ in range(scene.frames):
        at += step
        step = np.where((at < 0) | (at > size), -step, step)
        gone = rng.random(scene.objects) < scene.die
        at[gone], step[gone], half[gone] = _born(rng, scene, int(gone.sum()))
        hidden = np.maximum(hidden - 1, 0)
        starts = (hidden == 0) & (rng.random(scene.objects) < scene.hide)
        hidden[starts] = rng.integers(1, scene.hide_frames + 1, int(starts.sum()))
        dark = max(dark - 1, 0)
        if dark == 0 and rng.random() < scene.empty:
            dark = int(rng.integers(1, 41))
        frames.append(_seen(rng, scene, at, half, (hidden == 0) & (dark == 0), dark > 0))
    return frames


def _born(rng: np.random.Generator, scene: Scene, count: int) -> tuple[NDArray[np.float64], ...]:
    at = rng.uniform(0, 1, (count, 2)) * scene.size
    step = rng.normal(0, scene.speed / 2, (count, 2))
    height = rng.uniform(30, 120, count)
    half = np.stack([height * rng.uniform(0.4, 1.5, count), height], 1) / 2
    return at, step, half


def _seen(
    rng: np.random.Generator,
    scene: Scene,
    at: NDArray[np.float64],
    half: NDArray[np.float64],
    shown: NDArray[np.bool_],
    dark: bool,
) -> Detections:
    rows = np.flatnonzero(shown)
    rows = np.concatenate([rows, rows[rng.random(len(rows)) < scene.double]])
    false = 0 if dark else int(rng.poisson(scene.false))
    centre, extent, _ = _born(rng, scene, false)
    centre = np.concatenate([at[rows], centre])
    extent = np.concatenate([half[rows], np.abs(extent) * 5 + 5])
    jitter = rng.normal(0, scene.noise, (len(centre), 4))
    boxes = np.concatenate([centre - extent, centre + extent], 1) + jitter
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
    scores = rng.uniform(0.5, 0.98, len(boxes))
    low = rng.random(len(boxes)) < scene.low
    scores[low] = rng.uniform(0.05, 0.5, int(low.sum()))
    order = rng.permutation(len(boxes))
    return Detections(
        (np.round(boxes[order] * GRID) / GRID).astype(np.float32),
        (np.round(scores[order] * 4096) / 4096).astype(np.float32),
        rng.integers(0, 5, len(boxes)).astype(np.int32),
    )


SCENES: dict[str, Scene] = {
    "crossing": Scene(25, 100, 1, size=(400, 300), speed=8),
    "hiding": Scene(30, 150, 2, hide=0.03, hide_frames=50, speed=4),
    "births_deaths": Scene(40, 110, 3, die=0.03, false=2.0, noise=2.0, hide=0.05, hide_frames=4),
    "empty": Scene(15, 160, 4, empty=0.05, hide=0.02),
    "low_scores": Scene(30, 110, 5, low=0.5, hide=0.02, size=(900, 600), noise=2.0),
    "double": Scene(25, 110, 6, double=0.1, hide=0.1, hide_frames=6, low=0.1, size=(500, 400), noise=3.0),
    "hundred": Scene(100, 50, 7, hide=0.02, die=0.005, low=0.1, false=1.0),
}
BYTE_OPTIONS: dict[str, ByteTrack] = {
    "crossing": ByteTrack(),
    "hiding": ByteTrack(),
    "births_deaths": ByteTrack(high_score=0.5, new_score=0.6, match_cost=0.9, buffer_frames=5),
    "empty": ByteTrack(buffer_frames=10),
    "low_scores": ByteTrack(high_score=0.45, new_score=0.5, fuse_score=False),
    "double": ByteTrack(match_cost=0.95, buffer_frames=2),
    "hundred": ByteTrack(),
}
SORT_OPTIONS: dict[str, Sort] = {
    "crossing": Sort(),
    "hiding": Sort(max_age=20),
    "births_deaths": Sort(max_age=3, min_hits=2),
    "empty": Sort(max_age=30, min_hits=1),
    "low_scores": Sort(max_age=5, iou=0.2),
    "double": Sort(max_age=3, min_hits=0, iou=0.5),
    "hundred": Sort(max_age=2),
}
