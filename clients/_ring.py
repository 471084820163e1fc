# SPDX-License-Identifier: Apache-2.0
"""A bounded ring of shared-memory regions that are used again and again, and leases on them."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter, deque
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.clients._shm import Region

SMALLEST_BYTES = 1 << 16
MAX_REGIONS = 128
MAX_BYTES = 256 << 20
_STEPS_PER_DOUBLING = 4  # a region is at most a quarter larger than what is asked for
_POLL_SECONDS = 0.001

NO_ROOM = "all regions are in use"
NO_SPACE = "/dev/shm is full"


@dataclass(frozen=True)
class TransportStats:
    """How one client's frames and results travelled.

    regions, region_bytes: what the ring holds now; in_use: regions that are in somebody's hands.
    shared_requests: frames that went through a region; socket_requests: those that went over the socket.
    shared_results: answers that came through a region. frames_in_place: requests whose frame was not copied.
    registrations: regions made known to a server. waits: times that a slot was waited for.
    fallbacks: requests that went over the socket though shared memory was wanted.
    """

    regions: int = 0
    region_bytes: int = 0
    in_use: int = 0
    shared_requests: int = 0
    socket_requests: int = 0
    shared_results: int = 0
    frames_in_place: int = 0
    registrations: int = 0
    waits: int = 0
    fallbacks: int = 0

    def to_dict(self) -> dict[str, int]:
        """The figures by name."""
        return asdict(self)


def size_class(size_bytes: int) -> int:
    """Size of the region that serves a request: four classes per doubling."""
    if size_bytes <= SMALLEST_BYTES:
        return SMALLEST_BYTES
    step = (1 << (size_bytes - 1).bit_length()) // (2 * _STEPS_PER_DOUBLING)
    return -(-size_bytes // step) * step


_rings: weakref.WeakSet[Ring] = weakref.WeakSet()


class Ring:
    """Regions by size classes, bounded in number and bytes. Safe for threads.

    A region is free, taken, or retired. Retired ones wait until the server has let go of them; they keep their names, by
    which the next client finds them where this one is killed.
    """

    def __init__(self, max_regions: int = MAX_REGIONS, max_bytes: int = MAX_BYTES, port: int = 0) -> None:
        self.why_none = ""
        self._counts: Counter[str] = Counter()
        self._max_regions = max_regions
        self._max_bytes = max_bytes
        self._port = port
        self._free: list[Region] = []
        self._taken: set[Region] = set()
        self._retired: list[Region] = []
        self._returned: deque[tuple[Region, bool]] = deque()
        self._lock = threading.Lock()
        self._closed = False
        _rings.add(self)

    def take(self, size_bytes: int) -> Region | None:
        """A region of at least this size; None, and `why_none`, when a limit is reached or /dev/shm is full."""
        wanted = size_class(size_bytes)
        with self._lock:
            self._drain()
            if self._closed:
                return None
            fitting = [r for r in self._free if wanted <= r.size_bytes < 2 * wanted]
            region = min(reversed(fitting), key=lambda r: r.size_bytes) if fitting else self._new(wanted)
            if region is not None:
                if fitting:
                    self._free.remove(region)
                self._taken.add(region)
            return region

    def take_waiting(self, size_bytes: int, wait_seconds: float) -> Region | None:
        """`take`, tried again for so long while all regions are in use."""
        end = time.monotonic() + wait_seconds
        region = self.take(size_bytes)
        if region is None and wait_seconds > 0 and self.why_none == NO_ROOM:
            self.count("waits")
            while region is None and not self._closed and time.monotonic() < end:
                time.sleep(_POLL_SECONDS)
                region = self.take(size_bytes)
        return region

    def give_back(self, region: Region) -> None:
        """The request was answered: the region may be used again."""
        self._returned.append((region, True))

    def retire(self, region: Region) -> None:
        """The server may still use the region: never use it again."""
        self._returned.append((region, False))

    def put_back(self, region: Region, reusable: bool) -> None:
        """give_back or retire."""
        (self.give_back if reusable else self.retire)(region)

    def pop_retired(self) -> list[Region]:
        """Regions to unregister; those that the server still uses come back through `retire`."""
        with self._lock:
            self._drain()
            retired, self._retired = self._retired, []
            return retired

    @property
    def retired(self) -> bool:
        """Whether regions wait to be unregistered."""
        with self._lock:
            self._drain()
            return bool(self._retired)

    def forget_registrations(self) -> None:
        """The server knows none of them any more."""
        with self._lock:
            for region in (*self._free, *self._taken, *self._retired):
                region.registered = False

    def close(self) -> list[Region]:
        """Hand out no more; returns all regions, for unregistering and closing."""
        with self._lock:
            self._drain()
            self._closed = True
            regions = [*self._free, *self._taken, *self._retired]
            self._free, self._taken, self._retired = [], set(), []
            return regions

    @property
    def closed(self) -> bool:
        """Whether it hands out no more: it was closed, or this process is a fork of its owner."""
        return self._closed

    def give_up(self) -> None:
        """In a fork: the regions are the parent's, and the lock may have been held."""
        self._lock = threading.Lock()
        self._closed = True
        self._free, self._taken, self._retired = [], set(), []
        self._returned.clear()

    def stats(self) -> TransportStats:
        """The figures of now."""
        with self._lock:
            self._drain()
            held = [*self._free, *self._taken, *self._retired]
            return TransportStats(
                regions=len(held),
                region_bytes=sum(r.size_bytes for r in held),
                in_use=len(self._taken),
                **self._counts,
            )

    def _drain(self) -> None:
        """Sort in what came back. It comes without the lock, for the garbage collector may end a lease anywhere."""
        while self._returned:
            region, reusable = self._returned.popleft()
            if self._closed and region not in self._taken:
                continue  # close() has handed it out
            self._taken.discard(region)
            (self._free if reusable else self._retired).append(region)

    def count(self, *events: str) -> None:
        """One more of each."""
        with self._lock:
            self._counts.update(events)

    def _new(self, size_bytes: int) -> Region | None:
        held = [*self._free, *self._taken, *self._retired]
        excess = sum(r.size_bytes for r in held) + size_bytes - self._max_bytes
        surplus = len(held) + 1 - self._max_regions
        if excess > 0 or surplus > 0:  # make room for the next request; this one goes without
            while self._free and (excess > 0 or surplus > 0):
                old = self._free.pop(0)
                excess -= old.size_bytes
                surplus -= 1
                self._retired.append(old)
            self.why_none = NO_ROOM
            return None
        try:
            return Region(size_bytes, self._port)
        except OSError:
            self.why_none = NO_SPACE
            return None


