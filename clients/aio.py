# SPDX-License-Identifier: Apache-2.0
"""The asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Literal, TypeVar

from sightline.clients import _flow, _sharing
from sightline.clients._images import ImageLike
from sightline.clients._ring import TransportStats
from sightline.clients._session import Deadline
from sightline.clients._transport import async_transport_for, run_async
from sightline.clients.client import BATCH_IN_FLIGHT, CLOSE_SECONDS, CLOSED, session_for
from sightline.errors import InferenceError, ServerUnavailable
from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

T = TypeVar("T")


class AsyncClient:
    """`Client` with await, for one event loop; cancel a request by cancelling its task.

    The arguments are those of `Client`; the models of 'inproc:FOLDER' are loaded with the first request.
    Use it as an async context manager, or await close().
    """

    def __init__(
        self,
        address: str = "localhost",
        *,
        protocol: Literal["grpc", "http"] = "grpc",
        timeout_seconds: float = 10.0,
        shared_memory: Literal["auto", "off"] = "auto",
        token: str | None = None,
    ) -> None:
        Deadline.after(timeout_seconds)
        self._timeout_seconds = timeout_seconds
        self._session = session_for(address, protocol, shared_memory, token)
        self._transport = async_transport_for(self._session)
        self._closed = False

    @property
    def address(self) -> str:
        """'host:port' of the server."""
        return self._session.address

    async def detect(
        self, model: str, image: ImageLike, *, timeout_seconds: float | None = None
    ) -> Detections:
        """Objects in one image; see `Client.detect`."""
        return await self._run(_flow.detect(self._session, model, image), timeout_seconds)

    async def segment(
        self, model: str, image: ImageLike, *, timeout_seconds: float | None = None
    ) -> Detections:
        """Objects in one image with their masks; see `Client.segment`."""
        return await self._run(_flow.segment(self._session, model, image), timeout_seconds)

    async def classify(
        self, model: str, image: ImageLike, *, timeout_seconds: float | None = None
    ) -> Classification:
        """The best classes of one image; see `Client.classify`."""
        return await self._run(_flow.classify(self._session, model, image), timeout_seconds)

    async def semantic(
        self, model: str, image: ImageLike, *, timeout_seconds: float | None = None
    ) -> ClassMap:
        """The class of each pixel of one image; see `Client.semantic`."""
        return await self._run(_flow.semantic(self._session, model, image), timeout_seconds)

    async def embed(self, model: str, image: ImageLike, *, timeout_seconds: float | None = None) -> Embedding:
        """The embedding of one image; see `Client.embed`."""
        return await self._run(_flow.embed(self._session, model, image), timeout_seconds)

    async def infer(self, model: str, image: ImageLike, *, timeout_seconds: float | None = None) -> Result:
        """What a model of any task says about one image; see `Client.infer`."""
        return await self._run(_flow.infer(self._session, model, image), timeout_seconds)

    def submit(
        self, model: str, image: ImageLike, *, timeout_seconds: float | None = None
    ) -> asyncio.Task[Detections]:
        """Start the request as a task of the running loop."""
        return asyncio.get_running_loop().create_task(
            self.detect(model, image, timeout_seconds=timeout_seconds)
        )

    async def detect_batch(
        self, model: str, images: Iterable[ImageLike], *, timeout_seconds: float | None = None
    ) -> list[Detections | InferenceError]:
        """Objects in each image, in order, or its error; see `Client.detect_batch`."""
        return await _batch(lambda image: self.detect(model, image, timeout_seconds=timeout_seconds), images)

    async def infer_batch(
        self, model: str, images: Iterable[ImageLike], *, timeout_seconds: float | None = None
    ) -> list[Result | InferenceError]:
        """What a model of any task says about each image, in order, or its error; see `Client.infer_batch`."""
        return await _batch(lambda image: self.infer(model, image, timeout_seconds=timeout_seconds), images)

    def frame_slot(
        self,
        width: int,
        height: int,
        pixel_format: PixelFormat = PixelFormat.I420,
        colour: ColourSpace = ColourSpace.BT601_LIMITED,
    ) -> Frame:
        """An empty frame to be filled in and sent; see `Client.frame_slot`. It never waits."""
        return _sharing.frame_slot(self._session, width, height, pixel_format, colour, 0.0)

    def stats(self) -> TransportStats:
        """How this client's frames and results have travelled so far, and what shared memory it holds."""
        return self._session.ring.stats()

    async def labels(self, model: str) -> tuple[str, ...]:
        """Class names of the model, by class id; empty where it tells none."""
        return (await self._run(_flow.described(self._session, model), None)).labels

    async def task(self, model: str) -> str:
        """What the model does; see `Client.task`."""
        return (await self._run(_flow.described(self._session, model), None)).task

    async def ready(self, model: str | None = None) -> bool:
        """Whether the server, or one model of it, answers and is ready."""
        return await self._run(_flow.ready(self._session, model), None)

    async def close(self) -> None:
        """Free the shared memory and end the connections."""
        if self._closed or self._session.ring.closed:
            return
        self._closed = True
        try:
            await run_async(
                _sharing.unregister_all(self._session), self._transport, Deadline.after(CLOSE_SECONDS)
            )
        finally:
            await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.address!r}, protocol={self._session.protocol!r})"

    async def _run(self, flow: _flow.Flow[T], timeout_seconds: float | None) -> T:
        if self._closed or self._session.ring.closed:
            raise ServerUnavailable(CLOSED)
        await self._transport.open()
        deadline = Deadline.after(self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        return await run_async(flow, self._transport, deadline)


async def _batch(
    ask: Callable[[ImageLike], Awaitable[T]], images: Iterable[ImageLike]
) -> list[T | InferenceError]:
    """The results in order, with a bounded number of requests under way."""
    turn = asyncio.Semaphore(BATCH_IN_FLIGHT)

    async def one(image: ImageLike) -> T | InferenceError:
        try:
            return await ask(image)
        except InferenceError as error:
            return error
        finally:
            turn.release()

    tasks: list[asyncio.Task[T | InferenceError]] = []
    try:
        for image in images:
            await turn.acquire()
            tasks.append(asyncio.create_task(one(image)))
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
