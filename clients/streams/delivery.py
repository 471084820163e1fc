# SPDX-License-Identifier: Apache-2.0
"""The one thread on which answers become results: in order per camera to its analyst, then to the sinks."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Union

from sightline.clients.events.event import Event
from sightline.clients.streams.results import Analyst, EventSink, StreamResult, StreamSink
from sightline.errors import InferenceError, OutputError, SightlineError
from sightline.redact import redact

if TYPE_CHECKING:
    from sightline.clients.streams.camera import Camera
    from sightline.clients.streams.lane import Entry

IDLE_SECONDS = 1.0
ANALYTICS = "analytics"
_Job = Union["Camera", Callable[[], None], None]


class Delivery:
    """Hands results and events on. What has no underscore may be called on any thread.

    cameras: gives the cameras of now, whose analysts are told of the passing of time.
    notice: is told, once for each output, that it cannot be written.
    """

    def __init__(
        self,
        sinks: Sequence[StreamSink],
        cameras: Callable[[], Sequence[Camera]],
        notice: Callable[[str], None],
    ) -> None:
        self.output_errors: Counter[str] = Counter()
        self._sinks = tuple(sinks)
        self._event_sinks = tuple(sink for sink in sinks if isinstance(sink, EventSink))
        self._cameras = cameras
        self._notice = notice
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="watch-results", daemon=True)
        self._next_idle = 0.0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Do what was asked so far, and end; waits at most so long."""
        self._jobs.put(None)
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def answers_of(self, camera: Camera) -> None:
        """The camera's lane has answers that are ready."""
        self._jobs.put(camera)

    def do(self, job: Callable[[], None]) -> None:
        """Run this on the thread, after what was asked before."""
        self._jobs.put(job)

    def exchange(self, camera: Camera, analyst: Analyst | None) -> None:
        """Ask this analyst about the camera after what was asked before; the one before is closed."""

        def job() -> None:
            for event in camera.exchange(analyst):
                self._emit(event)

        self.do(job)

    def emit(self, event: Event | None) -> None:
        """Hand an event to the sinks that take events."""
        if event is not None and self._event_sinks:
            self._jobs.put(lambda: self._emit(event))

    def close_sinks(self) -> None:
        """Finish the outputs, on the caller's thread, after stop()."""
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # the other outputs are finished all the same
                self.failed(type(sink).__name__, error)

    def _run(self) -> None:
        self._next_idle = time.monotonic() + IDLE_SECONDS
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, self._next_idle - time.monotonic()))
            except queue.Empty:
                self._idle()
                continue
            if job is None:
                return
            if callable(job):
                self._do(job)
            else:
                self._take_answers(job)
            if time.monotonic() >= self._next_idle:
                self._idle()

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # an analyst that does not close
            self.failed(ANALYTICS, error)

    def _take_answers(self, camera: Camera) -> None:
        while (entry := camera.lane.ready()) is not None:
            self._deliver(camera, entry)
            camera.lane.pump()

    def _deliver(self, camera: Camera, entry: Entry) -> None:
        frame, pending = entry.take()
        if entry.error is not None or pending is None or frame is None:
            camera.lane.failed(entry.error or InferenceError("the request was not made"))
            return
        try:
            detections = pending.result(0)
        except SightlineError as error:
            frame = pending = (
                None  # the error's traceback refers to this call: no circle, so that memory is free at once
            )
            camera.lane.failed(error)
            return
        except BaseException as error:  # what a foreign client raises is an error of this frame alone
            frame = pending = None
            camera.lane.failed(InferenceError(redact(str(error))))
            return
        if not camera.lane.answered(entry):
            return
        result = StreamResult(frame, detections, time.monotonic() - frame.decoded_at)
        shown = self._observed(camera, result)
        if shown is None:
            return
        camera.show(shown)
        for sink in self._sinks:
            try:
                sink.write(shown)
            except Exception as error:  # a broken output must not stop the cameras
                self.failed(type(sink).__name__, error)

    def _observed(self, camera: Camera, result: StreamResult) -> StreamResult | None:
        """The analyst's result; None where nothing may be shown, and so where the analyst breaks."""
        if camera.analyst is None:
            return result
        try:
            return camera.analyst.observe(result)
        except Exception as error:
            self.failed(f"{ANALYTICS} of {camera.source.name}", error)
            return None

    def _idle(self) -> None:
        now = time.monotonic()
        self._next_idle = max(self._next_idle + IDLE_SECONDS, now)
        for camera in self._cameras():
            if camera.analyst is None:
                continue
            try:
                events = camera.analyst.idle(time.time())
            except Exception as error:
                self.failed(f"{ANALYTICS} of {camera.source.name}", error)
                continue
            for event in events:
                self._emit(event)

    def _emit(self, event: Event) -> None:
        for sink in self._event_sinks:
            try:
                sink.emit(event)
            except Exception as error:
                self.failed(type(sink).__name__, error)

    def failed(self, name: str, error: Exception) -> None:
        """An output broke; on any thread. The first time it is told."""
        with self._lock:
            self.output_errors[name] += 1
            if self.output_errors[name] > 1:
                return
        known = isinstance(error, (OutputError, OSError))
        text = str(error) if known else f"{type(error).__name__}: {error}"
        failing = "fails, and what it fails on is not shown"
        what = failing if name.startswith(ANALYTICS) else "cannot be written and loses results"
        self._notice(redact(f"{name} {what}: {text}"))
