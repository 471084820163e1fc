# SPDX-License-Identifier: Apache-2.0
"""Watches cameras: reads each on its own thread, sends the newest frames, hands results to sinks."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sightline.clients.streams.counters import Histogram
from sightline.clients.streams.gate import ServerGate
from sightline.clients.streams.lane import Lane, Pending, Submitter
from sightline.clients.streams.names import Source, checked
from sightline.clients.streams.pictures import plain_frame
from sightline.clients.streams.reconnect import HostPacer, LinkState
from sightline.clients.streams.results import StreamFrame, StreamResult, StreamSink, VideoSink
from sightline.clients.streams.source import OPEN_TIMEOUT_SECONDS, CameraReader, require_av
from sightline.clients.streams.summary import CameraSummary, Summary
from sightline.errors import InferenceError, OutputError, SightlineError
from sightline.redact import redact
from sightline.results import Detections

if TYPE_CHECKING:
    from sightline.clients.page.server import PageServer

DRAIN_SECONDS = 2.0


class Watch:
    """Cameras to detections, until stopped.

    sources: the cameras; see parse_sources. client: a Client (its `submit` is used). sinks: take each result.
    videos: take compressed and decoded pictures.
    page: a PageServer, which is a sink and a video; it is opened and closed here.
    max_in_flight: requests of one camera under way at a time; None: 2, or 1 where more than two cameras keep the
    server busy anyway, which makes results younger.
    every: send only each n-th frame.
    notice: is told, once each, what a person should know (an output that cannot be written).
    """

    def __init__(
        self,
        sources: Sequence[Source],
        client: Submitter,
        *,
        model: str = "street_detect",
        sinks: Sequence[StreamSink] = (),
        videos: Sequence[VideoSink] = (),
        page: PageServer | None = None,
        max_in_flight: int | None = None,
        transport: str = "tcp",
        every: int = 1,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.sources = checked(list(sources))
        self.model = model
        self._client = client
        self._page = page
        self._sinks: list[StreamSink] = [*sinks, *([page] if page else [])]
        self._videos: list[VideoSink] = [*videos, *([page] if page else [])]
        self._notice = notice
        in_flight = max_in_flight or (2 if len(self.sources) <= 2 else 1)
        self._gate = ServerGate()
        self._done: queue.SimpleQueue[tuple[Lane, StreamFrame, Pending] | None] = queue.SimpleQueue()
        self._output_errors: Counter[str] = Counter()
        self._objects: list[dict[str, dict[str, int]]] = [{} for _ in self.sources]
        self._newest = [(0, -1) for _ in self.sources]
        self._started_at = time.monotonic()
        self._summary: Summary | None = None
        self._stop_lock = threading.Lock()
        pacer = HostPacer()
        self._lanes = [
            Lane(client, model, self._gate, self._completed, max_in_flight=in_flight, every=every)
            for _ in self.sources
        ]
        self._readers = [
            CameraReader(
                i,
                source,
                lane.offer,
                videos=self._videos,
                transport=transport,
                pacer=pacer,
                new_frame=getattr(client, "frame_slot", plain_frame),
            )
            for i, (source, lane) in enumerate(zip(self.sources, self._lanes, strict=True))
        ]
        self._worker = threading.Thread(target=self._work, name="watch-results", daemon=True)

    def __enter__(self) -> Watch:
        try:
            self.start()
        except BaseException:
            self.stop()  # a page that is open and sinks are not left behind
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the page and all cameras and return at once; what is absent is waited for.

        Raises MissingDependencyError without PyAV, OutputError when the page does not come up; stop() may follow.
        """
        require_av()
        if self._page is not None:
            self._page.open([s.name for s in self.sources], self.state)
        self._started_at = time.monotonic()
        self._worker.start()
        for reader in self._readers:
            reader.start()

    @property
    def ended(self) -> bool:
        """True when every source was a file and was played to its end."""
        return all(r.link.state is LinkState.ENDED for r in self._readers) and not any(
            lane.in_flight for lane in self._lanes
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
                self._stop_cameras()
                self._close_outputs()
                self._summary = self._summarize(seconds)
            return self._summary

    def _stop_cameras(self) -> None:
        for reader in self._readers:
            reader.stop()
        for lane in self._lanes:
            lane.close()
        deadline = time.monotonic() + DRAIN_SECONDS
        while any(lane.in_flight for lane in self._lanes) and time.monotonic() < deadline:
            time.sleep(0.01)
        for lane in self._lanes:
            lane.abandon()
        self._done.put(None)
        _join(self._worker, DRAIN_SECONDS)
        deadline = time.monotonic() + OPEN_TIMEOUT_SECONDS + 1
        for reader in self._readers:
            _join(reader, max(0.0, deadline - time.monotonic()))
        for lane in self._lanes:
            lane.close()

    def _close_outputs(self) -> None:
        for sink in self._sinks:
            try:
                sink.close()
            except (SightlineError, OSError) as error:
                self._output_failed(sink, error)

    def _completed(self, lane: Lane, frame: StreamFrame, pending: Pending) -> None:
        self._done.put((lane, frame, pending))

    def _work(self) -> None:
        while (item := self._done.get()) is not None:
            lane, frame, pending = item
            try:
                detections = pending.result(0)
            except SightlineError as error:
                lane.failed(frame, error)
            except Exception as error:  # what a foreign client raises is an error of this frame alone
                lane.failed(frame, InferenceError(redact(str(error))))
            else:
                self._deliver(lane, frame, detections)
            lane.pump()

    def _deliver(self, lane: Lane, frame: StreamFrame, detections: Detections) -> None:
        if not lane.answered(frame):
            return
        if frame.order > self._newest[frame.camera]:
            self._newest[frame.camera] = frame.order
            self._objects[frame.camera] = _count_objects(detections)
        result = StreamResult(frame, detections, time.monotonic() - frame.decoded_at)
        for sink in self._sinks:
            try:
                sink.write(result)
            except Exception as error:  # a broken output must not stop the cameras
                self._output_failed(sink, error)

    def _output_failed(self, sink: StreamSink, error: Exception) -> None:
        name = type(sink).__name__
        self._output_errors[name] += 1
        if self._output_errors[name] == 1:
            text = (
                str(error)
                if isinstance(error, (OutputError, OSError))
                else f"{type(error).__name__}: {error}"
            )
            self._notice(redact(f"{name} cannot be written and loses results: {text}"))

    def state(self) -> dict[str, Any]:
        """What is going on now, as plain values: the page, the terminal table and /api/state show it."""
        now = time.monotonic()
        cameras = [self._camera_state(i, now) for i in range(len(self.sources))]
        return {
            "model": self.model,
            "server": self._gate.state,
            "uptime_seconds": round(now - self._started_at, 1),
            "output_errors": dict(self._output_errors),
            "transport": self._transport(),
            "cameras": cameras,
        }

    def _transport(self) -> dict[str, int]:
        """The client's counters of shared memory, where it has any."""
        stats = getattr(self._client, "stats", None)
        return stats().to_dict() if stats else {}

    def _camera_state(self, index: int, now: float) -> dict[str, Any]:
        reader, lane = self._readers[index], self._lanes[index]
        link, error = reader.link, reader.last_error
        waiting = link.state is LinkState.WAITING
        return {
            "name": self.sources[index].name,
            "state": link.state.value,
            "retry_in_seconds": round(max(0.0, link.retry_at - now), 1) if waiting else None,
            "error": redact(str(error)) if error and link.state is not LinkState.LIVE else None,
            "reason": reader.last_reason if error and link.state is not LinkState.LIVE else None,
            "server_error": redact(str(lane.last_error)) if lane.last_error else None,
            "connections": link.connections,
            "objects": self._objects[index] if link.state is LinkState.LIVE else {},
            **lane.counters.snapshot(now).to_dict(),
        }

    def _summarize(self, seconds: float) -> Summary:
        now, total = time.monotonic(), Histogram()
        cameras = []
        for source, reader, lane in zip(self.sources, self._readers, self._lanes, strict=True):
            total.merge(lane.counters.latency)
            error = redact(str(reader.last_error)) if reader.last_error else None
            counts = lane.counters.snapshot(now)
            cameras.append(
                CameraSummary(source.name, source.shown, counts, reader.link.connections, seconds, error)
            )
        p50, p99 = total.percentile_seconds(0.5), total.percentile_seconds(0.99)
        return Summary(
            tuple(cameras),
            seconds,
            None if p50 is None else round(p50 * 1000, 1),
            None if p99 is None else round(p99 * 1000, 1),
            dict(self._output_errors),
        )


def _join(thread: threading.Thread, seconds: float) -> None:
    if thread.ident is not None:  # else start() failed before it
        thread.join(seconds)


def _count_objects(detections: Detections) -> dict[str, dict[str, int]]:
    """Objects by label: {"car": {"count": 2, "class_id": 0}}."""
    counts = Counter(int(class_id) for class_id in detections.classes)
    return {
        detections.label(class_id): {"count": n, "class_id": class_id}
        for class_id, n in sorted(counts.items())
    }
