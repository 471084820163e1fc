# SPDX-License-Identifier: Apache-2.0
"""Who may talk to the page: names of this machine only unless there is a login, the page itself, and who is logged in."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.clients.page.login import COOKIE, Logins

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OPEN_PATHS = frozenset(
    {"/healthz", "/login", "/login.html", "/icon.svg", "/style.css", "/js/login.js", "/js/theme.js"}
)
"""What everybody gets; all other paths, those that are not there too, need a login where there are users."""


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


def origin_allowed(
    origin: str | None, host: str, *, schemes: tuple[str, ...] = ("http",), any_name: bool = False
) -> bool:
    """True for the page's own origin, and for programs other than browsers, which send none."""
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return (
        parts.scheme in schemes
        and bool(parts.netloc)
        and (any_name or host_allowed(parts.netloc))
        and split_host(parts.netloc) == split_host(host)
    )


class Guard:
    """ASGI middleware: refuses foreign Host, Origin and Sec-Fetch-Site headers, and adds the security headers.

    any_name: every Host is taken, for which a login must protect the page. schemes: what the page's own origin begins with.
    """

    def __init__(self, app: ASGIApp, schemes: tuple[str, ...] = ("http",), any_name: bool = False) -> None:
        self._app, self._schemes, self._any_name = app, schemes, any_name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope))
        if refusal and scope["type"] == "websocket":
            await _close(receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers.setdefault(
                    "Cache-Control", "no-store"
                )  # but for pictures of events, which never change
            await send(message)

        if refusal:
            await PlainTextResponse(refusal + "\n", 403)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> str:
        """Why the request is refused; empty where it is not."""
        host = headers.get("host", "")
        if not host or not (self._any_name or host_allowed(host)):
            return (
                "This page is served to this machine only, as localhost or 127.0.0.1. "
                "Give it users to reach it under other names."
            )
        if not origin_allowed(headers.get("origin"), host, schemes=self._schemes, any_name=self._any_name):
            return "Another site's pages may not use this one. Open its own address."
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign and headers.get("sec-fetch-mode") != "navigate":
            return "Another site's pages may not use this one. Open its own address."
        return ""


class RequireLogin:
    """ASGI middleware: what is not in OPEN_PATHS needs a session, where there are users."""

    def __init__(self, app: ASGIApp, logins: Logins) -> None:
        self._app, self._logins = app, logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] not in ("http", "websocket") or not self._logins.required:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        user = self._logins.user_of(connection.cookies.get(COOKIE))
        scope["sightline_user"] = user
        if user is not None or (scope["type"] == "http" and scope["path"] in OPEN_PATHS):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await _close(receive, send)
        else:
            await _to_login(connection)(scope, receive, send)


def _to_login(connection: HTTPConnection) -> Response:
    wants_page = "text/html" in connection.headers.get("accept", "")
    if connection.scope["method"] == "GET" and wants_page:
        return RedirectResponse("/login", 303)
    return JSONResponse({"error": "log in first: POST /login with user and password"}, 401)


async def _close(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1008})
