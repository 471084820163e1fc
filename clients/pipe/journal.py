# SPDX-License-Identifier: Apache-2.0
"""What a pipe has begun and finished, on the disk, so that a killed one goes on without a result too many or too few.

An image is *claimed* (its result has a name), then *answered* (its result lies aside, whole, and only needs its name),
then *done* (named, and its input is where it should be). An answered image is never asked again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.clients.pipe.item import Item, out_name
from sightline.errors import OutputError

CLAIMED, ANSWERED, DONE = 0, 1, 2
LAYOUT = "1"

_TABLES = """
CREATE TABLE IF NOT EXISTS images (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL, identity TEXT NOT NULL,
    out BLOB NOT NULL UNIQUE, state INTEGER NOT NULL, poison INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS images_by_name ON images (name, identity);
CREATE INDEX IF NOT EXISTS images_by_state ON images (state) WHERE state < 2;
CREATE TABLE IF NOT EXISTS coco (number INTEGER PRIMARY KEY, image TEXT NOT NULL, annotations TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """What the journal holds of one image."""

    number: int
    name: bytes
    identity: str
    out: bytes
    state: int
    is_poison: bool


class Journal:
    """One SQLite file. Each change is on the disk when its method returns. Not safe for threads."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute(
                "PRAGMA locking_mode = EXCLUSIVE"
            )  # before WAL: no shared memory, so also on NFS
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_TABLES)
        except sqlite3.Error as error:
            raise OutputError(f"journal {path} cannot be used: {error}; is it another program's?") from error
        self._path = path
        self.remember("layout", LAYOUT)

    def remember(self, fact: str, value: str) -> str:
        """Keep a fact; the one that was kept before, or this one when it is new."""
        with self._changes() as db:
            db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (fact, value))
        return str(self._db.execute("SELECT value FROM facts WHERE name = ?", (fact,)).fetchone()[0])

    def replace_fact(self, fact: str, value: str) -> None:
        """Keep a fact in place of an older one."""
        with self._changes() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (fact, value))

    def is_empty(self) -> bool:
        """Whether it holds no image."""
        found = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM images) OR EXISTS (SELECT 1 FROM coco)"
        ).fetchone()
        return not found[0]

    def find(self, name: bytes, identity: str) -> Row | None:
        """The row of an image."""
        found = self._db.execute(
            "SELECT number, name, identity, out, state, poison FROM images WHERE name = ? AND identity = ?",
            (name, identity),
        ).fetchone()
        return None if found is None else _row(found)

    def unfinished(self) -> Iterator[Row]:
        """Rows that are not done, the oldest first."""
        for found in self._db.execute(
            "SELECT number, name, identity, out, state, poison FROM images WHERE state < 2 ORDER BY number"
        ).fetchall():
            yield _row(found)

    def claim(self, items: Sequence[Item], is_taken: Callable[[bytes], bool]) -> list[Item]:
        """The items with numbers and names of results, which no other has; those that were claimed before keep theirs."""
        claimed: list[Item] = []
        with self._changes() as db:
            for item in items:
                row = self.find(item.name, item.identity)
                number, out = (row.number, row.out) if row else self._insert(db, item, is_taken)
                claimed.append(Item(item.name, item.identity, item.load, item.receipt, number, out))
        return claimed

    def _insert(
        self, db: sqlite3.Connection, item: Item, is_taken: Callable[[bytes], bool]
    ) -> tuple[int, bytes]:
        digest = hashlib.sha1(item.name).hexdigest()
        attempt = 1
        while True:
            out = out_name(item.name, attempt, digest)
            used = db.execute("SELECT 1 FROM images WHERE out = ?", (out,)).fetchone()
            if used is None and not is_taken(out):
                break
            attempt += 1
        cursor = db.execute(
            "INSERT INTO images (name, identity, out, state) VALUES (?, ?, ?, ?)",
            (item.name, item.identity, out, CLAIMED),
        )
        return int(cursor.lastrowid or 0), out

    def answered(
        self, results: Iterable[int], poisons: Iterable[int], coco: Iterable[tuple[int, str, str]] = ()
    ) -> None:
        """These have their results aside, with what one COCO file of all says of them."""
        with self._changes() as db:
            db.executemany(
                "UPDATE images SET state = ?, poison = ? WHERE number = ?",
                [(ANSWERED, 0, n) for n in results] + [(ANSWERED, 1, n) for n in poisons],
            )
            db.executemany("INSERT OR REPLACE INTO coco VALUES (?, ?, ?)", list(coco))

    def done(self, kept: Iterable[int], gone: Iterable[int]) -> None:
        """kept: their inputs stay where they are and are never asked again. gone: nothing needs to be known of them."""
        with self._changes() as db:
            db.executemany("UPDATE images SET state = ? WHERE number = ?", [(DONE, n) for n in kept])
            db.executemany("DELETE FROM images WHERE number = ?", [(n,) for n in gone])

    def coco_rows(self) -> Iterator[tuple[str, str]]:
        """Image and annotations of all that were answered, by number."""
        for image, found in self._db.execute("SELECT image, annotations FROM coco ORDER BY number"):
            yield str(image), str(found)

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def _changes(self) -> _Changes:
        return _Changes(self._db, self._path)


class _Changes:
    """One transaction; what SQLite says becomes OutputError."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self._db.execute("ROLLBACK" if kind else "COMMIT")
        except sqlite3.Error as failure:
            raise OutputError(f"journal {self._path} cannot be written: {failure}") from failure
        if isinstance(error, sqlite3.Error):
            raise OutputError(f"journal {self._path} cannot be written: {error}") from error


def _row(found: tuple[int, bytes, str, bytes, int, int]) -> Row:
    number, name, identity, out, state, poison = found
    return Row(number, bytes(name), identity, bytes(out), state, bool(poison))


def exists(path: bytes) -> bool:
    """Whether something has this name; links are not followed."""
    return os.path.lexists(path)
