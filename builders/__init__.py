# SPDX-License-Identifier: Apache-2.0
"""Trained model to Triton repository entry.

from sightline.builders import card_from_onnx, repository_from_card

repository_from_card(card_from_onnx("my.onnx"), Path("model_repository"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.builders.build import STEPS, BuildReport, repository_from_card
    from sightline.builders.cards import card_from_onnx, card_text
    from sightline.builders.engine import Engine, engine_from_onnx
    from sightline.builders.onnx_source import OnnxSource, open_onnx

__all__ = [
    "STEPS",
    "BuildReport",
    "Engine",
    "OnnxSource",
    "card_from_onnx",
    "card_text",
    "engine_from_onnx",
    "open_onnx",
    "repository_from_card",
]

_HOMES = {
    "STEPS": "build",
    "BuildReport": "build",
    "repository_from_card": "build",
    "card_from_onnx": "cards",
    "card_text": "cards",
    "Engine": "engine",
    "engine_from_onnx": "engine",
    "OnnxSource": "onnx_source",
    "open_onnx": "onnx_source",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline.builders' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sightline.builders.{_HOMES[name]}"), name)
