# SPDX-License-Identifier: Apache-2.0
"""What a request consists of, without I/O: generators that yield operations and are sent their answers.

The same flows are driven by blocking calls, by callbacks and by asyncio; failures are thrown in.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sightline.clients import _wire
from sightline.clients._errors_border import Call, RegionUnknownError, RestrictedError
from sightline.clients._images import ImageLike, item_from
from sightline.clients._shm import Region, RegionPool, sweep
from sightline.errors import (
    BadInputError,
    Cancelled,
    DeadlineExceeded,
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
    ServerError,
    ServerUnavailable,
)
from sightline.frame import Frame
from sightline.results import Detections
from sightline.runtime import read_state

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORTS = {"grpc": 8001, "http": 8000}
LOOK_FOR_SERVER_SECONDS = 1.0
REST_AFTER_REFUSAL_SECONDS = 30.0
LABELS_AGE_SECONDS = 60.0  # a model may be built anew behind an idle client

log = logging.getLogger("sightline.clients")


@dataclass(frozen=True)
class Deadline:
    """One time limit over all operations of a flow."""

    seconds: float
    end: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """A limit that starts to run now."""
        if not seconds > 0:
            raise BadInputError(f"timeout_seconds is {seconds}; it must be above 0")
        return cls(seconds, time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self.end - time.monotonic())


def split_address(address: str, protocol: str) -> tuple[str, int]:
    """Host and port of 'host', 'host:port' or '[ipv6]:port'; raises BadInputError."""
    if protocol not in DEFAULT_PORTS:
        raise BadInputError(f"protocol is {protocol!r}; it must be 'grpc' or 'http'")
    text = address.removeprefix(f"{protocol}://").rstrip("/")
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORTS[protocol])
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in text or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadInputError(
            f"address is {address!r}; it must look like 'localhost:{DEFAULT_PORTS[protocol]}'"
        )
    return host, int(port)


@dataclass
class Session:
    """What one client knows of its server."""

    host: str
    port: int
    protocol: str
    shared_memory: str = "auto"
    given_token: str | None = field(default=None, repr=False)
    labels: dict[str, tuple[tuple[str, ...], float]] = field(default_factory=dict)  # and when they were told
    pool: RegionPool = field(default_factory=RegionPool)
    swept: bool = False
    _token: str = field(default="", repr=False)
    _next_look: float = 0.0
    _rest_until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def address(self) -> str:
        """'host:port', with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def call(self, model: str, deadline: Deadline) -> Call:
        """What error texts of a call name."""
        return Call(self.address, self.protocol, model, deadline.seconds)

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        return self.host in LOOPBACK_HOSTS

    def token(self) -> str:
        """The token of the local server's state file, or the one given; '' where there is none."""
        if self.given_token is not None:
            return self.given_token
        with self._lock:
            now = time.monotonic()
            if not self._token and self.is_local and now >= self._next_look:
                self._next_look = now + LOOK_FOR_SERVER_SECONDS
                try:
                    state = read_state(self.port)
                except (OSError, ServerError):
                    state = None
                self._token = state.token if state else ""
            return self._token

    def forget_server(self) -> None:
        """The server may be another one from now on: look for its token and labels again."""
        with self._lock:
            self._token, self._next_look = "", 0.0
            self.labels.clear()

    @property
    def may_share_memory(self) -> bool:
        """Whether frames may go through shared memory now."""
        if self.shared_memory == "off" or not self.is_local or time.monotonic() < self._rest_until:
            return False
        return bool(self.token())

    def rest_from_sharing(self, why: Exception) -> None:
        """Send frames over the socket for a while."""
        self._rest_until = time.monotonic() + REST_AFTER_REFUSAL_SECONDS
        log.warning(
            "frames go to %s without shared memory for %.0f s: %s",
            self.address,
            REST_AFTER_REFUSAL_SECONDS,
            why,
        )


T = TypeVar("T")
Flow = Generator[_wire.Operation, Any, T]


def detect(session: Session, model: str, image: ImageLike) -> Flow[Detections]:
    """Detections of one image."""
    model = _wire.checked_model(model)
    item = item_from(image)
    try:
        labels = yield from labels_of(session, model)
        if isinstance(item, Frame):
            answer = yield from _infer_frame(session, model, item)
        else:
            answer = yield _wire.image_request(model, item)
    except ServerUnavailable:
        session.forget_server()
        raise
    except ModelNotFoundError as error:
        raise (yield from _with_known_models(session, model, error)) from error
    results = _wire.detections_from_answer(answer, labels)
    if len(results) != 1:
        raise ProtocolError(f"the answer has {len(results)} items; one was asked for")
    if isinstance(results[0], Detections):
        return results[0]
    raise results[0]


