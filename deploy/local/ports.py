# SPDX-License-Identifier: Apache-2.0
"""Free ports, and who holds one that is not free."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

from sightline.errors import PortInUseError, ServerError

LOOPBACK = "127.0.0.1"
_LISTEN = "0A"


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports of loopback that nobody uses at this moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind((LOOPBACK, 0))
        return [int(item.getsockname()[1]) for item in sockets]


def check_port(port: int, option: str) -> None:
    """Raise PortInUseError, with the program that holds it, where the port of loopback cannot be bound."""
    if not 1 <= port <= 65535:
        raise ServerError(f"port is {port}; it must lie in 1..65535 (0 in the Python API: any free one)")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not count
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except PermissionError as error:
            raise ServerError(f"port {port} needs root; use {option} with a port above 1023") from error
        except OSError as error:
            holder = port_holder(port) or "another program (of another user, so its name is hidden)"
            raise PortInUseError(
                f"port {port} is held by {holder}; end it, or choose another port with {option}"
            ) from error


def port_holder(port: int) -> str | None:
    """Name and PID of the program that listens on the TCP port; None where it cannot be known."""
    inodes = listening_inodes(port)
    if not inodes:
        return None
    targets = {f"socket:[{inode}]" for inode in inodes}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _holds(entry, targets):
            return f"{_program(entry)} (PID {entry})"
    return None


def listening_inodes(port: int) -> set[str]:
    """Socket inodes that listen on the TCP port, of any address."""
    return {inode for listening, _, inode in listening_sockets() if listening == port}


def listening_sockets() -> list[tuple[int, str, str]]:
    """(port, local address as the kernel writes it in hexadecimal, inode) of each listening TCP socket."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                address, _, port = fields[1].rpartition(":")
                if fields[3] == _LISTEN:
                    found.append((int(port, 16), address, fields[9]))
    return found


def _holds(pid: str, targets: set[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for descriptor in os.listdir(folder):
            with suppress(OSError):
                if os.readlink(f"{folder}/{descriptor}") in targets:
                    return True
    return False


def _program(pid: str) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return "a program"
