# SPDX-License-Identifier: Apache-2.0
"""Trained models of every kind as self-contained ONNX.

export_source(card) gives the ONNX file's bytes and a way to run the original; source_defaults(source) gives the card
fields that a source knows before it is exported. What a file is, its contents say.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sightline.builders.sources.base import ExportedModel
from sightline.builders.sources.files import FileKind, file_kind
from sightline.card import SOURCE_SCHEMES, ModelCard
from sightline.errors import ModelFileError

__all__ = ["ExportedModel", "export_source", "source_defaults"]

Progress = Callable[[str], None]

_TORCH_SCHEMES = {
    "python": "torch_python",
    "torchvision": "torch_vision",
    "timm": "torch_timm",
    "ultralytics": "torch_ultralytics",
    "huggingface": "torch_huggingface",
}
_KERAS_KINDS = ("keras", "hdf5", "saved_model")
_NAME_IT = (
    "it has weights and no architecture. Name the architecture as 'source' (torchvision:NAME, timm:NAME, "
    "ultralytics:NAME.yaml, huggingface:FOLDER or python:package.module:factory) and this file as 'weights'"
)
_REFUSED: dict[FileKind, str] = {
    "safetensors": _NAME_IT,
    "pickle": f"{_NAME_IT}. It is an old pickle, of which only tensors are read",
    "torch_program": "it is a torch.export program, whose file can hold pickled Python. Export it to ONNX: "
    "torch.onnx.export(program, (), 'model.onnx')",
    "tflite": "it is a TensorFlow Lite file. Name the SavedModel or .keras file it was made from",
    "huggingface": "it is a Hugging Face folder. Write 'source: huggingface:FOLDER'",
}


def export_source(card: ModelCard, progress: Progress | None = None) -> ExportedModel:
    """The card's source as ONNX.

    progress: called with a few words when a step begins. Raises CardError, ModelFileError, BuildError, and
    MissingDependencyError where the source's framework is not installed.
    """
    if card.scheme == "file":
        return _export_file(card, progress)
    if card.scheme == "keras":
        return _keras_export(card, progress)
    return _export_torch(_TORCH_SCHEMES[card.scheme], card, progress)


def source_defaults(
    source: str, source_args: Mapping[str, Any] | None = None, weights: Path | None = None
) -> Mapping[str, Any]:
    """Card fields (nested, as in YAML: task, input, head, labels) that the source knows before it is exported.

    Empty where it knows none. Raises CardError for a name that the framework does not have, and
    MissingDependencyError.
    """
    scheme, colon, name = source.partition(":")
    arguments = dict(source_args or {})
    if not colon or scheme not in SOURCE_SCHEMES:
        return _file_defaults(Path(source))
    if scheme in ("python", "keras"):
        return {}
    module = importlib.import_module(f"{__name__}.{_TORCH_SCHEMES[scheme]}")
    found: Mapping[str, Any] = module.defaults_of(name, arguments)
    return found


def _export_file(card: ModelCard, progress: Progress | None) -> ExportedModel:
    path = card.source_path
    kind = file_kind(path)
    if kind in _KERAS_KINDS:
        return _keras_export(card, progress)
    if kind == "torchscript":
        return _export_torch("torch_script", card, progress)
    if kind == "torch_archive":
        return _export_torch("torch_checkpoint", card, progress)
    if kind in _REFUSED:
        raise ModelFileError(f"{path} cannot be served as it is: {_REFUSED[kind]}")
    from sightline.builders.onnx_source import open_onnx

    source = open_onnx(path)
    return ExportedModel(source.content, f"ONNX {path.name}", source.sha256)


def _file_defaults(path: Path) -> Mapping[str, Any]:
    if file_kind(path) != "torch_archive":
        return {}
    from sightline.builders.sources import torch_checkpoint

    return torch_checkpoint.defaults_of_file(path)


def _export_torch(module: str, card: ModelCard, progress: Progress | None) -> ExportedModel:
    from sightline.builders.cards import with_defaults

    if progress:
        progress(f"load {card.source}")
    known = source_defaults(card.source, card.source_args, card.weights)
    card = with_defaults(card, {"input": known.get("input", {})})
    network = importlib.import_module(f"{__name__}.{module}").load(card)
    from sightline.builders.sources.torch_onnx import export_network

    return export_network(network, card.input, progress)


def _keras_export(card: ModelCard, progress: Progress | None) -> ExportedModel:
    from sightline.builders.sources import keras_source

    exported: ExportedModel = keras_source.export(card, progress)
    return exported
