# SPDX-License-Identifier: Apache-2.0
"""Where a server's RTP and RTCP packets go: into the RTSP connection, or to a pair of the client's UDP ports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Protocol

SLOW_CLIENT_BYTES = 1 << 20
_INTERLEAVED = 0x24
_FIRST_PORT, _LAST_PORT, _ATTEMPTS = 20_000, 60_000, 50


class Channel(Protocol):
    """Where RTP and RTCP packets go."""

    def send(self, packet: bytes, *, control: bool = False) -> None:
        """Send one packet, or keep it until the client takes it."""

    def full(self) -> bool:
        """True while so much waits for the client that nothing more should be sent."""

    def close(self) -> None:
        """Nothing more is sent."""


class InterleavedChannel:
    """Packets inside the RTSP connection (RFC 2326, 10.12). slow_bytes: it is full when more waits for the client."""

    def __init__(
        self, writer: asyncio.StreamWriter, numbers: tuple[int, int], slow_bytes: int = SLOW_CLIENT_BYTES
    ) -> None:
        self._writer, self._numbers, self._slow_bytes = writer, numbers, slow_bytes

    def send(self, packet: bytes, *, control: bool = False) -> None:
        """Send one packet, unless the connection is being closed."""
        head = bytes([_INTERLEAVED, self._numbers[control]]) + len(packet).to_bytes(2, "big")
        if not self._writer.is_closing():
            self._writer.write(head + packet)

    def full(self) -> bool:
        """True while more than slow_bytes wait."""
        return self._writer.transport.get_write_buffer_size() > self._slow_bytes

    def close(self) -> None:
        """The connection belongs to the session."""


class _Hearing(asyncio.DatagramProtocol):
    """Tells that the client has sent something, which is all that its reports are good for here.

    paused: more waits to be sent than the event loop wants to keep.
    """

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self.paused = False

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._heard()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False


def _same(protocol: _Hearing) -> _Hearing:
    return protocol


class UdpChannel:
    """A pair of local UDP ports, RTP on the even one, that send to the client's pair."""

    def __init__(
        self,
        sockets: list[asyncio.DatagramTransport],
        hearing: list[_Hearing],
        host: str,
        ports: tuple[int, int],
    ) -> None:
        self._sockets, self._hearing, self._host, self._ports = sockets, hearing, host, ports

    @classmethod
    async def open(
        cls,
        host: str,
        ports: tuple[int, int],
        *,
        local_host: str = "127.0.0.1",
        heard: Callable[[], None] = lambda: None,
    ) -> UdpChannel:
        """A pair on `local_host`; `heard` is called for each packet of the client. Raises OSError."""
        loop = asyncio.get_running_loop()
        for _ in range(_ATTEMPTS):
            base = random.randrange(_FIRST_PORT, _LAST_PORT, 2)
            opened: list[asyncio.DatagramTransport] = []
            hearing = [_Hearing(heard), _Hearing(heard)]
            try:
                for port, protocol in zip((base, base + 1), hearing, strict=True):
                    transport, _ = await loop.create_datagram_endpoint(
                        partial(_same, protocol), (local_host, port)
                    )
                    opened.append(transport)
                return cls(opened, hearing, host, ports)
            except OSError:
                for transport in opened:
                    transport.close()
        raise OSError("no free pair of UDP ports was found")

    @property
    def server_ports(self) -> tuple[int, int]:
        """The local pair."""
        first, second = (socket.get_extra_info("sockname")[1] for socket in self._sockets)
        return first, second

    def send(self, packet: bytes, *, control: bool = False) -> None:
        """Send one packet; it may be lost."""
        self._sockets[control].sendto(packet, (self._host, self._ports[control]))

    def full(self) -> bool:
        """True while the network takes less than is sent; mostly UDP loses instead."""
        return self._hearing[0].paused

    def close(self) -> None:
        """Close the ports."""
        for socket in self._sockets:
            socket.close()
