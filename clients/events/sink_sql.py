# SPDX-License-Identifier: Apache-2.0
"""Sinks that are tables: SQLite and PostgreSQL. The same event twice is one row."""

from __future__ import annotations

import contextlib
import importlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sightline.clients.events.event import Event
from sightline.clients.events.settings import SqlSink
from sightline.clients.events.sink import SinkAway, SinkRefuses, json_text
from sightline.errors import MissingDependencyError, OutputError

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30
_COLUMNS = ("source", "id", "type", "time", "camera", "rule", "subject", "data")


def sql_out(settings: SqlSink) -> SqliteOut | PostgresOut:
    """The sink for this address. Raises OutputError for another kind of database, MissingDependencyError."""
    scheme, _, rest = settings.url.partition("://")
    if scheme == "sqlite":
        return SqliteOut(Path(unquote(rest.removeprefix("/"))), settings.table)
    if scheme in ("postgresql", "postgres"):
        return PostgresOut(settings.url, settings.table)
    raise OutputError(
        f"a sql sink speaks {scheme!r}; its url must be sqlite:///FILE or postgresql://user@host/database"
    )


def _row(event: Event) -> tuple[Any, ...]:
    data = json.dumps(json.loads(json_text(event))["data"])
    rule = event.data.get("rule")
    return (
        event.source, event.id, event.type, event.time, event.camera,
        None if rule is None else str(rule), event.subject, data,
    )  # fmt: skip


def _upsert(table: str, mark: str) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[2:])
    return (
        f"INSERT INTO {table} ({', '.join(_COLUMNS)}) VALUES ({', '.join([mark] * len(_COLUMNS))}) "
        f"ON CONFLICT (source, id) DO UPDATE SET {changed}"
    )


class SqliteOut:
    """A table in a file; each batch is one transaction, on the disk when it ends."""

    lossy = False
    batch = 500

    def __init__(self, path: Path, table: str) -> None:
        self._path, self._table = path, table
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file and make the table. Raises SinkAway."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self._path, timeout=CONNECT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} (source TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, "
                "time TEXT NOT NULL, camera TEXT NOT NULL, rule TEXT, subject TEXT, data TEXT NOT NULL, "
                "PRIMARY KEY (source, id))"
            )
            self._connection.execute(f"CREATE INDEX IF NOT EXISTS {self._table}_time ON {self._table} (time)")
        except (OSError, sqlite3.Error) as error:
            raise SinkAway(f"{self._path}: {error}") from None

    def send(self, events: Sequence[Event]) -> None:
        """Write the rows in one transaction. Raises SinkAway."""
        if self._connection is None:
            raise SinkAway(f"{self._path} is closed")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_upsert(self._table, "?"), [_row(event) for event in events])
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise SinkAway(f"{self._path}: {error}") from None

    def close(self) -> None:
        """Close the file; what was not committed is undone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def interrupt(self) -> None:
        """Stop the statement that runs."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.interrupt()


class PostgresOut:
    """A table of a PostgreSQL database, which is made where it is missing."""

    lossy = False
    batch = 200

    def __init__(self, url: str, table: str) -> None:
        self._url, self._table = url, table
        self._connection: Any = None
        try:
            self._psycopg: Any = importlib.import_module("psycopg")
        except ImportError:
            raise MissingDependencyError(
                "a sql sink with PostgreSQL needs psycopg; pip install 'sightline[events]'"
            ) from None

    def open(self) -> None:
        """Connect and make the table. Raises SinkAway."""
        try:
            self._connection = self._psycopg.connect(
                self._url,
                connect_timeout=CONNECT_SECONDS,
                application_name="sightline events",
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=STATEMENT_SECONDS * 1000,
                autocommit=True,
            )
            with self._connection.transaction():
                self._connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
                self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('sightline events'))")
                self._make_table()
        except self._psycopg.Error as error:
            raise SinkAway(_reason(error)) from None

    def _make_table(self) -> None:
        found = self._connection.execute("SELECT to_regclass(%s)", (self._table,)).fetchone()
        if found[0] is not None:
            return
        self._connection.execute(
            f"CREATE TABLE {self._table} (source TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, "
            "time TIMESTAMPTZ NOT NULL, camera TEXT NOT NULL, rule TEXT, subject TEXT, data JSONB NOT NULL, "
            "PRIMARY KEY (source, id))"
        )
        self._connection.execute(f"CREATE INDEX {self._table}_time ON {self._table} (time)")

    def send(self, events: Sequence[Event]) -> None:
        """Write the rows in one transaction, or one by one to find one that is refused. Raises SinkAway, SinkRefuses."""
        rows = [_row(event) for event in events]
        try:
            self._write(rows)
        except self._psycopg.DataError as error:
            if len(rows) == 1:
                raise SinkRefuses(_reason(error)) from None
            self._one_by_one(rows)

    def _one_by_one(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for number, row in enumerate(rows):
            try:
                self._write([row])
            except self._psycopg.DataError as error:
                raise SinkRefuses(_reason(error), done=number) from None
            except SinkAway as error:
                raise SinkAway(str(error), done=number) from None

    def _write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        if self._connection is None:
            raise SinkAway("the connection is closed")
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.executemany(_upsert(self._table, "%s"), rows)
        except self._psycopg.DataError:
            raise
        except self._psycopg.Error as error:
            raise SinkAway(_reason(error)) from None

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def interrupt(self) -> None:
        """Cancel the statement that runs."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.cancel_safe(timeout=1.0) if hasattr(
                    connection, "cancel_safe"
                ) else connection.cancel()


def _reason(error: Exception) -> str:
    return f"PostgreSQL: {error}" if str(error) else f"PostgreSQL: {type(error).__name__}"
