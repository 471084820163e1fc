# SPDX-License-Identifier: Apache-2.0
"""`sightline cameras`, `sightline perf` and `sightline bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CAMERAS_HELP = """Simulate cameras: a real RTSP server on loopback with drawn street scenes.

It runs until Ctrl-C. The first start draws the scenes, later ones find them in ~/.cache/sightline.

Examples:

    sightline cameras

    sightline cameras --count 2 --size 1920x1080 --port 9554

    sightline cameras --user viewer --password-file password.txt
"""


PERF_HELP = """Load a served model with NVIDIA's perf_analyzer and say what it can do.

For each number of requests in flight: frames/s and latency, CPU time of server and client, Triton's own times of each
stage. Frames of drawn streets go in, through shared memory where the server runs on this machine. For such a server
the serving tax follows: frames/s through the ensemble ÷ frames/s of a bare OpenVINO loop on the same cores.
Writes perf.json and perf.png. Other clients of the server are disturbed: perf_analyzer takes their shared memory away.

Examples:

    sightline perf street_detect

    sightline perf street_detect --input encoded --concurrency 1,4,16 --no-tax

    sightline perf my --server gpu-box:8001 --seconds 10 --output results
"""


BENCH_HELP = """Time the C core against the packages that people use: one thread, in turns, results checked equal first.

The groups of kernels are nms, heads, masks, rle, letterbox and tracks: kernels.json and kernels.png. Three more start a
real server and write a file of their name: stages (what a native stage costs), transport (a tensor, there and back) and
serving (the whole ensemble in the client's own process). The peers come with: pip install 'sightline[bench]'; a group
whose peer is missing is named and left out.

Examples:

    sightline bench

    sightline bench nms rle --output results

    sightline bench stages transport serving
"""


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    from sightline.perf.streams.command import register_streams_bench

    app.command("bench", help=BENCH_HELP)(_bench)
    app.command("cameras", help=CAMERAS_HELP)(_cameras)
    app.command("perf", help=PERF_HELP)(_perf)
    register_streams_bench(app)


def _cameras(
    count: Annotated[int, typer.Option(min=1, max=64, help="Number of cameras.")] = 4,
    port: Annotated[int, typer.Option(min=0, max=65535, help="RTSP port; 0 takes a free one.")] = 8554,
    size: Annotated[str, typer.Option(help="Width and height of the pictures in pixels.")] = "1280x720",
    frames_per_second: Annotated[int, typer.Option("--fps", min=1, max=60, help="Frames per second.")] = 15,
    kind: Annotated[
        str, typer.Option(help="RTSP server: auto, gstreamer, or asyncio (our small one).")
    ] = "auto",
    loop_seconds: Annotated[
        float, typer.Option(min=1, max=600, help="Length of the drawn scene until it starts again.")
    ] = 20.0,
    user: Annotated[str | None, typer.Option(help="Clients must log in as this user.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the password of --user.")
    ] = None,
) -> None:
    from sightline.perf.cameras.command import run_cameras

    run_cameras(
        count,
        size=size,
        frames_per_second=frames_per_second,
        seconds=loop_seconds,
        port=port,
        kind=kind,
        user=user,
        password_file=password_file,
    )


def _perf(
    model: Annotated[str, typer.Argument(help="Name of the model card that is served.", show_default=False)],
    server: Annotated[str, typer.Option(help="HOST:PORT of the server's gRPC.")] = "localhost:8001",
    concurrency: Annotated[str, typer.Option(help="Requests in flight, with commas.")] = "1,2,4,8",
    input_kind: Annotated[
        str, typer.Option("--input", help="frames (raw 720p), encoded (JPEG) or network (tensors).")
    ] = "frames",
    seconds: Annotated[float, typer.Option(min=0.6, max=600, help="Duration of each measurement.")] = 6.0,
    output: Annotated[Path, typer.Option(help="Folder of perf.json and perf.png.")] = Path("perf_output"),
    tax: Annotated[
        bool | None,
        typer.Option("--tax/--no-tax", help="Measure the serving tax. Default: where the server is local."),
    ] = None,
) -> None:
    from sightline.perf.analyzer.command import Plan, parsed_concurrencies, perf

    perf(Plan(model, server, parsed_concurrencies(concurrency), input_kind, seconds, output, tax))


def _bench(
    groups: Annotated[
        list[str] | None,
        typer.Argument(
            help="nms, heads, masks, rle, letterbox, tracks; all where none is named.", show_default=False
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("perf_output"),
) -> None:
    from sightline.perf.kernels.command import bench

    bench(groups or [], output)
