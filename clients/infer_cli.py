# SPDX-License-Identifier: Apache-2.0
"""`sightline infer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.errors import InferenceError
    from sightline.results import Embedding, Result

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SHOW_PROGRESS_FROM_IMAGES = 5
FEW_IMAGES = 3
PLAIN_WIDTH = 160
SCORED_TASKS = ("", "detect", "segment", "classify")

_HELP = """Ask a server what is in images. A folder stands for the JPEG, PNG and WebP files in it.

    sightline infer photo.jpg

    sightline infer photos/ --draw drawn/      copies with boxes, masks, class maps or classes drawn on them

    sightline infer a.jpg b.png --json         one JSON object a line, masks as COCO run lengths

    sightline infer a.jpg --model my --score 0.5 --server 10.0.0.5:8001

    sightline infer a.jpg b.jpg --model my_embedder       how alike they are, -1..1 (cosine)

    sightline infer photos/ --model my_embedder --like car.jpg      the most alike first

    sightline infer a.jpg --protocol http      port 8000 unless --server has one

What is shown follows from the model's task. An image that cannot be used prints its error and the others go on;
the exit status is 1 when any failed.
"""


def register_infer(app: typer.Typer) -> None:
    """Add `infer`."""
    app.command("infer", help=_HELP)(infer)


def infer(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", show_default=False, help="Image files or folders.")
    ],
    model: Annotated[str, typer.Option(help="Name of the model.")] = "street_detect",
    server: Annotated[
        str, typer.Option(help="Address of the server.", show_default="localhost")
    ] = "localhost",
    protocol: Annotated[str, typer.Option(metavar="grpc|http", help="How to talk to it.")] = "grpc",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each image.")
    ] = False,
    draw: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write copies with the results drawn on them there.")
    ] = None,
    score: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out objects and classes below this score.")
    ] = 0.0,
    like: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Of an embedder: list the images by their likeness to this one."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait for each image.")] = 10.0,
) -> None:
    """See _HELP."""
    from rich.console import Console

    from sightline.clients import Client

    if protocol not in ("grpc", "http"):
        raise typer.BadParameter(f"--protocol is {protocol!r}; it must be grpc or http")
    paths = _image_files(images)
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    view = _View(console, errors, as_json, score, len(paths))
    with Client(server, protocol=protocol, timeout_seconds=timeout) as client:  # type: ignore[arg-type]
        # An absent server, an unknown model and options that do not suit it end everything here.
        _check_options(model, client.task(model), draw, score, like)
        targets = _targets(paths, draw)
        view.like = client.embed(model, like) if like else None
        with _progress(errors, len(paths), as_json) as step:
            for path, outcome in zip(paths, client.infer_each(model, paths), strict=True):
                step()
                view.take(path, outcome, targets.get(path))
    view.end()
    raise typer.Exit(1 if view.failed else 0)


@dataclass
class _View:
    """Prints each outcome as it comes, and what can be said of all of them at the end."""

    console: Console
    errors: Console
    as_json: bool
    score: float
    count: int
    like: Embedding | None = None
    failed: int = 0
    embeddings: dict[Path, Embedding] = field(default_factory=dict)

    def take(self, path: Path, outcome: Result | InferenceError, target: Path | None) -> None:
        """One image's result or error; with a target it is drawn there."""
        from sightline.clients.infer_show import draw_copy
        from sightline.errors import SightlineError
        from sightline.results import Classification, Detections, Embedding

        try:
            if isinstance(outcome, SightlineError):
                raise outcome
            found: Result = outcome
            if isinstance(found, (Detections, Classification)):
                found = found.above(self.score)
            drawn = draw_copy(path, found, target) if target else None
        except SightlineError as error:
            self.failed += 1
            _print_error(self.console, self.errors, path, error, self.as_json)
            return
        if isinstance(found, Embedding):
            self.embeddings[path] = found
            if not self.as_json and (self.count > 1 or self.like is not None):
                return  # they are shown together
        self._print_found(path, found, drawn)

    def _print_found(self, path: Path, found: Result, drawn: Path | None) -> None:
        import json

        from rich.text import Text

        from sightline.clients import infer_show

        if self.as_json:
            typer.echo(json.dumps(infer_show.json_value(path, found, drawn, self.like)))
            return
        where = f" → {drawn}" if drawn else ""
        if self.count > FEW_IMAGES:
            self.console.print(Text(f"{path}: {infer_show.summary(found)}{where}"), soft_wrap=True)
        else:
            self.console.print(infer_show.table(path, found), soft_wrap=True)
            if drawn:
                self.console.print(Text(f"drawn{where}"), soft_wrap=True)

    def end(self) -> None:
        """How alike embedded images are, and how many images were answered."""
        from sightline.clients.infer_show import likeness_table

        if self.as_json:
            return
        table = likeness_table(self.embeddings, self.like)
        if table is not None:
            self.console.print(table)
        if self.count > 1:
            self.console.print(
                f"{self.count - self.failed} of {self.count} images answered",
                style="red" if self.failed else "green",
            )


def _check_options(model: str, task: str, draw: Path | None, score: float, like: Path | None) -> None:
    from sightline.clients._answers import a_model_of
    from sightline.errors import BadInputError

    kind = a_model_of(task)
    if like is not None and task not in ("", "embed"):
        raise BadInputError(f"--like is for models that embed; {model} is {kind}")
    if draw is not None and task == "embed":
        raise BadInputError(f"--draw has nothing to draw: {model} is {kind}")
    if score > 0 and task not in SCORED_TASKS:
        raise BadInputError(f"--score is for models that answer with scores; {model} is {kind}")


def _image_files(images: list[Path]) -> list[Path]:
    """The files, and the pictures in the folders, in order and each once."""
    from sightline.errors import BadInputError

    paths: list[Path] = []
    for image in images:
        if image.is_dir():
            inside = sorted(p for p in image.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise BadInputError(f"folder {image} has no file that ends in {', '.join(SUFFIXES)}")
            paths += inside
        else:
            paths.append(image)
    return list(dict.fromkeys(paths))


def _targets(paths: list[Path], folder: Path | None) -> dict[Path, Path]:
    """Where each drawn copy goes: never over one of the images; equal names are numbered."""
    from sightline.errors import OutputError

    if folder is None:
        return {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"folder {folder} cannot be made: {error.strerror}") from error
    targets: dict[Path, Path] = {}
    taken = {path.resolve() for path in paths}
    for path in paths:
        suffix = ".jpg" if path.suffix.lower() in (".jpg", ".jpeg") else ".png"
        target, number = folder / f"{path.stem}{suffix}", 2
        while target.resolve() in taken:
            target, number = folder / f"{path.stem}-{number}{suffix}", number + 1
        targets[path] = target
        taken.add(target.resolve())
    return targets


@contextmanager
def _progress(console: Console, count: int, as_json: bool) -> Iterator[Callable[[], None]]:
    """A bar on standard error for many images; `step()` moves it."""
    if count < SHOW_PROGRESS_FROM_IMAGES or not console.is_terminal or as_json:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("images", total=count)
        yield lambda: bar.advance(task)


def _print_error(console: Console, errors: Console, path: Path, error: Exception, as_json: bool) -> None:
    import json

    from rich.text import Text

    from sightline.redact import redact

    text = redact(str(error))
    if as_json:
        typer.echo(json.dumps({"image": str(path), "error": text, "kind": type(error).__name__}))
    else:
        errors.print(Text(f"{path}: {text.removeprefix(f'image {path} ')}", style="red"), soft_wrap=True)
