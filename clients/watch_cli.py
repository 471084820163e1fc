# SPDX-License-Identifier: Apache-2.0
"""`sightline watch`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.clients import Client
    from sightline.clients.config.watch_file import Page, WatchFile
    from sightline.clients.service import WatchService
    from sightline.clients.streams import EventFile, Recording
    from sightline.clients.streams.summary import Summary
    from sightline.clients.streams.terminal import Terminal

REFRESH_SECONDS = 0.25
REQUEST_TIMEOUT_SECONDS = 4.0
PLAIN_WIDTH = 160
WATCHED_TASKS = ("", "detect", "segment")

_HELP = """Watch cameras: decode, send the newest frames to the server, show and keep what it finds.

A SOURCE is an RTSP URL, a video file or a folder of images, alone or as NAME=SOURCE, or a **cameras file** (.yaml) with
rules, privacy and sinks: docs/cameras.md. Cameras reconnect for ever; when the server is slower than they are, old frames are
dropped and counted, so that what you see is always now.

    sightline watch door=rtsp://10.0.0.7/stream1 --page 8080

    sightline watch rtsp://a/1 rtsp://b/1 --events events.jsonl --output recording --seconds 60

    sightline watch cameras.yaml --page 8080        # draw rules on the page; they are saved in the file

**Passwords**: what stands in a command can be seen by other users of this machine (ps). Keep it out with
single quotes and an exported variable, 'rtsp://user:${CAMERA_PASSWORD}@10.0.0.7/1', or write it in a cameras file.
Sightline never shows, logs or serves a URL with its password.

