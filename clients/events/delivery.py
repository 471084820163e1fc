# SPDX-License-Identifier: Apache-2.0
"""One sink's thread: events in order from the spool to the sink, again and again until they have arrived."""

from __future__ import annotations

import fnmatch
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.clients.events.cursors import Reader
from sightline.clients.events.dead import DeadLetters
from sightline.clients.events.event import Event
from sightline.clients.events.segments import Record
from sightline.clients.events.sink import Sink, SinkAway, SinkRefuses
from sightline.redact import redact

BATCH_BYTES = 1 << 20
STRANGE_ERRORS = 5  # of one event by itself, until it is taken for refused
RETRY_LOOK_SECONDS = 1.0
GONE_SECONDS = 5.0


@dataclass(frozen=True)
class Pace:
    """How attempts are spaced: doubling from `first_seconds` to `cap_seconds`, each shortened by chance by up to half."""

    first_seconds: float = 0.25
    cap_seconds: float = 30.0

    def delay(self, failures: int) -> float:
        """Seconds until the next attempt after so many failed ones."""
        longest = min(self.cap_seconds, self.first_seconds * 2.0 ** min(failures - 1, 30))
        return longest * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class Wanted:
    """Which events a sink gets. types: may end with *; empty: all. cameras: by name; empty: all."""

    types: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()

    def __call__(self, event: Event) -> bool:
        """Whether it gets this one."""
        return (not self.cameras or event.camera in self.cameras) and (
            not self.types or any(fnmatch.fnmatchcase(event.type, pattern) for pattern in self.types)
        )


