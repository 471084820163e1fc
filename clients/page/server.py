# SPDX-License-Identifier: Apache-2.0
"""Serves the live wall on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import ssl
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from sightline.clients.analytics.privacy_video import CleanFrame
from sightline.clients.events.event import Event
from sightline.clients.page import stills
from sightline.clients.page.api import Api
from sightline.clients.page.connections import BoundedListener, PromptProtocol, hasten_tls_handshakes
from sightline.clients.page.control import Control
from sightline.clients.page.fmp4 import FragmentMuxer
from sightline.clients.page.hub import MAX_VIEWERS, Hub
from sightline.clients.page.listening import listen, url_of
from sightline.clients.page.login import COOKIE, Logins, checked_users
from sightline.clients.page.messages import result_document
from sightline.clients.page.mjpeg import MjpegStreams
from sightline.clients.page.requests import RequestError, answered, json_body
from sightline.clients.page.security import Guard, RequireLogin
from sightline.clients.page.units import UNITS
from sightline.clients.page.viewers import Viewer
from sightline.clients.streams.results import Packet, StreamFrame, StreamResult, VideoFormat
from sightline.errors import OutputError

STATIC = Path(__file__).parent / "static"
STATE_SECONDS = 0.5
START_SECONDS = 10.0
MAX_COMMAND_BYTES = 16 << 10
MAX_LOGIN_BYTES = 4 << 10
PASSWORD_CHECKS = 2
ANNOTATED_SECONDS = 0.1
QUIET_SECONDS = 1.0
SESSION_CHECK_SECONDS = 1.0
PING_SECONDS = 60.0
MAX_EARLY_CALLS = 10_000


def _is_told(record: logging.LogRecord) -> bool:
    """That viewers who hardly read are cut off when the page closes is no error, and needs no traceback."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and "graceful shutdown" not in record.getMessage()


