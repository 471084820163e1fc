# SPDX-License-Identifier: Apache-2.0
"""A small RTSP server in plain asyncio: the fallback without GStreamer, and the tests' provoker of faults."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from sightline.clients.rtsp.channels import Channel, InterleavedChannel, UdpChannel
from sightline.clients.rtsp.description import session_description
from sightline.clients.rtsp.digest import DigestGuard, challenge, new_nonce
from sightline.clients.rtsp.messages import (
    METHODS,
    Request,
    number_pair,
    read_request,
    response,
    transport_fields,
)
from sightline.errors import PortInUseError
from sightline.perf.cameras.clip_file import Clip
from sightline.perf.cameras.faults import Faults
from sightline.perf.cameras.player import Player

_SESSION_TIMEOUT_SECONDS = 60
_STOP_SECONDS = 30.0  # against a hang only


class Camera:
    """One mount: what it plays, what is wrong with it, who watches it."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.faults = Faults()
        self.sessions: set[Session] = set()
        self.refused_logins = 0
        self._started = time.monotonic()

    def live_frame(self) -> int:
        return int((time.monotonic() - self._started) * self.clip.frames_per_second)


class Session:
    """The dialogue with one client."""

    def __init__(
        self,
        cameras: Sequence[Camera],
        guard: DigestGuard | None,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        seed: int | None = None,
    ) -> None:
        self._seed = seed
        self._cameras, self._guard = cameras, guard
        self._reader, self._writer = streams
        self._nonce = new_nonce()
        self._number = secrets.token_hex(8)
        self._player: Player | None = None
        self._playing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answer requests until the client leaves, sends nonsense or is disconnected."""
        try:
            while (request := await read_request(self._reader)) is not None:
                await self._answer(request)
                if request.method == "TEARDOWN":
                    break
        except (ValueError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._end()

    def disconnect(self) -> None:
        """Cut the connection without a goodbye."""
        self._writer.transport.abort()

    def _end(self) -> None:
        if self._playing:
            self._playing.cancel()
        if self._player:
            self._player.channel.close()
        for camera in self._cameras:
            camera.sessions.discard(self)
        self._writer.close()

    async def _answer(self, request: Request) -> None:
        camera = self._camera(request)
        if request.method not in METHODS:
            await self._write(response(request, 405, {"Allow": ", ".join(METHODS)}))
        elif request.method == "OPTIONS":
            await self._write(response(request, headers={"Public": ", ".join(METHODS)}))
        elif camera is None:
            await self._write(response(request, 404))
        else:
            camera.sessions.add(self)
            await self._answer_for(camera, request)

    async def _answer_for(self, camera: Camera, request: Request) -> None:
        if camera.faults.delay_seconds:
            await asyncio.sleep(camera.faults.delay_seconds)
        refusal = self._refusal(request, camera)
        if refusal:
            await self._write(refusal)
            return
        match request.method:
            case "DESCRIBE":
                await self._describe(request, camera)
            case "SETUP":
                await self._setup(request, camera)
            case "PLAY":
                await self._play(request)
            case _:
                await self._write(response(request, headers={"Session": self._number}))

    def _camera(self, request: Request) -> Camera | None:
        parts = request.path.strip("/").split("/")
        if (
            len(parts) < 2
            or parts[0] != "camera"
            or not parts[1].isdecimal()
            or int(parts[1]) >= len(self._cameras)
        ):
            return None
        return self._cameras[int(parts[1])]

    def _refusal(self, request: Request, camera: Camera) -> bytes | None:
        status = camera.faults.status if request.method == "DESCRIBE" else None
        if self._guard and not status:
            authorization = request.headers.get("authorization", "")
            status = None if self._guard.admits(request.method, authorization, self._nonce) else 401
            if status and authorization:
                camera.refused_logins += 1
        if status is None:
            return None
        headers = {"WWW-Authenticate": challenge(self._nonce)} if status == 401 else None
        return response(request, status, headers)

    async def _describe(self, request: Request, camera: Camera) -> None:
        if camera.faults.stall_describe:
            await self._reader.read()  # until the client gives up
            return
        base = request.url.rstrip("/") + "/"
        clip = camera.clip
        body = session_description(clip.sps, clip.pps, clip.frames_per_second, "Sightline camera")
        if camera.faults.sdp:
            body = camera.faults.sdp(body)
        await self._write(response(request, headers={"Content-Base": base}, body=body))

    async def _setup(self, request: Request, camera: Camera) -> None:
        offered = transport_fields(request.headers.get("transport", ""))
        channel: Channel
        if offered[""] == "RTP/AVP/TCP":
            numbers = number_pair(offered.get("interleaved") or "0-1", 255)
            channel = InterleavedChannel(self._writer, numbers)
            agreed = f"RTP/AVP/TCP;unicast;interleaved={numbers[0]}-{numbers[1]}"
        elif offered[""] in ("RTP/AVP", "RTP/AVP/UDP") and "client_port" in offered:
            ports = number_pair(offered["client_port"])
            udp = channel = await UdpChannel.open(self._writer.get_extra_info("peername")[0], ports)
            agreed = "RTP/AVP;unicast;client_port={}-{};server_port={}-{}".format(*ports, *udp.server_ports)
        else:
            await self._write(response(request, 461))
            return
        if self._player:
            self._player.channel.close()
        self._player = Player(camera.clip, camera.faults, channel, camera.live_frame(), self._seed)
        headers = {"Transport": agreed, "Session": f"{self._number};timeout={_SESSION_TIMEOUT_SECONDS}"}
        await self._write(response(request, headers=headers))

    async def _play(self, request: Request) -> None:
        if self._player is None:
            await self._write(response(request, 454))
            return
        sender = self._player.sender
        info = f"url={request.url.rstrip('/')}/track0;seq={sender.sequence};rtptime={sender.first_timestamp}"
        await self._write(
            response(request, headers={"Session": self._number, "Range": "npt=now-", "RTP-Info": info})
        )
        if self._playing is None:
            self._playing = asyncio.create_task(self._player.run())

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class AsyncioCameraServer:
    """Serves clips at rtsp://127.0.0.1:port/camera/N from a thread of its own.

    `faults(N)` holds the switches of a camera; the other methods provoke what is an event, not a state.
    seed: makes lost and late packets the same each time. connects: monotonic seconds of each connection that came.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        port: int = 0,
        user: str | None = None,
        password: str | None = None,
        certificate: Path | None = None,
        seed: int | None = None,
    ) -> None:
        self._cameras = [Camera(clip) for clip in clips]
        self._guard = DigestGuard(user, password or "") if user else None
        self._certificate = certificate
        self._seed = seed
        self.connects: list[float] = []
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="cameras", daemon=True)

    def start(self) -> None:
        """Listen. Raises PortInUseError."""
        self._thread.start()
        try:
            self._call(self._listen)
        except OSError as error:
            self.stop()
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(
                    f"port {self.port} is in use; choose another, or 0 for a free one"
                ) from error
            raise

    def stop(self) -> None:
        """Close all connections and end the thread."""
        if not self._thread.is_alive():
            return
        self._call(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)

    def faults(self, camera: int) -> Faults:
        return self._cameras[camera].faults

    def sessions(self, camera: int) -> int:
        """Number of clients that have asked for this camera and are still connected."""
        return len(self._cameras[camera].sessions)

    def refused_logins(self, camera: int) -> int:
        """How often a client gave a wrong user or password for this camera."""
        return self._cameras[camera].refused_logins

    def kill_connections(self, camera: int) -> int:
        """Cut every connection of this camera; returns how many there were."""

        sessions = list(self._cameras[camera].sessions)

        async def cut() -> None:
            for session in sessions:
                session.disconnect()

        self._call(cut)
        return len(sessions)

    def refuse(self, refused: bool = True) -> None:
        """Stop listening (connections are refused, those that play go on), or listen again, same port."""
        self._call(self._stop_listening if refused else self._listen)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _call(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(_STOP_SECONDS)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls())
            self.port = self._server.sockets[0].getsockname()[1]

    def _tls(self) -> ssl.SSLContext | None:
        if self._certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        return context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connects.append(time.monotonic())
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(asyncio.CancelledError):
            await Session(self._cameras, self._guard, (reader, writer), self._seed).run()

    async def _stop_listening(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    async def _close(self) -> None:
        await self._stop_listening()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the cancelled players end
