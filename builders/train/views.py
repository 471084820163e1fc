# SPDX-License-Identifier: Apache-2.0
"""Drawn street scenes with what each pixel shows: training data of the segmenters."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from sightline.builders.train.dataset import (
    MAX_OBJECTS,
    PICTURE_SIZE,
    RenderedScenes,
    RenderPlan,
    Sample,
    frame_seconds,
    shrunk,
)
from sightline.scenes import Scene, SceneView

_ROWS, _COLS = PICTURE_SIZE[1], PICTURE_SIZE[0]


def shrunk_labels(labels: np.ndarray) -> np.ndarray:
    """Labels (H, W) at the size of the pictures, the middle of each cell."""
    rows = ((np.arange(_ROWS) + 0.5) * labels.shape[0] / _ROWS).astype(int)
    cols = ((np.arange(_COLS) + 0.5) * labels.shape[1] / _COLS).astype(int)
    return np.asarray(labels[rows][:, cols])


def _scaled(seed: int, view: SceneView) -> tuple[np.ndarray, ...]:
    """Picture, owners, surfaces, objects (N, 5) and ignored boxes (M, 4) at the size of the pictures."""
    truth, scale = view.truth, np.float32(PICTURE_SIZE[0] / view.image.shape[1])
    objects = np.concatenate([truth.classes[:, None].astype(np.float32), truth.boxes * scale], 1)
    return (
        shrunk(view.image, seed), shrunk_labels(view.owners), shrunk_labels(view.surfaces), objects,
        truth.ignore * scale,
    )  # fmt: skip


def _render_seed(seed: int, frames: int, full: bool) -> tuple[np.ndarray, ...]:
    scene = Scene(seed, size=(1280, 720) if full else (2 * PICTURE_SIZE[0], 2 * PICTURE_SIZE[1]))
    images = np.empty((frames, _ROWS, _COLS, 3), np.uint8)
    owners, surfaces = (np.empty((frames, _ROWS, _COLS), np.uint8) for _ in range(2))
    objects = np.full((frames, MAX_OBJECTS, 5), -1, np.float32)
    ignored = np.full((frames, MAX_OBJECTS, 4), -1, np.float32)
    for i in range(frames):
        images[i], owners[i], surfaces[i], found, hidden = _scaled(seed, scene.view(frame_seconds(seed, i)))
        objects[i, : len(found)] = found[:MAX_OBJECTS]
        ignored[i, : len(hidden)] = hidden[:MAX_OBJECTS]
    return images, owners, surfaces, objects, ignored


def render_views(
    folder: Path, plan: RenderPlan, workers: int, progress: Callable[[int, int], None]
) -> RenderedViews:
    """Draw a plan into `folder` (five .npy files and plan.json), or reuse what is there."""
    done = folder / "plan.json"
    if done.exists() and json.loads(done.read_text()) == asdict(plan):
        return RenderedViews(folder)
    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    count, per = plan.seeds * plan.frames_per_seed, plan.frames_per_seed
    shapes = {
        "images": ((count, _ROWS, _COLS, 3), np.uint8),
        "owners": ((count, _ROWS, _COLS), np.uint8),
        "surfaces": ((count, _ROWS, _COLS), np.uint8),
        "objects": ((count, MAX_OBJECTS, 5), np.float32),
        "ignored": ((count, MAX_OBJECTS, 4), np.float32),
    }
    arrays = [
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape)
        for name, (shape, kind) in shapes.items()
    ]
    seeds = [plan.first_seed + i for i in range(plan.seeds)]
    full = [(i * plan.full_share) % 1.0 >= 1.0 - plan.full_share for i in range(plan.seeds)]
    # spawn: a forked child inherits OpenCV's locked thread pool and hangs
    pool = (
        ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) if workers > 1 else None
    )
    try:
        drawn = (pool.map if pool else map)(_render_seed, seeds, [per] * len(seeds), full)
        for i, parts in enumerate(drawn):
            for array, part in zip(arrays, parts, strict=True):
                array[i * per : (i + 1) * per] = part
            progress(i + 1, plan.seeds)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    for array in arrays:
        array.flush()
    done.write_text(json.dumps(asdict(plan)))
    return RenderedViews(folder)


class RenderedViews(RenderedScenes):
    """RenderedScenes, and owners and surfaces (N, 216, 384) uint8 as SceneView has them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.owners = np.load(folder / "owners.npy", mmap_mode="r")
        self.surfaces = np.load(folder / "surfaces.npy", mmap_mode="r")

    def sample(self, index: int) -> Sample:
        """A picture and what each of its pixels shows."""
        plain = super().sample(index)
        return replace(
            plain, owners=np.asarray(self.owners[index]), surfaces=np.asarray(self.surfaces[index])
        )
