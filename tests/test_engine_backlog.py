# SPDX-License-Identifier: Apache-2.0
"""A machine that decodes more slowly than a camera sends stays at the newest pictures: simulated, and over real RTSP."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sightline.clients.streams import Source, Watch
from sightline.clients.streams.backlog import BEHIND_SECONDS, PATIENCE_SECONDS, Backlog
from sightline.clients.streams.pictures import plain_frame
from sightline.clients.streams.results import StreamResult
from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.perf.cameras import CameraServer
from sightline.perf.faults.world import QuickClient, wait_for
from tests.needs import needs_gstreamer

FPS = 15
KEYFRAME_EVERY = 30


@dataclass
class Handled:
    """One packet of the simulation. late: seconds between its coming to this machine and its being read."""

    now: float
    late: float
    decoded: bool
    is_keyframe: bool
    behind: float


def simulated(
    seconds: float,
    cost_seconds: Callable[[float], float],
    *,
    comes: Callable[[float], float] = lambda sent: sent,
    clock: float = 1.0,
) -> Iterator[Handled]:
    """A camera and its reader. comes: when what is sent at a time is here. clock: how fast its timestamps run."""
    backlog, now = Backlog(), 0.0
    for number in itertools.count():
        sent = number / FPS
        if sent > seconds:
            return
        asked, now = now, max(now, comes(sent))
        backlog.packet(asked, now + 1e-4, sent * clock)
        is_keyframe = number % KEYFRAME_EVERY == 0
        decoded = not backlog.leaves_out(is_keyframe)
        yield Handled(now, now - comes(sent), decoded, is_keyframe, backlog.seconds)
        now += cost_seconds(now) if decoded else 1e-3


def test_a_machine_that_keeps_up_leaves_nothing_out() -> None:
    packets = list(simulated(120, lambda now: 0.06))
    assert all(packet.decoded for packet in packets)
    assert max(packet.behind for packet in packets) < 0.1


def test_a_slow_machine_stays_near_the_newest_picture() -> None:
    packets = list(simulated(120, lambda now: 0.15))
    assert max(packet.late for packet in packets) < BEHIND_SECONDS + PATIENCE_SECONDS + 1.0
    later = [packet for packet in packets if packet.now > 20]
    assert max(packet.late for packet in later) < BEHIND_SECONDS + 0.5
    share = sum(packet.decoded for packet in later) / len(later)
    assert 0.25 < share <= 1 / FPS / 0.15
    for before, after in itertools.pairwise(packets):
        assert before.decoded or not after.decoded or after.is_keyframe, "decoding went on at no key frame"


def test_it_ends_with_the_overload() -> None:
    packets = list(simulated(120, lambda now: 0.15 if now < 30 else 0.03))
    assert all(packet.decoded for packet in packets if packet.now > 40)


def test_a_hole_in_the_network_costs_no_picture() -> None:
    packets = list(
        simulated(60, lambda now: 0.02, comes=lambda sent: max(sent, 25.0) if 20 < sent < 25 else sent)
    )
    assert max(packet.behind for packet in packets) > 4.0
    assert all(packet.decoded for packet in packets)


@pytest.mark.parametrize("clock", [0.8, 1.2, 1.0001])
def test_timestamps_that_run_wrong_are_no_backlog(clock: float) -> None:
    assert all(packet.decoded for packet in simulated(600, lambda now: 0.01, clock=clock))


def test_slow_timestamps_on_a_slow_machine_do_not_end_the_pictures() -> None:
    packets = list(simulated(300, lambda now: 0.15, clock=0.9))
    assert sum(packet.decoded for packet in packets[-300:]) > 60
    assert max(packet.late for packet in packets) < 5.0


class SlowFrames(QuickClient):
    """Answers at once; its frames take so long to be had as pictures take on an overloaded machine."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def frame_slot(self, width: int, height: int, pixel_format: PixelFormat, colour: ColourSpace) -> Frame:
        time.sleep(self._seconds)
        return plain_frame(width, height, pixel_format, colour)


class Newest:
    """A sink that keeps the newest result."""

    result: StreamResult | None = None

    def write(self, result: StreamResult) -> None:
        self.result = result

    def close(self) -> None: ...


def test_a_real_camera_that_sends_too_much_is_followed() -> None:
    needs_gstreamer()
    sink = Newest()
    with CameraServer([5], size=(320, 180), frames_per_second=FPS, seconds=4) as cameras:
        watch = Watch([Source("gate", cameras.urls[0])], SlowFrames(3 / FPS), sinks=[sink])

        def state() -> dict[str, Any]:
            return dict(watch.state()["cameras"][0])

        def shows_more_than_it_decoded() -> bool:
            return sink.result is not None and sink.result.source.pts_seconds > 2 * state()["answered"] / FPS

        watch.start()
        try:
            assert wait_for(shows_more_than_it_decoded, 60), (
                "every picture was decoded, each later than the one before"
            )
            assert state()["dropped"]["behind"] > FPS
            assert state()["behind_ms"] is not None
            assert state()["connections"] == 1
        finally:
            summary = watch.stop()
    assert summary.adds_up
