# SPDX-License-Identifier: Apache-2.0
"""Events that a sink will never take: kept in a file with the reason, to be looked at and tried again.

FOLDER/dead/SINK.jsonl            one line for each: time, sink, reason, event
FOLDER/dead/SINK.old.jsonl        older ones
FOLDER/dead/SINK.retry.jsonl      those that a person wants to be tried again; the running watch picks them up
FOLDER/dead/SINK.old.retry.jsonl  older ones of these
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sightline.clients.events.event import Event, utc_text
from sightline.clients.events.files import append_whole, sync_folder, write_whole
from sightline.errors import OutputError

MAX_BYTES = 64 << 20


class DeadLetters:
    """The refused events of one sink. At 64 MiB the file becomes SINK.old.jsonl; what an older one of that name
    holds is thrown away and counted."""

    def __init__(self, folder: Path, sink: str, *, now: Callable[[], float] = time.time) -> None:
        self.path = folder / f"{sink}.jsonl"
        self._old = folder / f"{sink}.old.jsonl"
        self._old_retry, self._retry = _retry_paths(folder, sink)
        self._sink, self._now = sink, now

    def add(self, event: Event, reason: str) -> int:
        """Keep an event, on the disk when it returns; how many old ones were thrown away for it. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = {
            "time": utc_text(self._now()),
            "sink": self._sink,
            "reason": reason,
            "event": event.to_dict(),
        }
        thrown_away = 0
        if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
            thrown_away = len(read_dead(self._old))
            self.path.replace(self._old)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            append_whole(descriptor, (json.dumps(line) + "\n").encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(self.path.parent)
        return thrown_away

    def to_retry(self) -> list[Event]:
        """The events that a person wants to be tried again, oldest first."""
        lines = read_dead(self._old_retry) + read_dead(self._retry)
        return [event for line in lines if (event := _event_of(line)) is not None]

    def retried(self, left: Sequence[Event] = ()) -> None:
        """Of to_retry() only these are left; the others have arrived, or are in the file again."""
        with contextlib.suppress(OSError):  # then they come twice
            if left:
                lines = [json.dumps({"sink": self._sink, "event": event.to_dict()}) + "\n" for event in left]
                write_whole(self._retry, "".join(lines).encode())
            else:
                self._retry.unlink(missing_ok=True)
            self._old_retry.unlink(missing_ok=True)


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
    """Refused events by sink, oldest first, of an outbox's folder."""
    found: dict[str, list[dict[str, Any]]] = {}
    paths = (folder / "dead").glob("*.jsonl")
    for path in sorted(paths, key=lambda path: (not path.name.endswith(".old.jsonl"), path.name)):
        if not path.name.endswith(".retry.jsonl"):
            sink = path.name.removesuffix(".jsonl").removesuffix(".old")
            found.setdefault(sink, []).extend(read_dead(path))
    return dict(sorted(found.items()))


def retry_dead(folder: Path, sink: str) -> int:
    """Let a sink's refused events be tried again by the running, or the next, watch; how many. Raises OutputError."""
    paths = [folder / "dead" / f"{sink}{suffix}" for suffix in (".old.jsonl", ".jsonl")]
    targets = _retry_paths(folder / "dead", sink)
    count = sum(len(read_dead(path)) for path in paths)
    if count == 0:
        raise OutputError(f"sink {sink!r} has refused no events in {folder}")
    if any(target.exists() for target in targets):
        raise OutputError(f"events of sink {sink!r} wait to be tried again already; start the watch")
    for path, target in zip(paths, targets, strict=True):
        with contextlib.suppress(FileNotFoundError):
            path.rename(target)
    return count


def _retry_paths(folder: Path, sink: str) -> tuple[Path, Path]:
    """Of older ones, of newer ones."""
    return folder / f"{sink}.old.retry.jsonl", folder / f"{sink}.retry.jsonl"


def _event_of(line: dict[str, Any]) -> Event | None:
    try:
        return Event.from_dict(line["event"])
    except (KeyError, TypeError, ValueError):
        return None
