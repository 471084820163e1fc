# SPDX-License-Identifier: Apache-2.0
"""The live wall: the cameras' own video in the browser with boxes, zones and events above it, and its HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.clients.page.login import hash_password
    from sightline.clients.page.server import PageServer

__all__ = ["PageServer", "hash_password"]


def __getattr__(name: str) -> Any:
    if name == "PageServer":
        from sightline.clients.page.server import PageServer

        return PageServer
    if name == "hash_password":
        from sightline.clients.page.login import hash_password

        return hash_password
    raise AttributeError(f"module 'sightline.clients.page' has no attribute {name!r}")
