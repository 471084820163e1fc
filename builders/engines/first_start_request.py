# SPDX-License-Identifier: Apache-2.0
"""The request for an engine: what a repository carries for a machine on which its engine has not been built yet.

    NAME_vN_network/1/model.onnx    the network in the precision of the card
    NAME_vN_network/1/engine.json   this request
    NAME_vN_network/1/model.plan    the engine, once it is built
    NAME_vN_network/1/model.plan.json   its manifest

Triton loads model.plan and leaves the others alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.builders.engines.manifest import (
    EngineKey,
    EngineManifest,
    Fit,
    Machine,
    fits,
    manifest_from_json,
)
from sightline.builders.engines.store import PLAN_FILE
from sightline.builders.engines.store_files import sha256_of
from sightline.builders.engines.tensorrt import Hardware, TensorRTOptions
from sightline.builders.engines.tensorrt_api import TensorRTKind
from sightline.errors import BuildError

ONNX_FILE = "model.onnx"
REQUEST_FILE = "engine.json"
MANIFEST_FILE = f"{PLAN_FILE}.json"
_MAX_REQUEST_BYTES = 1 << 16


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: TensorRTKind
    precision: str = Field(pattern=r"[a-z0-9]{2,16}")
    batch: tuple[int, int, int]
    size: tuple[int, int] | None
    workspace_mib: int = Field(ge=16, le=1 << 20)
    version_compatible: bool
    hardware: Hardware
    dla: int | None = Field(default=None, ge=0, le=1)
    capabilities: tuple[int, ...] = ()
    effort: int | None = Field(default=None, ge=0, le=5)


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    written_by: str = Field(pattern="^sightline$")
    format: int = Field(ge=1, le=1)
    onnx_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    options: _Options


@dataclass(frozen=True)
class EngineRequest:
    """A wanted engine. folder: of the model's version, such as NAME_v1_network/1."""

    folder: Path
    onnx_sha256: str
    options: TensorRTOptions

    @property
    def name(self) -> str:
        """The model and version, such as "street_detect_v1_network/1"."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def plan(self) -> Path:
        """Where the engine belongs."""
        return self.folder / PLAN_FILE

    def read_onnx(self) -> bytes:
        """The network. Raises BuildError where it is missing or not the one that is asked for."""
        path = self.folder / ONNX_FILE
        try:
            if sha256_of(path) != self.onnx_sha256:
                raise BuildError(
                    f"{path} is not the network that {REQUEST_FILE} asks for (its SHA-256 differs): it is damaged or "
                    "half copied. Copy the entry again"
                )
            return path.read_bytes()
        except OSError as error:
            raise BuildError(f"{path} cannot be read: {error.strerror}; copy the entry again") from error


def request_text(onnx_sha256: str, options: TensorRTOptions) -> str:
    """What the builder writes into engine.json."""
    content = {
        "written_by": "sightline",
        "format": 1,
        "onnx_sha256": onnx_sha256,
        "options": asdict(options),
    }
    return json.dumps(content, indent=2) + "\n"


def find_requests(repository: Path) -> list[EngineRequest]:
    """All requests of a repository, by name. Raises BuildError where one cannot be read."""
    return [
        read_request(path.parent)
        for path in sorted(repository.glob(f"*/*/{REQUEST_FILE}"))
        if path.parent.name.isdigit()
    ]


def read_request(folder: Path) -> EngineRequest:
    """The request of one version folder. Raises BuildError that names the field."""
    path = folder / REQUEST_FILE
    try:
        if path.stat().st_size > _MAX_REQUEST_BYTES:
            raise BuildError(f"{path} has more than {_MAX_REQUEST_BYTES} bytes; it is not an engine request")
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        request = _Request.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise BuildError(f"{path}: {where} is wrong: {first['msg']}; build the entry again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BuildError(f"{path} cannot be read: {error}; build the entry again") from error
    return EngineRequest(folder, request.onnx_sha256, TensorRTOptions(**request.options.model_dump()))


def placed_fit(request: EngineRequest, machine: Machine) -> Fit:
    """Whether the engine that stands beside the request is whole, the one asked for, and fits the machine.

    `ok` means that nothing has to be done; else `why` says what is wrong with it.
    """
    if not request.plan.exists():
        return Fit(False, "there is no engine yet")
    manifest = checked_manifest(request.folder)
    if manifest is None:
        return Fit(False, "the engine is damaged: it is not the file that its manifest names")
    fit = fits(manifest, machine)
    if not fit.ok or _is_asked_for(request, manifest.key):
        return fit
    return Fit(False, f"there is an engine ({manifest.key.text}), and another one is asked for")


def checked_manifest(folder: Path) -> EngineManifest | None:
    """The manifest of the engine in a version folder, where the engine is byte for byte what it names; else None."""
    plan = folder / PLAN_FILE
    try:
        manifest = manifest_from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        facts = manifest.files[PLAN_FILE]
        is_whole = plan.stat().st_size == facts.bytes and sha256_of(plan) == facts.sha256
    except (OSError, UnicodeDecodeError, BuildError, KeyError):
        return None
    return manifest if is_whole else None


def _is_asked_for(request: EngineRequest, key: EngineKey) -> bool:
    options = request.options
    return (
        key.onnx_sha256 == request.onnx_sha256
        and key.kind == options.kind
        and key.precision == options.precision
        and key.batch == options.batch
        and key.size == (options.size or ())
        and dict(key.options) == options.scalars
        and set(options.capabilities) <= set(key.sm)
    )
