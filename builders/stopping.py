# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and a closed terminal while a build runs: what is half done is taken back, what cannot be is finished."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WORDS = {
    signal.SIGINT: "by Ctrl-C",
    signal.SIGTERM: "by SIGTERM",
    signal.SIGHUP: "because its terminal was closed",
}


class Stop:
    """While it is entered, each of these signals raises KeyboardInterrupt in the main thread, once.

    The clean-up on the way out is not disturbed by an impatient second Ctrl-C. Libraries may swallow an exception that
    comes in a callback of theirs: `check`, called now and then, raises it again. In other threads it does nothing.
    """

    def __init__(self) -> None:
        self.number: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        self._before = _replaced(self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._before)

    @property
    def words(self) -> str:
        """What stopped it, after "stopped"."""
        return _WORDS[self.number] if self.number is not None else ""

    @property
    def exit_code(self) -> int:
        """As a shell tells it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + int(self.number or signal.SIGINT)

    def check(self) -> None:
        """Raise KeyboardInterrupt where a signal has come before."""
        if self.number is not None:
            raise KeyboardInterrupt

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.number is None:
            self.number = signal.Signals(number)
            raise KeyboardInterrupt


@contextmanager
def deferred_signals() -> Iterator[None]:
    """What is inside is done to its end; a signal that comes meanwhile takes effect afterwards."""
    seen: list[int] = []
    before = _replaced(lambda number, _: seen.append(number))
    try:
        yield
    finally:
        _restore(before)
        if seen:
            _deliver(seen[0], before.get(signal.Signals(seen[0])))


def _replaced(handler: Callable[[int, FrameType | None], Any]) -> dict[signal.Signals, Any]:
    """Set the handler; the handlers before. Ignored signals (nohup) stay so; Python sets handlers in the main thread only."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        return before
    for number in _SIGNALS:
        found = signal.getsignal(number)
        if found not in (signal.SIG_IGN, None):
            before[number] = found
            signal.signal(number, handler)
    return before


def _restore(before: dict[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _deliver(number: int, handler: Any) -> None:
    if callable(handler):
        handler(number, None)
    else:
        os.kill(os.getpid(), number)
