# SPDX-License-Identifier: Apache-2.0
"""Keeps the video of cameras with privacy from those who show and record it: only cleaned pictures go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from sightline.clients.streams.results import Packet, StreamFrame, StreamResult, VideoFormat, VideoSink

PRIVATE_CODEC = "private"


@dataclass(frozen=True, eq=False)
class CleanFrame(StreamFrame):
    """A frame whose picture was made fit to be shown; only CameraAnalytics makes them."""


def clean_frame(frame: StreamFrame) -> CleanFrame:
    """The frame, marked as cleaned."""
    return CleanFrame(**{item.name: getattr(frame, item.name) for item in fields(StreamFrame)})


@dataclass
class _Camera:
    name: str | None = None
    private: bool = True
    epoch: int = 0
    video: VideoFormat | None = None


class PrivacyFilter:
    """A VideoSink before another, and a StreamSink for the results that make up for the video held back.

    sink: takes the video. is_private: whether a camera of this name has privacy at this moment; called often, from any thread.
    Of such cameras, of cameras that nobody has named, and while is_private fails, neither packets nor frames go on; the codec
    is told as "private"; the pictures of results go on as frames, those only that CameraAnalytics has cleaned. A camera that
    becomes private is told as connected anew, so that the sink forgets the pictures it has.
    """

    def __init__(self, sink: VideoSink, is_private: Callable[[str], bool]) -> None:
        self._sink = sink
        self._is_private = is_private
        self._cameras: dict[int, _Camera] = {}
        self._lock = threading.Lock()
        self.held_back = 0

    def on_added(self, camera: int, name: str) -> None:
        """A camera is watched from now on."""
        with self._lock:
            self._cameras[camera] = _Camera(name)
        self._sink.on_added(camera, name)

    def on_removed(self, camera: int) -> None:
        """A camera is not watched any more."""
        with self._lock:
            self._cameras.pop(camera, None)
        self._sink.on_removed(camera)

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """A connection was made; a private one shows no codec header."""
        with self._lock:
            state = self._cameras.setdefault(camera, _Camera())
            state.epoch, state.video, state.private = epoch, video, self._asked(state)
            private = state.private
        self._sink.on_connected(camera, epoch, _hidden(video) if private else video)

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """A compressed picture: goes on unless the camera is private."""
        if self._passes(camera):
            self._sink.on_packet(camera, epoch, packet)

    def on_frame(self, frame: StreamFrame) -> None:
        """A decoded picture: goes on unless the camera is private."""
        if self._passes(frame.camera):
            self._sink.on_frame(frame)

    def on_disconnected(self, camera: int) -> None:
        """The connection ended."""
        self._sink.on_disconnected(camera)

    def write(self, result: StreamResult) -> None:
        """A result: its picture goes on where the camera is private and the picture was cleaned."""
        if isinstance(result.source, CleanFrame) and not self._passes(result.source.camera, held=False):
            self._sink.on_frame(result.source)

    def recheck(self) -> None:
        """Ask of all cameras anew: of one that became private the sink forgets what it has, also while it is away."""
        with self._lock:
            cameras = list(self._cameras)
        for camera in cameras:
            self._passes(camera, held=False)

    def close(self) -> None:
        """Nothing is open; the sink is closed by whoever made it."""

    def _passes(self, camera: int, *, held: bool = True) -> bool:
        with self._lock:
            state = self._cameras.get(camera)
            if state is None:  # nobody has named it, or it was taken away
                self.held_back += held
                return False
            private = self._asked(state)
            changed = private != state.private and state.video is not None
            state.private = private
            self.held_back += private and held
        if changed and state.video is not None:
            self._sink.on_connected(camera, state.epoch, _hidden(state.video) if private else state.video)
        return not private

    def _asked(self, state: _Camera) -> bool:
        if state.name is None:
            return True
        try:
            return bool(self._is_private(state.name))
        except Exception:  # whatever it is, nothing may leak by it
            return True


def _hidden(video: VideoFormat) -> VideoFormat:
    return replace(video, codec=PRIVATE_CODEC, extradata=b"")
