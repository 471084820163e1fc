# SPDX-License-Identifier: Apache-2.0
"""Each kind of sink with the real thing at the other end: events arrive in order, and outages lose and double nothing."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sightline.clients.events import Outbox
from sightline.clients.events.dead import dead_letters, retry_dead
from sightline.clients.events.settings import (
    FolderSink,
    JsonlSink,
    KafkaSink,
    MqttSink,
    RedisPubSubSink,
    RedisStreamSink,
    SqlSink,
    WebhookSink,
)
from sightline.clients.events.sink import SinkAway, SinkRefuses, sink_from_settings
from sightline.clients.events.sink_mqtt import MqttOut
from sightline.clients.events.sink_redis import RedisStreamOut
from sightline.clients.events.sink_webhook import WebhookOut, webhook_id
from sightline.errors import OutputError
from tests.events_parts import (
    Gate,
    Receiver,
    Server,
    event,
    figures,
    kafka,
    mosquitto,
    numbers,
    outbox,
    receiver,
    small_disk,
    valkey,
    wait_until,
)
from tests.ports import lasting_port
from tests.records_parts import postgres

Documents = list[dict[str, Any]]


def outage(
    folder: Path,
    sink: Any,
    received: Callable[[], Documents],
    away: Callable[[], Any],
    back: Callable[[], Any],
    seen_before: int = 40,
) -> Documents:
    """Events before, during and after an outage; checks that each is there, in order, and returns what arrived."""
    notices: list[str] = []
    with outbox(folder, sink, notice=notices.append) as opened:
        opened.put(*[event(number) for number in range(40)])
        assert opened.drain(120), opened.state()
        assert wait_until(lambda: len(numbers(received())) >= seen_before)
        away()
        for first in range(40, 100, 20):
            opened.put(*[event(number) for number in range(first, first + 20)])
            time.sleep(0.05)
        assert wait_until(lambda: figures(opened, sink.kind)["state"] == "away"), opened.state()
        assert figures(opened, sink.kind)["waiting"] > 0
        back()
        opened.put(*[event(number) for number in range(100, 120)])
        assert opened.drain(120), opened.state()
        told = figures(opened, sink.kind)
        assert (told["delivered"], told["waiting"], told["state"]) == (120, 0, "idle")
    assert wait_until(lambda: len(numbers(received())) == 120)
    found = received()
    assert numbers(found) == list(range(120))
    assert [" is away: " in notices[0], " is back after " in notices[-1]] == [True, True]
    return found


def lines(path: Path) -> Documents:
    with path.open(encoding="utf-8") as file:  # not splitlines(), which knows more line ends than JSON
        return [json.loads(line) for line in file]


# ---- files


def test_jsonl_appends_whole_lines_and_begins_anew_when_large(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"data": {"number": -1}}\n{"half')
    with outbox(tmp_path / "box", JsonlSink(kind="jsonl", path=path, max_bytes=4000)) as opened:
        for number in range(40):
            opened.put(event(number, text="ä\u2028\n"))
            if number % 10 == 9:
                assert opened.drain(120)
        path.rename(tmp_path / "moved-0.jsonl")  # as logrotate does
        opened.put(event(40))
        assert opened.drain(120)
    files = sorted(tmp_path.glob("events-*.jsonl"))
    assert len(files) >= 2
    assert all(file.stat().st_size <= 4000 for file in files)
    read = [document for file in [*files, *tmp_path.glob("moved*"), path] for document in lines(file)]
    assert numbers(read) == list(range(-1, 41))
    assert len(read) == 42


def test_jsonl_waits_for_another_writer_and_a_full_disk(tmp_path: Path) -> None:
    import fcntl

    with small_disk(tmp_path / "disk", 1 << 20) as folder:
        path = folder / "events.jsonl"
        ballast = folder / "ballast"

        def fill() -> None:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                for _ in range(1 << 10):
                    file.write(b"x" * 1024)

        sink = JsonlSink(kind="jsonl", path=path)
        with outbox(tmp_path / "box", sink) as opened:
            opened.put(event(0))
            assert opened.drain(120)
            fill()
            opened.put(*[event(number, text="x" * 9000) for number in range(1, 20)])
            assert wait_until(lambda: figures(opened, "jsonl")["state"] == "away")
            assert (
                "space" in figures(opened, "jsonl")["last_error"]
                or "large" in figures(opened, "jsonl")["last_error"]
            )
            ballast.unlink()
            assert opened.drain(120)
        assert [document["data"]["number"] for document in lines(path)] == list(range(20))
        with path.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(SinkAway, match="another program"):
                sink_from_settings(sink).open()


def test_a_folder_has_one_file_for_each_event(tmp_path: Path) -> None:
    sink = FolderSink(kind="folder", path=tmp_path / "out")
    with outbox(tmp_path / "box", sink) as opened:
        opened.put(event(1), event(2, camera="../..//x\0"), event(1))
        assert opened.drain(120)
    files = sorted((tmp_path / "out").rglob("*"))
    assert [file.parent.name for file in files if file.is_file()] == ["2023-11-14"] * 2
    assert numbers(
        sorted((json.loads(f.read_text()) for f in files if f.is_file()), key=lambda d: d["id"])
    ) == [2, 1]


# ---- databases


def test_sqlite_has_each_event_once(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with outbox(tmp_path / "box", SqlSink(kind="sql", url=f"sqlite:///{path}", table="seen")) as opened:
        opened.put(*[event(number) for number in range(50)], *[event(number) for number in range(30)])
        assert opened.drain(120)
        blocked = sqlite3.connect(path, isolation_level=None)
        blocked.execute("BEGIN EXCLUSIVE")
        opened.put(event(50))
        time.sleep(0.2)
        blocked.execute("COMMIT")
        assert opened.drain(120)
        rows = blocked.execute("SELECT data, rule, camera FROM seen ORDER BY time").fetchall()
        blocked.close()
    assert [json.loads(row[0])["number"] for row in rows] == list(range(51))
    assert rows[0][1:] == ("fence", "gate")


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, str]]:
    with postgres() as running:
        yield running


def test_postgresql_has_each_event_once_over_a_broken_connection(
    database: tuple[str, str], tmp_path: Path
) -> None:
    import psycopg

    url, password = database

    def received() -> Documents:
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT data FROM sightline_events ORDER BY time").fetchall()
        return [{"data": row[0]} for row in found]

    def away() -> None:
        admin.execute("ALTER DATABASE postgres WITH ALLOW_CONNECTIONS true CONNECTION LIMIT 0")
        admin.execute("ALTER ROLE watcher NOLOGIN")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sightline events'"
        )

    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE watcher LOGIN PASSWORD '{password}'")
        admin.execute("GRANT CREATE, USAGE ON SCHEMA public TO watcher")
        sink = SqlSink(kind="sql", url=url.replace("sightline:", "watcher:"))
        found = outage(tmp_path, sink, received, away, lambda: reset(admin))
    assert len(found) == 120


def reset(admin: Any) -> None:
    admin.execute("ALTER DATABASE postgres WITH CONNECTION LIMIT -1")
    admin.execute("ALTER ROLE watcher LOGIN")


def test_postgresql_refuses_a_poison_event_only(database: tuple[str, str], tmp_path: Path) -> None:
    import psycopg

    sink = SqlSink(kind="sql", url=database[0], table="poisoned")
    with outbox(tmp_path, sink) as opened:
        opened.put(event(1), event(2, text="a NUL \0 that JSONB cannot hold"), event(3))
        assert opened.drain(120)
        assert (figures(opened, "sql")["delivered"], figures(opened, "sql")["refused"]) == (2, 1)
        assert database[1] not in json.dumps(opened.state())
    with psycopg.connect(database[0]) as connection:
        rows = connection.execute("SELECT data ->> 'number' FROM poisoned ORDER BY time").fetchall()
    assert rows == [("1",), ("3",)]
    (dead,) = dead_letters(tmp_path)["sql"]
    assert dead["event"]["data"]["number"] == 2


# ---- Redis


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    with valkey(tmp_path) as running:
        yield running


def entries(server: Server, stream: str = "sightline:events") -> Documents:
    import redis

    with redis.Redis(port=server.port) as client:
        return [json.loads(fields[b"event"]) for _, fields in client.xrange(stream)]


def test_a_redis_stream_has_each_event_once_over_kills(redis: Server, tmp_path: Path) -> None:
    sink = RedisStreamSink(kind="redis_stream", url=f"redis://127.0.0.1:{redis.port}/0")
    found = outage(tmp_path / "box", sink, lambda: entries(redis), redis.kill, redis.start)
    assert len(found) == 120  # those whose acknowledgement was lost were not added again


def test_a_redis_stream_keeps_to_its_length_and_knows_what_it_has(redis: Server, tmp_path: Path) -> None:
    sink = RedisStreamSink(
        kind="redis_stream", url=f"redis://127.0.0.1:{redis.port}", stream="s", max_length=200
    )
    with outbox(tmp_path / "box", sink) as opened:
        for first in range(0, 1000, 200):
            opened.put(*[event(number) for number in range(first, first + 200)])
        assert opened.drain(120)
    assert 200 <= len(entries(redis, "s")) < 600
    again = sink_from_settings(sink)
    again.open()
    again.send([event(number) for number in range(990, 1010)])  # as after a lost acknowledgement
    again.close()
    assert [document["data"]["number"] for document in entries(redis, "s")][-21:] == list(range(989, 1010))


def test_redis_passwords_stay_hidden(tmp_path: Path) -> None:
    with valkey(tmp_path, "--requirepass", "hush-hush-42") as server:
        url = f"redis://:wrong-hush-43@127.0.0.1:{server.port}"
        with outbox(tmp_path / "box", RedisStreamSink(kind="redis_stream", url=url)) as opened:
            opened.put(event(1))
            assert wait_until(lambda: figures(opened, "redis_stream")["state"] == "away")
            assert "hush" not in json.dumps(opened.state()["sinks"][0]["last_error"])
            opened.reconfigure(
                [RedisStreamSink(kind="redis_stream", url=url.replace("wrong-hush-43", "hush-hush-42"))]
            )
            assert opened.drain(120)


def test_redis_pubsub_is_labelled_lossy(redis: Server, tmp_path: Path) -> None:
    import redis as library

    sink = RedisPubSubSink(kind="redis_pubsub", url=f"redis://127.0.0.1:{redis.port}", channel="c")
    with (
        library.Redis(port=redis.port) as client,
        client.pubsub() as listener,
        outbox(tmp_path / "box", sink) as opened,
    ):
        opened.put(event(1))  # nobody listens
        assert opened.drain(120)
        listener.subscribe("c")
        assert listener.get_message(timeout=60)
        opened.put(event(2))
        message = listener.get_message(timeout=60, ignore_subscribe_messages=True)
        assert message is not None
        assert json.loads(message["data"])["data"]["number"] == 2
        assert figures(opened, "redis_pubsub")["lossy"] is True


# ---- MQTT


class Subscriber:
    """An MQTT client with a session that the broker keeps."""

    def __init__(self, port: int) -> None:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.documents: Documents = []
        self.topics: list[str] = []
        self.ids: list[str] = []
        self.ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "test", protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self.ready.set()
        self._client.on_message = self._take
        self._client.reconnect_delay_set(0.05, 0.2)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, properties=session)
        self._client.loop_start()
        assert self.ready.wait(120)

    def _take(self, client: Any, data: Any, message: Any) -> None:
        self.documents.append(json.loads(message.payload))
        self.topics.append(message.topic)
        properties = getattr(message, "properties", None)
        self.ids += [value for name, value in getattr(properties, "UserProperty", []) if name == "id"]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_mqtt_loses_nothing_while_the_broker_is_away(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        subscriber = Subscriber(broker.port)
        gate = Gate(
            broker.port
        )  # the subscriber is there before the sink: else nobody would get what is published

        def away() -> None:
            gate.shut()
            broker.stop()
            subscriber.ready.clear()

        def back() -> None:
            broker.start()
            assert subscriber.ready.wait(120)
            gate.open()

        sink = MqttSink(kind="mqtt", url=f"mqtt://127.0.0.1:{gate.port}", topic="s/{camera}/{type}")
        found = outage(tmp_path / "box", sink, lambda: subscriber.documents, away, back)
        gate.shut()
        subscriber.close()
    assert set(subscriber.topics) == {"s/gate/sightline.line.crossed"}
    assert list(dict.fromkeys(subscriber.ids)) == list(dict.fromkeys(document["id"] for document in found))


def test_mqtt_refuses_what_is_too_large_and_cleans_topics(tmp_path: Path) -> None:
    with mosquitto(tmp_path, "max_packet_size 20000") as broker:
        subscriber = Subscriber(broker.port)
        sink = MqttSink(kind="mqtt", url=f"mqtt://127.0.0.1:{broker.port}", topic="s/{camera}")
        with outbox(tmp_path / "box", sink) as opened:
            opened.put(event(1), event(2, text="x" * 30_000), event(3, camera="a/b+#"))
            assert opened.drain(120)
            assert (figures(opened, "mqtt")["delivered"], figures(opened, "mqtt")["refused"]) == (2, 1)
            assert wait_until(lambda: len(subscriber.topics) == 2)
        subscriber.close()
    assert subscriber.topics == ["s/gate", "s/a_b__"]
    assert "20000" in dead_letters(tmp_path / "box")["mqtt"][0]["reason"]


def test_an_old_acknowledgement_stands_for_no_new_event() -> None:
    """Packet numbers are used again after 65535, which takes a real broker long."""
    sink = MqttOut(MqttSink(kind="mqtt", url="mqtt://127.0.0.1:1", topic="s"))
    sink._client = SimpleNamespace(publish=lambda *_, **__: SimpleNamespace(rc=0, mid=7))
    sink._answers[7] = 0
    sink.interrupt()
    with pytest.raises(SinkAway, match="no acknowledgement"):
        sink.send([event(1)])


# ---- Kafka


def consumed(servers: str, topic: str, least: int) -> Documents:
    import confluent_kafka as kafka_client

    consumer = kafka_client.Consumer({"bootstrap.servers": servers, "group.id": "test", "log_level": 0})
    found: Documents = []
    try:
        partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
        consumer.assign([kafka_client.TopicPartition(topic, one, 0) for one in partitions])
        end = time.monotonic() + 120
        while time.monotonic() < end and len({one["id"] for one in found}) < least:
            for message in consumer.consume(100, timeout=0.5):
                if message.error() is None:
                    assert message.key() == json.loads(message.value())["data"]["camera"].encode()
                    found.append(json.loads(message.value()))
    finally:
        consumer.close()
    return found


def test_kafka_loses_nothing_while_the_brokers_hang(tmp_path: Path) -> None:
    thawed = threading.Event()
    with kafka() as (servers, process):
        sink = KafkaSink(kind="kafka", brokers=servers, topic="t", options={"socket.timeout.ms": "1000"})
        import sightline.clients.events.sink_kafka as module

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "ANSWER_SECONDS", 1.0)
            outage(
                tmp_path,
                sink,
                lambda: consumed(servers, "t", 120) if thawed.is_set() else [],
                lambda: os.kill(process.pid, 19),
                lambda: thawed.set() or os.kill(process.pid, 18),
                seen_before=0,
            )


def test_kafka_refuses_what_is_too_large(tmp_path: Path) -> None:
    with kafka() as (servers, _):
        sink = KafkaSink(kind="kafka", brokers=servers, topic="t", options={"message.max.bytes": "2000"})
        with outbox(tmp_path, sink) as opened:
            opened.put(event(1), event(2, text="x" * 4000), event(3, camera="yard"))
            assert opened.drain(120), opened.state()
            assert (figures(opened, "kafka")["delivered"], figures(opened, "kafka")["refused"]) == (2, 1)
        assert sorted(numbers(consumed(servers, "t", 2))) == [1, 3]
    with pytest.raises(OutputError, match="options of a Kafka sink"):
        sink_from_settings(KafkaSink(kind="kafka", brokers=servers, options={"no.such.option": "1"}))


# ---- webhooks


def test_a_webhook_is_signed_as_the_standard_says(tmp_path: Path) -> None:
    key = b"0123456789abcdef01234567"
    with receiver() as server:
        url = f"http://user:pass-word-9@127.0.0.1:{server.port}/hook?x=1"
        secret = "whsec_" + base64.b64encode(key).decode()
        sink = WebhookSink(kind="webhook", url=url, secret=secret, timeout_seconds=60)
        with outbox(tmp_path, sink) as opened:
            opened.put(event(1), event(2))
            assert opened.drain(120)
        for body, headers in zip(server.bodies, server.headers, strict=True):
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
            assert headers["webhook-signature"] == f"v1,{mac}"
            assert abs(int(headers["webhook-timestamp"]) - time.time()) < 300
            assert headers["content-type"].startswith("application/cloudevents+json")
            assert headers["authorization"] == "Basic " + base64.b64encode(b"user:pass-word-9").decode()
        assert [headers["webhook-id"] for headers in server.headers] == [
            webhook_id(event(1)),
            webhook_id(event(2)),
        ]
    with pytest.raises(OutputError, match="not base64"):
        sink_from_settings(WebhookSink(kind="webhook", url=url, secret="whsec_###"))


def test_a_webhook_that_is_away_gets_all_in_order(tmp_path: Path) -> None:
    servers = [Receiver(port=lasting_port())]
    port, earlier = servers[0].port, []

    def back() -> None:
        servers[0] = Receiver(port=port)

    def away() -> None:
        earlier.extend(servers[0].bodies)
        servers[0].close()

    def received() -> Documents:
        return [json.loads(body) for body in [*earlier, *(servers[0].bodies if port else [])]]

    sink = WebhookSink(kind="webhook", url=f"http://127.0.0.1:{port}/")
    found = outage(tmp_path, sink, received, away, back)
    servers[0].close()
    assert len(found) >= 120


def test_a_webhook_refuses_and_is_asked_again_later(tmp_path: Path) -> None:
    asked: list[int] = []

    def answer(body: bytes) -> int:
        number = json.loads(body)["data"]["number"]
        asked.append(number)
        if number == 2:
            return 422 if refusing.is_set() else 200
        again = asked.count(number) == 1
        return {3: 429, 4: 503, 5: 408, 6: 302}.get(number, 204) if again else 204

    refusing = threading.Event()
    refusing.set()
    with receiver() as server:
        server.answer = answer
        server.extra = {"Location": "http://127.0.0.1:1/elsewhere"}
        url = f"http://127.0.0.1:{server.port}"
        with outbox(tmp_path, WebhookSink(kind="webhook", url=url, timeout_seconds=60)) as opened:
            opened.put(*[event(number) for number in range(1, 8)])
            assert opened.drain(120)
            assert asked == [1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7]
            (dead,) = dead_letters(tmp_path)["webhook"]
            assert (dead["reason"], dead["event"]["data"]["number"]) == ("webhook: answered 422", 2)
            refusing.clear()
            assert retry_dead(tmp_path, "webhook") == 1
            assert wait_until(lambda: asked[-1] == 2)
            assert wait_until(lambda: figures(opened, "webhook")["delivered"] == 7)
            assert wait_until(lambda: dead_letters(tmp_path) == {})
        assert dead_letters(tmp_path) == {}
        with pytest.raises(OutputError, match="refused no events"):
            retry_dead(tmp_path, "webhook")


def test_a_webhook_checks_certificates(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=elsewhere",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    with receiver(certificate=certificate, key=key) as server:
        url = f"https://127.0.0.1:{server.port}/"
        unknown = sink_from_settings(WebhookSink(kind="webhook", url=url))
        with pytest.raises(SinkAway, match=r"(?i)certificate"):
            unknown.open()
        unknown.close()
        wrong_name = sink_from_settings(
            WebhookSink(kind="webhook", url=url.replace("127.0.0.1", "localhost"), ca_file=certificate)
        )
        with pytest.raises(SinkAway):
            wrong_name.open()
        wrong_name.close()
        sink = WebhookSink(kind="webhook", url=url, ca_file=certificate, timeout_seconds=60)
        with outbox(tmp_path / "box", sink) as opened:
            opened.put(event(1))
            assert opened.drain(120)
        assert len(server.bodies) == 1


class Trickle:
    """Accepts connections and answers one byte a second, or never reads at all."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        self._socket.settimeout(0.05)
        while not self._stop.is_set():
            try:
                accepted, _ = self._socket.accept()
            except TimeoutError:
                accepted = None
            if accepted is not None:
                self._open.append(accepted)
            for one in list(self._open):
                try:
                    one.send(b"H")
                except OSError:
                    self._open.remove(one)
                    one.close()
            self._stop.wait(0.5)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for one in [*self._open, self._socket]:
            one.close()


