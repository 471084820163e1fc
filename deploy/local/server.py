# SPDX-License-Identifier: Apache-2.0
"""LocalServer: a real tritonserver on loopback as a Python object."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from sightline.deploy.local.engine import check_stub, find_engine, prepare_backends, server_environment
from sightline.deploy.local.flags import Ports, check_host, model_names
from sightline.deploy.local.lock import RepositoryLock
from sightline.deploy.local.logs import ServerLog, default_log_folder
from sightline.deploy.local.ports import LOOPBACK, check_port, free_ports
from sightline.deploy.local.process import subreaper
from sightline.deploy.local.run_id import new_run_id
from sightline.deploy.local.runner import DRAIN_SECONDS, KILL_GRACE_SECONDS, Plan, Runner
from sightline.deploy.local.supervisor import RestartPolicy, State
from sightline.deploy.local.sweep import end_processes, remove_regions, run_folder, sweep_dead_runs
from sightline.errors import PortInUseError, ServerError, ServerStartError
from sightline.runtime import ServerState, process_start_ticks, remove_state, write_state

_PORT_TRIES = 3
_LOG = logging.getLogger("sightline.deploy")


class LocalServer:
    """A supervised tritonserver for one model repository; also a context manager.

    repository: folder made by `sightline build`. Ports: 0 takes a free one. models: names of cards to load
    (with their frame ensembles), all where None. restart: start it anew when it ends or its canary fails.
    progress: gets one line of text at each step, from a thread of the server.
    restart_policy: other delays and limits of the restarts; its `enabled` and `ready_timeout_seconds` are
    set by `restart` and by start().

    Errors of start(): MissingDependencyError, PortInUseError, AlreadyServedError, ServerStartError,
    ServerError.
    Every method may be called from any thread.
    """

    def __init__(
        self,
        repository: Path | str,
        *,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        log_dir: Path | str | None = None,
        models: Sequence[str] | None = None,
        restart: bool = True,
        host: str = LOOPBACK,
        progress: Callable[[str], None] | None = None,
        restart_policy: RestartPolicy | None = None,
    ) -> None:
        check_host(host)
        self.repository = Path(repository).absolute()
        self._wanted = Ports(http_port, grpc_port, metrics_port)
        self._log_folder = Path(log_dir).absolute() if log_dir else default_log_folder()
        self._models = tuple(models or ())
        self._policy = replace(restart_policy or RestartPolicy(), enabled=restart)
        self._progress = progress
        self._guard = threading.RLock()
        self._changed = threading.Condition(threading.Lock())
        self._state = State.STOPPED
        self._final_reason = ""
        self._ports = self._wanted
        self._token = ""
        self._log: ServerLog | None = None
        self._runner: Runner | None = None
        self._thread: threading.Thread | None = None
        self._owner = os.getpid()

    def __enter__(self) -> LocalServer:
        if self._thread is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def grpc_address(self) -> str:
        """'127.0.0.1:port'."""
        return f"{LOOPBACK}:{self._ports.grpc}"

    @property
    def http_address(self) -> str:
        """'127.0.0.1:port'."""
        return f"{LOOPBACK}:{self._ports.http}"

    @property
    def metrics_address(self) -> str:
        """'127.0.0.1:port'; Prometheus text is at /metrics."""
        return f"{LOOPBACK}:{self._ports.metrics}"

    @property
    def state(self) -> str:
        """One of stopped, starting, ready, unhealthy, restarting, stopping, failed."""
        return self._state.value

    @property
    def pid(self) -> int | None:
        """PID of tritonserver, None while none runs."""
        return self._runner.pid if self._runner else None

    @property
    def restarts(self) -> int:
        """How often the server was started anew."""
        return self._runner.restarts if self._runner else 0

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the Sightline ensembles that passed their canary."""
        return self._runner.targets if self._runner else ()

    @property
    def token(self) -> str:
        """Opens the restricted APIs (shared memory, model control, trace, logging). A secret."""
        return self._token

    @property
    def log_path(self) -> Path:
        """tritonserver's output."""
        return self._log.path if self._log else self._log_folder / "tritonserver.log"

    def start(self, timeout_seconds: float = 120.0) -> None:
        """Start and return when the canary of every ensemble has passed."""
        with self._guard:
            if self._thread is not None:
                raise ServerError(f"this server is already {self.state}; stop() it first")
            for last in (False,) * (_PORT_TRIES - 1) + (True,):
                try:
                    self._start_once(timeout_seconds)
                    return
                except (ServerStartError, PortInUseError):
                    if last or not self._lost_a_port():
                        raise

    def stop(self) -> None:
        """Drain, end and clean up, also a start in another thread; does nothing where no server runs."""
        if os.getpid() != self._owner:  # a fork must not end its parent's server
            return
        if self._runner is not None:
            self._runner.stop()
        with self._guard:
            self._join()

    def kill(self) -> None:
        """End at once, without draining. May be called while stop() waits."""
        if self._runner is not None:
            self._runner.stop(kill=True)

    def wait(self, timeout_seconds: float | None = None) -> str:
        """Wait until the server is stopped or failed (or the timeout); returns the state."""
        with self._changed:
            self._changed.wait_for(lambda: self._state in (State.STOPPED, State.FAILED), timeout_seconds)
        return self.state

    def _start_once(self, timeout_seconds: float) -> None:
        model_count = _check_repository(self.repository)
        models = _with_frames(self.repository, self._models)
        engine = find_engine()
        sweep_dead_runs()
        run = new_run_id()
        check_stub(engine, server_environment(engine, run))
        self._ports = self._choose_ports()
        folder, lock = run_folder(run), RepositoryLock(self.repository)
        claim = threading.Lock()  # whoever takes it, this call or the supervising thread, does the clean-up
        try:
            lock.acquire({"http": self._ports.http, "grpc": self._ports.grpc, "metrics": self._ports.metrics})
            self._check_ports()
            folder.mkdir(mode=0o700)
            backends = prepare_backends(engine, folder)
            self._token = secrets.token_urlsafe(32)
            self._log = None
            count = 0 if models else model_count
            plan = Plan(
                engine, run, folder, backends, self.repository, self._ports, models, count, self._token
            )
            self._launch(plan, lock, claim, timeout_seconds)
            self._wait_until_ready(timeout_seconds)
        except BaseException as error:  # Ctrl-C may come at any line
            if claim.acquire(blocking=False):
                self._forget_launch(folder, lock)
            else:
                self.kill()
                self._join()
            if isinstance(error, OSError):
                raise ServerStartError(f"{folder} cannot be written: {error}") from error
            raise

    def _forget_launch(self, folder: Path, lock: RepositoryLock) -> None:
        """Clean up where no thread lives that would; one that starts late finds the claim taken and ends."""
        self._thread = None
        atexit.unregister(self.stop)
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        with self._changed:
            self._state = State.STOPPED
            self._changed.notify_all()

    def _launch(
        self, plan: Plan, lock: RepositoryLock, claim: threading.Lock, timeout_seconds: float
    ) -> None:
        policy = replace(self._policy, ready_timeout_seconds=timeout_seconds)
        self._runner = runner = Runner(plan, policy, self._server_log(), self._publish, self._tell)
        self._state = State.STARTING
        self._tell("starting tritonserver")
        # The server gets SIGTERM when the thread that spawned it ends, so one thread does all of its life.
        thread = threading.Thread(
            target=self._live, args=(runner, plan, lock, claim), name="tritonserver", daemon=True
        )
        atexit.register(self.stop)
        self._thread = thread
        thread.start()

    def _wait_until_ready(self, timeout_seconds: float) -> None:
        wait_seconds = timeout_seconds + DRAIN_SECONDS + KILL_GRACE_SECONDS
        with self._changed:
            self._changed.wait_for(lambda: self._state is not State.STARTING, wait_seconds)
            if self._state is State.READY:
                return
        self.kill()
        self._join()
        raise ServerStartError(f"{self._final_reason}\nIts log: {self.log_path}")

    def _live(self, runner: Runner, plan: Plan, lock: RepositoryLock, claim: threading.Lock) -> None:
        """The supervising thread: run, then clean up, then tell that it is over."""
        if not claim.acquire(blocking=False):
            return
        subreaper.acquire()
        failure = ""
        try:
            runner.run()
        except BaseException as error:  # the clean-up below must happen, and start() must not wait in vain
            failure = f"the supervisor failed: {type(error).__name__}: {error}"
            _LOG.exception("the supervisor failed")
        finally:
            end_processes(plan.run, None)
            remove_regions(plan.run)
            shutil.rmtree(plan.folder, ignore_errors=True)
            with suppress(OSError, ServerError):
                remove_state(plan.ports.grpc)
            lock.release()
            subreaper.release()
            runner.close()
            if self._log is not None:
                self._log.close()
            self._final_reason = failure or runner.reason or "stopped while starting"
            final = State.STOPPED if runner.state is State.STOPPED and not failure else State.FAILED
            with self._changed:
                self._state = final
                self._changed.notify_all()

    def _publish(self, state: State) -> None:
        """Called by the supervising thread at each change; final states are told after the clean-up."""
        if state in (State.STOPPED, State.FAILED):
            return
        try:
            write_state(
                ServerState(
                    supervisor_pid=os.getpid(),
                    grpc_port=self._ports.grpc,
                    http_port=self._ports.http,
                    metrics_port=self._ports.metrics,
                    repository=str(self.repository),
                    state=state.value,
                    token=self._token,
                    log=str(self.log_path),
                    supervisor_start_ticks=process_start_ticks(os.getpid()) or 0,
                )
            )
        except (OSError, ServerError) as error:
            _LOG.warning("no state file, so local clients do without shared memory: %s", error)
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def _tell(self, text: str) -> None:
        _LOG.info("%s", text)
        if self._progress is None:
            return
        try:
            self._progress(text)
        except Exception:  # the caller's fault, for instance a closed terminal, must not end the server
            _LOG.exception("progress callback")

    def _choose_ports(self) -> Ports:
        wanted = {"http": self._wanted.http, "grpc": self._wanted.grpc, "metrics": self._wanted.metrics}
        given = [port for port in wanted.values() if port]
        if len(set(given)) != len(given):
            raise ServerError(f"ports are {wanted}; they must differ")
        spare = iter([port for port in free_ports(2 * len(wanted)) if port not in given])
        return Ports(**{name: port or next(spare) for name, port in wanted.items()})

    def _check_ports(self) -> None:
        check_port(self._ports.http, "--http-port")
        check_port(self._ports.grpc, "--grpc-port")
        check_port(self._ports.metrics, "--metrics-port")

    def _server_log(self) -> ServerLog:
        if self._log is None:
            self._log = ServerLog(self._log_folder, secrets=(self._token,))
        return self._log

    def _lost_a_port(self) -> bool:
        """True where a port that we had found free was taken by another program in the meantime."""
        pairs = zip(
            (self._wanted.http, self._wanted.grpc, self._wanted.metrics),
            (self._ports.http, self._ports.grpc, self._ports.metrics),
            strict=True,
        )
        for wanted, used in pairs:
            try:
                check_port(used, "another port")
            except PortInUseError:
                return wanted == 0
        return False

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            atexit.unregister(self.stop)


def _check_repository(repository: Path) -> int:
    """Number of models in the repository; raises ServerError where there is none."""
    if not repository.is_dir():
        raise ServerError(f"{repository} is no folder; build a repository with: sightline build")
    count = len(model_names(repository))
    if count == 0:
        raise ServerError(f"{repository} holds no model (no */config.pbtxt); build one with: sightline build")
    return count


def _with_frames(repository: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The named models and, where there is one, the ensemble for raw frames of each."""
    found: list[str] = []
    for name in names:
        if not (repository / name / "config.pbtxt").is_file() or "/" in name:
            known = sorted(path.parent.name for path in repository.glob("*/sightline.json"))
            raise ServerError(f"model {name!r} is not in {repository}; it has {', '.join(known) or 'none'}")
        frames = f"{name}_frames"
        found += [name, frames] if (repository / frames / "config.pbtxt").is_file() else [name]
    return tuple(dict.fromkeys(found))
