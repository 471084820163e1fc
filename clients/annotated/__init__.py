# SPDX-License-Identifier: Apache-2.0
"""The cameras with boxes, labels and track ids drawn in, as RTSP streams for players, recorders and video walls."""

from __future__ import annotations

from sightline.clients.annotated.server import AnnotatedServer

__all__ = ["AnnotatedServer"]
