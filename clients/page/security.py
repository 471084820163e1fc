# SPDX-License-Identifier: Apache-2.0
"""Who may talk to the page: names of this machine only, and WebSockets only from the page itself."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def split_host(host: str) -> tuple[str, str]:
    """Name and port of a Host header; the port may be empty."""
    if host.startswith("["):
        name, _, rest = host.partition("]")
        return (
            (name.lower() + "]" + rest, "") if rest[:1] not in ("", ":") else (name.lower() + "]", rest[1:])
        )
    name, _, port = host.partition(":")
    return name.lower(), port


def host_allowed(host: str) -> bool:
    """True for this machine's own names: a foreign name that resolves to 127.0.0.1 is DNS rebinding."""
    return split_host(host)[0] in LOCAL_NAMES


def origin_allowed(origin: str | None, host: str) -> bool:
    """True for the page's own origin, and for programs other than browsers, which send none."""
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return (
        parts.scheme == "http" and host_allowed(parts.netloc) and split_host(parts.netloc) == split_host(host)
    )


class LocalOnly:
    """ASGI middleware: refuses foreign Host and Origin headers and adds the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        allowed = host_allowed(host) and origin_allowed(headers.get("origin"), host)
        if not allowed and scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        if not allowed:
            refusal = PlainTextResponse(
                "This page is served to this machine only, as localhost or 127.0.0.1.\n", 403
            )
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)