def test_a_consumer_at_one_byte_a_second_holds_up_nobody(tmp_path: Path) -> None:
    slow = Trickle()
    path = tmp_path / "events.jsonl"
    sinks = [
        WebhookSink(kind="webhook", url=f"http://127.0.0.1:{slow.port}/", timeout_seconds=1.0),
        JsonlSink(kind="jsonl", path=path),
    ]
    opened = Outbox(tmp_path / "box", None, sinks)
    try:
        for number in range(100):
            opened.put(event(number, text="x" * 2000))
        assert wait_until(lambda: figures(opened, "jsonl")["delivered"] == 100)
        assert wait_until(lambda: figures(opened, "webhook")["state"] == "away")
        assert figures(opened, "webhook")["waiting"] == 100
        assert figures(opened, "webhook")["last_error"] is not None
    finally:
        began = time.monotonic()
        opened.close(0.2)
        slow.close()
    assert time.monotonic() - began < 30
    assert numbers(lines(path)) == list(range(100))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (SqlSink(kind="sql", url="mysql://x/y"), "sqlite:///FILE"),
        (MqttSink(kind="mqtt", url="http://x"), "mqtt://host"),
        (MqttSink(kind="mqtt", url="mqtt://host:port"), "mqtt://host"),
        (WebhookSink(kind="webhook", url="ftp://x"), "https://host"),
        (WebhookSink(kind="webhook", url="https://x", ca_file=Path("/nowhere.pem")), "cannot be read"),
        (RedisStreamSink(kind="redis_stream", url="nonsense"), "Redis sink"),
    ],
)
def test_settings_that_cannot_work_are_told_at_once(settings: Any, reason: str) -> None:
    with pytest.raises(OutputError, match=reason):
        sink_from_settings(settings)


