# SPDX-License-Identifier: Apache-2.0
"""`sightline bench-streams`: its options; what it does is in run.py, whose imports are heavy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sightline.perf.streams.plan import SHORT, Plan, checked_rates, checked_sections

HELP = """Measure the stream engine: against libavcodec, OpenCV and Ultralytics, in turns on the same cores.

Sections: decoding (decode, letterbox and track with the network stubbed, from files and over RTSP), network (the shipped
detector on a real server: frames answered against the bare engine, how many cameras, how old results are), ultralytics (how
many cameras its `track` carries), memory (a camera, and 1,000 source changes). All where none is named. Writes
streams.json and streams.png; a section that is not measured keeps its figures of before in them.

Examples:

    sightline bench-streams

    sightline bench-streams decoding --rounds 5

    sightline bench-streams network --minutes 60 --rates 10 --output results
"""


def register_streams_bench(app: typer.Typer) -> None:
    """Add `bench-streams`."""
    app.command("bench-streams", help=HELP)(bench_streams)


def bench_streams(
    sections: Annotated[
        list[str] | None,
        typer.Argument(
            help="decoding, network, ultralytics, memory; all where none is named.", show_default=False
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of streams.json and streams.png.")] = Path(
        "perf_output"
    ),
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Turns of each way.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, max=120, help="Length of a turn.")] = 3.0,
    minutes: Annotated[
        float, typer.Option(min=0.1, max=600, help="Length of the run at 80 % of the cameras.")
    ] = 1.0,
    rates: Annotated[
        str, typer.Option(help="Frames a second of the cameras that are counted, with commas between them.")
    ] = "5,10",
    changes: Annotated[
        int, typer.Option(min=1, max=100_000, help="Source changes in the memory test.")
    ] = 1000,
    short: Annotated[bool, typer.Option("--short", help="Only to see that it runs.")] = False,
) -> None:
    """See HELP."""
    from rich.console import Console

    from sightline.perf.streams.run import run_streams

    plan = SHORT if short else Plan(rounds=rounds, seconds=seconds, minutes=minutes, changes=changes)
    plan = plan if short else replace(plan, rates=checked_rates(rates))
    run_streams(replace(plan, sections=checked_sections(sections or [])), output, Console())
