# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a long run: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

RATE_SECONDS = 30.0
FIRST_LINE_SECONDS, LINE_SECONDS = 2.0, 10.0
REDRAW_SECONDS = 0.2


class Progress:
    """Shows counts, the rate of the last half minute and the time that is left. Use as a context manager.

    total: of images, where it is known.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._marks: deque[tuple[float, int]] = deque()
        self._next = time.monotonic() + (REDRAW_SECONDS if console.is_terminal else FIRST_LINE_SECONDS)
        self._last = ""

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._quiet:
            from rich.progress import BarColumn, SpinnerColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), console=self._console
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def line(self, text: str) -> None:
        """One line above the bar."""
        from rich.text import Text

        from sightline.redact import redact

        self._console.print(Text(redact(text)), soft_wrap=True)

    def show(self, done: int, quarantined: int, waiting: int, total: int | None = None) -> None:
        """The counts as they are now; cheap when called often."""
        now = time.monotonic()
        if self._quiet or now < self._next:
            return
        rate = self._rate(now, done + quarantined)
        text = counts(done, quarantined, waiting, rate, total)
        if self._bar is not None:
            self._next = now + REDRAW_SECONDS
            whole = total if total is not None else done + quarantined + waiting
            self._bar.update(self._task, completed=done + quarantined, total=whole or None, description=text)
        else:
            self._next = now + LINE_SECONDS
            if text != self._last:
                self._last = text
                self.line(text)

    def _rate(self, now: float, finished: int) -> float:
        self._marks.append((now, finished))
        while len(self._marks) > 2 and now - self._marks[0][0] > RATE_SECONDS:
            self._marks.popleft()
        (began, first), (ended, last) = self._marks[0], self._marks[-1]
        return (last - first) / (ended - began) if ended > began else 0.0


def counts(done: int, quarantined: int, waiting: int, rate: float = 0.0, total: int | None = None) -> str:
    """Such as '120 done, 2 quarantined, 380 waiting, 40.1/s, 9 s left'."""
    parts = [f"{done} done"]
    if quarantined:
        parts.append(f"{quarantined} quarantined")
    left = waiting if total is None else max(0, total - done - quarantined)
    if left:
        parts.append(f"{left} waiting")
    if rate > 0:
        parts.append(f"{rate:.1f}/s")
        if left:
            parts.append(f"{duration(left / rate)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Such as '9 s', '4 min' or '2 h 10 min'."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
