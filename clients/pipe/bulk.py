# SPDX-License-Identifier: Apache-2.0
"""Millions of images out of a folder tree or object storage, one line of JSON each, in shards; a killed run goes on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sightline.clients.pipe.ask import StoppedError, Told
from sightline.clients.pipe.bulk_shards import Lister, agree, shard_name
from sightline.clients.pipe.bulk_store import FolderStore, Store, store_at
from sightline.clients.pipe.bulk_work import BulkSettings, work_here, work_on_ray
from sightline.clients.pipe.files import locked, made
from sightline.errors import BadInputError


@dataclass
class BulkTally:
    """Images of this run. before: those that earlier runs had done. has_poison: some of all could not be used.

    total: of the source, None until it is listed.
    """

    done: int = 0
    poisoned: int = 0
    before: int = 0
    has_poison: bool = False
    listed: int = 0
    total: int | None = None
    began: float = field(default_factory=time.monotonic)
    is_interrupted: bool = False

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.began


class Bulk:
    """One bulk run. Raises BadInputError, OutputError, ModelNotFoundError, MissingDependencyError."""

    def __init__(
        self,
        settings: BulkSettings,
        tell: Told = lambda _: None,
        progress: Callable[[BulkTally], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._progress = progress
        self._stop = threading.Event()
        self._finished: set[str] = set()
        self._lock = threading.Lock()
        self._lister: Lister | None = None
        self.tally = BulkTally()

    def stop(self) -> None:
        """End soon; shards that are not done are done again by the next run."""
        self._stop.set()

    def run(self) -> BulkTally:
        """Work until all images have their line."""
        settings = self._settings
        source, destination = store_at(settings.source), store_at(settings.destination)
        lock = self._checked(source, destination)
        lister = None
        try:
            agree(destination, _manifest(settings, source))
            self._finished = destination.names(("results",))
            lister = Lister(source, destination, settings.images_per_shard, self._stop)
            self._lister = lister
            shards = self._open_shards(lister)
            work = (
                work_on_ray(settings, shards, self._stop)
                if settings.ray
                else work_here(settings, shards, self._stop, self._tell, self._one)
            )
            for report in work:
                if settings.ray:
                    self._count(report.done, report.poisoned)
            self.tally.is_interrupted = self._stop.is_set()
            self.tally.has_poison = bool(destination.names(("poison",)))
        except StoppedError:
            self.tally.is_interrupted = True
        finally:
            self._stop.set()
            if lister is not None:
                lister.join()
            if lock is not None:
                os.close(lock)
        return self.tally

    def _checked(self, source: Store, destination: Store) -> int | None:
        """A lock on the destination where it is a folder; the two must not be one."""
        if isinstance(source, FolderStore):
            if not source.root.is_dir():
                raise BadInputError(f"folder {source.root} is not there")
            if isinstance(destination, FolderStore) and destination.root.resolve().is_relative_to(
                source.root.resolve()
            ):
                raise BadInputError(f"results cannot be inside the images' folder {source.root}")
        return (
            locked(made(destination.root), True, "folder") if isinstance(destination, FolderStore) else None
        )

    def _open_shards(self, lister: Lister) -> Iterator[int]:
        """Numbers of the shards that have no results, as they are listed."""
        index = 0
        while not self._stop.is_set() and lister.wait_for(index):
            if shard_name(index) in self._finished:
                last = lister.is_complete and index == lister.shards - 1
                size = self._settings.images_per_shard
                self.tally.before += lister.images - index * size if last else size
            else:
                yield index
            index += 1

    def _one(self, is_good: bool) -> None:
        self._count(int(is_good), int(not is_good))

    def _count(self, done: int, poisoned: int) -> None:
        with self._lock:
            tally, lister = self.tally, self._lister
            tally.done += done
            tally.poisoned += poisoned
            if lister is not None:
                tally.listed = lister.images
                tally.total = lister.images if lister.is_complete else None
            self._progress(tally)


def _manifest(settings: BulkSettings, source: Store) -> dict[str, object]:
    where = str(source.root.resolve()) if isinstance(source, FolderStore) else source.title
    return {
        "format": "sightline-bulk-1",
        "source": where.encode("utf-8", "backslashreplace").decode("utf-8"),
        "models": list(settings.plan.models),
        "chain": list(settings.plan.chain),
        "results": settings.format,
        "score": settings.score,
        "images_per_shard": settings.images_per_shard,
    }
