# SPDX-License-Identifier: Apache-2.0
"""The classes that scenes draw and the ground truth that goes with a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASS_NAMES: tuple[str, ...] = (
    "car", "truck", "bus", "motorcycle", "bicycle", "pedestrian",
    "traffic_light", "stop_sign", "speed_limit_sign", "yield_sign", "crossing_sign",
)  # fmt: skip
MIN_VISIBLE = 0.35
"""An object counts as ground truth when at least this fraction of its silhouette is seen."""
MIN_SIDE_FRACTION = 0.032
"""An object counts as ground truth when its larger side is at least this fraction of the image height."""

HIDDEN_OWNER = 255
"""In SceneView.owners: a pixel of an object that does not count as ground truth."""


@dataclass(frozen=True)
class SceneTruth:
    """What is to be found in one frame, nearest object last.

    boxes: ndarray of shape (N, 4), float32, xyxy pixels, clipped to the frame.
    classes: ndarray of shape (N,), int32, index into CLASS_NAMES.
    visible: ndarray of shape (N,), float32, fraction of the silhouette that is seen.
    ids: ndarray of shape (N,), int32, the same number for the same object over time.
    ignore: ndarray of shape (M, 4), float32, xyxy pixels: drawn, but too small or too hidden to count.
    """

    boxes: np.ndarray
    classes: np.ndarray
    visible: np.ndarray
    ids: np.ndarray
    ignore: np.ndarray


@dataclass(frozen=True)
class SceneView:
    """A frame and what each of its pixels shows.

    image: ndarray of shape (H, W, 3), uint8, RGB. truth: the objects, as frame() gives them.
    owners: ndarray of shape (H, W), uint8: 0 nothing, n the n-th object of truth (from 1), HIDDEN_OWNER an
    object that does not count. surfaces: ndarray of shape (H, W), uint8, index into SURFACE_NAMES.
    """

    image: np.ndarray
    truth: SceneTruth
    owners: np.ndarray
    surfaces: np.ndarray

    def masks(self) -> np.ndarray:
        """Silhouette of each object of truth: (N, H, W) bool."""
        return np.asarray(self.owners[None] == np.arange(1, len(self.truth.ids) + 1)[:, None, None])
