# SPDX-License-Identifier: Apache-2.0
"""`sightline bench`: the kernels against their peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sightline.errors import MissingDependencyError, SightlineError
from sightline.perf.analyzer.document import write_document
from sightline.perf.kernels.bench import Bench, Timing, copy_bandwidth, run_bench
from sightline.perf.kernels.document import document
from sightline.perf.kernels.groups import GROUPS, benches
from sightline.perf.kernels.picture import draw_picture
from sightline.perf.systems import SYSTEMS, run_system


def bench(groups: Sequence[str], output: Path) -> None:
    """Run the groups (all where empty), print tables, write kernels.json, kernels.png and a file for each system.

    A group whose peer is not installed is named in the table and in the file. Raises SightlineError for an unknown
    group and where a result differs from the peer's.
    """
    known = (*GROUPS, *SYSTEMS)
    for group in groups:
        if group not in known:
            raise SightlineError(f"there is no group {group!r}; there are: {', '.join(known)}")
    console = Console()
    kernels = [group for group in groups or known if group in GROUPS]
    if kernels:
        _bench_kernels(kernels, output, console)
    for name in groups or known:
        if name in SYSTEMS:
            run_system(name, output, console)


def _bench_kernels(groups: Sequence[str], output: Path, console: Console) -> None:
    timings: list[Timing] = []
    missing: dict[str, str] = {}
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("memory bandwidth")
        bandwidth = copy_bandwidth()
        for group in groups:
            try:
                for one in _benches(group):
                    progress.update(task, description=f"{one.group}: {one.case}")
                    timings.append(_run(one, bandwidth))
            except MissingDependencyError as error:
                missing[group] = str(error)
    _print(console, timings, missing)
    content = document(timings, missing, bandwidth)
    write_document(content, output / "kernels.json")
    if timings:
        draw_picture(content, output / "kernels.png")
    console.print(f"written: {output / 'kernels.json'}" + (f", {output / 'kernels.png'}" if timings else ""))


def _benches(group: str) -> Iterator[Bench]:
    return benches(group)


def _run(one: Bench, bandwidth: float) -> Timing:
    try:
        return run_bench(one, copy_bytes_per_second=bandwidth)
    except ValueError as error:
        raise SightlineError(
            f"{one.group}, {one.case}: our result differs from the peer's: {error}"
        ) from error


def _print(console: Console, timings: Sequence[Timing], missing: dict[str, str]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("kernel", "case", "ours ms", "fastest peer", "its ms", "times", "goal"):
        table.add_column(name, justify="left" if name in ("kernel", "case", "fastest peer") else "right")
    for timing in timings:
        short = timing.goal is not None and timing.ratio < timing.goal
        table.add_row(
            timing.group,
            timing.case,
            f"{timing.ours_seconds * 1e3:.3f}",
            timing.fastest_peer,
            f"{timing.peers_seconds[timing.fastest_peer] * 1e3:.3f}",
            f"{timing.ratio:.1f}",
            f"{timing.goal:g}" if timing.goal else "-",
            style="yellow" if short else None,
        )
    console.print(table)
    for group, reason in missing.items():
        console.print(f"{group}: not measured: {reason}", style="yellow", markup=False)
