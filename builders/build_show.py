# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a build: a line a step while it runs, a table at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sightline.builders.build import BuildReport, Progress, Step

_SAYS: dict[Step, str] = {
    "check": "check the card",
    "export": "read the model",
    "convert": "recognise its outputs",
    "engine": "build and try the engine",
    "preprocess": "measure who decodes pictures faster",
    "write": "write the entry",
    "prove": "compare the served model with its source",
    "publish": "publish the version",
}


class BuildProgress(Progress):
    """A line a step on standard error, with a bar where the step tells how far it is."""

    def __init__(
        self,
        check: Callable[[], None] = lambda: None,
        on_built: Callable[[BuildReport], None] = lambda _: None,
    ) -> None:
        """check: called often; it may raise to stop the build. on_built: gets the report as soon as there is one."""
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Lines

        self._lines = Lines(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[part]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._check, self._on_built = check, on_built
        self._current: Any = None

    def __enter__(self) -> BuildProgress:
        self._lines.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._finish()
        self._lines.stop()

    def step(self, name: Step) -> None:
        """Begin a line."""
        self._check()
        self._finish()
        self._current = self._lines.add_task(_SAYS[name], total=None, part="")

    def part(self, what: str, done: int, total: int) -> None:
        """Move the step's bar."""
        self._check()
        if self._current is not None:
            count = f" {done}/{total}" if total else ""
            self._lines.update(self._current, total=total or None, completed=done, part=f"{what[:40]}{count}")

    def built(self, report: BuildReport) -> None:
        """Pass the report on."""
        self._on_built(report)

    def note(self, text: str) -> None:
        """A few words beside the step."""
        self.part(text, 0, 0)

    def _finish(self) -> None:
        if self._current is not None:
            self._lines.update(self._current, total=1, completed=1, part="")


def print_report(report: BuildReport, *, default_repository: bool) -> None:
    """The table of a finished build, and what to do next."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for key, value in _rows(report).items():
        table.add_row(key, value)
    console = Console(highlight=False, markup=False)
    console.print(table)
    where = "" if default_repository else f" --repository {report.repository}"
    next_step = (
        f"sightline serve{where}"
        if report.public
        else f"sightline models promote {report.name}:{report.number}{where}"
    )
    console.print(f"\nnext: {next_step}", soft_wrap=True)


def _rows(report: BuildReport) -> dict[str, str]:
    shown = ", ".join(report.labels[:6]) + (", …" if len(report.labels) > 6 else "")
    before = f", before it {report.before}" if report.before else ""
    public = "public" if report.public else "not public"
    rows = {
        "model": f"{report.name} (files), {report.name}_frames (raw frames)",
        "version": f"version {report.number}, {public}{before}",
        "repository": str(report.repository),
        "source": report.origin,
        "input": f"{report.input_size[0]}x{report.input_size[1]} pixels",
        "head": report.head,
        "labels": f"{len(report.labels)}: {shown}" if report.labels else "none",
        "engine": f"{report.engine}, {report.precision}",
    }
    if report.milliseconds_per_image:
        rate = 1000 / report.milliseconds_per_image
        rows["network"] = f"{report.milliseconds_per_image:.1f} ms an image, {rate:.0f} images/s a core"
        rows["check"] = (
            f"differs from {report.compared_with} by {report.largest_difference:.3%} of the largest value"
        )
    if report.target != "local":
        rows["proof"] = (
            f"not made for the target {report.target}: the export was compared with its framework, the precision with fp32"
        )
    for index, note in enumerate((*report.proof, *report.notes)):
        rows["proof" if index < len(report.proof) else "note"] = note
    return rows
