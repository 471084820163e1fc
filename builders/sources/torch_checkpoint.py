# SPDX-License-Identifier: Apache-2.0
"""A `.pt` file as source: Ultralytics' checkpoints, which say how their network is built; all others are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.builders.sources import torch_ultralytics
from sightline.builders.sources.torch_network import TorchNetwork
from sightline.builders.sources.torch_pickle import class_names, module_of, named_tensors, plain, read_archive
from sightline.builders.sources.torch_weights import put_weights
from sightline.card import ModelCard
from sightline.errors import ModelFileError

_HOME = "ultralytics."
_NAME_IT = (
    "Name the architecture as 'source' (torchvision:NAME, timm:NAME, ultralytics:NAME.yaml, huggingface:FOLDER or "
    "python:package.module:factory) and this file as 'weights'"
)


@dataclass(frozen=True)
class _Checkpoint:
    yaml: dict[str, Any]
    labels: tuple[str, ...]
    side: int | None
    version: str
    tensors: dict[str, Any] = field(repr=False)


def load(card: ModelCard) -> TorchNetwork:
    """The checkpoint's network, built anew from its own description and filled with its weights.

    Raises ModelFileError for a checkpoint of anything else, and BuildError where the installed Ultralytics builds
    another network.
    """
    path = card.source_path
    found = _read(path)
    model = torch_ultralytics.model_of(found.yaml, {})
    put_weights(model, found.tensors, str(path))
    origin = f"Ultralytics checkpoint {path.name} (written by {found.version})"
    return torch_ultralytics.network(model, card, origin, _defaults(found))


def defaults_of_file(path: Path) -> Mapping[str, Any]:
    """Card fields that an Ultralytics checkpoint knows; empty for others. Raises ModelFileError for damage."""
    if not module_of(read_archive(path)):
        return {}
    return _defaults(_read(path))


def _defaults(found: _Checkpoint) -> dict[str, Any]:
    values = torch_ultralytics.defaults_of_yaml(found.yaml)
    if found.side and "input" in values:
        side = found.side
        crop = {"short_side": side} if values["input"].get("resize") == "crop" else {}
        values = {**values, "input": {**values["input"], "size": (side, side), **crop}}
    return {**values, "labels": found.labels} if found.labels else values


def _read(path: Path) -> _Checkpoint:
    value = read_archive(path)
    record = module_of(value)
    if record is None:
        raise ModelFileError(f"{path} has weights and no architecture. {_NAME_IT}")
    yaml = plain(record.fields.get("yaml"))
    if not record.name.startswith(_HOME) or not isinstance(yaml, dict):
        raise ModelFileError(
            f"{path} is a pickled module ({', '.join(class_names(value))}), whose code Sightline does not run. {_NAME_IT}"
        )
    arguments = value.get("train_args") if isinstance(value, Mapping) else None
    side = arguments.get("imgsz") if isinstance(arguments, Mapping) else None
    version = value.get("version") if isinstance(value, Mapping) else None
    return _Checkpoint(
        yaml=yaml,
        labels=_labels(record.fields.get("names")),
        side=side if type(side) is int and 8 <= side <= 8192 else None,
        version=f"version {version}" if isinstance(version, str) else "an unknown version",
        tensors={name: tensor.float() for name, tensor in named_tensors(record).items()},
    )


def _labels(names: Any) -> tuple[str, ...]:
    from sightline.builders.onnx_source import labels_from_names

    return labels_from_names(repr(plain(names)))
