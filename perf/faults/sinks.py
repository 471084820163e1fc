# SPDX-License-Identifier: Apache-2.0
"""Real brokers that go away and come back, a full disk, and receivers that read a byte a second."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sightline.clients.events.delivery import Pace
from sightline.clients.events.event import Event, utc_text
from sightline.clients.events.outbox import Outbox
from sightline.clients.events.settings import (
    JsonlSink,
    KafkaSink,
    MqttSink,
    RedisStreamSink,
    Sink,
    SpoolSettings,
    WebhookSink,
)
from sightline.errors import OutputError
from sightline.perf.faults.brokers import KafkaMock, Mosquitto, Valkey
from sightline.perf.faults.figure import Figure, Limit, exactly

QUICK = Pace(0.1, 1.0)
"""Attempts of the tests, so that a return is seen within a second; the product's pauses grow to Pace's own cap."""
_QUICK_MEANS = f"attempts at most {QUICK.cap_seconds:g} s apart, where the product's grow to {Pace().cap_seconds:g} s apart"
_BACK_SECONDS = 40.0
_SOON_SECONDS = 10.0
_CAMERAS = 4


def made_event(number: int, **more: Any) -> Event:
    """An event that is like no other."""
    data = {"camera": f"camera-{number % _CAMERAS}", "number": number, **more}
    return Event(f"made:{number}", "sightline.test.made", "/cameras/test", utc_text(time.time()), data)


def brokers_away(full: bool) -> Figure:
    """Redis, MQTT and Kafka are killed or stopped while events come, and come back."""
    began, away = time.monotonic(), 180.0 if full else 2.0
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="sightline-faults-")))
        brokers = [
            opened.enter_context(Valkey(folder / "valkey")),
            opened.enter_context(Mosquitto(folder / "mosquitto")),
            opened.enter_context(KafkaMock()),
        ]
        redis, mqtt, kafka = brokers
        path = folder / "events.jsonl"
        sinks: list[Sink] = [
            RedisStreamSink(kind="redis_stream", url=redis.url, stream="events", max_length=0),
            MqttSink(kind="mqtt", url=mqtt.url, topic="events"),
            KafkaSink(kind="kafka", brokers=kafka.url, topic="events"),
            JsonlSink(kind="jsonl", path=path),
        ]
        outbox = Outbox(folder / "spool", None, sinks, pace=QUICK)
        opened.callback(outbox.close)
        sent = _put(outbox, 0, 50, 0.01)
        drained_first = outbox.drain(_BACK_SECONDS)
        for broker in brokers:
            broker.away(True)
        sent = _put(outbox, sent, max(100, round(away * 10)), 0.1 if full else away / 100)
        on_time = len(_soon(path, sent))  # the brokers are away all the while
        for broker in brokers:
            broker.away(False)
        returned = time.monotonic()
        drained = outbox.drain(_BACK_SECONDS)
        seconds = time.monotonic() - returned
        time.sleep(0.5)
        found = {broker.name: broker.numbers() for broker in brokers}
        found["jsonl"] = _numbers(path.read_text(encoding="utf-8").splitlines())
    lost = {name: len(set(range(sent)) - set(numbers)) for name, numbers in found.items()}
    disorder = {name: _out_of_order(numbers, by_camera=name == "kafka") for name, numbers in found.items()}
    limits = (
        exactly("events lost, all sinks together", sum(lost.values())),
        exactly("events out of order, all sinks together", sum(disorder.values())),
        exactly("events of the healthy sink that had to wait", sent - on_time),
        exactly("sinks that did not drain", int(not drained) + int(not drained_first)),
        Limit("seconds from the return until all had everything", round(seconds, 2), _BACK_SECONDS),
    )
    twice = {name: sum(n - 1 for n in Counter(numbers).values()) for name, numbers in found.items()}
    done = (
        f"Redis (valkey) killed, mosquitto ended, Kafka (librdkafka's mock cluster) halted for {away:.0f} s while {sent} "
        f"events came; a file beside them; {_QUICK_MEANS}"
    )
    more = {"lost": lost, "delivered_twice": twice, "events": sent}
    return Figure(
        "Redis, MQTT and Kafka away", done, len(brokers), limits, more, round(time.monotonic() - began, 1)
    )


def full_disk(full: bool) -> Figure:
    """The spool's disk is full: events are refused aloud, what was accepted is kept, and it goes on when there is room."""
    began, rounds = time.monotonic(), 20 if full else 3
    accepted: list[int] = []
    refused = untold = 0
    with ExitStack() as opened:
        disk = opened.enter_context(SmallDisk(2 << 20))
        spare = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="sightline-faults-")))
        path = spare / "events.jsonl"
        sink = JsonlSink(kind="jsonl", path=path)
        outbox = Outbox(disk.folder / "spool", SpoolSettings(max_bytes=1 << 30), [sink], pace=QUICK)
        opened.callback(outbox.close)
        number = 0
        for _ in range(rounds):
            disk.fill()
            for _ in range(20):
                number += 1
                try:
                    kept = outbox.put(made_event(number, padding="x" * 2000))
                except OutputError:
                    refused += 1
                    continue
                accepted += [number] if kept else []
                untold += 0 if kept else 1
            disk.free()
            number += 1
            if outbox.put(made_event(number)):
                accepted.append(number)
            outbox.drain(10.0)
        outbox.drain(_BACK_SECONDS)
        outbox.close()
        numbers = _numbers(path.read_text(encoding="utf-8").splitlines())
    limits = (
        exactly("accepted events that were lost", len(set(accepted) - set(numbers))),
        exactly("events that were refused and came all the same", len(set(numbers) - set(accepted))),
        exactly("events dropped without an error", untold),
        Limit("events refused aloud while the disk was full", refused, at_least=1),
        exactly(
            "events kept again as soon as there was room, of the rounds",
            sum(n % 21 == 0 for n in accepted),
            rounds,
        ),
    )
    done = (
        f"the spool on a disk of 2 MB that is filled to the last byte, 20 events put, then freed, {rounds} times over; "
        f"{_QUICK_MEANS}"
    )
    more = {
        "disk": "tmpfs" if disk.is_mounted else "limit of file sizes",
        "accepted": len(accepted),
        "refused": refused,
    }
    return Figure("disk full", done, rounds, limits, more, round(time.monotonic() - began, 1))


