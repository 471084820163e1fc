# SPDX-License-Identifier: Apache-2.0
"""Checks of what builds and serves a model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from sightline.deploy.doctor.check import Found, command_output, install_command, last_line
from sightline.deploy.local.engine import (
    INSTALL_HINT,
    TRITON_RELEASE,
    TRITON_VERSION,
    check_numpy,
    check_stub,
    find_engine,
    server_environment,
)
from sightline.deploy.local.run_id import new_run_id
from sightline.errors import MissingDependencyError

_KNOWN_RISK = (
    f"{TRITON_RELEASE} has known vulnerabilities (CVEs published up to 2026) that only later releases fix, "
    "so it listens on 127.0.0.1 only"
)


def triton() -> Found:
    """The wheel's tritonserver, the stub for this Python, the shared libraries of both."""
    try:
        engine = find_engine()
        check_stub(engine, server_environment(engine, new_run_id()))
    except MissingDependencyError as error:
        what, _, fix = str(error).rpartition(": ")
        return Found(False, what, fix or INSTALL_HINT)
    except subprocess.TimeoutExpired:
        return Found(False, "its stub does not load in time", INSTALL_HINT)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Found(True, f"{TRITON_VERSION} ({TRITON_RELEASE}), stub for Python {python}. {_KNOWN_RISK}")


def numpy() -> Found:
    """numpy 1, which this Triton's Python backend needs."""
    try:
        check_numpy()
    except MissingDependencyError as error:
        what, _, fix = str(error).rpartition(": ")
        return Found(False, what, fix)
    return Found(True, version("numpy"))


def tensorrt() -> Found:
    """TensorRT, or TensorRT-RTX, which can build engines without a GPU."""
    for module, distribution in (("tensorrt", "tensorrt"), ("tensorrt_rtx", "tensorrt-rtx")):
        if find_spec(module) is not None:
            try:
                return Found(True, f"{module} {version(distribution)}")
            except PackageNotFoundError:
                return Found(True, module)
    return Found(False, "engines for NVIDIA GPUs cannot be built here", install_command("tensorrt-rtx"))


def dali() -> Found:
    """DALI, NVIDIA's decoding and preprocessing."""
    if find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None:
        return Found(True, "nvidia.dali")
    return Found(False, "DALI pipelines cannot be written here", install_command("nvidia-dali-cuda130"))


def docker() -> Found:
    """Docker with a daemon that answers."""
    if not shutil.which("docker"):
        return Found(False, "NVIDIA's containers cannot be run here", "apt install docker.io")
    status, text = command_output(["docker", "version", "--format", "{{.Server.Version}}"])
    if status != 0:
        return Found(False, f"its daemon does not answer: {last_line(text)}", "sudo systemctl start docker")
    return Found(True, last_line(text))


def perf_analyzer() -> Found:
    """NVIDIA's load generator, from the tritonclient wheel, with the libraries that it needs."""
    program = Path(sys.executable).parent / "perf_analyzer"
    if not program.is_file():
        return Found(False, "not installed", install_command("tritonclient"))
    folders = [*_cuda_runtime_folders(), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(folder for folder in folders if folder)}
    status, text = command_output([str(program), "--version"], environment=environment)
    if status == 0:
        return Found(True, last_line(text))
    if "libb64" in text:
        return Found(False, "libb64 is missing", "apt install libb64-0d")
    if "libcudart" in text:
        return Found(False, "libcudart.so.12 is missing", install_command("nvidia-cuda-runtime-cu12"))
    return Found(False, f"does not run: {last_line(text)}", install_command("tritonclient"))


def _cuda_runtime_folders() -> list[str]:
    spec = find_spec("nvidia")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    return [str(Path(root) / "cuda_runtime" / "lib") for root in roots]