def labels_of(session: Session, model: str) -> Flow[tuple[str, ...]]:
    """Class names of the model, asked for once in LABELS_AGE_SECONDS."""
    known, told_at = session.labels.get(model, ((), -math.inf))
    now = time.monotonic()
    if now - told_at < LABELS_AGE_SECONDS:
        return known
    parameters = yield _wire.Describe(_wire.checked_model(model))
    names = _wire.labels_from_parameters(parameters)
    session.labels[model] = (names, now)
    return names


def labels(session: Session, model: str) -> Flow[tuple[str, ...]]:
    """Class names of the model, with helpful errors."""
    try:
        return (yield from labels_of(session, model))
    except ModelNotFoundError as error:
        raise (yield from _with_known_models(session, model, error)) from error


def ready(session: Session, model: str | None) -> Flow[bool]:
    """Whether the server, or one model of it, answers and is ready."""
    try:
        return bool((yield _wire.Ready(_wire.checked_model(model) if model else "")))
    except ServerUnavailable:
        session.forget_server()
        return False
    except ModelNotFoundError:
        return False


def unregister_all(session: Session) -> Flow[None]:
    """Leave nothing of ours on the server; what it still reads, it forgets when it ends."""
    waiting = session.pool.close()
    for pause_seconds in (0.0, 0.1, 0.3, 0.6):
        if not waiting:
            break
        if pause_seconds:
            yield _wire.Pause(pause_seconds)
        waiting = yield from _unregister(session, waiting)
    for region in waiting:
        region.close()


def _with_known_models(session: Session, model: str, error: ModelNotFoundError) -> Flow[ModelNotFoundError]:
    """The error with the models that the server does have, where it tells."""
    if not session.token():
        return error
    try:
        known = _wire.public_models((yield _wire.Index(session.token())))
    except InferenceError:
        return error
    return ModelNotFoundError(f"{error}; it has {', '.join(known) or 'none'}")


def _infer_frame(session: Session, model: str, frame: Frame) -> Flow[_wire.Answer]:
    """Outputs for a raw frame: through shared memory where possible, else over the socket."""
    region = session.pool.take(frame.data.size) if session.may_share_memory else None
    if region is None:
        answer: _wire.Answer = yield _wire.frame_request(model, frame)
        return answer
    reusable = False
    try:
        region.write(frame.data)
        answer = yield from _infer_region(session, model, frame, region)
        reusable = region.registered
        return answer
    except (BadInputError, ModelNotFoundError):
        reusable = region.registered  # the server has answered, so it reads no more
        raise
    finally:
        (session.pool.give_back if reusable else session.pool.retire)(region)


def _infer_region(session: Session, model: str, frame: Frame, region: Region) -> Flow[_wire.Answer]:
    """Outputs for a frame that lies in the region, which is registered first where it is not."""
    for _ in range(2):
        if not region.registered and not (yield from _register(session, region)):
            break
        try:
            answer: _wire.Answer = yield _wire.frame_request(model, frame, region.name)
            return answer
        except RegionUnknownError:  # the server was started anew since
            region.registered = False
            session.forget_server()
    answer = yield _wire.frame_request(model, frame)
    return answer


def _register(session: Session, region: Region) -> Flow[bool]:
    """Make the region known to the server; False, and a rest from sharing, where it refuses."""
    yield from _sweep_once(session)
    yield from _unregister_retired(session)
    for attempt in range(2):
        try:
            yield _wire.Register(region.name, region.key, region.size_bytes, session.token())
        except (Cancelled, DeadlineExceeded, ServerUnavailable):
            raise
        except InferenceError as error:
            if attempt == 0 and isinstance(error, RestrictedError):  # a server started anew has a new token
                session.forget_server()
                continue
            session.rest_from_sharing(error)
            return False
        region.registered = True
        return True
    return False


def _unregister_retired(session: Session) -> Flow[None]:
    """Ask the server to forget retired regions; what it still reads, or was not reached, waits for the next turn."""
    waiting, busy = session.pool.pop_retired(), []
    try:
        while waiting:
            busy += yield from _unregister(session, waiting[:1])
            del waiting[0]
    finally:
        for region in (*busy, *waiting):
            session.pool.retire(region)


def _unregister(session: Session, regions: list[Region]) -> Flow[list[Region]]:
    """Ask the server to forget the regions; returns those that it still reads."""
    busy = []
    for region in regions:
        try:
            if region.registered:
                yield _wire.Unregister(region.name, session.token())
        except (RegionUnknownError, ServerUnavailable):
            pass
        except InferenceError:
            busy.append(region)
            continue
        region.close()
    return busy


def _sweep_once(session: Session) -> Flow[None]:
    """At the first use, remove what killed clients left in /dev/shm and on the server."""
    if session.swept:
        return
    session.swept = True
    for name in sweep():
        with contextlib.suppress(InferenceError):
            yield _wire.Unregister(name, session.token())
