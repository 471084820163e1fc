# SPDX-License-Identifier: Apache-2.0
"""What `sightline serve` does: a LocalServer with signals, progress and a welcome."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from sightline.deploy.local.server import LocalServer
from sightline.errors import ServerError

_STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _StopWhileStarting(BaseException):
    """A signal came before the server was ready."""


class _Signals:
    """First signal: stop. Second: kill. While the server starts, the first one already interrupts."""

    def __init__(self, server: LocalServer) -> None:
        self.stop = threading.Event()
        self.is_starting = True
        self._server = server

    def install(self) -> None:
        for number in _STOPPING_SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.stop.is_set():
            self._server.kill()
            return
        self.stop.set()
        if self.is_starting:
            raise _StopWhileStarting


class _Progress:
    """A spinner on a terminal, lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status: Status | None = None
        self._last = ""

    def __enter__(self) -> _Progress:
        if self.console.is_terminal:
            self._status = self.console.status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __call__(self, text: str) -> None:
        if text == self._last:
            return
        self._last = text
        if self._status is not None:
            self._status.update(escape(text))
        else:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def serve(
    repository: Path,
    *,
    models: Sequence[str] | None,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    host: str,
    log_dir: Path | None,
    timeout_seconds: float,
) -> None:
    """Serve until a signal comes and return after a clean stop. Raises ServerError where it cannot go on."""
    console = Console()
    progress = _Progress(console)
    server = LocalServer(
        repository,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        log_dir=log_dir,
        models=models,
        host=host,
        progress=progress,
    )
    signals = _Signals(server)
    signals.install()
    _serve_until_signal(server, signals, progress, timeout_seconds)
    console.print("stopping: requests in flight are answered first, Ctrl-C again ends it at once")
    server.stop()
    console.print("stopped")


def _serve_until_signal(
    server: LocalServer, signals: _Signals, progress: _Progress, timeout_seconds: float
) -> None:
    try:
        with progress:
            server.start(timeout_seconds)
            signals.is_starting = False
        _welcome(progress.console, server)
        while not signals.stop.is_set() and server.wait(0.5) not in ("stopped", "failed"):
            pass
    except _StopWhileStarting:
        server.kill()
    if not signals.stop.is_set():
        raise ServerError(f"the server has ended and cannot be started anew; its log: {server.log_path}")
    signals.is_starting = False


def _welcome(console: Console, server: LocalServer) -> None:
    example = next((name for name in server.models if not name.endswith("_frames")), None)
    lines = [
        f"ready    {server.repository}",
        f"gRPC     {server.grpc_address}",
        f"HTTP     http://{server.http_address}",
        f"metrics  http://{server.metrics_address}/metrics",
        f"log      {server.log_path}",
        f"models   {', '.join(server.models) or 'none by sightline build: only the health call is watched'}",
    ]
    if example:
        lines += [
            "",
            f"curl -s http://{server.http_address}/v2/models/{example}",
            f"sightline infer photo.jpg --model {example} --server {server.grpc_address}",
            f'python -c "from sightline import Client; '
            f"print(Client('{server.grpc_address}').detect('{example}', 'photo.jpg'))\"",
        ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
