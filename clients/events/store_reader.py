# SPDX-License-Identifier: Apache-2.0
"""Asking the event store; also from other processes than the one that writes it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.clients.events.event import utc_text
from sightline.errors import BadInputError, OutputError

if TYPE_CHECKING:
    from sightline.clients.page.control import EventQuery

BUSY_SECONDS = 10.0
MAX_LIMIT = 1000
MAX_TEXTS = 256  # of one filter
_SLOTS = ((1.0, 60), (6.0, 300), (48.0, 3600), (float("inf"), 86_400))  # up to so many hours: seconds
COUNTED_SECONDS = (86_400, 3600, 60)  # seconds of the slots that are kept; those of 300 are made of the last
_FEW_ROWS = 2000


class StoreReader:
    """Answers from a store's file, with a connection for each question. Any thread may ask."""

    def __init__(self, path: Path | str, *, now: Callable[[], float] = time.time) -> None:
        self.path, self._now = Path(path), now

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
        kept = next(one for one in COUNTED_SECONDS if seconds % one == 0)
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

    def newest(self) -> int:
        """The position of what was kept last; 0 where there is nothing. Raises OutputError."""
        with self._reading() as connection:
            return int(connection.execute("SELECT ifnull(max(position), 0) FROM events").fetchone()[0])

    def after(self, position: int, query: EventQuery) -> list[dict[str, Any]]:
        """Events that were kept after this position, in that order; cameras, types and rules of the query count."""
        wanted = (("camera", query.cameras), ("type", query.types), ("rule", query.rules))
        conditions, values = ["position > ?"], [position]
        for name, texts in wanted:
            if texts:
                conditions.append(f"+{name} IN ({', '.join('?' * len(texts))})")
                values += texts  # type: ignore[arg-type]
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT position, body FROM events WHERE {' AND '.join(conditions)} ORDER BY position LIMIT {MAX_LIMIT}",
                values,
            ).fetchall()
        return [{**json.loads(body), "position": found} for found, body in rows]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
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