def test_a_dead_address_is_away_not_an_error() -> None:
    for settings in (
        RedisStreamSink(kind="redis_stream", url="redis://127.0.0.1:1"),
        MqttSink(kind="mqtt", url="mqtt://127.0.0.1:1"),
        WebhookSink(kind="webhook", url="http://127.0.0.1:1"),
        SqlSink(kind="sql", url="postgresql://u:secret-word@127.0.0.1:1/d"),
        FolderSink(kind="folder", path=Path("/dev/null/x")),
        JsonlSink(kind="jsonl", path=Path("/dev/null/x")),
        SqlSink(kind="sql", url="sqlite:////dev/null/x"),
    ):
        sink = sink_from_settings(settings)
        with pytest.raises(SinkAway) as caught:
            sink.open()
        sink.interrupt()
        sink.close()
        assert "secret-word" not in str(caught.value)


def test_refusals_say_how_many_arrived() -> None:
    with receiver() as server:
        server.answer = lambda body: 400 if json.loads(body)["data"]["number"] == 2 else 204
        sink = WebhookOut(WebhookSink(kind="webhook", url=f"http://127.0.0.1:{server.port}"))
        sink.open()
        with pytest.raises(SinkRefuses) as caught:
            sink.send([event(number) for number in range(5)])
        sink.close()
        assert caught.value.done == 2


def test_redis_over_tls_checks_the_name_of_its_host() -> None:
    for url, checked in (("rediss://host/0", True), ("redis://host/0", None)):
        sink = RedisStreamOut(RedisStreamSink(kind="redis_stream", url=url, stream="s"))
        assert sink._client.connection_pool.connection_kwargs.get("ssl_check_hostname") is checked
