# SPDX-License-Identifier: Apache-2.0
"""The folder of snapshots and clips: names, whole files only, and a bound that is kept by removing the oldest.

MEDIA/2026-11-28/CAMERA/EVENT.jpg and .mp4. Paths are decided, and stand in events, before the files exist.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sightline.clients.events.event import utc_text
from sightline.clients.events.files import TEMPORARY_PREFIX, lock_folder, safe_name, sync_folder
from sightline.clients.events.pictures import copied, jpeg_from_frame
from sightline.clients.events.settings import MediaSettings
from sightline.clients.events.workers import Worker
from sightline.clients.streams.source import require_av
from sightline.frame import Frame
from sightline.redact import redact

SNAPSHOTS_WAITING = 16  # of about 1.4 MB each for 720p
SCAN_SECONDS = 60.0
TRIM_SECONDS = 60.0
CLOSE_SECONDS = 10.0
SUFFIXES = (".jpg", ".mp4")


class MediaStore:
    """Snapshots and clips of events. All methods may be called from any thread; none waits for the disk but close().

    The folder belongs to one process. What a killed one left half done is removed, and all files are counted, on a
    thread of its own before the first file is written. Where a file cannot be written, that is counted, and told once
    until one can. Raises OutputError where the folder cannot be used, MissingDependencyError without PyAV.
    """

    def __init__(
        self,
        folder: Path | str,
        settings: MediaSettings | None = None,
        *,
        notice: Callable[[str], None] = lambda text: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        require_av()
        self.folder = Path(folder)
        self.settings = settings or MediaSettings()
        self._notice, self._now = notice, now
        self._lock_file = lock_folder(self.folder, "the media folder")
        self._lock = threading.Lock()
        self._files: deque[tuple[float, Path, int]] = deque()  # oldest first: time, path, bytes
        self._bytes = 0
        self._trimmed_at = 0.0
        self._counts = {"snapshots": 0, "clips": 0, "removed": 0, "failed": 0, "refused": 0}
        self._broken = False
        self._last_error: str | None = None
        self._worker = Worker("media", SNAPSHOTS_WAITING, idle=self._trim_sometimes, failed=self._failed)
        self._scanned = threading.Event()
        self._worker.offer(self._scan)

    # ---- for the publisher

    def name(self, camera: str, event_id: str, unix: float, suffix: str) -> str:
        """The path below the folder for an event's file; fit for every file system, whatever the texts hold."""
        return f"{utc_text(unix)[:10]}/{safe_name(camera, longest=40)}/{safe_name(event_id)}{suffix}"

    def snapshot(self, frame: Frame, name: str) -> bool:
        """Write a JPEG of the frame, soon; False where too many wait."""
        if self._worker.waiting >= SNAPSHOTS_WAITING:
            return self.refused()
        own = copied(frame)

        def work() -> None:
            data = jpeg_from_frame(own, self.settings.snapshot_quality)
            self.keep(name, lambda path: _write(path, data))

        return self._worker.offer(work) or self.refused()

    def refused(self) -> bool:
        """Count a picture or clip that is not made; returns False."""
        with self._lock:
            self._counts["refused"] += 1
        return False

    def keep(self, name: str, write: Callable[[Path], None]) -> bool:
        """Let `write` make a file, put it in its place whole, and remove the oldest ones; False where that failed, or the
        folder is still being counted after a minute.

        To be called on a thread that may wait.
        """
        if not self._scanned.wait(SCAN_SECONDS):
            return self.refused()  # it would be counted twice
        target = self.folder / name
        temporary = target.with_name(f"{TEMPORARY_PREFIX}{target.name}")
        try:
            with self._lock:  # under which empty folders are removed
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.touch()
            write(temporary)
            size = temporary.stat().st_size
            temporary.replace(target)
            sync_folder(target.parent)
        except Exception as error:  # libav raises many kinds
            with contextlib.suppress(OSError):
                temporary.unlink()
            self._failed(error)
            return False
        self._kept(target, size)
        return True

    def _kept(self, target: Path, size: int) -> None:
        with self._lock:
            self._counts["clips" if target.suffix == ".mp4" else "snapshots"] += 1
            self._files.append((self._now(), target, size))
            self._bytes += size
            was_broken, self._broken = self._broken, False
        if was_broken:
            self._notice("pictures and clips of events are written again")
        self._trim()

    def _failed(self, error: Exception) -> None:
        reason = redact(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")
        with self._lock:
            self._counts["failed"] += 1
            self._last_error = reason
            told, self._broken = self._broken, True
        if not told:
            self._notice(f"pictures and clips of events cannot be written to {self.folder}: {reason}")

    # ---- for the page

    def file(self, name: str) -> Path | None:
        """The file of a path that stands in an event; None where there is none (any more) or the path leaves the folder."""
        parts = name.split("/")
        if any(not part or part[0] == "." or "\0" in part or "\\" in part for part in parts):
            return None
        path = self.folder.joinpath(*parts)
        try:
            inside = path.resolve(strict=True).is_relative_to(self.folder.resolve())
            return path if inside and path.suffix in SUFFIXES and path.is_file() else None
        except OSError:
            return None

    def state(self) -> dict[str, Any]:
        """bytes, max_bytes, files, snapshots and clips written, removed, failed, refused, last_error."""
        with self._lock:
            return {
                "bytes": self._bytes,
                "max_bytes": self.settings.max_bytes,
                "files": len(self._files),
                **self._counts,
                "last_error": self._last_error,
            }

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Finish what is queued, for at most so long."""
        self._worker.close(seconds)
        with contextlib.suppress(OSError):
            os.close(self._lock_file)

    # ---- room

    def _scan(self) -> None:
        found = []
        try:
            for folder, _, names in os.walk(self.folder):
                for path in (Path(folder, name) for name in names):
                    with contextlib.suppress(OSError):
                        if path.name.startswith(TEMPORARY_PREFIX) and not path.is_symlink():
                            path.unlink()  # half done by a process that is no more
                        elif path.suffix in SUFFIXES and not path.is_symlink():
                            status = path.stat()
                            found.append((status.st_mtime, path, status.st_size))
        finally:
            with self._lock:
                self._files = deque(sorted(found))
                self._bytes = sum(size for _, _, size in found)
            self._scanned.set()
        self._trim()

    def _trim_sometimes(self) -> None:
        if time.monotonic() - self._trimmed_at >= TRIM_SECONDS:
            self._trim()

    def _trim(self) -> None:
        self._trimmed_at = time.monotonic()
        oldest = self._now() - self.settings.max_days * 86_400
        while True:
            with self._lock:
                if not self._files or (
                    self._bytes <= self.settings.max_bytes and self._files[0][0] >= oldest
                ):
                    return
                _, path, size = self._files.popleft()
                self._bytes -= size
                self._counts["removed"] += 1
            with contextlib.suppress(OSError):
                path.unlink()
            with self._lock, contextlib.suppress(OSError):
                for folder in (path.parent, path.parent.parent):
                    if folder != self.folder:
                        folder.rmdir()  # only where it is empty


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
