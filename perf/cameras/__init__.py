# SPDX-License-Identifier: Apache-2.0
"""Simulated cameras: a real RTSP server that plays drawn street scenes."""

from __future__ import annotations

from sightline.perf.cameras.server import CameraServer, gstreamer_missing

__all__ = ["CameraServer", "gstreamer_missing"]
