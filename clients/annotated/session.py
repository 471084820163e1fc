# SPDX-License-Identifier: Apache-2.0
"""The RTSP dialogue with one client: a connection is a session and plays one camera."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from urllib.parse import unquote

from sightline.clients.annotated.cameras import AnnotatedCamera, AnnotatedCameras
from sightline.clients.annotated.encoder import parameter_sets
from sightline.clients.annotated.viewer import Viewer
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
from sightline.errors import SightlineError

SESSION_SECONDS = 60
GREETING_SECONDS = 15
FIRST_PICTURE_SECONDS = 5.0
WAITING_BYTES = 512 << 10
MAX_WRONG_LOGINS = 3
_POLL_SECONDS = 0.05
_NO_REQUEST = Request("", "")


class Session:
    """Answers one client's requests. idle: is called with a camera that nobody plays any more.

    plays: PLAY was answered. heard_at: when something last came from the client, monotonic seconds.
    """

    def __init__(
        self,
        cameras: AnnotatedCameras,
        guard: DigestGuard | None,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        idle: Callable[[AnnotatedCamera], None],
    ) -> None:
        self._cameras, self._guard, self._idle = cameras, guard, idle
        self._reader, self._writer = streams
        self._nonce = new_nonce()
        self._number = secrets.token_hex(8)
        self._wrong_logins = 0
        self._camera: AnnotatedCamera | None = None
        self._viewer: Viewer | None = None
        self.plays = False
        self.heard_at = time.monotonic()

    async def run(self) -> None:
        """Answer requests until the client leaves, sends nonsense or is disconnected."""
        try:
            while (request := await read_request(self._reader, self._heard)) is not None:
                await self._write(await self._answer(request))
                if request.method == "TEARDOWN" or self._wrong_logins >= MAX_WRONG_LOGINS:
                    break
        except ValueError:
            self._writer.write(response(_NO_REQUEST, 400))
        except (OSError, asyncio.IncompleteReadError):
            pass  # it is gone
        finally:
            self._end()

    def expired(self, now: float) -> bool:
        """True when nothing was heard of the client for longer than it may be silent."""
        return now - self.heard_at > (SESSION_SECONDS if self.plays else GREETING_SECONDS)

    def disconnect(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()

    def _heard(self) -> None:
        self.heard_at = time.monotonic()

    def _end(self) -> None:
        if self._viewer:
            self._viewer.channel.close()
            if self._camera and self._camera.leave(self._viewer):
                self._idle(self._camera)
        self._writer.close()

    def _ended_by_camera(self) -> None:
        if self._viewer and self._viewer.channel.full():
            self.disconnect()
        else:
            self._writer.close()

    async def _answer(self, request: Request) -> bytes:
        """The answer; what goes out of PLAY before its pictures is written by then."""
        if request.method not in METHODS:
            return response(request, 405, {"Allow": ", ".join(METHODS)})
        if "require" in request.headers:
            return response(request, 551, {"Unsupported": request.headers["require"]})
        if request.method == "OPTIONS":
            return response(request, headers={"Public": ", ".join(METHODS)})
        if not self._admitted(request):
            return response(request, 401, {"WWW-Authenticate": challenge(self._nonce)})
        if self._is_of_another_session(request):
            return response(request, 454)
        try:
            match request.method:
                case "DESCRIBE":
                    return await self._describe(request)
                case "SETUP":
                    return await self._setup(request)
                case "PLAY":
                    return await self._play(request)
                case _:
                    return response(request, headers={"Session": self._number})
        except ValueError:
            return response(request, 400)

    def _admitted(self, request: Request) -> bool:
        authorization = request.headers.get("authorization", "")
        if self._guard is None or self._guard.admits(request.method, authorization, self._nonce):
            return True
        self._wrong_logins += bool(authorization)
        return False

    def _is_of_another_session(self, request: Request) -> bool:
        named = request.headers.get("session", "").partition(";")[0].strip()
        return bool(named) and named != self._number

    def _camera_of(self, request: Request) -> AnnotatedCamera | None:
        """The camera of …/NAME and …/NAME/track0. Raises ValueError."""
        name, _, track = request.path.strip("/").partition("/")
        return self._cameras.named(unquote(name)) if track in ("", "track0") else None

    async def _describe(self, request: Request) -> bytes:
        camera = self._camera_of(request)
        if camera is None:
            return response(request, 404)
        until = time.monotonic() + FIRST_PICTURE_SECONDS
        while camera.size is None and not camera.gone and time.monotonic() < until:
            await asyncio.sleep(_POLL_SECONDS)
        if camera.size is None:
            return response(request, 404 if camera.gone else 503)
        rate = self._cameras.rate
        try:
            sps, pps = await asyncio.to_thread(parameter_sets, *camera.size, rate)
        except SightlineError:
            return response(request, 503)
        body = session_description(sps, pps, rate, "Sightline, annotated")
        return response(request, headers={"Content-Base": request.url.rstrip("/") + "/"}, body=body)

    async def _setup(self, request: Request) -> bytes:
        camera = self._camera_of(request)
        if camera is None:
            return response(request, 404)
        if self._viewer:
            return response(request, 455)
        if self._cameras.full:
            return response(request, 453)
        opened = await self._channel(transport_fields(request.headers.get("transport", "")))
        if opened is None:
            return response(request, 461)
        channel, agreed = opened
        self._camera, self._viewer = camera, Viewer(channel, self._ended_by_camera)
        session = f"{self._number};timeout={SESSION_SECONDS}"
        return response(request, headers={"Transport": agreed, "Session": session})

    async def _channel(self, offered: dict[str, str]) -> tuple[Channel, str] | None:
        """The channel of the client's offer and how it is told of it. Raises ValueError."""
        if offered[""] == "RTP/AVP/TCP":
            numbers = number_pair(offered.get("interleaved") or "0-1", 255)
            agreed = f"RTP/AVP/TCP;unicast;interleaved={numbers[0]}-{numbers[1]}"
            return InterleavedChannel(self._writer, numbers, WAITING_BYTES), agreed
        if offered[""] not in ("RTP/AVP", "RTP/AVP/UDP") or "client_port" not in offered:
            return None
        ports = number_pair(offered["client_port"])
        if not all(ports):
            raise ValueError("port 0 takes no packets")
        udp = await UdpChannel.open(
            self._writer.get_extra_info("peername")[0],  # never another machine's address
            ports,
            local_host=self._writer.get_extra_info("sockname")[0],
            heard=self._heard,
        )
        return udp, "RTP/AVP;unicast;client_port={}-{};server_port={}-{}".format(*ports, *udp.server_ports)

    async def _play(self, request: Request) -> bytes:
        if self._viewer is None or self._camera is None:
            return response(request, 455)
        if self._camera.gone:
            return response(request, 404)
        headers = {"Session": self._number, "Range": "npt=now-"}
        if self.plays:
            return response(request, headers=headers)
        if self._cameras.full:
            return response(request, 453)
        sender = self._viewer.sender
        headers["RTP-Info"] = (
            f"url={request.url.rstrip('/')}/track0;seq={sender.sequence};rtptime={sender.first_timestamp}"
        )
        self.plays = True
        self._camera.join(
            self._viewer
        )  # its first picture comes in a later turn of the loop, behind the answer
        return response(request, headers=headers)

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
