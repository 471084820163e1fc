# SPDX-License-Identifier: Apache-2.0
"""`sightline serve` and `sightline doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SERVE_HELP = """Start the real tritonserver on a model repository and keep it alive.

It listens on 127.0.0.1 only and is ready when a canary inference has passed through every model.
It is started anew when it dies or stops answering. Ctrl-C or SIGTERM drains and stops it;
a second Ctrl-C kills it.

Examples:

    sightline serve

    sightline serve --repository /srv/models --model street_detect

    sightline serve --http-port 9000 --grpc-port 9001 --metrics-port 9002
"""

DOCTOR_HELP = """Say what this machine can do, what is missing and how to get it.

The exit status is 0 when the main road (build, serve, watch) is possible here.

Examples:

    sightline doctor

    sightline doctor --json | jq '.checks[] | select(.status == "missing")'

    sightline doctor --containers
"""


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command("serve", help=SERVE_HELP)(_serve)
    app.command("doctor", help=DOCTOR_HELP)(_doctor)


def _serve(
    repository: Annotated[Path, typer.Option(help="Model repository, made by `sightline build`.")] = Path(
        "triton_models"
    ),
    model: Annotated[
        list[str] | None, typer.Option(help="Load this model only; may be repeated. Default: all.")
    ] = None,
    http_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for HTTP.")] = 8000,
    grpc_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for gRPC.")] = 8001,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for Prometheus metrics.")] = 8002,
    host: Annotated[str, typer.Option(help="Only loopback is allowed with this engine.")] = "127.0.0.1",
    log_dir: Annotated[
        Path | None, typer.Option(help="Folder of tritonserver.log. Default: ~/.cache/sightline/log.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until the server must be ready.")] = 120.0,
) -> None:
    from sightline.deploy.serve import serve

    serve(
        repository,
        models=model,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        host=host,
        log_dir=log_dir,
        timeout_seconds=timeout,
    )


def _doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    containers: Annotated[
        bool, typer.Option("--containers", help="Print which containers fit which target.")
    ] = False,
) -> None:
    from sightline.deploy.doctor.report import print_containers, print_report

    if containers:
        print_containers(as_json=json)
        return
    raise typer.Exit(print_report(as_json=json))
