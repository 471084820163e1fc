# SPDX-License-Identifier: Apache-2.0
"""Where finished engines are kept, so that nothing is built twice.

    STORE/engines/KEY/      manifest.json and the engine's files, whole or not there at all
    STORE/locks/KEY.lock    held while the engine of this key is built; the kernel frees it when its holder dies
    STORE/partial/          entries on their way; what a killed build left is removed by the next build of the key
    STORE/timing/           TensorRT's timing caches

An entry is written beside, flushed, and renamed into its place. Its files are checked against the manifest's hashes each
time it is asked for; an entry that is damaged counts as not there and is built again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from sightline.builders.engines.manifest import (
    EngineKey,
    EngineManifest,
    EngineTensor,
    FileFacts,
    ShapeRange,
    manifest_from_json,
)
from sightline.builders.engines.store_files import (
    flush_folder,
    locked,
    output_errors,
    sha256_of,
    temporary_folder,
    try_lock,
    write_flushed,
)
from sightline.errors import BuildError

MANIFEST_FILE = "manifest.json"
PLAN_FILE = "model.plan"


@dataclass(frozen=True)
class NewEngine:
    """What a build hands to the store. files: contents by plain file name; seconds: how long it took."""

    files: Mapping[str, bytes]
    seconds: float
    cuda: str = ""
    device: str = ""
    inputs: tuple[EngineTensor, ...] = ()
    outputs: tuple[EngineTensor, ...] = ()
    shapes: Mapping[str, ShapeRange] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredEngine:
    """An engine in the store. built: whether this call built it; folder: of its files, never to be written to."""

    folder: Path
    manifest: EngineManifest
    built: bool = False

    def path(self, name: str = PLAN_FILE) -> Path:
        """Of one of its files."""
        return self.folder / name


def default_store() -> Path:
    """$SIGHTLINE_ENGINES, else $XDG_CACHE_HOME/sightline/engines, else ~/.cache/sightline/engines."""
    chosen = os.environ.get("SIGHTLINE_ENGINES")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sightline" / "engines"


class EngineStore:
    """Engines by key in one folder, which several processes may use at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._engines, self._locks, self._partial = (
            folder / name for name in ("engines", "locks", "partial")
        )

    @property
    def timing_folder(self) -> Path:
        """Of TensorRT's timing caches."""
        return self.folder / "timing"

    def get(self, key: EngineKey) -> StoredEngine | None:
        """The engine of this key, its files checked; None where it is not there or damaged."""
        folder = self._engines / key.digest
        manifest = read_checked(folder)
        if manifest is None or manifest.key.digest != key.digest:
            return None
        with suppress(OSError):  # when it was last used, for gc; a store that may not be written has no gc
            os.utime(folder)
        return StoredEngine(folder, manifest)

    def get_or_build(
        self,
        key: EngineKey,
        build: Callable[[], NewEngine],
        *,
        on_wait: Callable[[int], None] | None = None,
    ) -> StoredEngine:
        """The engine of this key; `build` is called where it is not there.

        Of several processes that ask for one key at once, one builds and the others wait for its result. on_wait: called
        with the PID of the one that builds, 0 where it is not known. Raises what `build` raises; OutputError where the
        store cannot be written: nothing half-written stays then.
        """
        found = self.get(key)
        if found is not None:
            return found
        with output_errors(f"the engine store {self.folder}"):
            for folder in (self._engines, self._locks, self._partial):
                folder.mkdir(parents=True, exist_ok=True)
        with locked(self._locks / f"{key.digest}.lock", on_wait):
            self._sweep(key)
            found = self.get(key)
            return found if found is not None else self._install(key, build())

    def entries(self) -> tuple[StoredEngine, ...]:
        """All engines whose manifest can be read, least recently used first; their files are not checked."""
        found = []
        with suppress(OSError):
            for folder in self._engines.iterdir():
                manifest = _read_manifest(folder)
                if manifest is not None:
                    found.append(StoredEngine(folder, manifest))
        return tuple(sorted(found, key=lambda one: _used(one.folder)))

    def gc(
        self, *, max_bytes: int | None = None, max_age_seconds: float | None = None
    ) -> tuple[StoredEngine, ...]:
        """Remove engines not used for longer, then the least recently used until the rest is small enough.

        Engines that are being built or replaced at this moment stay. Returns those removed. Raises OutputError.
        """
        entries = self.entries()
        total = sum(_size(one.manifest) for one in entries)
        oldest = time.time() - max_age_seconds if max_age_seconds is not None else None
        removed = []
        for one in entries:
            too_old = oldest is not None and _used(one.folder) < oldest
            too_much = max_bytes is not None and total > max_bytes
            if (too_old or too_much) and self._remove(one):
                total -= _size(one.manifest)
                removed.append(one)
        return tuple(removed)

    def _install(self, key: EngineKey, new: NewEngine) -> StoredEngine:
        """Write the entry beside its place and rename it into it; the caller holds the key's lock."""
        manifest = EngineManifest(
            key=key,
            files={
                name: FileFacts(len(content), hashlib.sha256(content).hexdigest())
                for name, content in new.files.items()
            },
            seconds=round(new.seconds, 3),
            built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            cuda=new.cuda,
            device=new.device,
            inputs=new.inputs,
            outputs=new.outputs,
            shapes=new.shapes,
        )
        place = self._engines / key.digest
        partial = None
        with output_errors(f"the engine of key {key.digest} in {self.folder}"):
            try:
                partial = temporary_folder(self._partial, key.digest)
                for name, content in new.files.items():
                    write_flushed(partial / name, content)
                write_flushed(partial / MANIFEST_FILE, manifest.to_json().encode())
                flush_folder(partial)
                self._retire(place)
                partial.rename(place)
                flush_folder(self._engines)
            finally:
                if partial is not None:
                    shutil.rmtree(partial, ignore_errors=True)
        return StoredEngine(place, manifest, built=True)

    def _retire(self, place: Path) -> None:
        """Take a folder out of sight in one step, then delete it."""
        if place.exists():
            retired = temporary_folder(self._partial, place.name)
            place.rename(retired / "retired")
            shutil.rmtree(retired, ignore_errors=True)

    def _remove(self, one: StoredEngine) -> bool:
        with output_errors(f"the engine store {self.folder}"):
            self._locks.mkdir(parents=True, exist_ok=True)
            self._partial.mkdir(parents=True, exist_ok=True)
            descriptor = try_lock(self._locks / f"{one.folder.name}.lock")
            if descriptor is None:
                return False
            try:
                self._retire(one.folder)
            finally:
                os.close(descriptor)
        return True

    def _sweep(self, key: EngineKey) -> None:
        """Remove what killed builds of this key left; the caller holds its lock."""
        for folder in self._partial.glob(f"{key.digest}.*"):
            shutil.rmtree(folder, ignore_errors=True)


def read_checked(folder: Path) -> EngineManifest | None:
    """The manifest of an entry whose files have the sizes and hashes that it names; None where any differs."""
    manifest = _read_manifest(folder)
    if manifest is None:
        return None
    try:
        for name, facts in manifest.files.items():
            path = folder / name
            if path.stat().st_size != facts.bytes or sha256_of(path) != facts.sha256:
                return None
    except OSError:
        return None
    return manifest


def _read_manifest(folder: Path) -> EngineManifest | None:
    try:
        return manifest_from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, BuildError):
        return None


def _size(manifest: EngineManifest) -> int:
    return sum(facts.bytes for facts in manifest.files.values())


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
