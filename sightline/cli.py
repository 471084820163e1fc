# SPDX-License-Identifier: Apache-2.0
"""The `sightline` command: each room registers its own commands."""

from __future__ import annotations

import importlib
import os
import sys

import typer

from sightline import __version__
from sightline.errors import SightlineError
from sightline.redact import redact

ROOMS = (
    "sightline.builders.cli",
    "sightline.deploy.cli",
    "sightline.clients.cli",
    "sightline.perf.cli",
    "sightline.demo.cli",
)

HELP = """Sightline takes a trained vision model to an NVIDIA Triton server that watches cameras.

The road, one command a step:

    sightline doctor                                what this machine can do, what is missing

    sightline build my.onnx --labels names.txt      trained model -> Triton model repository

    sightline serve                                 start the real tritonserver on it

    sightline infer photo.jpg --model my            detections of one image

    sightline watch rtsp://camera/1 --model my --page 8080
                                                    live cameras, with a web page

    sightline watch cameras.yaml --page 8080        the same with rules, events and sinks, from a file

    sightline pipe in/ out/ --model my              images of a folder, one result each

    sightline perf my                               load test with perf_analyzer

Each command has its own --help with examples.
"""

app = typer.Typer(
    name="sightline",
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sightline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


for _room in ROOMS:
    importlib.import_module(_room).register(app)


def main() -> None:
    """Run a command; errors of ours are one plain text and exit status 1, never a traceback."""
    try:
        app()
    except SightlineError as error:
        typer.secho(f"error: {redact(str(error))}", err=True, fg=typer.colors.RED)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
