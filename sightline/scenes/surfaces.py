# SPDX-License-Identifier: Apache-2.0
"""What each pixel of a street shows: the classes of semantic segmentation, and their map for the empty street."""

from __future__ import annotations

import numpy as np

from sightline.scenes.backdrop import Backdrop
from sightline.scenes.ground import ground_parts
from sightline.scenes.street import Street
from sightline.scenes.truth import CLASS_NAMES

SURFACE_NAMES: tuple[str, ...] = (
    "road", "marking", "pavement", "grass", "building", "sky", "tree", "pole",
    "traffic_light", "sign", "vehicle", "two_wheeler", "person",
)  # fmt: skip
ROAD, MARKING, PAVEMENT, GRASS, BUILDING, SKY, TREE, POLE_SURFACE = range(8)
_OF_CLASS = {
    "car": "vehicle", "truck": "vehicle", "bus": "vehicle", "motorcycle": "two_wheeler", "bicycle": "two_wheeler",
    "pedestrian": "person", "traffic_light": "traffic_light",
}  # fmt: skip
SURFACE_OF_CLASS = np.array([SURFACE_NAMES.index(_OF_CLASS.get(c, "sign")) for c in CLASS_NAMES], np.uint8)
"""Surface of each class of CLASS_NAMES."""
_OF_KIND = {"house": BUILDING, "tree": TREE, "lamp": POLE_SURFACE}


def empty_street_surfaces(street: Street, backdrop: Backdrop) -> np.ndarray:
    """Surface of each pixel of the street without traffic: (H, W) uint8, index into SURFACE_NAMES."""
    labels = np.full((street.height, street.width), SKY, np.uint8)
    blocks = np.full((street.height, street.width, 3), -1, np.float32)
    backdrop.skyline(blocks)
    labels[blocks[..., 0] != -1] = BUILDING
    top, road, walk, paint = ground_parts(street)
    ground = labels[top:]
    ground[:] = GRASS
    ground[walk > 0.5] = PAVEMENT
    ground[road > 0.5] = ROAD
    ground[paint > 0.5] = MARKING
    for kind, mark in backdrop.items:
        mark(labels, _OF_KIND[kind])
    return labels
