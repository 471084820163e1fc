# SPDX-License-Identifier: Apache-2.0
"""One server a repository: a lock that the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

from sightline.errors import AlreadyServedError, ServerError

LOCK_NAME = ".sightline-serve.lock"


class RepositoryLock:
    """flock on REPOSITORY/.sightline-serve.lock; the file names the holder and is removed on release.

    A repository that may not be written is locked by its folder, without naming the holder.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._path = repository / LOCK_NAME
        self._descriptor: int | None = None
        self._has_file = True

    def acquire(self, ports: dict[str, int]) -> None:
        """Take the lock and write our PID and ports into it. Raises AlreadyServedError."""
        while True:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                text = os.pread(descriptor, 4096, 0) if self._has_file else b""
                os.close(descriptor)
                raise AlreadyServedError(self._explain(text)) from error
            if self._is_current(descriptor):
                break
            os.close(descriptor)  # the holder before us removed the file between open and flock
        self._descriptor = descriptor
        if self._has_file:
            with suppress(OSError):  # a full disk is no reason not to serve
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps({"pid": os.getpid(), **ports}).encode(), 0)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor is None:
            return
        if self._has_file:
            with suppress(OSError):
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = None

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._has_file = True
            return os.open(self._path, flags, 0o644)
        except PermissionError:
            pass
        except OSError as error:
            if self._path.is_symlink():
                raise ServerError(f"{self._path} is a link; remove it") from error
        self._has_file = False
        return os.open(self._repository, os.O_RDONLY | os.O_CLOEXEC)

    def _is_current(self, descriptor: int) -> bool:
        if not self._has_file:
            return True
        try:
            return self._path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def _explain(self, text: bytes) -> str:
        try:
            held = json.loads(text)
            who = f"process {int(held['pid'])}: gRPC port {int(held['grpc'])}, HTTP port {int(held['http'])}"
            end = f"kill {int(held['pid'])}"
        except (ValueError, KeyError, TypeError):
            who, end = "another process", "end that process"
        return f"{self._repository} is already served by {who}; use that server, or stop it first ({end})"
