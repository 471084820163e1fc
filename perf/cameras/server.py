# SPDX-License-Identifier: Apache-2.0
"""CameraServer: drawn street scenes as RTSP cameras, on GStreamer's server or on ours."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from sightline.errors import MissingDependencyError, PortInUseError, SightlineError, StreamError
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import read_clip
from sightline.perf.cameras.clips import Progress, rendered_clips
from sightline.perf.cameras.faults import Faults
from sightline.perf.cameras.render import ClipSpec

SYSTEM_PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("gst_server.py")
_START_SECONDS, _STOP_SECONDS = 20.0, 5.0
FIRST_SEED = 20_000_000
"""The first camera's seed, above those of the training and held-out scenes."""

Kind = Literal["auto", "gstreamer", "asyncio"]


def gstreamer_missing() -> list[str]:
    """Debian packages that GStreamer's RTSP server lacks on this machine; empty when it can run."""
    if not os.access(SYSTEM_PYTHON, os.X_OK):
        return ["python3"]
    try:
        missing = list(_missing_packages())
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        return [
            "python3-gi",
            "gir1.2-gst-rtsp-server-1.0",
            "gstreamer1.0-plugins-base",
            "gstreamer1.0-plugins-good",
        ]
    if missing:  # they may be installed later
        _missing_packages.cache_clear()
    return missing


@functools.cache  # asking takes half a second
def _missing_packages() -> tuple[str, ...]:
    check = subprocess.run(
        [SYSTEM_PYTHON, str(_SCRIPT), "--check"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
        env=_system_environment(),
    )
    return tuple(json.loads(check.stdout)["missing"])


def _system_environment() -> dict[str, str]:
    """The system's Python must not see packages of the virtual environment."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "LD_"))
    }


class CameraServer:
    """Cameras at rtsp://127.0.0.1:PORT/camera/0, /camera/1, ..., each a drawn street that moves for ever.

    scenes: number of cameras, or the seed of each.
    night: one flag for all, or a pattern that repeats; by default every second camera is at night.
    kind: "gstreamer" (a process with GStreamer's RTSP server), "asyncio" (our small one, a thread),
    or "auto": GStreamer where its Debian packages are installed.
    user, password: when given, clients must know them (digest).
    certificate: PEM file with its key; makes it RTSPS.
    progress: called with (frames done, frames to do) while clips are drawn; later starts find them cached.
    """

    def __init__(
        self,
        scenes: int | Sequence[int] = 4,
        *,
        size: tuple[int, int] = (1280, 720),
        frames_per_second: int = 15,
        seconds: float = 20.0,
        port: int = 0,
        kind: Kind = "auto",
        user: str | None = None,
        password: str | None = None,
        certificate: Path | None = None,
        night: bool | Sequence[bool] = (False, True),
        progress: Progress | None = None,
    ) -> None:
        if kind not in ("auto", "gstreamer", "asyncio"):
            raise ValueError(f"kind is {kind!r}; it must be 'auto', 'gstreamer' or 'asyncio'")
        if user and not password:
            raise ValueError("user is given without password; give both or neither")
        seeds = [FIRST_SEED + i for i in range(scenes)] if isinstance(scenes, int) else list(scenes)
        if not seeds:
            raise ValueError("scenes is 0; a server needs at least one camera")
        nights = [night] if isinstance(night, bool) else list(night) or [False]
        self.specs = [
            ClipSpec(seed, *size, frames_per_second, seconds, night=nights[i % len(nights)])
            for i, seed in enumerate(seeds)
        ]
        self.kind: Kind = kind
        self.port = port
        self._user, self._password, self._certificate = user, password, certificate
        self._progress = progress
        self._asyncio: AsyncioCameraServer | None = None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> CameraServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def urls(self) -> list[str]:
        """Addresses for a client, with user and password where they are needed: never print these."""
        login = f"{quote(self._user, safe='')}:{quote(self._password or '', safe='')}@" if self._user else ""
        return [address.replace("://", f"://{login}", 1) for address in self.addresses]

    @property
    def addresses(self) -> list[str]:
        """The same without credentials, for people."""
        scheme = "rtsps" if self._certificate else "rtsp"
        return [f"{scheme}://127.0.0.1:{self.port}/camera/{index}" for index in range(len(self.specs))]

    @property
    def pid(self) -> int | None:
        """Process of GStreamer's server; None where ours runs as a thread, or none."""
        return self._process.pid if self._process else None

    def start(self) -> CameraServer:
        """Draw what the cache lacks and serve. Raises PortInUseError, OutputError, MissingDependencyError."""
        kind = self._chosen_kind()
        clips = rendered_clips(self.specs, self._progress)
        if kind == "gstreamer":
            self._start_gstreamer(clips)
        else:
            server = AsyncioCameraServer(
                [read_clip(path) for path in clips],
                port=self.port,
                user=self._user,
                password=self._password,
                certificate=self._certificate,
            )
            server.start()
            self._asyncio, self.port = server, server.port
        self.kind = kind
        return self

    def stop(self) -> None:
        """End the server and all its connections; may be called twice."""
        if self._asyncio:
            self._asyncio.stop()
            self._asyncio = None
        process, self._process = self._process, None
        if process:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()

    def check(self) -> None:
        """Raise StreamError when the server has died."""
        if self._process and self._process.poll() is not None:
            raise StreamError(
                f"GStreamer's RTSP server ended with status {self._process.returncode}; start it again"
            )

    @property
    def provoker(self) -> AsyncioCameraServer:
        """The running asyncio server with its means to provoke faults; SightlineError with GStreamer's."""
        if self._asyncio is None:
            raise SightlineError("faults can be provoked on a running server of kind='asyncio' only")
        return self._asyncio

    def faults(self, camera: int) -> Faults:
        """Fault switches of a camera (kind='asyncio')."""
        return self.provoker.faults(camera)

    def _chosen_kind(self) -> Kind:
        if self.kind == "asyncio":
            return "asyncio"
        missing = gstreamer_missing()
        if not missing:
            return "gstreamer"
        advice = f"GStreamer's RTSP server needs Debian packages; as root: apt install {' '.join(missing)}"
        if self.kind == "gstreamer":
            raise MissingDependencyError(advice)
        warnings.warn(
            f"{advice}. Sightline's own small RTSP server is used instead.", RuntimeWarning, stacklevel=3
        )
        return "asyncio"

    def _start_gstreamer(self, clips: Sequence[Path]) -> None:
        config: dict[str, Any] = {"port": self.port, "clips": [str(path) for path in clips]}
        if self._user:
            config |= {"user": self._user, "password": self._password}
        if self._certificate:
            config["certificate"] = str(self._certificate)
        process = subprocess.Popen(
            [SYSTEM_PYTHON, str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_system_environment(),
            start_new_session=True,  # a Ctrl-C in the terminal is for us; we stop it by closing its stdin
        )
        self._process = process
        try:
            answer = self._greet(process, config)
        except BaseException:
            self.stop()
            raise
        if "error" in answer:
            self.stop()
            raise PortInUseError(f"{answer['error']}; choose another, or 0 for a free one")
        self.port = answer["port"]

    @staticmethod
    def _greet(process: subprocess.Popen[str], config: dict[str, Any]) -> dict[str, Any]:
        if process.stdin is None or process.stdout is None:
            raise StreamError("the RTSP server has no pipes")
        try:
            process.stdin.write(json.dumps(config) + "\n")
            process.stdin.flush()
            return dict(json.loads(process.stdout.readline()))
        except (OSError, ValueError) as error:
            raise StreamError("GStreamer's RTSP server ended at its start; try kind='asyncio'") from error
