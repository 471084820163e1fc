# SPDX-License-Identifier: Apache-2.0
"""The tables of the records, and the way from each earlier version of them to the present one.

A record is one JSON object, so that what builds tell may grow without a migration; the columns beside it are what is
asked for. {serial} and {json} are the dialect's words.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE sightline_builds (
            sequence {serial},
            repository TEXT NOT NULL,
            id TEXT NOT NULL,
            name TEXT NOT NULL,
            number INTEGER NOT NULL,
            status TEXT NOT NULL,
            built TEXT NOT NULL,
            record {json} NOT NULL,
            UNIQUE (repository, id)
        )""",
        "CREATE INDEX sightline_builds_by_name ON sightline_builds (repository, name, number)",
        """CREATE TABLE sightline_events (
            sequence {serial},
            repository TEXT NOT NULL,
            name TEXT NOT NULL,
            number INTEGER NOT NULL,
            what TEXT NOT NULL,
            at TEXT NOT NULL,
            done_by TEXT NOT NULL,
            before INTEGER,
            detail TEXT NOT NULL
        )""",
        "CREATE INDEX sightline_events_by_name ON sightline_events (repository, name, sequence)",
    ),
)
VERSION_TABLE = "sightline_schema"
"""Entry N brings a database of version N to N + 1. Entries are added at the end and never changed."""
