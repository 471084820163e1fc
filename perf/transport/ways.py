# SPDX-License-Identifier: Apache-2.0
"""The ways of a tensor to the identity model and back. Each call returns the tensor as the way's user gets it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.clients import _wire
from sightline.clients._grpc import GrpcTransport
from sightline.clients._inproc import InProcessTransport
from sightline.clients._ring import Ring
from sightline.clients._session import INPROC, Deadline, Session
from sightline.clients.client import session_for
from sightline.perf.transport.repository import INPUT, MODEL, OUTPUT

TIMEOUT_SECONDS = 30.0
Tensor = NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """One way. copies: full copies of the tensor on it by our code, the stage and the peer's library, counted in the
    sources; the operating system's and gRPC's own are not in it. remark: which they are."""

    name: str
    call: Callable[[], Tensor]
    copies: int
    remark: str


def in_process(repository: Path, tensor: Tensor) -> tuple[Way, Callable[[], None]]:
    """The server inside this process. Returns the way and what ends it."""
    transport = InProcessTransport(Session(str(repository), 0, INPROC, "off"))
    request = _wire.Infer(MODEL, (_wire.Tensor(INPUT, "FP32", tensor.shape, tensor),))

    def call() -> Tensor:
        return transport.perform(request, Deadline.after(TIMEOUT_SECONDS))[OUTPUT]  # type: ignore[no-any-return]

    return Way("in-process", call, 1, "the stage's own, from our array into the result"), transport.close


@contextlib.contextmanager
def ring(address: str, tensor: Tensor) -> Iterator[tuple[Way, Way]]:
    """Our shared-memory ring: the tensor copied in and the result copied out, and both used in place."""
    session = session_for(address, "grpc", "auto", None)
    transport = GrpcTransport(session)
    size = tensor.nbytes
    regions = Ring(port=session.port)
    region = regions.take(2 * size)
    if region is None:
        raise OSError(f"/dev/shm has no room: {regions.why_none}")
    transport.perform(
        _wire.Register(region.name, region.key, region.size_bytes, session.token()),
        Deadline.after(TIMEOUT_SECONDS),
    )
    outputs = (_wire.Output(OUTPUT, region.name, size, size),)
    inputs = (_wire.Tensor(INPUT, "FP32", tensor.shape, region=region.name, size_bytes=size),)
    request = _wire.Infer(MODEL, inputs, outputs)
    there = region.data[:size].view(np.float32).reshape(tensor.shape)
    back = region.data[size : 2 * size].view(np.float32).reshape(tensor.shape)
    result = np.empty_like(tensor)

    def in_place() -> Tensor:
        transport.perform(request, Deadline.after(TIMEOUT_SECONDS))
        return back

    def copied() -> Tensor:
        np.copyto(there, tensor)
        in_place()
        np.copyto(result, back)
        return result

    np.copyto(there, tensor)
    try:
        yield (
            Way(
                "ring, in place",
                in_place,
                1,
                "the stage's own; the frame was made in its slot, the result is read there",
            ),
            Way("ring, copied in and out", copied, 3, "into the slot, the stage's, out of the slot"),
        )
    finally:
        transport.perform(_wire.Unregister(region.name, session.token()), Deadline.after(TIMEOUT_SECONDS))
        transport.close()
        for held in regions.close():
            held.close()


@contextlib.contextmanager
def stock_shared_memory(address: str, token: str, tensor: Tensor) -> Iterator[Way]:
    """tritonclient's own system shared memory, as its examples use it."""
    import tritonclient.grpc as triton
    from tritonclient.utils import shared_memory

    size = tensor.nbytes
    name = f"sightline-perf-{secrets.token_hex(4)}"
    headers = {"triton-grpc-protocol-sightline-token": token}
    client = triton.InferenceServerClient(address)
    handle = shared_memory.create_shared_memory_region(name, f"/{name}", 2 * size)
    client.register_system_shared_memory(name, f"/{name}", 2 * size, headers=headers)
    item = triton.InferInput(INPUT, list(tensor.shape), "FP32")
    item.set_shared_memory(name, size)
    wanted = triton.InferRequestedOutput(OUTPUT)
    wanted.set_shared_memory(name, size, size)

    def call() -> Tensor:
        shared_memory.set_shared_memory_region(handle, [tensor])
        client.infer(MODEL, [item], outputs=[wanted])
        found: Tensor = shared_memory.get_contents_as_numpy(handle, np.float32, tensor.shape, size)
        return found.copy()

    try:
        yield Way(
            "stock shared memory", call, 3, "set_shared_memory_region, the stage's, a copy of the result"
        )
    finally:
        client.unregister_system_shared_memory(name, headers=headers)
        shared_memory.destroy_shared_memory_region(handle)
        client.close()


@contextlib.contextmanager
def plain_grpc(address: str, tensor: Tensor) -> Iterator[Way]:
    """tritonclient over a socket."""
    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(address)

    def call() -> Tensor:
        item = triton.InferInput(INPUT, list(tensor.shape), "FP32")
        item.set_data_from_numpy(tensor)
        found: Any = client.infer(MODEL, [item]).as_numpy(OUTPUT)
        return found  # type: ignore[no-any-return]

    try:
        yield Way(
            "gRPC",
            call,
            2,
            "tobytes and the stage's; protobuf's and TCP's not counted",
        )
    finally:
        client.close()
