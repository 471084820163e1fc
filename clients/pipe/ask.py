# SPDX-License-Identifier: Apache-2.0
"""Asks the server about one image after the other, many at a time, and tells a bad image from a bad hour of the server.

A failure counts against an image only when the server answers a picture that is known to be good in the meantime. Where
that fails too, nothing is sent until it passes again. An image that was under way three times when the server went away is
asked alone; when that takes the server away again and again, it is the image.
"""

from __future__ import annotations

import contextlib
import functools
import io
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.clients._images import ImageLike
from sightline.clients.client import Client
from sightline.clients.pipe.answers import Answer, Crop, Plan, Step, crops_of, placed, upright_pixels
from sightline.clients.pipe.version import version_of
from sightline.errors import BadInputError, InferenceError, ModelNotFoundError, ServerUnavailable
from sightline.results import Detections, Result

ATTEMPTS = 3
FALLS_TO_SUSPECT, FALLS_TO_CONVICT = 3, 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
CROPS_AT_A_TIME = 8

T = TypeVar("T")
Told = Callable[[str], None]


class StoppedError(Exception):
    """The pipe was told to stop while the server was awaited."""


class PoisonError(Exception):
    """The image cannot be answered. kind: the class of the error; its text says why."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Asker:
    """Answers about images, with at most `in_flight` requests under way. Safe for threads.

    stop: set from outside to give up waiting for the server. tell: is told once when the server is away, and back.
    """

    def __init__(
        self, client: Client, plan: Plan, in_flight: int, stop: threading.Event, tell: Told = lambda _: None
    ) -> None:
        self._client = client
        self._plan = plan
        self._in_flight = in_flight
        self._slots = threading.BoundedSemaphore(in_flight)
        self._stop = stop
        self._tell = tell
        self._one_alone = threading.Lock()
        self._probing = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        self._losses = 0

    def ask(self, data: bytes) -> tuple[Answer, ...]:
        """What the plan's models say about one image file. Raises PoisonError or StoppedError."""
        falls = failures = pauses = 0
        while True:
            self._wait_until_open()
            losses = self._losses
            try:
                if falls < FALLS_TO_SUSPECT:
                    return self._ask(data)
                with self._alone():
                    return self._ask(data)
            except BadInputError as error:
                raise PoisonError(type(error).__name__, str(error)) from error
            except InferenceError as error:
                is_well, fell = self._state_of_server(losses, error)
                falls += fell
                failures += is_well and not isinstance(error, (ServerUnavailable, ModelNotFoundError))
                if falls >= FALLS_TO_CONVICT:
                    text = f"the server went away {falls} times while it was asked about this image: {error}"
                    raise PoisonError(type(error).__name__, text) from error
                if failures >= ATTEMPTS:
                    text = f"{error} ({failures} times, while it answered another picture)"
                    raise PoisonError(type(error).__name__, text) from error
            pauses += 1
            self._pause(pauses)

    def wait_for_server(self) -> None:
        """Return when all models answer. Raises ModelNotFoundError when a server answers that has not all of them,
        StoppedError."""
        pauses = 0
        while True:
            try:
                for model in self._plan.all_models:
                    with contextlib.suppress(BadInputError):
                        self._client.infer(model, _canary())
                break
            except ModelNotFoundError:
                raise
            except InferenceError as error:
                if pauses == 0:
                    self._tell(f"the server does not answer; waiting for it: {error}")
            pauses += 1
            self._pause(pauses)
        if pauses:
            self._tell("the server answers")

    def _ask(self, data: bytes) -> tuple[Answer, ...]:
        """One round: all models of the whole image at once, then the chain."""
        pending = [self._submit(model, data) for model in self._plan.models]
        outcomes = [finish() for finish in pending]
        first, *others = outcomes
        if self._plan.chain:
            first = self._chained(first, data)
        return (first, *others)

    def _chained(self, answer: Answer, data: bytes) -> Answer:
        """The answer with those of the next models about the crops of its objects."""
        if not _wanted(answer.result, self._plan.steps[0]):
            return answer
        return self._deepened(answer, upright_pixels(data), self._plan.steps)

    def _deepened(self, answer: Answer, pixels: NDArray[np.uint8], steps: tuple[Step, ...]) -> Answer:
        if not steps or not isinstance(answer.result, Detections):
            return answer
        step, rest = steps[0], steps[1:]
        wanted = _wanted(answer.result, step)
        crops = crops_of(pixels, answer.result)
        inner: list[Answer | None] = [None] * len(crops)
        for start in range(0, len(wanted), CROPS_AT_A_TIME):
            some = wanted[start : start + CROPS_AT_A_TIME]
            pending = [
                (index, crops[index], self._submitted_crop(step.model, crops[index])) for index in some
            ]
            for index, crop, finish in pending:
                inner[index] = self._deepened(_placed_answer(step.model, crop, finish, pixels), pixels, rest)
        return answer.with_inner(tuple(inner))

    def _submitted_crop(self, model: str, crop: Crop | None) -> Callable[[], Answer] | None:
        return None if crop is None else self._submit(model, crop.pixels)

    def _submit(self, model: str, image: ImageLike) -> Callable[[], Answer]:
        """Send at once, or as soon as there is room; the function waits for the answer."""
        self._slots.acquire()
        began = time.monotonic()
        took: list[float] = []

        def finished(_: object) -> None:
            took.append(time.monotonic() - began)
            self._slots.release()

        try:
            pending = self._client.submit_infer(model, image)
        except BaseException:
            self._slots.release()
            raise
        pending.add_done_callback(finished)

        def answer() -> Answer:
            result: Result = pending.result()
            seconds = took[0] if took else time.monotonic() - began
            return Answer(model, version_of(self._client, model), seconds * 1000.0, result)

        return answer

    def _state_of_server(self, losses: int, error: InferenceError) -> tuple[bool, bool]:
        """Whether the server answers the good picture, and whether it went away; returns when it answers that again.

        One that sheds load or hangs has not gone away. Raises StoppedError.
        """
        with self._probing:
            if self._losses > losses:  # another image found it out in the meantime, and waited
                return False, True
            if self._canary_passes():
                return True, False
            self._open.clear()
            self._tell(f"the server does not answer; waiting for it: {error}")
            fell = False
            pauses = 0
            try:
                while True:
                    fell = fell or not self._client.ready()
                    pauses += 1
                    self._pause(pauses)
                    if self._canary_passes():
                        break
            finally:
                self._losses += fell
                self._open.set()
            self._tell("the server answers again")
            return False, fell

    def _canary_passes(self) -> bool:
        for model in self._plan.all_models:
            try:
                self._client.infer(model, _canary())
            except BadInputError:
                continue  # it answers
            except InferenceError:
                return False
        return True

    def _wait_until_open(self) -> None:
        while not self._open.wait(0.2):
            if self._stop.is_set():
                raise StoppedError
        if self._stop.is_set():
            raise StoppedError

    def _pause(self, pauses: int) -> None:
        """Longer each time, never the same for all."""
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(pauses - 1, 16))
        if self._stop.wait(longest * random.uniform(0.5, 1.0)):
            raise StoppedError

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only this image is under way: another slot is taken for each request that others could send."""
        with self._one_alone:
            taken = 0
            try:
                while taken < self._in_flight - 1:
                    self._slots.acquire()
                    taken += 1
                yield
            finally:
                for _ in range(taken):
                    self._slots.release()


def _wanted(result: Result | None, step: Step) -> list[int]:
    """Indices of the objects that a model of the chain is asked about."""
    if not isinstance(result, Detections):
        return []
    return [index for index, one in enumerate(result) if not step.only or one.label in step.only]


def _placed_answer(
    model: str, crop: Crop | None, finish: Callable[[], Answer] | None, pixels: NDArray[np.uint8]
) -> Answer:
    """What was said of a crop; one that cannot be used spoils its own answer only."""
    if crop is None or finish is None:
        return Answer(model, 0, 0.0, None, error="the object has no pixels in the picture")
    try:
        return placed(finish(), crop, pixels)
    except BadInputError as error:
        return Answer(model, 0, 0.0, None, error=str(error), crop=crop.box)


@functools.cache
def _canary() -> bytes:
    """A good picture."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 110, 130)).save(file, "JPEG")
    return file.getvalue()
