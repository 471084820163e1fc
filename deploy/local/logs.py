# SPDX-License-Identifier: Apache-2.0
"""tritonserver's output: always drained, kept in files of bounded size, its last lines in memory."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sightline.redact import redact

MAX_BYTES = 8 << 20
KEPT_FILES = 5
_KEPT_LINES = 400
_MAX_LINE_BYTES = 16 << 10
_LOAD_FAILURE = re.compile(r"failed to load '(?P<model>[^']+)' version \d+: (?P<reason>.*?)\"?$")
_CREATION = re.compile(r"error: creating server: (?P<reason>.*)")


def default_log_folder() -> Path:
    """$XDG_STATE_HOME/sightline/log, else ~/.cache/sightline/log."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sightline" / "log"


class ServerLog:
    """A log file and the last lines. Thread safe. Nothing here raises because of the disk."""

    def __init__(self, folder: Path, *, secrets: tuple[str, ...] = (), max_bytes: int = MAX_BYTES) -> None:
        self.dropped_lines = 0
        self.path = folder / "tritonserver.log"
        self._secrets = secrets
        self._max_bytes = max_bytes
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._guard = threading.Lock()
        self._descriptor: int | None = None
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open(folder)

    def write(self, line: str) -> None:
        """Keep one line (without its end), secrets hidden; the file lacks it where the disk is full."""
        for secret in self._secrets:
            line = line.replace(secret, "***")
        line = redact(line)
        with self._guard:
            self._lines.append(line)
            try:
                if self._descriptor is None:
                    raise OSError("no log file")
                if os.fstat(self._descriptor).st_size > self._max_bytes:
                    self._rotate()
                os.write(self._descriptor, f"{line}\n".encode(errors="replace"))
            except OSError:
                self.dropped_lines += 1

    def new_life(self, title: str) -> None:
        """Begin a new start of the server: forget the lines in memory, mark the file."""
        with self._guard:
            self._lines.clear()
        self.write(f"--- {title} ---")

    def lines(self) -> list[str]:
        """The last lines of this life of the server."""
        with self._guard:
            return list(self._lines)

    def close(self) -> None:
        """Close the file; later lines stay in memory only."""
        with self._guard:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _open(self, folder: Path) -> None:
        for number in range(1, 100):  # each server that is alive at the same time holds a file of its own
            path = folder / ("tritonserver.log" if number == 1 else f"tritonserver-{number}.log")
            try:
                descriptor = os.open(
                    path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
            except OSError:
                return
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            self.path, self._descriptor = path, descriptor
            return

    def _rotate(self) -> None:
        if self._descriptor is None:
            return
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self.path.with_suffix(f".log.{number}")
            newer = self.path.with_suffix(f".log.{number - 1}") if number > 1 else self.path
            with suppress(FileNotFoundError):
                newer.rename(older)
        fresh = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        with suppress(OSError):
            fcntl.flock(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(self._descriptor)
        self._descriptor = fresh


def drain(descriptor: int, log: ServerLog, on_line: Callable[[str], None]) -> threading.Thread:
    """Start a thread that reads the pipe to its end, line by line, and closes it."""

    def pump() -> None:
        rest = b""
        with suppress(OSError):
            while chunk := os.read(descriptor, 65536):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _MAX_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    text = line[:_MAX_LINE_BYTES].decode("utf-8", errors="replace")
                    log.write(text)
                    on_line(text)
        if rest:
            log.write(rest.decode("utf-8", errors="replace"))
        os.close(descriptor)

    thread = threading.Thread(target=pump, name="tritonserver-log", daemon=True)
    thread.start()
    return thread


def failure_reason(lines: list[str]) -> str:
    """Triton's own words for why it ended: failed models first, else its last error, else its last lines."""
    failures = {}
    for line in lines:
        match = _LOAD_FAILURE.search(line)
        if match:
            failures[match["model"]] = match["reason"].replace("\\n", "\n").strip()
    if failures:
        return "\n".join(f"model {model}: {reason}" for model, reason in failures.items())
    for index, line in enumerate(lines):
        match = _CREATION.search(line)
        if match:
            return "\n".join([match["reason"], *lines[index + 1 :]]).strip()
    return "\n".join([line for line in lines if line.strip() and not line.startswith(("+", "|"))][-8:])
