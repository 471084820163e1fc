# SPDX-License-Identifier: Apache-2.0
"""Opens the records of a repository."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sightline.builders.records.database import Database, PostgresDatabase, SqliteDatabase
from sightline.builders.records.records import Records
from sightline.errors import BuildError, OutputError
from sightline.redact import hide

RECORDS_FILE = ".sightline-records.db"
IDENTITY_FILE = ".sightline-repository"
RECORDS_VARIABLE = "SIGHTLINE_RECORDS"
_SCHEMES = ("postgresql", "postgres")


def open_records(repository: Path, url: str | None = None, *, read_only: bool = False) -> Records:
    """The records of this repository; a context manager.

    url: postgresql://USER@HOST/DATABASE; left out, that of $SIGHTLINE_RECORDS, and where that is empty the SQLite file
    REPOSITORY/.sightline-records.db, which moves and is copied with the repository. Triton looks at folders only.

    read_only: nothing is made or changed by opening. Raises OutputError where the database cannot be used,
    MissingDependencyError where psycopg is not installed.
    """
    address = url or os.environ.get(RECORDS_VARIABLE, "")
    if not address:
        database: Database = SqliteDatabase(repository / RECORDS_FILE)
        database.check(write=not read_only)
        return Records(repository, database, "")
    hide_passwords(address)
    if address.partition(":")[0] not in _SCHEMES:
        raise BuildError(
            f"the records' address begins with '{address.partition(':')[0][:20]}'; it must be "
            "postgresql://USER@HOST:PORT/DATABASE, or empty for a file in the repository"
        )
    database = PostgresDatabase(address)
    database.check(write=not read_only)
    return Records(repository, database, repository_identity(repository, read_only=read_only))


def check_without_password(url: str | None) -> str | None:
    """An address from the command line, which every user of the machine can see: it must not hold a password."""
    if url is not None and _passwords(url):
        raise BuildError(
            "--records holds a password, which every user of this machine can see in the list of processes; "
            f"give the address in {RECORDS_VARIABLE}, or the password in ~/.pgpass or PGPASSWORD"
        )
    return url


def hide_passwords(url: str) -> None:
    """Keep the address's passwords, not its user, out of all that is written from now on."""
    for password in _passwords(url):
        hide(password)


def _passwords(url: str) -> list[str]:
    rest, _, query = url.partition("://")[2].partition("?")
    in_front = rest.rpartition("@")[0].partition(":")[2]
    values = [
        value for key, _, value in (part.partition("=") for part in query.split("&")) if "password" in key
    ]
    return [password for password in (in_front, *values) if password]


def repository_identity(repository: Path, *, read_only: bool = False) -> str:
    """A name that stays with the repository when its folder is moved; "none" where it has none and read_only is set.

    Raises OutputError.
    """
    path = repository / IDENTITY_FILE
    try:
        if read_only and not path.exists():
            return "none"
        if not path.exists():
            repository.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{IDENTITY_FILE}.{os.getpid()}")
            partial.write_text(f"{secrets.token_hex(8)}\n", encoding="ascii")
            try:
                os.link(partial, path)  # of two at once, the first one's name holds
            except FileExistsError:
                pass
            finally:
                partial.unlink()
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(
            f"the repository's name for the records, {path}, cannot be used: {error}"
        ) from error
