# SPDX-License-Identifier: Apache-2.0
"""Watches cameras: reads each on its own thread, sends the newest frames, hands results to sinks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from sightline.clients.streams.camera import Camera
from sightline.clients.streams.counters import Histogram
from sightline.clients.streams.delivery import Delivery
from sightline.clients.streams.fan import VideoFan
from sightline.clients.streams.flow import FlowLimit
from sightline.clients.streams.gate import ServerGate
from sightline.clients.streams.lane import Lane, Submitter
from sightline.clients.streams.life import ServerLife, camera_event
from sightline.clients.streams.names import MAX_SOURCES, Source, checked
from sightline.clients.streams.opening import OPEN_TIMEOUT_SECONDS, require_av
from sightline.clients.streams.pictures import FramePool, NewFrame
from sightline.clients.streams.reconnect import HostPacer, LinkState
from sightline.clients.streams.results import Analyst, StreamSink, VideoSink
from sightline.clients.streams.source import CameraReader
from sightline.clients.streams.summary import Past, Summary
from sightline.clients.streams.supervisor import DRAIN_SECONDS, Supervisor
from sightline.errors import StreamError
from sightline.redact import redact

if TYPE_CHECKING:
    from sightline.clients.page.server import PageServer

Analysts = Callable[[Source], "Analyst | None"]


class Watch:
    """Cameras to detections, until stopped. Cameras may be added, changed and removed meanwhile, from any thread.

    sources: the cameras; see parse_sources; none are needed at the start. client: a Client (its `submit` is used).
    sinks: take each result and, where they are EventSinks, what happens beside the frames.
    videos: take compressed and decoded pictures.
    page: a PageServer, which is a sink and a video; it is opened and closed here.
    analysts: makes the Analyst of a camera, or None; it is asked for each camera that comes without one.
    max_in_flight: requests of one camera under way at a time; None: 2, or 1 where more than two cameras keep the
    server busy anyway, which makes results younger.
    transport: how RTSP carries the video of sources that do not say 'udp' themselves.
    every: send only each n-th frame.
    notice: is told, once each, what a person should know (an output that cannot be written).
    """

    MAX: ClassVar[int] = MAX_SOURCES

    def __init__(
        self,
        sources: Sequence[Source],
        client: Submitter,
        *,
        model: str = "street_detect",
        sinks: Sequence[StreamSink] = (),
        videos: Sequence[VideoSink] = (),
        page: PageServer | None = None,
        analysts: Analysts | None = None,
        max_in_flight: int | None = None,
        transport: str = "tcp",
        every: int = 1,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.model = model
        self._client = client
        self._page = page
        self._analysts = analysts
        self._max_in_flight = max_in_flight
        self._transport = transport
        self._every = every
        self._server_life = ServerLife()
        self._gate = ServerGate(self._server_changed)
        self._flow = FlowLimit()
        self._pacer = HostPacer()
        self._new_frame: NewFrame = getattr(client, "frame_slot", FramePool().frame)
        self._cameras: dict[str, Camera] = {}
        self._leaving: list[Camera] = []
        self._past = Past()
        self._next_number = 0
        self._is_started = self._is_stopped = False
        self._started_at = time.monotonic()
        self._summary: Summary | None = None
        self._lock, self._stop_lock = threading.RLock(), threading.Lock()
        self._delivery = Delivery([*sinks, *([page] if page else [])], self._present, notice)
        self._videos = VideoFan([*videos, *([page] if page else [])], self._delivery.failed)
        self._supervisor = self._made_supervisor()
        for source in checked(list(sources), may_be_empty=True):
            self.add(source)

    def __enter__(self) -> Watch:
        try:
            self.start()
        except BaseException:
            self.stop()  # a page that is open and sinks are not left behind
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def sources(self) -> list[Source]:
        """The cameras of now."""
        return [camera.source for camera in self._present()]

    def start(self) -> None:
        """Start the page and all cameras and return at once; what is absent is waited for.

        Raises MissingDependencyError without PyAV, OutputError when the page does not come up; stop() may follow.
        """
        require_av()
        with self._lock:
            if self._page is not None:
                self._page.open([s.name for s in self.sources], self.state)
            self._started_at = time.monotonic()
            self._delivery.start()
            self._is_started = True
            for camera in self._present():
                self._begin(camera)
            self._supervisor.start()

    def add(self, source: Source, analyst: Analyst | None = None) -> int:
        """Watch one more camera; returns its number, which no other one gets. Raises StreamError."""
        with self._lock:
            self._check_running()
            checked([*self.sources, source])
            number = self._next_number
            self._next_number += 1
            if analyst is None and self._analysts is not None:
                analyst = self._analysts(source)
            camera = self._made(number, source, analyst)
            self._cameras = {**self._cameras, source.name: camera}
            self._share_out()
            if self._is_started:
                self._begin(camera)
            return number

    def change(self, source: Source, analyst: Analyst | None = None) -> None:
        """Read the camera of the source's name like this from now on, and, where one is given, ask this analyst.

        It connects anew only where that is needed: rate, deadline, decoding and model change at once. Raises StreamError.
        """
        with self._lock:
            self._check_running()
            camera = self._camera(source.name)
            source = self._completed(source)
            camera.lane.model = source.model or self.model
            camera.lane.deadline_seconds = source.deadline_seconds
            camera.lane.lossless = source.is_lossless
            camera.reader.change(source)
            if analyst is not None:
                self.set_analyst(source.name, analyst)

    def set_analyst(self, name: str, analyst: Analyst | None) -> None:
        """Ask this one from the camera's next result on; the one before is closed. Raises StreamError."""
        with self._lock:
            self._check_running()
            camera = self._camera(name)
            if not self._is_started:
                camera.exchange(analyst)
                return
        self._delivery.exchange(camera, analyst)

    def remove(self, name: str) -> None:
        """Take a camera away, at once; its figures stay in the summary. Raises StreamError."""
        with self._lock:
            self._check_running()
            camera = self._camera(name)
            self._cameras = {key: value for key, value in self._cameras.items() if key != name}
            camera.leaving_since = time.monotonic()
            self._leaving.append(camera)
            camera.reader.stop()
            camera.lane.close()
            self._share_out()
            if not self._is_started:
                self._see_off(camera)

    @property
    def ended(self) -> bool:
        """True when every source was a file or folder and was played to its end."""
        cameras = self._present()
        return bool(cameras) and all(
            camera.reader.link.state is LinkState.ENDED and camera.lane.is_empty for camera in cameras
        )

    def wait(self, seconds: float | None = None, *, stopping: threading.Event | None = None) -> None:
        """Block for so many seconds, or until all files have ended, or until the event is set."""
        event = stopping or threading.Event()
        until = None if seconds is None else time.monotonic() + seconds
        while not self.ended and (until is None or time.monotonic() < until):
            if event.wait(0.2):
                return

    def stop(self) -> Summary:
        """Stop all, finish the outputs, and give the figures; later calls give the same ones."""
        with self._stop_lock:
            if self._summary is None:
                seconds = time.monotonic() - self._started_at
                with self._lock:
                    self._is_stopped = True
                self._supervisor.stop()
                self._stop_cameras()
                self._delivery.close_sinks()
                self._summary = self._summarize(seconds)
            return self._summary

    def _stop_cameras(self) -> None:
        cameras = [*self._present(), *self._leaving]
        for camera in cameras:
            camera.reader.stop()
            camera.lane.close()
        deadline = time.monotonic() + DRAIN_SECONDS
        while any(camera.lane.in_flight for camera in cameras) and time.monotonic() < deadline:
            time.sleep(0.01)
        for camera in cameras:
            camera.lane.abandon()
        for camera in cameras:
            self._delivery.exchange(camera, None)
        self._delivery.stop(DRAIN_SECONDS)
        deadline = time.monotonic() + OPEN_TIMEOUT_SECONDS + 1
        for camera in cameras:
            if camera.reader.ident is not None:  # else start() failed before it
                camera.reader.join(max(0.0, deadline - time.monotonic()))
            camera.lane.close()
            if camera.reader.is_alive():
                camera.lane.counters.close()

    def state(self) -> dict[str, Any]:
        """What is going on now, as plain values: the page, the terminal table and /api/state show it."""
        now = time.monotonic()
        return {
            "model": self.model,
            "server": self._gate.state,
            "requests_at_once": self._flow.limit,
            "uptime_seconds": round(now - self._started_at, 1),
            "output_errors": dict(self._delivery.output_errors),
            "transport": self._transport_figures(),
            "cameras": [camera.state(now) for camera in self._present()],
        }

    def _transport_figures(self) -> dict[str, int]:
        """The client's counters of shared memory, where it has any."""
        stats = getattr(self._client, "stats", None)
        return stats().to_dict() if stats else {}

    def _present(self) -> tuple[Camera, ...]:
        return tuple(self._cameras.values())

    def _check_running(self) -> None:
        if self._is_stopped:
            raise StreamError("the watch was stopped; make a new one")

    def _camera(self, name: str) -> Camera:
        camera = self._cameras.get(name)
        if camera is None:
            known = ", ".join(sorted(self._cameras)) or "none"
            raise StreamError(f"no camera is called {redact(name)!r}; there is {known}")
        return camera

    def _completed(self, source: Source) -> Source:
        return source if self._transport == "tcp" else replace(source, transport=self._transport)

    def _made_supervisor(self) -> Supervisor:
        return Supervisor(
            self._present,
            lambda: tuple(self._leaving),
            restart=self._restart,
            alarm=self._alarm,
            left=self._see_off,
        )

    def _made(self, number: int, source: Source, analyst: Analyst | None) -> Camera:
        source = self._completed(source)
        lane = Lane(
            self._client,
            source.model or self.model,
            self._gate,
            lambda _: self._delivery.answers_of(camera),
            deadline_seconds=source.deadline_seconds,
            lossless=source.is_lossless,
            flow=self._flow,
        )
        camera = Camera(number, lane, self._reader(number, source, lane), analyst, time.monotonic())
        return camera

    def _reader(
        self, number: int, source: Source, lane: Lane, before: CameraReader | None = None
    ) -> CameraReader:
        return CameraReader(
            number,
            source,
            lane,
            videos=self._videos,
            pacer=self._pacer,
            new_frame=self._new_frame,
            every=self._every,
            emit=self._delivery.emit,
            before=before,
        )

    def _begin(self, camera: Camera) -> None:
        camera.started_at = time.monotonic()
        self._videos.on_added(camera.number, camera.source.name)
        camera.reader.start()

    def _share_out(self) -> None:
        """How many requests of one camera may be under way."""
        for camera in self._present():
            camera.lane.max_in_flight = self._max_in_flight or (2 if len(self._cameras) <= 2 else 1)

    def _restart(self, camera: Camera) -> None:
        with self._lock:
            if self._is_stopped or camera.leaving_since is not None:
                return
            camera.reader = self._reader(camera.number, camera.source, camera.lane, camera.reader)
            camera.reader.start()

    def _alarm(self, camera: Camera) -> None:
        name, now = camera.source.name, time.time()
        text = "its thread died or hung again and again; it is started again in a minute"
        self._delivery.emit(camera_event(name, "crash_loop", str(round(now * 1000)), now, reason=text))

    def _server_changed(self, is_up: bool) -> None:
        self._delivery.emit(self._server_life.told(is_up, time.time()))

    def _see_off(self, camera: Camera) -> None:
        """A removed camera's thread has ended: nothing of it is left but its figures."""
        if camera.reader.is_alive():
            camera.reader.abandon()
            camera.lane.counters.close()
        with self._lock:
            self._leaving.remove(camera)
            self._past.add(camera, time.monotonic())
        if not self._is_started:
            camera.exchange(None)
            return
        self._delivery.exchange(camera, None)
        self._delivery.do(lambda: self._videos.on_removed(camera.number))  # after its last result

    def _summarize(self, seconds: float) -> Summary:
        now, total = time.monotonic(), Histogram()
        for camera in self._leaving:
            self._past.add(camera, now)
        rows = []
        for camera in self._present():
            error = redact(str(camera.reader.last_error)) if camera.reader.last_error else None
            its_seconds = seconds - max(0.0, camera.started_at - self._started_at)
            rows.append(self._past.row(camera, now, max(0.0, its_seconds), error))
        rows += self._past.rows(now, without={row.name for row in rows})
        for counters in self._past.counters.values():
            total.merge(counters.latency)
        for camera in self._present():
            total.merge(camera.lane.counters.latency)
        p50, p99 = total.percentile_seconds(0.5), total.percentile_seconds(0.99)
        return Summary(
            tuple(rows),
            seconds,
            None if p50 is None else round(p50 * 1000, 1),
            None if p99 is None else round(p99 * 1000, 1),
            dict(self._delivery.output_errors),
        )
