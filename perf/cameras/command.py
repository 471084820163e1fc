# SPDX-License-Identifier: Apache-2.0
"""What `sightline cameras` does."""

from __future__ import annotations

import re
import signal
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sightline.perf.cameras.server import CameraServer, Kind


def parsed_size(text: str) -> tuple[int, int]:
    """'1280x720' as (1280, 720). Raises typer.BadParameter."""
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not match or size[0] % 2 or size[1] % 2 or not (64 <= size[0] <= 3840 and 36 <= size[1] <= 2160):
        raise typer.BadParameter(
            f"size is {text!r}; write even numbers from 64x36 to 3840x2160, such as 1280x720"
        )
    return size


def read_password(path: Path | None) -> str | None:
    """First line of the password file. Raises typer.BadParameter."""
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"password file {path} cannot be read: {error}") from error
    if not lines or not lines[0]:
        raise typer.BadParameter(f"password file {path} is empty")
    return lines[0]


def run_cameras(
    count: int,
    *,
    size: str,
    frames_per_second: int,
    seconds: float,
    port: int,
    kind: str,
    user: str | None,
    password_file: Path | None,
) -> None:
    """Serve drawn cameras until Ctrl-C or SIGTERM."""
    if kind not in get_args(Kind):
        raise typer.BadParameter(f"kind is {kind!r}; it must be one of {', '.join(get_args(Kind))}")
    if (user is None) != (password_file is None):
        raise typer.BadParameter("--user and --password-file belong together; give both or neither")
    console = Console(stderr=True)
    bar = _DrawingBar(console)
    cameras = CameraServer(
        count,
        size=parsed_size(size),
        frames_per_second=frames_per_second,
        seconds=seconds,
        port=port,
        kind=kind,  # type: ignore[arg-type]  # checked above
        user=user,
        password=read_password(password_file),
        progress=bar.show,
    )
    with bar, warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", RuntimeWarning)
        cameras.start()
    try:
        for note in notes:
            console.print(str(note.message), style="yellow")
        for address in cameras.addresses:
            typer.echo(address)
        login = f"; log in as {user} (digest) with the password in {password_file}" if user else ""
        console.print(f"{count} cameras by {cameras.kind}'s RTSP server{login}. Ctrl-C stops.")
        _wait_for_signal(cameras)
    finally:
        cameras.stop()


class _DrawingBar:
    """A progress bar that appears when there is something to draw."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("drawing the cameras' scenes"), BarColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", visible=False)

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total, visible=True)


def _wait_for_signal(cameras: CameraServer) -> None:
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    while not stop.wait(0.5):
        cameras.check()
