# SPDX-License-Identifier: Apache-2.0
"""What a person sees in the terminal: a live table, plain lines without one, and the summary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sightline.clients.streams.summary import CameraSummary, Summary

PLAIN_LINE_SECONDS = 5.0
_COLOURS = {"live": "green", "connecting": "yellow", "waiting": "red", "ended": "cyan", "stopped": "dim"}


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        words = name in ("camera", "state", "adds up", "objects", "dropped by reason")
        table.add_column(
            name, justify="left" if words else "right", no_wrap=name not in ("objects", "dropped by reason")
        )
    return table


def _dropped(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items())) or "0"


def _objects(objects: dict[str, dict[str, int]]) -> str:
    return "  ".join(f"{value['count']} {label}" for label, value in objects.items())


def _state_text(camera: dict[str, Any]) -> Text:
    text = camera["state"]
    if camera["state"] == "waiting":
        text = f"offline, retry in {camera['retry_in_seconds']:.0f} s"
    return Text(text, style=_COLOURS.get(camera["state"], ""))


def live_view(state: dict[str, Any], url: str | None) -> RenderableType:
    """The table of all cameras."""
    table = _table("camera", "state", "in/s", "out/s", "dropped", "age ms", "objects")
    for camera in state["cameras"]:
        age = "–" if camera["age_ms"] is None or camera["state"] != "live" else f"{camera['age_ms']:.0f}"
        table.add_row(
            Text(camera["name"]),
            _state_text(camera),
            f"{camera['received_per_second']:.1f}",
            f"{camera['answered_per_second']:.1f}",
            str(camera["dropped_total"]),
            age,
            Text(_objects(camera["objects"]), overflow="ellipsis", no_wrap=True),
        )
    server = {"up": "[green]ready[/]", "down": "[red]unavailable, retrying[/]"}.get(
        state["server"], "no answer yet"
    )
    page = f"   page {url}" if url else ""
    head = Text.from_markup(
        f"[bold]Sightline[/] watches {len(state['cameras'])} cameras   "
        f"model {state['model']}   server {server}{page}"
    )
    notes = [Text(f"  {c['name']}: {c['error']}", style="red") for c in state["cameras"] if c["error"]]
    return Group(head, Text(), table, *notes, Text("Ctrl-C stops", style="dim"))


def plain_line(state: dict[str, Any]) -> str:
    """One line for logs."""
    cameras = [
        f"{c['name']} {c['state']} in {c['received_per_second']:.1f}/s out {c['answered_per_second']:.1f}/s "
        f"dropped {c['dropped_total']} age {'-' if c['age_ms'] is None else round(c['age_ms'])} ms"
        for c in state["cameras"]
    ]
    return f"{state['uptime_seconds']:.0f} s  server {state['server']}  " + "  |  ".join(cameras)


class Terminal:
    """Shows the watch's state until closed: a live table on a terminal, now and then a line elsewhere."""

    def __init__(self, console: Console, state: Callable[[], dict[str, Any]], url: str | None) -> None:
        self._console = console
        self._state = state
        self._url = url
        self._next_line = PLAIN_LINE_SECONDS
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        if self._live:
            self._live.start()

    def notice(self, text: str) -> None:
        """Print something that must not be overlooked."""
        self._console.print(Text(f"warning: {text}", style="yellow"))

    def refresh(self) -> None:
        """Show the state now; call it a few times a second."""
        state = self._state()
        if self._live:
            self._live.update(live_view(state, self._url), refresh=True)
        elif state["uptime_seconds"] >= self._next_line:
            self._next_line = state["uptime_seconds"] + PLAIN_LINE_SECONDS
            self._console.print(Text(plain_line(state)), soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal clean."""
        if self._live:
            self._live.stop()


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _summary_row(table: Table, camera: CameraSummary) -> None:
    counts = camera.counts
    table.add_row(
        Text(f"{camera.name} (removed)" if camera.was_removed else camera.name),
        Text("yes" if camera.adds_up else "NO", style="green" if camera.adds_up else "bold red"),
        str(counts.received),
        Text(str(counts.answered), style="" if counts.answered else "bold red"),
        str(counts.dropped_total),
        f"{camera.answered_per_second:.1f}",
        _ms(counts.p50_ms),
        _ms(counts.p99_ms),
        _dropped(counts.dropped),
    )


def print_summary(console: Console, summary: Summary) -> None:
    """The figures at the end."""
    table = _table(
        "camera",
        "adds up",
        "received",
        "answered",
        "dropped",
        "frames/s",
        "p50 ms",
        "p99 ms",
        "dropped by reason",
    )
    for camera in summary.cameras:
        _summary_row(table, camera)
    if len(summary.cameras) > 1:
        rate = summary.answered / summary.seconds if summary.seconds > 0 else 0.0
        table.add_row(
            Text("all", style="bold"),
            "yes" if summary.adds_up else "NO",
            str(summary.received),
            str(summary.answered),
            str(sum(summary.dropped.values())),
            f"{rate:.1f}",
            _ms(summary.p50_ms),
            _ms(summary.p99_ms),
            _dropped(summary.dropped),
        )
    console.print()
    console.print(
        f"[bold]Summary[/] of {summary.seconds:.1f} s; milliseconds are from decoded frame to result"
    )
    console.print(table)
    for camera in summary.cameras:
        if not camera.counts.answered and not camera.was_removed:
            reason = camera.error or "no frame was answered"
            console.print(Text(f"{camera.name}: never answered. {reason}", style="red"), soft_wrap=True)
    for name, count in summary.output_errors.items():
        console.print(Text(f"{name}: {count} results could not be written", style="red"), soft_wrap=True)
