# SPDX-License-Identifier: Apache-2.0
"""`source: huggingface:FOLDER`: vision networks of Transformers, from a local folder with config.json.

Weights are read from model.safetensors in the folder, or from the card's file. Nothing is fetched, and code that a
folder brings along is not run.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.builders.sources.files import read_json
from sightline.builders.sources.torch_network import (
    TorchNetwork,
    import_torch,
    seeded,
    settle,
    unique_labels,
)
from sightline.builders.sources.torch_weights import load_weights
from sightline.card import ModelCard
from sightline.errors import BuildError, CardError, MissingDependencyError, ModelFileError

_LEVELS = 255.0
_SAFE_NAMES = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class _Family:
    """Architectures whose names end so: loader, task, head, and what is taken from the answer."""

    ending: str
    loader: str
    task: str
    pick: Callable[[Any], Any]


def _logits(answer: Any) -> Any:
    return answer.logits


def _boxes_and_logits(answer: Any) -> Any:
    return answer.pred_boxes, answer.logits


def _check_shards(folder: Path) -> None:
    """Weights in several files: each lies in the folder itself."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{index} cannot be read: {error}; copy the folder again") from error
    for name in sorted(map(str, names)):
        if Path(name).name != name or (folder / name).is_symlink():
            raise ModelFileError(
                f"{index} names the weights {name!r}; only files of the folder itself are opened"
            )


def _length(value: Any) -> Any:
    """In place of `len` in a network's own code: of a tensor `len` is a plain number, which pins the batch (RT-DETR)."""
    return value.shape[0] if isinstance(value, import_torch().Tensor) else len(value)


def _embedding(answer: Any) -> Any:
    """The projected or pooled vector; else the first token's."""
    for name in ("image_embeds", "pooler_output"):
        value = getattr(answer, name, None)
        if value is not None:
            return value.flatten(1)
    return answer.last_hidden_state[:, 0]


_FAMILIES = (
    _Family("ForImageClassification", "AutoModelForImageClassification", "classify", _logits),
    _Family("ForSemanticSegmentation", "AutoModelForSemanticSegmentation", "semantic", _logits),
    _Family("ForObjectDetection", "AutoModelForObjectDetection", "detect", _boxes_and_logits),
    _Family("VisionModelWithProjection", "", "embed", _embedding),
    _Family("VisionModel", "AutoModel", "embed", _embedding),
    _Family("Model", "AutoModel", "embed", _embedding),
)


def load(card: ModelCard) -> TorchNetwork:
    """The folder's network with its own or the card's weights (random without either).

    Raises CardError for a folder of another kind, and BuildError.
    """
    torch = import_torch()
    transformers = _transformers()
    folder, family, config = _config(card.source.partition(":")[2], card.source_args)
    from sightline.builders.sources.torch_modules import Picked

    own = any((folder / name).is_file() for name in _SAFE_NAMES) and not card.weights
    _check_shards(folder)
    with _offline(), seeded():
        model = _model(transformers, family, config, folder if own else None)
    if card.weights:
        load_weights(model, card.weights)
    vars(sys.modules[type(model).__module__]).setdefault("len", _length)
    module = Picked(model.eval(), family.pick, "pixel_values").eval()
    if not own and not card.weights:
        settle(module, card.input)
    trained = f"weights from {card.weights.name}" if card.weights else "its own weights"
    weights = trained if own or card.weights else "RANDOM WEIGHTS: not trained, only for trials"
    versions = f"Transformers {transformers.__version__}, PyTorch {torch.__version__}"
    origin = f"{versions} {type(model).__name__} of {folder.name}, {weights}"
    defaults = defaults_of(str(folder), card.source_args)
    return TorchNetwork(module, origin, defaults, rows=family.task == "detect")


def defaults_of(name: str, source_args: Mapping[str, Any]) -> dict[str, Any]:
    """Card fields (task, input, head, labels) of config.json and preprocessor_config.json."""
    folder, family, config = _config(name, source_args)
    found: dict[str, Any] = {
        "task": family.task,
        "input": _input(folder, config),
        "head": _head(family, config),
    }
    names = {int(key): str(value) for key, value in (getattr(config, "id2label", None) or {}).items()}
    labels = tuple(names.get(index, "") for index in range(len(names)))
    made_up = all(label == f"LABEL_{index}" for index, label in enumerate(labels))
    if family.task != "embed" and labels and all(labels) and not made_up:
        found["labels"] = unique_labels(labels)
    return found


