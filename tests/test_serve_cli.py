# SPDX-License-Identifier: Apache-2.0
"""`sightline serve` as people run it: a process of its own, stopped with work in hand or started in vain."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from sightline import runtime
from sightline.deploy.local.ports import free_ports
from tests.triton_models import MODEL, write_repository

PATIENCE_SECONDS = 120.0  # against a hang only
BUSY_TENTHS = 6
_MARK = "time.sleep(float"


class Serve:
    """`sightline serve` with ports of its own; its output goes to a file."""

    def __init__(self, repository: Path, folder: Path, *, grpc_port: int = 0) -> None:
        self.http, self.grpc, self.metrics = free_ports(3)
        self.grpc = grpc_port or self.grpc
        options = {
            "--repository": repository,
            "--http-port": self.http,
            "--grpc-port": self.grpc,
            "--metrics-port": self.metrics,
            "--log-dir": folder / f"log-{self.http}",
        }
        command = [sys.executable, "-m", "sightline.cli", "serve"]
        command += [str(part) for option in options.items() for part in option]
        self.output = folder / f"serve-{self.http}.txt"
        with self.output.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)

    @property
    def text(self) -> str:
        """What it has printed, in one line."""
        return " ".join(self.output.read_text().split())

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.text
        state = runtime.read_state(self.grpc)
        return state is not None and state.state == "ready"

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.wait()
            finally:
                self.process.kill()


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def busy_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "at-work"
    folder.mkdir()
    return folder


@pytest.fixture
def serve(tmp_path: Path, busy_folder: Path) -> Iterator[Serve]:
    """A server, ready, whose models leave a file for each slow picture they have begun with."""
    mark = f"open('{busy_folder}/' + str(time.monotonic_ns()), 'x').close(); {_MARK}"
    repository = write_repository(tmp_path / "repository", model=MODEL.replace(_MARK, mark))
    for config in repository.glob("*/config.pbtxt"):
        config.write_text(config.read_text().replace("max_queue_size: 2", "max_queue_size: 16"))
    running = Serve(repository, tmp_path)
    try:
        assert wait_until(running.is_ready)
        yield running
    finally:
        running.end()


def ask_grpc(serve: Serve) -> int:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{serve.grpc}") as client:
        image = tritonclient.grpc.InferInput("IMAGE", [1, 1], "UINT8")
        image.set_data_from_numpy(np.array([[BUSY_TENTHS]], np.uint8))
        return int(client.infer("tiny", [image]).as_numpy("COUNT")[0, 0])


def ask_http(serve: Serve) -> int:
    with tritonclient.http.InferenceServerClient(
        f"127.0.0.1:{serve.http}", network_timeout=PATIENCE_SECONDS
    ) as client:
        image = tritonclient.http.InferInput("IMAGE", [1, 1], "UINT8")
        image.set_data_from_numpy(np.array([[BUSY_TENTHS]], np.uint8))
        return int(client.infer("tiny", [image]).as_numpy("COUNT")[0, 0])


def waiting_requests(serve: Serve) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{serve.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r'nv_inference_pending_request_count\{model="tiny_network"[^}]*\} (\d+)', text)
    return int(found.group(1)) if found else 0


def test_sigterm_answers_what_is_in_flight(serve: Serve, busy_folder: Path) -> None:
    asks = [ask_grpc, ask_http] * 3
    with ThreadPoolExecutor(len(asks)) as threads:
        pending = [threads.submit(ask, serve) for ask in asks]
        # Some at work and some that wait; one of those that wait may be the supervisor's canary.
        assert wait_until(lambda: len(list(busy_folder.iterdir())) + waiting_requests(serve) >= len(asks))
        time.sleep(0.3)
        unanswered = [request for request in pending if not request.done()]
        serve.process.send_signal(signal.SIGTERM)
        assert [request.result(PATIENCE_SECONDS) for request in pending] == [1] * len(asks)
    assert unanswered, "there must have been requests in flight"
    assert serve.wait() == 0, serve.text
    assert serve.text.endswith("stopped")
    assert runtime.read_state(serve.grpc) is None


def test_second_serve_of_a_folder_names_the_first_and_leaves_it_alone(serve: Serve, tmp_path: Path) -> None:
    second = Serve(tmp_path / "repository", tmp_path)
    assert second.wait() == 1
    assert f"already served by process {serve.process.pid}" in second.text
    assert f"gRPC port {serve.grpc}" in second.text
    assert "Traceback" not in second.text
    assert "starting" not in second.text
    assert serve.is_ready()
    assert ask_grpc(serve) == 1


def test_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        refused = Serve(repository, tmp_path, grpc_port=port)
        assert refused.wait() == 1
    assert f"port {port} is held by" in refused.text
    assert f"(PID {os.getpid()})" in refused.text
    assert "--grpc-port" in refused.text
    assert "Traceback" not in refused.text
    assert not list(repository.glob(".sightline*"))
