# SPDX-License-Identifier: Apache-2.0
"""The events that the page shows: a SQLite file that answers quickly with a million of them.

One thread writes; any thread asks, each time with a connection of its own. Counts are kept by minute, hour and day as
events come, so that a chart of a month reads thousands of rows and not millions.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.clients.events.event import Event
from sightline.clients.events.sink import SinkAway, json_text
from sightline.clients.events.store_reader import BUSY_SECONDS, COUNTED_SECONDS, StoreReader, unix_of
from sightline.errors import OutputError

if TYPE_CHECKING:
    pass

TRIM_SECONDS = 60.0
_TRIM_ROWS = 2000
_FILLED = 0.95  # of the largest size, after a file that was larger was trimmed
_TRIM_AT_ONCE = 40_000  # events; the rest goes the next time, for nothing is appended meanwhile
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, id TEXT NOT NULL, unix REAL NOT NULL,
    type TEXT NOT NULL, camera TEXT NOT NULL, rule TEXT NOT NULL, label TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (source, id));
CREATE INDEX IF NOT EXISTS by_time ON events (unix, camera, type, rule, label);
CREATE INDEX IF NOT EXISTS by_camera ON events (camera, unix, type, rule, label);
CREATE INDEX IF NOT EXISTS by_type ON events (type, unix);
CREATE INDEX IF NOT EXISTS by_rule ON events (rule, unix);
CREATE INDEX IF NOT EXISTS by_label ON events (label, unix);
CREATE TABLE IF NOT EXISTS counts (
    seconds INTEGER NOT NULL, start INTEGER NOT NULL, camera TEXT NOT NULL, rule TEXT NOT NULL, type TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (seconds, start, camera, rule, type)) WITHOUT ROWID;
"""
_INSERT = (
    "INSERT INTO events (source, id, unix, type, camera, rule, label, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (source, id) DO NOTHING"
)
_COUNT = (
    "INSERT INTO counts VALUES (?, ?, ?, ?, ?, 1) "
    "ON CONFLICT (seconds, start, camera, rule, type) DO UPDATE SET count = count + 1"
)


class EventStore(StoreReader):
    """The store, which the outbox feeds.

    max_days, max_bytes: older events, and the oldest of a file that is larger, go; counts go by age only.
    A damaged file is moved aside and begun anew; `notice` is told. Raises OutputError where it cannot be used.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        max_days: float = 90.0,
        max_bytes: int = 2 << 30,
        notice: Callable[[str], None] = lambda text: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(path, now=now)
        self._max_days, self._max_bytes = max_days, max_bytes
        self._lock = threading.Lock()
        self._trimmed_at = -TRIM_SECONDS
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._prepared()
        except sqlite3.DatabaseError as error:
            if "malformed" not in str(error) and "not a database" not in str(error):
                raise OutputError(f"the event store {self.path} cannot be used: {error}") from None
            aside = self.path.with_name(f"{self.path.name}.damaged-{int(now())}")
            self.path.rename(aside)
            notice(f"the event store was damaged; it was moved to {aside} and begun anew")
            self._writer = self._prepared()
        except OSError as error:
            raise OutputError(f"the event store {self.path} cannot be used: {error.strerror}") from None

    def append(self, event: Event) -> int:
        """Keep an event; the same one twice is kept once. Returns its position. Raises OutputError."""
        return self.append_all([event])[0]

    def append_all(self, events: Sequence[Event]) -> list[int]:
        """Keep events in one transaction, on the disk when it returns; their positions. Raises OutputError."""
        try:
            with self._lock, self._writer:
                self._writer.execute("BEGIN IMMEDIATE")
                return [self._insert(event) for event in events]
        except sqlite3.Error as error:
            raise OutputError(f"the event store {self.path} cannot be written: {error}") from None

    def trim(self) -> int:
        """Remove what is too old or too much; how many events went. Raises OutputError."""
        removed = 0
        oldest = self._now() - self._max_days * 86_400
        try:
            with self._lock:
                removed += self._remove("unix < ?", oldest, most=_TRIM_AT_ONCE)
                with self._writer:
                    self._writer.execute("DELETE FROM counts WHERE start < ?", (oldest,))
                used = self._used_bytes()
                if used > self._max_bytes:
                    total = int(self._writer.execute("SELECT count(*) FROM events").fetchone()[0])
                    surplus = int(total * (1 - _FILLED * self._max_bytes / used)) + 1
                    removed += self._remove("TRUE", None, most=min(surplus, _TRIM_AT_ONCE))
                self._writer.execute("PRAGMA incremental_vacuum").fetchall()
        except sqlite3.Error as error:
            raise OutputError(f"the event store {self.path} cannot be trimmed: {error}") from None
        return removed

    def trim_sometimes(self) -> None:
        """trim(), where the last one was a while ago. Raises OutputError."""
        if time.monotonic() - self._trimmed_at >= TRIM_SECONDS:
            self._trimmed_at = time.monotonic()
            self.trim()

    def close(self) -> None:
        """Close the file; later calls do nothing."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._writer.close()

    # ---- inside

    def _prepared(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -16000")
            connection.executescript(_TABLES)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _insert(self, event: Event) -> int:
        unix, rule = unix_of(event.time, self._now()), str(event.data.get("rule") or "")
        label = str(event.data.get("label") or "")
        row = (event.source, event.id, unix, event.type, event.camera, rule, label, json_text(event))
        cursor = self._writer.execute(_INSERT, row)
        if cursor.rowcount:
            position = int(cursor.lastrowid or 0)
            slots = [(seconds, int(unix // seconds) * seconds) for seconds in COUNTED_SECONDS]
            self._writer.executemany(_COUNT, [(*slot, event.camera, rule, event.type) for slot in slots])
            return position
        found = self._writer.execute(
            "SELECT position FROM events WHERE source = ? AND id = ?", (event.source, event.id)
        )
        return int(found.fetchone()[0])

    def _remove(self, where: str, value: float | None, *, most: int) -> int:
        total = 0
        while True:
            rows = min(_TRIM_ROWS, most - total)
            with self._writer:
                done = self._writer.execute(
                    f"DELETE FROM events WHERE position IN (SELECT position FROM events WHERE {where} "
                    "ORDER BY unix LIMIT ?)",
                    (rows,) if value is None else (value, rows),
                ).rowcount
            total += done
            if done < rows or total >= most:
                return total

    def _used_bytes(self) -> int:
        pages, free, size = (
            int(self._writer.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size


class StoreOut:
    """The store as a sink; it stays open, for the page asks it as long as the program runs."""

    lossy = False
    batch = 500

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def open(self) -> None:
        """It is open."""

    def send(self, events: Sequence[Event]) -> None:
        """Keep the events, and from time to time remove the oldest. Raises SinkAway."""
        try:
            self._store.trim_sometimes()
            self._store.append_all(events)
        except OutputError as error:
            raise SinkAway(str(error)) from None

    def close(self) -> None:
        """Stays open."""

    def interrupt(self) -> None:
        """Nothing: a disk is not waited for for long."""
