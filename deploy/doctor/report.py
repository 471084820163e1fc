# SPDX-License-Identifier: Apache-2.0
"""Prints what the checks found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sightline.deploy.doctor.check import Result, Status
from sightline.deploy.doctor.containers import PAIRINGS
from sightline.deploy.doctor.run import is_main_road_open, run_checks
from sightline.deploy.doctor.table import CHECKS

_COLOURS = {Status.OK: "green", Status.MISSING: "bold red", Status.OPTIONAL: "yellow"}


def print_report(*, as_json: bool) -> int:
    """Run the checks and print them; returns the exit status."""
    results = run_checks(CHECKS)
    is_open = is_main_road_open(results)
    if as_json:
        print(json.dumps({"ok": is_open, "checks": [asdict(result) for result in results]}, indent=2))
    else:
        _print_table(results, is_open)
    return 0 if is_open else 1


def print_containers(*, as_json: bool) -> None:
    """Print the table of releases that belong together."""
    if as_json:
        print(json.dumps([asdict(pairing) for pairing in PAIRINGS], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("product", "release", "runs on", "CUDA", "TensorRT", "Triton"):
        table.add_column(title)
    for row in PAIRINGS:
        table.add_row(row.product, row.release, row.runs_on, row.cuda, row.tensorrt, row.triton)
    Console().print(table)


def _print_table(results: Sequence[Result], is_open: bool) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    group = ""
    for result in results:
        if result.group != group:
            group = result.group
            table.add_row(Text(group, style="bold"), "", "")
        text = Text(result.detail)
        if result.fix:
            text.append(f"\nget it: {result.fix}", style="cyan")
        table.add_row(f"  {result.name}", Text(result.status.value, style=_COLOURS[result.status]), text)
    console.print(table)
    if is_open:
        console.print("\nThe main road is open: build, serve, watch.", style="green")
    else:
        names = ", ".join(result.name for result in results if result.status is Status.MISSING)
        console.print(f"\nThe main road is closed; missing: {names}", style="bold red", markup=False)
