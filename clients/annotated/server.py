# SPDX-License-Identifier: Apache-2.0
"""Serves the annotated cameras by RTSP, on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from sightline.clients.annotated.cameras import AnnotatedCamera, AnnotatedCameras
from sightline.clients.annotated.encoder import parameter_sets
from sightline.clients.annotated.session import Session
from sightline.clients.page.listening import listen, url_of
from sightline.clients.rtsp.digest import DigestGuard
from sightline.clients.streams.results import Packet, StreamFrame, StreamResult, VideoFormat
from sightline.errors import OutputError

MAX_CONNECTIONS = 64
MAX_RATE = 60.0
SHOWN_ADDRESSES = 4
START_SECONDS, STOP_SECONDS = 10.0, 5.0
TICK_SECONDS = 1.0
DRAWING_THREADS = 2
_LINE_BYTES = 16 << 10
_SEND_BUFFER_BYTES = 256 << 10  # the system's own may hold seconds of video
_SMALLEST = 64


class AnnotatedServer:
    """rtsp://HOST:PORT/NAME for each camera, boxes, labels and track ids drawn in: a StreamSink and a VideoSink.

    H.264 over TCP (interleaved) and UDP, key frames every two seconds and at once for who begins to play. A camera is
    drawn and encoded while somebody plays it only. Its pictures are those of the results, which are fit to be shown.
    When they change their size, those who play it are ended and may connect again.
    port: 0 takes a free one. host: beyond loopback it needs user and password (digest; the video itself is not
    encrypted). rate: pictures a second at most. Raises OutputError, PortInUseError and MissingDependencyError.
    """

    def __init__(
        self,
        port: int = 8554,
        *,
        host: str = "127.0.0.1",
        user: str = "",
        password: str = "",
        rate: float = 10.0,
    ) -> None:
        if not 0 < rate <= MAX_RATE:
            raise OutputError(f"the annotated stream's rate is {rate}; give one up to {MAX_RATE:g}")
        if bool(user) != bool(password):
            raise OutputError("the annotated stream needs user and password, or neither of them")
        parameter_sets(_SMALLEST, _SMALLEST, rate)
        self._guard = DigestGuard(user, password) if user else None
        self._socket = listen(
            host,
            port,
            users=bool(user),
            what="the annotated stream",
            login="user and password (annotated: in the cameras file)",
            other_port="another port",
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.port = int(self._socket.getsockname()[1])
        self.url = url_of(host, self.port, "rtsp")
        self._cameras = AnnotatedCameras(rate)
        self._sessions: dict[Session, asyncio.Task[Any] | None] = {}
        self._pool = ThreadPoolExecutor(DRAWING_THREADS, thread_name_prefix="annotated-pictures")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="annotated", daemon=True)

    # Life

    def open(self) -> None:
        """Start serving; raises OutputError when it does not come up."""
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise OutputError(f"the annotated stream did not start on port {self.port}")

    def close(self) -> None:
        """End all connections and the threads; may be called twice."""
        if self._stopping is not None:
            self._call(self._stopping.set)
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)
        self._pool.shutdown(cancel_futures=True)
        self._socket.close()

    def addresses(self) -> dict[str, str]:
        """Where each camera is to be had, by name, without credentials."""
        return {name: self.url + quote(name, safe="") for name in self._cameras.names()}

    def told(self) -> str:
        """The addresses in one line for people."""
        addresses = list(self.addresses().values())
        more = f" and {len(addresses) - SHOWN_ADDRESSES} more" if len(addresses) > SHOWN_ADDRESSES else ""
        return f"annotated streams: {', '.join(addresses[:SHOWN_ADDRESSES]) or self.url}{more}"

    def state(self) -> dict[str, Any]:
        """Addresses and figures."""
        return {
            "addresses": self.addresses(),
            "connections": len(self._sessions),
            **self._cameras.figures(),
        }

    # What the watch tells

    def write(self, result: StreamResult) -> None:
        """Sink: draw and send it, where somebody plays this camera and a picture is due."""
        camera = self._cameras[result.source.camera]
        if camera is None:
            return
        if camera.resized(result):
            self._call(camera.end_viewers)
        if camera.due(time.monotonic()):
            try:
                self._pool.submit(self._draw, camera, result)
            except RuntimeError:  # closed while the cameras still stop
                camera.done()

    def on_added(self, camera: int, name: str) -> None:
        """Video: a camera is watched from now on."""
        for old in self._cameras.add(camera, name):
            self._call(old.end_viewers)

    def on_removed(self, camera: int) -> None:
        """Video: a camera is not watched any more; who plays it is ended."""
        removed = self._cameras.remove(camera)
        if removed is not None:
            self._call(removed.end_viewers)

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """Video: nothing of it is shown here, nor of the following."""

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """Video: as above."""

    def on_frame(self, frame: StreamFrame) -> None:
        """Video: as above."""

    def on_disconnected(self, camera: int) -> None:
        """Video: as above; who plays the camera waits until it is back."""

    def _draw(self, camera: AnnotatedCamera, result: StreamResult) -> None:
        try:
            picture = camera.encode(result)
            if picture is not None:
                self._call(camera.show, picture)
        except Exception:
            camera.failed += 1  # one picture less; the figures tell
        finally:
            camera.done()

    def _rest(self, camera: AnnotatedCamera) -> None:
        with contextlib.suppress(RuntimeError):  # the pool is closed, and the encoder goes with the camera
            self._pool.submit(camera.rest)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run it on the loop; before it runs and after its end there is nobody to be told."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, *arguments)

    # The server

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._stopping = stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=_LINE_BYTES)
        self._started.set()
        while not stopping.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stopping.wait(), TICK_SECONDS)
            now = time.monotonic()
            for session in [session for session in self._sessions if session.expired(now)]:
                session.disconnect()
        server.close()
        tasks = [task for task in self._sessions.values() if task is not None]
        for session in list(self._sessions):
            session.disconnect()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets transports that were cut close their sockets

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._sessions) >= MAX_CONNECTIONS:
            quiet = [one for one in self._sessions if not one.plays]
            if not quiet:
                writer.transport.abort()
                return
            min(quiet, key=lambda one: one.heard_at).disconnect()  # silent ones must not keep others out
        session = Session(self._cameras, self._guard, (reader, writer), self._rest)
        self._sessions[session] = asyncio.current_task()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await session.run()
        finally:
            self._sessions.pop(session, None)
