# SPDX-License-Identifier: Apache-2.0
"""Cameras as motion JPEG with the boxes drawn in, for what can show nothing else. The newest picture wins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

MAX_STREAMS = 8
CHECK_SECONDS = 1.0
BOUNDARY = "sightline-picture"
MEDIA_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"


class _Stream:
    """One client of one camera."""

    def __init__(self) -> None:
        self.newest: bytes | None = None
        self.ended = False
        self.wake = asyncio.Event()


class MjpegStreams:
    """The open streams, by camera. On the page's event loop; `watched` is read by other threads."""

    def __init__(self) -> None:
        self._streams: dict[int, set[_Stream]] = {}
        self.watched: frozenset[int] = frozenset()

    @property
    def full(self) -> bool:
        """True where no more may be opened."""
        return sum(map(len, self._streams.values())) >= MAX_STREAMS

    def push(self, camera: int, jpeg: bytes) -> None:
        """A new picture; one that was not sent yet is dropped for it."""
        for stream in self._streams.get(camera, ()):
            stream.newest = jpeg
            stream.wake.set()

    def forget(self, camera: int) -> None:
        """Drop what was not sent yet: a connection begins, and the camera may be private by now."""
        for stream in self._streams.get(camera, ()):
            stream.newest = None

    def end(self, camera: int | None = None) -> None:
        """End the streams of a camera that was taken away, or all."""
        for one, streams in self._streams.items():
            if camera is None or one == camera:
                for stream in streams:
                    stream.ended = True
                    stream.wake.set()

    async def parts(self, camera: int, still: Callable[[], bool] = lambda: True) -> AsyncIterator[bytes]:
        """The stream's bytes, until the client is gone or may not look any more, for which `still` is asked."""
        stream = _Stream()
        self._streams.setdefault(camera, set()).add(stream)
        self._find_watched()
        try:
            while True:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(stream.wake.wait(), CHECK_SECONDS)
                stream.wake.clear()
                if stream.ended or not still():
                    return
                jpeg, stream.newest = stream.newest, None
                if jpeg is not None:
                    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    yield head.encode() + jpeg + b"\r\n"
        finally:
            self._streams[camera].discard(stream)
            if not self._streams[camera]:
                del self._streams[camera]
            self._find_watched()

    def _find_watched(self) -> None:
        self.watched = frozenset(self._streams)
