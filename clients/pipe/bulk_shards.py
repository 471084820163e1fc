# SPDX-License-Identifier: Apache-2.0
"""The shards of a bulk run: lists of images on the disk before they are asked, one results file each when they are done.

DEST/manifest.json            what this run is; another one is refused there
DEST/lists/00000000.jsonl     names of the images of a shard, each a list of its parts
DEST/lists/end.json           the tree has been listed to its end
DEST/results/00000000.jsonl   one line an image, in the order of the list; written whole, and last: it says "done"
DEST/poison/00000000.jsonl    the lines of those that could not be used
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

from sightline.clients.pipe.bulk_store import Parts, Store, images_below
from sightline.errors import BadInputError

MANIFEST = ("manifest.json",)
END = ("lists", "end.json")
LISTED_AHEAD_SECONDS = 0.2


def shard_name(index: int) -> str:
    """File name of a shard."""
    return f"{index:08d}.jsonl"


def lines_of(values: list[Any]) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n" for value in values)


def agree(destination: Store, manifest: dict[str, Any]) -> None:
    """Begin this run, or go on with it. Raises BadInputError when another one is there."""
    if MANIFEST[0] not in destination.names(()):
        destination.write(MANIFEST, json.dumps(manifest, indent=1).encode("ascii") + b"\n")
        return
    before = json.loads(destination.read(MANIFEST))
    differing = sorted(name for name in {*before, *manifest} if before.get(name) != manifest.get(name))
    if differing:
        first = differing[0]
        raise BadInputError(
            f"{destination.title} holds another run: its {first} is {before.get(first)!r}, not "
            f"{manifest.get(first)!r}; use another folder, or the same settings to go on"
        )


def names_of(destination: Store, index: int) -> list[Parts]:
    """The images of a listed shard."""
    return [tuple(json.loads(line)) for line in destination.read(("lists", shard_name(index))).splitlines()]


class Lister:
    """Lists the source in a thread of its own, shard after shard, ahead of the work; little is held in memory.

    A run that goes on keeps the lists that are there and continues behind the last one.
    """

    def __init__(
        self, source: Store, destination: Store, images_per_shard: int, stop: threading.Event
    ) -> None:
        self._source = source
        self._destination = destination
        self._size = images_per_shard
        self._stop = stop
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self.shards = 0
        self.images = 0
        self.is_complete = False
        self._thread = threading.Thread(target=self._list, name="sightline-bulk-list", daemon=True)
        self._thread.start()

    def wait_for(self, index: int) -> bool:
        """Whether there is a shard of this number; waits until that is known. Raises what the listing raised."""
        with self._changed:
            while self.shards <= index and not self.is_complete and self._error is None:
                if self._stop.is_set():
                    return False
                self._changed.wait(LISTED_AHEAD_SECONDS)
            if self.shards <= index and self._error is not None:
                raise self._error
            return self.shards > index

    def join(self) -> None:
        """Wait for the thread."""
        self._thread.join()

    def _list(self) -> None:
        try:
            after = self._recovered()
            if not self.is_complete:
                self._go_on(images_below(self._source, after))
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _recovered(self) -> Parts:
        """Count the lists that are there. The last image of them."""
        listed = self._destination.names(("lists",))
        count = 0
        while shard_name(count) in listed:
            count += 1
        if END[1] in listed:
            end = json.loads(self._destination.read(END))
            self._told(int(end["shards"]), int(end["images"]), True)
            return ()
        last = names_of(self._destination, count - 1) if count else []
        self._told(count, (count - 1) * self._size + len(last) if count else 0, False)
        return last[-1] if last else ()

    def _go_on(self, images: Iterator[Parts]) -> None:
        while not self._stop.is_set():
            names = list(itertools.islice(images, self._size))
            if names:
                self._destination.write(
                    ("lists", shard_name(self.shards)), lines_of([list(n) for n in names])
                )
            is_last = len(names) < self._size
            shards, total = self.shards + bool(names), self.images + len(names)
            if is_last:
                self._destination.write(END, json.dumps({"shards": shards, "images": total}).encode("ascii"))
            self._told(shards, total, is_last)
            if is_last:
                return

    def _told(self, shards: int, images: int, is_complete: bool) -> None:
        with self._changed:
            self.shards, self.images, self.is_complete = shards, images, is_complete
            self._changed.notify_all()
