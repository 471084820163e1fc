# SPDX-License-Identifier: Apache-2.0
"""`sightline pipe` and `sightline bulk`."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.clients.pipe.pipe import Tally

QUARANTINED_STATUS = 3
INTERRUPTED_STATUS = 130

_PIPE_HELP = """Images from a polled folder or from Redis, results as JSON into a folder or Redis.

    sightline pipe in/ out/                                what comes into in/ is answered in out/, until Ctrl-C

    sightline pipe in/ out/ --once --format coco --coco-all out/all.json

    sightline pipe in/ out/ --model street_detect --chain sign_classify:stop_sign,yield_sign
                                                           the next model sees crops of the objects, here of signs

    sightline pipe in/ out/ --model street_detect --also road_semantic      several models of the same image

    sightline pipe 'redis://host/0?stream=images&group=g' 'redis://host/0?stream=predictions'

    sightline pipe 'redis://host/0?channel=images' 'redis://host/0?channel=predictions'      LOSSY, as Redis channels are

    sightline pipe in/ 'redis://host/0?stream=predictions' --then delete

Half-written files are not read. Each image gets one result, also when this is killed and started again; started again
it goes on. What cannot be used goes to the quarantine with NAME.reason.json; a server that is away is waited for.

Exit status: 0 all answered, 1 could not run, 3 some were quarantined or left, 130 stopped with --once before the end.
"""

_BULK_HELP = """Millions of images out of a folder tree or object storage: one line of JSON each, in files of N lines.

    sightline bulk photos/ results/ --model street_detect

    sightline bulk s3://bucket/photos s3://bucket/results --server triton:8001     with fsspec's package for the store

    sightline bulk /data/photos /data/results --ray auto --server triton:8001      on all machines of a Ray cluster

