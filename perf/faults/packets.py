# SPDX-License-Identifier: Apache-2.0
"""RTP over UDP whose packets are lost or come late.

Where the kernel has netem this could be done with `tc`; here the camera's own UDP socket leaves packets out and holds
others back, by a seed, so that each run is the same and no right over the network is needed.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from sightline.clients.streams.names import Source
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import read_clip
from sightline.perf.faults.figure import Figure, Limit, exactly
from sightline.perf.faults.world import BACK_SECONDS, RATE, Scene, adds_up, small_clips

CASES = ((0.005, 0.0), (0.02, 0.0), (0.05, 0.01), (0.0, 0.05), (0.3, 0.1))
"""Share of packets that are lost, and share that come up to five packets late."""
SEED = 11


def lossy_network(full: bool) -> Figure:
    """Cameras over UDP, each with another loss, and one without any."""
    began, seconds = time.monotonic(), 30.0 if full else 3.0
    with ExitStack() as opened:
        clip = read_clip(small_clips()[0])
        server = AsyncioCameraServer([clip] * (len(CASES) + 1), seed=SEED)
        server.start()
        opened.callback(server.stop)
        for number, (loss, late) in enumerate(CASES):
            server.faults(number).loss, server.faults(number).reorder = loss, late
        names = [f"lossy-{i}" for i in range(len(CASES))] + ["sibling-0"]
        urls = [f"rtsp://127.0.0.1:{server.port}/camera/{i}" for i in range(len(names))]
        sources = [Source(name, url, transport="udp") for name, url in zip(names, urls, strict=True)]
        scene = opened.enter_context(Scene(sources))
        scene.live(names)
        counts = {name: len(scene.record.frames(name)) for name in names}
        time.sleep(seconds)
        shares, damaged = {}, {}
        for name in names:
            frames = scene.record.frames(name)[counts[name] :]
            shares[name] = round(len(frames) / (seconds * RATE), 3)
            damaged[name] = sum(seen.damaged for seen in frames)
        for number in range(len(CASES)):
            server.faults(number).loss = server.faults(number).reorder = 0.0
        healed = time.monotonic()
        back = [_whole_second(scene, name, healed) for name in names]
        lost = scene.record.lost("sibling-0")
        reconnections = sum(scene.camera(name)["connections"] - 1 for name in names)
        wrong = adds_up(scene.watch)
    limits = (
        Limit(
            "seconds from the end of the loss until no picture is missing or damaged, worst",
            max(back),
            BACK_SECONDS,
        ),
        Limit("share of the pictures decoded at 0.5 % loss", shares["lossy-0"], at_least=0.9),
        exactly("pictures that the camera without loss lost", lost),
        exactly("cameras whose counts do not add up", wrong),
    )
    cases = ", ".join(f"{loss:.1%}/{late:.0%}" for loss, late in CASES)
    done = (
        f"RTP over UDP for {seconds:.0f} s, packets lost/late: {cases}; the camera's socket drops and reorders by a seed "
        "(this kernel has no netem)"
    )
    more = {
        "shares_decoded": list(shares.values()),
        "damaged": list(damaged.values()),
        "reconnections": reconnections,
    }
    return Figure(
        "packet loss and reordering", done, len(CASES), limits, more, round(time.monotonic() - began, 1)
    )


def _whole_second(scene: Scene, name: str, since: float) -> float:
    """Seconds until a second begins in which every picture comes whole; infinite after a while."""
    until = time.monotonic() + 3 * BACK_SECONDS
    while time.monotonic() < until:
        run: list[float] = []
        before = None
        for seen in [s for s in scene.record.frames(name) if s.at > since]:
            broken = seen.damaged or (
                before is not None and abs(seen.pts_seconds - before - 1 / RATE) > 0.5 / RATE
            )
            run = [] if broken else [*run, seen.at]
            before = seen.pts_seconds
            if len(run) >= RATE:
                return round(run[0] - since, 3)
        time.sleep(0.1)
    return float("inf")
