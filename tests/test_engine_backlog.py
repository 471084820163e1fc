# SPDX-License-Identifier: Apache-2.0
"""A machine that decodes more slowly than a camera sends stays at the newest pictures: simulated, and over real RTSP."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sightline.clients.streams import Source, Watch
from sightline.clients.streams.backlog import BEHIND_SECONDS, PATIENCE_SECONDS, Backlog
from sightline.clients.streams.counters import CameraCounters
from sightline.clients.streams.decoder import Decoder
from sightline.clients.streams.pictures import plain_frame
from sightline.clients.streams.results import StreamResult
from sightline.clients.streams.schedule import Picker
from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.perf.cameras import CameraServer
from sightline.perf.faults.world import QuickClient, wait_for
from tests.needs import needs_gstreamer

FPS = 15


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
    held_up: float = 0.0,
    keyframe_every: int = 30,
) -> list[Handled]:
    """A camera and its reader. comes: when what is sent at a time is here. clock: how fast its timestamps run.

    held_up: share of the reads after which the thread gets no core for 40 ms.
    """
    backlog, now, awaits_keyframe, chance = Backlog(), 0.0, False, random.Random(3)
    packets = []
    for number in range(round(seconds * FPS)):
        sent = number / FPS
        asked, now = now, max(now, comes(sent))
        late = now - comes(sent)
        now += 1e-4 + (0.04 if chance.random() < held_up else 0.0)
        backlog.packet(asked, now, sent * clock)
        is_keyframe = number % keyframe_every == 0
        awaits_keyframe = backlog.leaves_out or (awaits_keyframe and not is_keyframe)
        packets.append(Handled(now, late, not awaits_keyframe, is_keyframe, backlog.seconds))
        now += 1e-3 if awaits_keyframe else cost_seconds(now)
    return packets


def in_bursts(every: float) -> Callable[[float], float]:
    return lambda sent: math.ceil(sent / every) * every


def test_a_machine_that_keeps_up_leaves_nothing_out() -> None:
    packets = simulated(120, lambda now: 0.05)
    assert all(packet.decoded for packet in packets)
    assert max(packet.behind for packet in packets) < 0.1


def test_a_slow_machine_stays_near_the_newest_picture() -> None:
    packets = simulated(120, lambda now: 0.15)
    assert max(packet.late for packet in packets) < BEHIND_SECONDS + PATIENCE_SECONDS + 0.5
    assert max(packet.behind for packet in packets) > BEHIND_SECONDS
    later = [packet for packet in packets if packet.now > 20]
    share = sum(packet.decoded for packet in later) / len(later)
    assert 0.25 < share <= 1 / FPS / 0.15
    for before, after in itertools.pairwise(packets):
        assert before.decoded or not after.decoded or after.is_keyframe, "decoding went on at no key frame"


def test_a_little_too_slow_is_seen_too() -> None:
    """Each half minute the pictures are half a second later."""
    packets = simulated(3600, lambda now: 1.015 / FPS)
    assert max(packet.late for packet in packets) < BEHIND_SECONDS + PATIENCE_SECONDS + 0.5
    assert sum(packet.decoded for packet in packets) > 0.9 * len(packets)


@pytest.mark.parametrize("held_up", [0.2, 0.4])
def test_a_machine_that_lacks_cores_as_well(held_up: float) -> None:
    packets = simulated(600, lambda now: 0.08, held_up=held_up)
    assert max(packet.late for packet in packets) < 2 * (BEHIND_SECONDS + PATIENCE_SECONDS)


def test_it_ends_with_the_overload() -> None:
    packets = simulated(120, lambda now: 0.15 if now < 30 else 0.03)
    assert all(packet.decoded for packet in packets if packet.now > 40)


@pytest.mark.parametrize("gop", [30, 150])
def test_a_hole_in_the_network_costs_no_picture(gop: int) -> None:
    packets = simulated(
        60,
        lambda now: 0.02,
        comes=lambda sent: 25.0 if 20 < sent < 25 else sent,
        keyframe_every=gop,
    )
    assert max(packet.behind for packet in packets) > 4.0
    assert all(packet.decoded for packet in packets)


@pytest.mark.parametrize("every", [1.5, 2.0])
def test_what_comes_in_bursts_is_decoded_also_after_an_overload(every: float) -> None:
    packets = simulated(600, lambda now: 0.3 if 30 < now < 36 else 0.02, comes=in_bursts(every))
    assert all(packet.decoded for packet in packets if packet.now < 30 or packet.now > 60)


@pytest.mark.parametrize("cost", [0.01, 0.04, 0.055])
@pytest.mark.parametrize("clock", [0.4, 0.8, 0.98, 1.2, 1.0001])
def test_timestamps_that_run_wrong_are_no_backlog(clock: float, cost: float) -> None:
    packets = simulated(600, lambda now: cost, clock=clock)
    assert all(packet.decoded for packet in packets)
    assert max(packet.behind for packet in packets) < 0.3


def test_slow_timestamps_on_a_slow_machine_do_not_end_the_pictures() -> None:
    packets = simulated(300, lambda now: 0.15, clock=0.9)
    assert sum(packet.decoded for packet in packets[-300:]) > 40
    assert max(packet.late for packet in packets) < 5.0


def test_after_a_backlog_only_a_key_frame_is_decoded_and_each_packet_is_counted() -> None:
    counters, now = CameraCounters(), [0.0]
    context = SimpleNamespace(name="h264", extradata=b"", width=320, height=180, flush_buffers=lambda: None)
    decoder = Decoder(
        cast(Any, SimpleNamespace(codec_context=context)), Picker(None), counters, now=lambda: now[0]
    )
    packet = SimpleNamespace(is_keyframe=False, size=9, decode=list)
    key = SimpleNamespace(is_keyframe=True, size=9, decode=list)

    def comes(what: Any, *, leaves_out: bool = False) -> bool:
        now[0] += 1.0
        counters.received(now[0])
        if leaves_out:
            decoder.leave_out(what, now[0])
            return False
        is_fed = decoder.feeds(what, now[0])
        if is_fed:
            decoder.pictures(what)  # holds it back
        return is_fed

    assert comes(key)
    assert comes(packet)
    assert not comes(packet, leaves_out=True)
    assert counters.snapshot(0.0).dropped == {"behind": 3}, "with the two that were inside"
    assert not comes(key, leaves_out=True)
    assert not comes(packet)
    assert decoder.awaits_keyframe_since == 4.0
    assert comes(key)
    assert decoder.awaits_keyframe_since is None
    assert comes(packet)
    shot = counters.snapshot(0.0)
    assert (shot.received, shot.dropped, shot.pending) == (7, {"behind": 5}, 2)


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
