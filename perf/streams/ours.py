# SPDX-License-Identifier: Apache-2.0
"""Our engine as one of the ways: with the network stubbed or with a real server."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.clients.analytics.camera import CameraAnalytics
from sightline.clients.analytics.settings import Analytics
from sightline.clients.streams import watch as watch_module
from sightline.clients.streams.names import Source
from sightline.clients.streams.reconnect import HostPacer
from sightline.clients.streams.results import StreamResult
from sightline.clients.streams.watch import Watch
from sightline.perf.streams.stub import StubClient
from sightline.perf.streams.ways import OBJECTS

_KEPT = 2_000_000
_LONG_SECONDS = 600.0
BETWEEN_SECONDS = 0.037
DEADLINE_SECONDS = 1.0
"""As a cameras file has it where it says nothing else: what is older is not answered."""


def as_if_on_many_hosts() -> None:
    """All simulated cameras are on one host; those of a real site are not, and need not wait for each other's turn.

    They begin BETWEEN_SECONDS apart, since real ones are not in step: a simulated one sends from the moment it is asked.
    """
    setattr(watch_module, "HostPacer", functools.partial(HostPacer, BETWEEN_SECONDS, 0))  # noqa: B010 - a foreign name


class AgeSink:
    """Keeps when each tracked result came, and how old it was. No rule, event or disk is in it."""

    def __init__(self) -> None:
        self._rows = np.full((_KEPT, 2), 0.0, np.float32)  # all of it now: memory is measured meanwhile
        self._count = 0
        self._began = time.monotonic()

    @property
    def ages(self) -> NDArray[np.float32]:
        """(arrival, age) in seconds of each result, arrival from the beginning on."""
        return self._rows[: min(self._count, _KEPT)]

    @property
    def left_out(self) -> int:
        """Results for which there was no room."""
        return max(0, self._count - _KEPT)

    def write(self, result: StreamResult) -> None:
        """Note one result."""
        if self._count < _KEPT:
            now = time.monotonic()
            self._rows[self._count] = now - self._began, now - result.source.decoded_at
        self._count += 1

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
            "ages_left_out": self._sink.left_out,
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


def age_figures(ages: Any) -> dict[str, Any]:
    """Percentiles of decoded frame to tracked result in milliseconds: of all, of all after the first window (in which
    connections are made; of all where there is no other), and of each window of 10 seconds, or 60 in a long run.

    ages: rows of arrival and age in seconds.
    """
    data = np.asarray(ages, np.float64).reshape(-1, 2)
    if not len(data):
        return {"ages_ms": None, "later_ages_ms": None, "window_seconds": None, "windows_ms": []}
    since = data[:, 0] - data[0, 0]
    window_seconds = 60.0 if since[-1] > _LONG_SECONDS else 10.0
    windows = (since // window_seconds).astype(int)
    by_window = [data[windows == i, 1] * 1e3 for i in range(windows[-1] + 1)]
    return {
        "ages_ms": _percentiles(data[:, 1] * 1e3),
        "later_ages_ms": _percentiles((data[windows > 0, 1] if windows[-1] > 0 else data[:, 1]) * 1e3),
        "window_seconds": window_seconds,
        "windows_ms": [_percentiles(part) for part in by_window if len(part) > 20],
    }


def _percentiles(values: Any) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 95, 99)}
