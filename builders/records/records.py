# SPDX-License-Identifier: Apache-2.0
"""The records of one repository.

The repository is the truth about which versions there are and which one is public; statuses are read from it, so that
they are right also after a process was killed in the middle of a change. `sync` writes that into the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from sightline.builders.records.database import Database, Row, Run
from sightline.builders.records.record import (
    BuildRecord,
    Event,
    Status,
    What,
    now,
    record_from_dict,
    record_of_build,
    user_name,
)
from sightline.builders.repository import Version, models, versions
from sightline.errors import BuildError

_COLUMNS = "id, name, number, status, record"
_EVENT_COLUMNS = "name, number, what, at, done_by, before, detail"


class Records:
    """Builds and events of one repository; also a context manager. key: of the repository within the database.

    Every method is one transaction, and several processes may use one database. Errors are OutputError.
    """

    def __init__(self, repository: Path, database: Database, key: str) -> None:
        self.repository, self._database, self._key = repository, database, key

    @property
    def place(self) -> str:
        """Where they are kept, without credentials."""
        return self._database.place

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass  # each transaction has a connection of its own: nothing stays open through a long build

    def add(self, record: BuildRecord, *events: Event) -> None:
        """Remember a build, and events with it; a record of the same id is replaced."""
        with self._database.transaction(write=True) as run:
            self._put(run, record)
            for event in events:
                self._put_event(run, event)

    def list(self, name: str | None = None) -> tuple[BuildRecord, ...]:
        """All records, by name, the oldest first; also of versions that only the repository tells of."""
        return tuple(self._list(name))

    def get(self, name: str, number: int) -> BuildRecord:
        """The record of a version; of a build that was refused where no version has the number. Raises BuildError."""
        found = [record for record in self.list(name) if record.number == number]
        kept = [record for record in found if record.status != "refused"]
        if not found:
            raise BuildError(self.unknown(name, number))
        return (kept or found)[-1]

    def unknown(self, name: str, number: int | None = None) -> str:
        """Why a version is not known, and which are."""
        numbers = sorted({record.number for record in self.list(name)})
        if numbers and number is not None:
            return f"there is no version {number} of {name}; known are {', '.join(map(str, numbers))}"
        names = sorted({record.name for record in self.list()})
        known = (
            f"it holds {', '.join(names)}" if names else "it holds no model; build one with: sightline build"
        )
        return f"there is no model '{name}' in {self.repository}; {known}"

    def public(self, name: str) -> int | None:
        """The version that the repository gives to clients."""
        return next((v.number for v in versions(self.repository, name) if v.public), None)

    def last_number(self, name: str) -> int:
        """The highest number that a version of this name ever had; 0 where there was none."""
        return max((r.number for r in self.list(name) if r.status != "refused"), default=0)

    def set_status(self, name: str, number: int, status: Status) -> None:
        """Write the status of a version; one that the repository contradicts is not shown."""
        record = replace(self.get(name, number), status=status)
        self.add(record)

    def event(
        self, name: str, number: int, what: What, *, before: int | None = None, detail: str = ""
    ) -> None:
        """Remember that something happened to a version, now, by this user."""
        with self._database.transaction(write=True) as run:
            self._put_event(run, event_now(name, number, what, before=before, detail=detail))

    def events(self, name: str | None = None, number: int | None = None) -> tuple[Event, ...]:
        """What happened, the oldest first."""
        asked = {"repository": self._key, "name": name, "number": number}
        where, values = _where(asked)
        with self._database.transaction(write=False) as run:
            rows = run(f"SELECT {_EVENT_COLUMNS} FROM sightline_events {where} ORDER BY sequence", values)
        return tuple(_event(row) for row in rows)

    def predecessor(self, name: str) -> int | None:
        """The version to which a rollback goes: that before the public one; None where there is none."""
        there = {version.number: version.public for version in versions(self.repository, name)}
        current = next((number for number, public in there.items() if public), None)
        switches = [event for event in self.events(name) if event.what in _MAKES_PUBLIC]
        kept = [number for number in _past(switches, current) if number in there and number != current]
        if kept:
            return kept[-1]
        if switches and switches[0].what != "found":
            return None
        older = [number for number in there if current is not None and number < current]
        return max(older, default=None)  # built before there were records

    def sync(self, name: str) -> None:
        """Write what the repository tells of a model: versions that have no record, statuses, and which is public."""
        stored = {record.id: record for record in self._rows(name)}
        changed = [record for record in self.list(name) if stored.get(record.id) != record]
        public = self.public(name)
        last = _past(self.events(name), None)
        found = public is not None and (not last or last[-1] != public)
        if not changed and not found:
            return
        with self._database.transaction(write=True) as run:
            for record in changed:
                self._put(run, record)
            if found and public is not None:
                before = last[-1] if last else None
                is_back = len(last) > 1 and last[-2] == public
                detail = "back" if is_back else ""
                self._put_event(run, event_now(name, public, "found", before=before, detail=detail))

    def _list(self, name: str | None) -> Iterable[BuildRecord]:
        rows = self._rows(name)
        names = [name] if name is not None else models(self.repository)
        here = {_build_id(v): v for one in names for v in versions(self.repository, one)}
        was_public = {(e.name, e.number) for e in self.events(name) if e.what in _MAKES_PUBLIC}
        known = {record.id for record in rows}
        adopted = [
            record_of_build(self.repository, v.name, v.number, status="built")
            for key, v in here.items()
            if key not in known
        ]
        found = [_as_it_is(record, here, was_public) for record in (*rows, *adopted)]
        return sorted(found, key=lambda record: (record.name, record.number, record.built))

    def _rows(self, name: str | None) -> tuple[BuildRecord, ...]:
        where, values = _where({"repository": self._key, "name": name})
        with self._database.transaction(write=False) as run:
            rows = run(f"SELECT {_COLUMNS} FROM sightline_builds {where} ORDER BY sequence", values)
        return tuple(_record(row) for row in rows)

    def _put(self, run: Run, record: BuildRecord) -> None:
        text = json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False)
        run(
            "INSERT INTO sightline_builds (repository, id, name, number, status, built, record) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository, id) DO UPDATE SET "
            "status = excluded.status, record = excluded.record",
            (self._key, record.id, record.name, record.number, record.status, record.built, text),
        )

    def _put_event(self, run: Run, event: Event) -> None:
        run(
            f"INSERT INTO sightline_events (repository, {_EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._key, event.name, event.number, event.what, event.at, event.by, event.before,
                event.detail[:2000],
            ),
        )  # fmt: skip


_MAKES_PUBLIC = ("published", "promoted", "rolled back", "found")


def event_now(name: str, number: int, what: What, *, before: int | None = None, detail: str = "") -> Event:
    """An event of this moment, by this user."""
    return Event(name, number, what, now(), user_name(), before, detail)


def _past(events: Iterable[Event], public: int | None) -> list[int]:
    """Versions that were public, as a stack: a rollback takes the last one off. The last one is public now.

    public: which one really is, where a process was killed before it could tell.
    """
    past: list[int] = []
    for event in events:
        if event.what not in _MAKES_PUBLIC:
            continue
        is_back = event.what == "rolled back" or (event.what == "found" and event.detail == "back")
        if is_back and event.number in past:
            while past[-1] != event.number:
                past.pop()
        elif not past or past[-1] != event.number:
            past.append(event.number)
    if public is not None and public in past and past[-1] != public:
        while past[-1] != public:
            past.pop()
    return past


def _as_it_is(record: BuildRecord, here: dict[str, Version], was_public: set[tuple[str, int]]) -> BuildRecord:
    """The record with the status that the repository shows."""
    if record.status == "refused":
        return record
    version = here.get(record.id)
    status: Status
    if version is None:
        status = "removed"
    elif version.public:
        status = "public"
    elif record.status in ("public", "retired") or (record.name, record.number) in was_public:
        status = "retired"
    else:
        status = "built"
    return replace(record, status=status)


def _build_id(version: Version) -> str:
    return str(version.manifest.get("build", "")) or f"{version.name}-{version.number}"


def _record(row: Row) -> BuildRecord:
    values: Any = row[4] if isinstance(row[4], dict) else json.loads(row[4])
    return record_from_dict({**values, "id": row[0], "name": row[1], "number": row[2], "status": row[3]})


def _event(row: Row) -> Event:
    name, number, what, at, by, before, detail = row
    return Event(str(name), int(number), str(what), str(at), str(by), before, str(detail))


def _where(asked: dict[str, Any]) -> tuple[str, list[Any]]:
    given = {key: value for key, value in asked.items() if value is not None}
    return "WHERE " + " AND ".join(f"{key} = ?" for key in given), list(given.values())
