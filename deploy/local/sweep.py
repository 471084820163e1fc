# SPDX-License-Identifier: Apache-2.0
"""Ends what a server may leave behind: stubs, /dev/shm regions, run folders, state files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sightline.deploy.local.run_id import ENVIRONMENT_KEY, RunId, parse_run_id, run_id_of_region
from sightline.runtime import is_alive, runtime_folder, stat_fields

SHARED_MEMORY = Path("/dev/shm")
TEMPORARY_LIST = "temporary-folders"
_TEMPORARY_PREFIX = "/tmp/python_env_"  # fixed in the Python backend
_RUN_FOLDER = "run-"
_END_SECONDS = 5.0


@dataclass
class Swept:
    """What was removed."""

    processes: int = 0
    regions: int = 0
    folders: int = 0

    def __bool__(self) -> bool:
        return bool(self.processes or self.regions or self.folders)


def run_folder(run: RunId) -> Path:
    """Private folder (mode 0700) of one run."""
    return runtime_folder() / f"{_RUN_FOLDER}{run}"


def end_processes(
    run: RunId, session: int | None, *, program: str = "", timeout_seconds: float = _END_SECONDS
) -> int:
    """SIGKILL every process of the run or of the server's session and reap those that became our children.

    program: part of the command line; only such processes of the run are ended.
    Returns how many there were. Zombies have no readable environment, so the session number finds them.
    """
    return _end(lambda candidate: candidate == run, session, timeout_seconds, program)


def remove_regions(run: RunId) -> int:
    """Remove the run's shared-memory regions; returns how many there were."""
    return _remove_regions(lambda candidate: candidate == run)


def remove_temporary(folder: Path) -> None:
    """Remove the folders in /tmp that the server whose run folder this is has made, and their list."""
    with suppress(OSError):
        for line in (folder / TEMPORARY_LIST).read_text(encoding="utf-8", errors="replace").splitlines():
            path = Path(line)
            if line.startswith(_TEMPORARY_PREFIX) and path.parent == Path("/tmp") and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
        (folder / TEMPORARY_LIST).unlink()


def sweep_dead_runs() -> Swept:
    """Remove what supervisors of this user that were killed have left behind."""
    swept = Swept()
    swept.processes = _end(RunId.is_dead, None, _END_SECONDS)
    swept.regions = _remove_regions(RunId.is_dead)
    for folder in runtime_folder().glob(f"{_RUN_FOLDER}*"):
        run = parse_run_id(folder.name.removeprefix(_RUN_FOLDER))
        if run is not None and run.is_dead():
            remove_temporary(folder)
            shutil.rmtree(folder, ignore_errors=True)
            swept.folders += 1
    for path in runtime_folder().glob("server-*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            state = json.loads(path.read_text(encoding="utf-8"))
            if not is_alive(int(state["supervisor_pid"]), int(state.get("supervisor_start_ticks", 0))):
                path.unlink(missing_ok=True)
    return swept


def _end(
    is_wanted: Callable[[RunId], bool], session: int | None, timeout_seconds: float, program: str = ""
) -> int:
    """Kill until none is left: a killed process holds its ports for some milliseconds more."""
    seen: set[int] = set()
    deadline = time.monotonic() + timeout_seconds
    while True:
        members = list(_members(is_wanted, session, program))
        if not members or time.monotonic() > deadline:
            return len(seen)
        seen.update(members)
        for pid in members:
            _kill_and_reap(pid)
        time.sleep(0.01)


def _members(is_wanted: Callable[[RunId], bool], session: int | None, program: str) -> Iterator[int]:
    own = os.getpid()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == own:
            continue
        with suppress(OSError, ValueError, IndexError):
            if session is not None and int(stat_fields(int(entry))[3]) == session:
                yield int(entry)
                continue
            run = _run_of_process(int(entry))
            if run is not None and is_wanted(run) and program.encode() in _command_line(int(entry)):
                yield int(entry)


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _run_of_process(pid: int) -> RunId | None:
    key = f"{ENVIRONMENT_KEY}=".encode()
    for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if item.startswith(key):
            return parse_run_id(item[len(key) :].decode(errors="replace"))
    return None


def _kill_and_reap(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _remove_regions(is_wanted: Callable[[RunId], bool]) -> int:
    count = 0
    for path in SHARED_MEMORY.glob("sightline_server_*"):
        run = run_id_of_region(path.name)
        if run is not None and is_wanted(run):
            with suppress(OSError):
                path.unlink()
                count += 1
    return count
