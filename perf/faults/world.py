# SPDX-License-Identifier: Apache-2.0
"""What the scenarios have in common: drawn cameras, a watch on them, and a record of every frame."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.clients.streams.names import Source
from sightline.clients.streams.results import Packet, StreamFrame, StreamResult, VideoFormat
from sightline.clients.streams.watch import Watch
from sightline.frame import Frame
from sightline.perf.cameras.clips import rendered_clips
from sightline.perf.cameras.render import ClipSpec
from sightline.perf.cameras.server import FIRST_SEED
from sightline.perf.streams.stub import Answered
from sightline.results import Detections

RATE = 15
DETECTED_SECONDS = 5.0
BACK_SECONDS = 10.0


def small_clips(count: int = 1, size: tuple[int, int] = (640, 360)) -> list[Path]:
    """Short drawn clips, small so that a fault's figure is not the decoder's."""
    return rendered_clips([ClipSpec(FIRST_SEED + i, *size, RATE, 4.0, night=False) for i in range(count)])


class QuickClient:
    """Answers every frame at once with one object."""

    def __init__(self) -> None:
        box = np.array([[10, 10, 60, 60]], np.float32)
        self._answer = Answered(Detections(box, np.array([0.9], np.float32), np.zeros(1, np.int32), ("car",)))

    def submit(self, model: str, image: Frame, **_: Any) -> Answered:
        """The answer."""
        return self._answer


@dataclass(frozen=True)
class Seen:
    """One decoded frame."""

    at: float
    epoch: int
    number: int
    pts_seconds: float
    size: tuple[int, int]
    damaged: bool


class Record:
    """A sink and a video sink that keep what came, by camera name."""

    def __init__(self) -> None:
        self.decoded: dict[str, list[Seen]] = {}
        self.answered: dict[str, list[tuple[float, tuple[int, int]]]] = {}
        self.event_ids: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def write(self, result: StreamResult) -> None:
        """One result."""
        source = result.source
        with self._lock:
            self.answered.setdefault(source.name, []).append((time.monotonic(), source.order))
            self.event_ids.setdefault(source.name, []).append(source.event_id)

    def on_frame(self, frame: StreamFrame) -> None:
        """One decoded picture."""
        size = frame.frame.width, frame.frame.height
        seen = Seen(time.monotonic(), frame.epoch, frame.number, frame.pts_seconds, size, frame.damaged)
        with self._lock:
            self.decoded.setdefault(frame.name, []).append(seen)

    def close(self) -> None:
        """Nothing is left to be done."""

    def on_added(self, camera: int, name: str) -> None:
        """Not of interest."""

    def on_removed(self, camera: int) -> None:
        """Not of interest."""

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """Not of interest."""

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """Not of interest."""

    def on_disconnected(self, camera: int) -> None:
        """Not of interest."""

    def frames(self, name: str) -> list[Seen]:
        """Decoded pictures of a camera so far."""
        with self._lock:
            return list(self.decoded.get(name, ()))

    def first_after(self, name: str, since: float) -> float | None:
        """When the first picture after this moment was decoded."""
        with self._lock:
            frames = self.decoded.get(name, [])
            return next((seen.at for seen in reversed_until(frames, since)), None)

    def answered_after(self, name: str, since: float) -> bool:
        """Whether a picture that was decoded after this moment was answered."""
        frames = self.frames(name)
        with self._lock:
            answered = self.answered.get(name, [])[-1:]
        first = next((seen for seen in reversed_until(frames, since)), None)
        return first is not None and bool(answered) and answered[0][1] >= (first.epoch, first.number)

    def lost(self, name: str) -> int:
        """Pictures that a camera sent and that were never decoded: holes in its timestamps within an epoch."""
        frames, lost = self.frames(name), 0
        for before, after in itertools.pairwise(frames):
            if before.epoch == after.epoch:
                lost += max(0, round((after.pts_seconds - before.pts_seconds) * RATE) - 1)
        return lost


def reversed_until(frames: Sequence[Seen], since: float) -> list[Seen]:
    """The frames after a moment, oldest first; looks at the end only."""
    start = len(frames)
    while start and frames[start - 1].at > since:
        start -= 1
    return list(frames[start:])


class Scene:
    """A watch on cameras, recorded. Sources are name → address, or Source objects."""

    def __init__(
        self,
        sources: Sequence[Source],
        client: Any | None = None,
        sinks: Sequence[Any] = (),
        videos: Sequence[Any] = (),
        **engine: Any,
    ) -> None:
        self.record = Record()
        self.watch = Watch(
            list(sources),
            client or QuickClient(),
            sinks=[*sinks, self.record],
            videos=[*videos, self.record],
            **engine,
        )

    def __enter__(self) -> Scene:
        self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.stop()

    def camera(self, name: str) -> dict[str, Any]:
        """State of a camera now."""
        return next(camera for camera in self.watch.state()["cameras"] if camera["name"] == name)

    def live(self, names: Sequence[str], seconds: float = 30.0) -> None:
        """Wait until these cameras are live. Raises TimeoutError."""
        if not wait_for(lambda: self.are_live(names), seconds, 0.1):
            states = {name: self.camera(name)["state"] for name in names}
            raise TimeoutError(f"cameras did not come up: {states}")

    def are_live(self, names: Sequence[str]) -> bool:
        """Whether these cameras are live now; asks for the state once, since that costs what cameras need."""
        states = {camera["name"]: camera["state"] for camera in self.watch.state()["cameras"]}
        return all(states.get(name) == "live" for name in names)

    def seconds_until(
        self, name: str, check: Callable[[dict[str, Any]], bool], since: float, limit: float
    ) -> float:
        """Seconds from `since` until the camera's state passes the check; infinite after the limit."""
        found = wait_for(lambda: check(self.camera(name)), limit)
        return time.monotonic() - since if found else math.inf

    def seconds_to_frame(self, name: str, since: float, limit: float) -> float:
        """Seconds from `since` until the next decoded picture; infinite after the limit."""
        wait_for(lambda: self.record.first_after(name, since) is not None, limit)
        at = self.record.first_after(name, since)
        return math.inf if at is None else at - since


def wait_for(check: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Whether the check became true in this time."""
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() >= until:
            return False
        time.sleep(pause)
    return True


def adds_up(watch: Watch) -> int:
    """0 where received = answered + dropped on every camera at the end; else the number of cameras where not."""
    return sum(not camera.adds_up for camera in watch.stop().cameras)
