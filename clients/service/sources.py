# SPDX-License-Identifier: Apache-2.0
"""A camera of the cameras file as the engine wants it."""

from __future__ import annotations

from sightline.clients.analytics.settings import Analytics
from sightline.clients.config.watch_file import Camera, WatchFile
from sightline.clients.streams.names import Source

_SOURCE_FIELDS = (
    "url", "loop", "model", "rate", "deadline_seconds", "transport", "decode", "hardware", "paced", "tls_verify",
)  # fmt: skip


def source_of(name: str, camera: Camera) -> Source:
    """Where the camera is and how it is read. Raises StreamError where name or URL cannot be one."""
    values = {field: getattr(camera, field) for field in _SOURCE_FIELDS}
    return Source(name, ca_file=str(camera.ca_file) if camera.ca_file else None, **values)


def sources_of(document: WatchFile) -> dict[str, Source]:
    """The enabled cameras. Raises StreamError."""
    return {name: source_of(name, camera) for name, camera in document.cameras.items() if camera.enabled}


def analytics_of(camera: Camera) -> Analytics:
    """What is made of its detections, without how it is read."""
    return Analytics(**{field: getattr(camera, field) for field in Analytics.model_fields})
