# SPDX-License-Identifier: Apache-2.0
"""Operations over HTTP. tritonclient's blocking client is not safe for threads: one event loop serves all."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from typing import Any

import tritonclient.http
import tritonclient.http.aio

from sightline.clients import _wire
from sightline.clients._errors_border import error_from
from sightline.clients._session import Deadline, Session
from sightline.clients._transport import Cancel, Done, headers_of, method_of, take_error, tensors_of
from sightline.errors import Cancelled, ServerUnavailable

CLOSE_SECONDS = 5.0
_tensors = functools.partial(tensors_of, library=tritonclient.http)


class AsyncHttpTransport:
    """Calls in the running event loop, whose connections open with the first one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client: Any = None

    async def open(self) -> None:
        """See AsyncTransport."""

    async def perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        """See AsyncTransport. A kept connection that the server has closed meanwhile is tried once more."""
        if isinstance(operation, _wire.Pause):
            return await asyncio.sleep(operation.seconds)
        try:
            try:
                return await self._once(operation, deadline)
            except Exception as error:
                if type(error).__name__ not in ("ServerDisconnectedError", "ClientOSError"):
                    raise
                return await self._once(operation, deadline)
        except Exception as error:
            raise error_from(error, self._session.call(operation.model, deadline)) from error

    async def close(self) -> None:
        """See AsyncTransport."""
        if self._client is not None:
            await self._client.close()

    async def _once(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        if self._client is None:
            self._client = tritonclient.http.aio.InferenceServerClient(
                self._session.address, conn_timeout=None
            )
        name, arguments = method_of(operation, _tensors, deadline)
        method = getattr(self._client, name)
        answer = await asyncio.wait_for(
            method(**arguments, headers=headers_of(operation, "")), deadline.remaining()
        )
        return _answer(operation, answer)


class HttpTransport:
    """Blocking calls and callbacks, carried by an event loop in its own thread; safe for threads."""

    def __init__(self, session: Session) -> None:
        self._inner = AsyncHttpTransport(session)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        """See Transport."""
        future = self._submit(operation, deadline)
        try:
            return future.result()
        except concurrent.futures.CancelledError as error:
            raise Cancelled("the client was closed") from error
        except BaseException:
            future.cancel()
            raise

    def start(self, operation: _wire.Operation, deadline: Deadline, done: Done) -> Cancel:
        """See Transport."""

        def report(future: concurrent.futures.Future[Any]) -> None:
            if future.cancelled():
                done(None, Cancelled("the request was cancelled"))
            else:
                error = future.exception()
                done(None if error else future.result(), error)

        future = self._submit(operation, deadline)
        future.add_done_callback(report)
        return lambda: _ignore(future.cancel())

    def close(self) -> None:
        """See Transport."""
        with self._lock:
            loop, thread, self._closed = self._loop, self._thread, True
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._shut(), loop)
        if thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)

    async def _shut(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._inner.close()
        await asyncio.sleep(0)  # whoever waits for a task that ended in this very turn is told
        asyncio.get_running_loop().stop()

    async def _perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(take_error)
        return await self._inner.perform(operation, deadline)

    def _submit(self, operation: _wire.Operation, deadline: Deadline) -> concurrent.futures.Future[Any]:
        with self._lock:
            if self._closed:
                raise ServerUnavailable("this client is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="sightline-http", daemon=True
                )
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(self._perform(operation, deadline), self._loop)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _ignore(_: object) -> None:
    return None


def _answer(operation: _wire.Operation, answer: Any) -> Any:
    if isinstance(operation, _wire.Infer):
        return {
            output["name"]: _output(operation, answer, output) for output in answer.get_response()["outputs"]
        }
    if isinstance(operation, _wire.Describe):
        return {str(key): str(value["string_value"]) for key, value in answer.get("parameters", {}).items()}
    if isinstance(operation, _wire.Index):
        return [model["name"] for model in answer if model.get("state", "READY") == "READY"]
    return answer


def _output(operation: _wire.Infer, answer: Any, output: dict[str, Any]) -> Any:
    if output["name"] in operation.names_in_regions:
        return _wire.Placed(output["datatype"], tuple(output["shape"]))
    return answer.as_numpy(output["name"])
