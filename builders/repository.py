# SPDX-License-Identifier: Apache-2.0
"""Writes a model's folders into a Triton repository: all of an entry, or nothing.

Everything is written and flushed in a staging folder next to the repository; then each model folder is exchanged for
the new one in one step. A failure on the way puts the old folders back. Folders that Sightline did not write are
never replaced.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sightline.errors import BuildError, OutputError

MANIFEST = "sightline.json"
PART_MANIFEST = "sightline_part.json"
_STAGING_PREFIX = ".sightline-build-"
_LOCK_SECONDS = 30.0


@contextmanager
def staging_folder(repository: Path) -> Iterator[Path]:
    """A folder on the repository's disk for a new entry, removed at the end. Raises OutputError.

    Folders left by builds that were killed are removed as well.
    """
    try:
        repository.mkdir(parents=True, exist_ok=True)
        parent = _staging_parent(repository.resolve())
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(prefix=f"{_STAGING_PREFIX}{os.getpid()}-", dir=parent))
    except OSError as error:
        raise OutputError(f"the repository {repository} cannot be written: {error.strerror}") from error
    try:
        yield folder
    except OSError as error:
        raise OutputError(
            f"the entry cannot be written to {repository}: {error.strerror}; what was there is unchanged"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_replaceable(repository: Path, entry: str, models: list[str]) -> None:
    """Raise BuildError where a folder of this entry exists that Sightline did not write for it."""
    for model in models:
        folder = repository / model
        if not folder.is_symlink() and not folder.exists():
            continue
        owner = None if folder.is_symlink() else _owner(folder)
        if owner is None:
            raise BuildError(
                f"{folder} exists and was not written by Sightline; choose another --name or --repository, or move it away"
            )
        if owner != entry:
            raise BuildError(f"{folder} belongs to the model '{owner}'; choose another --name")


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and flush it to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file and flush it to the disk."""
    write_file(path, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())


def install_entry(staging: Path, repository: Path, entry: str, models: list[str]) -> None:
    """Exchange the entry's folders for those in `staging`/new, in this order; on an error put the old ones back.

    Raises BuildError for folders of others, OSError where a folder cannot be moved.
    """
    new, retired = staging / "new", staging / "retired"
    _flush_tree(new)
    retired.mkdir()
    with _locked(repository):
        check_replaceable(repository, entry, models)
        done: list[str] = []
        try:
            for model in models:
                done.append(model)
                _exchange(new / model, repository / model, retired / model)
        except BaseException:
            for model in reversed(done):
                _restore(new / model, repository / model, retired / model)
            raise
        _flush_folder(repository)


def _exchange(new: Path, place: Path, retired: Path) -> None:
    """Put `new` into `place`; what was there goes to `retired`. Two renames: the gap is microseconds long."""
    if place.exists():
        place.rename(retired)
    new.rename(place)


def _restore(new: Path, place: Path, retired: Path) -> None:
    if not new.exists() and place.exists():
        place.rename(new)
    if retired.exists():
        retired.rename(place)


def _owner(folder: Path) -> str | None:
    """Name of the model for which Sightline wrote this folder; None where it did not."""
    for manifest in (MANIFEST, PART_MANIFEST):
        try:
            values = json.loads((folder / manifest).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if (
            isinstance(values, dict)
            and values.get("written_by") == "sightline"
            and isinstance(values.get("model"), str)
        ):
            return str(values["model"])
    return None


def _staging_parent(repository: Path) -> Path:
    """Next to the repository; inside it where that is another disk or not ours to write."""
    parent = repository.parent
    if parent.stat().st_dev == repository.stat().st_dev and os.access(parent, os.W_OK | os.X_OK):
        return parent
    return repository


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_STAGING_PREFIX}*"):
        pid = folder.name.removeprefix(_STAGING_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(repository: Path) -> Iterator[None]:
    """Only one build exchanges folders of a repository at a time; the kernel ends the lock with its holder."""
    descriptor = os.open(repository, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + _LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise OutputError(
                        f"{repository} is in use by another build; try again when it is done"
                    ) from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _flush_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    for path in (*(p for p in folder.rglob("*") if p.is_dir()), folder):
        _flush_folder(path)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
