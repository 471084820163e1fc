# SPDX-License-Identifier: Apache-2.0
"""Rules about how objects move: stopped, wrong way, speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.clients.analytics.geometry import XY, angle_between
from sightline.clients.analytics.rule_state import Reason, RuleState, Where, plane, position
from sightline.clients.analytics.scene import Happening, Scene, TrackedObject
from sightline.clients.analytics.settings import SpeedRule, StoppedRule, WrongWayRule

REARM = (
    0.1  # a speed must be this part of the limit on the right side of it before the limit can be broken again
)


@dataclass(eq=False)
class _Standing:
    point: XY
    since: float
    moved: bool = False
    told: bool = False


class StoppedState(RuleState[StoppedRule]):
    """What moved before and has not gone farther than the tolerance for so long; once until it moves again."""

    def __init__(self, rule: StoppedRule) -> None:
        super().__init__(rule)
        self._where = Where(rule.points, rule.anchor)
        self._standing: dict[int, _Standing] = {}
        self._total = 0

    def counts(self) -> Mapping[str, Any]:
        return {"stopped": sum(one.told for one in self._standing.values()), "total": self._total}

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        for key in self._standing.keys() & scene.ended:
            del self._standing[key]
        waiting = []
        for found in objects:
            point = plane(found.anchor(self.rule.anchor), scene.aspect)
            one = self._standing.get(found.id)
            if one is None:
                self._standing[found.id] = _Standing(point, scene.at)
            elif math.dist(point, one.point) > self.rule.tolerance * max(found.size):
                one.point, one.since, one.moved, one.told = point, scene.at, True, False
            elif one.moved and not one.told and scene.at - one.since >= self.rule.seconds:
                waiting.append(found)
        return [self._tell(found, scene.at) for found in self._where.inside(waiting)]

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        self._standing.clear()
        return []

    def _tell(self, found: TrackedObject, at: float) -> Happening:
        one = self._standing[found.id]
        one.told = True
        self._total += 1
        data = {"position": position(found, self.rule.anchor), "stopped_seconds": round(at - one.since, 3)}
        return Happening("stopped", found, data)


@dataclass(eq=False)
class _Heading:
    point: XY
    told: bool = False


class WrongWayState(RuleState[WrongWayRule]):
    """What goes another way than the allowed one; its direction is taken anew after each `distance` that it has gone inside.

    Once for each object, until it has gone the right way again.
    """

    def __init__(self, rule: WrongWayRule) -> None:
        super().__init__(rule)
        self._where = Where(rule.points, rule.anchor)
        self._headings: dict[int, _Heading] = {}
        self._total = 0

    def counts(self) -> Mapping[str, Any]:
        return {"wrong_way": sum(one.told for one in self._headings.values()), "total": self._total}

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        for key in self._headings.keys() & scene.ended:
            del self._headings[key]
        inside = self._where.inside(objects)
        kept = {found.id for found in inside}
        for found in objects:
            if found.id not in kept:
                self._headings.pop(found.id, None)
        happenings = []
        for found in inside:
            happenings += self._look_at(found, scene.aspect)
        return happenings

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        self._headings.clear()
        return []

    def _look_at(self, found: TrackedObject, aspect: float) -> list[Happening]:
        point = plane(found.anchor(self.rule.anchor), aspect)
        one = self._headings.get(found.id)
        if one is None:
            self._headings[found.id] = _Heading(point)
            return []
        way = (point[0] - one.point[0], point[1] - one.point[1])
        if math.hypot(*way) < self.rule.distance or way == (0.0, 0.0):
            return []
        one.point = point
        start, end = (plane(corner, aspect) for corner in self.rule.allowed)
        deviation = angle_between(way, (end[0] - start[0], end[1] - start[1]))
        wrong = deviation > self.rule.tolerance_degrees
        news, one.told = wrong and not one.told, wrong
        if not news:
            return []
        self._total += 1
        data = {"position": position(found, self.rule.anchor), "deviation_degrees": round(deviation, 1)}
        return [Happening("wrong_way", found, data)]


class SpeedState(RuleState[SpeedRule]):
    """Who is faster or slower than allowed; each limit once, until the object has kept it again."""

    def __init__(self, rule: SpeedRule) -> None:
        super().__init__(rule)
        self._where = Where(rule.points, rule.anchor)
        self._broken: dict[int, set[str]] = {}
        self._above = self._below = 0
        self._fastest = 0.0

    def counts(self) -> Mapping[str, Any]:
        counts: dict[str, Any] = {"fastest_kmh": round(self._fastest, 1)}
        if self.rule.above_kmh is not None:
            counts["above"] = self._above
        if self.rule.below_kmh is not None:
            counts["below"] = self._below
        return counts

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        for key in self._broken.keys() & scene.ended:
            del self._broken[key]
        happenings = []
        for found in self._where.inside(objects):
            if found.speed_kmh is not None:
                happenings += self._judge(found, found.speed_kmh)
        return happenings

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        self._broken.clear()
        return []

    def _judge(self, found: TrackedObject, speed: float) -> list[Happening]:
        self._fastest = max(self._fastest, speed)
        broken = self._broken.setdefault(found.id, set())
        above, below = self.rule.above_kmh, self.rule.below_kmh
        happenings = []
        if above is not None:
            if speed > above and "above" not in broken:
                broken.add("above")
                self._above += 1
                happenings.append(self._tell(found, speed, "above", above))
            elif speed < above * (1 - REARM):
                broken.discard("above")
        if below is not None:
            if speed < below and "below" not in broken:
                broken.add("below")
                self._below += 1
                happenings.append(self._tell(found, speed, "below", below))
            elif speed > below * (1 + REARM):
                broken.discard("below")
        return happenings

    def _tell(self, found: TrackedObject, speed: float, side: str, limit: float) -> Happening:
        data = {
            "position": position(found, self.rule.anchor),
            "speed_kmh": round(speed, 1),
            "limit": side,
            "limit_kmh": limit,
        }
        return Happening("speed", found, data)
