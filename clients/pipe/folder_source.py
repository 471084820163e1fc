# SPDX-License-Identifier: Apache-2.0
"""Images out of a polled folder: only plain files that are whole, each once; nothing outside the folder is touched."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import stat
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sightline.clients.pipe.files import STATE_FOLDER, identity_of, read_whole, sync_folder
from sightline.clients.pipe.item import Item
from sightline.errors import OutputError

SUFFIXES = (b".jpg", b".jpeg", b".png", b".webp")
READY_AT_ONCE = 10_000  # names held in memory
TAKEN = b".sightline-taken-"
LONGEST_SCAN_SHARE = 0.25


@dataclass
class _Seen:
    """A file that was found and not taken yet. since: monotonic seconds at which it had this identity first; first: at
    which its name was found."""

    identity: str
    since: float
    first: float
    is_doubted: bool = False


@dataclass(frozen=True)
class Settling:
    """How long a file must not have changed. doubt_seconds: of one that ends in the middle, after which it counts as
    broken off."""

    settle_seconds: float = 1.0
    doubt_seconds: float = 30.0
    watch_seconds: float = 1.0


class FolderSource:
    """Finds images in one folder. `is_known` tells of an image that it needs not to be asked again.

    Sub-folders, links, pipes, devices, names that begin with a dot, and names of no image are left alone.
    """

    def __init__(self, folder: Path, settling: Settling, is_known: Callable[[bytes, str], bool]) -> None:
        self.folder = folder
        self._path = os.fsencode(folder)
        self._settling = settling
        self._is_known = is_known
        self._seen: dict[bytes, _Seen] = {}
        self._ready: deque[Item] = deque()
        self._busy: set[bytes] = set()
        self._next_scan = 0.0
        self._was_cut = False
        self.left_alone = 0

    def poll(self, room: int) -> list[Item]:
        """Up to `room` images that look whole, the oldest first. Raises OutputError when the folder is gone."""
        now = time.monotonic()
        if not self._ready and now >= self._next_scan:
            self._scan(now)
        items = [self._ready.popleft() for _ in range(min(room, len(self._ready)))]
        self._busy.update(item.name for item in items)
        return items

    def keep(self) -> None:
        """The folder's lock says it."""

    @property
    def waiting(self) -> int:
        """Images that were found and are not under way yet; there may be more where the folder is very full."""
        return len(self._ready) + len(self._seen)

    @property
    def is_exhausted(self) -> bool:
        """Whether the last look found nothing that may still be taken."""
        return not self._ready and not self._seen and not self._was_cut and self._next_scan > 0

    @property
    def next_look_seconds(self) -> float:
        """Until something may be found again."""
        return 0.0 if self._ready else max(0.0, self._next_scan - time.monotonic())

    def later(self, item: Item, is_half: bool) -> bool:
        """Take an image back that is not whole. False when it has not changed for so long that it counts as broken off."""
        self._busy.discard(item.name)
        seen = self._seen.get(item.name)
        now = time.monotonic()
        if seen is None or seen.identity != item.identity:
            seen = self._seen[item.name] = _Seen(item.identity, now, now if seen is None else seen.first)
        seen.is_doubted = True
        if is_half and now - seen.since >= self._settling.doubt_seconds:
            del self._seen[item.name]
            return False
        self._next_scan = min(self._next_scan, now + max(self._settling.settle_seconds, 0.05))
        return True

    def release(self, item: Item) -> None:
        """The image is finished, or gone."""
        self._busy.discard(item.name)
        self._seen.pop(item.name, None)

    @property
    def is_stuck(self) -> bool:
        """Whether all that is left has been written to for longer than is to be waited for."""
        now = time.monotonic()
        return not self._ready and all(
            now - seen.first > 2 * self._settling.doubt_seconds for seen in self._seen.values()
        )

    def unsettled(self) -> list[bytes]:
        """Names of files that are still being written."""
        return sorted(self._seen)

    def _scan(self, now: float) -> None:
        found: list[tuple[float, Item]] = []
        seen: dict[bytes, _Seen] = {}
        self._was_cut, self.left_alone = False, 0
        wall = time.time()
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    if len(found) >= READY_AT_ONCE:
                        self._was_cut = True
                        break
                    self._look(entry, now, wall, found, seen)
        except OSError as error:
            raise OutputError(f"folder {self.folder} cannot be read: {error.strerror}") from error
        self._seen = seen
        self._ready.extend(item for _, item in sorted(found, key=lambda pair: pair[0]))
        took = time.monotonic() - now
        pause = self._settling.watch_seconds
        if seen:
            pause = min(pause, max(self._settling.settle_seconds / 2, 0.02))
        self._next_scan = time.monotonic() + max(pause, took / LONGEST_SCAN_SHARE)

    def _look(
        self,
        entry: os.DirEntry[bytes],
        now: float,
        wall: float,
        found: list[tuple[float, Item]],
        seen: dict[bytes, _Seen],
    ) -> None:
        name = entry.name
        if name.startswith(b".") or not name.lower().endswith(SUFFIXES):
            return
        if name in self._busy:
            if name in self._seen:
                seen[name] = self._seen[name]
            return
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return  # gone
        if not stat.S_ISREG(status.st_mode):
            self.left_alone += 1
            return
        identity = identity_of(status)
        if self._is_known(name, identity):
            return
        before = self._seen.get(name)
        if before is None or before.identity != identity:
            before = _Seen(identity, now, now if before is None else before.first)
            age = wall - max(status.st_mtime, status.st_ctime)
            is_settled = age >= self._settling.settle_seconds
        else:
            is_settled = now - before.since >= self._settling.settle_seconds
        seen[name] = before
        if is_settled:
            load = functools.partial(read_whole, os.path.join(self._path, name), identity)
            found.append((status.st_mtime, Item(name, identity, load, receipt=self)))
            if not before.is_doubted:
                del seen[name]

    def finish(self, name: bytes, identity: str, then: str, target: bytes) -> bool:
        """Do with the image what is wanted: move it to `target`, delete or keep it. Whether it stays. Raises OutputError."""
        if then == "keep":
            return True
        self.take_away(name, identity, target if then == "move" else None)
        return False

    def take_away(self, name: bytes, identity: str, target: bytes | None) -> bool:
        """Move the image to `target`, or delete it when that is None. False when it was not there any more.

        A newer image that took its name meanwhile stays. Raises OutputError.
        """
        path = os.path.join(self._path, name)
        aside = os.path.join(self._path, _aside_name(name, identity))
        try:
            if not os.path.lexists(aside):
                if _identity_at(path) != identity:
                    return False
                os.rename(path, aside)
            if _identity_at(aside) != identity:  # replaced between the look and the rename
                self._put_back(aside, name)
                return False
            if target is None:
                os.unlink(aside)
            else:
                _move(aside, target)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise OutputError(
                f"image {os.fsdecode(path)!r} cannot be taken away: {error.strerror}; its result is written"
            ) from error
        return True

    def _put_back(self, aside: bytes, name: bytes) -> None:
        """Give a file its name back; where a still newer one has it, a name beside it."""
        stem, suffix = os.path.splitext(name)
        for attempt in range(1, 1000):
            wanted = name if attempt == 1 else b"%s-%d%s" % (stem, attempt, suffix)
            with contextlib.suppress(FileExistsError):
                os.link(aside, os.path.join(self._path, wanted), follow_symlinks=False)
                os.unlink(aside)
                return

    def sync(self) -> None:
        """What was taken away is gone on the disk too. Raises OutputError."""
        sync_folder(self._path)


def _aside_name(name: bytes, identity: str) -> bytes:
    return TAKEN + hashlib.sha1(name + b"\0" + identity.encode()).hexdigest()[:24].encode()


def _identity_at(path: bytes) -> str:
    try:
        return identity_of(os.lstat(path))
    except FileNotFoundError:
        return ""


def _move(source: bytes, target: bytes) -> None:
    """Rename, or copy to another file system, whole or not at all."""
    try:
        os.rename(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    folder, name = os.path.split(target)
    aside = os.path.join(folder, STATE_FOLDER.encode(), hashlib.sha1(name).hexdigest().encode() + b".moved")
    shutil.copy2(source, aside, follow_symlinks=False)
    fd = os.open(aside, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(aside, target)
    sync_folder(folder)
    os.unlink(source)
