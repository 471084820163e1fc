# SPDX-License-Identifier: Apache-2.0
"""A client without a server: it letterboxes each frame as the server's first stage does, and answers drawn boxes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from sightline.frame import Frame
from sightline.perf.streams.material import drawn_boxes
from sightline.preprocess_ext import letterbox
from sightline.results import Detections


class Answered:
    """A request that was answered when it was made."""

    def __init__(self, detections: Detections) -> None:
        self._detections = detections

    def result(self, timeout: float | None = None) -> Detections:
        """The answer, at once."""
        return self._detections

    def cancel(self) -> bool:
        """Too late."""
        return False

    def done(self) -> bool:
        """It is."""
        return True

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls back on this thread."""
        callback(self)


class StubClient:
    """`submit` as a Client has it. objects: boxes in each answer. network: width and height of the network's input."""

    def __init__(self, objects: int, network: tuple[int, int], size: tuple[int, int]) -> None:
        self._answers = itertools.cycle([Answered(d) for d in drawn_boxes(objects, size)])
        self._network = network
        self._own = threading.local()

    def submit(self, model: str, image: Frame, **_: Any) -> Answered:
        """Letterbox the frame on the caller's thread, and answer."""
        tensor = getattr(self._own, "tensor", None)
        if tensor is None:
            width, height = self._network
            tensor = self._own.tensor = np.empty((3, height, width), np.float32)
        letterbox(image, tensor)
        return next(self._answers)
