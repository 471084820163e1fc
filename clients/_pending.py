# SPDX-License-Identifier: Apache-2.0
"""A request under way."""

from __future__ import annotations

import concurrent.futures
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sightline.clients._flow import Flow
from sightline.clients._session import Deadline
from sightline.clients._transport import Cancel, Transport
from sightline.errors import Cancelled, DeadlineExceeded, InferenceError
from sightline.results import Detections

T = TypeVar("T")


class PendingResult(Generic[T]):
    """What a model says about one image, some time later. Safe for threads.

    Callbacks run in the connection's own thread, in that of the deadlines, or in the one that cancels or closes: keep them
    short, take no lock in one that is held while cancelling, and never wait for another request in one.
    """

    def __init__(self, flow: Flow[T], transport: Transport, deadline: Deadline) -> None:
        self._flow = flow
        self._transport = transport
        self._deadline = deadline
        self._future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._lock = threading.Lock()
        self._step = 0
        self._cancel_step: Cancel | None = None
        self._cancelled = False
        self._advance(None, None)

    def result(self, timeout: float | None = None) -> T:
        """Wait at most `timeout` seconds, no longer than the request. Raises what the client's method does."""
        try:
            return self._future.result(timeout)
        except concurrent.futures.TimeoutError as error:
            if self._future.done():
                raise
            raise DeadlineExceeded(
                f"no result within {timeout:g} s; the request is still under way"
            ) from error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error that `result` would raise; None when the request was answered."""
        try:
            return self._future.exception(timeout)
        except concurrent.futures.TimeoutError as error:
            raise DeadlineExceeded(
                f"no result within {timeout:g} s; the request is still under way"
            ) from error

    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self._future.done()

    def cancel(self) -> bool:
        """Give the request up: `result` then raises Cancelled. False when it was done before."""
        with self._lock:
            if self._future.done():
                return False
            self._cancelled = True
            cancel = self._cancel_step
        if cancel is not None:
            cancel()
        return True

    def add_done_callback(self, callback: Callable[[PendingResult[T]], None]) -> None:
        """Call `callback(self)` when done; at once when that is already so."""
        me = weakref.ref(self)  # a circle would keep the image until the garbage collector comes

        def call(_: object) -> None:
            pending = me()
            if pending is not None:
                callback(pending)

        self._future.add_done_callback(call)

    def _advance(self, answer: Any, error: BaseException | None) -> None:
        """Take the flow one operation further, in whatever thread the answer arrived."""
        with self._lock:
            self._step += 1
            step = self._step
            self._cancel_step = None
            if self._cancelled and error is None:
                error = Cancelled("the request was cancelled")
        try:
            operation = self._flow.throw(error) if error is not None else self._flow.send(answer)
        except StopIteration as end:
            self._future.set_result(end.value)
            return
        except BaseException as failure:
            error = answer = None
            if isinstance(failure, InferenceError):  # its traceback refers to this call, and so to itself
                failure.__traceback__ = None
            self._future.set_exception(failure)
            return
        self._start(operation, step)

    def _start(self, operation: Any, step: int) -> None:
        try:
            cancel = self._transport.start(operation, self._deadline, self._advance)
        except Exception as failure:
            self._advance(None, failure)
            return
        with self._lock:
            if self._step != step:
                return
            self._cancel_step = cancel
            cancelled = self._cancelled
        if cancelled:
            cancel()


class PendingDetection(PendingResult[Detections]):
    """The detections of one image, some time later."""
