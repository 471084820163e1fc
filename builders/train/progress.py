# SPDX-License-Identifier: Apache-2.0
"""How a run tells what it does: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

_LINE_SECONDS = 20.0


class Lines:
    """Each message as a line given to `write`; the state of the run at most every 20 seconds."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._last = write, -_LINE_SECONDS

    def say(self, line: str) -> None:
        """A line worth keeping."""
        self._write(line)

    def advance(self, share: float, text: str) -> None:
        """How much of the run is done, 0..1, and the latest figures."""
        now = time.monotonic()
        if now - self._last >= _LINE_SECONDS or share >= 1.0:
            self._last = now
            self._write(f"{share:4.0%} {text}")

    def counting(self, what: str) -> Callable[[int, int], None]:
        """Progress of a preparation: of a total, so many are done."""

        def progress(done: int, total: int) -> None:
            if done % max(total // 40, 1) == 0 or done == total:
                self.say(f"{what} {done}/{total}")

        return progress


class Bar(Lines):
    """A progress bar on standard error, with the messages above it; plain lines where that is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False, markup=False)
        super().__init__(lambda line: self._console.print(line, soft_wrap=True))
        self._progress = Progress(
            TextColumn("{task.percentage:3.0f}%"),
            BarColumn(30),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._progress.add_task("preparing", total=1.0)

    def __enter__(self) -> Bar:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, share: float, text: str) -> None:
        """How much of the run is done, 0..1, and the latest figures."""
        if self._console.is_terminal:
            self._progress.update(self._task, completed=share, description=text)
        else:
            super().advance(share, text)
