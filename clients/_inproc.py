# SPDX-License-Identifier: Apache-2.0
"""Operations on a server inside this process: tensors are passed by address, without a socket and without a copy."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.clients import _wire
from sightline.clients._deadlines import Deadlines
from sightline.clients._errors_border import error_from
from sightline.clients._request import Request, callback, run_outside_callbacks
from sightline.clients._session import Deadline, Session
from sightline.clients._transport import Cancel, Done
from sightline.clients.inprocess.hosting import acquire, release
from sightline.errors import InferenceError, ServerUnavailable

if TYPE_CHECKING:
    from sightline.clients.inprocess._host import Call, Outputs


class InProcessTransport:
    """Blocking calls and callbacks; safe for threads. Starts the server, or joins the one that runs here."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._server = acquire(Path(session.host))
        self._closed = False
        self._deadlines = Deadlines()
        self._lock = threading.Lock()

    def perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        """See Transport."""
        if isinstance(operation, _wire.Pause):
            return time.sleep(operation.seconds)
        try:
            self._check_open()
            if isinstance(operation, _wire.Infer):
                call = self._start(operation, None)
                return answer_of(self._server.host.finish(call, deadline.remaining()))
            return self._ask(operation)
        except Exception as error:
            raise self._ours(error, operation, deadline) from error

    def start(self, operation: _wire.Operation, deadline: Deadline, done: Done) -> Cancel:
        """See Transport. The server knows no deadline of a request, so a thread of ours ends it."""
        if not isinstance(operation, _wire.Infer):
            self._answer_now(operation, deadline, done)
            return lambda: None
        request = Request(done, lambda error: self._ours(error, operation, deadline), self._deadlines)
        try:
            self._check_open()
            call = self._start(operation, functools.partial(_finished, request))
            request.begin(deadline.remaining(), call.cancel)
        except Exception as error:
            request.fail(error)
        return request.cancel

    def close(self) -> None:
        """See Transport. The last client of a server ends it: on a thread of its own where this one is the server's, for
        the server waits until its callbacks have returned."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        run_outside_callbacks(functools.partial(release, self._server))

    def _answer_now(self, operation: _wire.Operation, deadline: Deadline, done: Done) -> None:
        try:
            answer = self.perform(operation, deadline)
        except InferenceError as error:
            done(None, error)
        else:
            done(answer, None)

    def _check_open(self) -> None:
        if self._closed:
            raise ServerUnavailable("this client is closed; make a new one")

    def _start(self, operation: _wire.Infer, callback: Any) -> Call:
        inputs = [
            (tensor.name.encode(), tensor.datatype.encode(), tensor.shape, np.ascontiguousarray(tensor.array))
            for tensor in operation.tensors
        ]
        return self._server.host.start(operation.model.encode(), inputs, [], callback)

    def _ask(self, operation: _wire.Operation) -> Any:
        host = self._server.host
        match operation:
            case _wire.Describe():
                parameters = json.loads(host.config(operation.model.encode())).get("parameters", {})
                return {name: value.get("string_value", "") for name, value in parameters.items()}
            case _wire.Ready():
                return host.ready(operation.model.encode() if operation.model else None)
            case _wire.Index():
                models = json.loads(host.index())
                return [model["name"] for model in models if model.get("state", "READY") == "READY"]
        raise TypeError(f"{operation} is not for a server in this process")

    def _ours(self, error: BaseException, operation: _wire.Operation, deadline: Deadline) -> InferenceError:
        return error_from(error, self._session.call(operation.model, deadline))


class AsyncInProcessTransport:
    """The same in an event loop. open() loads the models, on another thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._opening: asyncio.Task[InProcessTransport] | None = None

    async def open(self) -> None:
        """See AsyncTransport."""
        await self._opened()

    async def _opened(self) -> InProcessTransport:
        """Opened by the first of many requests; shielded, for the others need it though that one is cancelled."""
        task = self._opening
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._opening = asyncio.create_task(asyncio.to_thread(InProcessTransport, self._session))
        return await asyncio.shield(task)

    async def perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        """See AsyncTransport."""
        if isinstance(operation, _wire.Pause):
            return await asyncio.sleep(operation.seconds)
        inner = await self._opened()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(answer: Any, error: BaseException | None) -> None:
            if not future.done():
                future.set_result(answer) if error is None else future.set_exception(error)

        def done(answer: Any, error: BaseException | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, answer, error)

        cancel = inner.start(operation, deadline, done)
        try:
            return await future
        except asyncio.CancelledError:
            cancel()
            raise

    async def close(self) -> None:
        """See AsyncTransport."""
        if self._opening is not None:
            with suppress(Exception):  # the requests have raised why it did not open
                await asyncio.to_thread((await asyncio.shield(self._opening)).close)


def _finished(request: Request, outputs: Outputs | None, error: Exception | None) -> None:
    """On a thread of the server."""
    with callback():
        if error is not None:
            return request.fail(error)
        try:
            answer = answer_of(outputs or [])
        except Exception as failure:
            request.fail(failure)
        else:
            request.finish(answer)


def answer_of(outputs: Outputs) -> dict[str, NDArray[Any]]:
    """Outputs by name as arrays in the memory that the server wrote to; texts as an object array of bytes."""
    return {
        name: _wire.array_from_bytes(name, _wire.Placed(datatype, shape), block)
        for name, datatype, shape, block in outputs
    }
