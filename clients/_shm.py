# SPDX-License-Identifier: Apache-2.0
"""POSIX shared-memory regions, through which frames and results pass a server on this machine without a socket."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import time
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path("/dev/shm")
PREFIX = "sightline-client-"
LOCK_GRACE_SECONDS = 60.0


class Region:
    """One region: a locked file in /dev/shm, mapped. The lock ends with the process, whatever ends it.

    `data` is all of it, uint8 of shape (size_bytes,), writable; the memory lives as long as any view of it.
    port: of the server that will know it; the name says it, so that a sweep asks the right server.
    A region that is forgotten while a server knows it is only unlocked: the next sweep finds its file and tells the server.
    """

    def __init__(self, size_bytes: int, port: int = 0) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{port}-{secrets.token_hex(8)}"
        self.size_bytes = size_bytes
        self._state = _State()
        self._owner_pid = os.getpid()
        self._path = FOLDER / self.name
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(
                self._descriptor, 0, size_bytes
            )  # a full /dev/shm fails here, not with SIGBUS later
            mapped = mmap.mmap(self._descriptor, size_bytes, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        except OSError:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise
        self.data: NDArray[np.uint8] = np.frombuffer(mapped, np.uint8)
        self._finalizer = weakref.finalize(
            self, _let_go, self._state, self._path, self._descriptor, self._owner_pid
        )

    @property
    def key(self) -> str:
        """Name by which shm_open finds the region."""
        return f"/{self.name}"

    @property
    def registered(self) -> bool:
        """Whether a server knows the region."""
        return self._state.registered

    @registered.setter
    def registered(self, known: bool) -> None:
        self._state.registered = known

    def close(self) -> None:
        """Unlink, and unlock; the memory goes when the last view of it is gone. No server may know it any more."""
        _unlink(self._path, self._owner_pid)  # at the interpreter's exit the finalizer has run before
        self._finalizer()

    def leave(self) -> None:
        """Unlock, and unlink where no server knows it."""
        self._finalizer()


class _State:
    registered = False


def _let_go(state: _State, path: Path, descriptor: int, owner_pid: int) -> None:
    if not state.registered:
        _unlink(path, owner_pid)
    os.close(descriptor)


def _unlink(path: Path, owner_pid: int) -> None:
    """Only the process that made the region does so, not a fork of it."""
    if os.getpid() == owner_pid:
        path.unlink(missing_ok=True)


def find_orphans() -> list[tuple[str, int]]:
    """Name and server's port of regions whose owner is gone."""
    found = []
    for path in FOLDER.glob(f"{PREFIX}*"):
        try:
            if _is_orphan(path):
                found.append((path.name, _port_of(path.name)))
        except OSError:  # another user's, or gone in the meantime
            continue
    return found


def remove_orphan(name: str) -> None:
    """Unlink one, which no server knows any more."""
    (FOLDER / name).unlink(missing_ok=True)


def _port_of(name: str) -> int:
    """0 where the name tells none."""
    port = name.removeprefix(PREFIX).split("-")[1:2]
    return int(port[0]) if port and port[0].isascii() and port[0].isdigit() else 0


def _is_orphan(path: Path) -> bool:
    info = path.stat()
    if info.st_uid != os.getuid() or (info.st_size == 0 and time.time() - info.st_mtime < LOCK_GRACE_SECONDS):
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
