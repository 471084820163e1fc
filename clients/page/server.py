# SPDX-License-Identifier: Apache-2.0
"""Serves the live page on loopback, on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from sightline.clients.page.fmp4 import FragmentMuxer
from sightline.clients.page.hub import MAX_VIEWERS, Hub, Viewer
from sightline.clients.page.security import LocalOnly
from sightline.clients.page.stills import StillMaker
from sightline.clients.streams.results import Packet, StreamFrame, StreamResult, VideoFormat
from sightline.errors import OutputError, PortInUseError

STATIC = Path(__file__).parent / "static"
STATE_SECONDS = 0.5
START_SECONDS = 10.0
MAX_COMMAND_BYTES = 4096


class PageServer:
    """The live page of one watch: give it to Watch(page=...).

    port: 0 takes a free one. It listens on 127.0.0.1 only and asks for no password, so do not forward it.
    """

    def __init__(self, port: int = 8080) -> None:
        self._socket = _listen(port)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        self._hub: Hub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._muxers: dict[int, FragmentMuxer] = {}
        self._stills = StillMaker()
        self._stills_pool = ThreadPoolExecutor(1, thread_name_prefix="page-stills")

    def open(self, names: list[str], state: Callable[[], dict[str, Any]]) -> None:
        """Start serving; `state` gives what /api/state shows. Raises OutputError when it does not come up."""
        self._hub = Hub(names, state)
        config = uvicorn.Config(
            self._application(),
            log_config=None,
            access_log=False,
            server_header=False,
            ws_max_size=MAX_COMMAND_BYTES,
            ws_per_message_deflate=False,
            limit_concurrency=128,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise OutputError(f"the page did not start on port {self.port} within {START_SECONDS:.0f} s")

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(5)
        self._stills_pool.shutdown(wait=False, cancel_futures=True)
        self._socket.close()

    def write(self, result: StreamResult) -> None:
        """Sink: send the detections to the viewers."""
        if self._hub is None or not self._hub.viewers:
            return
        source = result.source
        boxes = [
            [*(round(v, 1) for v in d.box), round(d.score, 3), d.label, d.class_id] for d in result.detections
        ]
        document = {
            "type": "result",
            "camera": source.camera,
            "epoch": source.epoch,
            "pts": round(source.pts_seconds, 5),
            "width": source.frame.width,
            "height": source.frame.height,
            "boxes": boxes,
        }
        self._call(self._hub.result, source.camera, document)

    def on_added(self, camera: int, name: str) -> None:
        """Video: a camera is watched from now on."""

    def on_removed(self, camera: int) -> None:
        """Video: a camera is not watched any more."""

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """Video: a connection begins."""
        self._muxers.pop(camera, None)
        if video.codec == "h264":
            self._muxers[camera] = FragmentMuxer(video)
        if self._hub is not None:
            self._call(self._hub.connected, camera, epoch, video.codec)

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """Video: a compressed picture."""
        muxer = self._muxers.get(camera)
        fragment = muxer.add(packet) if muxer else None
        if fragment is not None and self._hub is not None:
            self._call(self._hub.fragment, camera, epoch, fragment)

    def on_frame(self, frame: StreamFrame) -> None:
        """Video: a decoded picture; made a JPEG for viewers who cannot play the video, at most 5 a second."""
        hub = self._hub
        if (
            hub is not None
            and frame.camera in hub.jpeg_cameras
            and self._stills.due(frame.camera, time.monotonic())
        ):
            with contextlib.suppress(RuntimeError):  # the pool is closed while the cameras still stop
                self._stills_pool.submit(self._send_still, frame)

    def on_disconnected(self, camera: int) -> None:
        """Video: the connection ended; the last picture stays on the page."""
        self._muxers.pop(camera, None)

    def _send_still(self, frame: StreamFrame) -> None:
        jpeg = self._stills.jpeg(frame)
        if self._hub is not None:
            self._call(self._hub.jpeg, frame.camera, frame.epoch, frame.pts_seconds, jpeg)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed while the cameras still stop
                self._loop.call_soon_threadsafe(function, *arguments)

    def _run(self) -> None:
        if self._server is not None:
            asyncio.run(self._server.serve(sockets=[self._socket]))

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/api/state", self._api_state),
                WebSocketRoute("/ws", self._websocket),
                Mount("/", StaticFiles(directory=STATIC, html=True)),
            ],
            middleware=[Middleware(LocalOnly)],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        ticker = asyncio.create_task(self._tick())
        self._started.set()
        yield
        ticker.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(STATE_SECONDS)
            if self._hub is not None:
                self._hub.tick()

    async def _health(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _api_state(self, _: Request) -> Response:
        return JSONResponse(self._hub.state() if self._hub else {})

    async def _websocket(self, websocket: WebSocket) -> None:
        hub = self._hub
        if hub is None or len(hub.viewers) >= MAX_VIEWERS:
            await websocket.close(1013)
            return
        await websocket.accept()
        viewer = hub.join()
        sender = asyncio.create_task(_send_all(websocket, viewer))
        try:
            while True:
                text = await websocket.receive_text()
                with contextlib.suppress(ValueError):
                    hub.command(viewer, json.loads(text))
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass  # gone, or it sent bytes where the page sends text
        finally:
            hub.leave(viewer)
            sender.cancel()


async def _send_all(websocket: WebSocket, viewer: Viewer) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await viewer.next_message()
            if isinstance(message, str):
                await websocket.send_text(message)
            else:
                await websocket.send_bytes(message)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise PortInUseError(
            f"the page cannot listen on 127.0.0.1:{port} ({error.strerror}); "
            "choose another port with --page, or 0 for a free one"
        ) from None
    return listener
