# SPDX-License-Identifier: Apache-2.0
"""`sightline events`: look at what a watch has kept, what waits, and what a sink would not take."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

_HELP = """Look at the events that a watch keeps in its folder, while it runs or afterwards.

Examples:

    sightline events list sightline_data --camera gate --since 2026-11-28T06:00:00Z

    sightline events tail sightline_data                     new events as they come

    sightline events waiting sightline_data                  what the sinks do not have yet

    sightline events dead sightline_data                     what a sink refused, and why

    sightline events dead sightline_data --retry webhook     let it be tried again
"""
STORE_FILES = ("events.sqlite", "events.db")
SPOOL_FOLDER = "spool"
_POLL_SECONDS = 0.5

events_app = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="markdown")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The watch's folder.")]
Json = Annotated[bool, typer.Option("--json", help="As lines of JSON, for programs.")]
Cameras = Annotated[
    list[str] | None, typer.Option("--camera", metavar="NAME", help="Only of this camera; may be repeated.")
]
Types = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="Only of this type; may be repeated.")
]
Rules = Annotated[
    list[str] | None, typer.Option("--rule", metavar="NAME", help="Only of this rule; may be repeated.")
]


def register_events(app: typer.Typer) -> None:
    """Add `events`."""
    app.add_typer(events_app, name="events")


@events_app.command(
    "list",
    help="The newest events, the oldest of them first.\n\nExamples:\n\n"
    "    sightline events list sightline_data --limit 20\n\n"
    "    sightline events list sightline_data --type sightline.line.crossed --json | jq .data.label",
)
def list_events(
    folder: Folder,
    camera: Cameras = None,
    type_: Types = None,
    rule: Rules = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="ISO 8601, as 2026-11-28T07:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="ISO 8601.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List events."""
    from sightline.clients.page.control import EventQuery

    query = EventQuery(_texts(camera), _texts(type_), _texts(rule), (), since, until, None, limit)
    for document in reversed(_store(folder).query(query)):
        _show(document, as_json)


@events_app.command(
    "tail",
    help="New events as they come; Ctrl-C ends it.\n\nExamples:\n\n"
    "    sightline events tail sightline_data --camera gate\n\n"
    "    sightline events tail sightline_data --json | jq .data",
)
def tail(
    folder: Folder,
    camera: Cameras = None,
    type_: Types = None,
    rule: Rules = None,
    as_json: Json = False,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after this time.")] = None,
) -> None:
    """Follow events."""
    from sightline.clients.page.control import EventQuery

    end = None if seconds is None else time.monotonic() + seconds
    store = _store(folder)
    position = store.newest()
    while end is None or time.monotonic() < end:
        query = EventQuery(_texts(camera), _texts(type_), _texts(rule), limit=1000)
        for document in store.after(position, query):
            position = document["position"]
            _show(document, as_json)
        time.sleep(_POLL_SECONDS)


@events_app.command(
    "waiting",
    help="Events in the spool: those that some sink does not have yet, and a few that all have.\n\nExample:\n\n"
    "    sightline events waiting sightline_data",
)
def waiting(folder: Folder, as_json: Json = False) -> None:
    """Show the spool."""
    from sightline.clients.events.cursors import load_cursors
    from sightline.clients.events.spool import peek

    spool = _existing(folder / SPOOL_FOLDER)
    for record in peek(spool):
        _show(record["event"], as_json)
    if as_json:
        return
    for name, cursor in load_cursors(spool).items():
        typer.echo(
            f"{name.lstrip('_')}: {cursor.delivered} delivered, {cursor.refused} refused, {cursor.dropped} dropped",
            err=True,
        )


@events_app.command(
    "dead",
    help="Events that a sink will never take, with the reason.\n\nExamples:\n\n"
    "    sightline events dead sightline_data\n\n"
    "    sightline events dead sightline_data --retry webhook",
)
def dead(
    folder: Folder,
    retry: Annotated[
        str | None,
        typer.Option(
            metavar="SINK", help="Let this sink's be tried again, by the running watch or the next one."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show dead letters, or retry them."""
    from sightline.clients.events.dead import dead_letters, retry_dead

    spool = _existing(folder / SPOOL_FOLDER)
    if retry is not None:
        typer.echo(f"{retry_dead(spool, retry)} events of {retry} will be tried again")
        return
    for sink, letters in dead_letters(spool).items():
        for letter in letters:
            _show_dead(sink, letter, as_json)


def _show(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=False))
        return
    data = document.get("data", {})
    parts = [data.get("camera"), data.get("rule"), data.get("label"), data.get("snapshot")]
    words = "  ".join(_plain(part) for part in parts if part)
    typer.echo(f"{_plain(document.get('time'))}  {_plain(document.get('type'))}  {words}")


def _show_dead(sink: str, letter: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"sink": sink, **letter}, ensure_ascii=False))
        return
    event = letter.get("event")
    about = event if isinstance(event, dict) else {}
    texts = (letter.get("time"), sink, letter.get("reason"), about.get("type"), about.get("id"))
    typer.echo("  ".join(_plain(text) for text in texts))


def _plain(value: Any) -> str:
    """A text that a terminal shows and does not obey."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _texts(given: list[str] | None) -> tuple[str, ...]:
    return tuple(given or ())


def _existing(path: Path) -> Path:
    from sightline.errors import OutputError

    if not path.exists():
        raise OutputError(
            f"{path} is not there; name the folder of a watch, as in its cameras file's `folder`"
        )
    return path


def _store(folder: Path) -> Any:
    from sightline.clients.events.store_reader import StoreReader

    found = [folder / name for name in STORE_FILES if (folder / name).exists()]
    return StoreReader(found[0] if found else _existing(folder / STORE_FILES[0]))
