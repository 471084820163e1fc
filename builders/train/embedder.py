# SPDX-License-Identifier: Apache-2.0
"""An embedder on the backbone of a trained detector that stays as it is: what it makes of a picture is computed once."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.builders.train.classify import Augment, Labelled, stacked
from sightline.builders.train.network import StreetDetector

_GRID = 3
_BATCH = 32
_MIDDLE = 160


class PooledTrunk(nn.Module):
    """images (N, 3, H, W) float 0..1, of size (width, height) -> (N, V): means of each level of a backbone over the
    cells of a 3x3 grid."""

    def __init__(self, detector: StreetDetector, size: tuple[int, int]) -> None:
        super().__init__()
        ours = copy.deepcopy(detector)
        self.stages = nn.ModuleList([ours.stem, ours.stage8, ours.stage16, ours.stage32])
        # numbers, not shapes read while running: a pooling window must be constant in ONNX
        self._cells = [(max(size[1] // s // _GRID, 1), max(size[0] // s // _GRID, 1)) for s in (4, 8, 16, 32)]
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PooledTrunk:
        """It is never in training mode: its normalisation stays as it is."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        parts, level = [], images
        for stage, cell in zip(self.stages, self._cells, strict=True):
            level = stage(level)
            parts.append(functional.avg_pool2d(level, cell).flatten(1))
        return torch.cat(parts, 1)


class BackboneEmbedder(nn.Module):
    """images (N, 3, H, W) float 0..1, of size (width, height) -> embeddings (N, D) of length 1."""

    def __init__(self, detector: StreetDetector, size: tuple[int, int], dimensions: int = 128) -> None:
        super().__init__()
        self.trunk = PooledTrunk(detector, size)
        with torch.no_grad():
            values = self.trunk(torch.zeros(1, 3, size[1], size[0])).shape[1]
        self.head = nn.Sequential(
            nn.BatchNorm1d(values),
            nn.Dropout(0.3),
            nn.Linear(values, _MIDDLE),
            nn.BatchNorm1d(_MIDDLE),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(_MIDDLE, dimensions),
        )

    def branch(self, vectors: Tensor) -> Tensor:
        """Embeddings of what the trunk gives."""
        return functional.normalize(self.head(vectors), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.branch(self.trunk(images))


class VectorStore:
    """What the trunk makes of each picture and of varied looks of it: vectors (looks, N, V) float16.

    The first look is the picture itself.
    """

    def __init__(
        self, folder: Path, trunk: PooledTrunk, data: Labelled, looks: int, augment: Augment,
        progress: Callable[[int, int], None],
    ) -> None:  # fmt: skip
        digest = hashlib.sha256(b"".join(v.cpu().numpy().tobytes() for v in trunk.state_dict().values()))
        for index in sorted({0, len(data) - 1}):
            digest.update(np.ascontiguousarray(data.pictures[index]).tobytes())
        mark = {"looks": looks, "count": len(data), "of": digest.hexdigest()}
        done, file = folder / "vectors.json", folder / "vectors.npy"
        if not (done.exists() and json.loads(done.read_text()) == mark):
            folder.mkdir(parents=True, exist_ok=True)
            done.unlink(missing_ok=True)
            np.save(file, _compute(trunk, data, looks, augment, progress))
            partial = done.with_suffix(".partial")
            partial.write_text(json.dumps(mark))
            os.replace(partial, done)
        self.vectors = np.load(file)


def _compute(
    trunk: PooledTrunk, data: Labelled, looks: int, augment: Augment, progress: Callable[[int, int], None]
) -> np.ndarray:
    found: list[list[np.ndarray]] = [[] for _ in range(looks)]
    for start in range(0, len(data), _BATCH):
        stop = min(start + _BATCH, len(data))
        pictures = [np.asarray(data.pictures[i]) for i in range(start, stop)]
        for look, vectors in enumerate(found):
            rng = np.random.default_rng([start, look])
            shown = [augment(p, rng) for p in pictures] if look else pictures
            with torch.no_grad():
                vectors.append(trunk(stacked(shown, torch.device("cpu"))).numpy().astype(np.float16))
        progress(stop, len(data))
    return np.stack([np.concatenate(vectors) for vectors in found])
