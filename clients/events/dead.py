# SPDX-License-Identifier: Apache-2.0
"""Events that a sink will never take: kept in a file with the reason, to be looked at and tried again.

FOLDER/dead/SINK.jsonl        one line for each: time, sink, reason, event
FOLDER/dead/SINK.retry.jsonl  those that a person wants to be tried again; the running watch picks them up
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sightline.clients.events.event import Event, utc_text
from sightline.clients.events.files import append_whole, sync_folder
from sightline.errors import OutputError

MAX_BYTES = 64 << 20


class DeadLetters:
    """The refused events of one sink. At 64 MiB the file becomes SINK.old.jsonl and an older one of that name goes."""

    def __init__(self, folder: Path, sink: str, *, now: Callable[[], float] = time.time) -> None:
        self.path = folder / f"{sink}.jsonl"
        self._retry = folder / f"{sink}.retry.jsonl"
        self._sink, self._now = sink, now

    def add(self, event: Event, reason: str) -> None:
        """Keep an event, on the disk when it returns. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = {
            "time": utc_text(self._now()),
            "sink": self._sink,
            "reason": reason,
            "event": event.to_dict(),
        }
        if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
            self.path.replace(self.path.with_name(f"{self._sink}.old.jsonl"))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            append_whole(descriptor, (json.dumps(line) + "\n").encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(self.path.parent)

    def to_retry(self) -> list[Event]:
        """The events that a person wants to be tried again."""
        return [event for line in read_dead(self._retry) if (event := _event_of(line)) is not None]

    def retried(self) -> None:
        """All of to_retry() have arrived, or are in the file again."""
        with contextlib.suppress(OSError):
            self._retry.unlink()


def read_dead(path: Path) -> list[dict[str, Any]]:
    """The lines of a dead-letter file, oldest first; half lines are left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict):
                found.append(document)
    return found


def dead_letters(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Refused events by sink, of an outbox's folder."""
    paths = sorted((folder / "dead").glob("*.jsonl"))
    return {
        path.name.removesuffix(".jsonl"): read_dead(path)
        for path in paths
        if not path.name.endswith((".retry.jsonl", ".old.jsonl"))
    }


def retry_dead(folder: Path, sink: str) -> int:
    """Let a sink's refused events be tried again by the running, or the next, watch; how many. Raises OutputError."""
    path = folder / "dead" / f"{sink}.jsonl"
    target = path.with_name(f"{sink}.retry.jsonl")
    count = len(read_dead(path))
    if count == 0:
        raise OutputError(f"sink {sink!r} has refused no events in {folder}")
    if target.exists():
        raise OutputError(f"events of sink {sink!r} wait to be tried again already; start the watch")
    path.rename(target)
    return count


def _event_of(line: dict[str, Any]) -> Event | None:
    try:
        return Event.from_dict(line["event"])
    except (KeyError, TypeError, ValueError):
        return None
