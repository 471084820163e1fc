# SPDX-License-Identifier: Apache-2.0
"""The events that the page shows: a SQLite file that answers quickly with a million of them.

One thread writes; any thread asks, each time with a connection of its own. Counts are kept by the minute as events
come, so that a chart of a month reads thousands of rows and not millions.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.clients.events.event import Event, utc_text
from sightline.clients.events.sink import SinkAway, json_text
from sightline.errors import BadInputError, OutputError

if TYPE_CHECKING:
    from sightline.clients.page.control import EventQuery

BUSY_SECONDS = 10.0
MAX_LIMIT = 1000
MAX_TEXTS = 256  # of one filter
TRIM_SECONDS = 60.0
_TRIM_ROWS = 2000
_SLOTS = ((1.0, 60), (6.0, 300), (48.0, 3600), (float("inf"), 86_400))  # up to so many hours: seconds
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, id TEXT NOT NULL, unix REAL NOT NULL,
    type TEXT NOT NULL, camera TEXT NOT NULL, rule TEXT NOT NULL, label TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (source, id));
CREATE INDEX IF NOT EXISTS by_time ON events (unix);
CREATE INDEX IF NOT EXISTS by_camera ON events (camera, unix);
CREATE INDEX IF NOT EXISTS by_type ON events (type, unix);
CREATE INDEX IF NOT EXISTS by_rule ON events (rule, unix);
CREATE INDEX IF NOT EXISTS by_label ON events (label, unix);
CREATE TABLE IF NOT EXISTS counts (
    camera TEXT NOT NULL, minute INTEGER NOT NULL, rule TEXT NOT NULL, type TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (camera, minute, rule, type)) WITHOUT ROWID;
"""
_INSERT = (
    "INSERT INTO events (source, id, unix, type, camera, rule, label, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (source, id) DO NOTHING"
)
_COUNT = (
    "INSERT INTO counts VALUES (?, ?, ?, ?, 1) "
    "ON CONFLICT (camera, minute, rule, type) DO UPDATE SET count = count + 1"
)


