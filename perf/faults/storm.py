# SPDX-License-Identifier: Apache-2.0
"""64 cameras that were away together: they must not come back together."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

from sightline.clients.streams.names import Source
from sightline.clients.streams.reconnect import HostPacer, Reconnect
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import read_clip
from sightline.perf.faults.figure import Figure, Limit, exactly
from sightline.perf.faults.world import Scene, adds_up, small_clips, wait_for

CAMERAS = 64
AWAY_SECONDS = 3600.0
BACK_SECONDS = 65.0
CONNECTS_A_SECOND = 1
FRAMES_PER_SECOND = 3  # 64 cameras and their server share one interpreter


def away_an_hour(full: bool) -> Figure:
    """The state machines alone, told the time: an hour away, then back; each attempt is counted."""
    began, hours = time.monotonic(), 20 if full else 1
    worst_back, busiest, attempts = 0.0, 0, 0
    for _ in range(hours):
        back, times = virtual_hour()
        worst_back, attempts = max(worst_back, back), attempts + len(times)
        busiest = max(busiest, most_in_a_second(times))
    limits = (
        Limit("attempts at the host in any second", busiest, CONNECTS_A_SECOND + 1),
        Limit("seconds until all cameras are back, worst", round(worst_back, 2), BACK_SECONDS),
    )
    done = (
        f"{CAMERAS} cameras of one host away for an hour of virtual time ({hours} hours), then back: "
        "the engine's own state machines"
    )
    more = {"attempts_a_second_mean": round(attempts / (hours * AWAY_SECONDS), 3)}
    return Figure(
        "64 cameras away for an hour", done, hours, limits, more, round(time.monotonic() - began, 1)
    )


def virtual_hour() -> tuple[float, list[float]]:
    """Seconds from the return until all are back, and the times of all attempts."""
    pacer, links = HostPacer(), [Reconnect() for _ in range(CAMERAS)]
    attempts: list[float] = []
    back: dict[int, float] = {}
    waiting = [(pacer.reserve("host", links[i].failed(0.0)), i) for i in range(CAMERAS)]
    heapq.heapify(waiting)
    while waiting:
        now, camera = heapq.heappop(waiting)
        attempts.append(now)
        links[camera].connecting(now)
        if now >= AWAY_SECONDS:
            links[camera].frame(now)
            back[camera] = now - AWAY_SECONDS
            continue
        wait = links[camera].failed(now)
        heapq.heappush(waiting, (pacer.reserve("host", now + wait), camera))
    return max(back.values()), attempts


def most_in_a_second(times: list[float]) -> int:
    """Largest number of the times within any second that begins with one of them."""
    times, most, start = sorted(times), 0, 0
    for end, at in enumerate(times):
        while times[start] <= at - 1.0 + 1e-6:
            start += 1
        most = max(most, end - start + 1)
    return most


def storm(full: bool) -> Figure:
    """Real sockets: the host refuses for a while, then listens again; the server counts connections."""
    began, (count, away) = time.monotonic(), ((CAMERAS, 60.0) if full else (6, 2.0))
    with ExitStack() as opened:
        clip = replace(read_clip(small_clips()[0]), frames_per_second=FRAMES_PER_SECOND)
        server = AsyncioCameraServer([clip] * count)
        server.start()
        opened.callback(server.stop)
        names = [f"camera-{i}" for i in range(count)]
        urls = [f"rtsp://127.0.0.1:{server.port}/camera/{i}" for i in range(count)]
        scene = opened.enter_context(Scene([Source(n, u) for n, u in zip(names, urls, strict=True)]))
        scene.live(names, count * 2.0 + 20)
        server.refuse()
        for number in range(count):
            server.kill_connections(number)
        time.sleep(away)
        server.refuse(False)
        returned = time.monotonic()
        all_back = wait_for(lambda: scene.are_live(names), 2.0 * BACK_SECONDS, 0.1)
        back = time.monotonic() - returned if all_back else float("inf")
        connects = [at - returned for at in server.connects if at >= returned]
        wrong = adds_up(scene.watch)
    by_second = Counter(int(at) for at in connects)
    limits = (
        Limit("connections in any second", most_in_a_second(connects), CONNECTS_A_SECOND + 1, counted=True),
        Limit("seconds until all cameras are back", round(back, 2), BACK_SECONDS),
        exactly("cameras whose counts do not add up", wrong),
    )
    done = f"{count} cameras of one host refused for {away:.0f} s on real sockets, then let in again"
    more = {"connections_by_second": [by_second[s] for s in range(int(max(connects, default=0)) + 1)]}
    return Figure("cameras come back together", done, 1, limits, more, round(time.monotonic() - began, 1))
