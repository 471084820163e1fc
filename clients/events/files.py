# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from pathlib import Path

from sightline.errors import OutputError

TEMPORARY_PREFIX = ".new-"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def lock_folder(folder: Path, what: str) -> int:
    """A descriptor that holds the folder's lock until it is closed or the process ends. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OutputError(
            f"{what} {folder} cannot be used: {error.strerror}; choose another folder or its permissions"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutputError(
            f"{what} {folder} is in use by another watch; stop that one or choose another folder"
        ) from None
    except OSError:  # a file system without locks
        pass
    return descriptor


def write_whole(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replace or make a file; readers see the old one or the new one. Raises OSError and leaves nothing half done."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}"[:255])
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if sync:
        sync_folder(path.parent)


def append_whole(descriptor: int, data: bytes) -> None:
    """Append all or nothing to a regular file that was opened with O_APPEND. Raises OSError."""
    done = 0
    try:
        while done < len(data):
            done += os.write(descriptor, data[done:] if done else data)
    except OSError:
        if done:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - done)
        raise


def sync_folder(folder: Path) -> None:
    """Put names in a folder on the disk, where its file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def safe_name(text: str, *, longest: int = 60) -> str:
    """A file name for any text: readable, and never the same for two different texts."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    readable = _UNSAFE.sub("-", text).strip("-")[:longest]
    return f"{readable}-{digest}" if readable else digest
