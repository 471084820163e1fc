# SPDX-License-Identifier: Apache-2.0
"""Trained model to Triton repository entry.

from sightline.builders import card_from_onnx, repository_from_card

repository_from_card(card_from_onnx("my.onnx"), Path("model_repository"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.lazy import lazy_attributes

if TYPE_CHECKING:
    from sightline.builders.build import STEPS, BuildReport, Choices, Progress, repository_from_card
    from sightline.builders.cards import card_from_onnx, card_from_source, card_text
    from sightline.builders.engines.cpu import Engine
    from sightline.builders.network import CanonicalNetwork, canonical_network
    from sightline.builders.onnx_source import OnnxSource, open_onnx

__all__ = [
    "STEPS",
    "BuildReport",
    "CanonicalNetwork",
    "Choices",
    "Engine",
    "OnnxSource",
    "Progress",
    "canonical_network",
    "card_from_onnx",
    "card_from_source",
    "card_text",
    "open_onnx",
    "repository_from_card",
]

_HOMES = {
    "STEPS": "sightline.builders.build",
    "BuildReport": "sightline.builders.build",
    "Choices": "sightline.builders.build",
    "Progress": "sightline.builders.build",
    "repository_from_card": "sightline.builders.build",
    "card_from_onnx": "sightline.builders.cards",
    "card_from_source": "sightline.builders.cards",
    "card_text": "sightline.builders.cards",
    "CanonicalNetwork": "sightline.builders.network",
    "Engine": "sightline.builders.engines.cpu",
    "canonical_network": "sightline.builders.network",
    "OnnxSource": "sightline.builders.onnx_source",
    "open_onnx": "sightline.builders.onnx_source",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
