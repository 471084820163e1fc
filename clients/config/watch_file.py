# SPDX-License-Identifier: Apache-2.0
"""What may stand in a cameras file.

cameras:
  gate: rtsp://viewer:${GATE_PASSWORD}@10.0.0.7/1        # a name and a URL are enough
  yard:
    url: rtsp://10.0.0.8/1
    rate: 10                                            # frames a second to look at
    rules:
      - {name: fence, kind: line, points: [[0.1, 0.6], [0.9, 0.6]], classes: [person]}
sinks:
  - {kind: redis_stream, url: "redis://localhost:6379/0"}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from sightline.clients.analytics.settings import Analytics, Settings
from sightline.clients.events.settings import MediaSettings, Sink, SpoolSettings

MAX_CAMERAS = 256


class Stream(Settings):
    """How a camera is read and how much of it is looked at."""

    model: str = Field(default="street_detect", description="model of the server")
    rate: float | None = Field(
        default=None, gt=0, le=240, description="frames a second that are sent at most; left out: all"
    )
    deadline_seconds: float = Field(
        default=1.0, gt=0, le=60, description="an answer to a frame older than this is of no use any more"
    )
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="how RTSP carries the video")
    decode: Literal["auto", "all", "keyframes"] = Field(
        default="auto", description="auto leaves pictures undecoded that the rate does not need"
    )
    hardware: Literal["auto", "off"] = Field(
        default="auto", description="decoding by a GPU where there is one"
    )


class Camera(Stream, Analytics):
    """One camera."""

    url: str = Field(
        repr=False,
        description="rtsp(s)://, http(s)://, v4l2:///dev/video0, a video file, or a folder of images",
    )
    enabled: bool = Field(default=True, description="false: known, but not watched")
    loop: bool = Field(default=False, description="a file: again and again")
    paced: bool = Field(default=True, description="a file: at its own speed; false: as fast as it goes")
    tls_verify: bool = Field(default=True, description="rtsps, https: the camera's certificate must be valid")
    ca_file: Path | None = Field(
        default=None, description="certificates that are trusted instead of the system's"
    )


class Page(Settings):
    """The live page."""

    port: int = Field(default=8080, ge=0, le=65535, description="0 takes a free one")
    host: str = Field(default="127.0.0.1", description="beyond loopback it needs users")
    users: dict[str, str] = Field(
        default={}, repr=False, description="name: password hash, as `sightline page-password` prints it"
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file; with tls_key the page speaks HTTPS"
    )
    tls_key: Path | None = Field(default=None, description="PEM file")


class AnnotatedStream(Settings):
    """The cameras as RTSP streams with boxes, labels and track ids drawn in."""

    port: int = Field(default=8554, ge=0, le=65535, description="0 takes a free one")
    host: str = Field(default="127.0.0.1", description="beyond loopback it needs user and password")
    user: str = Field(default="", max_length=128, description="whom it lets in; left out: everybody")
    password: str = Field(default="", max_length=256, repr=False, description="belongs to user")
    rate: float = Field(default=10.0, gt=0, le=60, description="pictures a second at most")

    @model_validator(mode="after")
    def _whole_login(self) -> AnnotatedStream:
        if bool(self.user) != bool(self.password):
            raise ValueError("give user and password, or neither of them")
        return self


class WatchFile(Settings):
    """The whole file."""

    server: str = Field(default="localhost:8001", description="address of the server's gRPC port")
    defaults: dict[str, Any] = Field(
        default={}, description="fields for all cameras that do not say otherwise"
    )
    cameras: Annotated[dict[str, Camera], Field(max_length=MAX_CAMERAS)] = Field(description="by name")
    folder: Path = Field(
        default=Path("sightline_data"),
        description="where spool, events and media are kept, from the file's folder",
    )
    spool: SpoolSettings = Field(default=SpoolSettings(), description="the spool on the disk")
    media: MediaSettings = Field(default=MediaSettings(), description="pictures and clips of events")
    sinks: tuple[Sink, ...] = Field(default=(), max_length=32, description="where events go besides the page")
    page: Page | None = Field(
        default=None, description="the live page; left out: none, unless --page asks for it"
    )
    annotated: AnnotatedStream | None = Field(
        default=None, description="RTSP streams with the boxes drawn in; left out: none"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, document: Any) -> Any:
        """A camera that is a text is its URL; `defaults` are filled in."""
        if not isinstance(document, dict) or not isinstance(document.get("cameras"), dict):
            return document
        defaults = document.get("defaults") or {}
        if not isinstance(defaults, dict) or "url" in defaults:
            raise ValueError("defaults holds fields of cameras other than url")
        cameras = {
            str(name): defaults | ({"url": camera} if isinstance(camera, str) else camera)
            if isinstance(camera, (str, dict))
            else camera
            for name, camera in document["cameras"].items()
        }
        return document | {"cameras": cameras}

    @field_validator("sinks")
    @classmethod
    def _names_differ(cls, sinks: tuple[Sink, ...]) -> tuple[Sink, ...]:
        names = [sink.name or sink.kind for sink in sinks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sinks are called {twice[0]!r}; give them different names")
        return sinks
