# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump: the camera's, and this machine's."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack
from types import ModuleType

from sightline.clients.streams import source as source_module
from sightline.clients.streams.names import Source
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import read_clip
from sightline.perf.faults.figure import Figure, Limit, exactly
from sightline.perf.faults.world import BACK_SECONDS, Scene, adds_up, small_clips, wait_for

JUMPS_SECONDS = (3600.0, -3600.0, 0.5, -0.5, 20.0, -20.0, 47_000.0)
"""The last one carries the 32 bits of an RTP clock past their end and back to a small number."""
_PATIENCE_SECONDS = 30.0


def camera_clocks(full: bool) -> Figure:
    """The timestamps of a stream leap ahead and back."""
    began, rounds = time.monotonic(), 5 if full else 1
    with ExitStack() as opened:
        clip = read_clip(small_clips()[0])
        server = AsyncioCameraServer([clip, clip])
        server.start()
        opened.callback(server.stop)
        urls = [f"rtsp://127.0.0.1:{server.port}/camera/{i}" for i in range(2)]
        scene = opened.enter_context(Scene([Source("jumping", urls[0]), Source("sibling-0", urls[1])]))
        scene.live(["jumping", "sibling-0"])
        back = []
        for jump in JUMPS_SECONDS * rounds:
            server.faults(0).clock_seconds += jump
            at = time.monotonic()
            time.sleep(0.1)
            back.append(scene.seconds_to_frame("jumping", at + 0.1, _PATIENCE_SECONDS))
            wait_for(lambda at=at: len([s for s in scene.record.frames("jumping") if s.at > at]) > 5, 5.0)  # type: ignore[misc]
        orders = [order for _, order in scene.record.answered["jumping"]]
        ids = scene.record.event_ids["jumping"]
        lost, connections = scene.record.lost("sibling-0"), scene.camera("sibling-0")["connections"]
        epochs = len({order[0] for order in orders})
        wrong = adds_up(scene.watch)
    limits = (
        Limit("seconds from a jump to the next picture, worst", round(max(back), 3), BACK_SECONDS),
        exactly("results that came out of order", sum(b <= a for a, b in itertools.pairwise(orders))),
        exactly("ids of frames that came twice", len(ids) - len(set(ids))),
        exactly("pictures that the sibling lost", lost),
        exactly("reconnections of the sibling", connections - 1),
        exactly("cameras whose counts do not add up", wrong),
    )
    jumps = ", ".join(f"{jump:+g}" for jump in JUMPS_SECONDS)
    done = f"RTP timestamps jump by {jumps} s, {rounds} times over"
    times = len(JUMPS_SECONDS) * rounds
    return Figure(
        "camera's clock jumps", done, times, limits, {"epochs": epochs}, round(time.monotonic() - began, 1)
    )


class _JumpingTime(ModuleType):
    """The module `time` with a wall clock that can be set."""

    def __init__(self) -> None:
        super().__init__("time")
        self.ahead_seconds = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + self.ahead_seconds

    def time_ns(self) -> int:
        return time.time_ns() + round(self.ahead_seconds * 1e9)


def wall_clock(full: bool) -> Figure:
    """This machine's clock is set while cameras connect: an hour back, a day ahead."""
    began, jumps = time.monotonic(), [-3600.0, 86_400.0, -86_400.0, 0.0] * 5 if full else [-3600.0, 86_400.0]
    clock = _JumpingTime()
    with ExitStack() as opened:
        setattr(source_module, "time", clock)  # noqa: B010 - a name that it imported
        opened.callback(setattr, source_module, "time", time)
        clip = read_clip(small_clips()[0])
        server = AsyncioCameraServer([clip])
        server.start()
        opened.callback(server.stop)
        scene = opened.enter_context(Scene([Source("camera", f"rtsp://127.0.0.1:{server.port}/camera/0")]))
        scene.live(["camera"])
        back = []
        for jump in jumps:
            clock.ahead_seconds = jump
            server.kill_connections(0)
            at = time.monotonic()
            back.append(scene.seconds_to_frame("camera", at + 0.05, _PATIENCE_SECONDS))
        orders = [order for _, order in scene.record.answered["camera"]]
        ids = scene.record.event_ids["camera"]
        wrong = adds_up(scene.watch)
    limits = (
        Limit("seconds until the next picture, worst", round(max(back), 3), BACK_SECONDS),
        exactly("results that came out of order", sum(b <= a for a, b in itertools.pairwise(orders))),
        exactly("ids of frames that came twice", len(ids) - len(set(ids))),
        exactly("cameras whose counts do not add up", wrong),
    )
    settings = "an hour back, a day ahead and a day back" if full else "an hour back and a day ahead"
    done = f"the wall clock as the engine reads it is set {settings}, with a new connection after each"
    return Figure(
        "this machine's clock jumps", done, len(jumps), limits, {}, round(time.monotonic() - began, 1)
    )
