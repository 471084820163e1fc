# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all, and locks that die with their holder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sightline.errors import OutputError

_WAIT_SECONDS = 0.1


@contextmanager
def output_errors(what: str) -> Iterator[None]:
    """Turns OSError into OutputError that says what could not be written, and that nothing was left half-written."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full; make room and try again" if full else error.strerror or str(error)
        raise OutputError(f"{what} cannot be written: {reason}") from error


def write_flushed(path: Path, content: bytes) -> None:
    """Write a new file and flush it to the disk. Raises OSError."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make renames inside the folder last through a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, replacing an older one. Raises OutputError; the old one stays then."""
    with output_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
        try:
            write_flushed(partial, content)
            partial.replace(path)
            flush_folder(path.parent)
        finally:
            with suppress(OSError):
                partial.unlink()


def place_file(source: Path, path: Path) -> None:
    """Put a copy of `source` at `path` by rename: a hard link where it is the same disk. Raises OutputError."""
    with output_errors(str(path)):
        partial = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
        try:
            try:
                os.link(source, partial)
            except OSError:
                write_flushed(partial, source.read_bytes())
            partial.replace(path)
            flush_folder(path.parent)
        finally:
            with suppress(OSError):
                partial.unlink()


def sweep_partials(folder: Path) -> None:
    """Remove what `replace_file` and `place_file` of processes that are gone left in `folder`."""
    for path in folder.glob(".*.partial"):
        pid = path.name.split(".")[-3]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            with suppress(OSError):
                path.unlink()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def temporary_folder(parent: Path, name: str) -> Path:
    """A new folder in `parent` whose name begins with `name` and this process' PID. Raises OSError."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}.{os.getpid()}.", dir=parent))
    folder.chmod(0o755)  # what is built by root in a container is read by the server's user
    return folder


@contextmanager
def locked(path: Path, on_wait: Callable[[int], None] | None = None) -> Iterator[None]:
    """Hold an exclusive flock on `path`, which is made and stays; the kernel gives it back when the holder dies.

    on_wait: called once with the holder's PID (0 where it is not known) before waiting.
    Raises OutputError where the file cannot be made.
    """
    with output_errors(str(path)):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, on_wait)
        with suppress(OSError):  # a full disk: the holder has no name then
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, on_wait: Callable[[int], None] | None) -> None:
    """Polled, not blocking: a blocking flock would be taken by a thread that Ctrl-C cannot reach."""
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None and not told:
                holder = os.pread(descriptor, 20, 0)
                on_wait(int(holder) if holder.isdigit() else 0)
                told = True
            time.sleep(_WAIT_SECONDS)
        else:
            return


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold an exclusive flock on a folder, for a moment. Raises OutputError where it cannot be opened."""
    with output_errors(str(folder)):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _acquire(descriptor, None)
        yield
    finally:
        os.close(descriptor)


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock, or None where somebody else does. The caller closes it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
