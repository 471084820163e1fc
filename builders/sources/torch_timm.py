# SPDX-License-Identifier: Apache-2.0
"""`source: timm:NAME`: classifiers and embedders of timm (PyTorch Image Models)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from sightline.builders.sources.torch_network import (
    TorchNetwork,
    architecture,
    import_torch,
    seeded,
    settle,
    unique_labels,
)
from sightline.builders.sources.torch_weights import load_weights
from sightline.card import ModelCard
from sightline.errors import CardError, MissingDependencyError

_LEVELS = 255.0
_IMAGENET_CLASSES = 1000


def load(card: ModelCard) -> TorchNetwork:
    """The network with the card's weights (random without); for task embed without its classifier.

    Raises CardError for an unknown name, and BuildError.
    """
    name = card.source.partition(":")[2]
    model = _model(name, card.source_args)
    if card.weights:
        load_weights(model, card.weights)
    if card.task == "embed" and getattr(model, "num_classes", None):
        model.reset_classifier(0)
    model.eval()
    if not card.weights:
        settle(model, card.input)
    origin = architecture(f"timm {_timm().__version__}", name, card.source_args, card.weights)
    return TorchNetwork(model, origin, _defaults(model, name))


def defaults_of(name: str, source_args: Mapping[str, Any]) -> dict[str, Any]:
    """Card fields (task, input, head, labels) of timm's own notes on the network."""
    torch = import_torch()
    with torch.device("meta"):  # the architecture without its memory
        return _defaults(_model(name, source_args), name)


def _defaults(model: Any, name: str) -> dict[str, Any]:
    config = _timm().data.resolve_model_data_config(model)
    _, height, width = config["input_size"]
    spec: dict[str, Any] = {
        "size": (width, height),
        "filter": "triangle",  # of Pillow's antialiased ones the nearest to bicubic
        "mean": tuple(round(value * _LEVELS, 4) for value in config["mean"]),
        "std": tuple(round(value * _LEVELS, 4) for value in config["std"]),
    }
    if config["crop_mode"] == "squash":
        spec["resize"] = "stretch"
    else:
        side = math.floor(min(width, height) / config["crop_pct"])
        spec.update(resize="crop", short_side=max(side, min(width, height)))
    classes = getattr(model, "num_classes", 0)
    if not classes:
        return {"task": "embed", "input": spec, "head": {"kind": "embedding"}}
    found = {"task": "classify", "input": spec, "head": {"kind": "scores", "activation": "softmax"}}
    labels = _imagenet_labels(name) if classes == _IMAGENET_CLASSES else ()
    return {**found, "labels": labels} if labels else found


def _imagenet_labels(name: str) -> tuple[str, ...]:
    info = _timm().data.ImageNetInfo
    subset = _timm().data.infer_imagenet_subset({"num_classes": _IMAGENET_CLASSES, "architecture": name})
    if not subset:
        return ()
    names = info(subset).label_descriptions()
    return unique_labels(tuple(str(label).partition(",")[0].strip() for label in names))


def _timm() -> Any:
    import_torch()
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise MissingDependencyError("source timm:… needs: pip install 'sightline[timm]'") from error
    return timm


def _model(name: str, source_args: Mapping[str, Any]) -> Any:
    timm = _timm()
    if not timm.is_model(name):  # also keeps out hub addresses and paths, which timm would open
        similar = ", ".join(difflib.get_close_matches(name, timm.list_models(), 5, 0.4)) or "none"
        raise CardError(f"timm has no network {name!r}; similar: {similar}")
    forbidden = sorted(set(source_args) & {"pretrained", "checkpoint_path", "pretrained_cfg", "cache_dir"})
    if forbidden:
        raise CardError(
            f"source_args must not name {', '.join(forbidden)}; nothing is downloaded, "
            "put a file into the card's 'weights'"
        )
    try:
        with seeded():
            return timm.create_model(name, pretrained=False, **source_args)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise CardError(f"timm:{name} with source_args {dict(source_args)}: {error}") from error
