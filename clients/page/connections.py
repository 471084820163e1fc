# SPDX-License-Identifier: Apache-2.0
"""Bounds on the page's connections: how many may be open, and how long one may take to ask for something."""

from __future__ import annotations

import asyncio
import functools
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0
MAX_CONNECTIONS = 512


class BoundedListener(socket.socket):
    """A listening socket of which at most MAX_CONNECTIONS accepted ones are open; further ones are closed at once.

    Counted where they are accepted, so that those count too that never end a TLS handshake: descriptors cannot run out.
    """

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(fileno=listener.detach())
        self._accepted: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, object]:
        """As a socket's own. Raises ConnectionAbortedError for one too many, which asyncio takes for a client that left."""
        accepted, address = super().accept()
        still_open = [one for one in self._accepted if one.fileno() != -1]
        if len(still_open) >= MAX_CONNECTIONS:
            accepted.close()
            raise ConnectionAbortedError(f"{MAX_CONNECTIONS} connections are open")
        self._accepted = [*still_open, accepted]
        return accepted, address


def hasten_tls_handshakes() -> None:
    """Let servers of the running loop, all of them with TLS, wait no longer for a handshake than for a request.

    asyncio waits a minute, and uvicorn leaves it at that.
    """
    loop = asyncio.get_running_loop()
    create = functools.partial(loop.create_server, ssl_handshake_timeout=REQUEST_SECONDS)
    setattr(loop, "create_server", create)  # noqa: B010 - a foreign name


class PromptProtocol(H11Protocol):
    """uvicorn's protocol, that ends a connection on which no whole request's headers came for REQUEST_SECONDS.

    uvicorn waits for a first request for ever, and for the rest of one that has begun; limit_concurrency counts those too.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._wait_no_more()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Another protocol takes over."""
        self._wait_no_more()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """An answer was sent; the next request may come."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._wait_for_request()

    def _wait_for_request(self) -> None:
        self._wait_no_more()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._end_if_idle)

    def _wait_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
