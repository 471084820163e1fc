# SPDX-License-Identifier: Apache-2.0
"""How far each reader of the spool is, and reading from there."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.clients.events.files import write_whole
from sightline.clients.events.segments import Record, parsed

if TYPE_CHECKING:
    from sightline.clients.events.spool import Spool

FIRST_CHUNK_BYTES = 256 << 10
CHUNK_BYTES = 2 << 20  # more than the largest record
SYNC_SECONDS = 1.0
_COUNTERS = ("delivered", "refused", "dropped", "damaged", "thrown_away")


class Cursor:
    """next: everything before it is done. ahead: where the next read begins; between them lies what is being sent.

    Its figures outlive a restart. A cursor that cannot be read begins at the oldest record: better twice than never.
    """

    def __init__(self, path: Path, next_: int, ahead: int) -> None:
        self.path, self.next, self.ahead = path, next_, ahead
        self.safe = next_  # the part of `next` that is on the disk
        self.delivered = self.refused = self.dropped = self.damaged = self.thrown_away = 0
        self.closed = False  # nothing moves or saves it any more
        self._dropped_ahead = 0
        self._synced_at = 0.0

    @classmethod
    def load(cls, path: Path) -> Cursor:
        """The cursor of a file."""
        cursor = cls(path, 1, 1)
        try:
            document = json.loads(path.read_bytes())
            cursor.next = cursor.ahead = max(1, int(document["next"]))
            for name in _COUNTERS:
                setattr(cursor, name, int(document.get(name, 0)))
        except (OSError, ValueError, KeyError, TypeError):
            cursor.next = cursor.ahead = 0  # told apart from 1: nothing was dropped, fit() finds the oldest
        return cursor

    def fit(self, oldest: int, following: int) -> None:
        """After opening: what is not in the log any more was dropped; what is not in it yet is not skipped."""
        if self.next == 0:
            self.next = oldest
        elif self.next < oldest:
            self.dropped += oldest - self.next
        self.next = self.ahead = self.safe = min(max(self.next, oldest), following)

    def renewed(self, oldest: int, following: int) -> Cursor:
        """A cursor for a new reader, which gets again what is not done; this one is closed."""
        cursor = Cursor(self.path, self.next, self.next)
        for name in _COUNTERS:
            setattr(cursor, name, getattr(self, name))
        cursor.dropped -= 0 if self.next == self.ahead else self._dropped_ahead  # fit() counts them again
        cursor.fit(oldest, following)
        cursor.safe, self.closed = self.safe, True
        return cursor

    def drop_before(self, sequence: int) -> int:
        """Records before this one go; returns how many of them were neither done nor being sent."""
        lost = max(0, sequence - self.ahead)
        if lost:
            self.dropped += lost
            if self.next == self.ahead:
                self.next = sequence
            else:
                self._dropped_ahead += lost
            self.ahead = sequence
        return lost

    def save(self, *, sync: bool = False) -> None:
        """Replace the file. Where that fails the older file stays: events come twice after a restart."""
        if self.closed:
            return
        sync = sync or time.monotonic() - self._synced_at > SYNC_SECONDS
        if self.next == self.ahead:
            self._dropped_ahead = 0
        next_ = self.next
        document = {"next": next_, **{name: getattr(self, name) for name in _COUNTERS}}
        document["dropped"] -= self._dropped_ahead  # fit() counts them again
        with contextlib.suppress(OSError):
            write_whole(self.path, json.dumps(document).encode(), sync=sync)
            if sync:
                self.safe, self._synced_at = next_, time.monotonic()

    def remove(self) -> None:
        """Remove its file; it is not saved any more."""
        self.closed = True
        with contextlib.suppress(OSError):
            self.path.unlink()


class Reader:
    """Reads a spool in order for one sink; used by one thread. An older reader of the name gets and moves nothing more."""

    def __init__(self, spool: Spool, name: str) -> None:
        self.cursor = spool.taken_over(name)
        self._spool = spool
        self._batch: list[Record] = []
        self._place: tuple[int, int] = (-1, 0)  # first number of the segment, offset of `ahead` in it
        self._expected = self.cursor.ahead

    def read(self, limit: int, limit_bytes: int, timeout: float, stopped: Callable[[], bool]) -> list[Record]:
        """The next records, none after `timeout` seconds or when `stopped` and the spool was waked."""
        deadline = time.monotonic() + timeout
        with self._spool.changed:
            while self.cursor.ahead >= self._spool.visible and not self.cursor.closed and not stopped():
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                self._spool.changed.wait(left)
            if self.cursor.closed or self.cursor.ahead >= self._spool.visible:
                return []
            ahead, visible = self.cursor.ahead, self._spool.visible
            segments = self._spool.segments
            index = max(i for i, segment in enumerate(segments) if segment.first <= ahead)
            segment, size = segments[index], segments[index].size
            following = segments[index + 1].first if index + 1 < len(segments) else visible
        records = self._records(segment.path, segment.first, size, ahead)
        if records is None:
            return []
        batch = self._fitting([r for r in records if r.sequence < visible], limit, limit_bytes)
        self._took(batch, ahead, segment.first, following)
        return batch

    def _records(self, path: Path, first: int, size: int, ahead: int) -> list[Record] | None:
        """Records of this segment from `ahead` on, none where there are none any more; None: the file went meanwhile."""
        at = self._place[1] if self._place[0] == first and self._expected == ahead else 0
        chunk = FIRST_CHUNK_BYTES
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            while at < size:
                data = os.pread(descriptor, min(chunk, size - at), at)
                found, used = parsed(data, final=at + len(data) >= size or not data)
                found = [
                    Record(r.sequence, r.unix, r.payload, r.end + at) for r in found if r.sequence >= ahead
                ]
                if found or not data:
                    return found
                at, chunk = at + used, chunk if used else CHUNK_BYTES
            return []
        finally:
            os.close(descriptor)

    @staticmethod
    def _fitting(records: list[Record], limit: int, limit_bytes: int) -> list[Record]:
        total, taken = 0, 0
        for record in records[:limit]:
            total += len(record.payload)
            if taken and total > limit_bytes:
                break
            taken += 1
        return records[:taken]

    def _took(self, batch: list[Record], ahead: int, first: int, following: int) -> None:
        """Remember what is being sent; numbers that are missing in between were damaged."""
        with self._spool.changed:
            if self.cursor.ahead == ahead:  # else it was dropped meanwhile, and is sent all the same
                after = ahead
                for record in batch:
                    self.cursor.damaged += record.sequence - after
                    after = record.sequence + 1
                if not batch:  # nothing whole up to the end of the segment
                    self.cursor.damaged += following - ahead
                    after = following
                self._place = (first, batch[-1].end) if batch else (-1, 0)
                self.cursor.ahead = self._expected = after
            self._batch += batch
            if not self._batch:
                self.cursor.next = self.cursor.ahead

    def done(self, count: int, *, delivered: int = 0, refused: int = 0, thrown_away: int = 0) -> None:
        """The first `count` records that were read and not done before are done."""
        with self._spool.changed:
            if self.cursor.closed:  # another reader has them, or the spool is closed
                return
            self._batch = self._batch[count:]
            self.cursor.next = self._batch[0].sequence if self._batch else self.cursor.ahead
            self.cursor.delivered += delivered
            self.cursor.refused += refused
            self.cursor.thrown_away += thrown_away
            segments = self._spool.segments
            passed = len(segments) > 1 and self.cursor.safe < segments[1].first <= self.cursor.next
        self.cursor.save(sync=passed)
        self._spool.remove_passed()

    def figures(self, now: float) -> dict[str, Any]:
        """waiting, waiting_bytes, oldest_age_seconds, delivered, refused, dropped, damaged, thrown_away."""
        with self._spool.changed:
            cursor = self.cursor
            later = sum(s.size for s in self._spool.segments if s.first > cursor.ahead)
            inside = [s for s in self._spool.segments if s.first <= cursor.ahead]
            if inside and cursor.ahead < self._spool.next:
                at = self._place[1] if self._place[0] == inside[-1].first else 0
                later += max(0, inside[-1].size - at)
            head = self._batch[0].unix if self._batch else None
            return {
                "waiting": self._spool.next - cursor.next,
                "waiting_bytes": later + sum(len(r.payload) for r in self._batch),
                "oldest_age_seconds": None if head is None else max(0.0, now - head),
                **{name: getattr(cursor, name) for name in _COUNTERS},
            }


def load_cursors(folder: Path) -> dict[str, Cursor]:
    """The cursors of a spool's folder by their names."""
    return {path.stem: Cursor.load(path) for path in sorted(folder.glob("*.cursor")) if path.name[0] != "."}
