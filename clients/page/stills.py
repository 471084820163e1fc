# SPDX-License-Identifier: Apache-2.0
"""JPEG pictures: plain ones for viewers who cannot play a camera's video, annotated ones for MJPEG."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sightline.clients.streams.results import ObjectInfo, StreamFrame, StreamResult
from sightline.results import Detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

STILL_SECONDS = 0.2
MAX_WIDTH = 960
MAX_ANNOTATED_WIDTH = 1280
QUALITY = 70


class Pace:
    """At most one picture a camera each so many seconds, and none while one of it is still being made. Any thread."""

    def __init__(self, seconds: float = STILL_SECONDS) -> None:
        self._seconds = seconds
        self._last: dict[int, float] = {}
        self._busy: set[int] = set()
        self._lock = threading.Lock()

    def due(self, camera: int, now: float) -> bool:
        """True when the camera's next picture may be made; `done` is to follow."""
        with self._lock:
            if camera in self._busy or now - self._last.get(camera, -self._seconds) < self._seconds:
                return False
            self._last[camera] = now
            self._busy.add(camera)
            return True

    def done(self, camera: int) -> None:
        """The picture is made."""
        with self._lock:
            self._busy.discard(camera)

    def forget(self, camera: int) -> None:
        """The camera was taken away."""
        with self._lock:
            self._busy.discard(camera)
            self._last.pop(camera, None)


def still(frame: StreamFrame, max_width: int = MAX_WIDTH) -> bytes:
    """The frame, at most `max_width` wide, as a JPEG file."""
    return _jpeg(_rgb(frame, max_width))


def annotated(result: StreamResult) -> bytes:
    """The result's frame with boxes, masks, track ids and speeds drawn in, as a JPEG file."""
    return _jpeg(annotated_picture(result))


def annotated_size(frame: StreamFrame) -> tuple[int, int]:
    """Width and height, even, at which an annotated picture is shown; one with masks is larger and is to be scaled."""
    width, height = _size(frame, MAX_ANNOTATED_WIDTH)
    return width, height // 2 * 2 or 2


def annotated_picture(result: StreamResult) -> NDArray[np.uint8]:
    """The result's frame with boxes, masks, track ids and speeds drawn in: RGB, shape (height, width, 3)."""
    from sightline.clients.draw import draw_detections

    found = result.detections
    frame = result.source.frame
    picture = _rgb(result.source, frame.width if found.masks is not None else MAX_ANNOTATED_WIDTH)
    scale = np.array([picture.shape[1] / frame.width, picture.shape[0] / frame.height] * 2, np.float32)
    placed = Detections(
        found.boxes * scale, found.scores, found.classes, found.labels, found.masks, found.size
    )
    draw_detections(picture, placed)
    _draw_infos(picture, placed, result.objects)
    return picture


def _draw_infos(picture: NDArray[np.uint8], found: Detections, infos: Sequence[ObjectInfo]) -> None:
    """Track id and speed below each box."""
    from sightline.clients._tags import draw_tag
    from sightline.clients.draw import class_colour

    text_pixels = max(10, picture.shape[0] // 50)
    for box, class_id, info in zip(found.boxes, found.classes, infos, strict=False):
        words = [f"#{info.track_id}"] if info.track_id is not None else []
        words += [f"{info.speed_kmh:.0f} km/h"] if info.speed_kmh is not None else []
        if words:
            colour = class_colour(int(class_id))
            draw_tag(
                picture, round(float(box[0])), round(float(box[3])), " ".join(words), colour, text_pixels
            )


def _rgb(frame: StreamFrame, max_width: int) -> NDArray[np.uint8]:
    from sightline.clients.streams.pictures import rgb_from_frame

    return rgb_from_frame(frame.frame, *_size(frame, max_width))


def _size(frame: StreamFrame, max_width: int) -> tuple[int, int]:
    width = min(max_width, frame.frame.width) // 2 * 2 or 2
    if width == frame.frame.width:
        return width, frame.frame.height
    return width, max(2, round(frame.frame.height * width / frame.frame.width) // 2 * 2)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
