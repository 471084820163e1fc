# SPDX-License-Identifier: Apache-2.0
"""Frames of a video recording, spread evenly over its length, through PyAV (extra [watch])."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BuildError, MissingDependencyError
from sightline.frame import MAX_PIXELS

MOST_FRAMES_READ = 200_000
"""A recording without a length is read up to here."""
# Recordings of cameras; playlists and formats that fetch other files or addresses are not opened.
CONTAINERS = (
    "mov",
    "mp4",
    "matroska",
    "webm",
    "avi",
    "mpegts",
    "mpeg",
    "flv",
    "h264",
    "hevc",
    "mjpeg",
    "ogg",
    "mkv",
)


def video_frames(path: Path, count: int) -> Iterator[NDArray[np.uint8] | str]:
    """At most `count` frames, uint8 RGB of shape (height, width, 3), or the reason why a damaged one was left out.

    Raises BuildError where the file is no video, MissingDependencyError without PyAV.
    """
    av = _import_av()
    try:
        container = av.open(str(path), options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise BuildError(
            f"{path} is neither a folder of pictures nor a video that can be opened: {_plain(error)}"
        ) from error
    with container:
        if not set(container.format.name.split(",")) & set(CONTAINERS):
            raise BuildError(f"{path} is {container.format.name}; recordings are {', '.join(CONTAINERS)}")
        if not container.streams.video:
            raise BuildError(f"{path} has no video track; give a recording of the cameras")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        seconds = _length_seconds(container, stream)
        if seconds > 0:
            yield from _by_seeking(av, container, stream, seconds, count)
        else:
            yield from _by_reading(av, container, stream, count)


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            "reading a recording needs the package 'av'; run: pip install 'sightline[watch]'"
        ) from error
    return av


def _length_seconds(container: Any, stream: Any) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1e6


def _by_seeking(
    av: Any, container: Any, stream: Any, seconds: float, count: int
) -> Iterator[NDArray[np.uint8] | str]:
    """Jump to the key frame before each time and decode up to it, never past the next time that is wanted.

    Where key frames are further apart than the wanted times, reading on is cheaper than jumping back.
    """
    start = float((stream.start_time or 0) * stream.time_base)
    wanted = [start + (index + 0.5) * seconds / count for index in range(count)]
    step = seconds / count
    position, last = -1.0, -1.0
    frames: Iterator[Any] = iter(())
    for time_seconds in wanted:
        try:
            if position < 0 or time_seconds - position > max(2 * step, 2.0):
                container.seek(int(time_seconds / stream.time_base), stream=stream)
                frames = container.decode(stream)
            frame = _first_from(frames, time_seconds)
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, ValueError) as error:
            position = -1.0
            yield f"the frame at {time_seconds:.1f} s is damaged: {_plain(error)}"
            continue
        if frame is None:
            return
        position = float(frame.pts * stream.time_base) if frame.pts is not None else time_seconds
        if position > last:
            last = position
            yield _pixels(frame)


def _first_from(frames: Iterator[Any], time_seconds: float) -> Any:
    """The first frame at or after the time; None at the end."""
    for frame in frames:
        if frame.time is None or frame.time >= time_seconds - 1e-3:
            return frame
    return None


def _by_reading(av: Any, container: Any, stream: Any, count: int) -> Iterator[NDArray[np.uint8] | str]:
    """A raw stream tells no length: keep every n-th frame, and double n whenever twice as many are held."""
    kept: list[NDArray[np.uint8]] = []
    every = 1
    try:
        for number, frame in enumerate(container.decode(stream)):
            if number >= MOST_FRAMES_READ:
                break
            if number % every == 0:
                picture = _pixels(frame)
                if isinstance(picture, str):
                    yield picture
                    continue
                kept.append(picture)
            if len(kept) >= 2 * count:
                kept, every = kept[::2], every * 2
    except (av.error.FFmpegError, ValueError) as error:
        yield f"the recording is damaged: {_plain(error)}"
    step = max(len(kept) / count, 1.0)
    yield from (kept[int(index * step)] for index in range(min(count, len(kept))))


def _pixels(frame: Any) -> NDArray[np.uint8] | str:
    if frame.width * frame.height > MAX_PIXELS:
        return (
            f"it has {frame.width}x{frame.height} pixels; at most {MAX_PIXELS / 1e6:.0f} megapixels are taken"
        )
    picture: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return picture


def _plain(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)[:200]
