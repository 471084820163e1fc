# SPDX-License-Identifier: Apache-2.0
"""Versions of a model in a Triton repository: each is written whole or not at all, and one of them is public.

The stages of version N of NAME are models of their own, NAME_vN_network and so on, and never change. NAME_vN_network/public
keeps the two ensembles of that version. Making a version public puts these ensembles into NAME and NAME_frames: Triton
always finds a configuration whose stages are there, at whatever moment it looks, and so does a server after a power cut.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.builders.stopping import deferred_signals
from sightline.errors import BuildError, OutputError
from sightline.naming import MANIFEST, PART_MANIFEST, STAGE_NAME, STAGES, stage_model

PUBLIC = "public"
CONFIG = "config.pbtxt"
_STAGING_PREFIX = ".sightline-build-"
_LOCK_SECONDS = 30.0
_LABELS = re.compile(r"labels_v[1-9][0-9]*\.txt")


@dataclass(frozen=True)
class Version:
    """One version in a repository. manifest: what the build wrote about it. public: clients get this one."""

    name: str
    number: int
    public: bool
    manifest: dict[str, Any]


@contextmanager
def staging_folder(repository: Path) -> Iterator[Path]:
    """A folder on the repository's disk for a new version, removed at the end. Raises OutputError.

    Folders left by builds that were killed are removed as well. A repository that is made for a build goes with a build
    that fails.
    """
    made = [folder for folder in (repository, *repository.parents) if not folder.exists()]
    try:
        repository.mkdir(parents=True, exist_ok=True)
        parent = _staging_parent(repository.resolve())
        for place in {parent, repository.resolve()}:
            _sweep(place)
        folder = Path(tempfile.mkdtemp(prefix=f"{_STAGING_PREFIX}{os.getpid()}-", dir=parent))
    except OSError as error:
        raise OutputError(f"the repository {repository} cannot be written: {error.strerror}") from error
    try:
        yield folder
    except OSError as error:
        raise OutputError(
            f"the entry cannot be written to {repository}: {_reason(error, folder)}; what was there is unchanged"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for empty in made:
            with suppress(OSError):
                empty.rmdir()


def check_replaceable(repository: Path, name: str) -> None:
    """Raise BuildError where a public folder of this name exists that Sightline did not write for it."""
    for model in public_models(name):
        folder = repository / model
        if not folder.is_symlink() and not folder.exists():
            continue
        owner = None if folder.is_symlink() else _owner(folder)
        if owner is None:
            raise BuildError(
                f"{folder} exists and was not written by Sightline; choose another --name or --repository, or move it away"
            )
        if owner != name:
            raise BuildError(f"{folder} belongs to the model '{owner}'; choose another --name")


def public_models(name: str) -> tuple[str, str]:
    """The ensembles that clients ask for: for raw frames, and for files. The second names the model, so it comes last."""
    return f"{name}_frames", name


def next_number(repository: Path, name: str) -> int:
    """The number that no version of this name has had in the repository."""
    numbers = [number for number, _ in _stage_folders(repository, name)]
    public = public_number(repository, name) or 0
    return max([*numbers, public], default=0) + 1


def versions(repository: Path, name: str) -> list[Version]:
    """All whole versions of a model, the oldest first."""
    public = public_number(repository, name)
    found = []
    for number in sorted({number for number, _ in _stage_folders(repository, name)}):
        manifest = _read_json(_public_folder(repository, name, number) / name / MANIFEST)
        if manifest is not None:
            found.append(Version(name, number, number == public, manifest))
    return found


def models(repository: Path) -> list[str]:
    """Names of all models that have a version in the repository."""
    names = set()
    for folder in repository.glob("*_network"):
        match = STAGE_NAME.fullmatch(folder.name)
        if match and (folder / PUBLIC / match["name"] / MANIFEST).is_file():
            names.add(match["name"])
    return sorted(names)


def public_number(repository: Path, name: str) -> int | None:
    """The version that clients get; None where none is public."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    try:
        text = (repository / name / CONFIG).read_text(encoding="utf-8")
        config = text_format.Parse(text, pb.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError):
        return None
    numbers = config.version_policy.specific.versions
    return int(numbers[0]) if len(numbers) == 1 else None


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


def install_version(staging: Path, repository: Path, name: str, number: int) -> None:
    """Move the stage folders in `staging` into the repository. The network's comes last: with it the version is whole.

    Raises BuildError where such a folder is there already, OSError where one cannot be moved; nothing is left then.
    """
    _flush_tree(staging)
    folders = sorted(
        staging.iterdir(), key=lambda folder: folder.name == stage_model(name, number, "network")
    )
    done: list[Path] = []
    repository.mkdir(
        parents=True, exist_ok=True
    )  # a build that failed beside this one may have taken it away
    with deferred_signals(), _locked(repository):
        check_replaceable(repository, name)
        try:
            for folder in folders:
                place = repository / folder.name
                if place.is_symlink() or place.exists():
                    raise BuildError(f"{place} exists already; choose another --name, or move it away")
                _move(folder, place)
                done.append(place)
            _flush_folder(repository)
        except BaseException:
            for place in reversed(done):  # the network's first: without it the others are leftovers
                place.rename(staging / place.name)
            raise