def _head(family: _Family, config: Any) -> dict[str, Any]:
    if family.task == "classify":
        return {"kind": "scores", "activation": "softmax"}
    if family.task == "semantic":
        return {"kind": "class_map", "upsample": "logits"}
    if family.task == "embed":
        return {"kind": "embedding"}
    # The family of RT-DETR and Deformable DETR learned with the focal loss, which has no column for "nothing"
    focal = any(word in config.model_type for word in ("rt_detr", "deformable", "deta", "d_fine", "dab"))
    if focal:
        return {"kind": "detr", "activation": "sigmoid", "background": "none", "multi_label": True}
    return {"kind": "detr", "activation": "softmax", "background": "last"}


def _input(folder: Path, config: Any) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    values: dict[str, Any] = dict(read_json(path)) if path.is_file() else {}
    inner = values.get("image_processor")
    values = inner if isinstance(inner, dict) else values
    scale = _LEVELS if values.get("do_rescale", True) else 1.0
    normalised = values.get("do_normalize", True) and "image_mean" in values
    mean = values["image_mean"] if normalised else (0.0,) * 3
    std = values.get("image_std", (1.0,) * 3) if normalised else (1.0,) * 3
    spec: dict[str, Any] = {
        "mean": tuple(round(float(value) * scale, 4) for value in mean),
        "std": tuple(round(float(value) * scale, 4) for value in std),
        "filter": "triangle",
    }
    return {**spec, **_size(values, config)}


def _size(values: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Size and resize of the processor; of the network's own picture size where there is none."""
    size, crop = values.get("size"), values.get("crop_size")
    if isinstance(size, int):
        size = {"height": size, "width": size}
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    if isinstance(size, dict) and values.get("do_center_crop") and isinstance(crop, dict):
        cropped = (int(crop["width"]), int(crop["height"]))
        side = size.get("shortest_edge") or min(size.get("height", 0), size.get("width", 0))
        return {"size": cropped, "resize": "crop", "short_side": max(int(side), *cropped)}
    if isinstance(size, dict) and "height" in size:
        return {"size": (int(size["width"]), int(size["height"])), "resize": "stretch"}
    if isinstance(size, dict) and "longest_edge" in size:
        longest, shortest = int(size["longest_edge"]), int(size.get("shortest_edge") or size["longest_edge"])
        return {"size": tuple(-(-side // 32) * 32 for side in (longest, shortest)), "resize": "corner"}
    if isinstance(size, dict) and "shortest_edge" in size:
        side = int(size["shortest_edge"])
        percent = float(values.get("crop_pct") or 1.0)  # ConvNeXT resizes to side / crop_pct and crops
        return {"size": (side, side), "resize": "crop", "short_side": max(side, int(side / percent))}
    side = getattr(config, "image_size", None)
    return {"size": (side, side), "resize": "stretch"} if isinstance(side, int) else {"resize": "stretch"}


def _config(name: str, source_args: Mapping[str, Any]) -> tuple[Path, _Family, Any]:
    folder = Path(name)
    if not (folder / "config.json").is_file():
        raise CardError(
            f"huggingface:{name} is no local folder with a config.json; nothing is downloaded. "
            "Save the network there with: model.save_pretrained(FOLDER)"
        )
    values = read_json(folder / "config.json")
    if "auto_map" in values:
        raise ModelFileError(
            f"{folder} brings its own Python code (auto_map in config.json), which is not run; "
            "use source: python:package.module:factory for code that you trust"
        )
    transformers = _transformers()
    with _offline():
        try:
            config = transformers.AutoConfig.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **source_args
            )
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise CardError(f"{folder}/config.json is not read by Transformers: {error}") from error
    for field in ("use_pretrained_backbone",):
        if getattr(config, field, False):
            setattr(config, field, False)  # its weights come with the whole network's
    names = values.get("architectures")
    architecture = str(names[0]) if isinstance(names, list) and names else "Model"
    for family in _FAMILIES:
        if architecture.endswith(family.ending):
            return folder, family, config
    raise CardError(
        f"{folder} holds a {architecture}; supported are image classification, semantic segmentation, "
        "object detection and plain vision models"
    )


def _model(transformers: Any, family: _Family, config: Any, folder: Path | None) -> Any:
    loader = getattr(transformers, family.loader, None) if family.loader else None
    if loader is None:
        loader = getattr(transformers, str((config.architectures or [""])[0]), None)
    if loader is None:
        raise CardError(f"Transformers has no class {config.architectures}")
    try:
        if folder:
            return loader.from_pretrained(
                str(folder),
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        build = getattr(loader, "from_config", None) or loader._from_config
        return build(config)
    except (ValueError, OSError, RuntimeError, TypeError, KeyError) as error:
        raise BuildError(f"Transformers cannot load the network: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Transformers looks for missing files on its hub unless it is told not to."""
    before = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _transformers() -> Any:
    import_torch()
    with _offline():
        try:
            import transformers
        except ImportError as error:
            raise MissingDependencyError(
                "source huggingface:… needs: pip install 'sightline[huggingface]'"
            ) from error
    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    return transformers
