# SPDX-License-Identifier: Apache-2.0
"""`python -m sightline.perf.faults`: provokes every fault, prints what held, writes faults.json and faults.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
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
from sightline.perf.faults.figure import Figure, Limit, Scenario, exactly
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


ALONE = ("wall_clock", "killed_tritonserver", "full_disk", "slow_viewers")
"""They set what belongs to the whole process, need its cores, or look at its memory."""


def run_faults(
    names: Sequence[str], full: bool, output: Path, console: Console, together: int = 1
) -> list[dict[str, Any]]:
    """Provoke these faults (all where none is named); rows of others stay as they were.

    together: so many at a time, of those that mostly wait. A scenario that breaks is a row that does not hold.
    Raises SightlineError.
    """
    for name in names:
        if name not in SCENARIOS:
            raise BadInputError(f"there is no fault {name!r}; there are: {', '.join(SCENARIOS)}")
    chosen = list(names or SCENARIOS)
    keeper = _Keeper(output, console, full)
    with ThreadPoolExecutor(together, thread_name_prefix="fault") as pool:
        under_way = {pool.submit(_provoked, name, full): name for name in chosen if name not in ALONE}
        for done in as_completed(under_way):
            keeper.keep(under_way[done], done.result())
    for name in chosen:
        if name in ALONE:
            keeper.keep(name, _provoked(name, full))
    return list(keeper.rows.values())


class _Keeper:
    """Writes both files anew with each figure, so that an interrupted run leaves what it has."""

    def __init__(self, output: Path, console: Console, full: bool) -> None:
        self._output, self._console, self._full = output, console, full
        self.rows = _before(output / "faults.json")

    def keep(self, name: str, figure: Figure) -> None:
        """One more figure. Raises OutputError."""
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.rows[name] = {**figure.as_json(), "when": when, "full": self._full}
        told = "holds" if figure.holds else f"BROKEN: {figure.broken}"
        text = f"{figure.fault} ({figure.times} times, {figure.seconds:.0f} s): {told}"
        self._console.print(text, markup=False, highlight=False)
        ordered = {key: self.rows[key] for key in SCENARIOS if key in self.rows}
        document = {"sightline": __version__, "machine": machine(), "rows": ordered}
        write_document(document, self._output / "faults.json")
        _write_table(ordered, self._output / "faults.md")


def _provoked(name: str, full: bool) -> Figure:
    try:
        return SCENARIOS[name](full)
    except (SightlineError, OSError, TimeoutError, ValueError) as error:
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
        measured = "<br>".join(
            "never" if limit["value"] is None else f"{limit['value']:g}" for limit in row["limits"]
        )
        sign = "holds" if row["holds"] else "**does not hold**"
        kind = "full" if row["full"] else "short"
        lines.append(
            f"| {row['fault']} | {row['done']} | {row['times']} ({kind}) | {must} | {measured} | {sign} |"
        )
    return "\n".join(lines) + "\n"


def _wanted(limit: dict[str, Any]) -> str:
    return Limit(limit["name"], 0.0, limit["at_most"], limit["at_least"]).wanted


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
        bool,
        typer.Option("--full", help="As often as the goals ask for: about 20 minutes, 8 with --together 4."),
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder of faults.json and faults.md.")] = Path("perf_output"),
    together: Annotated[
        int, typer.Option(min=1, max=8, help="How many at a time, of those that mostly wait.")
    ] = 1,
) -> None:
    """Provoke faults and see what holds; the exit status is 1 where something does not."""
    rows = run_faults(names or [], full, output, Console(soft_wrap=True), together)
    raise typer.Exit(0 if all(row["holds"] for row in rows) else 1)
