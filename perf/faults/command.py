# SPDX-License-Identifier: Apache-2.0
"""`python -m sightline.perf.faults`: provokes every fault, prints what held, writes faults.json and faults.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sightline import __version__
from sightline.errors import BadInputError, OutputError, SightlineError
from sightline.perf.analyzer.document import write_document
from sightline.perf.faults.clocks import camera_clocks, wall_clock
from sightline.perf.faults.dialogue import lying_descriptions, wrong_passwords
from sightline.perf.faults.figure import Figure, Scenario
from sightline.perf.faults.links import black_holes, frozen_streams, killed_servers, stopped_servers
from sightline.perf.faults.packets import lossy_network
from sightline.perf.faults.serving import killed_tritonserver
from sightline.perf.faults.sinks import brokers_away, full_disk, slow_webhook
from sightline.perf.faults.slow import slow_viewers
from sightline.perf.faults.storm import away_an_hour, storm
from sightline.perf.machine import machine

SCENARIOS: dict[str, Scenario] = {
    "killed_servers": killed_servers,
    "stopped_servers": stopped_servers,
    "frozen_streams": frozen_streams,
    "black_holes": black_holes,
    "lossy_network": lossy_network,
    "wrong_passwords": wrong_passwords,
    "lying_descriptions": lying_descriptions,
    "camera_clocks": camera_clocks,
    "wall_clock": wall_clock,
    "storm": storm,
    "away_an_hour": away_an_hour,
    "killed_tritonserver": killed_tritonserver,
    "brokers_away": brokers_away,
    "full_disk": full_disk,
    "slow_webhook": slow_webhook,
    "slow_viewers": slow_viewers,
}


def run_faults(names: Sequence[str], full: bool, output: Path, console: Console) -> list[dict[str, Any]]:
    """Provoke these faults (all where none is named), one after the other; rows of others stay as they were.

    A scenario that breaks is a row that does not hold. Raises SightlineError.
    """
    for name in names:
        if name not in SCENARIOS:
            raise BadInputError(f"there is no fault {name!r}; there are: {', '.join(SCENARIOS)}")
    path = output / "faults.json"
    rows = _before(path)
    for name in names or SCENARIOS:
        with console.status(name):
            figure = _provoked(name, full)
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        rows[name] = {**figure.as_json(), "when": when, "full": full}
        told = "holds" if figure.holds else f"BROKEN: {figure.broken}"
        console.print(f"{figure.fault} ({figure.times} times, {figure.seconds:.0f} s): {told}", markup=False)
        ordered = {key: rows[key] for key in SCENARIOS if key in rows}
        write_document({"sightline": __version__, "machine": machine(), "rows": ordered}, path)
        _write_table(ordered, output / "faults.md")
    return list(rows.values())


def _provoked(name: str, full: bool) -> Figure:
    try:
        return SCENARIOS[name](full)
    except (SightlineError, OSError, TimeoutError, ValueError) as error:
        from sightline.perf.faults.figure import exactly

        return Figure(name, f"broke: {error}", 0, (exactly("scenarios that could not be run", 1),), {})


def _before(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError):
        return {}


def table(rows: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        "# Faults that were provoked",
        "",
        "Real servers and real sockets on one machine; written by `python -m sightline.perf.faults`. `--full` provokes each",
        "as often as stands here where it says full; the tests (`tests/test_faults_*.py`) provoke each a few times.",
        "",
        "| fault | what was done | times | must hold | measured | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows.values():
        must = "<br>".join(f"{limit['name']} {_wanted(limit)}" for limit in row["limits"])
        measured = "<br>".join(f"{limit['value']:g}" for limit in row["limits"])
        sign = "holds" if row["holds"] else "**does not hold**"
        kind = "full" if row["full"] else "short"
        lines.append(
            f"| {row['fault']} | {row['done']} | {row['times']} ({kind}) | {must} | {measured} | {sign} |"
        )
    return "\n".join(lines) + "\n"


def _wanted(limit: dict[str, Any]) -> str:
    from sightline.perf.faults.figure import Limit

    return Limit(limit["name"], limit["value"], limit["at_most"], limit["at_least"]).wanted


def _write_table(rows: dict[str, Any], path: Path) -> None:
    try:
        path.write_text(table(rows), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def faults(
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"{', '.join(SCENARIOS)}; all where none is named.", show_default=False),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="As often as the goals ask for: about 15 minutes.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder of faults.json and faults.md.")] = Path("perf_output"),
) -> None:
    """Provoke faults and see what holds; the exit status is 1 where something does not."""
    rows = run_faults(names or [], full, output, Console(soft_wrap=True))
    raise typer.Exit(0 if all(row["holds"] for row in rows) else 1)
