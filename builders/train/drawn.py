# SPDX-License-Identifier: Apache-2.0
"""Drawn cut-outs for the classifier and the embedder, made by worker processes and kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from sightline.builders.train.classify import Labelled
from sightline.builders.train.dataset import HELD_OUT_FIRST_SEED, RenderPlan
from sightline.scenes import CLASS_NAMES, Scene
from sightline.scenes.portraits import identity, letterboxed_portrait, portrait
from sightline.scenes.sign_crops import CROP_NAMES, sign_crop, street_pictures

SIGN_SIZE, PORTRAIT_SIZE = (64, 64), (96, 96)
_CHUNK = 250
_LEAST_SIDE, _LEAST_VISIBLE = 36.0, 0.6
_SIGN_MARGIN = 0.12
SIGNS_OF_CLASS: dict[str, tuple[str, ...]] = {
    "stop_sign": ("stop",),
    "yield_sign": ("yield",),
    "crossing_sign": ("pedestrian_crossing",),
    "speed_limit_sign": tuple(n for n in CROP_NAMES if n.startswith("speed_limit")),
}
"""What the classifier may answer to a sign of a scene, whose speed the scene does not tell."""


@dataclass(frozen=True)
class CropPlan:
    """Which cut-outs to draw: `views` of each of `things` signs or identities, before streets of other seeds."""

    kind: Literal["signs", "portraits"]
    first_seed: int
    first_street: int
    streets: int
    things: int
    views: int

    @property
    def count(self) -> int:
        """How many cut-outs there are."""
        return self.things * self.views

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a cut-out."""
        return SIGN_SIZE if self.kind == "signs" else PORTRAIT_SIZE

    def kinds(self) -> np.ndarray:
        """The class or identity of each cut-out, (count,) int64."""
        places = np.arange(self.count, dtype=np.int64)
        return places % self.things if self.kind == "signs" else places // self.views


SIGNS = (
    CropPlan("signs", 1000, 1000, 70, len(CROP_NAMES), 1100),
    CropPlan("signs", HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED, 24, len(CROP_NAMES), 150),
)
PORTRAITS = (
    CropPlan("portraits", 1000, 3000, 16, 500, 8),
    CropPlan("portraits", HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + 100, 12, 150, 6),
)
VIEWS = (RenderPlan(1000, 120, 8, 0.25), RenderPlan(HELD_OUT_FIRST_SEED, 60, 4, 1.0))
"""What the shipped models are trained on, and what they are measured on."""


@lru_cache(maxsize=1)
def _streets(first: int, count: int) -> list[np.ndarray]:
    return street_pictures(first, count)


def _draw(plan: CropPlan, start: int, stop: int) -> np.ndarray:
    """Cut-outs start to stop, (N, H, W, 3) uint8."""
    behind, kinds = _streets(plan.first_street, plan.streets), plan.kinds()
    images = np.empty((stop - start, plan.size[1], plan.size[0], 3), np.uint8)
    for i in range(start, stop):
        if plan.kind == "signs":
            rng = np.random.default_rng([plan.first_seed, i, 71])
            images[i - start] = sign_crop(CROP_NAMES[int(kinds[i])], behind, rng, plan.size[0])
        else:
            rng = np.random.default_rng([plan.first_seed, i, 89])
            who = identity(plan.first_seed + int(kinds[i]))
            images[i - start] = portrait(who, behind, rng, plan.size[0])
    return images


def render_crops(
    folder: Path, plan: CropPlan, workers: int, progress: Callable[[int, int], None]
) -> Labelled:
    """Draw a plan into `folder` (images.npy and plan.json), or reuse what is there."""
    done = folder / "plan.json"
    if not (done.exists() and json.loads(done.read_text()) == asdict(plan)):
        folder.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        shape = (plan.count, plan.size[1], plan.size[0], 3)
        images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
        starts = list(range(0, plan.count, _CHUNK))
        stops = [min(s + _CHUNK, plan.count) for s in starts]
        # spawn: a forked child inherits OpenCV's locked thread pool and hangs
        pool = (
            ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,))
            if workers > 1
            else None
        )
        try:
            drawn = (pool.map if pool else map)(_draw, [plan] * len(starts), starts, stops)
            for start, stop, part in zip(starts, stops, drawn, strict=True):
                images[start:stop] = part
                progress(stop, plan.count)
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)
        images.flush()
        done.write_text(json.dumps(asdict(plan)))
    return Labelled(np.load(folder / "images.npy", mmap_mode="r"), plan.kinds())


@dataclass(frozen=True)
class SceneCrops:
    """Objects cut out of whole scenes: images (N, H, W, 3) uint8, class of each, and who it is."""

    images: np.ndarray
    classes: np.ndarray
    ids: np.ndarray


def scene_crops(first_seed: int, scenes: int, frames: int, kind: Literal["signs", "portraits"]) -> SceneCrops:
    """Signs, or vehicles and people, of whole drawn scenes at 1280x720, as a detector would cut them out."""
    images, classes, ids = [], [], []
    for seed in range(first_seed, first_seed + scenes):
        scene = Scene(seed)
        for index in range(frames):
            picture, truth = scene.frame(0.7 + 1.3 * index)
            for box, number, visible, who in zip(
                truth.boxes, truth.classes, truth.visible, truth.ids, strict=True
            ):
                name = CLASS_NAMES[int(number)]
                side = float(max(box[2] - box[0], box[3] - box[1]))
                wanted = name in SIGNS_OF_CLASS if kind == "signs" else not name.endswith(("sign", "light"))
                if wanted and side >= (16 if kind == "signs" else _LEAST_SIDE) and visible >= _LEAST_VISIBLE:
                    images.append(_cut(picture, box, kind))
                    classes.append(int(number))
                    ids.append((seed - first_seed) * 1_000_000 + int(who))
    side = SIGN_SIZE[0] if kind == "signs" else PORTRAIT_SIZE[0]
    stack = np.stack(images) if images else np.zeros((0, side, side, 3), np.uint8)
    return SceneCrops(stack, np.array(classes, np.int64), np.array(ids, np.int64))


def _cut(picture: np.ndarray, box: np.ndarray, kind: str) -> np.ndarray:
    height, width = picture.shape[:2]
    if kind == "signs":
        box = box + np.tile(box[2:] - box[:2], 2) * _SIGN_MARGIN * (-1, -1, 1, 1)
    x0, y0 = np.clip(np.floor(box[:2]), 0, (width - 2, height - 2)).astype(int)
    x1, y1 = np.maximum(np.clip(np.ceil(box[2:]), 0, (width, height)).astype(int), (x0 + 2, y0 + 2))
    part = picture[y0:y1, x0:x1]
    if kind == "signs":
        return cv2.resize(part, SIGN_SIZE, interpolation=cv2.INTER_LINEAR)
    return letterboxed_portrait(part, PORTRAIT_SIZE[0])
