# SPDX-License-Identifier: Apache-2.0
"""The blocking client."""

from __future__ import annotations

import atexit
import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Literal, TypeVar

from sightline.clients import _flow, _sharing
from sightline.clients._images import ImageLike
from sightline.clients._pending import PendingDetection, PendingResult
from sightline.clients._ring import TransportStats
from sightline.clients._session import INPROC, Deadline, Session, split_address
from sightline.clients._transport import Transport, run_blocking, transport_for
from sightline.errors import BadInputError, InferenceError, ServerUnavailable
from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

BATCH_IN_FLIGHT = 8
CLOSE_SECONDS = 2.0
CLOSED = "this client is closed, or another process made it; make a new one"
T = TypeVar("T")

_open_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def session_for(address: str, protocol: str, shared_memory: str, token: str | None) -> Session:
    """Check what a client is made of. Raises BadInputError."""
    if address.startswith(f"{INPROC}:"):
        if address == f"{INPROC}:":
            raise BadInputError("address is 'inproc:'; it must name a model repository: 'inproc:FOLDER'")
        return Session(address.removeprefix(f"{INPROC}:"), 0, INPROC, "off")
    host, port = split_address(address, protocol)
    if shared_memory not in ("auto", "off"):
        raise BadInputError(f"shared_memory is {shared_memory!r}; it must be 'auto' or 'off'")
    return Session(host, port, protocol, shared_memory, token)


