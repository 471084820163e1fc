# SPDX-License-Identifier: Apache-2.0
"""The model record: for every build who made what from what, how good it is, and what became of it.

The repository tells what is there and what is public; the record adds what it cannot tell. By default it is one SQLite
file in the repository; SIGHTLINE_RECORDS=postgresql://… keeps the records of many repositories in one database.

from sightline.builders.records import open_records
"""

from __future__ import annotations

from sightline.builders.records.build import record_built, record_refused
from sightline.builders.records.open import open_records
from sightline.builders.records.record import BuildRecord, Event, Status, record_of_build
from sightline.builders.records.records import Records

__all__ = [
    "BuildRecord",
    "Event",
    "Records",
    "Status",
    "open_records",
    "record_built",
    "record_of_build",
    "record_refused",
]
