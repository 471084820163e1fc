# SPDX-License-Identifier: Apache-2.0
"""Hands the cameras' video to all video sinks; one that breaks takes neither the camera nor the others with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sightline.clients.streams.results import Packet, StreamFrame, VideoFormat, VideoSink


class VideoFan:
    """Is itself a VideoSink. failed: is told the name of a sink's class and its error, on any thread."""

    def __init__(self, sinks: Sequence[VideoSink], failed: Callable[[str, Exception], None]) -> None:
        self._sinks = tuple(sinks)
        self._failed = failed

    def __bool__(self) -> bool:
        return bool(self._sinks)

    def on_added(self, camera: int, name: str) -> None:
        """A camera is watched from now on."""
        self._tell("on_added", camera, name)

    def on_removed(self, camera: int) -> None:
        """A camera is not watched any more."""
        self._tell("on_removed", camera)

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """A connection was made."""
        self._tell("on_connected", camera, epoch, video)

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """A compressed picture arrived."""
        self._tell("on_packet", camera, epoch, packet)

    def on_frame(self, frame: StreamFrame) -> None:
        """A picture was decoded that is going to be sent."""
        self._tell("on_frame", frame)

    def on_disconnected(self, camera: int) -> None:
        """The connection ended."""
        self._tell("on_disconnected", camera)

    def _tell(self, method: str, *arguments: Any) -> None:
        for sink in self._sinks:
            try:
                getattr(sink, method)(*arguments)
            except Exception as error:
                self._failed(type(sink).__name__, error)