class PageServer:
    """The live wall of one watch: a StreamSink and a VideoSink.

    port: 0 takes a free one. host: beyond loopback it needs `users`, names with hashes of hash_password; without users
    nobody is asked who they are. control: the running watch, where cameras, rules and past events are to be had; None:
    the page shows what passes by and changes nothing. tls_certificate, tls_key: PEM files; the page then speaks HTTPS.
    Raises OutputError and PortInUseError.
    """

    def __init__(
        self,
        port: int = 8080,
        *,
        host: str = "127.0.0.1",
        control: Control | None = None,
        users: Mapping[str, str] | None = None,
        tls_certificate: Path | str | None = None,
        tls_key: Path | str | None = None,
    ) -> None:
        self._logins = Logins(checked_users(users))
        self._tls = _checked_tls(tls_certificate, tls_key)
        self._socket = BoundedListener(listen(host, port, users=self._logins.required))
        self.port = int(self._socket.getsockname()[1])
        self.url = url_of(host, self.port, "https" if self._tls else "http")
        self._control = control
        self._state: Callable[[], dict[str, Any]] = control.state if control else dict
        self._hub = Hub({"control": control is not None, "login": self._logins.required})
        self._streams = MjpegStreams()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque(maxlen=MAX_EARLY_CALLS)
        self._early_lock = threading.Lock()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._muxers: dict[int, FragmentMuxer] = {}
        self._still_pace = stills.Pace()
        self._annotated_pace = stills.Pace(ANNOTATED_SECONDS)
        self._answered_at: dict[int, float] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="page-pictures")
        self._password_checks: asyncio.Semaphore | None = None

    # Life

    def open(self, names: Sequence[str] = (), state: Callable[[], dict[str, Any]] | None = None) -> None:
        """Start serving; raises OutputError when it does not come up.

        names: cameras that are there from the start, with the ids 0, 1, …; others come with on_added. state: what /api/state
        shows, instead of the control's.
        """
        if state is not None and self._control is None:
            self._state = state
        for camera, name in enumerate(names):
            self.on_added(camera, name)
        config = uvicorn.Config(
            self._application(),
            http=PromptProtocol,
            proxy_headers=False,  # anybody can write X-Forwarded-For, and guesses are counted by address
            log_config=None,
            access_log=False,
            server_header=False,
            ws_max_size=MAX_COMMAND_BYTES,
            ws_per_message_deflate=False,
            ws_ping_timeout=PING_SECONDS,
            limit_concurrency=192,
            timeout_graceful_shutdown=1,
            ssl_certfile=self._tls[0] if self._tls else None,
            ssl_keyfile=self._tls[1] if self._tls else None,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_told)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise OutputError(f"the page did not start on port {self.port} within {START_SECONDS:.0f} s")

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None and self._thread is not None:
            self._call(self._streams.end)
            self._server.should_exit = True
            self._thread.join(5)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._socket.close()

    # What the watch tells

    def write(self, result: StreamResult) -> None:
        """Sink: send the detections and events to the viewers."""
        camera = result.source.camera
        self._answered_at[camera] = time.monotonic()
        for event in result.events:
            self.emit(event)
        if camera in self._hub.watched:
            self._call(self._hub.result, camera, result_document(result))
        if camera in self._streams.watched and self._annotated_pace.due(camera, time.monotonic()):
            self._make(self._annotated_pace, camera, self._send_annotated, result)

    def emit(self, event: Event) -> None:
        """Show an event; the same one again, with a snapshot or clip by now, replaces the first. Any thread."""
        self._call(self._hub.event, event.to_dict())

    def on_added(self, camera: int, name: str) -> None:
        """Video: a camera is watched from now on."""
        self._call(self._hub.added, camera, name)

    def on_removed(self, camera: int) -> None:
        """Video: a camera is not watched any more."""
        self._muxers.pop(camera, None)
        self._answered_at.pop(camera, None)
        self._still_pace.forget(camera)
        self._annotated_pace.forget(camera)
        self._call(self._hub.removed, camera)
        self._call(self._streams.end, camera)

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """Video: a connection begins. The codec "private" stands for video that must not be passed through."""
        self._muxers.pop(camera, None)
        if video.codec in UNITS:
            self._muxers[camera] = FragmentMuxer(video)
        playable = camera in self._muxers
        self._answered_at[camera] = time.monotonic()
        self._call(lambda: self._hub.connected(camera, epoch, video.codec, playable=playable))
        self._call(self._streams.forget, camera)

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """Video: a compressed picture."""
        muxer = self._muxers.get(camera)
        fragment = muxer.add(packet) if muxer else None
        if fragment is not None:
            self._call(self._hub.fragment, camera, epoch, fragment)

    def on_frame(self, frame: StreamFrame) -> None:
        """Video: a decoded picture; made a JPEG for viewers who cannot play the video, at most 5 a second."""
        camera, now = frame.camera, time.monotonic()
        if camera in self._hub.jpeg_cameras and self._still_pace.due(camera, now):
            self._make(self._still_pace, camera, self._send_still, frame)
        unanswered = now - self._answered_at.get(camera, -math.inf) > QUIET_SECONDS
        if camera in self._streams.watched and unanswered and self._annotated_pace.due(camera, now):
            self._make(self._annotated_pace, camera, self._send_plain, frame)

    def on_disconnected(self, camera: int) -> None:
        """Video: the connection ended; the last picture stays on the page."""
        self._muxers.pop(camera, None)

    def _make(self, pace: stills.Pace, camera: int, function: Callable[[Any], None], picture: Any) -> None:
        def work() -> None:
            try:
                function(picture)
            finally:
                pace.done(camera)

        try:
            self._pool.submit(work)
        except RuntimeError:  # the pool is closed while the cameras still stop
            pace.done(camera)

    def _send_still(self, frame: StreamFrame) -> None:
        cleaned = isinstance(frame, CleanFrame)
        self._call(self._hub.jpeg, frame.camera, frame.epoch, frame.pts_seconds, stills.still(frame), cleaned)

    def _send_plain(self, frame: StreamFrame) -> None:
        self._call(self._push, frame, stills.still(frame, stills.MAX_ANNOTATED_WIDTH))

    def _send_annotated(self, result: StreamResult) -> None:
        self._call(self._push, result.source, stills.annotated(result))

    def _push(self, frame: StreamFrame, jpeg: bytes) -> None:
        """To the MJPEG streams, unless the camera is private, or another connection, by the time it is made. On the loop."""
        if self._hub.shows(frame.camera, frame.epoch, cleaned=isinstance(frame, CleanFrame)):
            self._streams.push(frame.camera, jpeg)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run it on the page's loop, as soon as that runs."""
        with self._early_lock:
            if self._loop is None:
                self._early.append((function, arguments))
                return
        with contextlib.suppress(RuntimeError):  # the loop is closed while the cameras still stop
            self._loop.call_soon_threadsafe(function, *arguments)

    # The web server

    def _run(self) -> None:
        if self._server is not None:
            asyncio.run(self._serve(self._server))

    async def _serve(self, server: uvicorn.Server) -> None:
        if self._tls:
            hasten_tls_handshakes()
        await server.serve(sockets=[self._socket])

    def _application(self) -> Starlette:
        api = Api(self._hub, self._streams, self._state, self._control, self._may_look)
        schemes: tuple[str, ...] = ("https",) if self._tls else ("http",)
        if self._logins.required:
            schemes = ("http", "https")  # what stands in front of it may speak HTTPS
        return Starlette(
            routes=[
                *api.routes(),
                Route("/login", answered(self._login_page), methods=["GET"]),
                Route("/login", answered(self._login), methods=["POST"]),
                Route("/logout", answered(self._logout), methods=["POST"]),
                Route("/api/session", answered(self._session), methods=["GET"]),
                WebSocketRoute("/ws", self._websocket),
                Mount("/", StaticFiles(directory=STATIC, html=True)),
            ],
            middleware=[
                Middleware(Guard, schemes=schemes, any_name=self._logins.required),
                Middleware(RequireLogin, logins=self._logins),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        with self._early_lock:
            self._loop = asyncio.get_running_loop()
            for function, arguments in self._early:
                function(*arguments)
            self._early.clear()
        self._password_checks = asyncio.Semaphore(PASSWORD_CHECKS)
        ticker = asyncio.create_task(self._tick())
        self._started.set()
        yield
        ticker.cancel()
        self._streams.end()

    async def _tick(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # a state that cannot be had now is asked for again
                self._hub.tick(await asyncio.to_thread(self._state))
            await asyncio.sleep(STATE_SECONDS)

    async def _login_page(self, _: Request) -> Response:
        return FileResponse(STATIC / "login.html")

    async def _login(self, request: Request) -> Response:
        document = await json_body(request, MAX_LOGIN_BYTES)
        user, password = (
            (document.get("user"), document.get("password")) if isinstance(document, dict) else (None, None)
        )
        if not isinstance(user, str) or not isinstance(password, str) or not self._logins.required:
            raise RequestError(400, "send user and password as texts; a page without users needs no login")
        address = request.client.host if request.client else ""
        checks = self._password_checks or asyncio.Semaphore(PASSWORD_CHECKS)
        async with checks:
            wait = self._logins.throttle.wait_seconds(address, user[:64])
            if wait > 0:
                raise RequestError(
                    429, f"too many failed logins; try again in {math.ceil(wait / 60)} minutes"
                )
            token = await asyncio.to_thread(self._logins.login, user, password)
            if token is None:
                self._logins.throttle.failed(address, user[:64])
                raise RequestError(403, "user or password is wrong")
        answer = JSONResponse({"user": user})
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=bool(self._tls), path="/")
        return answer

    async def _logout(self, request: Request) -> Response:
        self._logins.logout(request.cookies.get(COOKIE))
        answer = JSONResponse({"user": None})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=bool(self._tls), path="/")
        return answer

    async def _session(self, request: Request) -> Response:
        return JSONResponse({"user": request.scope.get("sightline_user"), "login": self._logins.required})

    async def _websocket(self, websocket: WebSocket) -> None:
        hub = self._hub
        if len(hub.viewers) >= MAX_VIEWERS:
            await websocket.close(1013)
            return
        await websocket.accept()
        viewer = hub.join()
        tasks = [asyncio.create_task(_send_all(websocket, viewer))]
        if self._logins.required:
            tasks.append(asyncio.create_task(self._end_with_session(websocket)))
        try:
            while True:
                text = await websocket.receive_text()
                with contextlib.suppress(ValueError, RecursionError):
                    hub.command(viewer, json.loads(text))
        except (WebSocketDisconnect, KeyError, RuntimeError, asyncio.CancelledError):
            pass  # gone, or it sent bytes where the page sends text, or the server ends
        finally:
            hub.leave(viewer)
            for task in tasks:
                task.cancel()

    def _may_look(self, token: str | None) -> bool:
        return not self._logins.required or self._logins.user_of(token) is not None

    async def _end_with_session(self, websocket: WebSocket) -> None:
        """Close the socket when its session has ended; an open page keeps the session from idling away."""
        while self._may_look(websocket.cookies.get(COOKIE)):
            await asyncio.sleep(SESSION_CHECK_SECONDS)
        with contextlib.suppress(RuntimeError):
            await websocket.close(1008)


async def _send_all(websocket: WebSocket, viewer: Viewer) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await viewer.next_message()
            if isinstance(message, str):
                await websocket.send_text(message)
            else:
                await websocket.send_bytes(message)
            await asyncio.sleep(
                0
            )  # sending need not wait: others, and the end of this connection, get their turn


def _checked_tls(certificate: Path | str | None, key: Path | str | None) -> tuple[str, str] | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise OutputError("the page needs tls_certificate and tls_key for HTTPS, or neither of them")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise OutputError(
            f"the page cannot use the certificate {certificate} with the key {key} ({error}); "
            "give two PEM files that belong together"
        ) from None
    return str(certificate), str(key)
