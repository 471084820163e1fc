# SPDX-License-Identifier: Apache-2.0
"""What the page may ask of the watch. All calls may come from any thread and may block; errors are SightlineErrors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class EventQuery:
    """Which events: the newest first. Times are ISO 8601, UTC; `before` is the `position` of an event, to page on."""

    cameras: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    before: int | None = None
    limit: int = 100


class Control(Protocol):
    """The running watch as the page sees it."""

    def state(self) -> dict[str, Any]:
        """What is going on now: model, server, cameras (each with `id`, `name`, state, figures, counts), sinks, spool."""

    def cameras(self) -> dict[str, dict[str, Any]]:
        """The cameras' settings by name, as they stand in the file; URLs without credentials."""

    def put_camera(self, name: str, document: Mapping[str, Any]) -> None:
        """Add a camera or change it, at once and in the file. A URL that is left out or has *** in it stays as it was."""

    def remove_camera(self, name: str) -> None:
        """Take a camera away, at once and in the file."""

    def put_rules(self, name: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """Replace a camera's rules, at once and in the file; the camera's stream goes on."""

    def events(self, query: EventQuery) -> list[dict[str, Any]]:
        """Events as CloudEvents, each with `position`, a number to page on with."""

    def counts(self, name: str, hours: float) -> list[dict[str, Any]]:
        """Events per camera, rule and time slot: {"start": ISO 8601, "camera", "rule", "type", "count"}."""

    def media(self, path: str) -> Path | None:
        """The file of a snapshot or clip named in an event; None where there is none (any more)."""
