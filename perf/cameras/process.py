# SPDX-License-Identifier: Apache-2.0
"""GStreamer's RTSP server as a process that can be killed, frozen, and started again on its port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline.errors import StreamError
from sightline.perf.cameras.server import SYSTEM_PYTHON, _system_environment

_SCRIPT = Path(__file__).with_name("gst_server.py")


class CameraProcess:
    """Serves clips at rtsp://127.0.0.1:port/camera/N. Needs GStreamer (see gstreamer_missing)."""

    def __init__(self, clips: Sequence[Path], *, port: int = 0) -> None:
        self._clips = [str(clip) for clip in clips]
        self.port = port
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> CameraProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def urls(self) -> list[str]:
        """Address of each camera; the same after a restart."""
        return [f"rtsp://127.0.0.1:{self.port}/camera/{i}" for i in range(len(self._clips))]

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> float:
        """Start and wait until it listens; gives the monotonic seconds of that. Raises StreamError."""
        config: dict[str, Any] = {"port": self.port, "clips": self._clips}
        process = subprocess.Popen(
            [SYSTEM_PYTHON, str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_system_environment(),
            start_new_session=True,
        )
        self._process = process
        try:
            if process.stdin is None or process.stdout is None:
                raise OSError("no pipes")
            process.stdin.write(json.dumps(config) + "\n")
            process.stdin.flush()
            self.port = int(json.loads(process.stdout.readline())["port"])
        except (OSError, ValueError, KeyError) as error:
            self.kill()
            raise StreamError(f"GStreamer's RTSP server did not start on port {self.port}") from error
        return time.monotonic()

    def kill(self) -> None:
        """End it with SIGKILL: clients see their connections break."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def shoot(self) -> None:
        """SIGKILL, without waiting for its end; kill() follows."""
        if self._process is not None:
            self._process.kill()

    def freeze(self, frozen: bool) -> None:
        """Stop it from running while its connections stay open, or let it go on."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGSTOP if frozen else signal.SIGCONT)


class BlackHole:
    """Accepts connections on 127.0.0.1 and never says a word."""

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = int(self._socket.getsockname()[1])

    def __enter__(self) -> BlackHole:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more; connections in the backlog are reset."""
        with contextlib.suppress(OSError):
            self._socket.close()
