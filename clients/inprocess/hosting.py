# SPDX-License-Identifier: Apache-2.0
"""Starts the server of this process, shares it between clients of the same repository, and cleans up behind it."""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.deploy.local.engine import (
    STUB,
    Engine,
    check_stub,
    find_engine,
    prepare_backends,
    server_environment,
)
from sightline.deploy.local.flags import model_names
from sightline.deploy.local.run_id import new_run_id
from sightline.deploy.local.sweep import end_processes, remove_regions, run_folder, sweep_dead_runs
from sightline.errors import MissingDependencyError, ServerStartError

if TYPE_CHECKING:
    from sightline.clients.inprocess._host import Host

EXIT_SECONDS = 5
STUB_TIMEOUT_SECONDS = 120
LOG_NAME = "tritonserver.log"
LIBRARY_PATTERN = "libtritonserver*.so*"
_MISSING_LIBRARY = re.compile(r"([^/:]+): cannot open shared object file: No such file")

log = logging.getLogger("sightline.clients")
_lock = threading.RLock()
_hosted: dict[Path, HostedServer] = {}
_is_fork = False


class HostedServer:
    """One server of this process; `host` is the native object. Made by acquire(), ended by the last release()."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.users = 0
        self.host: Host = _native().Host()
        self._owner = os.getpid()
        self._run = new_run_id()
        self._folder = run_folder(self._run)

    def start(self) -> None:
        """Load every model. Raises ServerStartError with the reason of each model that does not load."""
        engine = find_engine()
        sweep_dead_runs()
        environment = server_environment(engine, self._run)
        check_stub(engine, environment)
        try:
            self._folder.mkdir(mode=0o700)
            backends = prepare_backends(engine, self._folder)
            with _environment(environment):
                _load_libraries(_library(engine.libraries), backends)
                self._open(engine, backends)
            self._check_models()
        except BaseException as error:
            reason = self._log_tail()
            self.stop()
            if isinstance(error, ServerStartError):
                raise
            if isinstance(error, (OSError, _native().TritonError)):
                raise ServerStartError(
                    f"no server in this process for {self.repository}: {error}{reason}"
                ) from error
            raise

    def stop(self) -> None:
        """End the server and all that it started. In a fork it only forgets it."""
        if os.getpid() != self._owner:
            return
        try:
            self.host.close()
        except _native().TritonError as error:
            log.warning("the server in this process was left running: %s", error)
        # Children that other threads started while the models loaded have inherited the run's name.
        end_processes(self._run, None, program=STUB)
        remove_regions(self._run)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self, engine: Engine, backends: Path) -> None:
        models = model_names(self.repository)
        cores = os.cpu_count() or 1
        settings = (
            ("python", "shm-region-prefix-name", self._run.region_prefix),
            ("python", "stub-timeout-seconds", str(STUB_TIMEOUT_SECONDS)),
            ("sightline", "openvino", str(engine.openvino)),
        )
        self.host.open(
            os.fsencode(self.repository),
            os.fsencode(backends),
            os.fsencode(self._folder / LOG_NAME),
            [os.fsencode(name) for name in models],
            [(backend.encode(), name.encode(), os.fsencode(value)) for backend, name, value in settings],
            EXIT_SECONDS,
            max(2, min(cores, 8)),
        )

    def _check_models(self) -> None:
        """A model that was not even tried, for its configuration is wrong or a stage is missing, has no state."""
        states = {entry["name"]: entry for entry in json.loads(self.host.index())}
        broken = {
            name: states.get(name, {}).get("reason", "")
            for name in model_names(self.repository)
            if states.get(name, {}).get("state") != "READY"
        }
        if broken:
            reasons = "; ".join(f"{name}: {_first_lines(reason)}" for name, reason in broken.items())
            log_tail = "" if all(broken.values()) else self._log_tail()
            raise ServerStartError(f"models of {self.repository} do not load: {reasons}{log_tail}")

    def _log_tail(self) -> str:
        with suppress(OSError):
            lines = (self._folder / LOG_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
            errors = [line for line in lines if " ERROR " in line or line.startswith("E")]
            return "".join(f"\n{line[:500]}" for line in errors[-3:])
        return ""


def acquire(repository: Path) -> HostedServer:
    """The server of this process for the repository, started where there is none; release() must follow.

    Raises ServerStartError or MissingDependencyError.
    """
    repository = repository.absolute()
    if not repository.is_dir() or not model_names(repository):
        raise ServerStartError(
            f"{repository} holds no model (no */config.pbtxt); build one with: sightline build"
        )
    if _is_fork:
        raise ServerStartError(
            "this process is a fork of one with a server inside, and can have none; start it anew (spawn)"
        )
    with _lock:
        server = _hosted.get(repository)
        if server is None:
            server = HostedServer(repository)
            server.start()
            _hosted[repository] = server
        server.users += 1
        return server


def release(server: HostedServer) -> None:
    """One user less; the last one ends the server."""
    with _lock:
        server.users -= 1
        if server.users > 0:
            return
        if _hosted.get(server.repository) is server:
            del _hosted[server.repository]
        server.stop()


@atexit.register
def _stop_all() -> None:
    with _lock:
        for server in list(_hosted.values()):
            server.stop()
        _hosted.clear()


def _leave_to_parent() -> None:
    """In a fork: the servers are the parent's, their threads are not here, and the lock may have been held."""
    global _lock, _is_fork
    _lock = threading.RLock()
    _is_fork = _is_fork or bool(_hosted)
    _hosted.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


def _native() -> Any:
    try:
        from sightline.clients.inprocess import _host
    except ImportError as error:
        raise MissingDependencyError(
            "the in-process server was not built with this package; install it again where a C compiler is"
        ) from error
    return _host


def _library(folder: Path) -> Path:
    found = sorted(folder.glob(LIBRARY_PATTERN))
    if not found:
        raise MissingDependencyError(
            f"{folder} has no {LIBRARY_PATTERN}; install it again: pip install 'sightline[server]' --force-reinstall"
        )
    return found[0]


def _load_libraries(library: Path, backends: Path) -> None:
    """The server; then each backend by its real path, where its own search path finds its libraries."""
    native = _native()
    _load(native.load, library)
    for path in sorted(backends.glob("*/libtriton_*.so")):
        _load(native.preload, path.resolve(), library.parent)


def _load(open_library: Callable[[bytes], None], path: Path, folder: Path | None = None) -> None:
    """Open it; what it needs and does not find is opened first, from its folder, as LD_LIBRARY_PATH would do it.

    The loader reads that variable only when a process starts, and the wheel's libraries do not name their folder.
    """
    folder = folder or path.parent
    while True:
        try:
            return open_library(os.fsencode(path))
        except OSError as error:
            needed = _MISSING_LIBRARY.match(str(error))
            if needed is None or needed[1] in str(path) or not (folder / needed[1]).is_file():
                raise
            _load(_native().preload, folder / needed[1])


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """The stubs are started by this process and inherit its environment, which is put back afterwards."""
    before = dict(os.environ)
    try:
        _change_environment(wanted)
        yield
    finally:
        _change_environment(before)


def _change_environment(wanted: dict[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _first_lines(reason: str) -> str:
    text = reason.split("\n\nAt:")[0].strip()
    return text[:500] or "not loaded"
