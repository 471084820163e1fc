# SPDX-License-Identifier: Apache-2.0
"""Events in, once they are on the disk they are safe; out to every sink, each at its own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sightline.clients.events.cursors import Reader
from sightline.clients.events.dead import DeadLetters
from sightline.clients.events.delivery import Delivery, Pace, Wanted
from sightline.clients.events.event import Event
from sightline.clients.events.settings import Sink as SinkSettings
from sightline.clients.events.settings import SpoolSettings
from sightline.clients.events.sink import Sink, json_text, sink_from_settings
from sightline.clients.events.spool import Spool
from sightline.clients.events.store import EventStore, StoreOut
from sightline.errors import OutputError
from sightline.redact import hide_credentials

STORE = "_store"  # no sink of a person has this name
DRAIN_SECONDS = 5.0
CHANGE_SECONDS = 1.0  # for what is being sent when a sink is taken away or changed


class Outbox:
    """Store and forward: FOLDER holds the spool and, in FOLDER/dead, what sinks will never take.

    sinks: as a person wrote them. A new sink gets what is put from now on; one that is taken away loses what waited
    for it. store: the page's events, which are fed like a sink.
    notice: gets a line when a sink goes away, comes back or refuses an event.
    Raises OutputError where the folder cannot be used, MissingDependencyError where a sink's library is missing.
    """

    def __init__(
        self,
        folder: Path | str,
        spool: SpoolSettings | None = None,
        sinks: Sequence[SinkSettings] = (),
        *,
        store: EventStore | None = None,
        notice: Callable[[str], None] = lambda text: None,
        pace: Pace | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._notice, self._pace = notice, pace
        self._changing = threading.Lock()
        self._deliveries: dict[str, Delivery] = {}
        self._settings: dict[str, SinkSettings] = {}
        self._closed = False
        made = _made(sinks)  # before anything is opened: a missing library is told at once
        self.spool = Spool(self.folder, spool)
        for name in set(self.spool.cursors) - set(made) - ({STORE} if store else set()):
            self.spool.forget(name)
        if store is not None:
            self._start(STORE, StoreOut(store), None)
        for settings in sinks:
            self._start(name_of(settings), made[name_of(settings)], settings)

    def put(self, *events: Event) -> bool:
        """Keep events for all sinks; they are on the disk when it returns (with sync=always).

        False where the spool is full and `overflow` says drop_newest. Raises OutputError where they are not safe.
        """
        try:
            payloads = [json_text(event).encode() for event in events]
        except (ValueError, TypeError, RecursionError) as error:
            raise OutputError(f"an event cannot be written as JSON: {error}") from None
        return self.spool.put(payloads)

    def state(self) -> dict[str, Any]:
        """{"spool": bytes, waiting, overflow, …; "sinks": [name, kind, state, delivered, waiting, …]}."""
        with self._changing:
            deliveries = list(self._deliveries.values())
        return {"spool": self.spool.state(), "sinks": [delivery.figures() for delivery in deliveries]}

    def reconfigure(self, sinks: Sequence[SinkSettings]) -> None:
        """Go on with these sinks; those whose settings are the same are not touched. Raises as the constructor does."""
        _check_names(sinks)
        wanted = {name_of(settings): settings for settings in sinks}
        with self._changing:
            if self._closed:
                raise OutputError("the outbox is closed")
            changed = {name for name, settings in wanted.items() if self._settings.get(name) != settings}
            made = _made([wanted[name] for name in changed])
            gone = set(self._settings) - set(wanted)
            leaving = [self._deliveries[name] for name in (gone | changed) if name in self._deliveries]
            self._end(leaving, CHANGE_SECONDS)
            for name in gone:
                self.spool.forget(name)
                del self._deliveries[name], self._settings[name]
            for name in changed:
                self._start(name, made[name], wanted[name])

    def drain(self, seconds: float) -> bool:
        """Wait until all sinks have all events; False when time ran out before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.spool.state()["waiting"] == 0:
                return True
            time.sleep(0.02)
        return False

    def close(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Deliver what can be delivered in this time; the rest waits in the spool for the next start."""
        with self._changing:
            if self._closed:
                return
            self._closed = True
            self._end(list(self._deliveries.values()), drain_seconds)
        self.spool.close()

    def _start(self, name: str, sink: Sink, settings: SinkSettings | None) -> None:
        reader = Reader(self.spool, name)
        wanted = Wanted() if settings is None else Wanted(settings.types, settings.cameras)
        self._deliveries[name] = Delivery(
            name,
            sink,
            reader,
            DeadLetters(self.folder / "dead", name),
            kind="store" if settings is None else settings.kind,
            wanted=wanted,
            notice=self._notice,
            pace=self._pace,
        )
        if settings is not None:
            self._settings[name] = settings

    def _end(self, deliveries: Sequence[Delivery], drain_seconds: float) -> None:
        for delivery in deliveries:
            delivery.stop(drain_seconds)
        self.spool.wake()
        for delivery in deliveries:
            if not delivery.join():
                self._notice(f"sink {delivery.name} does not end; it is left to itself")


def name_of(settings: SinkSettings) -> str:
    """What a sink is called: its name, or its kind."""
    return settings.name or settings.kind


def _made(sinks: Sequence[SinkSettings]) -> dict[str, Sink]:
    _check_names(sinks)
    made: dict[str, Sink] = {}
    for settings in sinks:
        hide_credentials(getattr(settings, "url", ""))
        made[name_of(settings)] = sink_from_settings(settings)
    return made


def _check_names(sinks: Sequence[SinkSettings]) -> None:
    names = [name_of(settings) for settings in sinks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OutputError(f"two sinks are called {twice[0]!r}; give them different names")
