# SPDX-License-Identifier: Apache-2.0
"""One open page: a bounded queue of what it still has to be sent. All of it runs on the page's event loop."""

from __future__ import annotations

import asyncio
import json
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sightline.clients.page.fmp4 import Fragment, Header

MAX_GROUP_BYTES = 16 << 20
MAX_VIEWER_BYTES = 4 << 20
MAX_VIEWER_MESSAGES = 240
MAX_VIEWER_NEWS = 500
KIND_HEADER = 0
KIND_FRAGMENT = 1
KIND_JPEG = 2


def binary_message(kind: int, camera: int, epoch: int, payload: bytes, pts_seconds: float = 0.0) -> bytes:
    """u8 kind, three zero bytes, u32 camera, f64 epoch, f64 pts, big endian; then the payload."""
    return struct.pack(">B3xIdd", kind, camera, float(epoch), pts_seconds) + payload


def text_of(document: object) -> str:
    """JSON as it goes to the browsers."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, default=str)


@dataclass
class Channel:
    """One camera: the header and pictures since its last keyframe, with which a new viewer starts.

    playable: its video may be passed through; else its pictures are sent as JPEG.
    """

    name: str = ""
    epoch: int = 0
    codec: str = ""
    playable: bool = False
    header: Header | None = None
    group: list[Fragment] = field(default_factory=list)
    group_bytes: int = 0

    @property
    def needs_jpeg(self) -> bool:
        """True where there is a picture but no video that could be played."""
        return bool(self.codec) and not self.playable

    def restart(self, epoch: int, codec: str, *, playable: bool) -> None:
        """A new connection: its clock begins anew."""
        self.epoch, self.codec, self.playable, self.header = epoch, codec, playable, None
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
    camera: int | None = None
    video: bool = False
    opening: bool = False
    kind: str = ""


class Viewer:
    """One open page. One that is too slow loses video up to the next keyframe and results; counted in `lost`.

    shown: the cameras whose video and results are sent; a page that never says is sent all.
    """

    def __init__(self, cameras: Iterable[int]) -> None:
        self.shown = set(cameras)
        self.shows_all = True
        self.jpeg: set[int] = set()
        self.lost = 0
        self._queue: deque[_Message] = deque()
        self._video_bytes = 0
        self._running: set[int] = set()
        self._header: dict[int, tuple[int, Header]] = {}
        self._wake = asyncio.Event()

    def send_text(self, text: str, camera: int | None = None) -> None:
        """Queue a JSON message; a camera's message is lost where the queue is full."""
        if camera is not None and len(self._queue) >= MAX_VIEWER_MESSAGES:
            self.lost += 1
            return
        self._push(_Message(text, camera))

    def send_latest(self, kind: str, text: str) -> None:
        """Queue a message in place of one of the same kind that still waits."""
        if any(message.kind == kind for message in self._queue):
            self._queue = deque(m for m in self._queue if m.kind != kind)
        self._push(_Message(text, kind=kind))

    def send_news(self, text: str) -> None:
        """Queue a message that is not to be lost; a page that reads nothing at all loses it at MAX_VIEWER_NEWS."""
        if len(self._queue) >= MAX_VIEWER_NEWS:
            self.lost += 1
            return
        self._push(_Message(text))

    def send_jpeg(self, camera: int, epoch: int, pts_seconds: float, jpeg: bytes) -> None:
        """Queue a still picture, in place of an older one of the camera that still waits."""
        if camera not in self.shown:
            return
        self._drop_video(camera)
        if self._full:
            self.lost += 1
            return
        self._push(_Message(binary_message(KIND_JPEG, camera, epoch, jpeg, pts_seconds), camera, video=True))

    def send_fragment(self, camera: int, epoch: int, fragment: Fragment) -> None:
        """Queue a picture, after its header where that is new."""
        if camera not in self.shown or camera in self.jpeg:
            return
        if self._full:
            self._drop_video(camera)
            self._running.discard(camera)
        if self._full or (camera not in self._running and not fragment.keyframe):
            self.lost += 1
            return
        self._running.add(camera)
        if self._header.get(camera) != (epoch, fragment.header):
            self._open(camera, epoch, fragment.header)
        self._push(_Message(binary_message(KIND_FRAGMENT, camera, epoch, fragment.data), camera, video=True))

    def restart(self, camera: int, channel: Channel) -> None:
        """Begin anew with the channel's header and newest group of pictures, in one message.

        What waits of an earlier beginning goes, so that asking again and again fills nothing.
        """
        self._drop_video(camera, opening=True)
        self._header.pop(camera, None)
        self._running.discard(camera)
        if channel.group:
            first = channel.group[0]
            whole = b"".join(f.data for f in channel.group)
            self.send_fragment(camera, channel.epoch, Fragment(whole, True, first.header))

    def forget(self, camera: int) -> None:
        """The camera was taken away."""
        self.shown.discard(camera)
        self.jpeg.discard(camera)
        self._running.discard(camera)
        self._header.pop(camera, None)
        self._queue = deque(m for m in self._queue if m.camera != camera)
        self._video_bytes = sum(len(m.data) for m in self._queue if m.video)

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
        document: dict[str, Any] = {"type": "video", "camera": camera, "epoch": epoch, "codec": header.codec}
        self._push(_Message(text_of(document), camera, opening=True))
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