def slow_webhook(full: bool) -> Figure:
    """A receiver that takes and gives one byte a second; other sinks must not wait for it."""
    began, seconds = time.monotonic(), 60.0 if full else 3.0
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="sightline-faults-")))
        port = opened.enter_context(_trickling_receiver())
        path = folder / "events.jsonl"
        slow = WebhookSink(kind="webhook", url=f"http://127.0.0.1:{port}/", timeout_seconds=2.0)
        outbox = Outbox(folder / "spool", None, [slow, JsonlSink(kind="jsonl", path=path)], pace=QUICK)
        opened.callback(outbox.close, 0.5)
        sent, ages = 0, []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            put_at = time.monotonic()
            outbox.put(made_event(sent))
            ages.append(time.monotonic() - put_at)
            sent += 1
            time.sleep(0.02)
        numbers = _soon(path, sent)
        state = next(sink for sink in outbox.state()["sinks"] if sink["kind"] == "webhook")
        asked = time.monotonic()
        outbox.close(0.5)
        closing = time.monotonic() - asked
    limits = (
        exactly("events that another sink did not have at once", sent - len(set(numbers))),
        exactly(
            "events lost of the slow one (delivered + waiting = put)",
            sent - state["delivered"] - state["waiting"],
        ),
        Limit("milliseconds to put an event, worst", round(max(ages) * 1e3, 1), 500),
        Limit("seconds to close", round(closing, 2), 10.0),
    )
    done = (
        f"a webhook whose receiver reads and answers one byte a second, {seconds:.0f} s, an event every 20 ms; "
        f"{_QUICK_MEANS}"
    )
    more = {"events": sent, "webhook_state": state["state"], "webhook_error": state["last_error"]}
    return Figure("webhook at 1 byte/s", done, 1, limits, more, round(time.monotonic() - began, 1))


def _put(outbox: Outbox, first: int, count: int, pause: float) -> int:
    for number in range(first, first + count):
        outbox.put(made_event(number))
        time.sleep(pause)
    return first + count


def _soon(path: Path, count: int) -> list[int]:
    """The numbers in a file, once there are so many; those that are there where that takes too long."""
    until = time.monotonic() + _SOON_SECONDS
    while True:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found = _numbers(text[: text.rfind("\n") + 1].splitlines())  # without a line that is being written
        if len(found) >= count or time.monotonic() > until:
            return found
        time.sleep(0.05)


def _numbers(lines: Sequence[str]) -> list[int]:
    return [json.loads(line)["data"]["number"] for line in lines if line]


def _out_of_order(numbers: Sequence[int], *, by_camera: bool = False) -> int:
    """First deliveries that came after a later event's first one; by_camera: as Kafka's partitions keep the order."""
    if by_camera:
        return sum(
            _out_of_order([n for n in numbers if n % _CAMERAS == camera]) for camera in range(_CAMERAS)
        )
    seen: set[int] = set()
    highest, wrong = -1, 0
    for number in numbers:
        if number not in seen:
            wrong += number < highest
            highest = max(highest, number)
            seen.add(number)
    return wrong


class SmallDisk:
    """A folder whose disk can be filled to the last byte: a tmpfs of its own as root, else the kernel's limit of file sizes,
    which fails writes of this process in the same way."""

    def __init__(self, size_bytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sightline-small-disk-"))
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(self.folder)]
        try:
            self.is_mounted = subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            self.is_mounted = False
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def fill(self) -> None:
        """No byte more can be written."""
        if not self.is_mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._limits[1]))
            return
        for step in (4096, 1):
            with contextlib.suppress(OSError), open(self._ballast, "ab", buffering=0) as file:
                while file.write(b"\0" * step) == step:
                    pass

    def free(self) -> None:
        """There is room again."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@contextmanager
def _trickling_receiver() -> Iterator[int]:
    """Reads one byte a second of each connection, and answers one byte a second after the first hundred."""
    ending = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    listener.settimeout(0.2)

    def trickle(connection: socket.socket) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        with connection, contextlib.suppress(OSError):
            connection.settimeout(1.0)
            for number in range(600):
                if ending.wait(1.0) or not connection.recv(1):
                    return
                connection.sendall(answer[number % len(answer) : number % len(answer) + 1])

    def serve() -> None:
        while not ending.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                threading.Thread(target=trickle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        ending.set()
        thread.join(2.0)
        listener.close()
