# SPDX-License-Identifier: Apache-2.0
"""What a sink is, and the sink of each kind of settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from sightline.clients.events import settings as kinds
from sightline.clients.events.event import Event
from sightline.redact import redact


class SinkAway(Exception):  # noqa: N818 - a state, not a mistake
    """The sink cannot take events now: tried again, from the first event that is not known to have arrived.

    done: events of the batch, from its first, that have arrived. after_seconds: what the sink asked for.
    """

    def __init__(self, reason: str, *, done: int = 0, after_seconds: float | None = None) -> None:
        super().__init__(redact(" ".join(reason.split()))[:300])
        self.done, self.after_seconds = done, after_seconds


class SinkRefuses(Exception):  # noqa: N818 - a state, not a mistake
    """The sink will never take event number `done` of the batch; those before it have arrived."""

    def __init__(self, reason: str, *, done: int = 0) -> None:
        super().__init__(redact(" ".join(reason.split()))[:300])
        self.done = done


class Sink(Protocol):
    """Where events are delivered to; used by one thread, but for `interrupt`.

    Made without touching network or disk; raises MissingDependencyError where its library is not installed.
    lossy: an event that was sent may never arrive. batch: most events of one send().
    """

    lossy: bool
    batch: int

    def open(self) -> None:
        """Connect. Raises SinkAway."""

    def send(self, events: Sequence[Event]) -> None:
        """Deliver in order; all have arrived when it returns. Raises SinkAway, SinkRefuses; bounded in time.

        After SinkAway it is closed and opened anew.
        """

    def close(self) -> None:
        """Disconnect; also where open() failed. Never raises."""

    def interrupt(self) -> None:
        """From another thread: a send() in progress ends soon. Never raises."""


def json_text(event: Event) -> str:
    """The event as one line of JSON; valid UTF-8 whatever its texts hold. Raises ValueError for NaN and the like."""
    document = event.to_dict()
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(document, separators=(",", ":"), allow_nan=False, default=_plain)
    return text


def _plain(value: Any) -> Any:
    """A plain value of numpy's scalars and arrays, paths, tuples and sets."""
    for name in ("tolist", "item"):
        if hasattr(value, name):
            return getattr(value, name)()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise ValueError(f"an event's data holds a {type(value).__name__}; only plain values can be sent")


def sink_from_settings(settings: kinds.Sink) -> Sink:
    """The sink. Raises OutputError for settings that cannot work, MissingDependencyError for a missing library."""
    from sightline.clients.events import sink_files, sink_kafka, sink_mqtt, sink_redis, sink_sql, sink_webhook

    makers: dict[str, Any] = {
        "jsonl": sink_files.LinesOut,
        "folder": sink_files.FolderOut,
        "sql": sink_sql.sql_out,
        "redis_stream": sink_redis.RedisStreamOut,
        "redis_pubsub": sink_redis.RedisPubSubOut,
        "kafka": sink_kafka.KafkaOut,
        "mqtt": sink_mqtt.MqttOut,
        "webhook": sink_webhook.WebhookOut,
    }
    made: Sink = makers[settings.kind](settings)
    return made
