# SPDX-License-Identifier: Apache-2.0
"""What passes from the stream engine to its sinks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from sightline.frame import Frame
from sightline.results import Detections


@dataclass(frozen=True, eq=False)
class StreamFrame:
    """One decoded picture of a camera.

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
        moment = datetime.fromtimestamp(self.captured_unix, timezone.utc)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, eq=False)
class StreamResult:
    """A frame and what the model says about it; boxes are in the frame's pixels."""

    source: StreamFrame
    detections: Detections
    latency_seconds: float


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


class StreamSink(Protocol):
    """Takes results, on one thread; an error of a sink is counted and does not stop the streams."""

    def write(self, result: StreamResult) -> None:
        """Take one result."""

    def close(self) -> None:
        """Finish the output; no `write` follows."""


class VideoSink(Protocol):
    """Takes the cameras' video; called on the cameras' own threads, so it must return at once."""

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """A connection was made."""

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """A compressed picture arrived."""

    def on_frame(self, frame: StreamFrame) -> None:
        """A picture was decoded."""

    def on_disconnected(self, camera: int) -> None:
        """The connection ended."""
