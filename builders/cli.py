# SPDX-License-Identifier: Apache-2.0
"""`sightline build` and `sightline train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sightline.builders.build import BuildReport
    from sightline.card import ModelCard

_DEFAULT_REPOSITORY = Path("triton_models")

_HELP = """Turn a trained model into a Triton model repository entry.

SOURCE is an .onnx file, a model card (.yaml), or the name of a shipped model.

Examples:

    sightline build street_detect                       the shipped detector

    sightline build yolo11n.onnx                        Ultralytics export: size and labels are in the file

    sightline build my.onnx --labels names.txt --name my_cameras --score 0.4

    sightline build my.onnx --write-card my.yaml        keep the choices; edit the card, then:

    sightline build my.yaml

Then start the server with: sightline serve
"""


_TRAIN_HELP = """Train the shipped detector again on drawn street scenes (pip install 'sightline[train]').

Examples:

    sightline train --minutes 70 --out model_repository/street_detect

    sightline train --data scenes --seed 2          keep the drawn frames, and resume when interrupted

Writes model.onnx, labels.txt, record.json with what was measured, and training.png.
"""


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command("build", help=_HELP)(build)
    app.command("train", help=_TRAIN_HELP)(train)


def build(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="An .onnx file, a card .yaml, or a shipped model's name.")
    ],
    repository: Annotated[Path, typer.Option(help="Folder of the repository.")] = _DEFAULT_REPOSITORY,
    name: Annotated[str | None, typer.Option(help="Name on the server; from the file's by default.")] = None,
    task: Annotated[str | None, typer.Option(help="What the model does: detect.")] = None,
    head: Annotated[str | None, typer.Option(help="How its outputs are read: yolov8 (also YOLO11).")] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file with a class name a line.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Input size, such as 640x640.")] = None,
    score: Annotated[float | None, typer.Option(help="Lowest score that is reported, 0..1.")] = None,
    iou: Annotated[float | None, typer.Option(help="Overlap from which a box is suppressed, 0..1.")] = None,
    batch: Annotated[int | None, typer.Option(help="Most images in a request.")] = None,
    precision: Annotated[str | None, typer.Option(help="Of the stored weights: fp16 or fp32.")] = None,
    write_card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the model card to this file too.")
    ] = None,
) -> None:
    """Build a repository entry."""
    from sightline.builders.build import repository_from_card

    values = _chosen(name, task, head, labels, size, score, iou, batch, precision)
    card = _card(source, values)
    if write_card:
        _write_card(card, write_card)
    with _Steps() as steps:
        report = repository_from_card(card, repository, progress=steps)
    _print_report(report, default_repository=repository == _DEFAULT_REPOSITORY)


def train(
    out: Annotated[Path, typer.Option(help="Folder for the model and its record.")] = Path(
        "model_repository/street_detect"
    ),
    minutes: Annotated[float, typer.Option(min=0.1, help="Time for the training itself.")] = 70.0,
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data: Annotated[
        Path | None, typer.Option(help="Keep drawn frames and checkpoint here, and resume from it.")
    ] = None,
) -> None:
    """Train the shipped detector."""
    from sightline.builders.train.cli import train as run

    record = run(out, minutes, seed, device, data)
    typer.echo(f"held-out mAP50 {record['held_out']['map50']:.3f}; the record is {out / 'record.json'}")


def _chosen(
    name: str | None,
    task: str | None,
    head: str | None,
    labels: Path | None,
    size: str | None,
    score: float | None,
    iou: float | None,
    batch: int | None,
    precision: str | None,
) -> dict[str, Any]:
    """The card fields that were given on the command line."""
    from sightline.card import read_labels

    fields: dict[str, Any] = {
        "name": name,
        "task": task,
        "head": head,
        "labels": read_labels(labels) if labels else None,
        "input": {"size": _size(size) if size else None},
        "limits": {"score": score, "iou": iou},
        "engine": {
            "batch": (1, batch) if batch and batch > 1 else (batch,) if batch is not None else None,
            "precision": precision,
        },
    }
    for key, value in list(fields.items()):
        if isinstance(value, dict):
            fields[key] = {inner: given for inner, given in value.items() if given is not None} or None
    return {key: value for key, value in fields.items() if value is not None}


def _size(text: str) -> tuple[int, int]:
    from sightline.errors import CardError

    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise CardError(f"--size is {text!r}; it must be width x height, such as 640x384")
    return int(width), int(height)


def _card(source: str, values: dict[str, Any]) -> ModelCard:
    """The card for SOURCE with the command line's choices."""
    from sightline.builders.cards import card_from_onnx, with_values
    from sightline.card import load_card
    from sightline.model_repository import shipped_card

    path = Path(source)
    if path.suffix.lower() in (".yaml", ".yml"):
        card = load_card(path)
    elif path.exists() or path.suffix or path.parent != Path():
        return card_from_onnx(path, values)
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


class _Steps:
    """A progress line a step on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._current: Any = None

    def __enter__(self) -> _Steps:
        self._progress.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._finish()
        self._progress.stop()

    def __call__(self, step: str) -> None:
        self._finish()
        self._current = self._progress.add_task(step, total=1)

    def _finish(self) -> None:
        if self._current is not None:
            self._progress.update(self._current, completed=1)


def _print_report(report: BuildReport, *, default_repository: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    shown = ", ".join(report.labels[:6]) + (", …" if len(report.labels) > 6 else "")
    before = f", was {report.before}" if report.before else ""
    fps = 1000 / max(report.milliseconds_per_image, 1e-3)
    rows = {
        "model": f"{report.name} (files), {report.name}_frames (raw frames)",
        "version": f"version {report.number}{before}" if report.public else f"version {report.number}, not public",
        "head": report.head,
        "repository": str(report.repository),
        "input": f"{report.input_size[0]}x{report.input_size[1]} pixels",
        "labels": f"{len(report.labels)}: {shown}",
        "engine": f"{report.engine}, {report.precision} weights, one thread an instance",
        "network": f"{report.milliseconds_per_image:.1f} ms an image, {fps:.0f} images/s a core",
        "check": f"differs from {report.compared_with} by {report.largest_difference:.3%} of the largest value",
    }
    for key, value in rows.items():
        table.add_row(key, value)
    console = Console(highlight=False, markup=False)
    console.print(table)
    where = "" if default_repository else f" --repository {report.repository}"
    console.print(f"\nnext: sightline serve{where}", soft_wrap=True)
