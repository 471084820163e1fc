# SPDX-License-Identifier: Apache-2.0
"""`source: torchvision:NAME`: classification, segmentation and detection networks of torchvision."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

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
from sightline.errors import BuildError, CardError, MissingDependencyError

Group = Literal["classification", "segmentation", "detection"]
_GROUPS: tuple[Group, ...] = ("segmentation", "detection")
_OTHER_GROUPS = ("quantization", "video", "optical_flow")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_SEGMENTATION_PAD = 116.0  # near the mean colour, which the networks take for "nothing"
_RCNN_SIZE = (1344, 800)  # what torchvision makes of a picture in 16:9: shorter side 800, longer at most 1333
_LEVELS = 255.0


def load(card: ModelCard) -> TorchNetwork:
    """The network with the card's weights (random without) and outputs that a head reads.

    Raises CardError for an unknown or unfitting name, and BuildError.
    """
    name = card.source.partition(":")[2]
    group = _group(name)
    from sightline.builders.sources import torch_modules

    model = _model(name, card.source_args, bool(card.weights))
    if card.weights:
        load_weights(model, card.weights)
    model.eval()
    defaults = defaults_of(name, card.source_args)
    origin = architecture(f"torchvision {_torchvision().__version__}", name, card.source_args, card.weights)
    if group == "detection":
        if not card.weights:
            settle(torch_modules.DetectorFeatures(model), card.input)
        return _detector(model, card, origin, defaults)
    module = torch_modules.SegmentationLogits(model).eval() if group == "segmentation" else model
    if group == "classification" and card.task == "embed":
        module = torch_modules.without_last_linear(model)
        if module is None:
            raise BuildError(f"{card.source} has no fully connected layer to take off for task embed")
        defaults = {**defaults, "task": "embed", "head": {"kind": "embedding"}, "labels": ()}
    if not card.weights:
        settle(module, card.input)
    return TorchNetwork(module, origin, defaults)


def defaults_of(name: str, source_args: Mapping[str, Any]) -> dict[str, Any]:
    """Card fields (input, head, labels, task) that torchvision documents for the network."""
    group = _group(name)
    weights = _documented_weights(name)
    labels = _labels(weights, source_args)
    found: dict[str, Any] = {"labels": labels} if labels else {}
    if group == "classification":
        return {**found, "task": "classify", **_classification_defaults(weights)}
    if group == "segmentation":
        size = {"size": (520, 520), "resize": "letterbox", "filter": "triangle", "pad": _SEGMENTATION_PAD}
        head = {"kind": "class_map", "upsample": "logits"}
        return {**found, "task": "semantic", "input": {**size, **_normalisation()}, "head": head}
    if labels:
        found["labels"] = labels[1:]  # the first is the background
    return {**found, **_detection_defaults(name)}


def _classification_defaults(weights: Any) -> dict[str, Any]:
    preset = weights.transforms() if weights else None
    crop = preset.crop_size[0] if preset else 224
    side = preset.resize_size[0] if preset else 256
    normal = _normalisation(preset.mean, preset.std) if preset else _normalisation()
    spec = {
        "size": (crop, crop),
        "resize": "crop",
        "short_side": max(side, crop),
        "filter": "triangle",
        **normal,
    }
    return {"input": spec, "head": {"kind": "scores", "activation": "softmax"}}


def _detection_defaults(name: str) -> dict[str, Any]:
    if name.startswith("ssdlite"):
        spec = {"size": (320, 320), "resize": "stretch", **_normalisation((0.5,) * 3, (0.5,) * 3)}
    elif name.startswith("ssd"):
        mean = (0.48235, 0.45882, 0.40784)
        spec = {"size": (300, 300), "resize": "stretch", **_normalisation(mean, (1 / _LEVELS,) * 3)}
    else:
        spec = {"size": _RCNN_SIZE, "resize": "corner", "pad": _SEGMENTATION_PAD, **_normalisation()}
    task = "segment" if name.startswith("maskrcnn") else "detect"
    return {"task": task, "input": {"filter": "bilinear", **spec}}


def _normalisation(
    mean: tuple[float, ...] | list[float] = _IMAGENET_MEAN,
    std: tuple[float, ...] | list[float] = _IMAGENET_STD,
) -> dict[str, Any]:
    """Of pixels 0..1 to the card's, which are 0..255."""
    return {
        "mean": tuple(round(value * _LEVELS, 4) for value in mean),
        "std": tuple(round(value * _LEVELS, 4) for value in std),
    }


def _labels(weights: Any, source_args: Mapping[str, Any]) -> tuple[str, ...]:
    names = tuple((weights.meta.get("categories") or ()) if weights else ())
    classes = source_args.get("num_classes", len(names))
    return unique_labels(names) if classes == len(names) else ()


def _documented_weights(name: str) -> Any:
    """The enumeration's default entry, whose notes need no download; None where there is none."""
    with contextlib.suppress(Exception):
        return _torchvision().models.get_model_weights(name).DEFAULT
    return None


def _torchvision() -> Any:
    import_torch()
    try:
        import torchvision
    except ImportError as error:
        raise MissingDependencyError("source torchvision:… needs: pip install 'sightline[torch]'") from error
    return torchvision


def _group(name: str) -> Group:
    models = _torchvision().models
    try:
        home = models.get_model_builder(name).__module__.split(".")
    except ValueError as error:
        raise CardError(f"torchvision has no network {name!r}; similar: {_similar(name, models)}") from error
    if any(other in home for other in _OTHER_GROUPS) or name.startswith("keypoint"):
        raise CardError(
            f"torchvision:{name} is not supported; name a network of classification, segmentation or detection"
        )
    return next((group for group in _GROUPS if group in home), "classification")


def _similar(name: str, models: Any) -> str:
    import difflib

    return ", ".join(difflib.get_close_matches(name, models.list_models(), 5, 0.4)) or "none"


def _model(name: str, source_args: Mapping[str, Any], trained: bool) -> Any:
    """A new network; nothing is downloaded."""
    models = _torchvision().models
    arguments: dict[str, Any] = {"weights": None}
    if _group(name) != "classification":
        arguments["weights_backbone"] = None
    if name in ("inception_v3", "googlenet"):
        # Published weights expect it; their own slow initialisation is left out
        arguments.update(init_weights=False, transform_input=trained)
    arguments.update(source_args)
    if arguments["weights"] is not None or arguments.get("weights_backbone") is not None:
        raise CardError(
            "source_args must not name weights, nothing is downloaded; put a file into the card's 'weights'"
        )
    try:
        with seeded():
            return models.get_model(name, **arguments)
    except (TypeError, ValueError) as error:
        raise CardError(f"torchvision:{name} with source_args {dict(source_args)}: {error}") from error


def _detector(model: Any, card: ModelCard, origin: str, defaults: Mapping[str, Any]) -> TorchNetwork:
    from sightline.builders.sources import torch_detectors, torch_rcnn

    size = card.input.size
    kind = type(model).__name__
    if kind in ("RetinaNet", "SSD"):
        module, head = torch_detectors.anchored(model, size)
    elif kind == "FCOS":
        module, head = torch_detectors.fcos(model, size)
    elif kind in ("FasterRCNN", "MaskRCNN"):
        return torch_rcnn.network(model, size, origin, defaults)
    else:
        raise CardError(
            f"{card.source} gives a {kind}; supported are RetinaNet, SSD, FCOS, FasterRCNN and MaskRCNN"
        )
    return TorchNetwork(module, origin, {**defaults, "head": head})
