# SPDX-License-Identifier: Apache-2.0
"""A USB camera (V4L2) through OpenCV, for PyAV's own FFmpeg is built without V4L2."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import MissingDependencyError, StreamError

if TYPE_CHECKING:
    from av import VideoFrame


@contextmanager
def opened_device(path: str) -> Iterator[Any]:
    """OpenCV's capture of the device. Raises StreamError, MissingDependencyError."""
    if not Path(path).exists():
        raise StreamError(f"has no device {path}; connect it, or correct the number in its URL")
    if not os.access(path, os.R_OK | os.W_OK):
        raise StreamError(f"may not be opened: this user has no rights to {path}; add it to the group video")
    try:
        import cv2
    except ImportError:
        raise MissingDependencyError("USB cameras need cv2; pip install 'sightline[watch]'") from None
    capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
    try:
        if not capture.isOpened():
            raise StreamError(f"cannot be opened: {path} is no camera, or another program uses it")
        yield capture
    finally:
        capture.release()


def grabbed(capture: Any) -> Callable[[], VideoFrame]:
    """Wait for the next picture; what is returned unpacks it. Raises TimeoutError, EOFError."""
    from av import VideoFrame

    if not capture.grab():
        raise TimeoutError

    def picture() -> VideoFrame:
        is_there, image = capture.retrieve()
        if not is_there:
            raise EOFError
        return VideoFrame.from_ndarray(image, "bgr24")

    return picture
