# SPDX-License-Identifier: Apache-2.0
"""What passes from the stream engine to its sinks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from sightline.clients.events.event import Event, utc_text
from sightline.frame import Frame
from sightline.results import Detections


@dataclass(frozen=True, eq=False)
class StreamFrame:
    """One decoded picture of a camera.

    camera: the camera's number, which is never given to another one in this process. name: what people call it.
    epoch: milliseconds since 1970 at which its connection began; with `number` it names the frame for ever.
    number: position within the epoch, from 0.
    pts_seconds: presentation time within the epoch; the page's video has the same clock.
    damaged: the decoder had to make up parts of it.
    decoded_at: monotonic seconds. captured_unix: wall-clock seconds at decoding.
    """

    camera: int
    name: str
    epoch: int
    number: int
    pts_seconds: float
    decoded_at: float
    captured_unix: float
    frame: Frame
    damaged: bool = False

    @property
    def event_id(self) -> str:
        """Idempotency key: the same for the same frame, whatever is sent twice."""
        return f"{self.name}:{self.epoch}:{self.number}"

    @property
    def order(self) -> tuple[int, int]:
        """Rises from frame to frame of a camera; answers may come in another order."""
        return self.epoch, self.number

    @property
    def time_utc(self) -> str:
        """ISO 8601 with milliseconds."""
        return utc_text(self.captured_unix)


@dataclass(frozen=True)
class ObjectInfo:
    """What analytics know about one detection beyond its box.

    track_id: the same object has the same from frame to frame; None where it is not tracked (yet).
    speed_kmh: on the ground. identity: the same across cameras. attributes: what second stages say, by their names.
    """

    track_id: int | None = None
    speed_kmh: float | None = None
    identity: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StreamResult:
    """A frame and what the model says about it; boxes are in the frame's pixels.

    objects: of each detection, in their order; empty without analytics. events: what happened in this frame.
    counts: the camera's counters for people to see, by rule: {"gate": {"forward": 3, "backward": 1}}.
    """

    source: StreamFrame
    detections: Detections
    latency_seconds: float
    objects: tuple[ObjectInfo, ...] = ()
    events: tuple[Event, ...] = ()
    counts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Packet:
    """One compressed access unit as the camera sent it. Times are seconds within the epoch."""

    data: bytes
    keyframe: bool
    pts_seconds: float
    dts_seconds: float


@dataclass(frozen=True)
class VideoFormat:
    """What a connection delivers. `extradata` is the codec's own header (SPS and PPS of H.264) or empty."""

    codec: str
    width: int
    height: int
    frames_per_second: float
    extradata: bytes


class Analyst(Protocol):
    """What the engine asks about one camera's results; called on one thread, in the order of the frames."""

    def observe(self, result: StreamResult) -> StreamResult | None:
        """The result with objects, events and counts, its picture fit to be shown; None: nothing of it may be shown."""

    def idle(self, unix_seconds: float) -> tuple[Event, ...]:
        """Called about once a second, also while no frames come: what the passing of time brought about."""

    def close(self) -> tuple[Event, ...]:
        """The camera is taken away, or somebody else is asked: what was not told yet, and the ends of what had begun."""


class StreamSink(Protocol):
    """Takes results, on one thread; an error of a sink is counted and does not stop the streams."""

    def write(self, result: StreamResult) -> None:
        """Take one result."""

    def close(self) -> None:
        """Finish the output; no `write` follows."""


@runtime_checkable
class EventSink(Protocol):
    """A sink that also takes what happened beside the frames: lives of cameras and server, and the passing of time.

    On the thread of `write`. The events of a frame come with its result, not here.
    """

    def emit(self, event: Event) -> None:
        """Take one event; the same one always has the same id."""


class VideoSink(Protocol):
    """Takes the cameras' video; called on the cameras' own threads, so it must return at once.

    on_added comes first and on_removed last of all calls for a camera, those of the start included.
    """

    def on_added(self, camera: int, name: str) -> None:
        """A camera is watched from now on."""

    def on_removed(self, camera: int) -> None:
        """A camera is not watched any more; its number does not come again."""

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """A connection was made."""

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """A compressed picture arrived."""

    def on_frame(self, frame: StreamFrame) -> None:
        """A picture was decoded that is going to be sent."""

    def on_disconnected(self, camera: int) -> None:
        """The connection ended."""
