# SPDX-License-Identifier: Apache-2.0
"""RTSP 1.0 messages (RFC 2326) as a server needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    551: "Option Not Supported",
    503: "Service Unavailable",
}
_LIMIT_HEADERS = 64
_LIMIT_BODY_BYTES = 1 << 16


@dataclass(frozen=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


async def read_request(
    reader: asyncio.StreamReader, heard: Callable[[], None] = lambda: None
) -> Request | None:
    """Next request of a connection, skipping interleaved data from the client; None at its end.

    heard: called whenever the client has sent something. Raises ValueError where the bytes are no RTSP.
    """
    line = await _first_line(reader, heard)
    if line is None:
        return None
    parts = line.decode("utf-8", "replace").split()
    if len(parts) != 3 or not parts[2].startswith("RTSP/"):
        raise ValueError("not an RTSP request")
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("utf-8", "replace").partition(":")
        headers[name.strip().lower()] = value.strip()
        if len(headers) > _LIMIT_HEADERS:
            raise ValueError("too many headers")
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _LIMIT_BODY_BYTES:
        raise ValueError("the body is too long")
    await reader.readexactly(length)
    return Request(parts[0].upper(), parts[1], headers)


async def _first_line(reader: asyncio.StreamReader, heard: Callable[[], None]) -> bytes | None:
    while True:
        start = await reader.read(1)
        if not start:
            return None
        heard()
        if start == b"$":  # the client's RTCP on the same connection
            head = await reader.readexactly(3)
            await reader.readexactly(int.from_bytes(head[1:], "big"))
        elif start not in b"\r\n":
            return start + await reader.readline()


def response(
    request: Request, status: int = 200, headers: dict[str, str] | None = None, body: str = ""
) -> bytes:
    """Bytes of an answer."""
    lines = [
        f"RTSP/1.0 {status} {_REASONS.get(status, 'Error')}",
        f"CSeq: {request.headers.get('cseq', '0')}",
    ]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/sdp", f"Content-Length: {len(body.encode())}"]
    return "\r\n".join([*lines, "", body]).encode()


def transport_fields(header: str) -> dict[str, str]:
    """Fields of the first transport a client offers; its protocol stands under ''."""
    first, *rest = header.split(",")[0].split(";")
    fields = {"": first.strip().upper()}
    for item in rest:
        name, _, value = item.partition("=")
        fields[name.strip().lower()] = value.strip()
    return fields


def number_pair(text: str, most: int = 65535) -> tuple[int, int]:
    """'4-5' as (4, 5); '4' as (4, 5). Raises ValueError, also for numbers above `most`."""
    first, _, second = text.partition("-")
    low = int(first)
    high = int(second) if second else low + 1
    if not (0 <= low <= most and 0 <= high <= most):
        raise ValueError(f"{text!r} is no pair of numbers up to {most}")
    return low, high
