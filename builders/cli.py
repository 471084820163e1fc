# SPDX-License-Identifier: Apache-2.0
"""`sightline build`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.builders.models_cli import models_app

if TYPE_CHECKING:
    from sightline.builders.build import BuildReport, Choices
    from sightline.builders.stopping import Stop
    from sightline.card import ModelCard

_DEFAULT_REPOSITORY = Path("triton_models")

_HELP = """Turn a trained model into the next version of a Triton model, proven to answer like its source.

SOURCE is a model file (.onnx, TorchScript, Ultralytics .pt, .keras, SavedModel folder), a library's architecture
(torchvision:resnet18, timm:NAME, ultralytics:yolo11n.yaml, huggingface:FOLDER, python:package.module:factory), a model
card (.yaml), or the name of a shipped model.

Examples:

    sightline build street_detect                       the shipped detector

    sightline build yolo11n.onnx                        Ultralytics export: size and labels are in the file

    sightline build my.onnx --labels names.txt --name my_cameras --score 0.4

    sightline build torchvision:resnet50 --task classify --weights resnet50.safetensors

    sightline build python:my.net:make --arg classes=4 --weights net.safetensors --task semantic --size 512x512

    sightline build my.yaml --precision int8 --calibration recording.mp4

    sightline build my.yaml --target server             TensorRT and DALI, for NVIDIA's container

    sightline build my.onnx --write-card my.yaml        keep the choices; edit the card, then: sightline build my.yaml

Then start the server with: sightline serve. A server that is already serving the repository changes to the new
version without failing a request.
"""


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    from sightline.builders.train.cli import app as train_app

    app.command("build", help=_HELP)(build)
    app.add_typer(models_app, name="models")
    app.add_typer(train_app, name="train")


def build(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Model file, architecture, card .yaml, or shipped model.")
    ],
    repository: Annotated[Path, typer.Option(help="Folder of the repository.")] = _DEFAULT_REPOSITORY,
    name: Annotated[str | None, typer.Option(help="Name on the server; from the file's by default.")] = None,
    task: Annotated[
        str | None, typer.Option(help="classify, detect, segment, semantic or embed.", metavar="TASK")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="How its outputs are read, such as yolov8; recognised by default.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file with a class name a line.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Input size, such as 640x640.")] = None,
    score: Annotated[float | None, typer.Option(help="Lowest score that is reported, 0..1.")] = None,
    iou: Annotated[float | None, typer.Option(help="Overlap from which a box is suppressed, 0..1.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Safetensors or state_dict file for an architecture.")
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Keyword argument of the architecture.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="Submodule that is served.")] = None,
    batch: Annotated[int | None, typer.Option(help="Most images in a request.")] = None,
    engine: Annotated[str | None, typer.Option(help="openvino, onnxruntime or tensorrt.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, fp16, bf16, int8 or fp8.")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Pictures or a recording to calibrate int8 and fp8 on."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures to prove the build on; drawn ones by default."),
    ] = None,
    target: Annotated[str, typer.Option(help="Where it will run: local, server or jetson.")] = "local",
    prove: Annotated[
        bool, typer.Option("--proof/--no-proof", help="Compare the served model with its source first.")
    ] = True,
    allow_drift: Annotated[
        bool, typer.Option(help="Keep a version that fails the proof; it does not become public.")
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Clients get the new version at once.")
    ] = True,
    write_card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the model card to this file too.")
    ] = None,
) -> None:
    """Build the next version of a model."""
    from sightline.builders.stopping import Stop

    values = {
        "name": name,
        "task": task,
        "head": head,
        "labels": _labels(labels),
        "weights": weights.absolute() if weights else None,
        "source_args": dict(map(_argument, arg or ())),
        "branch": branch,
        "input": {"size": _size(size) if size else None},
        "limits": {"score": score, "iou": iou},
        "engine": {"kind": engine, "batch": _batch(batch), "precision": precision},
        "calibration": {"images": calibration.absolute() if calibration else None},
        "proof": {"images": images.absolute() if images else None},
    }
    choices = _choices(target, publish, prove, allow_drift)
    with Stop() as stop:
        done: list[BuildReport] = []
        try:
            card = _card(source, _given(values))
            if write_card:
                _write_card(card, write_card)
            _build(card, repository, choices, stop, done)
        except BaseException as error:  # libraries make errors of their own of a Ctrl-C
            if stop.number is None:
                raise
            typer.secho(f"error: {_stopped(stop, done, repository)}", err=True, fg=typer.colors.RED)
            raise typer.Exit(stop.exit_code) from error


def _build(card: ModelCard, repository: Path, choices: Choices, stop: Stop, done: list[BuildReport]) -> None:
    """done: gets the report when the version is in the repository."""
    from sightline.builders.build import repository_from_card
    from sightline.builders.build_show import BuildProgress, print_report

    with BuildProgress(stop.check, done.append) as progress:
        report = repository_from_card(card, repository, choices, progress=progress)
        if report.public:
            _tell_server(report, progress)
    print_report(report, default_repository=repository == _DEFAULT_REPOSITORY)


def _stopped(stop: Stop, done: list[BuildReport], repository: Path) -> str:
    if not done:
        return f"stopped {stop.words}; nothing was published, and what was in {repository} is unchanged"
    report = done[0]
    name = f"{report.name}:{report.number}"
    if not report.public:
        return f"stopped {stop.words} when the build was done; {name} is in {repository}, not public"
    return (
        f"stopped {stop.words} when the build was done: {name} is public in {repository}. Where a server serves it: "
        f"sightline models promote {name} --repository {repository}"
    )


def _tell_server(report: BuildReport, progress: Any) -> None:
    """A server that is serving the repository gets the new version; where it cannot load it, the old one stays."""
    from sightline.builders.publish import publish_version

    publish_version(report.repository, report.name, report.number, report.before, progress.note)


def _choices(target: str, publish: bool, prove: bool, allow_drift: bool) -> Choices:
    from sightline.builders.build import Choices
    from sightline.builders.entries.context import TARGETS
    from sightline.errors import CardError

    found = next((known for known in TARGETS if known == target), None)
    if found is None:
        raise CardError(f"--target is {target!r}; it must be one of {', '.join(TARGETS)}")
    is_local = found == "local"
    return Choices(found, publish, prove and is_local, allow_drift, measure=is_local)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """The card fields that were given on the command line."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        inner = {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
        if inner is not None and inner != {}:
            kept[key] = inner
    return kept


