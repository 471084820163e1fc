# SPDX-License-Identifier: Apache-2.0
"""Where records are kept: one interface over SQLite (the standard library's) and PostgreSQL (psycopg, an extra).

Statements are written once, with `?` for values, in the SQL that both understand.

SQLite keeps its rollback journal, not a write-ahead log: a build writes a few rows, so readers wait for milliseconds;
in return the records are one file that also works on network disks, can be read in a folder that may not be written,
and is not touched by looking at it.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sightline.builders.records.schema import MIGRATIONS, VERSION_TABLE
from sightline.errors import MissingDependencyError, OutputError
from sightline.redact import redact

Row = tuple[Any, ...]
Run = Callable[..., list[Row]]
"""run(statement, values) -> rows, within one transaction."""
BUSY_SECONDS = 30.0
CONNECT_SECONDS = 10


class Database(ABC):
    """Transactions on one database. place: for messages, without credentials."""

    place: str

    @abstractmethod
    def check(self, *, write: bool) -> None:
        """Raise OutputError or MissingDependencyError where records cannot be read, or written, now."""

    @abstractmethod
    def transaction(self, *, write: bool) -> Any:
        """A context manager that gives a Run; all of it happens or nothing. Raises OutputError.

        Reading from a database without our tables gives no rows; writing makes and migrates them first.
        """


class SqliteDatabase(Database):
    """Records in a file, which is made by the first write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)

    def check(self, *, write: bool) -> None:
        if self._path.is_symlink():
            raise OutputError(f"the model records {self.place} are a link; remove it")
        if write and self._path.exists() and not os.access(self._path, os.W_OK):
            raise OutputError(f"the model records {self.place} may not be written by this user")
        with self.transaction(write=False):
            pass

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Run]:
        if not write and not self._path.exists():
            yield _nothing
            return
        with _sqlite_errors(self.place):
            connection = sqlite3.connect(
                f"file:{quote(str(self._path.absolute()))}?mode={'rwc' if write else 'rw'}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
            )
        try:
            with _sqlite_errors(self.place):
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                if _ready(lambda *given: connection.execute(*given).fetchall(), self.place, _SQLITE, write):
                    yield lambda *given: connection.execute(*given).fetchall()
                else:
                    yield _nothing
                connection.execute("COMMIT")
        finally:
            with suppress(sqlite3.Error):  # what was not committed is undone
                connection.close()


class PostgresDatabase(Database):
    """Records in a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.place = place_of(url)

    def check(self, *, write: bool) -> None:
        with self.transaction(write=write):
            pass

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Run]:
        psycopg = _psycopg()
        try:
            with psycopg.connect(
                self._url, connect_timeout=CONNECT_SECONDS, application_name="sightline"
            ) as connection:

                def run(statement: str, values: Sequence[Any] = ()) -> list[Row]:
                    cursor = connection.execute(statement.replace("?", "%s"), tuple(values))
                    return list(cursor.fetchall()) if cursor.description else []

                run(f"SET LOCAL lock_timeout = '{int(BUSY_SECONDS)}s'")
                if write:  # one writer at a time, as with SQLite
                    run("SELECT pg_advisory_xact_lock(hashtext('sightline records'))")
                yield run if _ready(run, self.place, _POSTGRES, write) else _nothing
        except psycopg.Error as error:
            reason = redact(" ".join(str(error).split())).rstrip("?.") or type(error).__name__
            raise OutputError(
                f"the model records in {self.place} cannot be used: {reason}. Check SIGHTLINE_RECORDS, "
                "or unset it to keep the records in a file"
            ) from None  # the cause may hold the address with its password


_SQLITE = {
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "json": "TEXT",
    "tables": "SELECT count(*) FROM sqlite_master WHERE name = ?",
}
_POSTGRES = {
    "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "json": "JSONB",
    "tables": "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = ?",
}


def place_of(url: str) -> str:
    """Host and database of a PostgreSQL address, without user, password and options."""
    where, _, database = url.partition("://")[2].partition("?")[0].rpartition("@")[2].partition("/")
    return f"PostgreSQL (database {redact(database) or 'of the user'} on {where or 'this machine'})"


def _ready(run: Run, place: str, words: dict[str, str], write: bool) -> bool:
    """Whether our tables are there; with `write` they are made and brought to the present version."""
    version = 0
    if run(words["tables"], (VERSION_TABLE,))[0][0]:
        version = int(run(f"SELECT version FROM {VERSION_TABLE}")[0][0])
    if version > len(MIGRATIONS):
        raise OutputError(
            f"the model records in {place} were written by a later Sightline (version {version} of their tables; "
            f"this one knows {len(MIGRATIONS)}): update Sightline"
        )
    if not write:
        return version > 0
    if version == 0:
        run(f"CREATE TABLE {VERSION_TABLE} (version INTEGER NOT NULL)")
        run(f"INSERT INTO {VERSION_TABLE} VALUES (0)")
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            run(statement.format(serial=words["serial"], json=words["json"]))
    if version < len(MIGRATIONS):
        run(f"UPDATE {VERSION_TABLE} SET version = ?", (len(MIGRATIONS),))
    return True


def _nothing(*_: Any) -> list[Row]:
    return []


@contextmanager
def _sqlite_errors(place: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        what = (
            "are damaged" if "malformed" in str(error) or "not a database" in str(error) else "cannot be used"
        )
        raise OutputError(
            f"the model records {place} {what}: {error}. Move the file away and a new one is begun; "
            "the versions themselves are in the repository"
            if what == "are damaged"
            else f"the model records {place} {what}: {error}"
        ) from error


def _psycopg() -> Any:
    try:
        return importlib.import_module("psycopg")
    except ImportError as error:
        raise MissingDependencyError(
            "records in PostgreSQL need psycopg, which is not installed: pip install 'sightline[records]'"
        ) from error
