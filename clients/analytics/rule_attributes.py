# SPDX-License-Identifier: Apache-2.0
"""The attribute rule: what a second stage says about an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sightline.clients.analytics.rule_state import Reason, RuleState, position
from sightline.clients.analytics.scene import Happening, Scene, TrackedObject
from sightline.clients.analytics.settings import AttributeRule


class AttributeState(RuleState[AttributeRule]):
    """Once for each object and value."""

    def __init__(self, rule: AttributeRule) -> None:
        super().__init__(rule)
        self._told: dict[int, set[str]] = {}
        self._totals = dict.fromkeys(rule.values, 0)

    def counts(self) -> Mapping[str, Any]:
        return dict(self._totals)

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        for key in self._told.keys() & scene.ended:
            del self._told[key]
        happenings = []
        for found in objects:
            value = found.attributes.get(self.rule.stage)
            if value not in self._totals or value in self._told.get(found.id, ()):
                continue
            score = found.attribute_scores.get(self.rule.stage, 0.0)
            if score < self.rule.min_score:
                continue
            self._told.setdefault(found.id, set()).add(value)
            self._totals[value] += 1
            data = {
                "position": position(found, self.rule.anchor),
                "stage": self.rule.stage,
                "value": value,
                "value_score": round(score, 4),
            }
            happenings.append(Happening("attribute", found, data))
        return happenings

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        self._told.clear()
        return []
