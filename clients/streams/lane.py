# SPDX-License-Identifier: Apache-2.0
"""The way of one camera's frames to the server: newest wins, few in flight, answers in order, every frame counted once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from sightline.clients._errors_border import OVERLOADED
from sightline.clients._transport import QUEUE_SHARE
from sightline.clients.streams.counters import CameraCounters, DropReason
from sightline.clients.streams.flow import FlowLimit
from sightline.clients.streams.gate import ServerGate
from sightline.clients.streams.results import StreamFrame
from sightline.clients.streams.slot import NewestSlot
from sightline.errors import DeadlineExceeded, ModelNotFoundError, ServerUnavailable, SightlineError
from sightline.frame import Frame
from sightline.results import Detections

UNDELIVERED = 2
"""Answers of one camera that may wait for the outputs; while more do, nothing is sent for it."""
DEADLINE_SECONDS = 4.0
_LATE_WORD = "timeout expired"
_LEAST_SECONDS = 0.001
_POLL_SECONDS = 0.05


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

    def submit(self, model: str, image: Frame, *, timeout_seconds: float | None = None) -> Pending:
        """Send one frame; returns at once."""


def drop_reason(error: BaseException) -> DropReason:
    """Why a frame got no answer, from the error of its request."""
    if isinstance(error, DeadlineExceeded):
        return DropReason.EXPIRED
    if isinstance(error, ServerUnavailable):
        text = str(error)
        if _LATE_WORD in text:
            return DropReason.EXPIRED
        return DropReason.REFUSED if OVERLOADED in text else DropReason.SERVER_UNAVAILABLE
    if isinstance(
        error, ModelNotFoundError
    ):  # after the start: the server is back and still loads its models
        return DropReason.SERVER_UNAVAILABLE
    return DropReason.ERROR


class Entry:
    """One frame that was sent. `pending` is None until it is, or where that failed with `error`."""

    __slots__ = ("answered_at", "decoded_at", "done", "error", "frame", "pending", "sent_at")

    def __init__(self, frame: StreamFrame, now: float) -> None:
        self.frame: StreamFrame | None = frame
        self.decoded_at = frame.decoded_at
        self.sent_at = self.answered_at = now
        self.pending: Pending | None = None
        self.error: SightlineError | None = None
        self.done = False

    def take(self) -> tuple[StreamFrame | None, Pending | None]:
        """Frame and request, which the entry forgets: a request's callback refers to it, and a circle holds memory."""
        taken = self.frame, self.pending
        self.frame = self.pending = None
        return taken


