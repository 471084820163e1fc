# SPDX-License-Identifier: Apache-2.0
"""Live cameras: read, decode, newest frame wins, detect, sinks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.clients.streams.events import EventFile
    from sightline.clients.streams.names import Source, parse_sources
    from sightline.clients.streams.recording import Recording
    from sightline.clients.streams.results import StreamResult
    from sightline.clients.streams.watch import Watch

_HOMES = {
    "EventFile": "events",
    "Recording": "recording",
    "Source": "names",
    "StreamResult": "results",
    "Watch": "watch",
    "parse_sources": "names",
}

__all__ = ["EventFile", "Recording", "Source", "StreamResult", "Watch", "parse_sources"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline.clients.streams' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sightline.clients.streams.{_HOMES[name]}"), name)
