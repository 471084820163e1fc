# SPDX-License-Identifier: Apache-2.0
"""`sightline demo`: the whole road on one machine, with the shipped detector and drawn cameras."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

MODEL = "street_detect"
CLIP_SECONDS = 12.0
SERVER_PORTS = (8000, 8001, 8002)
CAMERA_NAMES = ("crossing", "station", "bridge", "market", "harbour", "school", "tunnel", "park")

_HELP = """From nothing to live detections: build, serve, cameras, watch.

    sightline demo                       until Ctrl-C; the page's address is printed

    sightline demo --seconds 30          stop by itself; exit status 0 when all went well

Builds the shipped detector, starts tritonserver on loopback, starts an RTSP server with drawn street scenes (day and
night), watches them with a few rules, and shows them live. Ends with a summary; leaves in the output folder: cameras.yaml,
events.jsonl, watch.mp4, contact-sheet.png, summary.json, and sightline_data with what the rules saw.
"""


def register(app: typer.Typer) -> None:
    """Add `demo`."""
    app.command("demo", help=_HELP)(demo)


def demo(
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop after this time.")] = None,
    cameras: Annotated[int, typer.Option(min=1, max=len(CAMERA_NAMES), help="Number of cameras.")] = 4,
    page: Annotated[int, typer.Option(help="Port of the live page; a free one when it is taken.")] = 8080,
    output: Annotated[Path, typer.Option(help="Folder for what the demo leaves.")] = Path("demo_output"),
    work: Annotated[Path, typer.Option(help="Folder for the model repository and the server's log.")] = Path(
        ".sightline"
    ),
) -> None:
    """See _HELP."""
    from rich.console import Console

    from sightline.clients.watch_cli import watch
    from sightline.demo.cameras_file import write_cameras_file
    from sightline.deploy import LocalServer
    from sightline.perf.cameras import CameraServer

    # As Ctrl-C, so that what is started before the watch is stopped as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False)
    repository = work / "model_repository"
    console.rule("[bold]1/4[/] build the shipped detector")
    _build(console, repository)
    console.rule("[bold]2/4[/] start tritonserver")
    http, grpc, metrics = SERVER_PORTS if all(map(_is_free, SERVER_PORTS)) else (0, 0, 0)
    server = LocalServer(
        repository,
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
        log_dir=work / "log",
        progress=_changes_only(console),
    )
    with server:
        console.print(
            f"  ready: gRPC {server.grpc_address}, HTTP {server.http_address}, log {server.log_path}"
        )
        console.rule(f"[bold]3/4[/] start {cameras} RTSP cameras")
        with (
            _drawing(console) as progress,
            CameraServer(cameras, seconds=CLIP_SECONDS, progress=progress) as streams,
        ):
            progress.close()
            for address in streams.addresses:
                console.print(f"  {address}")
            console.rule("[bold]4/4[/] watch")
            output.mkdir(parents=True, exist_ok=True)
            urls = dict(zip(CAMERA_NAMES, streams.urls, strict=False))
            watch(
                sources=[str(write_cameras_file(output / "cameras.yaml", urls, MODEL))],
                server=server.grpc_address,
                page=page if _is_free(page) else 0,
                events=_fresh(output / "events.jsonl"),
                output=output,
                seconds=seconds,
            )


def _build(console: Console, repository: Path) -> None:
    from sightline.builders import Progress, repository_from_card
    from sightline.card import load_card
    from sightline.model_repository import shipped_card

    class Says(Progress):
        def step(self, name: str) -> None:
            console.print(f"  {name}")

    report = repository_from_card(load_card(shipped_card(MODEL)), repository, progress=Says())
    console.print(
        f"  {report.name}: {report.engine}, {report.milliseconds_per_image:.1f} ms an image on one core, "
        f"built in {report.seconds:.1f} s"
    )


def _changes_only(console: Console) -> Callable[[str], None]:
    """Prints a step when it differs from the one before."""
    last = ""

    def tell(text: str) -> None:
        nonlocal last
        if text != last:
            last = text
            console.print(f"  {text}")

    return tell


class _DrawingBar:
    """Progress bar for the drawing of the cameras' clips; a line now and then where there is no terminal."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console
        self._bar = Progress(
            TextColumn("  drawing street scenes"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("draw", total=None)
        self._told = -1
        self._bar.start()

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
        tenth = 10 * done // max(total, 1)
        if not self._console.is_terminal and tenth > self._told:
            self._told = tenth
            self._console.print(f"  drawing street scenes: {10 * tenth}%")

    def close(self) -> None:
        self._bar.stop()


@contextmanager
def _drawing(console: Console) -> Iterator[_DrawingBar]:
    bar = _DrawingBar(console)
    try:
        yield bar
    finally:
        bar.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _fresh(path: Path) -> Path:
    """The events of this run only."""
    path.unlink(missing_ok=True)
    return path
