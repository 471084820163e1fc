# SPDX-License-Identifier: Apache-2.0
"""What a detector that does not learn makes of each picture: computed once, kept on disk as fp16."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sightline.builders.train.dataset import Sample, Scenes
from sightline.builders.train.network import StreetDetector

Features = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of the backbone at stride 4, and of the pyramid at strides 8, 16 and 32."""
_BATCH = 8


class OpenTrunk(nn.Module):
    """images (N, 3, H, W) float 0..1 -> Features, boxes (N, 4, A) cxcywh and logits (N, C, A) of a detector."""

    def __init__(self, detector: StreetDetector) -> None:
        super().__init__()
        self.detector = detector

    def features(self, images: Tensor) -> Features:
        """What the branches begin with."""
        p4, p8, p16, p32 = self.detector.encode(images)
        return (p4, *self.detector.pyramid(p8, p16, p32))

    def forward(self, images: Tensor) -> tuple[Features, Tensor, Tensor]:
        features = self.features(images)
        return (features, *self.detector.decode(features[1:], images))


class FrozenTrunk(OpenTrunk):
    """A detector that does not learn."""

    def __init__(self, detector: StreetDetector) -> None:
        super().__init__(detector.eval().requires_grad_(False))

    def train(self, mode: bool = True) -> FrozenTrunk:
        """It is never in training mode: its normalisation stays as it is."""
        return super().train(False)


class FeatureStore:
    """The trunk's outputs for every picture of a set, as Scenes gives them, without variation."""

    def __init__(
        self,
        folder: Path,
        trunk: FrozenTrunk,
        data: Scenes,
        size: tuple[int, int],
        progress: Callable[[int, int], None],
    ) -> None:
        self._folder, self._count = folder, len(data)
        mark = {
            "count": len(data),
            "size": list(size),
            "detector": _fingerprint(trunk),
            "pictures": _look(data),
        }
        done = folder / "features.json"
        if not (done.exists() and json.loads(done.read_text()) == mark):
            folder.mkdir(parents=True, exist_ok=True)
            done.unlink(missing_ok=True)
            _compute(folder, trunk, data, size, progress)
            partial = done.with_suffix(".partial")
            partial.write_text(json.dumps(mark))
            os.replace(partial, done)
        self._arrays = [np.load(folder / f"features_{i}.npy", mmap_mode="r") for i in range(6)]

    def __len__(self) -> int:
        return self._count

    def __call__(self, picks: np.ndarray) -> tuple[np.ndarray, ...]:
        """Features at strides 4, 8, 16, 32, boxes and logits of the pictures, float16 (B, …) each."""
        return tuple(np.ascontiguousarray(array[picks]) for array in self._arrays)


def _compute(
    folder: Path,
    trunk: FrozenTrunk,
    data: Scenes,
    size: tuple[int, int],
    progress: Callable[[int, int], None],
) -> None:
    arrays: list[np.ndarray] = []
    trunk.eval()
    for start in range(0, len(data), _BATCH):
        stop = min(start + _BATCH, len(data))
        stack = np.stack([data.sample(i).fitted(size).picture for i in range(start, stop)])
        images = torch.from_numpy(stack).permute(0, 3, 1, 2).float().div_(255.0)
        with torch.no_grad():
            features, boxes, logits = trunk(images.contiguous(memory_format=torch.channels_last))
        parts = [part.numpy() for part in (*features, boxes, logits)]
        if not arrays:
            arrays = [
                np.lib.format.open_memmap(
                    folder / f"features_{i}.npy", "w+", np.float16, (len(data), *part.shape[1:])
                )
                for i, part in enumerate(parts)
            ]
        for array, part in zip(arrays, parts, strict=True):
            array[start:stop] = np.clip(part, -6e4, 6e4)
        progress(stop, len(data))
    for array in arrays:
        array.flush()  # type: ignore[attr-defined]


def _fingerprint(trunk: FrozenTrunk) -> str:
    digest = hashlib.sha256()
    for value in trunk.state_dict().values():
        digest.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
    return digest.hexdigest()


def _look(data: Scenes) -> str:
    """A hash of the first and the last picture, which tells one set from another."""
    digest = hashlib.sha256()
    for index in sorted({0, len(data) - 1}):
        digest.update(np.ascontiguousarray(data.sample(index).picture).tobytes())
    return digest.hexdigest()


def stored_batches(
    data: Scenes, store: FeatureStore, size: int, seed: int, shape: tuple[int, int]
) -> Iterator[tuple[list[Sample], tuple[np.ndarray, ...]]]:
    """Endless batches of samples, not varied, with what the trunk makes of them."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(data))
        order = np.resize(order, max(len(order) // size, 1) * size)
        for picks in order.reshape(-1, size):
            yield [data.sample(int(i)).fitted(shape) for i in picks], store(picks)


def as_tensors(arrays: tuple[np.ndarray, ...], device: torch.device) -> tuple[Features, Tensor, Tensor]:
    """A batch of FeatureStore as the trunk gives it."""
    p4, n8, m16, m32, boxes, logits = (torch.from_numpy(a).to(device).float() for a in arrays)
    return (p4, n8, m16, m32), boxes, logits
