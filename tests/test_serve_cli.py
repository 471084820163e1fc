# SPDX-License-Identifier: Apache-2.0
"""`sightline serve` as people run it: a process of its own, stopped with work in hand or started in vain."""

from __future__ import annotations

import re
import signal
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
HOLD_SECONDS = 6.0  # at most, until the test lets the models go on
_MARK = "time.sleep(float"


class Serve:
    """`sightline serve` with ports of its own; its output goes to a file."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.http, self.grpc, self.metrics = free_ports(3)
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


@pytest.fixture(scope="module")
def busy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("at-work")


def go_on(busy_folder: Path) -> Path:
    return busy_folder.with_name(f"{busy_folder.name}-go-on")


@pytest.fixture(scope="module")
def repository(busy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that leave a file for each slow picture they have begun with, and go on when `go_on` is there."""
    there = f"__import__('os').path.exists('{go_on(busy_folder)}')"
    hold = f"[time.sleep(0.05) for _ in range({HOLD_SECONDS * 20:.0f}) if not {there}]"
    mark = f"open('{busy_folder}/' + str(time.monotonic_ns()), 'x').close(); {hold}; {_MARK}"
    go_on(busy_folder).touch()
    repository = tmp_path_factory.mktemp("served")
    write_repository(repository, model=MODEL.replace(_MARK, mark), instances=2)
    for config in repository.glob("*/config.pbtxt"):
        config.write_text(config.read_text().replace("max_queue_size: 2", "max_queue_size: 16"))
    return repository


@pytest.fixture(scope="module")
def serve(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server, ready."""
    running = Serve(repository, tmp_path_factory.mktemp("serve"))
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
    with urllib.request.urlopen(f"http://127.0.0.1:{serve.metrics}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    found = re.search(r'nv_inference_pending_request_count\{model="tiny_network"[^}]*\} (\d+)', text)
    return int(found.group(1)) if found else 0


def test_second_serve_of_a_folder_names_the_first_and_leaves_it_alone(
    serve: Serve, repository: Path, tmp_path: Path
) -> None:
    second = Serve(repository, tmp_path)
    assert second.wait() == 1
    assert f"already served by process {serve.process.pid}" in second.text
    assert f"gRPC port {serve.grpc}" in second.text
    assert "Traceback" not in second.text
    assert "starting" not in second.text
    assert serve.is_ready()
    assert ask_grpc(serve) == 1


def test_sigterm_answers_what_is_in_flight(serve: Serve, busy_folder: Path) -> None:
    for mark in busy_folder.iterdir():
        mark.unlink()
    go_on(busy_folder).unlink()
    asks = [ask_grpc, ask_http] * 3
    with ThreadPoolExecutor(len(asks)) as threads:
        pending = [threads.submit(ask, serve) for ask in asks]
        # Some at work and some that wait; one of those that wait may be the supervisor's canary.
        assert wait_until(lambda: len(list(busy_folder.iterdir())) + waiting_requests(serve) >= len(asks))
        time.sleep(1.0)
        unanswered = [request for request in pending if not request.done()]
        serve.process.send_signal(signal.SIGTERM)
        go_on(busy_folder).touch()
        assert [request.result(PATIENCE_SECONDS) for request in pending] == [1] * len(asks)
    assert unanswered, "there must have been requests in flight"
    assert serve.wait() == 0, serve.text
    assert serve.text.endswith("stopped")
    assert runtime.read_state(serve.grpc) is None