class Client:
    """Asks a server what is in images. Safe for threads; use it as a context manager, or call close().

    `infer` asks a model of any task; `detect`, `segment`, `classify`, `semantic` and `embed` say which one is expected.

    A fork of the process cannot use it, and leaves it alone: make a new one there.

    address: 'host:port'; the port defaults to 8001 for gRPC and 8000 for HTTP. Or 'inproc:FOLDER': the server runs inside
    this process, without a socket, on the model repository FOLDER; clients of the same folder share it. All models are
    then loaded here, or ServerStartError or MissingDependencyError is raised. While they load, os.environ is the server's,
    for its helper processes inherit it: a process that another thread starts meanwhile inherits it too.
    timeout_seconds: limit of each request, unless the call sets its own.
    shared_memory: 'auto' sends raw frames through it to a server of this machine and user, and reads the results from it;
    where that cannot be they go over the socket, and the log says once why. 'off' never does.
    token: opens the server's restricted calls; found by itself for a server of this machine and user.
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
        self._transport = transport_for(self._session)
        self._closed = False
        self._lock = threading.Lock()
        _open_clients.add(self)
        self._forgotten = weakref.finalize(self, _finish_in_background, self._session, self._transport)
        self._forgotten.atexit = False

    @property
    def address(self) -> str:
        """'host:port' of the server."""
        return self._session.address

    def detect(self, model: str, image: ImageLike, *, timeout_seconds: float | None = None) -> Detections:
        """Objects in one image, boxes in its pixels (upright by EXIF).

        image: path, bytes of a JPEG, PNG or WebP file, RGB array of shape (height, width, 3), uint8,
        PIL image or Frame. A model of the task segment is asked for its boxes alone.
        Raises BadInputError, also for a model of another task, ModelNotFoundError, ServerUnavailable,
        DeadlineExceeded or ProtocolError.
        """
        return self._run(_flow.detect(self._session, model, image), timeout_seconds)

    def segment(self, model: str, image: ImageLike, *, timeout_seconds: float | None = None) -> Detections:
        """Objects in one image with their masks; arguments and errors as those of `detect`."""
        return self._run(_flow.segment(self._session, model, image), timeout_seconds)

    def classify(
        self, model: str, image: ImageLike, *, timeout_seconds: float | None = None
    ) -> Classification:
        """The best classes of one image; arguments and errors as those of `detect`."""
        return self._run(_flow.classify(self._session, model, image), timeout_seconds)

    def semantic(self, model: str, image: ImageLike, *, timeout_seconds: float | None = None) -> ClassMap:
        """The class of each pixel of one image; arguments and errors as those of `detect`."""
        return self._run(_flow.semantic(self._session, model, image), timeout_seconds)

    def embed(self, model: str, image: ImageLike, *, timeout_seconds: float | None = None) -> Embedding:
        """The embedding of one image, to be compared with others; arguments and errors as those of `detect`."""
        return self._run(_flow.embed(self._session, model, image), timeout_seconds)

    def infer(self, model: str, image: ImageLike, *, timeout_seconds: float | None = None) -> Result:
        """What the model says about one image, whatever its task; arguments and errors as those of `detect`.

        Detections of detect and segment, a Classification, a ClassMap of semantic, or an Embedding.
        """
        return self._run(_flow.infer(self._session, model, image), timeout_seconds)

    def submit(
        self, model: str, image: ImageLike, *, timeout_seconds: float | None = None
    ) -> PendingDetection:
        """Send one image and return at once. All errors, of the image too, are raised by the result."""
        self._check_open()
        deadline = Deadline.after(self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        return PendingDetection(_flow.detect(self._session, model, image), self._transport, deadline)

    def submit_infer(
        self, model: str, image: ImageLike, *, timeout_seconds: float | None = None
    ) -> PendingResult[Result]:
        """`submit` for a model of any task; see `infer`."""
        self._check_open()
        deadline = Deadline.after(self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        return PendingResult(_flow.infer(self._session, model, image), self._transport, deadline)

    def detect_batch(
        self, model: str, images: Iterable[ImageLike], *, timeout_seconds: float | None = None
    ) -> list[Detections | InferenceError]:
        """Objects in each image, in order; an image that fails has its error in its place, the others go on.

        Several requests are under way at a time, which the server gathers into batches. Images are read when
        they are sent, so that a generator of many needs little memory. `timeout_seconds` is for each image.
        """
        return list(self.detect_each(model, images, timeout_seconds=timeout_seconds))

    def detect_each(
        self, model: str, images: Iterable[ImageLike], *, timeout_seconds: float | None = None
    ) -> Iterator[Detections | InferenceError]:
        """`detect_batch`, one result after the other as they come, in order."""
        return _each(functools.partial(self.submit, model, timeout_seconds=timeout_seconds), images)

    def infer_batch(
        self, model: str, images: Iterable[ImageLike], *, timeout_seconds: float | None = None
    ) -> list[Result | InferenceError]:
        """`infer` for each image, in order, as `detect_batch` does it."""
        return list(self.infer_each(model, images, timeout_seconds=timeout_seconds))

    def infer_each(
        self, model: str, images: Iterable[ImageLike], *, timeout_seconds: float | None = None
    ) -> Iterator[Result | InferenceError]:
        """`infer_batch`, one result after the other as they come, in order."""
        return _each(functools.partial(self.submit_infer, model, timeout_seconds=timeout_seconds), images)

    def frame_slot(
        self,
        width: int,
        height: int,
        pixel_format: PixelFormat = PixelFormat.I420,
        colour: ColourSpace = ColourSpace.BT601_LIMITED,
        *,
        wait_seconds: float = 0.0,
    ) -> Frame:
        """An empty frame to be filled in through its `data` and then sent: without a copy where it lies in shared memory.

        It does so while the ring has room, for which this waits at most `wait_seconds`; else it lies in plain memory and
        is sent as any other. Its memory is used again when nobody holds the frame or its data any more. Do not write to
        it while a request with it is under way. Raises BadInputError.
        """
        return _sharing.frame_slot(self._session, width, height, pixel_format, colour, wait_seconds)

    def stats(self) -> TransportStats:
        """How this client's frames and results have travelled so far, and what shared memory it holds."""
        return self._session.ring.stats()

    def labels(self, model: str) -> tuple[str, ...]:
        """Class names of the model, by class id; empty where it tells none."""
        return self._run(_flow.described(self._session, model), None).labels

    def task(self, model: str) -> str:
        """What the model does: 'detect', 'segment', 'classify', 'semantic' or 'embed'; '' where it does not tell."""
        return self._run(_flow.described(self._session, model), None).task

    def ready(self, model: str | None = None) -> bool:
        """Whether the server, or one model of it, answers and is ready."""
        return self._run(_flow.ready(self._session, model), None)

    def close(self) -> None:
        """Free the shared memory and end the connections; requests under way are cancelled."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        _open_clients.discard(self)
        self._forgotten.detach()
        _finish(self._session, self._transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r}, protocol={self._session.protocol!r})"

    def _run(self, flow: _flow.Flow[T], timeout_seconds: float | None) -> T:
        self._check_open()
        deadline = Deadline.after(self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        return run_blocking(flow, self._transport, deadline)

    def _check_open(self) -> None:
        if self._closed or self._session.ring.closed:
            raise ServerUnavailable(CLOSED)


def _each(
    submit: Callable[[ImageLike], PendingResult[T]], images: Iterable[ImageLike]
) -> Iterator[T | InferenceError]:
    """The results in order, with a bounded number of requests under way."""
    waiting: deque[PendingResult[T]] = deque()
    try:
        for image in images:
            if len(waiting) >= BATCH_IN_FLIGHT:
                outcome = _outcome(waiting.popleft())
                yield outcome
            waiting.append(submit(image))
        while waiting:
            outcome = _outcome(waiting.popleft())
            yield outcome
    finally:
        for pending in waiting:
            pending.cancel()


def _outcome(pending: PendingResult[T]) -> T | InferenceError:
    try:
        return pending.result()
    except InferenceError as error:
        return error


def _finish(session: Session, transport: Transport) -> None:
    try:
        run_blocking(_sharing.unregister_all(session), transport, Deadline.after(CLOSE_SECONDS))
    finally:
        transport.close()


def _finish_in_background(session: Session, transport: Transport) -> None:
    """For a client that nobody closed: the garbage collector may run in a thread that must not wait."""
    threading.Thread(target=_finish, args=(session, transport), name="sightline-close", daemon=True).start()


@atexit.register
def _close_all() -> None:
    for client in list(_open_clients):
        client.close()


def _leave_to_parent() -> None:
    """In a fork: the connections and what the server knows are the parent's."""
    for client in list(_open_clients):
        client._closed = True
        client._forgotten.detach()
    _open_clients.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