def _labels(path: Path | None) -> tuple[str, ...] | None:
    from sightline.builders.cards import check_plain
    from sightline.card import MAX_CARD_BYTES, read_labels
    from sightline.errors import CardError

    if path is None:
        return None
    if path.exists():
        check_plain(path, "--labels")
        if path.stat().st_size > MAX_CARD_BYTES:
            raise CardError(
                f"labels file {path} has more than {MAX_CARD_BYTES} bytes; it is a class name a line"
            )
    return read_labels(path)


def _batch(batch: int | None) -> tuple[int, ...] | None:
    return None if batch is None else (1, batch) if batch > 1 else (batch,)


def _argument(text: str) -> tuple[str, Any]:
    """KEY=VALUE; the value is read as YAML reads a plain word: a number, true, null, or text."""
    import yaml

    from sightline.errors import CardError

    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise CardError(f"--arg is {text!r}; it must be NAME=VALUE, such as num_classes=4")
    try:
        read = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):  # the 40th of May, a number of 5000 digits
        read = value
    return key, read if isinstance(read, (bool, int, float, str)) or read is None else value


def _size(text: str) -> tuple[int, int]:
    from sightline.errors import CardError

    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text.lower())
    if match is None:
        raise CardError(f"--size is {text!r}; it must be width x height, such as 640x384")
    return int(match[1]), int(match[2])


def _card(source: str, values: dict[str, Any]) -> ModelCard:
    """The card for SOURCE with the command line's choices."""
    from sightline.builders.cards import card_from_source, check_plain, with_values
    from sightline.card import SOURCE_SCHEMES, load_card
    from sightline.errors import CardError
    from sightline.model_repository import shipped_card

    path = Path(source)
    if "\0" in source:
        raise CardError(f"SOURCE is {source!r}; a path cannot hold a zero byte")
    if path.suffix.lower() in (".yaml", ".yml") and source.partition(":")[0] not in SOURCE_SCHEMES:
        if path.exists():
            check_plain(path, "SOURCE")
        card = load_card(path)
    elif path.exists() or path.suffix or ":" in source or path.parent != Path():
        return card_from_source(source, values)
    else:
        card = load_card(shipped_card(source))
    return with_values(card, values) if values else card


def _write_card(card: ModelCard, path: Path) -> None:
    from sightline.builders.cards import card_text
    from sightline.errors import OutputError

    try:
        path.write_text(card_text(card, path.parent), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the card cannot be written to {path}: {error.strerror}") from error
