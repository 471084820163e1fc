# SPDX-License-Identifier: Apache-2.0
"""Images out of Redis: entries of a stream, read by a consumer group, or messages of a channel, which is lossy."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from sightline.clients.pipe.addresses import ChannelAddress, StreamAddress
from sightline.clients.pipe.item import Item, file_name, out_name
from sightline.clients.pipe.redis_link import Link
from sightline.errors import BadInputError

IDLE_LOOK_SECONDS = 0.05


class StreamSource:
    """Entries of a stream, as one consumer of a group; those of consumers that died are taken over.

    claim_seconds: an entry that nobody has said a word about for so long is another's to take.
    """

    def __init__(self, address: StreamAddress, link: Link, then: str, claim_seconds: float) -> None:
        self.address = address
        self.link = link
        self._then = then
        self._claim_seconds = claim_seconds
        self._consumer = address.consumer or f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        self._busy: dict[str, bytes] = {}
        self._next_claim = 0.0
        self._next_keep = 0.0
        self._next_look = 0.0
        self._has_group = False
        self._is_empty = False
        self.left_alone = 0

    waiting = 0
    is_stuck = False

    @property
    def is_exhausted(self) -> bool:
        """Whether the last look found no new entry, and none that a consumer, alive or dead, has not acknowledged."""
        return self._is_empty and not self._busy

    @property
    def next_look_seconds(self) -> float:
        """Until something may be found again."""
        return max(0.0, self._next_look - time.monotonic())

    def poll(self, room: int) -> list[Item]:
        """Up to `room` entries: first those of the dead, then new ones."""
        now = time.monotonic()
        if now < self._next_look:
            return []
        if not self._has_group:
            self._has_group = bool(self.link.attempt(self._make_group))
        found: list[tuple[bytes, dict[bytes, bytes]]] = []
        if self._has_group:
            found = self._claimed(now, room) + self._fresh(room)
        self._is_empty = self._has_group and not found and not self._held()
        if not found:
            self._next_look = now + IDLE_LOOK_SECONDS
        items = [self._item(entry, fields) for entry, fields in found]
        return [item for item in items if item is not None]

    def keep(self) -> None:
        """Tell the group, three times in claim_seconds, that the entries which were given out are being worked on."""
        now = time.monotonic()
        if not self._busy or now < self._next_keep:
            return
        self._next_keep = now + self._claim_seconds / 3
        redis, address, ours = self.link.redis, self.address, list(self._busy.values())

        def claim() -> object:
            try:
                return redis.xclaim(address.stream, address.group, self._consumer, 0, ours, justid=True)
            except Exception as error:
                if str(error).startswith("NOGROUP"):  # the stream was deleted; poll() makes it again
                    return []
                raise

        self.link.attempt(claim)

    def later(self, item: Item, is_half: bool) -> bool:
        """What comes out of Redis does not become whole by waiting."""
        return False

    def release(self, item: Item) -> None:
        """The image is finished."""
        self._busy.pop(item.identity, None)

    def unsettled(self) -> list[bytes]:
        """Nothing is half written here."""
        return []

    def finish(self, name: bytes, identity: str, then: str, target: bytes) -> bool:
        """Acknowledge the entry; delete it where that is wanted. Whether it stays. Raises StoppedError."""
        entry = identity.rpartition("|")[2].encode()
        self.link.insist(lambda: self._acknowledge(entry))
        return False

    def sync(self) -> None:
        """Redis keeps its own promises."""

    def _acknowledge(self, entry: bytes) -> bool:
        redis, address = self.link.redis, self.address
        redis.xack(address.stream, address.group, entry)
        if self._then == "delete":
            redis.xdel(address.stream, entry)
        return True

    def _make_group(self) -> bool:
        try:
            self.link.redis.xgroup_create(self.address.stream, self.address.group, id="0", mkstream=True)
        except Exception as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        return True

    def _held(self) -> int:
        """Entries that some consumer of the group has not acknowledged."""
        redis, address = self.link.redis, self.address
        if self._busy:
            return len(self._busy)
        held = self.link.attempt(lambda: redis.xpending(address.stream, address.group))
        return 1 if held is None else int(held["pending"])

    def _claimed(self, now: float, room: int) -> list[Any]:
        if now < self._next_claim:
            return []
        redis, address = self.link.redis, self.address
        self._next_claim = now + self._claim_seconds / 3
        idle = int(self._claim_seconds * 1000)
        answer = self.link.attempt(
            lambda: redis.xautoclaim(address.stream, address.group, self._consumer, idle, count=max(room, 1))
        )
        entries = list(answer[1]) if answer else []
        if len(entries) >= max(room, 1):
            self._next_claim = now  # there may be more
        return [pair for pair in entries if pair[1] is not None]

    def _fresh(self, room: int) -> list[Any]:
        redis, address = self.link.redis, self.address
        if room <= 0:
            return []

        def read() -> list[Any]:
            try:
                answer = redis.xreadgroup(
                    address.group, self._consumer, {address.stream: ">"}, count=room, block=None
                )
            except Exception as error:
                if str(error).startswith("NOGROUP"):  # the stream was deleted
                    self._has_group = False
                    return []
                raise
            if not answer:
                return []
            pairs = answer.values() if isinstance(answer, dict) else [pair[1] for pair in answer]
            return [tuple(entry) for entries in pairs for entry in _flat(entries)]

        return self.link.attempt(read) or []

    def _item(self, entry: bytes, fields: dict[bytes, bytes]) -> Item | None:
        identity = f"{self.address.stream}|{entry.decode()}"
        if identity in self._busy:
            return None
        self._busy[identity] = entry
        data = fields.get(self.address.field.encode())
        given = fields.get(b"name")
        name = file_name(given or entry)
        out = out_name(entry + b"-" + name, 0, hashlib.sha1(name).hexdigest()) if given else entry
        milliseconds, _, sequence = entry.decode().partition("-")
        number = int(milliseconds) * 4096 + int(sequence or 0)
        return Item(name, identity, _loader(data, self.address.field), receipt=entry, number=number, out=out)


class ChannelSource:
    """Messages of a channel. LOSSY: what comes while this process is away, or too slow for Redis, is gone."""

    def __init__(self, address: ChannelAddress, link: Link) -> None:
        self.address = address
        self.link = link
        self._listener: Any = None
        self._count = 0
        self._next_look = 0.0
        self.left_alone = 0

    waiting = 0
    is_stuck = False
    is_exhausted = False

    @property
    def next_look_seconds(self) -> float:
        """Until something may be found again."""
        return max(0.0, self._next_look - time.monotonic())

    def poll(self, room: int) -> list[Item]:
        """Up to `room` messages."""
        items: list[Item] = []
        now = time.monotonic()
        while len(items) < room and now >= self._next_look:
            message = self.link.attempt(self._message)
            if not message:
                self._next_look = now + IDLE_LOOK_SECONDS / 5
                break
            if message["type"] == "message":
                self._count += 1
                name = b"%d-%d" % (time.time_ns() // 1_000_000, self._count)
                identity = f"{self.address.channel}|{name.decode()}"
                items.append(
                    Item(name, identity, _loader(message["data"], "data"), number=self._count, out=name)
                )
        return items

    def keep(self) -> None:
        """Nobody else can take a message over."""

    def later(self, item: Item, is_half: bool) -> bool:
        """What comes out of Redis does not become whole by waiting."""
        return False

    def release(self, item: Item) -> None:
        """A channel forgets at once."""

    def unsettled(self) -> list[bytes]:
        """Nothing is half written here."""
        return []

    def finish(self, name: bytes, identity: str, then: str, target: bytes) -> bool:
        """A channel needs no word of thanks."""
        return False

    def sync(self) -> None:
        """Nothing is on any disk."""

    def _message(self) -> Any:
        if self._listener is None:
            listener = self.link.redis.pubsub()
            listener.subscribe(self.address.channel)
            self._listener = listener
        return self._listener.get_message(timeout=0.0) or False


def _loader(data: object, field: str) -> Callable[[], bytes]:
    def load() -> bytes:
        if not isinstance(data, bytes) or not data:
            raise BadInputError(f"the entry has no image in its field {field!r}")
        return data

    return load


def _flat(entries: Any) -> list[Any]:
    """Entries of one stream; newer protocol versions wrap them in one more list."""
    items = list(entries)
    if items and isinstance(items[0], list) and items[0] and isinstance(items[0][0], (list, tuple)):
        return [entry for inner in items for entry in inner]
    return items
