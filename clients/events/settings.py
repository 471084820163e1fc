# SPDX-License-Identifier: Apache-2.0
"""Where events go, as a person writes it: the spool, the sinks, and the pictures and clips that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SINK_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Sink(_Settings):
    name: str = Field(
        default="", pattern=SINK_NAME + "|^$", description="shown in figures; left out: its kind"
    )
    types: tuple[str, ...] = Field(
        default=(),
        description="event types that go there, with * at the end for all of a beginning; empty: all",
    )
    cameras: tuple[str, ...] = Field(default=(), description="cameras whose events go there; empty: all")


class JsonlSink(_Sink):
    """One line of JSON for each event."""

    kind: Literal["jsonl"]
    path: Path = Field(description="the file; it is appended to")
    max_bytes: int = Field(
        default=0, ge=0, description="at this size the file is renamed and begun anew; 0: never"
    )


class SqlSink(_Sink):
    """A table of a database; the same event twice is one row."""

    kind: Literal["sql"]
    url: str = Field(repr=False, description="sqlite:///FILE or postgresql://user:${PASSWORD}@host/database")
    table: str = Field(default="sightline_events", pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="its name")


class RedisStreamSink(_Sink):
    """A Redis stream (XADD): consumers with groups lose nothing."""

    kind: Literal["redis_stream"]
    url: str = Field(repr=False, description="redis://[user:${PASSWORD}@]host:port/db, or rediss://")
    stream: str = Field(default="sightline:events", min_length=1, description="its key")
    max_length: int = Field(default=100_000, ge=0, description="about so many entries are kept; 0: all")


class RedisPubSubSink(_Sink):
    """A Redis channel. LOSSY by its nature: who does not listen at that moment never gets the event."""

    kind: Literal["redis_pubsub"]
    url: str = Field(repr=False, description="redis://[user:${PASSWORD}@]host:port/db, or rediss://")
    channel: str = Field(default="sightline:events", min_length=1, description="its name")


class KafkaSink(_Sink):
    """A Kafka topic, acknowledged by all replicas; the key is the camera."""

    kind: Literal["kafka"]
    brokers: str = Field(min_length=1, description="host:port,host:port")
    topic: str = Field(default="sightline-events", pattern=r"^[A-Za-z0-9._-]{1,249}$", description="its name")
    options: dict[str, str] = Field(
        default={}, repr=False, description="librdkafka's own options (security.protocol, sasl.username, …)"
    )


class MqttSink(_Sink):
    """An MQTT topic, quality of service 1."""

    kind: Literal["mqtt"]
    url: str = Field(repr=False, description="mqtt://[user:${PASSWORD}@]host:port, or mqtts://")
    topic: str = Field(
        default="sightline/events/{camera}/{type}",
        min_length=1,
        description="with {camera} and {type} filled in",
    )
    ca_file: Path | None = Field(default=None, description="of mqtts: certificates that are trusted")


class WebhookSink(_Sink):
    """An HTTP POST for each event, signed as standardwebhooks.com says."""

    kind: Literal["webhook"]
    url: str = Field(repr=False, description="https://… or http://…")
    secret: str = Field(default="", repr=False, description="signing secret, whsec_…; best as ${VARIABLE}")
    timeout_seconds: float = Field(default=10.0, gt=0, le=300, description="for an answer")
    ca_file: Path | None = Field(
        default=None, description="certificates that are trusted besides the system's"
    )


class FolderSink(_Sink):
    """A file of JSON for each event, written whole or not at all, in a folder for each day."""

    kind: Literal["folder"]
    path: Path = Field(description="the folder")


Sink = Annotated[
    JsonlSink | SqlSink | RedisStreamSink | RedisPubSubSink | KafkaSink | MqttSink | WebhookSink | FolderSink,
    Field(discriminator="kind"),
]


class SpoolSettings(_Settings):
    """The spool on the disk: an event is on it before any sink is asked, and stays until all sinks have it."""

    max_bytes: int = Field(default=1 << 30, ge=1 << 16, description="largest size, bytes")
    overflow: Literal["drop_oldest", "drop_newest"] = Field(
        default="drop_oldest", description="what goes when it is full; counted either way"
    )
    sync: Literal["always", "interval"] = Field(
        default="always",
        description="always: each event survives a power cut; interval: up to sync_seconds of events may not",
    )
    sync_seconds: float = Field(default=1.0, gt=0, le=60, description="of interval")


class MediaSettings(_Settings):
    """Pictures and clips of events, and how long they are kept: the oldest go first."""

    max_bytes: int = Field(default=10 << 30, ge=1 << 20, description="largest size of all, bytes")
    max_days: float = Field(default=30.0, gt=0, le=3650, description="oldest, days")
    pre_seconds: float = Field(default=5.0, ge=0, le=60, description="what a clip shows before the event")
    post_seconds: float = Field(default=5.0, ge=0, le=120, description="what a clip shows after the event")
    snapshot_quality: int = Field(default=85, ge=30, le=100, description="of the JPEG")
