# SPDX-License-Identifier: Apache-2.0
"""All rules of one camera at work; a change of one leaves the others' counters as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sightline.clients.analytics import settings as kinds
from sightline.clients.analytics.rule_attributes import AttributeState
from sightline.clients.analytics.rule_lines import LineState
from sightline.clients.analytics.rule_motion import SpeedState, StoppedState, WrongWayState
from sightline.clients.analytics.rule_state import RuleState
from sightline.clients.analytics.rule_zones import AbsenceState, CrowdingState, LoiteringState, ZoneState
from sightline.clients.analytics.scene import Happening, Scene
from sightline.clients.analytics.settings import Rule

STATES: Mapping[type[Any], type[RuleState[Any]]] = {
    kinds.ZoneRule: ZoneState,
    kinds.LineRule: LineState,
    kinds.LoiteringRule: LoiteringState,
    kinds.CrowdingRule: CrowdingState,
    kinds.StoppedRule: StoppedState,
    kinds.WrongWayRule: WrongWayState,
    kinds.SpeedRule: SpeedState,
    kinds.AbsenceRule: AbsenceState,
    kinds.AttributeRule: AttributeState,
}
_AMENDED = ("schedule", "cooldown_seconds", "snapshot", "clip")
Told = list[tuple[Rule, Happening]]


class RuleSet:
    """The rules of one camera."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._states: dict[str, RuleState[Any]] = {rule.name: STATES[type(rule)](rule) for rule in rules}

    def observe(self, scene: Scene) -> Told:
        """What the scene brings about, in the order of the rules."""
        return [(state.rule, told) for state in self._states.values() for told in state.observe(scene)]

    def counts(self) -> dict[str, Mapping[str, Any]]:
        """Each rule's counters, by its name."""
        return {name: state.counts() for name, state in self._states.items()}

    def replace(self, rules: Sequence[Rule], at: float) -> Told:
        """Go on with other rules; what rules that are gone or changed had begun is ended."""
        before, self._states = self._states, {}
        for rule in rules:
            state = before.get(rule.name)
            if state is not None and _same(state.rule, rule):
                del before[rule.name]
                state.amend(rule)
            else:
                state = STATES[type(rule)](rule)
            self._states[rule.name] = state
        return [(state.rule, told) for state in before.values() for told in state.stop(at, "changed")]


def _same(one: Rule, other: Rule) -> bool:
    """Whether the counters of one rule are those of the other."""
    kept = {name: getattr(other, name) for name in _AMENDED}
    return type(one) is type(other) and one.model_copy(update=kept) == other
