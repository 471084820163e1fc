# SPDX-License-Identifier: Apache-2.0
"""How operations become calls of tritonclient, whose four clients share their method names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sightline.clients import _wire
from sightline.clients._flow import Flow
from sightline.clients._session import INPROC, Deadline, Session
from sightline.runtime import TOKEN_KEY

QUEUE_SHARE = 0.8
"""Of the time that is left, what a request may wait in the server's queue."""

T = TypeVar("T")
Done = Callable[[Any, BaseException | None], None]
Cancel = Callable[[], None]


class Transport(Protocol):
    """Carries operations from any thread. Errors are ours."""

    def perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        """The answer, waited for."""

    def start(self, operation: _wire.Operation, deadline: Deadline, done: Done) -> Cancel:
        """Returns at once a function that cancels; `done(answer, error)` is called once, in any thread."""

    def close(self) -> None:
        """End the connections; what still waits is cancelled."""


class AsyncTransport(Protocol):
    """Carries operations in one event loop. Errors are ours, cancellation is asyncio's."""

    async def open(self) -> None:
        """Start what takes long, where it has not been started; before each flow, outside its deadline."""

    async def perform(self, operation: _wire.Operation, deadline: Deadline) -> Any:
        """The answer."""

    async def close(self) -> None:
        """End the connections."""


def transport_for(session: Session) -> Transport:
    """The blocking transport of the session's protocol."""
    if session.protocol == INPROC:
        from sightline.clients._inproc import InProcessTransport

        return InProcessTransport(session)
    if session.protocol == "http":
        from sightline.clients._http import HttpTransport

        return HttpTransport(session)
    from sightline.clients._grpc import GrpcTransport

    return GrpcTransport(session)


def async_transport_for(session: Session) -> AsyncTransport:
    """The asyncio transport of the session's protocol."""
    if session.protocol == INPROC:
        from sightline.clients._inproc import AsyncInProcessTransport

        return AsyncInProcessTransport(session)
    if session.protocol == "http":
        from sightline.clients._http import AsyncHttpTransport

        return AsyncHttpTransport(session)
    from sightline.clients._grpc import AsyncGrpcTransport

    return AsyncGrpcTransport(session)


def run_blocking(flow: Flow[T], transport: Transport, deadline: Deadline) -> T:
    """Drive a flow with blocking calls."""
    try:
        operation = next(flow)
        while True:
            try:
                answer = transport.perform(operation, deadline)
            except BaseException as error:
                operation = flow.throw(error)
            else:
                operation = flow.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_async(flow: Flow[T], transport: AsyncTransport, deadline: Deadline) -> T:
    """Drive a flow in an event loop."""
    try:
        operation = next(flow)
        while True:
            try:
                answer = await transport.perform(operation, deadline)
            except BaseException as error:
                operation = flow.throw(error)
            else:
                operation = flow.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def method_of(
    operation: _wire.Operation, tensors: Callable[[_wire.Infer], dict[str, Any]], deadline: Deadline
) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the tritonclient method that carries the operation out.

    An inference tells the server how long it may wait in a queue, so that what nobody waits for any more is not computed.
    That is less than the time that is left: refused by the server, its memory may be used again; given up by us, not.
    """
    match operation:
        case _wire.Infer():
            left_us = max(1, int(deadline.remaining() * QUEUE_SHARE * 1e6))
            return "infer", {"model_name": operation.model, **tensors(operation), "timeout": left_us}
        case _wire.Describe():
            return "get_model_config", {"model_name": operation.model}
        case _wire.Ready():
            return (
                ("is_model_ready", {"model_name": operation.model})
                if operation.model
                else ("is_server_ready", {})
            )
        case _wire.Index():
            return "get_model_repository_index", {}
        case _wire.Register():
            return "register_system_shared_memory", {
                "name": operation.region,
                "key": operation.key,
                "byte_size": operation.size_bytes,
            }
        case _wire.Unregister():
            return "unregister_system_shared_memory", {"name": operation.region}
    raise TypeError(f"{operation} is not a call")


def take_error(task: asyncio.Future[Any]) -> None:
    """For a task that nobody may wait for any more when it fails, which asyncio would complain about."""
    if not task.cancelled():
        task.exception()


def headers_of(operation: _wire.Operation, prefix: str) -> dict[str, str] | None:
    """The token of a restricted operation, under the header that the protocol wants."""
    token = getattr(operation, "token", "")
    return {f"{prefix}{TOKEN_KEY}": token} if token else None


def tensors_of(operation: _wire.Infer, library: Any) -> dict[str, Any]:
    """The operation's tensors as objects of tritonclient.grpc or tritonclient.http."""
    inputs = []
    for tensor in operation.tensors:
        item = library.InferInput(tensor.name, list(tensor.shape), tensor.datatype)
        if tensor.region:
            item.set_shared_memory(tensor.region, tensor.size_bytes)
        else:
            item.set_data_from_numpy(tensor.array)
        inputs.append(item)
    outputs = []
    for output in operation.outputs:
        wanted = library.InferRequestedOutput(output.name)
        if output.region:
            wanted.set_shared_memory(output.region, output.size_bytes, output.offset)
        outputs.append(wanted)
    return {"inputs": inputs, "outputs": outputs or None}