class Lease:
    """A region in the hands of somebody, who gives it back by forgetting every array made of it."""

    def __init__(self, ring: Ring, region: Region, size_bytes: int) -> None:
        self.ring = ring
        self.region = region
        self._fate = _Fate()
        self._busy = threading.Lock()
        # numpy keeps the object whose interface this is alive, through all views of views.
        self.__array_interface__ = region.data[:size_bytes].__array_interface__
        weakref.finalize(self, _ended, ring, region, self._fate).atexit = False

    def array(self) -> NDArray[np.uint8]:
        """The region's first bytes, writable."""
        return np.asarray(self)

    def claim(self) -> bool:
        """Take it for one request; release() must follow. False where another request has it, or had it unanswered."""
        if not self._busy.acquire(blocking=False):
            return False
        if not self._fate.reusable:  # the late results of that request may still be written into it
            self._busy.release()
        return self._fate.reusable

    def release(self, reusable: bool) -> None:
        """The request is over. Not reusable: the server may use the region at any time; it is retired at the end."""
        if not reusable:
            self._fate.reusable = False
        self._busy.release()


class _Fate:
    reusable = True


def _ended(ring: Ring, region: Region, fate: _Fate) -> None:
    ring.put_back(region, fate.reusable)


def _give_up_all() -> None:
    for ring in list(_rings):
        ring.give_up()


os.register_at_fork(after_in_child=_give_up_all)
