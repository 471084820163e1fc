# SPDX-License-Identifier: Apache-2.0
"""A model repository as the rules see it: parsed configurations and listed folders."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.stages.wire import PARAMETER

CONFIG = "config.pbtxt"
REQUEST_FILE = "engine.json"
ENSEMBLE = "ensemble"
PLATFORMS = {"tensorrt_plan": "tensorrt", "onnxruntime_onnx": "onnxruntime", "pytorch_libtorch": "pytorch"}
"""Platforms that stand for a backend, and go with no other (GetBackendTypeFromPlatform)."""
_NO_VERSIONS = ("warmup", "initial_state", "configs")
_MOST_BYTES = 8 << 20
_PARSE_ERRORS = (OSError, ValueError, RecursionError, DecodeError, text_format.ParseError)


@dataclass(frozen=True)
class ModelFolder:
    """One model. files: sizes in bytes by path inside the folder, one level deep. unread: why there is no configuration."""

    name: str
    path: Path
    config: pb.ModelConfig = field(default_factory=pb.ModelConfig)
    unread: str = ""
    files: Mapping[str, int] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    @property
    def is_ensemble(self) -> bool:
        """Whether it is made of steps."""
        return bool(self.config.platform == ENSEMBLE or self.config.HasField("ensemble_scheduling"))

    @property
    def backend(self) -> str:
        """The backend that Triton takes, or "" where none is set."""
        return str(self.config.backend or PLATFORMS.get(self.config.platform, ""))

    @functools.cached_property
    def existing_versions(self) -> tuple[int, ...]:
        """Version folders that Triton accepts, the newest first."""
        names = (name for name in self.folders if name not in _NO_VERSIONS)
        good = (
            int(name)
            for name in names
            if name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")
        )
        return tuple(sorted(good, reverse=True))

    @property
    def versions(self) -> tuple[int, ...]:
        """What version_policy lets Triton load."""
        policy = self.config.version_policy
        kind = policy.WhichOneof("policy_choice")
        if kind == "specific":
            return tuple(version for version in policy.specific.versions if version in self.existing_versions)
        if kind == "all":
            return self.existing_versions
        return self.existing_versions[: policy.latest.num_versions if kind == "latest" else 1]

    @functools.cached_property
    def stage(self) -> str:
        """Which stage of Sightline it is; "" where it is none."""
        try:
            values = json.loads(self.config.parameters[PARAMETER].string_value) if self._has_parameter else {}
        except (ValueError, RecursionError):
            return ""
        return str(values.get("stage", "")) if isinstance(values, dict) else ""

    @property
    def _has_parameter(self) -> bool:
        return PARAMETER in self.config.parameters

    @functools.cached_property
    def requests(self) -> tuple[dict[str, Any], ...]:
        """Options of the requests for an engine, of all versions that are loaded."""
        found = []
        for version in self.versions:
            if f"{version}/{REQUEST_FILE}" in self.files:
                options = _json(self.path / str(version) / REQUEST_FILE).get("options")
                found.append(options if isinstance(options, dict) else {})
        return tuple(found)


@dataclass(frozen=True)
class RepositoryView:
    """All models, by name."""

    models: Mapping[str, ModelFolder]


def read_repository(repository: Path) -> RepositoryView:
    """Read the configurations, and list the folders; what cannot be read is told in `unread`."""
    folders = sorted(path.parent for path in repository.glob(f"*/{CONFIG}"))
    return RepositoryView({folder.name: _read_model(folder) for folder in folders if folder.name[0] != "."})


def _read_model(folder: Path) -> ModelFolder:
    config, unread = pb.ModelConfig(), ""
    try:
        with (folder / CONFIG).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES >> 20} MiB")
        text_format.Parse(content.decode(), config)
    except _PARSE_ERRORS as error:
        config, unread = pb.ModelConfig(), f"{type(error).__name__}: {error}"
    files, folders = _listing(folder)
    return ModelFolder(folder.name, folder, config, unread, files, folders)


def _listing(folder: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    files: dict[str, int] = {}
    folders = []
    for entry in _entries(folder):
        if entry.is_dir():
            folders.append(entry.name)
            for inner in _entries(entry):
                if inner.is_file():
                    files[f"{entry.name}/{inner.name}"] = inner.stat().st_size
        elif entry.is_file():
            files[entry.name] = entry.stat().st_size
    return files, tuple(folders)


def _entries(folder: Path) -> list[Path]:
    """What the folder holds; nothing where it may not be read, as then Triton may not either."""
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes()[:_MOST_BYTES])
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
