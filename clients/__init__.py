# SPDX-License-Identifier: Apache-2.0
"""Everything that asks a server: request clients, streams, and what they show.

from sightline.clients import Client

with Client("localhost:8001") as client:
    for detection in client.detect("street_detect", "photo.jpg"):
        print(detection.label, detection.score, detection.box)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.lazy import lazy_attributes

if TYPE_CHECKING:
    from sightline.clients._pending import PendingDetection, PendingResult
    from sightline.clients.aio import AsyncClient
    from sightline.clients.client import Client
    from sightline.clients.draw import (
        class_colour,
        draw_class_map,
        draw_classification,
        draw_detections,
        draw_result,
    )

__all__ = [
    "AsyncClient",
    "Client",
    "PendingDetection",
    "PendingResult",
    "class_colour",
    "draw_class_map",
    "draw_classification",
    "draw_detections",
    "draw_result",
]

_HOMES = {
    "AsyncClient": "sightline.clients.aio",
    "Client": "sightline.clients.client",
    "PendingDetection": "sightline.clients._pending",
    "PendingResult": "sightline.clients._pending",
    "class_colour": "sightline.clients.draw",
    "draw_class_map": "sightline.clients.draw",
    "draw_classification": "sightline.clients.draw",
    "draw_detections": "sightline.clients.draw",
    "draw_result": "sightline.clients.draw",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