class Lane:
    """One camera's slot, counters and requests.

    `completed(lane)` is called on a foreign thread when answers can be taken with `ready()`.
    flow: bounds what all lanes together send; None: nothing does.
    model, deadline_seconds and max_in_flight may be changed at any time.
    lossless: no frame is replaced by a newer one and none is too old; see `wait_for_room`.
    """

    def __init__(
        self,
        client: Submitter,
        model: str,
        gate: ServerGate,
        completed: Callable[[Lane], None],
        *,
        max_in_flight: int = 2,
        deadline_seconds: float = DEADLINE_SECONDS,
        lossless: bool = False,
        flow: FlowLimit | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = CameraCounters()
        self.last_error: str | None = None  # the error itself would hold the frame by its traceback
        self.model = model
        self.max_in_flight = max_in_flight
        self.deadline_seconds = deadline_seconds
        self.lossless = lossless
        self._client = client
        self._gate = gate
        self._completed = completed
        self._flow = flow or FlowLimit()
        self._now = now
        self._slot: NewestSlot[StreamFrame] = NewestSlot()
        self._taken = threading.Event()
        self._sent: deque[Entry] = deque()
        self._in_flight = 0
        self._stopped = False
        self._lock = threading.Lock()

    def offer(self, frame: StreamFrame) -> None:
        """A frame that has not been counted as received yet; on the camera's thread."""
        self.counters.received(frame.decoded_at)
        self.admit(frame)

    def admit(self, frame: StreamFrame) -> None:
        """A frame that has been counted as received; on the camera's thread."""
        if self._stopped:
            self.counters.dropped(DropReason.STOPPED)
        elif frame.damaged:
            self.counters.dropped(DropReason.DAMAGED)
        else:
            if self.lossless:
                self._taken.clear()
            if self._slot.put(frame) is not None:
                self.counters.dropped(DropReason.SUPERSEDED)
            self.pump()
            if self._stopped:  # close() may have looked into the slot before
                self._empty_slot()

    def wait_for_room(self, stopping: Callable[[], bool]) -> None:
        """Block until a frame would replace no other one, or `stopping` says so."""
        while self._slot.full and not stopping():
            if not self._taken.wait(_POLL_SECONDS):
                self.pump()

    def pump(self) -> None:
        """Send the waiting frame if there is room."""
        while self._slot.full and (entry := self._next()) is not None:
            self._send(entry)

    def _next(self) -> Entry | None:
        """The waiting frame, with its place in the order of answers; None where there is none or no room."""
        with self._lock:
            if (
                self._stopped
                or self._in_flight >= self.max_in_flight
                or len(self._sent) >= self.max_in_flight + UNDELIVERED
                or not self._slot.full
            ):
                return None
            now = self._now()
            may_send = self._gate.allows(now)
            if not may_send and self.lossless:
                return None
            if may_send and not self._flow.enter(self):
                return None
            frame = self._slot.take()
            if self.lossless:
                self._taken.set()
            if frame is not None and may_send and not self.is_late(frame.decoded_at, now):
                entry = Entry(frame, now)
                self._sent.append(entry)
                self._in_flight += 1
                return entry
        if frame is not None:
            late = DropReason.EXPIRED if may_send else DropReason.SERVER_UNAVAILABLE
            self.counters.dropped(late)
        if may_send:
            self._flow.leave()
        return None

    def _send(self, entry: Entry) -> None:
        frame = entry.frame
        if frame is None:  # abandoned meanwhile
            return
        timeout = None
        if not self.lossless:
            left = entry.decoded_at + self.deadline_seconds - self._now()
            timeout = max(left, _LEAST_SECONDS) / QUEUE_SHARE
        try:
            pending = self._client.submit(self.model, frame.frame, timeout_seconds=timeout)
        except SightlineError as error:
            entry.error = error
            self._answer_came(entry)
            return
        entry.pending = pending
        pending.add_done_callback(lambda _: self._answer_came(entry))

    def _answer_came(self, entry: Entry) -> None:
        """On any thread: there is room for the next frame, and, in order, something to be delivered."""
        with self._lock:
            if entry.done:
                return
            entry.done = True
            entry.answered_at = self._now()
            self._in_flight -= 1
            is_first = bool(self._sent) and self._sent[0] is entry
        if is_first:
            self._completed(self)
        self._flow.leave()
        self.pump()

    def ready(self) -> Entry | None:
        """The oldest frame that was sent, once it has its answer; to be followed by `answered` or `failed`."""
        with self._lock:
            if not self._sent or not self._sent[0].done:
                return None
            return self._sent.popleft()

    def is_late(self, decoded_at: float, now: float) -> bool:
        """Whether an answer at this time to a frame of that time is of no use any more."""
        return not self.lossless and now - decoded_at > self.deadline_seconds

    def answered(self, entry: Entry) -> bool:
        """The frame has its result; False where it came too late to be shown."""
        self._gate.answered()
        self.last_error = None
        now = self._now()
        self._flow.answered(entry.answered_at - entry.sent_at, self.deadline_seconds, now)
        if self.is_late(entry.decoded_at, now):
            self.counters.dropped(DropReason.EXPIRED)
            return False
        self.counters.answered(entry.decoded_at, now)
        return True

    def failed(self, error: SightlineError) -> None:
        """A frame's request broke."""
        if self._stopped:
            self.counters.dropped(DropReason.STOPPED)
            return
        reason = drop_reason(error)
        self.last_error = str(error)
        if reason is DropReason.SERVER_UNAVAILABLE:
            self._gate.unavailable(self._now())
        elif reason is not DropReason.EXPIRED:
            self._gate.answered()
        self.counters.dropped(reason)

    @property
    def in_flight(self) -> int:
        """Requests under way, and answers that nobody has taken yet."""
        with self._lock:
            return len(self._sent)

    @property
    def is_empty(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not self._slot.full and self.in_flight == 0

    def close(self) -> None:
        """Send nothing any more; requests under way may still be answered."""
        with self._lock:
            self._stopped = True
        self._flow.forget(self)
        self._empty_slot()

    def _empty_slot(self) -> None:
        if self._slot.take() is not None:
            self.counters.dropped(DropReason.STOPPED)
        self._taken.set()

    def abandon(self) -> None:
        """Cancel the requests under way and count them, and the answers that nobody has taken, as stopped."""
        with self._lock:
            left = list(self._sent)
            self._sent.clear()
            under_way = self._in_flight
            for entry in left:
                entry.done = True
            self._in_flight = 0
        self.counters.dropped(DropReason.STOPPED, len(left))
        for _ in range(under_way):
            self._flow.leave()
        for entry in left:
            if (pending := entry.take()[1]) is not None:
                pending.cancel()
