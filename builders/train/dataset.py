# SPDX-License-Identifier: Apache-2.0
"""Rendered training data: scenes drawn by worker processes into one memory-mapped array on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from sightline.scenes import Scene

INPUT_SIZE = (384, 224)
PICTURE_SIZE = (384, 216)
PAD_ROWS = (INPUT_SIZE[1] - PICTURE_SIZE[1]) // 2
PAD_VALUE = 114
HELD_OUT_FIRST_SEED = 9_000_000
"""Training seeds lie below this one, held-out seeds from it on."""
MAX_OBJECTS = 64
_STEP_SECONDS = 3.7


@dataclass(frozen=True)
class RenderPlan:
    """Which frames to draw. full_share: share of seeds drawn at 1280x720 and scaled down as a server does."""

    first_seed: int
    seeds: int
    frames_per_seed: int
    full_share: float


def frame_of(seed: int, scene: Scene, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture (216, 384, 3) uint8 RGB, objects (N, 5) float32 [class, xyxy], and ignored boxes (M, 4)."""
    image, truth = scene.frame(0.5 + index * _STEP_SECONDS + (seed % 97) * 0.11)
    scale = np.float32(PICTURE_SIZE[0] / image.shape[1])
    if image.shape[1] == 2 * PICTURE_SIZE[0]:
        image = (
            image[::2, ::2] if seed % 5 < 2 else cv2.resize(image, PICTURE_SIZE, interpolation=cv2.INTER_AREA)
        )
    elif image.shape[1] != PICTURE_SIZE[0]:
        image = cv2.resize(image, PICTURE_SIZE, interpolation=cv2.INTER_LINEAR)
    objects = np.concatenate([truth.classes[:, None].astype(np.float32), truth.boxes * scale], 1)
    return image, objects, truth.ignore * scale


def _render_seed(seed: int, frames: int, full: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scene = Scene(seed, size=(1280, 720) if full else (2 * PICTURE_SIZE[0], 2 * PICTURE_SIZE[1]))
    images = np.empty((frames, PICTURE_SIZE[1], PICTURE_SIZE[0], 3), np.uint8)
    objects = np.full((frames, MAX_OBJECTS, 5), -1, np.float32)
    ignored = np.full((frames, MAX_OBJECTS, 4), -1, np.float32)
    for i in range(frames):
        images[i], found, hidden = frame_of(seed, scene, i)
        objects[i, : len(found)] = found[:MAX_OBJECTS]
        ignored[i, : len(hidden)] = hidden[:MAX_OBJECTS]
    return images, objects, ignored


def render(
    folder: Path, plan: RenderPlan, workers: int, progress: Callable[[int, int], None]
) -> RenderedScenes:
    """Draw a plan into `folder` (three .npy files and plan.json), or reuse what is there."""
    done = folder / "plan.json"
    if done.exists() and json.loads(done.read_text()) == asdict(plan):
        return RenderedScenes(folder)
    folder.mkdir(parents=True, exist_ok=True)
    count, per = plan.seeds * plan.frames_per_seed, plan.frames_per_seed
    shape = (count, PICTURE_SIZE[1], PICTURE_SIZE[0], 3)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    objects = np.full((count, MAX_OBJECTS, 5), -1, np.float32)
    ignored = np.full((count, MAX_OBJECTS, 4), -1, np.float32)
    seeds = [plan.first_seed + i for i in range(plan.seeds)]
    full = [(i * plan.full_share) % 1.0 >= 1.0 - plan.full_share for i in range(plan.seeds)]
    # spawn: a forked child inherits OpenCV's locked thread pool and hangs
    pool = (
        ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) if workers > 1 else None
    )
    try:
        drawn = (pool.map if pool else map)(_render_seed, seeds, [per] * len(seeds), full)
        for i, (pictures, found, hidden) in enumerate(drawn):
            images[i * per : (i + 1) * per] = pictures
            objects[i * per : (i + 1) * per] = found
            ignored[i * per : (i + 1) * per] = hidden
            progress(i + 1, plan.seeds)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    images.flush()
    np.save(folder / "objects.npy", objects)
    np.save(folder / "ignored.npy", ignored)
    done.write_text(json.dumps(asdict(plan)))
    return RenderedScenes(folder)


