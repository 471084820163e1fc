# SPDX-License-Identifier: Apache-2.0
"""How a raw frame and its results pass the server: through a region of the ring, else over the socket.

A region holds the frame and, behind it, room for the results. A frame that was made by frame_slot() lies in one already.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from sightline.clients import _wire
from sightline.clients._answers import Question
from sightline.clients._errors_border import (
    RegionKnownError,
    RegionUnknownError,
    RestrictedError,
    ResultsRefusedError,
)
from sightline.clients._ring import NO_SPACE, Lease
from sightline.clients._session import INPROC, Session
from sightline.clients._shm import Region, find_orphans, remove_orphan
from sightline.errors import (
    BadInputError,
    Cancelled,
    DeadlineExceeded,
    InferenceError,
    ModelNotFoundError,
    ServerUnavailable,
)
from sightline.frame import ColourSpace, Frame, PixelFormat, frame_bytes

DEFAULT_ROWS = 1_024  # of results, where the model does not say how many there may be
_SLOT_BEHIND_BYTES = 32  # behind a slot's frame for each of DEFAULT_ROWS: boxes, classes or an embedding
SWEEP_EVERY_SECONDS = 60.0
_PAGE_BYTES = 4_096
_UNREGISTERED_AT_ONCE = 4

T = TypeVar("T")
Flow = Generator[_wire.Operation, Any, T]
Release = Callable[[bool], None]


@dataclass(frozen=True, eq=False)
class FrameSlot(Frame):
    """A frame whose `data` lies in shared memory; the region is used again when nobody holds the data any more."""

    lease: Lease | None = None


def frame_slot(
    session: Session,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    colour: ColourSpace,
    wait_seconds: float,
) -> Frame:
    """A frame to be filled in, in a region where there is one within the time, else in plain memory."""
    size_bytes = frame_bytes(width, height, pixel_format)
    if width > 0 and height > 0 and session.may_share_memory():
        region = session.ring.take_waiting(
            _region_bytes(size_bytes, DEFAULT_ROWS * _SLOT_BEHIND_BYTES), wait_seconds
        )
        if region is not None:
            lease = Lease(session.ring, region, size_bytes)
            return FrameSlot(lease.array(), width, height, pixel_format, colour, lease)
    return Frame(np.empty(max(size_bytes, 0), np.uint8), width, height, pixel_format, colour)


def infer_frame(session: Session, asked: Question, frame: Frame) -> Flow[_wire.Answer]:
    """Outputs for a raw frame."""
    rooms = asked.rooms(frame, DEFAULT_ROWS)
    if session.may_share_memory():
        held = yield from _hold(session, frame, rooms)
        if held is not None:
            return (yield from _infer_held(session, asked, frame, *held, rooms))
    if session.protocol == INPROC:
        session.ring.count("frames_in_place")
    else:
        session.ring.count("socket_requests", *(["fallbacks"] if session.shared_memory != "off" else []))
    answer: _wire.Answer = yield _plain_request(asked, frame)
    return answer


def _plain_request(asked: Question, frame: Frame, region: str = "") -> _wire.Infer:
    """The results come over the socket."""
    outputs = tuple(_wire.Output(name) for name in asked.outputs)
    return _wire.frame_request(asked.model, frame, region, outputs)


def unregister_all(session: Session) -> Flow[None]:
    """Leave nothing of ours on the server; what it still reads, the next client's sweep finds."""
    waiting = session.ring.close()
    for pause_seconds in (0.0, 0.1, 0.3, 0.6):
        if pause_seconds:
            yield _wire.Pause(pause_seconds)
        waiting = yield from _unregister(session, waiting)
        is_there = yield from _unregister_orphans(session)
        if not waiting and not (session.orphans and is_there):
            break
    for region in waiting:
        region.leave()


def _region_bytes(frame_size_bytes: int, results_bytes: int) -> int:
    return _results_at(frame_size_bytes) + results_bytes


