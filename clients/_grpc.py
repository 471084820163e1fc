# SPDX-License-Identifier: Apache-2.0
"""Operations over gRPC.

An inference that nobody waits for any more is left to its end, and not cancelled: a tritonserver before 2.59 (25.06) may
crash when the cancellation meets the answer (server pull requests 7840, 8078 and 8220). Its queue's time limit ends it.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeoutError
from contextlib import suppress
from typing import Any

import tritonclient.grpc
import tritonclient.grpc.aio

from sightline.clients import _wire
from sightline.clients._deadlines import Deadlines
from sightline.clients._errors_border import error_from
from sightline.clients._request import Request, callback, in_callback, run_outside_callbacks
from sightline.clients._session import Deadline, Session
from sightline.clients._transport import Cancel, Done, headers_of, method_of, take_error, tensors_of
from sightline.errors import DeadlineExceeded, InferenceError, ServerUnavailable

HEADER_PREFIX = "triton-grpc-protocol-"
LEFT_SECONDS = 60.0
"""What a server has to answer a request that nobody waits for any more."""
CLOSE_SECONDS = 5.0
"""How much of that close() waits for."""
_tensors = functools.partial(tensors_of, library=tritonclient.grpc)


def channel_arguments(is_local: bool) -> list[tuple[str, int]]:
    """Large frames fit, a dead server is noticed, and one that came back is found within a second."""
    return [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_500),  # also the limit of one attempt to connect
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.keepalive_time_ms", 300_000),  # a server takes more frequent pings for an attack
        (
            "grpc.keepalive_timeout_ms",
            5_000,
        ),  # becomes TCP_USER_TIMEOUT: unacknowledged data ends the connection
        ("grpc.enable_http_proxy", 0 if is_local else 1),
        ("grpc.use_local_subchannel_pool", 1),  # another client's backoff is not ours
    ]


class _Client(tritonclient.grpc.InferenceServerClient):  # type: ignore[misc]
    """Makes async_infer safe for threads: between sending and adding the callback it keeps the call in this attribute."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._calls = threading.local()
        super().__init__(*arguments, **options)

    @property
    def _call_future(self) -> Any:
        return self._calls.last

    @_call_future.setter
    def _call_future(self, call: Any) -> None:
        self._calls.last = call


