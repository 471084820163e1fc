# SPDX-License-Identifier: Apache-2.0
"""Events as lines of JSON in a file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from pathlib import Path

from sightline.clients.streams.results import StreamResult
from sightline.errors import OutputError


class EventFile:
    """Appends one line for each frame that has detections: at least once, each with an idempotency key.

    A line is written whole or not at all: where the disk is full, a half line is cut off again,
    OutputError is raised, and the next event is tried anew. The file is locked (flock) against a second writer,
    whose lines would be cut with ours.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.written = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
            )
        except OSError as error:
            raise OutputError(
                f"events cannot be written to {self.path}: {error.strerror}; choose another path"
            ) from None
        try:
            _lock(self._descriptor, self.path)
        except OutputError:
            os.close(self._descriptor)
            raise
        self._closed = False

    def write(self, result: StreamResult) -> None:
        """Append the result's event, if it has detections. Raises OutputError."""
        if not len(result.detections):
            return
        source = result.source
        event = {
            "id": source.event_id,
            "camera": source.name,
            "time": source.time_utc,
            "pts_seconds": round(source.pts_seconds, 4),
            "width": source.frame.width,
            "height": source.frame.height,
            "detections": result.detections.to_dicts(),
        }
        line = (json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        try:
            self._append(line)
        except OSError as error:
            raise OutputError(
                f"{self.path}: {error.strerror}; free some space, events are being lost"
            ) from None
        self.written += 1

    def _append(self, line: bytes) -> None:
        done = 0
        try:
            while done < len(line):
                done += os.write(self._descriptor, line[done:])
        except OSError:
            if done:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - done)
            raise

    def close(self) -> None:
        """Put the file on the disk and close it; later calls do nothing."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):  # a pipe or a device cannot be synced
            os.fsync(self._descriptor)
        os.close(self._descriptor)


def _lock(descriptor: int, path: Path) -> None:
    """Take the file for this process; a pipe or device, or a file system without locks, is used without."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"{path} is being written by another watch; stop that one or choose another path"
        ) from None
    except OSError:
        return
