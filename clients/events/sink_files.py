# SPDX-License-Identifier: Apache-2.0
"""Sinks on this machine's disk: a file of JSON lines, and a folder with a file for each event."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from sightline.clients.events.event import Event
from sightline.clients.events.files import append_whole, safe_name, sync_folder, write_whole
from sightline.clients.events.settings import FolderSink, JsonlSink
from sightline.clients.events.sink import SinkAway, json_text

_TAIL_BYTES = 2 << 20  # more than the longest line


class LinesOut:
    """Appends lines; each is there whole or not at all, also after kill -9: half a line is cut off at opening.

    A pipe or a device is written to as it is, without lock and without cutting.
    """

    lossy = False
    batch = 500

    def __init__(self, settings: JsonlSink) -> None:
        self._path, self._max_bytes = settings.path, settings.max_bytes
        self._descriptor = -1
        self._regular = True

    def open(self) -> None:
        """Open and lock the file. Raises SinkAway."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
            if self._path.exists() and not self._path.is_file():
                flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self._path, flags, 0o644)
            os.set_blocking(self._descriptor, True)
            self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
            if self._regular:
                self._lock()
                _cut_half_line(self._descriptor)
        except OSError as error:
            raise SinkAway(f"{self._path}: {error.strerror}") from None

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SinkAway(f"{self._path} is being written by another program") from None
        except OSError:  # a file system without locks
            pass

    def send(self, events: Sequence[Event]) -> None:
        """Append the events' lines and put them on the disk. Raises SinkAway."""
        data = "".join(json_text(event) + "\n" for event in events).encode()
        try:
            self._rotate(len(data))
            append_whole(self._descriptor, data)
            if self._regular:
                os.fdatasync(self._descriptor)
        except OSError as error:
            raise SinkAway(f"{self._path}: {error.strerror}") from None

    def _rotate(self, more: int) -> None:
        if not self._regular:
            return
        size = os.fstat(self._descriptor).st_size
        gone = not self._path.exists() or not os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        if not gone and not (self._max_bytes and size and size + more > self._max_bytes):
            return
        if not gone:
            os.fdatasync(self._descriptor)
            moment = datetime.fromtimestamp(time.time(), timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
            self._path.rename(self._path.with_name(f"{self._path.stem}-{moment}{self._path.suffix}"))
        self.close()  # moved away by us, or by logrotate
        self.open()
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def interrupt(self) -> None:
        """Nothing: a disk is not waited for for long."""


def _cut_half_line(descriptor: int) -> None:
    """What a killed process left behind the last line end goes; its event is delivered again."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - _TAIL_BYTES)
    tail = os.pread(descriptor, size - begin, begin)
    if tail and not tail.endswith(b"\n"):
        end = tail.rfind(b"\n") + 1
        if end or begin == 0:
            os.ftruncate(descriptor, begin + end)


class FolderOut:
    """FOLDER/2026-11-28/ID.json; the same event twice is one file."""

    lossy = False
    batch = 50

    def __init__(self, settings: FolderSink) -> None:
        self._folder: Path = settings.path

    def open(self) -> None:
        """Make the folder. Raises SinkAway."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkAway(f"{self._folder}: {error.strerror}") from None

    def send(self, events: Sequence[Event]) -> None:
        """Write the events' files. Raises SinkAway."""
        for number, event in enumerate(events):
            day = self._folder / safe_day(event.time)
            try:
                day.mkdir(exist_ok=True)
                path = day / f"{safe_name(f'{event.source} {event.id}')}.json"
                write_whole(path, json_text(event).encode())
            except OSError as error:
                raise SinkAway(f"{self._folder}: {error.strerror}", done=number) from None

    def close(self) -> None:
        """Nothing is open."""

    def interrupt(self) -> None:
        """Nothing: a disk is not waited for for long."""


def safe_day(time_text: str) -> str:
    """YYYY-MM-DD of an ISO 8601 time; "undated" for anything else."""
    day = time_text[:10]
    try:
        return datetime.strptime(day, "%Y-%m-%d").strftime("%Y-%m-%d")
    except ValueError:
        return "undated"
