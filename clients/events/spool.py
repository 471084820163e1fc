# SPDX-License-Identifier: Apache-2.0
"""A log on the disk that many readers follow, each at its own pace; it survives kill -9 and power cuts.

FOLDER/lock            held by the one process that uses it
FOLDER/NUMBER.log      segments; the name is the sequence number of the first record
FOLDER/NAME.cursor     how far a reader is, replaced whole

A segment goes when all readers are past it. Where the whole would be larger than `max_bytes`, the oldest segment goes
before its time (drop_oldest) or the new records are not taken (drop_newest); what a reader loses is counted for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.clients.events.cursors import Cursor, load_cursors
from sightline.clients.events.files import append_whole, lock_folder, sync_folder
from sightline.clients.events.segments import HEADER_BYTES, MAX_PAYLOAD_BYTES, packed_all, parsed
from sightline.clients.events.settings import SpoolSettings
from sightline.errors import OutputError

SEGMENT_BYTES = 8 << 20
_SEGMENTS_AT_LEAST = 16  # so that dropping the oldest one drops little


@dataclass
class Segment:
    """One file. first: sequence number of its first record. size: bytes of whole records."""

    first: int
    path: Path
    size: int


@dataclass
class Overflow:
    """What did not fit. since, last: wall-clock seconds."""

    dropped: int = 0
    since: float | None = None
    last: float | None = None

    def add(self, count: int, unix: float) -> None:
        """So many records more."""
        if count:
            self.dropped += count
            self.since = self.since or unix
            self.last = unix


class Spool:
    """The log. All methods may be called from any thread.

    Raises OutputError where the folder cannot be used or belongs to another process.
    """

    def __init__(
        self,
        folder: Path | str,
        settings: SpoolSettings | None = None,
        *,
        now: Callable[[], float] = time.time,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.folder = Path(folder)
        self.settings = settings or SpoolSettings()
        self.changed = threading.Condition()
        self.segments: list[Segment] = []
        self.cursors: dict[str, Cursor] = {}
        self.next = self.visible = (
            1  # number of the record that comes next; of the first that readers do not see yet
        )
        self._descriptor = -1  # of the newest segment
        self._now, self._sync = now, sync
        self._segment_bytes = max(4096, min(SEGMENT_BYTES, self.settings.max_bytes // _SEGMENTS_AT_LEAST))
        self._lock_file = lock_folder(self.folder, "the spool")
        self._closed, self._stopping = False, threading.Event()
        self._syncing, self._failed_to = False, 0
        self._failed, self._overflow = 0, Overflow()
        try:
            self._open()
        except OSError as error:
            os.close(self._lock_file)
            raise OutputError(f"the spool {self.folder} cannot be used: {error.strerror}") from None
        self._syncer: threading.Thread | None = None
        if self.settings.sync == "interval":
            self._syncer = threading.Thread(target=self._sync_often, name="spool-sync", daemon=True)
            self._syncer.start()

    # ---- writing

    def put(self, payloads: Sequence[bytes]) -> bool:
        """Append payloads; with sync=always they are on the disk when it returns, in one write for all who wait.

        False where the spool is full and its policy is drop_newest. Raises OutputError where they are not safe;
        they may arrive nevertheless.
        """
        if not payloads:
            return True
        longest = max(map(len, payloads))
        if longest > MAX_PAYLOAD_BYTES:
            raise OutputError(f"an event has {longest} bytes; the spool takes at most {MAX_PAYLOAD_BYTES}")
        with self.changed:
            self._check_open()
            if not self._has_room(sum(map(len, payloads)) + HEADER_BYTES * len(payloads), len(payloads)):
                return False
            try:
                self._append(packed_all(self.next, self._now(), payloads))
            except OSError as error:
                self._failed += len(payloads)
                raise OutputError(
                    f"the spool {self.folder}: {error.strerror}; free some space, events are being lost"
                ) from None
            self.next += len(payloads)
            mine = self.next
            if self.settings.sync == "interval":
                self._show(mine)
                return True
        self._commit(mine, len(payloads))
        return True

    def _append(self, data: bytes) -> None:
        if self.segments[-1].size >= self._segment_bytes:
            self._finish()
            with contextlib.suppress(OSError):  # no room for a new file: this one goes on
                self._begin(self.next)
        append_whole(self._descriptor, data)
        self.segments[-1].size += len(data)

    def _roll(self) -> None:
        """Begin a new segment; the old one is on the disk before."""
        self._finish()
        self._begin(self.next)

    def _finish(self) -> None:
        """Put the newest segment on the disk."""
        try:
            self._sync(self._descriptor)
        except OSError:
            self._failed_to = self.next  # a second fsync would claim success: its records stay unsure
            self.changed.notify_all()
            raise

    def _begin(self, first: int) -> None:
        path = self.folder / f"{first:020d}.log"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        sync_folder(self.folder)
        if self.segments:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self.segments.append(Segment(first, path, os.fstat(descriptor).st_size))

    def _commit(self, mine: int, count: int) -> None:
        """Wait until records before `mine` are on the disk; one thread syncs for all that wait."""
        with self.changed:
            while self._syncing and self.visible < mine and self._failed_to < mine:
                self.changed.wait()
            if self.visible >= mine:
                return
            if self._failed_to >= mine or self._closed:
                self._failed += count
                raise OutputError(f"the spool {self.folder} could not be put on the disk; look at its disk")
            self._syncing = True
            target, descriptor = self.next, os.dup(self._descriptor)
        reason = None
        try:
            self._sync(descriptor)
        except OSError as error:
            reason = error.strerror or str(error)
        finally:
            os.close(descriptor)
            with self.changed:
                self._syncing = False
                if reason is None and self._failed_to >= target:
                    reason = "it failed when its file was full"
                if reason is None:
                    self._show(target)
                else:  # a second fsync would claim success: these records stay unsure
                    self._failed_to, self._failed = target, self._failed + count
                self.changed.notify_all()
        if reason is not None:
            raise OutputError(
                f"the spool {self.folder} could not be put on the disk: {reason}; look at its disk"
            )

    def _show(self, sequence: int) -> None:
        """Let readers see the records before this one."""
        self.visible = max(self.visible, sequence)
        self.changed.notify_all()

    def _sync_often(self) -> None:
        done = self.visible
        while not self._stopping.wait(self.settings.sync_seconds):
            with self.changed:
                target, descriptor = self.next, -1
                if target != done and not self._closed:
                    descriptor = os.dup(self._descriptor)
            if descriptor >= 0:
                with contextlib.suppress(OSError):  # tried again
                    self._sync(descriptor)
                    done = target
                os.close(descriptor)

    # ---- room

    @property
    def bytes(self) -> int:
        """Size of all segments."""
        return sum(segment.size for segment in self.segments)

    def _has_room(self, size: int, count: int) -> bool:
        limit = self.settings.max_bytes
        if size > limit:
            raise OutputError(f"{size} bytes at once do not fit a spool of {limit}; raise spool.max_bytes")
        if self.bytes + size > limit:
            self._remove_passed(self._all_done())
        if self.bytes + size <= limit:
            return True
        if self.settings.overflow == "drop_newest":
            for cursor in self.cursors.values():
                cursor.dropped += count
            self._overflow.add(count, self._now())
            return False
        while self.bytes + size > limit:
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        if len(self.segments) == 1:
            try:
                self._roll()
            except OSError as error:
                self._failed += 1
                raise OutputError(f"the spool {self.folder} is full: {error.strerror}") from None
        oldest, end = self.segments[0], self.segments[1].first
        lost = [cursor.drop_before(end) for cursor in self.cursors.values()]
        self._overflow.add(max(lost, default=0), self._now())
        self._remove(oldest)

    def remove_passed(self) -> None:
        """Remove the segments that all readers are past, as far as that is on the disk."""
        with self.changed:
            self._remove_passed(min((cursor.safe for cursor in self.cursors.values()), default=self.next))

    def _remove_passed(self, passed: int) -> None:
        while len(self.segments) > 1 and self.segments[1].first <= passed:
            self._remove(self.segments[0])

    def _remove(self, segment: Segment) -> None:
        self.segments.remove(segment)
        with contextlib.suppress(OSError):
            segment.path.unlink()

    def _all_done(self) -> int:
        """Number of the first record that some reader still needs."""
        return min((cursor.next for cursor in self.cursors.values()), default=self.next)

    # ---- opening, cursors, closing

    def _open(self) -> None:
        self.cursors = load_cursors(self.folder)
        for path in sorted(self.folder.glob("[0-9]*.log")):
            self.segments.append(Segment(int(path.stem), path, path.stat().st_size))
        if self.segments:
            last = self.segments.pop()
            end, self.next = _whole_end(last)
            if end < last.path.stat().st_size:
                os.truncate(last.path, end)
        else:
            self.next = max((cursor.next for cursor in self.cursors.values()), default=1)
            last = Segment(self.next, self.folder, 0)
        self.visible = self.next
        before, self.segments = self.segments, []
        self._begin(last.first)
        self.segments = before + self.segments
        for cursor in self.cursors.values():
            cursor.fit(self.segments[0].first, self.next)
        self._remove_passed(self._all_done())

    def cursor(self, name: str) -> Cursor:
        """The cursor of this name; a new one begins behind the newest record: it gets what is put from now on."""
        with self.changed:
            if name not in self.cursors:
                self.cursors[name] = Cursor(self.folder / f"{name}.cursor", self.next, self.next)
                self.cursors[name].save()
            return self.cursors[name]

    def taken_over(self, name: str) -> Cursor:
        """The cursor of this name for a new reader; what an older reader holds is not done, and its cursor is closed."""
        with self.changed:
            renewed = self.cursor(name).renewed(self.segments[0].first, self.next)
            self.cursors[name] = renewed
            return renewed

    def forget(self, name: str) -> None:
        """Remove a cursor: nothing is kept for it any more."""
        with self.changed:
            cursor = self.cursors.pop(name, None)
            if cursor is not None:
                cursor.remove()
            self._remove_passed(self._all_done())

    def state(self) -> dict[str, Any]:
        """Figures for people: bytes, events that wait for anyone, what was lost."""
        with self.changed:
            overflow = {
                "type": "sightline.spool.overflow",
                "policy": self.settings.overflow,
                "dropped": self._overflow.dropped,
                "since": self._overflow.since,
                "last": self._overflow.last,
                "sinks": {name: cursor.dropped for name, cursor in self.cursors.items() if cursor.dropped},
            }
            return {
                "bytes": self.bytes,
                "max_bytes": self.settings.max_bytes,
                "waiting": self.next - self._all_done(),
                "put": self.next - 1,
                "failed": self._failed,
                "overflow": overflow if self._overflow.dropped or overflow["sinks"] else None,
            }

    def wake(self) -> None:
        """Let those who wait in read() look at their `stopped`."""
        with self.changed:
            self.changed.notify_all()

    def close(self) -> None:
        """Put all on the disk and free the folder; later calls do nothing."""
        with self.changed:
            if self._closed:
                return
            self._closed = True
            self.changed.notify_all()
        self._stopping.set()
        if self._syncer is not None:
            self._syncer.join(10)
        with self.changed:
            with contextlib.suppress(OSError):
                self._sync(self._descriptor)
            for cursor in self.cursors.values():
                cursor.save(sync=True)
                cursor.closed = True
            os.close(self._descriptor)
            os.close(self._lock_file)

    def _check_open(self) -> None:
        if self._closed:
            raise OutputError(f"the spool {self.folder} is closed")


def _whole_end(segment: Segment) -> tuple[int, int]:
    """(offset behind the last whole record, sequence number that comes next)."""
    records, _ = parsed(segment.path.read_bytes(), final=True)
    if not records:
        return 0, segment.first
    return records[-1].end, records[-1].sequence + 1


def peek(folder: Path) -> list[dict[str, Any]]:
    """The events in a spool's files, oldest first, without taking its lock; what is being written may be missing."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("[0-9]*.log")):
        with contextlib.suppress(OSError):
            records, _ = parsed(path.read_bytes(), final=True)
            found += [
                {"sequence": r.sequence, "unix": r.unix, "event": json.loads(r.payload)} for r in records
            ]
    return found
