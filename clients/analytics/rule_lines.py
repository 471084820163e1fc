# SPDX-License-Identifier: Apache-2.0
"""The line rule: who crosses, in which direction.

A box trembles, so an object that stands on the line crosses it many times. Its way is therefore added up while it is near
the line (crossings one way less crossings the other way), and counted when it is clear of it again, or not followed any
more: at most one crossing then, in the direction in which it has got across. A way back in time counts exactly the opposite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.clients.analytics.geometry import XY, crossings, distance_to
from sightline.clients.analytics.rule_state import Reason, RuleState, plane, position
from sightline.clients.analytics.scene import Happening, Scene, TrackedObject
from sightline.clients.analytics.settings import LineRule

CLEAR_OF_SIZE = 0.05  # distance from the line that is clear, of the box's larger side
CLEAREST = 0.02  # and at most, of the picture's width


@dataclass(eq=False)
class _Way:
    object: TrackedObject
    point: XY
    net: int = 0


class LineState(RuleState[LineRule]):
    """Crossings forward (from the line's left to its right, seen from its first point to its last) and backward."""

    def __init__(self, rule: LineRule) -> None:
        super().__init__(rule)
        self._ways: dict[int, _Way] = {}
        self._aspect = 0.0
        self._line: list[XY] = []
        self._forward = self._backward = 0

    def counts(self) -> Mapping[str, Any]:
        both = {"forward": self._forward, "backward": self._backward}
        return both if self.rule.direction == "both" else {self.rule.direction: both[self.rule.direction]}

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        happenings = []
        for key in sorted(self._ways.keys() & scene.ended):
            happenings += self._count(self._ways.pop(key))
        if scene.has_frame and scene.aspect != self._aspect:
            self._aspect = scene.aspect
            self._line = [plane(point, scene.aspect) for point in self.rule.points]
            self._ways.clear()  # what they went through was another plane
        for found in objects:
            point = plane(found.anchor(self.rule.anchor), scene.aspect)
            way = self._ways.get(found.id)
            if way is None:
                self._ways[found.id] = _Way(found, point)
                continue
            way.net += crossings(self._line, way.point, point)
            way.point = point
            if way.net and distance_to(self._line, point) > min(CLEAREST, CLEAR_OF_SIZE * max(found.size)):
                happenings += self._count(way)
        return happenings

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        self._ways.clear()
        return []

    def _count(self, way: _Way) -> list[Happening]:
        net, way.net = way.net, 0
        direction = "forward" if net > 0 else "backward"
        if not net or self.rule.direction not in ("both", direction):
            return []
        self._forward += net > 0
        self._backward += net < 0
        data = {
            "direction": direction,
            "position": position(way.object, self.rule.anchor),
            "forward": self._forward,
            "backward": self._backward,
        }
        return [Happening("line.crossed", way.object, data)]
