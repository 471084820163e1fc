# SPDX-License-Identifier: Apache-2.0
"""Where bulk images and results are: a folder tree of this machine, or anything that fsspec reaches (s3://, gs://, …)."""

from __future__ import annotations

import os
import random
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from sightline.clients.pipe.files import READ_FLAGS, made, write_whole
from sightline.errors import BadInputError, MissingDependencyError, OutputError
from sightline.frame import MAX_ENCODED_BYTES
from sightline.redact import hide_credentials, redact

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.2
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
Parts = tuple[str, ...]


class Store(Protocol):
    """Files under one root, named by their parts; names that are not UTF-8 carry surrogates."""

    @property
    def title(self) -> str:
        """The root, for people."""

    def children(self, folder: Parts) -> list[tuple[str, bool]]:
        """Name and whether it is a folder, of what is in a folder; links and the like are left out."""

    def read(self, name: Parts) -> bytes:
        """A file. Raises BadInputError where it is not there, may not be read or is too large; OutputError otherwise."""

    def write(self, name: Parts, data: bytes) -> None:
        """A file, whole or as it was before; folders are made. Raises OutputError."""

    def names(self, folder: Parts) -> set[str]:
        """Names of the files in a folder; none where it is not there."""


def store_at(text: str) -> Store:
    """A folder, `file://…`, or an address of fsspec. Raises BadInputError, MissingDependencyError."""
    scheme, separator, rest = text.partition("://")
    if not text:
        raise BadInputError("a folder's name is empty")
    if not separator:
        return FolderStore(Path(text))
    if scheme == "file":
        return FolderStore(Path(rest))
    return RemoteStore(text)


class FolderStore:
    """A folder tree of this machine. Links are not followed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def title(self) -> str:
        """The root, for people."""
        return str(self.root)

    def children(self, folder: Parts) -> list[tuple[str, bool]]:
        """See Store."""
        found = []
        try:
            with os.scandir(self.root.joinpath(*folder)) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if is_folder or entry.is_file(follow_symlinks=False):
                        found.append((entry.name, is_folder))
        except OSError as error:
            raise OutputError(
                f"folder {self.root.joinpath(*folder)} cannot be read: {error.strerror}"
            ) from error
        return found

    def read(self, name: Parts) -> bytes:
        """See Store."""
        path = self.root.joinpath(*name)
        try:
            fd = os.open(path, READ_FLAGS)
            with open(fd, "rb") as file:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode):
                    raise BadInputError("it is no plain file")
                return _small_enough(file.read(MAX_ENCODED_BYTES + 1))
        except OSError as error:
            raise BadInputError(f"it cannot be read: {error.strerror}") from error

    def write(self, name: Parts, data: bytes) -> None:
        """See Store."""
        path = self.root.joinpath(*name)
        made(path.parent)
        write_whole(os.fsencode(path), data)

    def names(self, folder: Parts) -> set[str]:
        """See Store."""
        path = self.root.joinpath(*folder)
        return {entry.name for entry in os.scandir(path)} if path.is_dir() else set()


class RemoteStore:
    """What fsspec reaches. Passing failures are tried again; objects are written in one piece, as object stores do it."""

    def __init__(self, url: str) -> None:
        hide_credentials(url)
        try:
            import fsspec
        except ImportError as error:
            raise MissingDependencyError(
                "the package fsspec is not installed, which object storage needs; pip install 'sightline[bulk]'"
            ) from error
        self._title = redact(url)
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise MissingDependencyError(f"{self._title} needs one more package: {error}") from error
        except ValueError as error:
            raise BadInputError(f"{self._title} is not understood: {redact(str(error))}") from error

    @property
    def title(self) -> str:
        """The root, for people."""
        return self._title

    def children(self, folder: Parts) -> list[tuple[str, bool]]:
        """See Store."""
        path = self._path(folder)
        self._fs.invalidate_cache(path)
        listed = self._insist(path, lambda: self._fs.ls(path, detail=True))
        named = [
            (str(one["name"]).rstrip("/").rpartition("/")[2], one["type"] == "directory") for one in listed
        ]
        own = path.rstrip("/").rpartition("/")[2]
        return [
            (name, is_folder)
            for (name, is_folder), one in zip(named, listed, strict=True)
            if name and not (name == own and str(one["name"]).strip("/") == path.strip("/"))
        ]

    def read(self, name: Parts) -> bytes:
        """See Store."""
        path = self._path(name)
        return _small_enough(
            self._insist(path, lambda: self._fs.cat_file(path, start=0, end=MAX_ENCODED_BYTES + 1))
        )

    def write(self, name: Parts, data: bytes) -> None:
        """See Store."""
        path = self._path(name)

        def put() -> None:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, data)

        try:
            self._insist(path, put)
        except BadInputError as error:
            raise OutputError(f"{path} cannot be written: {error}") from error

    def names(self, folder: Parts) -> set[str]:
        """See Store."""
        path = self._path(folder)
        if not self._insist(path, lambda: self._fs.isdir(path)):
            return set()
        return {name for name, is_folder in self.children(folder) if not is_folder}

    def _path(self, name: Parts) -> str:
        return "/".join((self._root.rstrip("/"), *name))

    def _insist(self, path: str, call: Callable[[], Any]) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                return call()
            except (FileNotFoundError, PermissionError) as error:
                raise BadInputError(f"it cannot be read: {redact(str(error))}") from error
            except Exception as error:  # each store has its own
                failure = error
            time.sleep(FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.0))
        raise OutputError(
            f"{redact(path)} failed {ATTEMPTS} times: {redact(str(failure))}; run the same command again to go on"
        ) from failure


def images_below(store: Store, after: Parts = ()) -> Iterator[Parts]:
    """Images of the tree in the order of their parts, beginning behind `after`; one folder is listed at a time."""

    def walk(folder: Parts) -> Iterator[Parts]:
        for name, is_folder in sorted(store.children(folder)):
            here = (*folder, name)
            if is_folder:
                if here >= after[: len(here)]:
                    yield from walk(here)
            elif here > after and name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield here

    return walk(())


def _small_enough(data: bytes) -> bytes:
    if len(data) > MAX_ENCODED_BYTES:
        raise BadInputError(f"it has more than {MAX_ENCODED_BYTES} bytes, which is what is allowed")
    return data
