# SPDX-License-Identifier: Apache-2.0
"""The way of one camera's frames to the server: newest wins, few in flight, every frame counted once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from sightline.clients.streams.counters import CameraCounters, DropReason
from sightline.clients.streams.gate import ServerGate
from sightline.clients.streams.results import StreamFrame
from sightline.clients.streams.slot import NewestSlot
from sightline.errors import DeadlineExceeded, ModelNotFoundError, ServerUnavailable, SightlineError
from sightline.frame import Frame
from sightline.results import Detections

_OVERLOAD_WORD = "is overloaded"


class Pending(Protocol):
    """A request under way, as Client.submit gives it."""

    def result(self, timeout: float | None = None) -> Detections:
        """The answer; raises an InferenceError."""

    def cancel(self) -> object:
        """Give the request up."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back when it is done, on any thread."""


class Submitter(Protocol):
    """The part of Client that the engine uses."""

    def submit(self, model: str, image: Frame) -> Pending:
        """Send one frame; returns at once."""


def drop_reason(error: BaseException) -> DropReason:
    """Why a frame got no answer, from the error of its request."""
    if isinstance(error, DeadlineExceeded):
        return DropReason.EXPIRED
    if isinstance(error, ServerUnavailable):
        overloaded = _OVERLOAD_WORD in str(error)
        return DropReason.REFUSED if overloaded else DropReason.SERVER_UNAVAILABLE
    if isinstance(
        error, ModelNotFoundError
    ):  # after the start: the server is back and still loads its models
        return DropReason.SERVER_UNAVAILABLE
    return DropReason.ERROR


class Lane:
    """One camera's slot, counters and requests.

    `completed` is called with (lane, frame, pending) on a foreign thread.
    """

    def __init__(
        self,
        client: Submitter,
        model: str,
        gate: ServerGate,
        completed: Callable[[Lane, StreamFrame, Pending], None],
        *,
        max_in_flight: int = 2,
        every: int = 1,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = CameraCounters()
        self.last_error: SightlineError | None = None
        self._client = client
        self._model = model
        self._gate = gate
        self._completed = completed
        self._max_in_flight = max_in_flight
        self._every = every
        self._now = now
        self._slot: NewestSlot[StreamFrame] = NewestSlot()
        self._in_flight: dict[int, tuple[StreamFrame, Pending | None]] = {}
        self._received = 0
        self._stopped = False
        self._lock = threading.Lock()

    def offer(self, frame: StreamFrame) -> None:
        """A newly decoded frame; on the camera's thread."""
        self.counters.received(frame.decoded_at)
        self._received += 1
        if self._stopped:
            self.counters.dropped(DropReason.STOPPED)
        elif frame.damaged:
            self.counters.dropped(DropReason.DAMAGED)
        elif (self._received - 1) % self._every:
            self.counters.dropped(DropReason.SKIPPED)
        else:
            if self._slot.put(frame) is not None:
                self.counters.dropped(DropReason.SUPERSEDED)
            self.pump()

    def pump(self) -> None:
        """Send the waiting frame if there is room."""
        with self._lock:
            if self._stopped or len(self._in_flight) >= self._max_in_flight:
                return
            frame = self._slot.take()
            if frame is None:
                return
            if not self._gate.allows(self._now()):
                self.counters.dropped(DropReason.SERVER_UNAVAILABLE)
                return
            self._in_flight[id(frame)] = (frame, None)
        try:
            pending = self._client.submit(self._model, frame.frame)
        except SightlineError as error:
            self.failed(frame, error)
            return
        with self._lock:
            if id(frame) in self._in_flight:
                self._in_flight[id(frame)] = (frame, pending)
        pending.add_done_callback(lambda done: self._completed(self, frame, done))

    def answered(self, frame: StreamFrame) -> bool:
        """The frame has its result; False when it was counted before (stopped meanwhile)."""
        if not self._settle(frame):
            return False
        self._gate.answered()
        self.last_error = None
        self.counters.answered(frame.decoded_at, self._now())
        return True

    def failed(self, frame: StreamFrame, error: SightlineError) -> None:
        """The frame's request broke."""
        if not self._settle(frame):
            return
        reason = drop_reason(error)
        self.last_error = error
        if reason is DropReason.SERVER_UNAVAILABLE:
            self._gate.unavailable(self._now())
        elif reason is not DropReason.EXPIRED:
            self._gate.answered()
        self.counters.dropped(reason)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        with self._lock:
            return len(self._in_flight)

    def close(self) -> None:
        """Send nothing any more; requests under way may still be answered."""
        with self._lock:
            self._stopped = True
        if self._slot.take() is not None:
            self.counters.dropped(DropReason.STOPPED)

    def abandon(self) -> None:
        """Cancel the requests under way and count them as stopped."""
        with self._lock:
            left = list(self._in_flight.values())
        for frame, pending in left:
            if self._settle(frame):
                self.counters.dropped(DropReason.STOPPED)
            if pending is not None:
                pending.cancel()

    def _settle(self, frame: StreamFrame) -> bool:
        with self._lock:
            return self._in_flight.pop(id(frame), None) is not None
