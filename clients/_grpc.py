# SPDX-License-Identifier: Apache-2.0
"""Operations over gRPC."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import tritonclient.grpc
import tritonclient.grpc.aio

from sightline.clients import _wire
from sightline.clients._errors_border import error_from
from sightline.clients._session import Deadline, Session
from sightline.clients._transport import Cancel, Done, headers_of, method_of, tensors_of
from sightline.errors import DeadlineExceeded, InferenceError

HEADER_PREFIX = "triton-grpc-protocol-"
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


class GrpcTransport:
    """Blocking calls and callbacks; safe for threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = tritonclient.grpc.InferenceServerClient(
            session.address, channel_args=channel_arguments(session.is_local)
        )
        self._helper: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        """See Transport."""
        if isinstance(operation, _wire.Pause):
            return time.sleep(operation.seconds)
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

        def callback(result: Any, error: Exception | None) -> None:
            try:
                if error is not None:
                    raise error
                answer = _answer(operation, result)
            except Exception as error:
                done(None, self._ours(error, operation, deadline))
            else:
                done(answer, None)

        try:
            _, arguments = method_of(operation, _tensors, deadline)
            call = self._client.async_infer(**arguments, callback=callback, client_timeout=_left(deadline))
        except Exception as error:
            done(None, self._ours(error, operation, deadline))
            return lambda: None
        return cast(Cancel, call.cancel)

    def close(self) -> None:
        """See Transport."""
        with self._lock:
            if self._helper is not None:
                self._helper.shutdown(wait=False, cancel_futures=True)
        self._client.close()

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
            answer = await getattr(self._client, name)(
                **arguments, headers=headers_of(operation, HEADER_PREFIX), client_timeout=_left(deadline)
            )
            return _answer(operation, answer)
        except Exception as error:
            raise error_from(error, self._session.call(operation.model, deadline)) from error

    async def close(self) -> None:
        """See AsyncTransport."""
        if self._client is not None:
            await self._client.close()


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
