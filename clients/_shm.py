# SPDX-License-Identifier: Apache-2.0
"""POSIX shared-memory regions, through which raw frames reach a server on this machine without a socket."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import threading
import time
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path("/dev/shm")
PREFIX = "sightline-client-"
SMALLEST_BYTES = 1 << 16
MAX_POOL_BYTES = 256 << 20
LOCK_GRACE_SECONDS = 60.0


class Region:
    """One region: a locked file in /dev/shm, mapped. The lock ends with the process, whatever ends it."""

    def __init__(self, size_bytes: int) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        self.size_bytes = size_bytes
        self.registered = False
        self._path = FOLDER / self.name
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(
                self._descriptor, 0, size_bytes
            )  # a full /dev/shm fails here, not with SIGBUS later
            self._map = mmap.mmap(self._descriptor, size_bytes)
        except OSError:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise
        self._finalizer = weakref.finalize(self, _remove, self._path, self._descriptor, os.getpid())

    @property
    def key(self) -> str:
        """Name by which shm_open finds the region."""
        return f"/{self.name}"

    def write(self, data: NDArray[np.uint8]) -> None:
        """Copy `data`, uint8 of shape (n_bytes,), to the start."""
        np.frombuffer(self._map, np.uint8, count=data.size)[:] = data

    def unlink(self) -> None:
        """Take the name away; whoever has the region mapped keeps it."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Unlink and unmap."""
        self._finalizer()
        self._map.close()


def _remove(path: Path, descriptor: int, owner_pid: int) -> None:
    """Only the process that made the region removes it, not a fork of it."""
    if os.getpid() == owner_pid:
        path.unlink(missing_ok=True)
        os.close(descriptor)


class RegionPool:
    """Regions by powers of two, at most `limit_bytes` together. Safe for threads.

    A region is free, taken, or retired. Retired ones wait, unlinked, until the server has let go of them.
    """

    def __init__(self, limit_bytes: int = MAX_POOL_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._free: list[Region] = []
        self._taken: set[Region] = set()
        self._retired: list[Region] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self, size_bytes: int) -> Region | None:
        """A region of at least this size; None when the limit or /dev/shm is full."""
        wanted = max(SMALLEST_BYTES, 1 << (size_bytes - 1).bit_length())
        with self._lock:
            if self._closed:
                return None
            fitting = [r for r in self._free if r.size_bytes == wanted]
            region = fitting[-1] if fitting else self._new(wanted)
            if region is not None:
                if fitting:
                    self._free.remove(region)
                self._taken.add(region)
            return region

    def give_back(self, region: Region) -> None:
        """The request was answered: the region may be used again."""
        with self._lock:
            self._taken.discard(region)
            (self._retired if self._closed else self._free).append(region)

    def retire(self, region: Region) -> None:
        """The server may still read the region: never use it again."""
        region.unlink()
        with self._lock:
            self._taken.discard(region)
            self._retired.append(region)

    def pop_retired(self) -> list[Region]:
        """Regions to unregister; those that the server still reads come back through `retire`."""
        with self._lock:
            retired, self._retired = self._retired, []
            return retired

    def close(self) -> list[Region]:
        """Hand out no more; returns all regions, unlinked, for unregistering."""
        with self._lock:
            self._closed = True
            regions = [*self._free, *self._taken, *self._retired]
            self._free, self._taken, self._retired = [], set(), []
        for region in regions:
            region.unlink()
        return regions

    def _new(self, size_bytes: int) -> Region | None:
        held = sum(r.size_bytes for group in (self._free, self._taken, self._retired) for r in group)
        excess = held + size_bytes - self._limit_bytes
        if excess > 0:  # make room for the next request; this one goes without
            while self._free and excess > 0:
                old = self._free.pop(0)
                old.unlink()
                excess -= old.size_bytes
                self._retired.append(old)
            return None
        try:
            return Region(size_bytes)
        except OSError:
            return None


def sweep() -> list[str]:
    """Remove regions whose owner is gone; returns their names."""
    removed = []
    for path in FOLDER.glob(f"{PREFIX}*"):
        try:
            if _is_orphan(path):
                path.unlink()
                removed.append(path.name)
        except OSError:  # another user's, or gone in the meantime
            continue
    return removed


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
