# SPDX-License-Identifier: Apache-2.0
"""A cameras file, running: engine, analytics, events, page, and changes while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.lazy import lazy_attributes

if TYPE_CHECKING:
    from sightline.clients.service.command_line import described
    from sightline.clients.service.service import WatchService

_HOMES = {
    "WatchService": "sightline.clients.service.service",
    "described": "sightline.clients.service.command_line",
}

__all__ = ["WatchService", "described"]

__getattr__ = lazy_attributes(__name__, _HOMES)