Killed and started again it goes on where it was; no image is missing or twice in DEST/results/*.jsonl. What cannot be used
has a line with its reason there and in DEST/poison/. With --ray all machines must reach SOURCE, DEST and the server.

Exit status: 0 all answered, 1 could not run, 3 some could not be used, 130 stopped before the end.
"""

_SOURCE = Annotated[
    str, typer.Argument(metavar="IN", show_default=False, help="Folder, or redis://…?channel= or ?stream=.")
]
_DESTINATION = Annotated[
    str, typer.Argument(metavar="OUT", show_default=False, help="Folder, or redis://…?channel= or ?stream=.")
]
_MODEL = Annotated[str, typer.Option(help="Name of the model.")]
_ALSO = Annotated[
    list[str], typer.Option(metavar="MODEL", help="Ask this one too about each image; can be repeated.")
]
_CHAIN = Annotated[
    list[str],
    typer.Option(
        metavar="MODEL[:LABELS]",
        help="Ask this one about crops of what the model before found, of all labels or these; can be repeated.",
    ),
]
_SERVER = Annotated[str, typer.Option(help="Address of the server.")]
_PROTOCOL = Annotated[str, typer.Option(metavar="grpc|http", help="How to talk to it.")]
_SCORE = Annotated[float, typer.Option(min=0, max=1, help="Leave out objects and classes below this score.")]
_TIMEOUT = Annotated[float, typer.Option(min=0.01, help="Seconds to wait for each answer.")]
_IN_FLIGHT = Annotated[int, typer.Option(min=1, max=1024, help="Requests under way at a time.")]
_QUIET = Annotated[bool, typer.Option("--quiet", help="Only the summary.")]


def register_pipe(app: typer.Typer) -> None:
    """Add `pipe` and `bulk`."""
    app.command("pipe", help=_PIPE_HELP)(pipe)
    app.command("bulk", help=_BULK_HELP)(bulk)


def pipe(
    source: _SOURCE,
    destination: _DESTINATION,
    model: _MODEL = "street_detect",
    chain: _CHAIN = [],  # noqa: B006 - typer copies it
    also: _ALSO = [],  # noqa: B006
    format: Annotated[str, typer.Option(metavar="json|coco|opex", help="How results are written.")] = "json",
    coco_all: Annotated[
        Path | None, typer.Option(metavar="FILE", help="At the end, one COCO file of all results.")
    ] = None,
    then: Annotated[
        str,
        typer.Option(metavar="move|delete|keep", help="What becomes of inputs. Files: move; Redis: keep."),
    ] = "",
    done: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where inputs are moved to; OUT unless given.")
    ] = None,
    quarantine: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where poison goes; OUT/quarantine unless given.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left.")] = False,
    watch: Annotated[float, typer.Option(min=0.01, help="Seconds between looks into the folder.")] = 1.0,
    settle: Annotated[
        float, typer.Option(min=0.01, help="Seconds for which a file must not have changed.")
    ] = 1.0,
    doubt: Annotated[
        float, typer.Option(min=0.01, help="Seconds after which half a file counts as broken off.")
    ] = 30.0,
    claim: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a dead consumer's entries are taken over.")
    ] = 60.0,
    score: _SCORE = 0.0,
    server: _SERVER = "localhost",
    protocol: _PROTOCOL = "grpc",
    timeout: _TIMEOUT = 30.0,
    in_flight: _IN_FLIGHT = 16,
    quiet: _QUIET = False,
) -> None:
    """See _PIPE_HELP."""
    from rich.console import Console

    from sightline.clients.pipe.addresses import ChannelAddress, address_from
    from sightline.clients.pipe.answers import Plan
    from sightline.clients.pipe.pipe import Pipe
    from sightline.clients.pipe.progress import Progress
    from sightline.clients.pipe.settings import PipeSettings

    _check_protocol(protocol)
    settings = PipeSettings(
        source=address_from(source),
        destination=address_from(destination),
        plan=Plan((model, *also), tuple(chain)),
        server=server,
        protocol=protocol,
        format=format,
        then=then,
        done=done,
        quarantine=quarantine,
        coco_all=coco_all,
        once=once,
        score=score,
        watch_seconds=watch,
        settle_seconds=settle,
        doubt_seconds=doubt,
        claim_seconds=claim,
        timeout_seconds=timeout,
        in_flight=in_flight,
    )
    console = Console(stderr=True, highlight=False)
    with Progress(console, quiet) as progress:
        running = Pipe(
            settings, progress.line, lambda t: progress.show(t.done, t.quarantined, t.waiting + t.under_way)
        )
        if not quiet:
            progress.line(f"{settings.source} → {settings.destination}")
        if not quiet and ChannelAddress in (type(settings.source), type(settings.destination)):
            progress.line("a Redis channel is lossy: what nobody hears is gone; ?stream=NAME is not")
        with _stopped_by_signals(running.stop):
            tally = running.run()
        progress.line(_summary(tally))
    raise typer.Exit(_status(tally, once))


def bulk(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", show_default=False, help="Folder tree, or s3://, gs://, …")
    ],
    destination: Annotated[
        str, typer.Argument(metavar="DEST", show_default=False, help="Folder, or s3://, gs://, …")
    ],
    model: _MODEL = "street_detect",
    chain: _CHAIN = [],  # noqa: B006 - typer copies it
    also: _ALSO = [],  # noqa: B006
    format: Annotated[str, typer.Option(metavar="json|coco|opex", help="How lines are written.")] = "json",
    shard: Annotated[int, typer.Option(min=1, help="Images of one results file.")] = 1000,
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Ray cluster: auto, an address, or local.")
    ] = "",
    score: _SCORE = 0.0,
    server: _SERVER = "localhost",
    protocol: _PROTOCOL = "grpc",
    timeout: _TIMEOUT = 30.0,
    in_flight: _IN_FLIGHT = 16,
    quiet: _QUIET = False,
) -> None:
    """See _BULK_HELP."""
    from rich.console import Console

    from sightline.clients.pipe.answers import Plan
    from sightline.clients.pipe.bulk import Bulk
    from sightline.clients.pipe.bulk_work import BulkSettings
    from sightline.clients.pipe.progress import Progress, counts, duration

    _check_protocol(protocol)
    plan = Plan((model, *also), tuple(chain))
    settings = BulkSettings(
        source, destination, plan, server, protocol, format, score, shard, timeout, in_flight, ray
    )
    with Progress(Console(stderr=True, highlight=False), quiet) as progress:
        running = Bulk(
            settings,
            progress.line,
            lambda t: progress.show(t.done, t.poisoned, 0, None if t.total is None else t.total - t.before),
        )
        with _stopped_by_signals(running.stop):
            tally = running.run()
        earlier = f"; {tally.before} were done before" if tally.before else ""
        finished = counts(tally.done, tally.poisoned, 0)
        progress.line(f"{finished} in {duration(tally.seconds)}{earlier}")
    status = INTERRUPTED_STATUS if tally.is_interrupted else QUARANTINED_STATUS if tally.has_poison else 0
    raise typer.Exit(status)


def _summary(tally: Tally) -> str:
    from sightline.clients.pipe.progress import counts, duration

    finished = tally.done + tally.quarantined
    left = tally.waiting + tally.under_way
    text = counts(tally.done, tally.quarantined, left if tally.is_interrupted else 0)
    text += f" in {duration(tally.seconds)}"
    if finished and tally.seconds > 0:
        text += f" ({finished / tally.seconds:.1f}/s)"
    if tally.recovered:
        text += f"; {tally.recovered} more were finished that the run before had answered"
    if tally.left_alone:
        text += f"; {tally.left_alone} names are no plain files and were left alone"
    if tally.unsettled:
        text += f"; still being written, left where they are: {', '.join(tally.unsettled[:5])}"
    return text


def _status(tally: Tally, once: bool) -> int:
    if once and tally.is_interrupted:
        return INTERRUPTED_STATUS
    return QUARANTINED_STATUS if tally.quarantined or tally.unsettled else 0


def _check_protocol(protocol: str) -> None:
    if protocol not in ("grpc", "http"):
        raise typer.BadParameter(f"--protocol is {protocol!r}; it must be grpc or http")


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM stops cleanly, the second at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: object) -> None:
        stop()
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