class Delivery:
    """Delivers what a reader reads; its figures may be asked for from any thread."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        reader: Reader,
        dead: DeadLetters,
        *,
        kind: str = "",
        wanted: Wanted | None = None,
        notice: Callable[[str], None] = lambda text: None,
        pace: Pace | None = None,
    ) -> None:
        self.name, self.kind, self.sink = name, kind, sink
        self._reader, self._dead, self._notice = reader, dead, notice
        self._wanted, self._pace = wanted or Wanted(), pace or Pace()
        self._held: deque[tuple[Record, Event | None]] = deque()  # read and not done; None: not for this sink
        self._opened, self._failures, self._strange = False, 0, 0
        self._away_since: float | None = None
        self._retry_at, self._retry_looked = 0.0, -RETRY_LOOK_SECONDS
        self._last_error: str | None = None
        self._last_error_unix: float | None = None
        self._sending = False
        self._stopping, self._deadline = threading.Event(), float("inf")
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)
        self._thread.start()

    # ---- asked from outside

    def stop(self, drain_seconds: float) -> None:
        """Ask it to end when all has arrived, and at the latest after so many seconds."""
        self._deadline = time.monotonic() + drain_seconds
        self._stopping.set()

    def join(self) -> bool:
        """Wait for the end; True when the thread has ended. To be called after stop()."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()) + 0.1)
        if self._thread.is_alive():
            self.sink.interrupt()
            self._thread.join(GONE_SECONDS)
        return not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stopping.is_set()

    def figures(self) -> dict[str, Any]:
        """Its state and figures, as they stand in the page; texts without credentials."""
        now = time.monotonic()
        figures = self._reader.figures(time.time())
        return {
            "name": self.name,
            "kind": self.kind,
            "lossy": self.sink.lossy,
            "state": self._state(figures["waiting"]),
            **figures,
            "last_error": self._last_error,
            "last_error_unix": self._last_error_unix,
            "away_seconds": None if self._away_since is None else now - self._away_since,
            "retry_in_seconds": max(0.0, self._retry_at - now) if self._away_since is not None else None,
        }

    def _state(self, waiting: int) -> str:
        if not self._thread.is_alive():
            return "stopped"
        if self._away_since is not None:
            return "away"
        return "delivering" if waiting else "idle"

    # ---- the thread

    def _run(self) -> None:
        while not self._finished():
            try:
                self._step()
            except SinkAway as error:
                self._advance(error.done)
                self._retreat(str(error), error.after_seconds)
            except Exception as error:  # a sink must never take its thread down
                self._strange += 1
                self._retreat(redact(f"{type(error).__name__}: {error}")[:300], None)
        self.sink.close()

    def _finished(self) -> bool:
        if not self.stopping:
            return False
        if time.monotonic() >= self._deadline:
            return True
        return not self._held and self._reader.figures(0.0)["waiting"] == 0

    def _step(self) -> None:
        if not self._opened:
            self.sink.open()
            self._opened = True
        if time.monotonic() - self._retry_looked >= RETRY_LOOK_SECONDS:
            self._retry_looked = time.monotonic()
            self._retry_dead()
        if not self._held:
            self._read()
        events = [event for _, event in self._held if event is not None]
        if self._strange:  # whose fault was it?
            events = events[:1]
        if events:
            self._send(events)

    def _read(self) -> None:
        for record in self._reader.read(
            self.sink.batch, BATCH_BYTES, RETRY_LOOK_SECONDS, self._stopping.is_set
        ):
            event = _event(record)
            self._held.append((record, event if event is not None and self._wanted(event) else None))
        if self._held:
            self._advance(0)

    def _send(self, events: Sequence[Event]) -> None:
        try:
            self._deliver(events)
        except SinkRefuses as error:
            self._there(error.done)
            self._advance(error.done)
            self._bury(events[error.done], str(error))
            self._advance(1, refused=True)
        else:
            self._there(len(events))
            self._advance(len(events))
        self._strange = 0

    def _deliver(self, events: Sequence[Event]) -> None:
        try:
            self.sink.send(events)
        except (SinkAway, SinkRefuses):
            raise
        except Exception as error:
            if len(events) == 1 and self._strange >= STRANGE_ERRORS:
                raise SinkRefuses(f"{type(error).__name__}: {error}") from None
            raise

    def _advance(self, arrived: int, *, refused: bool = False) -> None:
        """So many events more are done, and with them those that are not for this sink."""
        count = delivered = 0
        while self._held:
            event = self._held[0][1]
            if event is not None:
                if delivered == arrived:
                    break
                delivered += 1
            self._held.popleft()
            count += 1
        if count:
            self._reader.done(
                count, delivered=0 if refused else delivered, refused=delivered if refused else 0
            )

    def _bury(self, event: Event, reason: str) -> None:
        try:
            thrown_away = self._dead.add(event, reason)
        except OSError as error:
            raise SinkAway(f"the dead-letter file cannot be written: {error.strerror}") from None
        self._error(f"event {event.id} was refused: {reason}")
        self._notice(f"sink {self.name} refused event {event.id}: {reason}; it is kept in {self._dead.path}")
        if thrown_away:
            self._reader.done(0, thrown_away=thrown_away)
            self._notice(
                f"sink {self.name} refuses too many: its {thrown_away} oldest refused events are thrown away"
            )

    def _retry_dead(self) -> None:
        again, tried = self._dead.to_retry(), 0
        try:
            for event in again:
                try:
                    self._deliver([event])
                except SinkRefuses as error:
                    self._bury(event, str(error))
                else:
                    self._reader.done(0, delivered=1)
                tried += 1
        finally:
            if tried:
                self._dead.retried(again[tried:])

    def _retreat(self, reason: str, after_seconds: float | None) -> None:
        """Close the sink and wait before the next attempt."""
        self.sink.close()
        self._opened = False
        self._failures += 1
        self._error(reason)
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._notice(f"sink {self.name} is away: {reason}; its events wait in the spool")
        delay = max(self._pace.delay(self._failures), min(after_seconds or 0.0, 300.0))
        self._retry_at = time.monotonic() + delay
        if not self._stopping.wait(delay):
            return
        while (left := self._retry_at - time.monotonic()) > 0 and time.monotonic() < self._deadline:
            time.sleep(min(left, 0.05))

    def _there(self, arrived: int) -> None:
        """The sink has answered."""
        self._failures = 0
        if self._away_since is not None:
            seconds = time.monotonic() - self._away_since
            self._away_since = None
            waiting = self._reader.figures(0.0)["waiting"] - arrived
            self._notice(f"sink {self.name} is back after {seconds:.0f} s; {waiting} events still wait")

    def _error(self, reason: str) -> None:
        self._last_error, self._last_error_unix = reason, time.time()


def _event(record: Record) -> Event | None:
    try:
        return Event.from_dict(json.loads(record.payload))
    except (ValueError, TypeError):
        return None
