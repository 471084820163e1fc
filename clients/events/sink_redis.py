# SPDX-License-Identifier: Apache-2.0
"""Sinks in Redis or Valkey: a stream that loses nothing, and a channel that does."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Sequence
from typing import Any

from sightline.clients.events.event import Event
from sightline.clients.events.settings import RedisPubSubSink, RedisStreamSink
from sightline.clients.events.sink import SinkAway, json_text
from sightline.errors import MissingDependencyError, OutputError

TIMEOUT_SECONDS = 10.0
_LOOK_BACK = 1000  # entries; more than a batch


class _RedisOut:
    """A connection that does not retry by itself: what was sent twice would not be known."""

    batch = 200

    def __init__(self, url: str) -> None:
        try:
            self._redis: Any = importlib.import_module("redis")
        except ImportError:
            raise MissingDependencyError(
                "a Redis sink needs redis; pip install 'sightline[events]'"
            ) from None
        self._url = url
        try:
            self._client: Any = self._make()
        except ValueError as error:
            raise OutputError(f"the url of a Redis sink is wrong: {error}") from None

    def _make(self) -> Any:
        retry = importlib.import_module("redis.retry").Retry(
            importlib.import_module("redis.backoff").NoBackoff(), 0
        )
        return self._redis.Redis.from_url(
            self._url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=retry,
            decode_responses=False,
            **host_checked(self._url),
        )

    def open(self) -> None:
        """Connect. Raises SinkAway."""
        try:
            self._client.ping()
        except (self._redis.RedisError, OSError) as error:
            raise SinkAway(_reason(error)) from None

    def _run(self, pipeline: Any, done_before: int = 0) -> None:
        """Send all commands at once. Raises SinkAway from the first one that failed."""
        try:
            answers = pipeline.execute(raise_on_error=False)
        except (self._redis.RedisError, OSError) as error:
            raise SinkAway(_reason(error), done=done_before) from None
        for number, answer in enumerate(answers):
            if isinstance(answer, Exception):
                raise SinkAway(_reason(answer), done=done_before + number)

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(Exception):
            self._client.close()
            self._client.connection_pool.disconnect()

    def interrupt(self) -> None:
        """Disconnect under the feet of a send()."""
        with contextlib.suppress(Exception):
            self._client.connection_pool.disconnect()


class RedisStreamOut(_RedisOut):
    """XADD KEY MAXLEN ~ N * id … source … type … time … event JSON.

    After each connect the newest entries are looked at, so that events whose acknowledgement was lost are not added
    again. Where other writers push them out of sight they are: consumers tell them by their `source` and `id`.
    """

    lossy = False

    def __init__(self, settings: RedisStreamSink) -> None:
        super().__init__(settings.url)
        self._stream, self._max_length = settings.stream, settings.max_length
        self._unsure = True

    def open(self) -> None:
        """Connect. Raises SinkAway."""
        super().open()
        self._unsure = True

    def send(self, events: Sequence[Event]) -> None:
        """Add entries in order. Raises SinkAway."""
        there = self._there(events) if self._unsure else 0
        if there < len(events):
            pipeline = self._client.pipeline(transaction=False)
            for event in events[there:]:
                pipeline.xadd(self._stream, _fields(event), maxlen=self._max_length or None, approximate=True)
            self._run(pipeline, there)
        self._unsure = False

    def _there(self, events: Sequence[Event]) -> int:
        """How many of the events, from the first, are in the stream already."""
        try:
            entries = self._client.xrevrange(self._stream, count=_LOOK_BACK)
        except (self._redis.RedisError, OSError) as error:
            raise SinkAway(_reason(error)) from None
        known = {(fields.get(b"source"), fields.get(b"id")) for _, fields in entries}
        for number, event in enumerate(events):
            fields = _fields(event)
            if (fields["source"], fields["id"]) not in known:
                return number
        return len(events)


class RedisPubSubOut(_RedisOut):
    """PUBLISH CHANNEL JSON. Lossy: who does not listen at that moment never gets it."""

    lossy = True

    def __init__(self, settings: RedisPubSubSink) -> None:
        super().__init__(settings.url)
        self._channel = settings.channel

    def send(self, events: Sequence[Event]) -> None:
        """Publish in order. Raises SinkAway."""
        pipeline = self._client.pipeline(transaction=False)
        for event in events:
            pipeline.publish(self._channel, json_text(event).encode())
        self._run(pipeline)


def host_checked(url: str) -> dict[str, bool]:
    """Options of a client that make it compare the host's name with the certificate, which old versions do not."""
    return {"ssl_check_hostname": True} if url.startswith("rediss:") and "ssl_cert_reqs" not in url else {}


def _fields(event: Event) -> dict[str, bytes]:
    texts = {"id": event.id, "source": event.source, "type": event.type, "time": event.time}
    fields = {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    return {**fields, "event": json_text(event).encode()}


def _reason(error: BaseException) -> str:
    return f"Redis: {error}" if str(error) else f"Redis: {type(error).__name__}"