class RenderedScenes:
    """Frames on disk: images (N, 216, 384, 3) uint8, objects (N, M, 5), ignored (N, M, 4), M = MAX_OBJECTS.

    Rows of -1 are empty.
    """

    def __init__(self, folder: Path) -> None:
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        self.objects = np.load(folder / "objects.npy")
        self.ignored = np.load(folder / "ignored.npy")

    def __len__(self) -> int:
        return len(self.images)

    def truth(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Objects (N, 5) and ignored boxes (M, 4) of a frame, in picture pixels."""
        found, hidden = self.objects[index], self.ignored[index]
        return found[found[:, 0] >= 0], hidden[hidden[:, 2] > 0]


def letterboxed(picture: np.ndarray) -> np.ndarray:
    """A picture (216, 384, 3) padded to the network's input (224, 384, 3), uint8."""
    return cv2.copyMakeBorder(picture, PAD_ROWS, PAD_ROWS, 0, 0, cv2.BORDER_CONSTANT, value=(PAD_VALUE,) * 3)


def augment(
    picture: np.ndarray, found: np.ndarray, hidden: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale and crop jitter, colour, gain, blur and compression.

    No flips: signs carry text and traffic keeps right.
    """
    width, height = PICTURE_SIZE
    if rng.random() < 0.6:
        zoom = float(np.exp(rng.uniform(-0.18, 0.3)))
        spare_x, spare_y = width * (1 - zoom), height * (1 - zoom)
        shift = np.array(
            [rng.uniform(min(spare_x, 0), max(spare_x, 0)), rng.uniform(min(spare_y, 0), max(spare_y, 0))]
        )
        matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
        flags = cv2.INTER_LINEAR
        picture = cv2.warpAffine(picture, matrix, PICTURE_SIZE, flags=flags, borderValue=(PAD_VALUE,) * 3)
        found, hidden = found.copy(), hidden.copy()
        before = (found[:, 3] - found[:, 1]) * (found[:, 4] - found[:, 2]) * zoom * zoom
        for boxes in (found[:, 1:], hidden):
            boxes *= zoom
            boxes += np.tile(shift, 2).astype(np.float32)
            np.clip(boxes, 0, (width, height, width, height), out=boxes)
        after = (found[:, 3] - found[:, 1]) * (found[:, 4] - found[:, 2])
        keep = (after > 0.3 * before) & (
            np.maximum(found[:, 3] - found[:, 1], found[:, 4] - found[:, 2]) >= 5.5
        )
        lost = found[~keep, 1:]
        hidden = np.concatenate([hidden, lost])
        hidden = hidden[(hidden[:, 2] - hidden[:, 0] > 1) & (hidden[:, 3] - hidden[:, 1] > 1)]
        found = found[keep]
    return _degrade(picture, rng), found, hidden


def _degrade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.6:
        gain = rng.uniform(0.75, 1.25) * rng.uniform(0.94, 1.06, 3)
        table = np.clip(
            255 * (np.arange(256) / 255.0)[:, None] ** rng.uniform(0.8, 1.25) * gain, 0, 255
        ).astype(np.uint8)
        picture = cv2.LUT(np.ascontiguousarray(picture), table[:, None].reshape(256, 1, 3))
    if rng.random() < 0.12:
        picture = cv2.blur(picture, ((3, 1), (1, 3), (2, 2))[int(rng.integers(3))])
    if rng.random() < 0.3:
        coded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))))[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return picture


Batch = tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]


def batches(data: RenderedScenes, size: int, seed: int) -> Iterator[Batch]:
    """Endless augmented batches: images (B, 224, 384, 3) uint8, objects and ignored boxes in input pixels."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(data))
        for start in range(0, len(order) - size + 1, size):
            images = np.empty((size, INPUT_SIZE[1], INPUT_SIZE[0], 3), np.uint8)
            found_all, hidden_all = [], []
            for slot, index in enumerate(order[start : start + size]):
                picture, found, hidden = augment(np.asarray(data.images[index]), *data.truth(int(index)), rng)
                images[slot] = letterboxed(picture)
                found_all.append(found + np.array([0, 0, PAD_ROWS, 0, PAD_ROWS], np.float32))
                hidden_all.append(hidden + np.array([0, PAD_ROWS, 0, PAD_ROWS], np.float32))
            yield images, found_all, hidden_all
