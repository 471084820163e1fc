# SPDX-License-Identifier: Apache-2.0
"""The models that ship with Sightline: a folder each, with card, ONNX, labels and training record."""

from __future__ import annotations

from pathlib import Path

from sightline.errors import CardError

__all__ = ["shipped_card", "shipped_models"]

_FOLDER = Path(__file__).resolve().parent


def shipped_models() -> tuple[str, ...]:
    """Names of the shipped models."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/card.yaml")))


def shipped_card(name: str) -> Path:
    """Card file of a shipped model. Raises CardError naming what is shipped."""
    if name not in shipped_models():
        shipped = ", ".join(shipped_models()) or "none"
        raise CardError(
            f"{name!r} is no file and no shipped model (shipped: {shipped}); "
            "for a model of your own give its .onnx or card .yaml file"
        )
    return _FOLDER / name / "card.yaml"
