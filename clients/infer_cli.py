# SPDX-License-Identifier: Apache-2.0
"""`sightline infer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.results import Detections

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SHOW_PROGRESS_FROM_IMAGES = 5
FEW_IMAGES = 3

_HELP = """Ask a server what is in images. A folder stands for the JPEG, PNG and WebP files in it.

    sightline infer photo.jpg

    sightline infer photos/ --draw drawn/      copies with boxes drawn on them

    sightline infer a.jpg b.png --json         one JSON object a line

    sightline infer a.jpg --model my --score 0.5 --server 10.0.0.5:8001

    sightline infer a.jpg --protocol http      port 8000 unless --server has one

An image that cannot be used prints its error and the others go on; the exit status is 1 when any failed.
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
        Path | None, typer.Option(metavar="DIR", help="Write copies with boxes drawn there.")
    ] = None,
    score: Annotated[float, typer.Option(min=0, max=1, help="Leave out objects below this score.")] = 0.0,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait for each image.")] = 10.0,
) -> None:
    """See _HELP."""
    from rich.console import Console

    from sightline.clients import Client
    from sightline.errors import SightlineError

    if protocol not in ("grpc", "http"):
        raise typer.BadParameter(f"--protocol is {protocol!r}; it must be grpc or http")
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    paths = _image_files(images)
    targets = _targets(paths, draw)
    failed = 0
    with Client(server, protocol=protocol, timeout_seconds=timeout) as client:  # type: ignore[arg-type]
        client.labels(model)  # an absent server or unknown model ends everything here
        with _progress(errors, len(paths), as_json) as step:
            for path, outcome in zip(paths, client.detect_each(model, paths), strict=True):
                step()
                try:
                    if isinstance(outcome, SightlineError):
                        raise outcome
                    found = outcome.above(score)
                    drawn = _draw(path, found, targets[path]) if draw else None
                except SightlineError as error:
                    failed += 1
                    _print_error(console, errors, path, error, as_json)
                else:
                    _print_found(console, path, found, drawn, as_json, small=len(paths) > FEW_IMAGES)
    if len(paths) > 1 and not as_json:
        console.print(
            f"{len(paths) - failed} of {len(paths)} images answered", style="red" if failed else "green"
        )
    raise typer.Exit(1 if failed else 0)


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


def _draw(path: Path, found: Detections, target: Path) -> Path:
    """Write a copy of the image, upright, with the detections drawn on it."""
    import numpy as np
    from PIL import Image, ImageOps

    from sightline.clients.draw import draw_detections
    from sightline.errors import OutputError

    try:
        with Image.open(path) as opened:
            picture = np.array(ImageOps.exif_transpose(opened).convert("RGB"))
        draw_detections(picture, found)
        Image.fromarray(picture).save(target, quality=92)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise OutputError(
            f"{target} cannot be written: {getattr(error, 'strerror', None) or error}"
        ) from error
    return target


def _print_error(console: Console, errors: Console, path: Path, error: Exception, as_json: bool) -> None:
    import json

    from rich.text import Text

    from sightline.redact import redact

    text = redact(str(error))
    if as_json:
        typer.echo(json.dumps({"image": str(path), "error": text, "kind": type(error).__name__}))
    else:
        errors.print(Text(f"{path}: {text.removeprefix(f'image {path} ')}", style="red"), soft_wrap=True)


def _print_found(
    console: Console, path: Path, found: Detections, drawn: Path | None, as_json: bool, *, small: bool
) -> None:
    import json

    from rich.text import Text

    if as_json:
        value = {"image": str(path), "detections": found.to_dicts()} | (
            {"drawn": str(drawn)} if drawn else {}
        )
        typer.echo(json.dumps(value))
        return
    where = f" → {drawn}" if drawn else ""
    if small or not len(found):
        console.print(Text(f"{path}: {_summary(found)}{where}"), soft_wrap=True)
    else:
        console.print(_table(path, found))
        if drawn:
            console.print(Text(f"drawn{where}"), soft_wrap=True)


def _summary(found: Detections) -> str:
    """Such as '3 car, 1 bus'."""
    from collections import Counter

    counts = Counter(d.label for d in found)
    return ", ".join(f"{number} {label}" for label, number in counts.most_common()) or "nothing found"


def _table(path: Path, found: Detections) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from sightline.clients.draw import class_colour

    table = Table(
        title=str(path), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("object")
    table.add_column("score", justify="right")
    for name in ("left", "top", "width", "height"):
        table.add_column(name, justify="right")
    for item in found:
        x1, y1, x2, y2 = item.box
        red, green, blue = class_colour(item.class_id)
        label = Text.assemble(("■ ", f"rgb({red},{green},{blue})"), item.label)
        table.add_row(label, f"{item.score:.0%}", *(f"{v:.0f}" for v in (x1, y1, x2 - x1, y2 - y1)))
    return table
