# SPDX-License-Identifier: Apache-2.0
"""One life of a supervisor, told apart from all others on this machine, dead or alive.

The identity is in the environment of every process that the server starts and in the name of every
/dev/shm region that it makes, so that leftovers of a killed supervisor are found without a record of them.
"""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sightline.runtime import process_start_ticks

ENVIRONMENT_KEY = "SIGHTLINE_RUN"
_PATTERN = re.compile(r"(\d+)_(\d+)_(\d+)_(\d+)")
_REGION = re.compile(r"sightline_server_(\d+_\d+_\d+_\d+)_")
_serials = itertools.count(1)


@dataclass(frozen=True)
class RunId:
    """PID namespace (its inode: containers may share /dev/shm), supervisor's PID, its start, a serial."""

    namespace: int
    pid: int
    start_ticks: int
    serial: int

    def __str__(self) -> str:
        return f"{self.namespace}_{self.pid}_{self.start_ticks}_{self.serial}"

    @property
    def region_prefix(self) -> str:
        """How the names of this run's shared-memory regions start."""
        return f"sightline_server_{self}_"

    def is_dead(self) -> bool:
        """True where the supervisor ran in this PID namespace and is gone (or a zombie)."""
        return self.namespace == _namespace() and process_start_ticks(self.pid) != self.start_ticks


def new_run_id() -> RunId:
    """Identity of a new run of this process."""
    pid = os.getpid()
    return RunId(_namespace(), pid, process_start_ticks(pid) or 0, next(_serials))


def parse_run_id(text: str) -> RunId | None:
    """The identity in `text`, None where it is none."""
    match = _PATTERN.fullmatch(text)
    return RunId(*(int(part) for part in match.groups())) if match else None


def run_id_of_region(name: str) -> RunId | None:
    """Whose shared-memory region this is; None where it is no server's of ours."""
    match = _REGION.match(name)
    return parse_run_id(match.group(1)) if match else None


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino
