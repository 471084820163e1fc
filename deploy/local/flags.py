# SPDX-License-Identifier: Apache-2.0
"""The command line of tritonserver."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.deploy.local.engine import TRITON_RELEASE
from sightline.deploy.local.ports import LOOPBACK
from sightline.errors import ServerError
from sightline.naming import is_stage
from sightline.runtime import TOKEN_KEY

RESTRICTED = "shared-memory,model-repository,trace,logging"
_STUB_TIMEOUT_SECONDS = 120
_ALWAYS = (
    # Configurations are written in full by `sightline build`; without this each model is started twice.
    "--disable-auto-complete-config",
    "--exit-on-error=true",
    "--strict-readiness=false",  # else a server that loads a new version says that it is not ready; the canary knows
    "--allow-sagemaker=false",
    "--allow-vertex-ai=false",
    "--allow-gpu-metrics=false",
    "--allow-cpu-metrics=false",
    "--pinned-memory-pool-byte-size=0",  # for GPUs only, which the embedded engine does not use
    "--log-format=ISO8601",
)


@dataclass(frozen=True)
class Ports:
    """TCP ports of one server."""

    http: int
    grpc: int
    metrics: int


def check_host(host: str) -> None:
    """Raise ServerError for every address but loopback."""
    if host not in (LOOPBACK, "localhost"):
        raise ServerError(
            f"host is {host}; the embedded Triton {TRITON_RELEASE} listens on {LOOPBACK} only, because many "
            "of its published vulnerabilities (CVEs up to 2026) are fixed in later releases only. For other "
            "machines run NVIDIA's container 26.07 or later behind a proxy that authenticates"
        )


def model_names(repository: Path) -> tuple[str, ...]:
    """Models of the repository to load: folders with a config.pbtxt. Stages of ours are left out: with its ensemble
    Triton loads the stages that it names, and no others, so that older versions take no memory.
    """
    folders = (path.parent for path in repository.glob("*/config.pbtxt") if path.is_file())
    return tuple(sorted(folder.name for folder in folders if not is_stage(folder)))


def server_arguments(
    repository: Path,
    backends: Path,
    openvino: Path,
    ports: Ports,
    region_prefix: str,
    models: Sequence[str],
    *,
    exit_seconds: int,
) -> list[str]:
    """Arguments without secrets.

    openvino: OpenVINO's C library, which the native backend loads. models: names to load; all models of the
    repository where empty.

    Model control is 'explicit': it can load a chosen few models at start and lets the holder of the token
    reload a model without a restart. The calls are closed to everybody else, and whoever can read the token
    (mode 0600) can also write the repository, so nothing is opened that was not open. Every model is named,
    because '*' ends the server at the first folder that is no model.
    """
    cores = os.cpu_count() or 1
    return [
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-region-prefix-name={region_prefix}",
        f"--backend-config=python,stub-timeout-seconds={_STUB_TIMEOUT_SECONDS}",
        f"--backend-config=sightline,openvino={openvino}",
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in (models or model_names(repository))),
        f"--exit-timeout-secs={exit_seconds}",
        f"--model-load-thread-count={max(2, min(cores, 8))}",
        f"--http-address={LOOPBACK}",
        f"--grpc-address={LOOPBACK}",
        f"--metrics-address={LOOPBACK}",
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        f"--http-thread-count={max(2, min(cores, 8))}",
        *_ALWAYS,
    ]


def secret_arguments(token: str) -> list[str]:
    """Arguments that hold the token; they go through a private file, never through argv."""
    return [
        f"--http-restricted-api={RESTRICTED}:{TOKEN_KEY}={token}",
        f"--grpc-restricted-protocol={RESTRICTED}:{TOKEN_KEY}={token}",
    ]


def write_argument_file(path: Path, arguments: Sequence[str]) -> None:
    """Write one argument a line, mode 0600, replacing the file."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{argument}\n" for argument in arguments)
