# SPDX-License-Identifier: Apache-2.0
"""The events that the page shows: a SQLite file that answers quickly with a million of them.

One thread writes; any thread asks, each time with a connection of its own. Counts are kept by minute, hour and day as
events come, so that a chart of a month reads thousands of rows and not millions.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
_TRIM_AT_ONCE = 40_000  # events; the rest goes the next time, for nothing is appended meanwhile
_SLOTS = ((1.0, 60), (6.0, 300), (48.0, 3600), (float("inf"), 86_400))  # up to so many hours: seconds
_COUNTED = (86_400, 3600, 60)  # seconds of the slots that are kept; those of 300 are made of the last
_FEW_ROWS = 2000
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
        kept = next(one for one in _COUNTED if seconds % one == 0)
        first = (self._now() - hours * 3600) // seconds * seconds
        where, values = (" AND camera = ?", (camera,)) if camera else ("", ())
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT start / {seconds} * {seconds} AS slot, camera, rule, type, sum(count) FROM counts "
                f"WHERE seconds = ? AND start >= ?{where} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
                (kept, first, *values),
            ).fetchall()
        names = ("camera", "rule", "type", "count")
        return [{"start": utc_text(row[0]), **dict(zip(names, row[1:], strict=True))} for row in rows]

    def trim(self) -> int:
        """Remove what is too old or too much; how many events went. Raises OutputError."""
        removed = 0
        oldest = self._now() - self._max_days * 86_400
        try:
            with self._lock:
                removed += self._remove("unix < ?", oldest, most=_TRIM_AT_ONCE)
                with self._writer:
                    self._writer.execute("DELETE FROM counts WHERE start < ?", (oldest,))
                while self._used_bytes() > self._max_bytes and removed < _TRIM_AT_ONCE:
                    gone = self._remove("TRUE", None, most=_TRIM_ROWS)
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
            position = int(cursor.lastrowid or 0)
            slots = [(seconds, int(unix // seconds) * seconds) for seconds in _COUNTED]
            self._writer.executemany(_COUNT, [(*slot, event.camera, rule, event.type) for slot in slots])
            return position
        found = self._writer.execute(
            "SELECT position FROM events WHERE source = ? AND id = ?", (event.source, event.id)
        )
        return int(found.fetchone()[0])

    def _remove(self, where: str, value: float | None, *, most: int) -> int:
        total = 0
        while True:
            with self._writer:
                done = self._writer.execute(
                    f"DELETE FROM events WHERE position IN (SELECT position FROM events WHERE {where} "
                    f"ORDER BY unix LIMIT {_TRIM_ROWS})",
                    () if value is None else (value,),
                ).rowcount
            total += done
            if done < _TRIM_ROWS or total >= most:
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
    """One search by an index for each value of one filter, merged: SQLite by itself would sort all that fits."""
    filters = {
        "rule": query.rules, "label": query.labels, "type": query.types, "camera": query.cameras,
    }  # fmt: skip
    given = {name: tuple(dict.fromkeys(texts)) for name, texts in filters.items() if texts}
    first = _index_of(connection, given)
    conditions, values = _bounds(connection, query)
    for name, texts in given.items():
        if name != first:
            conditions.append(f"{name} IN ({', '.join('?' * len(texts))})")
            values += texts
    parts, all_values = [], []
    for text in given[first] if first else ("",):
        where = " AND ".join([f"{first} = ?", *conditions] if first else conditions or ["TRUE"])
        parts.append(
            f"SELECT * FROM (SELECT position, unix FROM events INDEXED BY by_{first or 'time'} WHERE {where} "
            f"ORDER BY unix DESC, position DESC LIMIT {limit})"
        )
        all_values += ([text] if first else []) + values
    return (
        f"SELECT position, body FROM (SELECT position AS found, unix AS at FROM ({' UNION ALL '.join(parts)}) "
        f"ORDER BY unix DESC, position DESC LIMIT {limit}) JOIN events ON position = found ORDER BY at DESC, found DESC",
        all_values,
    )


def _index_of(connection: sqlite3.Connection, given: Mapping[str, tuple[str, ...]]) -> str:
    """The filter whose index is asked: one that fits few rows; else the camera's or, "", the time's, which hold all
    that the other filters need.
    """
    if len(given) == 1:
        return next(iter(given))
    rows = {name: _rows(connection, name, texts) for name, texts in given.items()}
    fewest = min(rows, key=rows.__getitem__, default="")
    if fewest and rows[fewest] < _FEW_ROWS:
        return fewest
    return "camera" if "camera" in given else ""


def _rows(connection: sqlite3.Connection, name: str, texts: Sequence[str]) -> int:
    """How many rows have one of these values; counted up to _FEW_ROWS."""
    marks = ", ".join("?" * len(texts))
    statement = (
        f"SELECT count(*) FROM (SELECT 1 FROM events INDEXED BY by_{name} WHERE {name} IN ({marks}) LIMIT ?)"
    )
    return int(connection.execute(statement, (*texts, _FEW_ROWS)).fetchone()[0])


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