def _results_at(frame_size_bytes: int) -> int:
    """Where the results begin: on a page of their own, which the reader of the frame does not touch."""
    return -(-frame_size_bytes // _PAGE_BYTES) * _PAGE_BYTES


def _hold(
    session: Session, frame: Frame, rooms: tuple[_wire.Room, ...]
) -> Flow[tuple[Region, Release] | None]:
    """A region that holds the frame, and what ends that; None where there is no region."""
    lease = frame.lease if isinstance(frame, FrameSlot) else None
    if lease is not None and lease.ring is session.ring and lease.claim():
        session.ring.count("frames_in_place")
        return lease.region, lease.release
    size_bytes = _region_bytes(frame.data.size, _wire.result_area_bytes(rooms))
    region = session.ring.take(size_bytes)
    if (
        region is None and session.ring.retired
    ):  # they hold room, and the server may have let go of them by now
        yield from _unregister_retired(session, _UNREGISTERED_AT_ONCE)
        region = session.ring.take(size_bytes)
    if region is None:
        why = session.ring.why_none
        session.say_once(why, logging.WARNING if why == NO_SPACE else logging.INFO)
        return None
    region.data[: frame.data.size] = frame.data
    return region, functools.partial(session.ring.put_back, region)


def _infer_held(
    session: Session,
    asked: Question,
    frame: Frame,
    region: Region,
    release: Release,
    rooms: tuple[_wire.Room, ...],
) -> Flow[_wire.Answer]:
    """Outputs for a frame that lies in the region. Sent and unanswered, the server may use it for ever, so it is given up.

    What ended before it was sent, for instance while the region was made known, the server never saw.
    """
    journey = _Journey()
    try:
        answer = yield from _infer_region(session, asked, frame, region, rooms, journey)
        journey.is_answered = True
        return answer
    except (BadInputError, ModelNotFoundError):
        journey.is_answered = True  # so the server reads no more
        raise
    finally:
        release(not journey.is_sent or (journey.is_answered and region.registered))


@dataclass
class _Journey:
    """How far a request with a region came."""

    is_sent: bool = False
    is_answered: bool = False


def _infer_region(
    session: Session,
    asked: Question,
    frame: Frame,
    region: Region,
    rooms: tuple[_wire.Room, ...],
    journey: _Journey,
) -> Flow[_wire.Answer]:
    """Outputs for a frame that lies in the region, which is registered first where it is not."""
    for _ in range(3):
        if not region.registered and not (yield from _register(session, region)):
            break
        outputs = _outputs_of(session, asked, frame, region, rooms)
        request = _wire.frame_request(asked.model, frame, region.name, outputs)
        journey.is_sent = True
        try:
            answer = yield request if outputs else _plain_request(asked, frame, region.name)
        except RegionUnknownError:  # the server was started anew since
            session.ring.forget_registrations()
            session.forget_server()
            continue
        except ResultsRefusedError:
            session.unshared_results.add(asked.model)
            continue
        session.ring.count("shared_requests", *(["shared_results"] if outputs else []))
        return _wire.answer_from_region(answer, outputs, region.data)
    session.ring.count("fallbacks", "socket_requests")
    answer = yield _plain_request(asked, frame)
    return answer  # type: ignore[no-any-return]


def _outputs_of(
    session: Session, asked: Question, frame: Frame, region: Region, rooms: tuple[_wire.Room, ...]
) -> tuple[_wire.Output, ...]:
    """Where the results go; nowhere special where they have no room in the region."""
    offset = _results_at(frame.data.size)
    if asked.model in session.unshared_results or offset + _wire.result_area_bytes(rooms) > region.size_bytes:
        return ()
    return _wire.shared_outputs(region.name, offset, rooms)


def _register(session: Session, region: Region) -> Flow[bool]:
    """Make the region known to the server; False, and a rest from sharing, where it refuses."""
    yield from _sweep(session)
    yield from _unregister_retired(session, _UNREGISTERED_AT_ONCE)
    for attempt in range(2):
        try:
            yield _wire.Register(region.name, region.key, region.size_bytes, session.token())
        except (Cancelled, DeadlineExceeded, ServerUnavailable):
            raise
        except RegionKnownError:  # by another request with the same frame; the name is ours alone
            pass
        except InferenceError as error:
            if attempt == 0 and isinstance(error, RestrictedError):  # a server started anew has a new token
                session.forget_server()
                continue
            session.rest_from_sharing(error)
            return False
        region.registered = True
        session.ring.count("registrations")
        return True
    return False


def _unregister_retired(session: Session, most: int) -> Flow[None]:
    """Ask the server to forget retired regions, at most so many, for a frame waits meanwhile.

    What the server still reads, or was not reached, and the others wait for the next turn.
    """
    waiting, busy = session.ring.pop_retired(), []
    try:
        for _ in range(min(most, len(waiting))):
            busy += yield from _unregister(session, waiting[:1])
            del waiting[0]
    finally:
        for region in (*waiting, *busy):
            session.ring.retire(region)


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


def _sweep(session: Session) -> Flow[None]:
    """Now and then, remove what killed clients left on this server and in /dev/shm; clients of others sweep theirs."""
    now = time.monotonic()
    if now - session.swept_at >= SWEEP_EVERY_SECONDS:
        session.swept_at = now
        session.orphans = []
        for name, port in find_orphans():
            match session.knows(port):
                case True:
                    session.orphans.append(name)
                case None:
                    remove_orphan(name)
    yield from _unregister_orphans(session)


def _unregister_orphans(session: Session) -> Flow[bool]:
    """What the server still reads for a client that was killed, or was not reached, is asked for again the next time.

    The file is removed last: by its name the next client finds what this one does not come to. False where the server is away.
    """
    orphans, session.orphans = session.orphans, []
    is_there = True
    for name in orphans:
        try:
            yield _wire.Unregister(name, session.token())
        except RegionUnknownError:
            pass
        except InferenceError as error:
            is_there &= not isinstance(error, ServerUnavailable)
            session.orphans.append(name)
            continue
        remove_orphan(name)
    return is_there
