# SPDX-License-Identifier: Apache-2.0
"""Hands each camera's video and results to the viewers. All of it runs on the page's event loop."""

from __future__ import annotations

import asyncio
import json
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sightline.clients.draw import class_colour
from sightline.clients.page.fmp4 import Fragment, Header
from sightline.clients.streams.counters import DROP_MEANINGS

MAX_VIEWERS = 16
MAX_GROUP_BYTES = 16 << 20
MAX_VIEWER_BYTES = 4 << 20
MAX_VIEWER_MESSAGES = 240
_MEANINGS = {reason.value: meaning for reason, meaning in DROP_MEANINGS.items()}
_COLOURS = ["#{:02x}{:02x}{:02x}".format(*class_colour(class_id)) for class_id in range(64)]
KIND_HEADER = 0
KIND_FRAGMENT = 1
KIND_JPEG = 2


def binary_message(kind: int, camera: int, epoch: int, payload: bytes, pts_seconds: float = 0.0) -> bytes:
    """u8 kind, u8 camera, six zero bytes, f64 epoch, f64 pts, big endian; then the payload."""
    return struct.pack(">BB6xdd", kind, camera, float(epoch), pts_seconds) + payload


@dataclass
class Channel:
    """One camera: the header and pictures since its last keyframe, with which a new viewer starts."""

    epoch: int = 0
    codec: str = ""
    header: Header | None = None
    group: list[Fragment] = field(default_factory=list)
    group_bytes: int = 0
    needs_jpeg: bool = False

    def restart(self, epoch: int, codec: str) -> None:
        """A new connection: its clock begins anew."""
        self.epoch, self.codec, self.header = epoch, codec, None
        self.needs_jpeg = codec != "h264"
        self.group, self.group_bytes = [], 0

    def add(self, fragment: Fragment) -> None:
        """Remember the picture; an endless group of pictures is given up at MAX_GROUP_BYTES."""
        if fragment.keyframe:
            self.group, self.group_bytes = [], 0
        elif not self.group:
            return
        self.group.append(fragment)
        self.group_bytes += len(fragment.data)
        if self.group_bytes > MAX_GROUP_BYTES:
            self.group, self.group_bytes = [], 0


@dataclass(frozen=True)
class _Message:
    data: bytes | str
    camera: int = -1
    video: bool = False
    opening: bool = False


class Viewer:
    """One open page: a bounded queue. One that is too slow loses video up to the next keyframe; counted."""

    def __init__(self, cameras: int) -> None:
        self.shown = set(range(cameras))
        self.wants_jpeg = False
        self.lost = 0
        self._queue: deque[_Message] = deque()
        self._bytes = 0
        self._video_bytes = 0
        self._waiting_for_keyframe = [True] * cameras
        self._header: list[tuple[int, Header] | None] = [None] * cameras
        self._wake = asyncio.Event()

    def send_text(self, document: dict[str, Any], camera: int = -1) -> None:
        """Queue a JSON message; a camera's message is lost where the queue is full."""
        if camera >= 0 and len(self._queue) >= MAX_VIEWER_MESSAGES:
            self.lost += 1
            return
        self._push(_Message(json.dumps(document, separators=(",", ":")), camera))

    def send_jpeg(self, camera: int, epoch: int, pts_seconds: float, jpeg: bytes) -> None:
        """Queue a still picture, in place of an older one of the camera that still waits."""
        if camera not in self.shown:
            return
        self._drop_video(camera)
        self._push(_Message(binary_message(KIND_JPEG, camera, epoch, jpeg, pts_seconds), camera, video=True))

    def send_fragment(self, camera: int, epoch: int, fragment: Fragment) -> None:
        """Queue a picture, after its header where that is new."""
        if camera not in self.shown or self.wants_jpeg:
            return
        if self._full:
            self._drop_video(camera)
            self._waiting_for_keyframe[camera] = True
        if self._full or (self._waiting_for_keyframe[camera] and not fragment.keyframe):
            self.lost += 1
            return
        self._waiting_for_keyframe[camera] = False
        if self._header[camera] != (epoch, fragment.header):
            self._open(camera, epoch, fragment.header)
        self._push(_Message(binary_message(KIND_FRAGMENT, camera, epoch, fragment.data), camera, video=True))

    def restart(self, camera: int, channel: Channel) -> None:
        """Begin anew with the channel's header and newest group of pictures, in one message.

        What waits of an earlier beginning goes, so that asking again and again fills nothing.
        """
        self._drop_video(camera, opening=True)
        self._header[camera] = None
        self._waiting_for_keyframe[camera] = True
        if channel.group:
            first = channel.group[0]
            whole = b"".join(f.data for f in channel.group)
            self.send_fragment(camera, channel.epoch, Fragment(whole, True, first.header))

    async def next_message(self) -> bytes | str:
        """The oldest queued message; waits for one."""
        while (message := self.take()) is None:
            self._wake.clear()
            await self._wake.wait()
        return message

    def take(self) -> bytes | str | None:
        """The oldest queued message; None where there is none."""
        if not self._queue:
            return None
        message = self._queue.popleft()
        if message.video:
            self._video_bytes -= len(message.data)
        return message.data

    def _push(self, message: _Message) -> None:
        self._queue.append(message)
        if message.video:
            self._video_bytes += len(message.data)
        self._wake.set()

    @property
    def _full(self) -> bool:
        return self._video_bytes > MAX_VIEWER_BYTES or len(self._queue) >= MAX_VIEWER_MESSAGES

    def _open(self, camera: int, epoch: int, header: Header) -> None:
        """Queue what a video begins with, in place of a beginning (and its pictures) that still waits."""
        self._drop_video(camera, opening=True)
        self._header[camera] = (epoch, header)
        text = json.dumps({"type": "video", "camera": camera, "epoch": epoch, "codec": header.codec})
        self._push(_Message(text, camera, opening=True))
        segment = binary_message(KIND_HEADER, camera, epoch, header.segment)
        self._push(_Message(segment, camera, opening=True))

    def _drop_video(self, camera: int, *, opening: bool = False) -> None:
        """Drop the camera's waiting pictures, counted as lost, and with `opening` its headers."""
        own = [m for m in self._queue if m.camera == camera]
        self.lost += sum(m.video for m in own)
        self._queue = deque(
            m for m in self._queue if m.camera != camera or not (m.video or (opening and m.opening))
        )
        self._video_bytes = sum(len(m.data) for m in self._queue if m.video)


