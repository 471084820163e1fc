# SPDX-License-Identifier: Apache-2.0
"""A sink in Kafka, through librdkafka: acknowledged by all replicas, in order for each camera."""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from sightline.clients.events.event import Event
from sightline.clients.events.settings import KafkaSink
from sightline.clients.events.sink import SinkAway, SinkRefuses, json_text
from sightline.errors import MissingDependencyError, OutputError
from sightline.redact import hide

ANSWER_SECONDS = 20.0
_SECRET_OPTIONS = ("password", "secret", "key", "jaas", "token")


class KafkaOut:
    """Messages in CloudEvents' structured form; the key is the camera, headers hold id, source and type.

    A batch is waited for. What is not acknowledged in time is taken back and the producer is made anew, so that the
    next attempt begins at the first event that has not arrived.
    """

    lossy = False
    batch = 500

    def __init__(self, settings: KafkaSink) -> None:
        try:
            self._kafka: Any = importlib.import_module("confluent_kafka")
        except ImportError:
            raise MissingDependencyError(
                "a Kafka sink needs confluent-kafka; pip install 'sightline[events]'"
            ) from None
        self._topic, self._last_error = settings.topic, ""
        for name, value in settings.options.items():
            if any(part in name for part in _SECRET_OPTIONS):
                hide(value)
        silent = logging.getLogger("sightline.kafka")
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        self._options = {
            "linger.ms": "5",
            "socket.timeout.ms": "10000",
            **settings.options,
            "bootstrap.servers": settings.brokers,
            "acks": "all",
            "enable.idempotence": "true",
            "message.timeout.ms": str(round(ANSWER_SECONDS * 4000)),
            "error_cb": self._failed,
            "logger": silent,
        }
        self._producer: Any = None
        self._interrupted = threading.Event()
        try:
            self._make()
        except self._kafka.KafkaException as error:
            raise OutputError(f"the options of a Kafka sink are wrong: {_text(error)}") from None
        self.close()

    def _make(self) -> Any:
        self._producer = self._kafka.Producer(dict(self._options))
        return self._producer

    def _failed(self, error: Any) -> None:
        self._last_error = error.str()

    def open(self) -> None:
        """Look for the brokers. Raises SinkAway."""
        producer = self._make()
        try:
            producer.list_topics(self._topic, timeout=10.0)
        except self._kafka.KafkaException as error:
            raise SinkAway(f"Kafka: {self._last_error or _text(error)}") from None

    def send(self, events: Sequence[Event]) -> None:
        """Produce in order and wait for all acknowledgements. Raises SinkAway, SinkRefuses."""
        if self._producer is None:
            raise SinkAway("Kafka: the producer is closed")
        reports: dict[int, Any] = {}
        refused = None
        for number, event in enumerate(events):
            refused = self._produce(number, event, reports)
            if refused is not None:
                break
        wanted = len(events) if refused is None else number
        self._wait(reports, wanted)
        done = next((n for n in range(wanted) if reports.get(n, True) is not None), wanted)
        if done < wanted:
            self._not_arrived(reports.get(done), done)
        if refused is not None:
            raise SinkRefuses(f"Kafka: {refused}", done=done)

    def _produce(self, number: int, event: Event, reports: dict[int, Any]) -> str | None:
        """Hand a message to librdkafka; why it will never take it, or None."""
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    json_text(event).encode(),
                    key=event.camera.encode("utf-8", "replace"),
                    headers=_headers(event),
                    on_delivery=lambda error, _: reports.__setitem__(number, error),
                )
                return None
            except BufferError:
                if self._interrupted.is_set():
                    raise SinkAway("interrupted") from None
                self._producer.poll(0.1)
            except self._kafka.KafkaException as error:
                if error.args[0].code() in self._refusals():
                    return _text(error)
                raise SinkAway(f"Kafka: {_text(error)}") from None

    def _wait(self, reports: dict[int, Any], wanted: int) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while len(reports) < wanted and time.monotonic() < deadline and not self._interrupted.is_set():
            self._producer.poll(0.05)

    def _not_arrived(self, error: Any, done: int) -> None:
        if error is not None and error.code() in self._refusals():
            raise SinkRefuses(f"Kafka: {error.str()}", done=done)
        reason = error.str() if error is not None else self._last_error or "no acknowledgement in time"
        raise SinkAway(f"Kafka: {reason}", done=done)

    def _refusals(self) -> tuple[int, ...]:
        codes = self._kafka.KafkaError
        return codes.MSG_SIZE_TOO_LARGE, codes.INVALID_MSG, codes._INVALID_ARG

    def close(self) -> None:
        """Take back what was not acknowledged and let the producer go."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(Exception):
                producer.purge()
                producer.flush(1.0)

    def interrupt(self) -> None:
        """Do not wait for acknowledgements any more."""
        self._interrupted.set()


def _headers(event: Event) -> list[tuple[str, bytes]]:
    texts = {"ce_id": event.id, "ce_source": event.source, "ce_type": event.type}
    content = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    return content + [(name, text.encode("utf-8", "replace")) for name, text in texts.items()]


def _text(error: Exception) -> str:
    inner = error.args[0] if error.args else error
    return str(inner.str()) if hasattr(inner, "str") else str(inner)
