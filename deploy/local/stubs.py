# SPDX-License-Identifier: Apache-2.0
"""Watches the Python backend's stub processes.

Triton 24.10 never restarts a stub that has died: the server stays green and, with several instances of a
model, only a part of the requests fail, so that one canary after the other may meet a live instance.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sightline.runtime import process_start_ticks, stat_fields

_RESCAN_EVERY = 5


@dataclass(frozen=True)
class Stub:
    """One stub: model.py's folder tells the model, `instance` is Triton's name for the model instance."""

    pid: int
    start_ticks: int
    model: str
    instance: str


class StubWatch:
    """Remembers the stubs of one server process."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._known: dict[str, Stub] = {}
        self._rounds = 0

    def remember(self) -> None:
        """Take the stubs that live now as those that must live on."""
        self._known = {stub.instance: stub for stub in find_stubs(self._server_pid)}

    def dead(self, ready_models: Callable[[], set[str]]) -> str:
        """Name of an instance whose stub has died though its model counts as ready; '' where all is well."""
        self._rounds += 1
        known = self._known.values()
        vanished = [stub for stub in known if process_start_ticks(stub.pid) != stub.start_ticks]
        if not vanished and self._rounds % _RESCAN_EVERY != 0:
            return ""
        alive = {stub.instance: stub for stub in find_stubs(self._server_pid)}
        ready = ready_models() if vanished else set()
        for stub in vanished:
            if stub.instance not in alive and stub.model in ready:
                return stub.instance
        self._known = alive
        return ""


def find_stubs(server_pid: int) -> list[Stub]:
    """The live stubs that this server started."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):
            if int(stat_fields(int(entry))[1]) != server_pid:
                continue
            stub = _stub_of(int(entry))
            if stub is not None:
                found.append(stub)
    return found


def _stub_of(pid: int) -> Stub | None:
    """Its command line: stub, .../MODEL/VERSION/model.py, region, sizes, parent, ..., instance, ..."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    start_ticks = process_start_ticks(pid)
    if start_ticks is None or "python_backend_stub" not in arguments[0]:
        return None
    model = Path(arguments[1]).parent.parent.name
    instance = next((item for item in arguments[2:] if item.startswith(f"{model}_")), "")
    return Stub(pid, start_ticks, model, instance) if instance else None
