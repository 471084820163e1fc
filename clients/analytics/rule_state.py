# SPDX-License-Identifier: Apache-2.0
"""What all rules share: who counts, when the rule is in force, the cooldown, and who is inside an area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from sightline.clients.analytics.geometry import XY, Area
from sightline.clients.analytics.scene import Anchor, Happening, Scene, TrackedObject
from sightline.clients.analytics.schedules import Timetable
from sightline.clients.analytics.settings import Rule

R = TypeVar("R", bound=Rule)
LEAVE_SECONDS = 0.5  # outside for so long before an object has left: boxes tremble
MAX_TOLD_IDS = 64

Reason = Literal["moved", "lost", "over", "schedule", "changed"]
"""Why something ended: it moved away, is not followed any more, is over; the rule's schedule; a change of the rule."""


class RuleState(Generic[R]):
    """A rule at work: a state machine without I/O, told of each frame once and, while none come, of the passing of time.

    When it comes to its end (its schedule, or a change of the rule), what it began is ended too; counters go on.
    """

    def __init__(self, rule: R) -> None:
        self.rule = rule
        self._timetable = Timetable(rule.schedule)
        self._working = False
        self._told_at: float | None = None
        self._open: set[object] = set()

    def observe(self, scene: Scene) -> list[Happening]:
        """What the scene brings about."""
        if not self._timetable.in_force(scene.unix_seconds):
            return self.stop(scene.at, "schedule")
        if not self._working:
            self._working = True
            self._begin(scene)
        return self._passed(self._update(scene, self._chosen(scene)), scene.at)

    def stop(self, at: float, reason: Reason) -> list[Happening]:
        """The ends of what was begun; the rule begins anew with the next scene in which it is in force."""
        if not self._working:
            return []
        self._working = False
        ended = self._passed(self._end(at, reason), at)
        self._open.clear()
        return ended

    def amend(self, rule: R) -> None:
        """Go on with a rule that differs in what is kept, its cooldown or its schedule only."""
        self.rule = rule
        self._timetable = Timetable(rule.schedule)

    def counts(self) -> Mapping[str, Any]:
        """Counters for people to see."""
        raise NotImplementedError

    def _begin(self, scene: Scene) -> None:
        """The rule comes in force."""

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        raise NotImplementedError

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        return []

    def _chosen(self, scene: Scene) -> Sequence[TrackedObject]:
        wanted = self.rule.classes
        return [found for found in scene.objects if found.label in wanted] if wanted else scene.objects

    def _passed(self, happenings: list[Happening], at: float) -> list[Happening]:
        """Without what the cooldown holds back: beginnings only, so that pairs stay pairs."""
        passed = []
        for happening in happenings:
            if happening.closes is not None:
                if happening.closes in self._open:
                    self._open.discard(happening.closes)
                    passed.append(happening)
            elif self._told_at is None or at - self._told_at >= self.rule.cooldown_seconds:
                self._told_at = at
                passed.append(happening)
                if happening.opens is not None:
                    self._open.add(happening.opens)
        return passed


@dataclass(eq=False)
class Stay:
    """An object inside: since when, when it was seen there last, and whether it is on its way out."""

    object: TrackedObject
    since: float
    until: float
    outside: bool = False
    told: bool = False

    @property
    def seconds(self) -> float:
        """How long it was seen inside."""
        return self.until - self.since


class Presence:
    """Who is inside an area (None: the whole picture).

    Entering is at once. An object has left when it was outside for LEAVE_SECONDS, or is not followed any more.
    """

    def __init__(self, points: Sequence[XY] | None, anchor: Anchor) -> None:
        self.stays: dict[int, Stay] = {}
        self._where = Where(points, anchor)

    def update(
        self, scene: Scene, objects: Sequence[TrackedObject]
    ) -> tuple[list[Stay], list[tuple[Stay, Reason]]]:
        """Who has entered and who has left, and why."""
        entered = []
        inside = set()
        for found in self._where.inside(objects):
            inside.add(found.id)
            stay = self.stays.get(found.id)
            if stay is None:
                stay = self.stays[found.id] = Stay(found, scene.at, scene.at)
                entered.append(stay)
            stay.until, stay.outside = scene.at, False
        return entered, self._left(scene, inside)

    def clear(self, reason: Reason) -> list[tuple[Stay, Reason]]:
        """Everybody leaves."""
        left = [(stay, reason) for stay in self.stays.values()]
        self.stays.clear()
        return left

    def _left(self, scene: Scene, inside: set[int]) -> list[tuple[Stay, Reason]]:
        if len(self.stays) == len(inside):
            return []
        seen = {found.id for found in scene.objects}
        left: list[tuple[Stay, Reason]] = []
        for key, stay in self.stays.items():
            if key in inside:
                continue
            stay.outside |= key in seen
            if key in scene.ended:
                left.append((stay, "moved" if stay.outside else "lost"))
            elif stay.outside and scene.at - stay.until >= LEAVE_SECONDS:
                left.append((stay, "moved"))
        for stay, _ in left:
            del self.stays[stay.object.id]
        return left


class Where:
    """Which objects are inside an area (None: the whole picture)."""

    def __init__(self, points: Sequence[XY] | None, anchor: Anchor) -> None:
        self._area = None if points is None else Area(points)
        self._anchor = anchor

    def inside(self, objects: Sequence[TrackedObject]) -> Sequence[TrackedObject]:
        """The ones inside, in their order."""
        if self._area is None or not objects:
            return objects
        anchor: Anchor = self._anchor
        points = np.array([found.anchor(anchor) for found in objects])
        return [objects[i] for i in np.flatnonzero(self._area.contains(points)).tolist()]


def position(found: TrackedObject, anchor: Anchor) -> list[float]:
    """The anchor for an event's data, fractions of the picture."""
    x, y = found.anchor(anchor)
    return [round(x, 4), round(y, 4)]


def plane(point: XY, aspect: float) -> XY:
    """A point, fractions of the picture, in units of its width."""
    return point[0], point[1] * aspect
