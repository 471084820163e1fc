# SPDX-License-Identifier: Apache-2.0
"""Where a running server leaves its address and token for clients of the same user.

One file a server, named after its gRPC port, in a folder that only the user may open.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from sightline.errors import ServerError

TOKEN_KEY = "sightline-token"


@dataclass(frozen=True)
class ServerState:
    """What clients need to know of a local server. `token` opens the restricted APIs."""

    supervisor_pid: int
    grpc_port: int
    http_port: int
    metrics_port: int
    repository: str
    state: str
    token: str
    log: str
    supervisor_start_ticks: int = 0  # 0: not known, as in files of earlier versions


def runtime_folder() -> Path:
    """$SIGHTLINE_RUNTIME_DIR, else $XDG_RUNTIME_DIR/sightline, else /tmp/sightline-UID; mode 0700, owned by the user."""
    chosen = os.environ.get("SIGHTLINE_RUNTIME_DIR")
    if chosen:
        folder = Path(chosen)
    elif os.environ.get("XDG_RUNTIME_DIR"):
        folder = Path(os.environ["XDG_RUNTIME_DIR"]) / "sightline"
    else:
        folder = Path(tempfile.gettempdir()) / f"sightline-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise ServerError(
            f"{folder} must be a folder of yours with mode 0700; remove it or set SIGHTLINE_RUNTIME_DIR"
        )
    return folder


def state_file(grpc_port: int) -> Path:
    """Path of the state file of the server at this gRPC port."""
    return runtime_folder() / f"server-{grpc_port}.json"


def write_state(state: ServerState) -> None:
    """Write or replace the state file, mode 0600, atomically."""
    path = state_file(state.grpc_port)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(state), file)
    partial.replace(path)


def read_state(port: int) -> ServerState | None:
    """State of the live local server whose gRPC or HTTP port this is; None where there is none."""
    for path in sorted(runtime_folder().glob("server-*.json")):
        try:
            state = ServerState(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        is_ours = port in (state.grpc_port, state.http_port)
        if is_ours and is_alive(state.supervisor_pid, state.supervisor_start_ticks):
            return state
    return None


def remove_state(grpc_port: int) -> None:
    """Forget the server at this gRPC port."""
    state_file(grpc_port).unlink(missing_ok=True)


def is_alive(pid: int, start_ticks: int = 0) -> bool:
    """Whether the process lives and is the one that started then, for a PID is used again; 0 is any start."""
    found = process_start_ticks(pid)
    return found is not None and start_ticks in (0, found)


def process_start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where it is gone or a zombie."""
    try:
        fields = stat_fields(pid)
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from its third field on: state 0, parent 1, group 2, session 3, start ticks 19."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()
