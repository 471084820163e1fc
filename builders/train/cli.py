# SPDX-License-Identifier: Apache-2.0
"""`sightline train`: a command for each task, and the shipped detector where none is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sightline.errors import SightlineError

_HELP = """Train a model on your own pictures, or the shipped ones again on drawn scenes
(pip install 'sightline[train,server]').

Examples:

    sightline train classify --data pictures               one subfolder a class

    sightline train detect --data coco.json --images pictures

    sightline train segment --data coco.json --images pictures

    sightline train semantic --data pictures --maps maps --labels names.txt

    sightline train embed --data pictures                  one subfolder an identity

    sightline train classify                               without --data: drawn scenes, as the shipped model

    sightline train --minutes 70 --out model_repository/street_detect      the shipped detector again

Each writes model.onnx, card.yaml, labels.txt, record.json with what was measured, and training.png into --out;
then: sightline build OUT/card.yaml. An interrupted run goes on when the same command is given again.
"""

app = typer.Typer(
    name="train", help=_HELP, invoke_without_command=True, add_completion=False, rich_markup_mode=None
)

_STREET_DETECT = Path("model_repository/street_detect")
Out = Annotated[Path, typer.Option(help="Folder for the model, its card and its record.")]
Work = Annotated[
    Path | None, typer.Option(help="Keep drawn data and the checkpoint in this folder, and reuse them.")
]
Epochs = Annotated[float | None, typer.Option(min=0.001, help="How often each picture is seen.")]
Minutes = Annotated[
    float | None, typer.Option(min=0.01, help="End the training after this time at the latest.")
]
Batch = Annotated[int | None, typer.Option(min=1, help="Pictures a step.")]
Rate = Annotated[float | None, typer.Option(min=1e-7, help="Highest learning rate.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is random.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="auto (mixed on CUDA), fp32 or mixed.")]
Patience = Annotated[
    int, typer.Option(min=0, help="Stop after so many evaluations without a better one; 0: never.")
]
Evaluations = Annotated[int, typer.Option(min=1, help="How often the run is measured on held-out pictures.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0: one a core.")]
InputSize = Annotated[
    str | None, typer.Option(metavar="WxH", help="Size of the network's input, such as 384x224.")
]
Start = Annotated[
    Path | None, typer.Option(help="model.onnx of a detector trained here, whose weights it begins with.")
]


def _size(text: str | None, usual: tuple[int, int]) -> tuple[int, int]:
    if text is None:
        return usual
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()) or not (
        16 <= int(width) <= 4096 and 16 <= int(height) <= 4096
    ):
        raise SightlineError(
            f"--size is {text!r}; it must be width x height, 16 to 4096 pixels each, such as 384x224"
        )
    return int(width), int(height)


def _start(job: Callable[..., dict[str, Any]], values: dict[str, Any], *given: Any, **named: Any) -> None:
    """Run a job with a progress bar, then print what was measured."""
    from sightline.builders.train.progress import Bar
    from sightline.builders.train.run import Options

    with Bar() as bar:
        record = job(Options(**values), bar, *given, **named)
    figures = {k: v for k, v in _flat(record["held_out"]).items() if isinstance(v, (int, float))}
    typer.echo("held out: " + ", ".join(f"{k} {v}" for k, v in figures.items()))


def _flat(held_out: dict[str, Any]) -> dict[str, Any]:
    """The figures with those of inner groups, such as masks, under "masks map50"; those of classes are left out."""
    flat: dict[str, Any] = {}
    for key, value in held_out.items():
        if not isinstance(value, dict):
            flat[key] = value
        elif "map50" in value:
            flat |= {f"{key} {inner}": v for inner, v in value.items() if inner.startswith("map")}
    return flat


@app.callback()
def street_detect(
    context: typer.Context,
    out: Out = _STREET_DETECT,
    minutes: Annotated[float, typer.Option(min=0.1, help="Time for the training itself.")] = 70.0,
    seed: Seed = 1,
    device: Device = "auto",
    data: Annotated[
        Path | None, typer.Option(help="Keep drawn frames and checkpoint here, and resume from it.")
    ] = None,
) -> None:
    """Train the shipped detector again where no task is named."""
    if context.invoked_subcommand is None:
        from sightline.builders.train.jobs import train_detect

        values = {"out": out, "work": data, "minutes": minutes, "seed": seed, "device": device}
        _start(train_detect, values)


@app.command()
def classify(
    out: Out,
    data: Annotated[Path | None, typer.Option(help="Folder with one subfolder of pictures a class.")] = None,
    size: InputSize = None,
    flip: Annotated[bool, typer.Option(help="Mirrored pictures are of the same class.")] = False,
    work: Work = None, epochs: Epochs = None, minutes: Minutes = None, batch: Batch = None, rate: Rate = None,
    seed: Seed = 1, device: Device = "auto", precision: Precision = "auto", patience: Patience = 0,
    evaluations: Evaluations = 10, threads: Threads = 0,
) -> None:  # fmt: skip
    """Train a classifier: which class is a picture of?"""
    from sightline.builders.train.jobs import train_classify

    values = _values(locals())
    _start(train_classify, values, data, _size(size, (64, 64)), flip=flip)


@app.command()
def detect(
    out: Out,
    data: Annotated[Path | None, typer.Option(help="COCO file.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of its pictures; the file's own by default.")] = None,
    size: InputSize = None,
    work: Work = None, epochs: Epochs = None, minutes: Minutes = None, batch: Batch = None, rate: Rate = None,
    seed: Seed = 1, device: Device = "auto", precision: Precision = "auto", patience: Patience = 0,
    evaluations: Evaluations = 10, threads: Threads = 0,
) -> None:  # fmt: skip
    """Train a detector: boxes around objects."""
    from sightline.builders.train.jobs import train_detect

    values = _values(locals())
    _start(train_detect, values, data, images, _size(size, (384, 224)))


@app.command()
def segment(
    out: Out,
    data: Annotated[Path | None, typer.Option(help="COCO file with outlines or run lengths.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of its pictures; the file's own by default.")] = None,
    start: Start = None,
    size: InputSize = None,
    work: Work = None, epochs: Epochs = None, minutes: Minutes = None, batch: Batch = None, rate: Rate = None,
    seed: Seed = 1, device: Device = "auto", precision: Precision = "auto", patience: Patience = 0,
    evaluations: Evaluations = 10, threads: Threads = 0,
) -> None:  # fmt: skip
    """Train an instance segmenter: the outline of each object."""
    from sightline.builders.train.jobs import train_segment

    values = _values(locals())
    _start(train_segment, values, data, images, _size(size, (384, 224)), start=start)


@app.command()
def semantic(
    out: Out,
    data: Annotated[Path | None, typer.Option(help="Folder of pictures.")] = None,
    maps: Annotated[Path | None, typer.Option(help="Folder of class maps: a PNG of each picture's name.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file with a class name a line.")] = None,
    start: Start = None,
    frozen: Annotated[bool, typer.Option(help="Leave the weights of --start as they are; a tenth of the time.")] = False,
    size: InputSize = None,
    work: Work = None, epochs: Epochs = None, minutes: Minutes = None, batch: Batch = None, rate: Rate = None,
    seed: Seed = 1, device: Device = "auto", precision: Precision = "auto", patience: Patience = 0,
    evaluations: Evaluations = 10, threads: Threads = 0,
) -> None:  # fmt: skip
    """Train a semantic segmenter: a class for each pixel."""
    from sightline.builders.train.jobs import train_semantic

    values = _values(locals())
    _start(train_semantic, values, data, maps, labels, _size(size, (384, 224)), start=start, frozen=frozen)


@app.command()
def embed(
    out: Out,
    data: Annotated[Path | None, typer.Option(help="Folder with one subfolder of pictures an identity.")] = None,
    start: Start = None,
    size: InputSize = None,
    work: Work = None, epochs: Epochs = None, minutes: Minutes = None, batch: Batch = None, rate: Rate = None,
    seed: Seed = 1, device: Device = "auto", precision: Precision = "auto", patience: Patience = 0,
    evaluations: Evaluations = 10, threads: Threads = 0,
) -> None:  # fmt: skip
    """Train an embedder: pictures of one thing lie close together."""
    from sightline.builders.train.jobs import train_embed

    values = _values(locals())
    _start(train_embed, values, data, _size(size, (96, 96)), start=start)


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """Those of a command's parameters that every run has."""
    names = (
        "out", "work", "epochs", "minutes", "batch", "rate", "seed", "device", "precision", "patience", "evaluations",
        "threads",
    )  # fmt: skip
    return {name: given[name] for name in names}


def train(
    out: Path, minutes: float = 70.0, seed: int = 1, device: str = "auto", data: Path | None = None
) -> dict[str, Any]:
    """Train the shipped detector again; see jobs.train_detect()."""
    from sightline.builders.train.jobs import train_detect
    from sightline.builders.train.progress import Bar
    from sightline.builders.train.run import Options

    with Bar() as bar:
        return train_detect(Options(out=out, work=data, minutes=minutes, seed=seed, device=device), bar)
