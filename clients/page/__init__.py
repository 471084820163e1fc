# SPDX-License-Identifier: Apache-2.0
"""The live page: the cameras' own video in the browser with boxes drawn above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.clients.page.server import PageServer

__all__ = ["PageServer"]


def __getattr__(name: str) -> Any:
    if name != "PageServer":
        raise AttributeError(f"module 'sightline.clients.page' has no attribute {name!r}")
    from sightline.clients.page.server import PageServer

    return PageServer