class GrpcTransport:
    """Blocking calls and callbacks; safe for threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = _Client(session.address, channel_args=channel_arguments(session.is_local))
        self._helper: ThreadPoolExecutor | None = None
        self._deadlines = Deadlines()
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._under_way: set[Request] = set()
        self._closed = False

    def perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        """See Transport."""
        if isinstance(operation, _wire.Pause):
            return time.sleep(operation.seconds)
        if isinstance(operation, _wire.Infer):
            return self._wait(operation, deadline)
        try:
            name, arguments = method_of(operation, _tensors, deadline)
            answer = getattr(self._client, name)(
                **arguments, headers=headers_of(operation, HEADER_PREFIX), client_timeout=_left(deadline)
            )
            return _answer(operation, answer)
        except Exception as error:
            raise self._ours(error, operation, deadline) from error

    def start(self, operation: _wire.Operation, deadline: Deadline, done: Done) -> Cancel:
        """See Transport. Only inference is truly asynchronous; the rare others wait in a helper thread."""
        if not isinstance(operation, _wire.Infer):
            future = self._helper_thread().submit(self.perform, operation, deadline)
            future.add_done_callback(lambda f: _report(f, done))
            return lambda: None
        request = self._send(operation, deadline, done)
        request.begin(deadline.remaining())
        return request.cancel

    def close(self) -> None:
        """See Transport. The server gets a moment to answer what is under way."""
        with self._lock:
            requests, helper, self._closed = tuple(self._under_way), self._helper, True
        if helper is not None:
            helper.shutdown(wait=False, cancel_futures=True)
        for request in requests:
            request.cancel()
        run_outside_callbacks(self._end)

    def _end(self) -> None:
        with self._lock:
            is_idle = self._answered.wait_for(lambda: not self._under_way, CLOSE_SECONDS)
        if not is_idle:
            with suppress(RuntimeError):  # no thread starts where the interpreter is about to end
                threading.Thread(target=self._end_later, name="sightline-close", daemon=True).start()
                return
        self._client.close()

    def _end_later(self) -> None:
        with self._lock:
            self._answered.wait_for(lambda: not self._under_way, LEFT_SECONDS)
        self._client.close()

    def _wait(self, operation: _wire.Infer, deadline: Deadline) -> Any:
        if in_callback():
            raise InferenceError(
                "a callback cannot wait for another request, whose answer it would hold up; submit it"
            )
        future: Future[Any] = Future()
        request = self._send(operation, deadline, functools.partial(_settle, future))
        try:
            return future.result(min(deadline.remaining(), threading.TIMEOUT_MAX))
        except FuturesTimeoutError as error:
            request.fail(error)
            return future.result()
        except BaseException:
            request.cancel()
            raise
        finally:
            del future  # an error of it refers to this call: a circle that would hold the image

    def _send(self, operation: _wire.Infer, deadline: Deadline, done: Done) -> Request:
        request = Request(done, lambda error: self._ours(error, operation, deadline), self._deadlines)
        with self._lock:
            self._under_way.add(request)
        try:
            self._check_open()
            _, arguments = method_of(operation, _tensors, deadline)
            told = functools.partial(self._finished, operation.names_in_regions, request)
            self._client.async_infer(
                **arguments, callback=told, client_timeout=_left(deadline) + LEFT_SECONDS
            )
        except BaseException as error:
            self._forget(request)
            request.fail(error)
            if not isinstance(error, Exception):
                raise
        return request

    def _check_open(self) -> None:
        if self._closed:
            raise ServerUnavailable("this client is closed; make a new one")

    def _finished(self, in_regions: frozenset[str], request: Request, result: Any, error: Any) -> None:
        """On a thread of gRPC, which keeps what is bound here until the call has ended."""
        try:
            with callback():
                _tell(request, in_regions, result, error)
        finally:
            self._forget(request)

    def _forget(self, request: Request) -> None:
        with self._lock:
            self._under_way.discard(request)
            if not self._under_way:
                self._answered.notify_all()

    def _helper_thread(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._helper is None:
                self._helper = ThreadPoolExecutor(1, "sightline-client")
            return self._helper

    def _ours(self, error: BaseException, operation: _wire.Operation, deadline: Deadline) -> InferenceError:
        return error_from(error, self._session.call(operation.model, deadline))


class AsyncGrpcTransport:
    """Calls in the running event loop, whose connection opens with the first one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client: Any = None
        self._under_way: set[asyncio.Future[Any]] = set()

    async def open(self) -> None:
        """See AsyncTransport."""

    async def perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        """See AsyncTransport."""
        if isinstance(operation, _wire.Pause):
            return await asyncio.sleep(operation.seconds)
        try:
            if self._client is None:
                self._client = tritonclient.grpc.aio.InferenceServerClient(
                    self._session.address, channel_args=channel_arguments(self._session.is_local)
                )
            name, arguments = method_of(operation, _tensors, deadline)
            call = functools.partial(
                getattr(self._client, name), **arguments, headers=headers_of(operation, HEADER_PREFIX)
            )
            if isinstance(operation, _wire.Infer):
                return _answer(operation, await self._wait(call, deadline))
            return _answer(operation, await call(client_timeout=_left(deadline)))
        except Exception as error:
            raise error_from(error, self._session.call(operation.model, deadline)) from error

    async def close(self) -> None:
        """See AsyncTransport. The server gets a moment to answer what is under way."""
        try:
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=CLOSE_SECONDS)
        finally:
            if self._client is not None:
                await self._client.close()

    async def _wait(self, call: Callable[..., Coroutine[Any, Any, Any]], deadline: Deadline) -> Any:
        left = _left(deadline)
        task = asyncio.create_task(call(client_timeout=left + LEFT_SECONDS))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(take_error)
        try:
            await asyncio.wait([task], timeout=left)
            if not task.done():
                raise TimeoutError
            return task.result()
        finally:
            del task  # as above


def _left(deadline: Deadline) -> float:
    left = deadline.remaining()
    if left <= 0:
        raise TimeoutError
    return left


def _report(future: Any, done: Done) -> None:
    if future.cancelled():
        done(None, DeadlineExceeded("the client was closed before the request was sent"))
    else:
        error = future.exception()
        done(None if error else future.result(), error)


def _settle(future: Future[Any], answer: Any, error: BaseException | None) -> None:
    future.set_result(answer) if error is None else future.set_exception(error)


def _tell(request: Request, in_regions: frozenset[str], result: Any, error: Exception | None) -> None:
    if request.is_told:
        return None
    if error is not None:
        return request.fail(error)
    try:
        answer = _outputs(result.get_response(), in_regions)
    except Exception as failure:
        request.fail(failure)
    else:
        request.finish(answer)


def _answer(operation: _wire.Operation, answer: Any) -> Any:
    if isinstance(operation, _wire.Infer):
        return _outputs(answer.get_response(), operation.names_in_regions)
    if isinstance(operation, _wire.Describe):
        return {key: value.string_value for key, value in answer.config.parameters.items()}
    if isinstance(operation, _wire.Index):
        return [model.name for model in answer.models if model.state in ("", "READY")]
    return answer


def _outputs(response: Any, in_regions: frozenset[str]) -> dict[str, Any]:
    """Each output; the message has an entry for the bytes of each, empty where they lie in a region."""
    answer: dict[str, Any] = {}
    for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
        placed = _wire.Placed(output.datatype, tuple(output.shape))
        is_there = output.name in in_regions
        answer[output.name] = placed if is_there else _wire.array_from_bytes(output.name, placed, data)
    return answer
