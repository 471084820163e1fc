# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that are started later, or more than once."""

from __future__ import annotations

import contextlib
import secrets
import socket

_given: set[int] = set()


def lasting_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, and which the kernel gives to no other process meanwhile.

    What a Linux kernel gives by itself begins at 32768 where nobody has set it otherwise.
    """
    while True:
        found = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", found))
            if found not in _given:
                _given.add(found)
                return found
