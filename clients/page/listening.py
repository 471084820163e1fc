# SPDX-License-Identifier: Apache-2.0
"""The socket on which the page, or another server for people, listens."""

from __future__ import annotations

import errno
import ipaddress
import socket

from sightline.errors import OutputError, PortInUseError

_PAGE_USERS = "users (page: users: in the cameras file, with hashes of `sightline page-password`)"


def listen(
    host: str,
    port: int,
    *,
    users: bool,
    what: str = "the page",
    login: str = _PAGE_USERS,
    other_port: str = "another port with --page",
) -> socket.socket:
    """A bound socket. Raises OutputError for an address beyond loopback without users, PortInUseError.

    what, login, other_port: for the errors: who listens, what protects it, how another port is chosen.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or "127.0.0.1", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise OutputError(
            f"the host {host!r} of {what} is not known; give an address of this machine, as 127.0.0.1 or 0.0.0.0"
        ) from None
    if not users and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise OutputError(
            f"{what} would be open to everybody on {host}; give it {login} or let it listen on 127.0.0.1"
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)  # who comes before the web server is up waits and is not refused
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise OutputError(
                f"the host {host!r} of {what} is no address of this machine; use one, as 127.0.0.1 or 0.0.0.0"
            ) from None
        raise PortInUseError(
            f"{what} cannot listen on {host}:{port} ({error.strerror}); choose {other_port}, or 0 for a free one"
        ) from None
    return listener


def url_of(host: str, port: int, scheme: str) -> str:
    """The server's address for people; of all interfaces this machine's name stands there."""
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    elif ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host or '127.0.0.1'}:{port}/"
