# SPDX-License-Identifier: Apache-2.0
"""Memory, threads, descriptors and shared memory of processes, from /proc."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_KB = 1024
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Footprint:
    """Of one process; shared_memory: what it maps of /dev/shm."""

    rss_mb: float
    threads: int
    descriptors: int
    shared_memory_bytes: int
    shared_memory_files: int


def memory_mb(pids: Sequence[int]) -> float:
    """Proportional set size of processes together: pages that several share are counted in parts."""
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids) / _KB


def footprint(pid: int | None = None) -> Footprint:
    """Of this process, or another one."""
    process = Path(f"/proc/{pid or os.getpid()}")
    files = _mapped(process)
    return Footprint(
        round(_field(process / "status", "VmRSS:") / _KB, 1),
        len(os.listdir(process / "task")),
        len(os.listdir(process / "fd")),
        sum(_size(path) for path in files),
        len(files),
    )


def _field(path: Path, name: str) -> int:
    """Kilobytes of one line; 0 where the process is gone."""
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0


def _mapped(process: Path) -> list[Path]:
    """Files of /dev/shm that the process maps, also those whose name is gone."""
    try:
        lines = (process / "maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return sorted({Path(line.split(maxsplit=5)[5]) for line in lines if f" {SHARED_MEMORY}/" in line})


def _size(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0
