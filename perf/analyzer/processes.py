# SPDX-License-Identifier: Apache-2.0
"""CPU time of a local server's processes, by part, from /proc."""

from __future__ import annotations

from pathlib import Path

import psutil

_STUB = "triton_python_backend_stub"


class ServerProcesses:
    """tritonserver and its Python stubs below one supervisor process."""

    def __init__(self, supervisor_pid: int) -> None:
        self._supervisor_pid = supervisor_pid

    def cpu_seconds(self) -> dict[tuple[int, str], float]:
        """CPU seconds used so far by each process, keyed by pid and part."""
        used = {}
        try:
            children = psutil.Process(self._supervisor_pid).children(recursive=True)
        except psutil.Error:
            return {}
        for process in children:
            try:
                part = part_of(process.cmdline())
                times = process.cpu_times()
            except psutil.Error:
                continue
            if part:
                used[process.pid, part] = times.user + times.system
        return used


def part_of(command: list[str]) -> str | None:
    """'tritonserver', or the model that a stub serves; None for any other process."""
    program = Path(command[0]).name if command else ""
    if program == "tritonserver":
        return program
    if program == _STUB and len(command) > 1:  # its first argument is MODEL/VERSION/model.py
        parts = Path(command[1]).parts
        return parts[-3] if len(parts) >= 3 else None
    return None


def cpu_between(
    before: dict[tuple[int, str], float], after: dict[tuple[int, str], float]
) -> dict[str, float]:
    """CPU seconds by part between two readings; a process started in between counts in full."""
    parts: dict[str, float] = {}
    for key, seconds in after.items():
        parts[key[1]] = parts.get(key[1], 0.0) + seconds - before.get(key, 0.0)
    return {part: seconds for part, seconds in sorted(parts.items()) if seconds > 0}
