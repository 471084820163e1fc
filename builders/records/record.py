# SPDX-License-Identifier: Apache-2.0
"""One build as it is remembered, and one event in its life."""

from __future__ import annotations

import json
import math
import os
import pwd
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sightline.builders.records.charts import charts_from_training
from sightline.builders.repository import PUBLIC
from sightline.card import ModelCard
from sightline.errors import BuildError
from sightline.naming import MANIFEST, STAGES, stage_model
from sightline.redact import redact

if TYPE_CHECKING:
    from sightline.builders.proof import Proof

Status = Literal["built", "public", "retired", "refused", "removed"]
STATUSES: tuple[Status, ...] = get_args(Status)
What = Literal["built", "published", "refused", "promoted", "rolled back", "failed", "removed", "found"]
TRAINING_RECORD = "record.json"
PROOF_DATA, PROOF_PAGE = "proof/proof.json", "proof/proof.html"
_MAX_TRAINING_BYTES = 4 << 20


@dataclass(frozen=True)
class BuildRecord:
    """What is known of one build.

    id: of the build, 16 hexadecimal digits, as in the version's manifest. number: of the version; Triton's too. status:
    built (never public), public, retired (was public), refused (by its proof), removed. built: UTC, ISO 8601; built_by:
    user name, empty where only the repository tells of the build. source: text, origin, sha256, file, bytes. data: where
    calibration, proof and training pictures came from. metrics: by "proof" and "training". sizes: bytes by "source",
    "engine" and "version". proof_report: HTML page, relative to the repository, absolute for a refused build.
    """

    id: str
    name: str
    number: int
    status: Status
    target: str
    built: str
    built_by: str
    sightline: str
    card: Mapping[str, Any]
    source: Mapping[str, Any]
    data: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    charts: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    proof_report: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Event:
    """Something that happened to a version. at: UTC, ISO 8601; by: user name; before: the version public before it."""

    name: str
    number: int
    what: str
    at: str
    by: str
    before: int | None = None
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def record_of_build(
    folder: Path,
    name: str,
    number: int,
    *,
    status: Status,
    built_by: str = "",
    card: ModelCard | None = None,
    proof: Proof | None = None,
    proof_report: str = "",
    step_seconds: Mapping[str, float] | None = None,
) -> BuildRecord:
    """The record of the version whose stage folders lie in `folder`: the repository, or a build's staging folder.

    card: as the build used it; its source file's neighbour record.json tells of the training. proof: left out, it is
    read from the version. Raises BuildError where the version has no manifest.
    """
    network = folder / stage_model(name, number, "network")
    manifest = read_object(network / PUBLIC / name / MANIFEST)
    if not manifest:
        raise BuildError(f"version {number} of {name} in {folder} has no manifest that can be read")
    source = _object(manifest.get("source"))
    proven = proof.to_dict() if proof else read_object(network / PROOF_DATA)
    training = _training(card, str(source.get("sha256", ""))) if card else {}
    if not proof_report and (network / PROOF_PAGE).is_file():
        proof_report = f"{network.name}/{PROOF_PAGE}"
    engine = _object(manifest.get("engine"))
    shown_card = _without_secrets(_object(manifest.get("card")))
    metrics = {key: value for key, value in (("proof", proven), ("training", training)) if value}
    return BuildRecord(
        id=str(manifest.get("build", "")) or f"{name}-{number}",
        name=name,
        number=number,
        status=status,
        target=str(manifest.get("target", "local")),
        built=str(manifest.get("built", "")),
        built_by=built_by,
        sightline=str(manifest.get("version", "")),
        card=shown_card,
        source={"text": shown_card.get("source", ""), **_without_secrets(source)},
        data=_data(manifest, proven, training, shown_card),
        metrics=_finite(metrics),
        charts=_finite(charts_from_training(training)),
        engine={**engine, **_engine_facts(manifest)},
        head=_object(manifest.get("head")),
        preprocess=_finite(_object(manifest.get("preprocess"))),
        step_seconds={key: round(value, 3) for key, value in (step_seconds or {}).items()},
        sizes=_sizes(folder, name, number, source, engine),
        proof_report=proof_report,
    )


def record_from_dict(values: Mapping[str, Any]) -> BuildRecord:
    """Read a record back; fields of later versions are left out."""
    known = BuildRecord.__dataclass_fields__
    return BuildRecord(**{key: value for key, value in values.items() if key in known})


def user_name() -> str:
    """Of the user who runs this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def now() -> str:
    """UTC, ISO 8601, seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object out of a file; empty where there is none, or none that can be read."""
    try:
        if path.stat().st_size > _MAX_TRAINING_BYTES:
            return {}
        return _object(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _training(card: ModelCard, sha256: str) -> dict[str, Any]:
    """What training wrote beside the source; empty where that tells of other weights."""
    if card.scheme != "file":
        return {}
    found = read_object(card.source_path.parent / TRAINING_RECORD)
    return found if found.get("onnx_sha256", sha256) == sha256 else {}


def _data(
    manifest: Mapping[str, Any],
    proof: Mapping[str, Any],
    training: Mapping[str, Any],
    card: Mapping[str, Any],
) -> dict[str, str]:
    found = {
        "calibration": manifest.get("calibration") or _object(card.get("calibration")).get("images"),
        "proof": proof.get("data") or _object(card.get("proof")).get("images"),
        "training": _training_data(_object(training.get("training"))),
    }
    return {key: redact(str(value)) for key, value in found.items() if value}


def _training_data(training: Mapping[str, Any]) -> str:
    where = training.get("data") or (f"drawn {training['drawn']}" if training.get("drawn") else "")
    count = training.get("images")
    return ", ".join(str(part) for part in (where, f"{count} images" if count else "") if part)


def _engine_facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    facts = ("kept_precise", "onnx_sha256", "sensitivity", "instances")
    return {key: manifest[key] for key in facts if manifest.get(key) is not None}


def _sizes(
    folder: Path, name: str, number: int, source: Mapping[str, Any], engine: Mapping[str, Any]
) -> dict[str, int]:
    stages = [folder / stage_model(name, number, stage) for stage in STAGES]
    files = [path for stage in stages for path in stage.rglob("*") if path.is_file()]
    return {
        "source": int(source.get("bytes", 0)),
        "engine": int(engine.get("bytes", 0)),
        "version": sum(path.stat().st_size for path in files),
    }


def _without_secrets(values: Any) -> Any:
    """The same values; texts are redacted, also those that their key tells to be secret."""
    if isinstance(values, dict):
        return {key: _hidden(key, value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_without_secrets(value) for value in values]
    return redact(values) if isinstance(values, str) else values


def _hidden(key: Any, value: Any) -> Any:
    if isinstance(value, str) and redact(f"{key}={value}") == f"{key}=***":
        return "***" if value else value
    return _without_secrets(value)


def _finite(values: Any) -> Any:
    """The same values with None for what JSON cannot hold."""
    if isinstance(values, Mapping):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
