# SPDX-License-Identifier: Apache-2.0
"""Writes a version's folders into the staging folder: stages, public ensembles, manifest."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline import __version__
from sightline.builders.engine import BuiltEngine
from sightline.builders.engines.gpu_query import find_gpus
from sightline.builders.entries.context import EntryContext, Target, usable_cores
from sightline.builders.entries.entry import (
    ANCHORS_FILE,
    anchors_content,
    labels_file,
    public_configs,
    stage_configs,
)
from sightline.builders.entries.instances import InstanceChoice, cpu_instances, gpu_instances
from sightline.builders.entries.models import config_text
from sightline.builders.entries.warmup import FOLDER as WARMUP
from sightline.builders.entries.warmup import warmup_files
from sightline.builders.network import CanonicalNetwork
from sightline.builders.onnx_source import OnnxSource
from sightline.builders.preprocess.dali_stages import dali_stage_files
from sightline.builders.repository import CONFIG, PUBLIC, write_file, write_json
from sightline.card import ModelCard
from sightline.errors import OutputError
from sightline.naming import MANIFEST, PART_MANIFEST, STAGE_NAME, stage_model

if TYPE_CHECKING:
    from sightline.builders.proof import Proof

PROOF = "proof"
TRIAL = "trial"
_STAGE_SHIM = (
    "# Written by `sightline build`. Triton loads the stage from here; its code is in the package.\n"
    "from sightline.builders.stages.{stage} import TritonPythonModel as TritonPythonModel\n"
)


@dataclass(frozen=True)
class VersionFacts:
    """What a version is made from. origin: the source, for people. number: Triton's version too.

    preprocess: which stage decodes on the target local and the measurements that decided it; empty where nothing was measured.
    """

    card: ModelCard
    source: OnnxSource
    origin: str
    network: CanonicalNetwork
    number: int
    target: Target
    built: BuiltEngine
    preprocess: Mapping[str, Any] = field(default_factory=dict)


def write_version(facts: VersionFacts, staging: Path) -> EntryContext:
    """All stage folders into staging/new, with the engine's files from staging/engine."""
    engine = facts.built.engine
    instances = _instances(facts)
    context = EntryContext(
        card=facts.card,
        plan=facts.network.plan,
        raw_dims=tuple(shape[1:] for shape in facts.network.shapes),
        version=__version__,
        cores=usable_cores(),
        number=facts.number,
        target=facts.target,
        engine=engine.kind,
        decode_module=str(facts.preprocess.get("stage", "decode")),
        gpu_instances=instances.count if engine.kind == "tensorrt" else 1,
        network={"precision": "bf16"} if engine.precision == "bf16" else {},
    )
    part = {
        "written_by": "sightline",
        "model": facts.card.name,
        "number": facts.number,
        "build": secrets.token_hex(8),
        "version": context.version,
    }
    folder = staging / "new"
    for model, config in stage_configs(context).items():
        _write_stage(context, folder / model, config, part)
    for path in sorted((staging / "engine").iterdir()):
        path.rename(folder / context.stage("network") / "1" / path.name)
    _write_public(context, folder, {**part, **_manifest(facts, context, instances, folder)}, part)
    return context


def trial_repository(staging: Path, name: str, number: int) -> Path:
    """A repository in which this version is the public one, staging/TRIAL: links to the stages, copies of the ensembles."""
    trial = staging / TRIAL
    trial.mkdir()
    for folder in (staging / "new").iterdir():
        (trial / folder.name).symlink_to(folder)
    public = staging / "new" / stage_model(name, number, "network") / PUBLIC
    for folder in public.iterdir():
        shutil.copytree(folder, trial / folder.name)
    return trial


def remove_bytecode(folder: Path) -> None:
    """What the proof's server has left beside the stages' code is no part of the version."""
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache, ignore_errors=True)


def write_proof(folder: Path, name: str, number: int, proof: Proof) -> None:
    """Keep the proof with the version."""
    place = folder / stage_model(name, number, "network") / PROOF
    write_json(place / f"{PROOF}.json", proof.to_dict())
    write_file(place / f"{PROOF}.html", proof.report)


def keep_refused(name: str, report: bytes) -> Path:
    """The report of a build that was refused, where its user finds it. Raises OutputError."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(root) / "sightline" / "proofs" / f"{name}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(report)
    except OSError as error:
        raise OutputError(
            f"the report of the refused build cannot be written to {path}: {error.strerror}"
        ) from error
    return path


def _write_stage(context: EntryContext, folder: Path, config: Any, part: dict[str, Any]) -> None:
    match = STAGE_NAME.fullmatch(config.name)
    stage = match["stage"] if match else ""
    write_file(folder / CONFIG, config_text(config).encode())
    (folder / "1").mkdir(parents=True)
    if config.backend == "python":
        module = context.decode_module if stage == "decode" else stage
        write_file(folder / "1" / "model.py", _STAGE_SHIM.format(stage=module).encode())
    if stage == "postprocess" and anchors_content(context):
        write_file(folder / "1" / ANCHORS_FILE, anchors_content(context))
    if config.backend == "dali":
        for name, content in dali_stage_files(
            context.card, "decode" if stage == "decode" else "letterbox"
        ).items():
            write_file(folder / "1" / name, content)
    for name, content in warmup_files(config, context.card).items():
        write_file(folder / WARMUP / name, content)
    write_json(folder / PART_MANIFEST, {**part, "stage": stage})


def _write_public(
    context: EntryContext, folder: Path, manifest: dict[str, Any], part: dict[str, Any]
) -> None:
    labels = "".join(f"{label}\n" for label in context.labels).encode()
    for model, config in public_configs(context).items():
        place = folder / context.stage("network") / PUBLIC / model
        write_file(place / CONFIG, config_text(config).encode())
        write_file(place / labels_file(context.number), labels)
        (place / str(context.number)).mkdir()
        if model == context.card.name:
            write_json(place / MANIFEST, manifest)
        else:
            write_json(place / PART_MANIFEST, part)


def _instances(facts: VersionFacts) -> InstanceChoice:
    """Of the network. This machine's GPUs stand for those of the machine that will serve, where there are any."""
    if facts.built.engine.kind != "tensorrt":
        return cpu_instances(facts.card, usable_cores())
    dims = [shape[1:] for shape in facts.network.shapes]
    return gpu_instances(facts.card, dims, len(facts.network.content), find_gpus().gpus)


def _manifest(
    facts: VersionFacts, context: EntryContext, instances: InstanceChoice, folder: Path
) -> dict[str, Any]:
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    source, built = facts.source, facts.built
    said = context.card.source if context.card.scheme != "file" else context.card.source_path.name
    head = context.card.head
    if head is not None and anchors_content(context):
        head = head.model_copy(update={"anchors": Path(ANCHORS_FILE)})
    card = context.card.model_copy(update={"source": said, "labels": context.labels, "head": head})
    return {
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "card": card.model_dump(mode="json"),
        "source": {
            "file": source.path.name,
            "origin": facts.origin,
            "sha256": source.sha256,
            "bytes": len(source.content),
        },
        "head": {"kind": context.plan.kind, "why": context.plan.why},
        "engine": {key: value for key, value in asdict(built.engine).items() if key != "files"},
        **built.facts,
        "calibration": built.data,
        "preprocess": dict(facts.preprocess),
        "target": facts.target,
        "instances": context.network_instances,
        "instances_why": instances.why,
        "files": files,
    }
