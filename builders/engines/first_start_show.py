# SPDX-License-Identifier: Apache-2.0
"""What a first start shows: a bar where somebody looks at a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from sightline.builders.engines.tensorrt_progress import Progress

_LINE_SECONDS = 15.0
_LINE_SHARE = 0.1


class Show:
    """Writes to `stream`: rich's bar on a terminal; else a line each tenth of a build, and at least every 15 s."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console: Any = None

    def line(self, text: str) -> None:
        """One line of text, flushed."""
        if self._console is not None:
            self._console.print(text, markup=False, highlight=False)
            return
        self._stream.write(f"{text}\n")
        self._stream.flush()

    @contextmanager
    def bar(self, name: str) -> Iterator[Progress]:
        """A callable that takes the fraction done, 0..1, and what is being done."""
        if not self._stream.isatty():
            yield self._lines(name)
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        console = Console(file=self._stream)
        columns = (
            TextColumn("{task.fields[model]}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("reading the network", total=1.0, model=name)
            self._console = console
            try:
                yield lambda fraction, text: progress.update(task, completed=fraction, description=text)
            finally:
                self._console = None

    def _lines(self, name: str) -> Progress:
        shown, when = -1.0, 0.0

        def show(fraction: float, text: str) -> None:
            nonlocal shown, when
            now = time.monotonic()
            if fraction >= shown + _LINE_SHARE or now >= when + _LINE_SECONDS or fraction >= 1.0 > shown:
                shown, when = fraction, now
                self.line(f"{name}: {fraction:4.0%} {text}")

        return show
