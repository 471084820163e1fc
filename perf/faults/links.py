# SPDX-License-Identifier: Apache-2.0
"""Cameras that die, fall silent, or show nothing any more; their neighbours must not notice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from sightline.clients.streams.names import Source
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import read_clip
from sightline.perf.cameras.process import BlackHole, CameraProcess
from sightline.perf.faults.figure import Figure, Limit, exactly
from sightline.perf.faults.world import (
    BACK_SECONDS,
    DETECTED_SECONDS,
    RATE,
    Scene,
    adds_up,
    small_clips,
)

_PATIENCE_SECONDS = 45.0
SIBLINGS = ("sibling-0", "sibling-1")


class Links:
    """Victims on servers of their own beside two siblings on a third, in one watch."""

    def __init__(self, opened: ExitStack, victims: Sequence[str], *, clip: Path | None = None) -> None:
        self.clip = clip or small_clips()[0]
        siblings = opened.enter_context(CameraProcess([self.clip] * len(SIBLINGS)))
        sources = [Source(name, url) for name, url in zip(SIBLINGS, siblings.urls, strict=True)]
        self.names = [f"victim-{i}" for i in range(len(victims))]
        sources += [Source(name, url) for name, url in zip(self.names, victims, strict=True)]
        self.started = time.monotonic()
        self.scene = opened.enter_context(Scene(sources))
        self.detected: list[float] = []
        self.back: list[float] = []

    def detect(self, since: float) -> None:
        """Note when each victim was seen to be away."""
        for name in self.names:
            gone = self.scene.seconds_until(name, lambda c: c["state"] != "live", since, _PATIENCE_SECONDS)
            self.detected.append(gone)

    def return_(self, since: float) -> None:
        """Note when each victim showed a picture again."""
        for name in self.names:
            self.back.append(self.scene.seconds_to_frame(name, since, _PATIENCE_SECONDS))

    def figure(self, fault: str, done: str, times: int, began: float) -> Figure:
        """End the watch and sum up."""
        time.sleep(0.3)
        states = [self.scene.camera(name) for name in SIBLINGS]
        wrong = adds_up(self.scene.watch)
        record = self.scene.record
        limits = [
            Limit(
                "seconds until the break was seen, worst",
                round(max(self.detected, default=0.0), 3),
                DETECTED_SECONDS,
            ),
            Limit(
                "seconds from the return to the first picture, worst", round(max(self.back), 3), BACK_SECONDS
            ),
            exactly("pictures that siblings lost", sum(record.lost(name) for name in SIBLINGS)),
            exactly("reconnections of siblings", sum(state["connections"] - 1 for state in states)),
            exactly("cameras whose counts do not add up", wrong),
        ]
        more = {
            "detected_seconds_mean": round(sum(self.detected) / max(len(self.detected), 1), 3),
            "back_seconds_mean": round(sum(self.back) / len(self.back), 3),
            "sibling_pictures": sum(len(record.frames(name)) for name in SIBLINGS),
            "sibling_drops": sum(state["dropped_total"] for state in states),
        }
        return Figure(fault, done, times, tuple(limits), more, round(time.monotonic() - began, 1))


def killed_servers(full: bool) -> Figure:
    """RTSP servers are killed with SIGKILL and come back on the same port."""
    began, (count, rounds) = time.monotonic(), ((10, 10) if full else (3, 1))
    waits = random.Random(5)
    with ExitStack() as opened:
        clip = small_clips()[0]
        servers = [opened.enter_context(CameraProcess([clip])) for _ in range(count)]
        links = Links(opened, [server.urls[0] for server in servers])
        for _ in range(rounds):
            links.scene.live([*SIBLINGS, *links.names])
            killed = time.monotonic()
            for server in servers:
                server.shoot()
            links.detect(killed)
            for server in servers:
                server.kill()
            time.sleep(waits.uniform(0.2, 2.0))
            for server in servers:
                server.start()
            links.return_(time.monotonic())
        done = f"{count} real RTSP servers killed with SIGKILL at the same time, away 0.2 to 2 s, {rounds} times over"
        return links.figure("RTSP server killed and back", done, count * rounds, began)


def stopped_servers(full: bool) -> Figure:
    """The server's process is stopped (SIGSTOP): connections stay open and nothing comes any more."""
    began, (count, rounds) = time.monotonic(), ((5, 4) if full else (2, 1))
    with ExitStack() as opened:
        clip = small_clips()[0]
        servers = [opened.enter_context(CameraProcess([clip])) for _ in range(count)]
        links = Links(opened, [server.urls[0] for server in servers])

        def freeze(frozen: bool) -> None:
            for server in servers:
                server.freeze(frozen)

        for _ in range(rounds):
            links.scene.live([*SIBLINGS, *links.names])
            _freeze_and_back(links, freeze)
        done = f"{count} RTSP servers stopped with SIGSTOP, connections open and silent, {rounds} times over"
        return links.figure("black-holed stream", done, count * rounds, began)


def frozen_streams(full: bool) -> Figure:
    """The RTSP dialogue goes on, RTCP reports too, but no picture comes."""
    began, (count, rounds) = time.monotonic(), ((6, 4) if full else (2, 1))
    with ExitStack() as opened:
        clip = read_clip(small_clips()[0])
        server = AsyncioCameraServer([clip] * count)
        server.start()
        opened.callback(server.stop)
        urls = [f"rtsp://127.0.0.1:{server.port}/camera/{i}" for i in range(count)]
        links = Links(opened, urls)

        def freeze(frozen: bool) -> None:
            for number in range(count):
                faults = server.faults(number)
                faults.frozen, faults.chatter = frozen, frozen and number % 2 == 0

        for _ in range(rounds):
            links.scene.live([*SIBLINGS, *links.names])
            _freeze_and_back(links, freeze)
        done = (
            f"{count} cameras stop sending pictures while connection, keep-alive and (half of them) RTCP go on, "
            f"{rounds} times over"
        )
        return links.figure("frozen stream", done, count * rounds, began)


def black_holes(full: bool) -> Figure:
    """An address that accepts connections and never answers, until a camera is there."""
    began, count = time.monotonic(), 10 if full else 2
    with ExitStack() as opened:
        clip = small_clips()[0]
        holes = [opened.enter_context(BlackHole()) for _ in range(count)]
        links = Links(opened, [f"rtsp://127.0.0.1:{hole.port}/camera/0" for hole in holes])
        for name in links.names:
            told = links.scene.seconds_until(
                name, lambda c: bool(c["error"]), links.started, _PATIENCE_SECONDS
            )
            links.detected.append(told)
        for hole in holes:
            hole.close()
            opened.enter_context(CameraProcess([clip], port=hole.port))
        links.return_(time.monotonic())
        done = f"{count} addresses that accept and stay silent; then real cameras on the same ports"
        return links.figure("black-holed address", done, count, began)


def _freeze_and_back(links: Links, freeze: Callable[[bool], object]) -> None:
    at = time.monotonic()
    freeze(True)
    links.detect(at)
    time.sleep(1.0)
    freeze(False)
    links.return_(time.monotonic())


def rates_of(scene: Scene, names: Sequence[str], seconds: float) -> dict[str, float]:
    """Pictures a second of cameras over a while, as a share of what they send."""
    counts = {name: len(scene.record.frames(name)) for name in names}
    time.sleep(seconds)
    return {name: (len(scene.record.frames(name)) - counts[name]) / seconds / RATE for name in names}
