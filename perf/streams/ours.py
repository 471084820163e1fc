# SPDX-License-Identifier: Apache-2.0
"""Our engine as one of the ways: with the network stubbed or with a real server."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from sightline.clients.analytics.camera import CameraAnalytics
from sightline.clients.analytics.settings import Analytics
from sightline.clients.streams import watch as watch_module
from sightline.clients.streams.names import MAX_SOURCES, Source
from sightline.clients.streams.reconnect import HostPacer
from sightline.clients.streams.results import StreamResult
from sightline.clients.streams.watch import Watch
from sightline.perf.streams.stub import StubClient
from sightline.perf.streams.ways import OBJECTS

_KEPT = 200_000
DEADLINE_SECONDS = 1.0
"""As a cameras file has it where it says nothing else: what is older is not answered."""


def as_if_on_many_hosts() -> None:
    """All simulated cameras are on one host; those of a real site are not, and need not wait for each other's turn."""
    setattr(watch_module, "HostPacer", functools.partial(HostPacer, 0.02, MAX_SOURCES))  # noqa: B010 - a foreign name


class AgeSink:
    """Keeps when each tracked result came: (arrival, age) in monotonic seconds. No rule, event or disk is in it."""

    def __init__(self) -> None:
        self.ages: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def write(self, result: StreamResult) -> None:
        """Note one result."""
        now = time.monotonic()
        self.ages.append((now, now - result.source.decoded_at))

    def close(self) -> None:
        """Nothing is left to be done."""


class OurEngine:
    """A Watch on the sources, with the analytics that a camera has without any rule: its objects are tracked.

    server: HOST:PORT of a real one, with `model`; None: the network is stubbed for an input of `network` (width, height).
    size: of the pictures. paced: files at their own speed. rate: frames a second that are sent of each; None: all.
    """

    def __init__(
        self,
        sources: Sequence[str],
        *,
        size: tuple[int, int] = (1280, 720),
        network: tuple[int, int] = (640, 640),
        server: str | None = None,
        model: str = "street_detect",
        paced: bool = False,
        rate: float | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._sources = [
            Source(
                f"camera-{i}",
                url,
                loop="://" not in url,
                rate=rate,
                paced=paced,
                deadline_seconds=deadline_seconds,
            )
            for i, url in enumerate(sources)
        ]
        self._size, self._network = (size[0], size[1]), (network[0], network[1])
        self._server, self._model = server, model
        self._opened = ExitStack()

    def start(self) -> None:
        self._opened = ExitStack()
        self._sink = AgeSink()
        as_if_on_many_hosts()
        self._watch = Watch(
            self._sources, self._client(), model=self._model, sinks=[self._sink], analysts=_analyst
        )
        self._watch.start()

    def frames(self) -> int:
        return sum(camera["answered"] for camera in self._watch.state()["cameras"])

    def is_running(self) -> bool:
        return all(camera["answered"] for camera in self._watch.state()["cameras"])

    def stop(self) -> dict[str, Any]:
        summary = self._watch.stop()
        self._opened.close()
        return {
            "received": summary.received,
            "answered": summary.answered,
            "dropped": summary.dropped,
            "adds_up": summary.adds_up,
            "slowest_camera": min(c.counts.answered for c in summary.cameras) / summary.seconds,
            **age_figures(self._sink.ages),
        }

    def _client(self) -> Any:
        if self._server is None:
            return StubClient(OBJECTS, self._network, self._size)
        from sightline.clients import Client

        client = Client(self._server)
        self._opened.callback(client.close)
        return client


def _analyst(source: Source) -> CameraAnalytics:
    return CameraAnalytics(source.name, Analytics(), rate=source.rate)


def age_figures(ages: Sequence[tuple[float, float]], window_seconds: float = 10.0) -> dict[str, Any]:
    """Percentiles of decoded frame to tracked result in milliseconds: of all, of all after the first window (in which
    connections are made; of all where there is no other), and of each window."""
    if not ages:
        return {"ages_ms": None, "later_ages_ms": None, "windows_ms": []}
    data = np.array(ages)
    windows = ((data[:, 0] - data[0, 0]) // window_seconds).astype(int)
    by_window = [data[windows == i, 1] * 1e3 for i in range(windows[-1] + 1)]
    return {
        "ages_ms": _percentiles(data[:, 1] * 1e3),
        "later_ages_ms": _percentiles((data[windows > 0, 1] if windows[-1] > 0 else data[:, 1]) * 1e3),
        "windows_ms": [_percentiles(part) for part in by_window if len(part) > 20],
    }


def _percentiles(values: Any) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 95, 99)}
