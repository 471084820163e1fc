# SPDX-License-Identifier: Apache-2.0
"""What is done to versions that are there: promote, rollback, remove, clean up. Each is remembered."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sightline.builders.publish import Switched, check_whole, switch_version
from sightline.builders.records.record import What
from sightline.builders.records.records import Records
from sightline.builders.repository import (
    public_models,
    public_number,
    remove_leftovers,
    remove_version,
    versions,
)
from sightline.errors import BuildError, ServerError, SightlineError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Removed:
    """A version that was removed, or would be. size: of its files, bytes."""

    name: str
    number: int
    size: int


def promote(records: Records, name: str, number: int, say: Say | None = None) -> Switched:
    """Give clients this version. Raises BuildError where it is not there, damaged, or does not load; OutputError."""
    return _switch(records, name, number, "promoted", say)


def rollback(records: Records, name: str, say: Say | None = None) -> tuple[int, Switched]:
    """Give clients the version that they had before the present one; its number. Raises as promote() does."""
    _known(records, name)
    number = records.predecessor(name)
    if number is None:
        public = public_number(records.repository, name)
        there = "no version is public" if public is None else f"version {public} is the first that was public"
        raise BuildError(
            f"{name} has no version to go back to: {there}. Choose one of "
            f"{', '.join(str(v.number) for v in versions(records.repository, name))} with: sightline models promote"
        )
    return number, _switch(records, name, number, "rolled back", say)


def remove(records: Records, name: str, number: int) -> Removed:
    """Delete a version. Raises BuildError where it is public, served at this moment, or not there."""
    _known(records, name, number)
    records.sync(name)
    if served_version(records.repository, name) == number:
        raise BuildError(
            f"the running server still answers with version {number} of {name}; promote another one first"
        )
    size = records.get(name, number).sizes.get("version", 0)
    remove_version(records.repository, name, number)
    remove_leftovers(records.repository, name)
    records.set_status(name, number, "removed")
    records.event(name, number, "removed")
    return Removed(name, number, size)


def unneeded(records: Records, name: str, keep: int) -> list[int]:
    """Versions beyond the `keep` newest; never the public one, the one before it, or the one that is being served."""
    kept = {public_number(records.repository, name), records.predecessor(name)}
    kept.add(served_version(records.repository, name))
    numbers = [version.number for version in versions(records.repository, name)]
    kept |= set(numbers[max(len(numbers) - keep, 0) :])
    return [number for number in numbers if number not in kept]


def served_version(repository: Path, name: str) -> int | None:
    """The version with which a running server answers; None where none runs, or it cannot tell."""
    from sightline.deploy.local.reload import served_numbers, serving

    with suppress(ServerError):
        state = serving(repository)
        if state is not None:
            return served_numbers(state, (name,))[name]
    return None


def cut_off(repository: Path, name: str) -> int | None:
    """The version of which a switch was killed half-way: it has one public ensemble of two. None where none was."""
    frames, files = (_number_of(repository / model) for model in public_models(name))
    return None if frames == files else frames or files


def _switch(records: Records, name: str, number: int, what: What, say: Say | None) -> Switched:
    _known(records, name, number)
    records.sync(name)
    check_whole(records.repository, name, number)
    try:
        switched = switch_version(records.repository, name, number, say)
    except SightlineError as error:
        with suppress(SightlineError):  # the reason of the failure is what counts
            records.event(name, number, "failed", detail=str(error))
        raise
    if switched.before != number:
        records.event(name, number, what, before=switched.before)
    records.sync(name)
    return switched


def _known(records: Records, name: str, number: int | None = None) -> None:
    there = [version.number for version in versions(records.repository, name)]
    if not there:
        raise BuildError(records.unknown(name))
    if number is not None and number not in there:
        known = ", ".join(map(str, there))
        raise BuildError(f"{name} has no version {number} in {records.repository}; it has {known}")


def _number_of(folder: Path) -> int | None:
    return public_number(folder.parent, folder.name)