class EventStore:
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
        self.path = Path(path)
        self._max_days, self._max_bytes, self._now = max_days, max_bytes, now
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

    def query(self, query: EventQuery) -> list[dict[str, Any]]:
        """Events as CloudEvents with `position`, the newest first by their time. Raises BadInputError, OutputError."""
        limit = max(1, min(query.limit, MAX_LIMIT))
        with self._reading() as connection:
            statement, values = _query(connection, query, limit)
            rows = connection.execute(statement, values).fetchall()
        return [{**json.loads(body), "position": position} for position, body in rows]

    def counts(self, camera: str, hours: float) -> list[dict[str, Any]]:
        """Events of the last hours by time slot: {"start", "camera", "rule", "type", "count"}, oldest first.

        camera: its name; empty: of all. Slots have 1 minute up to 1 hour, 5 minutes up to 6, 1 hour up to 48, else a day.
        """
        seconds = next(seconds for most, seconds in _SLOTS if hours <= most)
        first = (self._now() - hours * 3600) // seconds * seconds / 60
        where, values = ("camera = ? AND ", (camera,)) if camera else ("", ())
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT minute * 60 / {seconds} AS slot, camera, rule, type, sum(count) FROM counts "
                f"WHERE {where}minute >= ? GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
                (*values, first),
            ).fetchall()
        names = ("camera", "rule", "type", "count")
        return [
            {"start": utc_text(row[0] * seconds), **dict(zip(names, row[1:], strict=True))} for row in rows
        ]

    def trim(self) -> int:
        """Remove what is too old or too much; how many events went. Raises OutputError."""
        removed = 0
        oldest = self._now() - self._max_days * 86_400
        try:
            with self._lock:
                removed += self._remove("unix < ?", oldest)
                with self._writer:
                    self._writer.execute("DELETE FROM counts WHERE minute < ?", (oldest // 60,))
                while self._used_bytes() > self._max_bytes:
                    gone = self._remove("TRUE", None, once=True)
                    removed += gone
                    if gone == 0:
                        break
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

    @contextlib.contextmanager
    def _reading(self) -> Any:
        connection = None
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS
            )
            yield connection
        except sqlite3.Error as error:
            raise OutputError(f"the event store {self.path} cannot be read: {error}") from None
        finally:
            if connection is not None:
                connection.close()

    def _insert(self, event: Event) -> int:
        unix, rule = unix_of(event.time, self._now()), str(event.data.get("rule") or "")
        label = str(event.data.get("label") or "")
        row = (event.source, event.id, unix, event.type, event.camera, rule, label, json_text(event))
        cursor = self._writer.execute(_INSERT, row)
        if cursor.rowcount:
            self._writer.execute(_COUNT, (event.camera, int(unix // 60), rule, event.type))
            return int(cursor.lastrowid or 0)
        found = self._writer.execute(
            "SELECT position FROM events WHERE source = ? AND id = ?", (event.source, event.id)
        )
        return int(found.fetchone()[0])

    def _remove(self, where: str, value: float | None, *, once: bool = False) -> int:
        total = 0
        while True:
            with self._writer:
                done = self._writer.execute(
                    f"DELETE FROM events WHERE position IN (SELECT position FROM events WHERE {where} "
                    f"ORDER BY unix LIMIT {_TRIM_ROWS})",
                    () if value is None else (value,),
                ).rowcount
            total += done
            if once or done < _TRIM_ROWS:
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


def unix_of(time_text: str, otherwise: float) -> float:
    """Wall-clock seconds of an ISO 8601 time; without a zone it is UTC. `otherwise` for what is no time."""
    try:
        moment = datetime.fromisoformat(time_text.replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError:
        return otherwise
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _query(connection: sqlite3.Connection, query: EventQuery, limit: int) -> tuple[str, list[Any]]:
    """One search by index for each value of one filter, merged: SQLite by itself would sort all that fits."""
    filters = {
        "rule": query.rules, "label": query.labels, "camera": query.cameras, "type": query.types,
    }  # fmt: skip
    conditions, values = _bounds(connection, query)
    given = [(name, tuple(dict.fromkeys(texts))) for name, texts in filters.items() if texts]
    for name, texts in given[1:]:
        conditions.append(f"+{name} IN ({', '.join('?' * len(texts))})")
        values += texts
    parts, all_values = [], []
    for name, text in [(given[0][0], text) for text in given[0][1]] if given else [("", "")]:
        where = " AND ".join([f"{name} = ?", *conditions] if name else conditions or ["TRUE"])
        parts.append(
            f"SELECT * FROM (SELECT position, unix, body FROM events WHERE {where} "
            f"ORDER BY unix DESC, position DESC LIMIT {limit})"
        )
        all_values += ([text] if name else []) + values
    return (
        f"SELECT position, body FROM ({' UNION ALL '.join(parts)}) ORDER BY unix DESC, position DESC LIMIT {limit}",
        all_values,
    )


def _bounds(connection: sqlite3.Connection, query: EventQuery) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for texts in (query.rules, query.labels, query.cameras, query.types):
        if len(texts) > MAX_TEXTS:
            raise BadInputError(f"{len(texts)} values are asked for at once; at most {MAX_TEXTS}")
    for text, condition in ((query.since, "unix >= ?"), (query.until, "unix < ?")):
        if text is not None:
            unix = unix_of(text, float("nan"))
            if unix != unix:
                raise BadInputError(f"{text!r} is no time; write it as 2026-11-28T07:55:00Z")
            conditions.append(condition)
            values.append(unix)
    if query.before is not None:
        found = connection.execute("SELECT unix FROM events WHERE position = ?", (query.before,)).fetchone()
        conditions.append("(unix, position) < (?, ?)" if found else "position < ?")
        values += [found[0], query.before] if found else [query.before]
    return conditions, values