def make_public(repository: Path, name: str, number: int) -> int | None:
    """Give clients this version; the number they had before, None where there was none.

    A server that is serving the repository must be told (deploy.local.reload). Raises BuildError where there is no such
    version, OutputError where the folders cannot be written; the version before stays public then.
    """
    folder = _public_folder(repository, name, number)
    if not (folder / name / MANIFEST).is_file():
        known = ", ".join(str(version.number) for version in versions(repository, name)) or "none"
        raise BuildError(f"model '{name}' has no version {number} in {repository}; it has {known}")
    with deferred_signals(), _locked(repository):
        check_replaceable(repository, name)
        before = public_number(repository, name)
        try:
            for model in public_models(name):
                _switch(folder / model, repository / model, number)
        except OSError as error:
            _switch_back(repository, name, before)
            stays = f"version {before} stays" if before is not None else "no version is public"
            raise OutputError(
                f"version {number} of {name} cannot be made public in {repository}: {_words(error)}; {stays}"
            ) from error
        _flush_folder(repository)
    return before


def remove_version(repository: Path, name: str, number: int) -> None:
    """Delete a version that is not public; the network's folder first: without it the others are leftovers."""
    with _locked(repository):
        if public_number(repository, name) == number:
            raise BuildError(f"version {number} of {name} is public; promote another one first")
        for stage in sorted(STAGES, key=lambda stage: stage != "network"):
            shutil.rmtree(repository / stage_model(name, number, stage), ignore_errors=True)
    left = repository / stage_model(name, number, "network")
    if left.exists():
        raise OutputError(f"version {number} of {name} cannot be removed: {left} may not be deleted")


def remove_leftovers(repository: Path, name: str) -> None:
    """Delete stage folders of this model that do not belong to a whole version."""
    whole = {version.number for version in versions(repository, name)}
    for number, folder in _stage_folders(repository, name):
        if number not in whole and _owner(folder) == name:
            shutil.rmtree(folder, ignore_errors=True)


def _switch(new: Path, place: Path, number: int) -> None:
    """Make `place` the same as `new`. The exchange of config.pbtxt, one rename, is the moment in which it happens."""
    if not place.exists():
        partial = place.with_name(f"{_STAGING_PREFIX}{os.getpid()}-{place.name}")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            shutil.copytree(new, partial)
            _flush_tree(partial)
            _move(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return
    (place / str(number)).mkdir(exist_ok=True)
    files = sorted((path for path in new.iterdir() if path.is_file()), key=lambda path: path.name == CONFIG)
    for file in files:
        _replace_file(place / file.name, file.read_bytes())
    wanted = {path.name for path in new.iterdir()}
    for old in place.iterdir():
        if old.name not in wanted and (old.name.isdigit() or _LABELS.fullmatch(old.name)):
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink()


def _switch_back(repository: Path, name: str, before: int | None) -> None:
    with suppress(OSError):
        for model in public_models(name):
            if before is None:
                shutil.rmtree(repository / model, ignore_errors=True)
            else:
                _switch(_public_folder(repository, name, before) / model, repository / model, before)


def _replace_file(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        write_file(partial, content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _move(new: Path, place: Path) -> None:
    new.rename(place)


def _public_folder(repository: Path, name: str, number: int) -> Path:
    return repository / stage_model(name, number, "network") / PUBLIC


def _stage_folders(repository: Path, name: str) -> Iterator[tuple[int, Path]]:
    for folder in repository.glob(f"{name}_v*_*"):
        match = STAGE_NAME.fullmatch(folder.name)
        if match and match["name"] == name:
            yield int(match["number"]), folder


def _owner(folder: Path) -> str | None:
    """Name of the model for which Sightline wrote this folder; None where it did not."""
    for manifest in (MANIFEST, PART_MANIFEST):
        values = _read_json(folder / manifest)
        if values and values.get("written_by") == "sightline" and isinstance(values.get("model"), str):
            return str(values["model"])
    return None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _reason(error: OSError, staging: Path) -> str:
    """The system's words, with the place where that is not our own staging folder."""
    words = _words(error)
    place = str(error.filename or "")
    return words if not place or place.startswith(str(staging)) else f"{words}: {place}"


def _words(error: OSError) -> str:
    """The system's words; a copy of a folder tells them for its first file."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return error.strerror or str(error)


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
    """Only one build changes a repository at a time; the kernel ends the lock with its holder."""
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
