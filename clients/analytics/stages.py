# SPDX-License-Identifier: Apache-2.0
"""Asks other models about crops of followed objects, without waiting: answers are taken in with a later frame.

A few questions of a camera are under way at most. While there is no room nothing waits in line: the next frame's crop is asked
about in place of this one's. An object that was never asked about comes first, then the one whose answer is oldest.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sightline.clients.analytics.crops import crop
from sightline.clients.analytics.scene import TrackedObject
from sightline.clients.analytics.settings import Analytics
from sightline.frame import Frame
from sightline.redact import redact
from sightline.results import Classification, Detections, Result

MAX_UNDER_WAY = 4
GIVE_UP_SECONDS = 30.0
_IDENTITY = None
Key = tuple[str | None, int]


class Question(Protocol):
    """A request under way, as Client.submit_infer gives it."""

    def result(self, timeout: float | None = None) -> Result:
        """The answer, when it is done; raises what went wrong."""

    def cancel(self) -> object:
        """Give it up."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back when it is done, on any thread."""


Ask = Callable[[str, Frame], Question]
"""Sends a crop to a model and returns at once, as Client.submit_infer does."""


@dataclass(frozen=True)
class _Wish:
    """What is asked, as the settings say it; `stage` is None for the identity."""

    stage: str | None
    model: str
    classes: tuple[str, ...]
    every_seconds: float
    min_size: tuple[int, int]
    margin: float


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model said about an object. `stage` is None for the identity."""

    stage: str | None
    model: str
    track: int
    result: Result


@dataclass
class StageCounters:
    """Questions of a camera since its start: asked = answered + failed + under way."""

    asked: int = 0
    answered: int = 0
    failed: int = 0
    last_error: str | None = field(default=None)


class Stages:
    """The second stages of one camera."""

    def __init__(self, settings: Analytics, ask: Ask | None) -> None:
        self.counters = StageCounters()
        self._ask = ask
        self._wishes = _wishes(settings)
        self._asked_at: dict[Key, float] = {}
        self._under_way: dict[Key, tuple[float, _Wish, Question | None]] = {}
        self._done: deque[tuple[Key, float, Question]] = deque()  # filled by other threads

    def replace(self, settings: Analytics) -> None:
        """Go on with other settings; answers to questions that are not asked any more are thrown away."""
        self._wishes = _wishes(settings)

    def forget(self, tracks: Iterable[int]) -> None:
        """These objects are not followed any more."""
        gone = set(tracks)
        for key in [key for key in self._asked_at if key[1] in gone]:
            del self._asked_at[key]

    def take(self, at: float) -> list[Answer]:
        """Answers that came since the last call."""
        answers = []
        while self._done:
            key, asked_at, question = self._done.popleft()
            entry = self._under_way.get(key)
            if entry is None or entry[0] != asked_at:
                continue  # given up before
            del self._under_way[key]
            try:
                answer = Answer(key[0], entry[1].model, key[1], question.result(0))
            except (
                Exception
            ) as error:  # of a model that is away or does not like the crop; the camera goes on
                self._failed(error)
                continue
            self.counters.answered += 1
            if entry[1] in self._wishes:
                answers.append(answer)
        self._give_up(at)
        return answers

    def ask(self, frame: Frame, objects: Sequence[TrackedObject], at: float) -> None:
        """Ask what is due, as far as there is room. Returns at once and raises nothing."""
        if self._ask is None or not self._wishes or len(self._under_way) >= MAX_UNDER_WAY:
            return
        due = [
            (self._asked_at.get((wish.stage, found.id), -math.inf), number, found.id, wish, found)
            for number, wish in enumerate(self._wishes)
            for found in objects
            if self._is_due(wish, found, at)
        ]
        for _, _, _, wish, found in sorted(due, key=lambda entry: entry[:3]):
            if len(self._under_way) >= MAX_UNDER_WAY:
                return
            self._send(self._ask, wish, found, frame, at)

    def close(self) -> None:
        """Give up what is under way."""
        for _, _, question in list(self._under_way.values()):
            _cancel(question)
        self.counters.failed += len(self._under_way)
        self._under_way.clear()

    @property
    def under_way(self) -> int:
        """Questions without an answer so far."""
        return len(self._under_way)

    def _is_due(self, wish: _Wish, found: TrackedObject, at: float) -> bool:
        key = (wish.stage, found.id)
        if wish.classes and found.label not in wish.classes:
            return False
        if at - self._asked_at.get(key, -math.inf) < wish.every_seconds or key in self._under_way:
            return False
        width, height = found.box[2] - found.box[0], found.box[3] - found.box[1]
        return width >= wish.min_size[0] and height >= wish.min_size[1]

    def _send(self, ask: Ask, wish: _Wish, found: TrackedObject, frame: Frame, at: float) -> None:
        picture = crop(frame, found.box, wish.margin)
        if picture is None:
            return
        key = (wish.stage, found.id)
        self._asked_at[key] = at
        self.counters.asked += 1
        self._under_way[key] = (at, wish, None)
        try:
            question = ask(wish.model, picture)
            self._under_way[key] = (at, wish, question)
            question.add_done_callback(lambda done: self._done.append((key, at, done)))
        except Exception as error:
            self._under_way.pop(key, None)
            self._failed(error)

    def _give_up(self, at: float) -> None:
        late = [key for key, (asked_at, _, _) in self._under_way.items() if at - asked_at > GIVE_UP_SECONDS]
        for key in late:
            _cancel(self._under_way.pop(key)[2])
            self._failed(TimeoutError(f"no answer within {GIVE_UP_SECONDS:g} s"))

    def _failed(self, error: BaseException) -> None:
        self.counters.failed += 1
        self.counters.last_error = redact(str(error) or type(error).__name__)


def _wishes(settings: Analytics) -> tuple[_Wish, ...]:
    wishes = [
        _Wish(stage.name, stage.model, stage.classes, stage.every_seconds, stage.min_size, stage.margin)
        for stage in settings.stages
    ]
    one = settings.identity
    if one is not None:
        wishes.append(_Wish(_IDENTITY, one.model, one.classes, one.every_seconds, one.min_size, 0.0))
    return tuple(wishes)


def label_of(result: Result) -> tuple[str, float] | None:
    """The label and score that a second stage's answer comes down to: the best class, or the best object's."""
    if isinstance(result, Classification) and len(result):
        return result.top.label, result.top.score
    if isinstance(result, Detections) and len(result):
        best = int(result.scores.argmax())
        return result.label(int(result.classes[best])), float(result.scores[best])
    return None


def _cancel(question: Question | None) -> None:
    if question is not None:
        try:
            question.cancel()
        except Exception:  # it is given up either way
            return
