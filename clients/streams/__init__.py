# SPDX-License-Identifier: Apache-2.0
"""Live cameras: read, decode, newest frame wins, detect, sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.lazy import lazy_attributes

if TYPE_CHECKING:
    from sightline.clients.streams.events import EventFile
    from sightline.clients.streams.names import Source, parse_sources
    from sightline.clients.streams.recording import Recording
    from sightline.clients.streams.results import StreamResult
    from sightline.clients.streams.watch import Watch

_HOMES = {
    "EventFile": "sightline.clients.streams.events",
    "Recording": "sightline.clients.streams.recording",
    "Source": "sightline.clients.streams.names",
    "StreamResult": "sightline.clients.streams.results",
    "Watch": "sightline.clients.streams.watch",
    "parse_sources": "sightline.clients.streams.names",
}

__all__ = ["EventFile", "Recording", "Source", "StreamResult", "Watch", "parse_sources"]

__getattr__ = lazy_attributes(__name__, _HOMES)
