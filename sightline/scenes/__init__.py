# SPDX-License-Identifier: Apache-2.0
"""Drawn street scenes with exact truth: the detector's training data and the demo's cameras."""

from __future__ import annotations

from sightline.scenes.scene import Scene
from sightline.scenes.surfaces import SURFACE_NAMES
from sightline.scenes.truth import (
    CLASS_NAMES,
    HIDDEN_OWNER,
    MIN_SIDE_FRACTION,
    MIN_VISIBLE,
    SceneTruth,
    SceneView,
)

__all__ = [
    "CLASS_NAMES",
    "HIDDEN_OWNER",
    "MIN_SIDE_FRACTION",
    "MIN_VISIBLE",
    "SURFACE_NAMES",
    "Scene",
    "SceneTruth",
    "SceneView",
]