Ctrl-C stops and prints a summary. The exit status is 0 when every camera was answered, all frames are
accounted for and all outputs were written.
"""


def register_watch(app: typer.Typer) -> None:
    """Add `watch`."""
    app.command("watch", help=_HELP)(watch)


def watch(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            show_default=False,
            help="Cameras: URL, file, folder or NAME=URL; or a cameras file.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(show_default="localhost:8001", help="Address of the server's gRPC port."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(show_default="street_detect", help="Model of cameras that name no other.")
    ] = None,
    page: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="Serve the live page on this port of this machine; 0 takes a free one.",
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append an event for each frame with objects, as JSON lines."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write watch.mp4, contact-sheet.png and summary.json there."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop after this time; otherwise with Ctrl-C.")
    ] = None,
    sources_file: Annotated[
        Path | None,
        typer.Option("--sources", metavar="FILE.yaml", help="A cameras file: lines of 'name: url', or more."),
    ] = None,
    transport: Annotated[str, typer.Option(metavar="tcp|udp", help="How RTSP carries the video.")] = "tcp",
    every: Annotated[int, typer.Option(min=1, help="Send only every n-th frame.")] = 1,
    in_flight: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=8,
            show_default=False,
            help="Frames of one camera under way at a time; by default 2, with three or more cameras 1.",
        ),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Play video files again and again.")] = False,
) -> None:
    """See _HELP."""
    from rich.console import Console

    from sightline.clients import Client
    from sightline.clients.service import WatchService, described
    from sightline.clients.streams.source import require_av
    from sightline.clients.streams.terminal import print_summary

    if transport not in ("tcp", "udp"):
        raise typer.BadParameter(f"--transport is {transport!r}; it must be tcp or udp")
    require_av()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    texts, file = _split(sources or [], sources_file)
    options = {"model": model, "loop": loop or None, "transport": transport if transport != "tcp" else None}
    document, adapt = described(texts, file, server, options)
    notices: list[str] = []
    client = Client(document.server, timeout_seconds=REQUEST_TIMEOUT_SECONDS)
    try:
        for name in sorted({camera.model for camera in document.cameras.values() if camera.enabled}):
            _check_server(client, name, console)
        with contextlib.ExitStack() as opened:
            event_file, recording = _outputs(
                events,
                output,
                [name for name, camera in document.cameras.items() if camera.enabled],
                notices,
                opened,
            )
            service = WatchService(
                document,
                client,
                path=file,
                adapt=adapt,
                sinks=[sink for sink in (event_file, recording) if sink is not None],
                page=_page(page, document),
                every=every,
                max_in_flight=in_flight,
                notice=notices.append,
            )
            opened.pop_all()  # the watch closes them from here on
        summary = _run(service, console, service.page_url, seconds, notices)
    finally:
        client.close()
    print_summary(console, summary)
    _write_summary(summary, output, recording, events, console)
    raise typer.Exit(0 if summary.ok else 1)


def _outputs(
    events: Path | None,
    output: Path | None,
    cameras: list[str],
    notices: list[str],
    opened: contextlib.ExitStack,
) -> tuple[EventFile | None, Recording | None]:
    """The events first: they only append, but a recording empties the video of the run before."""
    from sightline.clients.streams import EventFile, Recording

    event_file = EventFile(events) if events else None
    if event_file:
        opened.callback(event_file.close)
    recording = Recording(output, cameras, failed=notices.append) if output else None
    if recording:
        opened.callback(recording.close)
    return event_file, recording


def _split(texts: list[str], file: Path | None) -> tuple[list[str], Path | None]:
    """The cameras named in the command, and the cameras file."""
    files = [Path(text) for text in texts if text.lower().endswith((".yaml", ".yml"))]
    files += [file] if file else []
    if len(files) > 1:
        raise typer.BadParameter(f"{files[0]} and {files[1]} are both cameras files; give one")
    return [text for text in texts if Path(text) not in files], files[0] if files else None


def _check_server(client: Client, model: str, console: Console) -> None:
    """A wrong model is an error at once; an absent server is waited for."""
    from rich.text import Text

    from sightline.clients._answers import a_model_of
    from sightline.errors import BadInputError, DeadlineExceeded, ServerUnavailable

    try:
        task = client.task(model)
        if task not in WATCHED_TASKS:
            raise BadInputError(
                f"model {model} is {a_model_of(task)}; watch shows the boxes of detect and segment models. "
                f"For single images there is `sightline infer --model {model}`"
            )
    except (ServerUnavailable, DeadlineExceeded) as error:
        console.print(
            Text(f"warning: {error}. Frames are dropped until it answers.", style="yellow"), soft_wrap=True
        )


def _page(port: int | None, document: WatchFile) -> Page | None:
    """The page, as the command or the file wants it."""
    from sightline.clients.config.watch_file import Page

    if port is None:
        return document.page
    return (document.page or Page()).model_copy(update={"port": port})


def _run(
    engine: WatchService, console: Console, url: str | None, seconds: float | None, notices: list[str]
) -> Summary:
    """Watch until the time is over, the files have ended, or a signal comes."""
    import signal
    import threading
    import time

    from sightline.clients.streams.terminal import Terminal

    stopping = threading.Event()
    handlers = {s: signal.signal(s, lambda *_: stopping.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        engine.start()
        if url:
            console.print(f"page: [bold]{url}[/]")
        terminal = Terminal(console, engine.state, url)
        until = None if seconds is None else time.monotonic() + seconds
        try:
            while (
                not engine.ended
                and (until is None or time.monotonic() < until)
                and not stopping.wait(REFRESH_SECONDS)
            ):
                terminal.refresh()
                _tell(terminal, notices)
        finally:
            terminal.close()
        summary = engine.stop()
        _tell(terminal, notices)
        return summary
    finally:
        engine.stop()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _tell(terminal: Terminal, notices: list[str]) -> None:
    while notices:
        terminal.notice(notices.pop(0))


def _write_summary(
    summary: Summary, output: Path | None, recording: Recording | None, events: Path | None, console: Console
) -> None:
    import json

    from sightline.errors import OutputError

    written = [str(events)] if events else []
    if output is not None and recording is not None:
        path = output / "summary.json"
        try:
            path.write_text(json.dumps(summary.to_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written: {error.strerror}; free some space or choose another --output"
            ) from None
        written += [str(p) for p in (path, recording.video, recording.sheet) if p.exists()]
    for name in written:
        console.print(f"wrote {name}", soft_wrap=True)