class Hub:
    """The cameras' channels and the viewers who look at them."""

    def __init__(self, names: list[str], state: Callable[[], dict[str, Any]]) -> None:
        self.names = names
        self.channels = [Channel() for _ in names]
        self.viewers: set[Viewer] = set()
        self.lost = 0
        self.jpeg_cameras: frozenset[int] = frozenset()
        self._state = state

    def state(self) -> dict[str, Any]:
        """The watch's state with the page's own figures."""
        lost = self.lost + sum(v.lost for v in self.viewers)
        return {**self._state(), "viewers": len(self.viewers), "viewer_pictures_lost": lost}

    def join(self) -> Viewer:
        """A new viewer, who gets names, state and the newest group of pictures of each camera."""
        viewer = Viewer(len(self.names))
        self.viewers.add(viewer)
        viewer.send_text({"type": "hello", "cameras": self.names, "meanings": _MEANINGS, "colours": _COLOURS})
        viewer.send_text({"type": "state", **self.state()})
        for camera, channel in enumerate(self.channels):
            viewer.restart(camera, channel)
        self._find_jpeg_cameras()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """The viewer is gone."""
        if viewer in self.viewers:
            self.viewers.remove(viewer)
            self.lost += viewer.lost
            self._find_jpeg_cameras()

    def connected(self, camera: int, epoch: int, codec: str) -> None:
        """A camera's connection begins."""
        self.channels[camera].restart(epoch, codec)
        self._find_jpeg_cameras()

    def fragment(self, camera: int, epoch: int, fragment: Fragment) -> None:
        """A compressed picture."""
        channel = self.channels[camera]
        if epoch != channel.epoch:
            return
        channel.add(fragment)
        for viewer in self.viewers:
            viewer.send_fragment(camera, epoch, fragment)

    def jpeg(self, camera: int, epoch: int, pts_seconds: float, jpeg: bytes) -> None:
        """A still picture, for those who cannot play the video."""
        for viewer in self.viewers:
            if viewer.wants_jpeg or self.channels[camera].needs_jpeg:
                viewer.send_jpeg(camera, epoch, pts_seconds, jpeg)

    def result(self, camera: int, document: dict[str, Any]) -> None:
        """Detections of one frame."""
        for viewer in self.viewers:
            if camera in viewer.shown:
                viewer.send_text(document, camera)

    def tick(self) -> None:
        """Tell everyone the state."""
        if self.viewers:
            document = {"type": "state", **self.state()}
            for viewer in self.viewers:
                viewer.send_text(document, len(self.names))

    def _find_jpeg_cameras(self) -> None:
        """Cameras at which somebody looks who cannot play their video; read by the cameras' threads."""
        self.jpeg_cameras = frozenset(
            camera
            for viewer in self.viewers
            for camera in viewer.shown
            if viewer.wants_jpeg or self.channels[camera].needs_jpeg
        )

    def command(self, viewer: Viewer, document: object) -> None:
        """What the page asks for.

        {"type": "show", "cameras": [...]}, {"type": "restart", "camera": n} or {"type": "jpeg"}.
        """
        if not isinstance(document, dict):
            return
        kind = document.get("type")
        if kind == "jpeg":
            viewer.wants_jpeg = True
        elif kind == "restart":
            camera = document.get("camera")
            if isinstance(camera, int) and 0 <= camera < len(self.names):
                viewer.restart(camera, self.channels[camera])
        elif kind == "show" and isinstance(document.get("cameras"), list):
            wanted = {c for c in document["cameras"] if isinstance(c, int) and 0 <= c < len(self.names)}
            for camera in wanted - viewer.shown:
                viewer.shown.add(camera)
                viewer.restart(camera, self.channels[camera])
            viewer.shown &= wanted
        self._find_jpeg_cameras()
