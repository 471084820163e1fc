# SPDX-License-Identifier: Apache-2.0
"""The newest events in memory: for pages that open later, and for a watch that keeps no store."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from sightline.clients.events.event import utc_text
from sightline.clients.page.control import EventQuery

MAX_EVENTS = 2000
SLOTS = 60


class RecentEvents:
    """At most MAX_EVENTS events, the oldest go first. Any thread."""

    def __init__(self) -> None:
        self._events: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._position = 0
        self._lock = threading.Lock()

    def add(self, event: dict[str, Any]) -> bool:
        """Keep the event; False where this very event is here already."""
        key = f"{event.get('source')} {event.get('id')}"
        with self._lock:
            known = self._events.get(key)
            if known is not None and {**known, **event} == known:
                return False
            self._position += known is None
            position = known["position"] if known is not None else self._position
            self._events[key] = {**event, "position": position}
            while len(self._events) > MAX_EVENTS:
                self._events.popitem(last=False)
        return True

    def query(self, query: EventQuery) -> list[dict[str, Any]]:
        """The events that fit, the newest first."""
        with self._lock:
            newest = sorted(self._events.values(), key=lambda e: -e["position"])
        fitting = (event for event in newest if _fits(event, query))
        return [event for event, _ in zip(fitting, range(query.limit), strict=False)]

    def counts(self, camera: str, hours: float) -> list[dict[str, Any]]:
        """Events per camera, rule and time slot, as Control.counts gives them; camera "" is all."""
        slot = timedelta(hours=hours) / SLOTS
        now = datetime.now(timezone.utc)
        query = EventQuery(
            cameras=(camera,) if camera else (),
            since=utc_text((now - timedelta(hours=hours)).timestamp()),
            limit=MAX_EVENTS,
        )
        return counts_of(self.query(query), slot.total_seconds())


def counts_of(events: Iterable[Mapping[str, Any]], slot_seconds: float) -> list[dict[str, Any]]:
    """Events per camera, rule, type and slot of so many seconds, in the order of time."""
    table: Counter[tuple[float, str, str, str]] = Counter()
    for event in events:
        seconds = datetime.fromisoformat(str(event["time"]).replace("Z", "+00:00")).timestamp()
        data = event.get("data", {})
        start = seconds // slot_seconds * slot_seconds
        table[start, str(data.get("camera", "")), str(data.get("rule", "")), str(event["type"])] += 1
    return [
        {"start": utc_text(start), "camera": camera, "rule": rule, "type": kind, "count": count}
        for (start, camera, rule, kind), count in sorted(table.items())
    ]


def _fits(event: Mapping[str, Any], query: EventQuery) -> bool:
    data = event.get("data", {})
    wanted = (
        (query.cameras, data.get("camera")),
        (query.types, event["type"]),
        (query.rules, data.get("rule")),
        (query.labels, data.get("label")),
    )
    return (
        all(not allowed or value in allowed for allowed, value in wanted)
        and (query.since is None or event["time"] >= query.since)
        and (query.until is None or event["time"] < query.until)
        and (query.before is None or event["position"] < query.before)
    )
