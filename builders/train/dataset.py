# SPDX-License-Identifier: Apache-2.0
"""Rendered training data: scenes drawn by worker processes into one memory-mapped array on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

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


STREETS = (RenderPlan(1000, 2000, 4, 0.25), RenderPlan(HELD_OUT_FIRST_SEED, 150, 4, 1.0))
"""What the shipped detector is trained on, and what it is measured on. A quarter of the training scenes is drawn at
1280x720 and scaled down as a server does it."""


def frame_seconds(seed: int, index: int) -> float:
    """When the frames of a seed are taken."""
    return 0.5 + index * _STEP_SECONDS + (seed % 97) * 0.11


def shrunk(image: np.ndarray, seed: int) -> np.ndarray:
    """A frame at PICTURE_SIZE: every second pixel or averaged from twice the size, as a server does it from others."""
    if image.shape[1] == 2 * PICTURE_SIZE[0]:
        if seed % 5 < 2:
            return image[::2, ::2]
        return cv2.resize(image, PICTURE_SIZE, interpolation=cv2.INTER_AREA)
    if image.shape[1] != PICTURE_SIZE[0]:
        return cv2.resize(image, PICTURE_SIZE, interpolation=cv2.INTER_LINEAR)
    return image


def frame_of(seed: int, scene: Scene, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture (216, 384, 3) uint8 RGB, objects (N, 5) float32 [class, xyxy], and ignored boxes (M, 4)."""
    image, truth = scene.frame(frame_seconds(seed, index))
    scale = np.float32(PICTURE_SIZE[0] / image.shape[1])
    objects = np.concatenate([truth.classes[:, None].astype(np.float32), truth.boxes * scale], 1)
    return shrunk(image, seed), objects, truth.ignore * scale


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

    def sample(self, index: int) -> Sample:
        """A picture and what is in it."""
        found, hidden = self.truth(index)
        numbered = np.concatenate([found, np.arange(1, len(found) + 1, dtype=np.float32)[:, None]], 1)
        return Sample(np.asarray(self.images[index]), numbered, hidden)


def padding(picture: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Rows above and columns left of a picture (H, W, …) that is centred in size (width, height)."""
    return (size[1] - picture.shape[0]) // 2, (size[0] - picture.shape[1]) // 2


def letterboxed(
    picture: np.ndarray, size: tuple[int, int] = INPUT_SIZE, value: int = PAD_VALUE
) -> np.ndarray:
    """A picture (H, W, 3) or map (H, W), uint8, centred in size (width, height); what is left has `value`."""
    top, left = padding(picture, size)
    bottom, right = size[1] - picture.shape[0] - top, size[0] - picture.shape[1] - left
    return cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(value,) * 3)


@dataclass(frozen=True)
class Sample:
    """A picture in training. Where it has them, owners and surfaces are as in SceneView.

    picture (H, W, 3) uint8; found (N, 6) float32 [class, xyxy, number in owners]; hidden (M, 4) float32 xyxy.
    """

    picture: np.ndarray
    found: np.ndarray
    hidden: np.ndarray
    owners: np.ndarray | None = None
    surfaces: np.ndarray | None = None

    def fitted(self, size: tuple[int, int]) -> Sample:
        """Centred in size (width, height); maps are 0 and IGNORED (255) around it."""
        top, left = padding(self.picture, size)
        shift = np.array([left, top, left, top], np.float32)
        found = self.found.copy()
        found[:, 1:5] += shift
        owners = None if self.owners is None else letterboxed(self.owners, size, 0)
        surfaces = None if self.surfaces is None else letterboxed(self.surfaces, size, 255)
        return Sample(letterboxed(self.picture, size), found, self.hidden + shift, owners, surfaces)


def augment(sample: Sample, rng: np.random.Generator) -> Sample:
    """Scale and crop jitter, colour, gain, blur and compression.

    No flips: signs carry text and traffic keeps right.
    """
    if rng.random() < 0.6:
        height, width = sample.picture.shape[:2]
        zoom = float(np.exp(rng.uniform(-0.18, 0.3)))
        spare_x, spare_y = width * (1 - zoom), height * (1 - zoom)
        shift = np.array(
            [rng.uniform(min(spare_x, 0), max(spare_x, 0)), rng.uniform(min(spare_y, 0), max(spare_y, 0))]
        )
        sample = _zoomed(sample, zoom, shift)
    return replace(sample, picture=degrade(np.ascontiguousarray(sample.picture), rng))


def _zoomed(sample: Sample, zoom: float, shift: np.ndarray) -> Sample:
    """Scaled by zoom and moved by shift (x, y); objects that are mostly cut off or too small do not count."""
    height, width = sample.picture.shape[:2]
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])

    def moved(labels: np.ndarray | None, value: int) -> np.ndarray | None:
        if labels is None:
            return None
        way = cv2.INTER_NEAREST
        return cv2.warpAffine(labels, matrix, (width, height), flags=way, borderValue=(value,) * 3)

    found, hidden = sample.found.copy(), sample.hidden.copy()
    before = (found[:, 3] - found[:, 1]) * (found[:, 4] - found[:, 2]) * zoom * zoom
    for boxes in (found[:, 1:5], hidden):
        boxes *= zoom
        boxes += np.tile(shift, 2).astype(np.float32)
        np.clip(boxes, 0, (width, height, width, height), out=boxes)
    after = (found[:, 3] - found[:, 1]) * (found[:, 4] - found[:, 2])
    larger = np.maximum(found[:, 3] - found[:, 1], found[:, 4] - found[:, 2])
    keep = (after > 0.3 * before) & (larger >= 5.5)
    hidden = np.concatenate([hidden, found[~keep, 1:5]])
    hidden = hidden[(hidden[:, 2] - hidden[:, 0] > 1) & (hidden[:, 3] - hidden[:, 1] > 1)]
    grey = (PAD_VALUE,) * 3
    picture = cv2.warpAffine(
        sample.picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=grey
    )
    owners = moved(sample.owners, 0)
    return Sample(picture, found[keep], hidden, owners, moved(sample.surfaces, 255))


def degrade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sometimes another gain and gamma, a little blur, and compression, of a picture (H, W, 3) uint8."""
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


class Scenes(Protocol):
    """Pictures with their truth by number."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample:
        """A picture and what is in it."""


def batches(
    data: Scenes, size: int, seed: int, shape: tuple[int, int] = INPUT_SIZE
) -> Iterator[list[Sample]]:
    """Endless augmented batches, fitted into shape (width, height)."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(data))
        order = np.resize(order, max(len(order) // size, 1) * size)
        for picks in order.reshape(-1, size):
            yield [augment(data.sample(int(i)), rng).fitted(shape) for i in picks]
