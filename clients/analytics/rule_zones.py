# SPDX-License-Identifier: Apache-2.0
"""Rules about who is inside: zone, loitering, crowding, absence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sightline.clients.analytics.rule_state import (
    MAX_TOLD_IDS,
    Presence,
    Reason,
    RuleState,
    Stay,
    Where,
    position,
)
from sightline.clients.analytics.scene import Happening, Scene, TrackedObject
from sightline.clients.analytics.settings import AbsenceRule, CrowdingRule, LoiteringRule, ZoneRule

CALM_SECONDS = (
    2.0  # fewer for so long (or for the rule's own seconds, where that is less) before a crowd has ended
)


class ZoneState(RuleState[ZoneRule]):
    """Who enters and leaves; entered - left = inside, always."""

    def __init__(self, rule: ZoneRule) -> None:
        super().__init__(rule)
        self._presence = Presence(rule.points, rule.anchor)
        self._entered = self._left = 0

    def counts(self) -> Mapping[str, Any]:
        return {"inside": len(self._presence.stays), "entered": self._entered, "left": self._left}

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        entered, left = self._presence.update(scene, objects)
        self._entered += len(entered)
        happenings = [self._leaving(stay, reason) for stay, reason in left]
        happenings += [
            Happening(
                "zone.entered",
                stay.object,
                {
                    "position": position(stay.object, self.rule.anchor),
                    "inside": len(self._presence.stays),
                },
                opens=stay.object.id,
            )
            for stay in entered
        ]
        return happenings

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        return [self._leaving(stay, why) for stay, why in self._presence.clear(reason)]

    def _leaving(self, stay: Stay, reason: Reason) -> Happening:
        self._left += 1
        data = {
            "position": position(stay.object, self.rule.anchor),
            "dwell_seconds": round(stay.seconds, 3),
            "reason": reason,
            "inside": len(self._presence.stays),
        }
        return Happening("zone.left", stay.object, data, closes=stay.object.id)


class LoiteringState(RuleState[LoiteringRule]):
    """Who stays for long; once for each stay."""

    def __init__(self, rule: LoiteringRule) -> None:
        super().__init__(rule)
        self._presence = Presence(rule.points, rule.anchor)
        self._total = 0

    def counts(self) -> Mapping[str, Any]:
        loitering = sum(stay.told for stay in self._presence.stays.values())
        return {"inside": len(self._presence.stays), "loitering": loitering, "total": self._total}

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        self._presence.update(scene, objects)
        happenings = []
        for stay in self._presence.stays.values():
            if not stay.told and stay.seconds >= self.rule.seconds:
                stay.told = True
                self._total += 1
                data = {
                    "position": position(stay.object, self.rule.anchor),
                    "dwell_seconds": round(stay.seconds, 3),
                }
                happenings.append(Happening("loitering", stay.object, data))
        return happenings

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        self._presence.clear(reason)
        return []


class CrowdingState(RuleState[CrowdingRule]):
    """Many at once: begins after the rule's seconds, ends after fewer were inside for CALM_SECONDS at most."""

    def __init__(self, rule: CrowdingRule) -> None:
        super().__init__(rule)
        self._presence = Presence(rule.points, rule.anchor)
        self._many_since: float | None = None
        self._few_since: float | None = None
        self._crowded = False
        self._most = self._total = 0

    def counts(self) -> Mapping[str, Any]:
        return {"inside": len(self._presence.stays), "crowded": self._crowded, "total": self._total}

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        self._presence.update(scene, objects)
        inside = len(self._presence.stays)
        if inside >= self.rule.count:
            self._few_since = None
            self._many_since = scene.at if self._many_since is None else self._many_since
            self._most = max(self._most, inside)
            if not self._crowded and scene.at - self._many_since >= self.rule.seconds:
                return [self._start(scene.at - self._many_since)]
            return []
        if not self._crowded:
            self._many_since, self._most = None, 0
            return []
        self._few_since = scene.at if self._few_since is None else self._few_since
        if scene.at - self._few_since >= min(CALM_SECONDS, self.rule.seconds):
            return [self._finish(self._few_since, "over")]
        return []

    def _start(self, seconds: float) -> Happening:
        self._crowded = True
        self._total += 1
        ids = sorted(self._presence.stays)[:MAX_TOLD_IDS]
        data = {"count": len(self._presence.stays), "seconds": round(seconds, 3), "track_ids": ids}
        return Happening("crowding.started", None, data, opens="crowd")

    def _finish(self, until: float, reason: Reason) -> Happening:
        since = until if self._many_since is None else self._many_since
        data = {
            "count": len(self._presence.stays),
            "most": self._most,
            "duration_seconds": round(until - since, 3),
            "reason": reason,
        }
        self._crowded, self._many_since, self._few_since, self._most = False, None, None, 0
        return Happening("crowding.ended", None, data, closes="crowd")

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        crowded = self._crowded
        ended = self._finish(at if self._few_since is None else self._few_since, reason)
        self._presence.clear(reason)
        return [ended] if crowded else []


class AbsenceState(RuleState[AbsenceRule]):
    """Nobody there. Time passes also while the camera sends no frames, for then nobody is seen either."""

    def __init__(self, rule: AbsenceRule) -> None:
        super().__init__(rule)
        self._where = Where(rule.points, rule.anchor)
        self._seen_at = 0.0
        self._inside = 0
        self._absent = False
        self._total = 0

    def counts(self) -> Mapping[str, Any]:
        return {"inside": self._inside, "absent": self._absent, "total": self._total}

    def _begin(self, scene: Scene) -> None:
        self._seen_at = scene.at

    def _update(self, scene: Scene, objects: Sequence[TrackedObject]) -> list[Happening]:
        inside = self._where.inside(objects)
        self._inside = len(inside)
        if inside:
            ended = [self._finish(scene.at, "over", inside[0])] if self._absent else []
            self._seen_at = scene.at
            return ended
        if self._absent or scene.at - self._seen_at < self.rule.seconds:
            return []
        self._absent = True
        self._total += 1
        data = {"seconds": round(scene.at - self._seen_at, 3), "camera_live": scene.has_frame}
        return [Happening("absence.started", None, data, opens="absence")]

    def _finish(self, at: float, reason: Reason, found: TrackedObject | None = None) -> Happening:
        self._absent = False
        data = {"duration_seconds": round(at - self._seen_at, 3), "reason": reason}
        return Happening("absence.ended", found, data, closes="absence")

    def _end(self, at: float, reason: Reason) -> list[Happening]:
        self._inside = 0
        return [self._finish(at, reason)] if self._absent else []
