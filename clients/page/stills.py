# SPDX-License-Identifier: Apache-2.0
"""JPEG pictures for viewers who cannot play a camera's video."""

from __future__ import annotations

import io
import threading

from sightline.clients.streams.pictures import rgb_from_frame
from sightline.clients.streams.results import StreamFrame

STILL_SECONDS = 0.2
MAX_WIDTH = 960
QUALITY = 70


class StillMaker:
    """At most one picture a camera each STILL_SECONDS."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._lock = threading.Lock()

    def due(self, camera: int, now: float) -> bool:
        """True when the camera's next picture may be made; it then counts as made."""
        with self._lock:
            if now - self._last.get(camera, -STILL_SECONDS) < STILL_SECONDS:
                return False
            self._last[camera] = now
            return True

    def jpeg(self, frame: StreamFrame) -> bytes:
        """The frame, at most MAX_WIDTH wide, as a JPEG file."""
        from PIL import Image

        width = min(MAX_WIDTH, frame.frame.width) // 2 * 2 or 2
        height = max(2, round(frame.frame.height * width / frame.frame.width) // 2 * 2)
        file = io.BytesIO()
        Image.fromarray(rgb_from_frame(frame.frame, width, height)).save(file, "JPEG", quality=QUALITY)
        return file.getvalue()
