# SPDX-License-Identifier: Apache-2.0
"""Sightline: a trained vision model to a Triton server that watches cameras."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from sightline import errors
from sightline.errors import SightlineError
from sightline.lazy import lazy_attributes

if TYPE_CHECKING:
    from sightline.card import ModelCard, load_card
    from sightline.clients import AsyncClient, Client
    from sightline.frame import ColourSpace, Frame, PixelFormat
    from sightline.results import Classification, ClassMap, Detection, Detections, Embedding

__all__ = [
    "AsyncClient",
    "ClassMap",
    "Classification",
    "Client",
    "ColourSpace",
    "Detection",
    "Detections",
    "Embedding",
    "Frame",
    "ModelCard",
    "PixelFormat",
    "SightlineError",
    "errors",
    "load_card",
]

try:
    __version__ = version("sightline")
except PackageNotFoundError:  # the source folder without an install
    __version__ = "0"

_HOMES = {
    "AsyncClient": "sightline.clients",
    "Client": "sightline.clients",
    "ColourSpace": "sightline.frame",
    "Frame": "sightline.frame",
    "PixelFormat": "sightline.frame",
    "ClassMap": "sightline.results",
    "Classification": "sightline.results",
    "Detection": "sightline.results",
    "Detections": "sightline.results",
    "Embedding": "sightline.results",
    "ModelCard": "sightline.card",
    "load_card": "sightline.card",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
