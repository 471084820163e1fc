# SPDX-License-Identifier: Apache-2.0
"""Model cards out of what the exporter noted in an ONNX file, and cards as text."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sightline.builders.onnx_source import open_onnx
from sightline.builders.sources import source_defaults
from sightline.builders.sources.files import file_kind
from sightline.card import SOURCE_SCHEMES, ModelCard, card_from_dict
from sightline.errors import BuildError, ModelFileError

_MAX_NAME = 64
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def card_from_onnx(path: Path | str, values: Mapping[str, Any] | None = None) -> ModelCard:
    """A card for an ONNX file: name from the file's name, labels and input size from the export's own notes.

    values: card fields (as in YAML) that go before what the file says. Raises ModelFileError, CardError, and
    BuildError where the input size is not known.
    """
    path = Path(path)
    source = open_onnx(path)
    found: dict[str, Any] = {"name": name_from_path(path), "source": str(path.resolve())}
    if not source.exported_size and "size" not in (values or {}).get("input", {}):
        raise BuildError(
            f"{path} accepts several input sizes and names none; add --size WxH, the size it was trained on"
        )
    if source.exported_size:
        found["input"] = {"size": source.exported_size}
    if source.exported_labels:
        found["labels"] = source.exported_labels
    return card_from_dict(merged(found, values or {}), Path.cwd())


def card_from_source(source: str, values: Mapping[str, Any] | None = None) -> ModelCard:
    """A card for any source: an ONNX file as in `card_from_onnx`, another file, or a scheme such as "torchvision:resnet18".

    What the source knows of itself (input, labels, task) is taken over; `values` go before it.
    """
    values = values or {}
    scheme, colon, name = source.partition(":")
    if not colon or scheme not in SOURCE_SCHEMES:
        path = Path(source)
        check_plain(path, "SOURCE")
        if file_kind(path) in ("onnx", "unknown"):
            return card_from_onnx(path, values)
        found: dict[str, Any] = {"name": name_from_path(path), "source": str(path.resolve())}
    else:
        found = {"name": name_from_path(Path(name.replace(":", "_"))), "source": source}
    known = source_defaults(source, values.get("source_args"), values.get("weights"))
    return card_from_dict(_over(merged(found, known), values), Path.cwd())


def check_plain(path: Path, field: str) -> None:
    """Raise ModelFileError for a path that is no file and no folder: reading a pipe or a device may never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        scheme = next((part[:-1] for part in path.parts if _SCHEME.fullmatch(part)), None)
        if scheme:
            raise ModelFileError(
                f"{field} has the scheme '{scheme}'; known are {', '.join(sorted(SOURCE_SCHEMES))}, and paths of files. "
                "Nothing is downloaded"
            ) from error
        missing = isinstance(error, FileNotFoundError)
        reason = (
            "does not exist" if missing else f"cannot be read: {getattr(error, 'strerror', None) or error}"
        )
        what = "model file" if field.lower() == "source" else field
        raise ModelFileError(
            f"{what} {path} {reason}; check the path or the card's '{field.lower()}'"
        ) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ModelFileError(
            f"{field} {path} is a pipe, device or socket; it must be a plain file or a folder"
        )


def with_defaults(card: ModelCard, defaults: Mapping[str, Any]) -> ModelCard:
    """The card with what its source knows, where the card itself says nothing."""
    written = card.model_dump(exclude_unset=True)
    return card_from_dict(_over(defaults, written), Path.cwd())


def _over(known: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What the source knows, with `values` before it; a crop's short_side goes with another way to resize."""
    fields = merged(known, values)
    spec = fields.get("input")
    if isinstance(spec, Mapping) and spec.get("resize", "letterbox") != "crop":
        fields["input"] = {
            key: value
            for key, value in spec.items()
            if key != "short_side" or "short_side" in values.get("input", {})
        }
    return fields


def with_values(card: ModelCard, values: Mapping[str, Any]) -> ModelCard:
    """The card with some fields replaced, checked again. Raises CardError."""
    return card_from_dict(merged(card.model_dump(exclude_unset=True), values), Path.cwd())


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries put together; `over` wins."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = (
            merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
        )
    return result


def name_from_path(path: Path) -> str:
    """A valid model name made of a file's name: "My model-v2.onnx" gives "My_model-v2"."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem).strip("._-") or "model"
    return (name if name[0].isalpha() else f"model_{name}")[:_MAX_NAME]


def card_text(card: ModelCard, folder: Path) -> str:
    """The card as YAML for a file in `folder`; the source's path is relative where it lies below."""
    values = card.model_dump(mode="json", exclude_defaults=True)
    values = {name: values[name] for name in ("name", "task", "source", *values) if name in values}
    for name in ("source", "weights"):
        if name in values and (name != "source" or card.scheme == "file"):
            values[name] = _beside(Path(values[name]), folder)
    return yaml.dump(values, Dumper=_CardDumper, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _beside(path: Path, folder: Path) -> str:
    relative = Path(os.path.relpath(path.resolve(), folder.resolve()))
    return str(path.resolve()) if ".." in relative.parts else str(relative)


class _CardDumper(yaml.SafeDumper):
    """Without anchors and aliases, which a card may not have."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
