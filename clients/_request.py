# SPDX-License-Identifier: Apache-2.0
"""One request under way, that is told once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sightline.clients._deadlines import Deadlines
from sightline.clients._transport import Done
from sightline.errors import Cancelled, InferenceError

_callbacks = threading.local()


@contextmanager
def callback() -> Iterator[None]:
    """This thread belongs to the connection and calls the user's functions meanwhile."""
    _callbacks.depth = getattr(_callbacks, "depth", 0) + 1
    try:
        yield
    finally:
        _callbacks.depth -= 1


def in_callback() -> bool:
    """Whether this thread may not wait for an answer, since it is the one that brings them."""
    return bool(getattr(_callbacks, "depth", 0))


def run_outside_callbacks(function: Callable[[], None]) -> None:
    """At once, or on a thread of its own, for which the process waits, where this one carries a callback."""
    if in_callback():
        threading.Thread(target=function, name="sightline-close", daemon=False).start()
    else:
        function()


class Request:
    """Whichever comes first, its answer, its deadline or its cancellation, is told to `done`. Safe for threads.

    `ours` makes any error one of ours. Told, it holds neither: gRPC keeps it for as long as the call takes.
    """

    def __init__(
        self, done: Done, ours: Callable[[BaseException], InferenceError], deadlines: Deadlines
    ) -> None:
        self._done: Done | None = done
        self._ours: Callable[[BaseException], InferenceError] | None = ours
        self._deadlines = deadlines
        self._give_up: Callable[[], None] | None = None
        self._number: int | None = None
        self._lock = threading.Lock()

    @property
    def is_told(self) -> bool:
        """Whether nobody waits for the answer."""
        return self._done is None

    def begin(self, seconds: float, give_up: Callable[[], None] | None = None) -> None:
        """It was sent, and has so many seconds; `give_up` is called if the answer is not waited for."""
        with self._lock:
            if self._done is not None:
                self._give_up = give_up
                self._number = self._deadlines.add(seconds, lambda: self.fail(TimeoutError()))

    def finish(self, answer: Any) -> None:
        """The answer is there."""
        self._tell(answer, None)

    def fail(self, error: BaseException) -> None:
        """Give the request up for this reason."""
        give_up = self._give_up
        self._tell(None, error)
        if give_up is not None:
            give_up()

    def cancel(self) -> None:
        """Give the request up because nobody wants the answer any more."""
        self.fail(Cancelled("the request was cancelled"))

    def _tell(self, answer: Any, error: BaseException | None) -> None:
        with self._lock:
            done, ours, self._done, self._ours = self._done, self._ours, None, None
            number, self._number, self._give_up = self._number, None, None
        if number is not None:
            self._deadlines.forget(number)
        if done is not None and ours is not None:
            done(answer, None if error is None else ours(error))
