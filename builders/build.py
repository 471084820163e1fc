# SPDX-License-Identifier: Apache-2.0
"""The whole way from a model card to a repository entry."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

from sightline import __version__
from sightline.builders.config import (
    LABELS_FILE,
    STAGES,
    EntryContext,
    config_text,
    entry_configs,
    usable_cores,
)
from sightline.builders.engine import Engine, model_from_onnx, write_engine
from sightline.builders.onnx_source import OnnxSource, open_onnx
from sightline.builders.repository import (
    MANIFEST,
    PART_MANIFEST,
    check_replaceable,
    install_entry,
    staging_folder,
    write_file,
    write_json,
)
from sightline.card import ModelCard
from sightline.errors import CardError

Step = Literal["check", "convert", "test run", "write"]
STEPS: tuple[Step, ...] = get_args(Step)
Progress = Callable[[Step], None]

_STAGE_SHIM = (
    "# Written by `sightline build`. Triton loads the stage from here; its code is in the package.\n"
    "from sightline.builders.stages.{stage} import TritonPythonModel as TritonPythonModel\n"
)


@dataclass(frozen=True)
class BuildReport:
    """What a build did. milliseconds_per_image: the network alone, one thread, in the test run."""

    name: str
    repository: Path
    models: tuple[str, ...]
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    raw_shapes: tuple[tuple[int, ...], ...]
    engine: str
    precision: str
    compared_with: str
    largest_difference: float
    milliseconds_per_image: float
    instances: int
    replaced: bool
    seconds: float


def repository_from_card(
    card: ModelCard, repository: Path, *, progress: Progress | None = None
) -> BuildReport:
    """Build the card's model and write its entry into `repository`, replacing an older one of the same name.

    progress: called with the name of each step (STEPS) when it begins.
    Raises CardError, BuildError and its subclasses, or OutputError; the old entry stays whole then.
    """
    started = time.monotonic()
    step = progress or (lambda _: None)
    step("check")
    _check_labels(card.labels)
    models = [*(f"{card.name}_{stage}" for stage in STAGES), f"{card.name}_frames", card.name]
    check_replaceable(repository, card.name, models)
    source = open_onnx(card.source)
    step("convert")
    converted = model_from_onnx(source, card)
    with staging_folder(repository) as staging:
        step("test run")
        (staging / "engine").mkdir()
        engine = write_engine(converted, source, card, staging / "engine")
        step("write")
        replaced = (repository / card.name).exists()
        raw_dims = tuple(shape[1:] for shape in engine.shapes)
        context = EntryContext(card, engine.labels, raw_dims, __version__, usable_cores())
        _write_models(context, source, engine, staging)
        install_entry(staging, repository, card.name, models)
    return BuildReport(
        name=card.name,
        repository=repository,
        models=tuple(models),
        labels=engine.labels,
        input_size=card.input.size,
        raw_shapes=engine.shapes,
        engine=f"{engine.kind} {engine.version.partition('-')[0]}",
        precision=card.engine.precision,
        compared_with=engine.compared_with,
        largest_difference=engine.largest_difference,
        milliseconds_per_image=engine.milliseconds,
        instances=context.network_instances,
        replaced=replaced,
        seconds=time.monotonic() - started,
    )


def _check_labels(labels: tuple[str, ...]) -> None:
    for label in labels:
        if not label.isprintable() or not label.strip() or len(label) > 200:
            raise CardError(f"the label {label!r} must be 1 to 200 printable characters on one line")


def _write_models(context: EntryContext, source: OnnxSource, engine: Engine, staging: Path) -> None:
    """All model folders into staging/new."""
    name = context.card.name
    build_id = secrets.token_hex(8)
    part = {"written_by": "sightline", "model": name, "build": build_id, "version": context.version}
    for model, config in entry_configs(context).items():
        folder = staging / "new" / model
        write_file(folder / "config.pbtxt", config_text(config).encode())
        if config.platform == "ensemble":
            (folder / "1").mkdir()
            write_file(folder / LABELS_FILE, "".join(f"{label}\n" for label in context.labels).encode())
        elif config.backend == "python":
            stage = model.removeprefix(f"{name}_")
            write_file(folder / "1" / "model.py", _STAGE_SHIM.format(stage=stage).encode())
        else:
            (folder / "1").mkdir(parents=True)
        if model != name:
            write_json(folder / PART_MANIFEST, part)
    for path in sorted((staging / "engine").iterdir()):
        path.rename(staging / "new" / f"{name}_network" / "1" / path.name)
    write_json(
        staging / "new" / name / MANIFEST, {**part, **_manifest(context, source, engine, staging / "new")}
    )


def _manifest(context: EntryContext, source: OnnxSource, engine: Engine, folder: Path) -> dict[str, Any]:
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    card = context.card.model_copy(update={"source": Path(source.path.name), "labels": context.labels})
    return {
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "card": card.model_dump(mode="json"),
        "source": {"file": source.path.name, "sha256": source.sha256, "bytes": len(source.content)},
        "engine": {key: value for key, value in asdict(engine).items() if key != "labels"},
        "target": "local",
        "instances": context.network_instances,
        "files": files,
    }
