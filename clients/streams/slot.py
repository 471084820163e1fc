# SPDX-License-Identifier: Apache-2.0
"""A place for one frame: the newest wins."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestSlot(Generic[T]):
    """Holds at most one item; putting another hands the older one back, so that the caller can count it."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._lock = threading.Lock()

    @property
    def full(self) -> bool:
        """Whether there is an item."""
        return self._item is not None

    def put(self, item: T) -> T | None:
        """Store the item; the one that it pushed out, if any."""
        with self._lock:
            older, self._item = self._item, item
            return older

    def take(self) -> T | None:
        """The item, which leaves the slot; None where it is empty."""
        with self._lock:
            item, self._item = self._item, None
            return item
