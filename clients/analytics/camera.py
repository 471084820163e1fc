# SPDX-License-Identifier: Apache-2.0
"""What is made of one camera's detections: tracks, second stages, identities, rules, events, and a picture fit to be shown."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sightline.clients.analytics.clock import CameraClock
from sightline.clients.analytics.identities import Identities
from sightline.clients.analytics.privacy import Cleaner
from sightline.clients.analytics.privacy_video import clean_frame
from sightline.clients.analytics.rule_events import FrameMark, event_of, without_picture
from sightline.clients.analytics.rule_set import RuleSet, Told
from sightline.clients.analytics.scene import Scene, TrackedObject
from sightline.clients.analytics.settings import Analytics
from sightline.clients.analytics.stages import Answer, Ask, Stages, label_of
from sightline.clients.analytics.tracking import Followed, ObjectTracker
from sightline.clients.events.event import Event
from sightline.clients.streams.results import ObjectInfo, StreamResult
from sightline.redact import redact
from sightline.results import Embedding

IDLE_SECONDS = 1.0  # without a frame for so long, time passes by itself
MAX_WAITING_EVENTS = 1024
_NOTHING = ObjectInfo()
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class AnalyticsFigures:
    """What one camera's analytics have counted since their start.

    frames: looked at. failures: frames that could not be looked at, `last_failure` says why. withheld: results that were not
    shown because their picture could not be cleaned, `last_withheld` says why. objects: followed now. rate: frames a second,
    measured. asked = answered + failed + under way: questions to second stages. lost_events: events that could wait no longer.
    """

    frames: int
    failures: int
    last_failure: str | None
    withheld: int
    last_withheld: str | None
    objects: int
    rate: float
    asked: int
    answered: int
    failed: int
    last_error: str | None
    lost_events: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dict(self.__dict__)


class CameraAnalytics:
    """An Analyst for one camera.

    name: the camera's, in events. settings: as written. ask: sends a crop to a model without waiting, as Client.submit_infer;
    None: second stages and re-identification are not asked. identities: shared by all cameras. rate: frames a second that are
    looked at, where that is known. now: monotonic seconds, the clock of StreamFrame.decoded_at.

    Thread safe; no call waits for anything. An error inside is counted and takes nothing down: the result goes on without
    analytics, with privacy not at all. Events of a result that is withheld come with the next one or with idle().
    """

    def __init__(
        self,
        name: str,
        settings: Analytics,
        *,
        ask: Ask | None = None,
        identities: Identities | None = None,
        rate: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._settings = settings
        self._identities = identities
        self._holder = f"{name}#{next(_NUMBERS)}"  # a camera that comes again holds nothing of before
        self._now = now
        self._clock = CameraClock(now())
        self._tracker = ObjectTracker(settings, rate)
        self._stages = Stages(settings, ask)
        self._rules = RuleSet(settings.rules)
        self._cleaner = None if settings.privacy is None else Cleaner(settings.privacy)
        self._newest: FrameMark | None = None
        self._over: set[int] = set()  # objects that ended, of which the rules have not been told
        self._unix_seconds = 0.0
        self._live: dict[int, TrackedObject] = {}
        self._waiting: deque[Event] = deque()
        self._counts: Counter[str] = Counter()
        self._last_failure: str | None = None
        self._last_withheld: str | None = None
        self._lock = threading.Lock()

    @property
    def settings(self) -> Analytics:
        """The settings in force."""
        return self._settings

    def observe(self, result: StreamResult) -> StreamResult | None:
        """The result with objects, events, counts and a picture fit to be shown; None where nothing of it may be shown."""
        with self._lock:
            self._counts["frames"] += 1
            failed = False
            try:
                result = self._analysed(result)
            except Exception as error:  # whatever it is, the camera goes on
                failed = True
                self._failed(error)
            shown = self._shown(result)
            if shown is None or self._cleaner is None or not failed:
                return shown
            self._withheld(shown.events, "the frame could not be looked at")
            return None

    def idle(self, unix_seconds: float) -> tuple[Event, ...]:
        """What the passing of time brings about while no frames come, and events that wait for a result that can be shown."""
        with self._lock:
            events = self._taken()
            self._unix_seconds = unix_seconds
            at, waited = self._clock.idle(self._now())
            if waited < IDLE_SECONDS:
                return events
            try:
                return events + self._passed(at, unix_seconds)
            except Exception as error:
                self._failed(error)
                return events

    def replace(self, settings: Analytics) -> None:
        """Go on with other settings: tracks, and the counters of rules that stay the same, are kept."""
        with self._lock:
            if settings.privacy is None:
                self._cleaner = None
            elif self._cleaner is None or self._cleaner.settings != settings.privacy:
                before, self._cleaner = self._cleaner, Cleaner(settings.privacy)
                if before is not None:
                    self._cleaner.take_over(before)
            told = self._rules.replace(settings.rules, self._clock.at)
            self._wait(self._events(told, self._unix_seconds))
            self._tracker.replace(settings)
            self._stages.replace(settings)
            self._settings = settings

    def close(self) -> tuple[Event, ...]:
        """The camera is taken away: events that waited, and the ends of what rules had begun."""
        with self._lock:
            told = self._rules.replace((), self._clock.at)
            events = self._taken() + self._events(told, self._unix_seconds)
            self._stages.close()
            self._ended(frozenset(self._live))
            return events

    def figures(self) -> AnalyticsFigures:
        """What was counted so far."""
        with self._lock:
            stages = self._stages.counters
            return AnalyticsFigures(
                self._counts["frames"],
                self._counts["failures"],
                self._last_failure,
                self._counts["withheld"],
                self._last_withheld,
                len(self._tracker),
                round(self._tracker.rate, 2),
                stages.asked,
                stages.answered,
                stages.failed,
                stages.last_error,
                self._counts["lost_events"],
            )

    def _analysed(self, result: StreamResult) -> StreamResult:
        source, before = result.source, self._newest
        if before is not None and source.order <= before.order:
            return result  # looked at before, or overtaken
        at = self._clock.frame(source)
        self._newest, self._unix_seconds = FrameMark.of(source), source.captured_unix
        if before is not None and source.epoch != before.epoch:
            self._ended(self._tracker.restart())
        found = self._tracker.update(result.detections, source.frame.width, source.frame.height, at)
        objects = [one for one in found.objects if one is not None]
        self._live |= {one.id: one for one in objects}
        for answer in self._stages.take(at):
            self._take_in(answer, source.decoded_at)
        self._ended(found.ended)
        if self._identities is not None and self._settings.identity is not None:
            self._identities.seen(self._holder, [one.id for one in objects], source.decoded_at)
        self._stages.ask(source.frame, objects, at)
        aspect = source.frame.height / source.frame.width
        events = self._told(Scene(at, source.captured_unix, aspect, objects), None)
        return replace(result, objects=_infos(found), events=events, counts=self._rules.counts())

    def _told(self, scene: Scene, idle_unix_seconds: float | None) -> tuple[Event, ...]:
        """What the rules say about a scene."""
        told = self._rules.observe(replace(scene, ended=frozenset(self._over)))
        self._over.clear()
        return self._events(told, idle_unix_seconds)

    def _take_in(self, answer: Answer, now: float) -> None:
        found = self._live.get(answer.track)
        if found is None:
            return
        if answer.stage is not None:
            said = label_of(answer.result)
            if said is not None:
                found.attributes[answer.stage], found.attribute_scores[answer.stage] = said
            return
        wanted = self._settings.identity
        if self._identities is None or wanted is None or not isinstance(answer.result, Embedding):
            return
        identity = self._identities.identify(
            self._holder,
            found.id,
            answer.result.vector,
            model=answer.model,
            label=found.label,
            min_cosine=wanted.min_cosine,
            remember_seconds=wanted.remember_seconds,
            now=now,
        )
        found.identity = identity or found.identity

    def _ended(self, tracks: frozenset[int]) -> None:
        if not tracks:
            return
        self._over |= tracks
        for track in tracks:
            self._live.pop(track, None)
        self._stages.forget(tracks)
        if self._identities is not None:
            self._identities.release(self._holder, tracks)

    def _passed(self, at: float, unix_seconds: float) -> tuple[Event, ...]:
        for answer in self._stages.take(at):
            self._take_in(answer, self._now())
        self._ended(self._tracker.expire(at))
        return self._told(Scene(at, unix_seconds, has_frame=False), unix_seconds)

    def _events(self, told: Told, idle_unix_seconds: float | None) -> tuple[Event, ...]:
        return tuple(
            event_of(self.name, rule, happening, self._newest, idle_unix_seconds=idle_unix_seconds)
            for rule, happening in told
        )

    def _shown(self, result: StreamResult) -> StreamResult | None:
        if self._cleaner is None:
            return replace(result, events=self._taken() + result.events) if self._waiting else result
        try:
            source = result.source
            picture, detections = self._cleaner.clean(source.frame, result.detections, self._clock.at)
            cleaned = clean_frame(replace(source, frame=picture))
            events = self._taken() + result.events
            return replace(result, source=cleaned, detections=detections, events=events)
        except Exception as error:  # failing closed: nothing of it leaves memory
            self._withheld(result.events, f"{type(error).__name__}: {error}")
            return None

    def _withheld(self, events: tuple[Event, ...], reason: str) -> None:
        self._counts["withheld"] += 1
        self._last_withheld = redact(reason)
        self._wait(events)

    def _failed(self, error: Exception) -> None:
        self._counts["failures"] += 1
        self._last_failure = redact(f"{type(error).__name__}: {error}")

    def _wait(self, events: tuple[Event, ...]) -> None:
        self._waiting.extend(without_picture(event) for event in events)
        while len(self._waiting) > MAX_WAITING_EVENTS:
            self._waiting.popleft()
            self._counts["lost_events"] += 1

    def _taken(self) -> tuple[Event, ...]:
        events = tuple(self._waiting)
        self._waiting.clear()
        return events


def _infos(found: Followed) -> tuple[ObjectInfo, ...]:
    return tuple(
        _NOTHING
        if one is None
        else ObjectInfo(
            one.id,
            None if one.speed_kmh is None else round(one.speed_kmh, 1),
            one.identity,
            dict(one.attributes),
        )
        for one in found.objects
    )
