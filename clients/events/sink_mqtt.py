# SPDX-License-Identifier: Apache-2.0
"""A sink in an MQTT broker, quality of service 1: each event is acknowledged (PUBACK)."""

from __future__ import annotations

import contextlib
import importlib
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from sightline.clients.events.event import Event
from sightline.clients.events.settings import MqttSink
from sightline.clients.events.sink import SinkAway, SinkRefuses, json_text
from sightline.errors import MissingDependencyError, OutputError
from sightline.redact import hide

ANSWER_SECONDS = 10.0
KEEPALIVE_SECONDS = 20
_OLD_VERSION = (
    1,
    132,
)  # CONNACK: "unacceptable protocol version" of version 3.1.1, "unsupported" of version 5
_REFUSALS = (0x90, 0x95, 0x99)  # PUBACK: topic name invalid, packet too large, payload format invalid


class MqttOut:
    """MQTT 5 where the broker speaks it, else 3.1.1. The payload is the CloudEvent; in version 5 its id is a user
    property as well. An event whose acknowledgement was lost is published again: consumers tell it by its id.
    """

    lossy = False
    batch = 50  # below what brokers take at once (receive maximum)

    def __init__(self, settings: MqttSink) -> None:
        try:
            self._mqtt: Any = importlib.import_module("paho.mqtt.client")
        except ImportError:
            raise MissingDependencyError(
                "an MQTT sink needs paho-mqtt; pip install 'sightline[events]'"
            ) from None
        self._topic = settings.topic
        try:
            parts = urlsplit(settings.url)
            self._host, port = parts.hostname or "", parts.port
        except ValueError:
            raise OutputError("the url of an MQTT sink is wrong; write mqtt://host:port") from None
        if parts.scheme not in ("mqtt", "mqtts") or not self._host:
            raise OutputError(
                f"an MQTT sink speaks {parts.scheme!r}; write mqtt://host:port or mqtts://host:port"
            )
        self._port = port or (8883 if parts.scheme == "mqtts" else 1883)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        hide(self._password or "")
        self._tls = ssl.create_default_context() if parts.scheme == "mqtts" else None
        if self._tls is not None and settings.ca_file is not None:
            try:
                self._tls.load_verify_locations(settings.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise OutputError(f"the certificates {settings.ca_file} cannot be read: {error}") from None
        self._client: Any = None
        self._version: Any = self._mqtt.MQTTv5
        self._max_packet = 0
        self._answered = threading.Condition()
        self._answers: dict[int, int] = {}
        self._connected: int | None = None  # reason code of the broker
        self._gone = False

    def open(self) -> None:
        """Connect. Raises SinkAway."""
        self._connect()
        if self._connected in _OLD_VERSION and self._version == self._mqtt.MQTTv5:
            self.close()
            self._version = self._mqtt.MQTTv311
            self._connect()
        if self._connected != 0:
            code = self._connected
            raise SinkAway("MQTT: no answer" if code is None else f"MQTT: the broker refuses (code {code})")

    def _connect(self) -> None:
        self._answers, self._connected, self._gone = {}, None, False
        client = self._client = self._mqtt.Client(
            importlib.import_module("paho.mqtt.enums").CallbackAPIVersion.VERSION2,
            protocol=self._version,
            reconnect_on_failure=False,  # which would send again behind our back
        )
        client.connect_timeout = ANSWER_SECONDS
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish = self._on_publish
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        try:
            client.connect(self._host, self._port, keepalive=KEEPALIVE_SECONDS)
        except (OSError, ValueError) as error:
            raise SinkAway(f"MQTT: {error}") from None
        client.loop_start()
        self._wait(lambda: self._connected is not None)

    def send(self, events: Sequence[Event]) -> None:
        """Publish in order and wait for all acknowledgements. Raises SinkAway, SinkRefuses."""
        sent: list[int] = []
        too_large = False
        with self._answered:  # numbers are used again: an old answer must not stand for a new event
            self._answers.clear()
        for event in events:
            topic, payload = self._topic_of(event), json_text(event).encode()
            too_large = 0 < self._max_packet < len(topic.encode()) + len(payload) + len(event.id) + 64
            if too_large:
                break
            sent.append(self._publish(topic, payload, event, len(sent)))
        self._wait(lambda: all(mid in self._answers for mid in sent))
        for number, mid in enumerate(sent):
            code = self._answers.pop(mid, None)
            if code in _REFUSALS:
                raise SinkRefuses(f"MQTT: the broker refuses the event (code {code})", done=number)
            if code is None or code >= 0x80:
                reason = "no acknowledgement" if code is None else f"the broker answered with code {code}"
                raise SinkAway(f"MQTT: {reason}", done=number)
        if too_large:
            raise SinkRefuses(
                f"MQTT: the broker takes packets of at most {self._max_packet} bytes", done=len(sent)
            )

    def _publish(self, topic: str, payload: bytes, event: Event, done: int) -> int:
        properties = None
        if self._version == self._mqtt.MQTTv5:
            packets = importlib.import_module("paho.mqtt.packettypes").PacketTypes
            properties = importlib.import_module("paho.mqtt.properties").Properties(packets.PUBLISH)
            properties.ContentType = "application/cloudevents+json"
            properties.UserProperty = [("id", _valid(event.id)), ("source", _valid(event.source))]
        try:
            info = self._client.publish(topic, payload, qos=1, properties=properties)
        except ValueError as error:
            raise SinkRefuses(f"MQTT: {error}", done=done) from None
        if info.rc != 0:
            raise SinkAway("MQTT: the connection broke")
        return int(info.mid)

    def _topic_of(self, event: Event) -> str:
        """The topic; characters that have a meaning in topics are replaced."""
        return self._topic.replace("{camera}", _level(event.camera)).replace("{type}", _level(event.type))

    def _wait(self, finished: Any) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        with self._answered:
            while not finished() and not self._gone and (left := deadline - time.monotonic()) > 0:
                self._answered.wait(left)

    # ---- called on paho's thread

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._answered:
            self._connected = int(reason.value)
            self._max_packet = int(getattr(properties, "MaximumPacketSize", 0) or 0)
            self._answered.notify_all()

    def _on_publish(self, client: Any, data: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._answered:
            self._answers[mid] = int(reason.value)
            self._answered.notify_all()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._answered:
            self._gone = client is self._client
            self._answered.notify_all()

    def close(self) -> None:
        """Disconnect; what was not acknowledged is forgotten here and sent again by the next client."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.disconnect()
            with contextlib.suppress(Exception):
                client.loop_stop()

    def interrupt(self) -> None:
        """Do not wait for acknowledgements any more."""
        with self._answered:
            self._gone = True
            self._answered.notify_all()


def _level(text: str) -> str:
    """Fit for one level of a topic."""
    return "".join("_" if c in "+#/\0" or not c.isprintable() else c for c in text) or "_"


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "")
