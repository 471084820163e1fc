# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there: written aside, synchronised, renamed; and whether somebody still writes to one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import stat
from pathlib import Path

from sightline.clients.pipe.item import GoneError, NotWholeError
from sightline.errors import BadInputError, OutputError
from sightline.frame import MAX_ENCODED_BYTES

STATE_FOLDER = ".sightline-pipe"
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def identity_of(status: os.stat_result) -> str:
    """Changes when the file is written to, or another takes its name; a rename leaves it."""
    return f"{status.st_ino:x}.{status.st_size:x}.{status.st_mtime_ns:x}"


def has_writer(fd: int) -> bool:
    """Whether a process of this machine has the file open to write; False also where the file system does not tell.

    Linux grants a read lease only when nobody has (fcntl(2), "Leases"); it is given back at once.
    """
    try:
        # A writer that opens it in between sends this signal, which is ignored by default; SIGIO would end the process.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def read_whole(path: bytes, identity: str) -> bytes:
    """The bytes of a plain file that nobody writes to and that is still the one of this identity; links are not followed.

    Raises NotWholeError, GoneError, or BadInputError where it cannot be read or is too large.
    """
    try:
        fd = os.open(path, READ_FLAGS)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise BadInputError(f"it cannot be read: {error.strerror}") from error
        raise GoneError(str(error.strerror)) from error
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise GoneError("it is not a plain file any more")
        if before.st_size > MAX_ENCODED_BYTES:
            raise BadInputError(f"it has {before.st_size} bytes; at most {MAX_ENCODED_BYTES} are allowed")
        if has_writer(fd):
            raise NotWholeError("it is open for writing")
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_ENCODED_BYTES + 1)
        if not identity_of(before) == identity == identity_of(os.fstat(fd)):
            raise NotWholeError("it changed while it was read")
        return data
    except OSError as error:
        raise BadInputError(f"it cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)


def write_aside(path: bytes, data: bytes) -> None:
    """A new file with this content, on the disk; an older one of this name is replaced. Raises OutputError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
    except OSError as error:
        raise OutputError(f"{os.fsdecode(path)!r} cannot be written: {error.strerror}") from error


def write_whole(path: bytes, data: bytes) -> None:
    """The file with this content, or as it was before. Raises OutputError."""
    folder, name = os.path.split(path)
    aside = os.path.join(folder, b".sightline-" + hashlib.sha1(name).hexdigest()[:16].encode() + b".tmp")
    write_aside(aside, data)
    try:
        os.replace(aside, path)
    except OSError as error:
        raise OutputError(f"{os.fsdecode(path)!r} cannot be written: {error.strerror}") from error
    sync_folder(folder)


def sync_folder(folder: bytes) -> None:
    """What was renamed in the folder is on the disk. Raises OutputError."""
    try:
        fd = os.open(folder or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise OutputError(f"folder {os.fsdecode(folder)!r} cannot be written: {error.strerror}") from error


def made(folder: Path) -> Path:
    """The folder, made where it is not there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"folder {folder} cannot be made: {error.strerror}") from error
    return folder


def locked(folder: Path, exclusive: bool, what: str) -> int:
    """A descriptor that holds the folder's lock until it is closed or the process ends. Raises OutputError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise OutputError(
            f"another pipe works on {what} {folder.parent if folder.name == STATE_FOLDER else folder}; stop it, "
            "or use another folder"
        ) from error
    return fd
