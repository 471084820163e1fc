# SPDX-License-Identifier: Apache-2.0
"""Carries out what the supervisor decides: processes, canaries, time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sightline.deploy.local.canary import Canary, Probe
from sightline.deploy.local.engine import Engine, server_environment
from sightline.deploy.local.flags import Ports, secret_arguments, server_arguments, write_argument_file
from sightline.deploy.local.logs import ServerLog, drain, failure_reason
from sightline.deploy.local.ports import LOOPBACK
from sightline.deploy.local.process import ServerProcess, Wakeup
from sightline.deploy.local.run_id import RunId
from sightline.deploy.local.stubs import StubWatch
from sightline.deploy.local.supervisor import Action, Health, RestartPolicy, State, Step, Supervisor
from sightline.deploy.local.sweep import end_processes, remove_regions, remove_temporary

CANARY_SECONDS = 2.0
STARTING_SECONDS = 0.1
DRAIN_SECONDS = 10
# Beyond the drain itself; a stub that died makes Triton wait for it in vain.
KILL_GRACE_SECONDS = 3.0
_LOADED = re.compile(r"successfully loaded '([^']+)'")
_DRAINED = "All models are stopped, unloading models"


@dataclass(frozen=True)
class Plan:
    """All that is needed to spawn the same server again and again."""

    engine: Engine
    run: RunId
    folder: Path
    backends: Path
    repository: Path
    ports: Ports
    models: tuple[str, ...]
    model_count: int
    token: str


class Runner:
    """Runs one server until it is stopped or cannot be started. `run` is for one thread, the rest for any."""

    def __init__(
        self,
        plan: Plan,
        policy: RestartPolicy,
        log: ServerLog,
        publish: Callable[[State], None],
        tell: Callable[[str], None],
    ) -> None:
        self.pid: int | None = None
        self.targets: tuple[str, ...] = ()
        self._plan = plan
        self._supervisor = Supervisor(policy)
        self._log = log
        self._publish = publish
        self._tell = tell
        self._wakeup = Wakeup()
        self._stop_wanted = False
        self._kill_wanted = False
        self._loaded: set[str] = set()
        self._drained_at: float | None = None
        self._environment = server_environment(plan.engine, plan.run)

    @property
    def state(self) -> State:
        """The supervisor's state."""
        return self._supervisor.state

    @property
    def restarts(self) -> int:
        """How often the server was started anew."""
        return self._supervisor.restarts

    @property
    def reason(self) -> str:
        """Why the server ended last."""
        return self._supervisor.reason

    def stop(self, *, kill: bool = False) -> None:
        """Ask for the end: drained, or at once."""
        self._stop_wanted = True
        self._kill_wanted = self._kill_wanted or kill
        self._wakeup.set()

    def run(self) -> None:
        """Start, watch and restart until stopped or failed; no process and no region is left afterwards."""
        step = self._supervisor.start()
        while step.action is Action.SPAWN and self._pause(step):
            step = self._live_once()
        if self._supervisor.state not in (State.FAILED, State.STOPPED):
            self._supervisor.stop()
            self._supervisor.exited(time.monotonic(), "stopped")

    def close(self) -> None:
        """Give descriptors back, after `run` has returned."""
        self._wakeup.close()

    def _pause(self, step: Step) -> bool:
        """Wait before a start; False where the stop came first."""
        self._say(step)
        self._publish(self.state)
        deadline = time.monotonic() + step.delay_seconds
        while not self._stop_wanted and time.monotonic() < deadline:
            time.sleep(min(0.1, max(0.0, deadline - time.monotonic())))
        return not self._stop_wanted

    def _live_once(self) -> Step:
        """One process from its spawn to its burial."""
        self._loaded.clear()
        self._drained_at = None
        self._log.new_life(f"start {self._supervisor.restarts + 1}")
        try:
            process = self._spawn()
        except OSError as error:
            self._supervisor.spawned(time.monotonic())
            return self._supervisor.exited(time.monotonic(), f"tritonserver cannot be started: {error}")
        pump = drain(process.output(), self._log, self._read_line)
        canary: Canary | None = None
        try:
            self._supervisor.spawned(time.monotonic())
            self._publish(self.state)
            canary = Canary(f"{LOOPBACK}:{self._plan.ports.grpc}", self._plan.token)
            self._watch(process, canary)
        finally:
            if canary is not None:
                canary.close()
            status = self._bury(process)
            pump.join(timeout=5)
        return self._supervisor.exited(time.monotonic(), self._explain(status))

    def _spawn(self) -> ServerProcess:
        plan = self._plan
        arguments_file = plan.folder / "arguments"
        write_argument_file(arguments_file, secret_arguments(plan.token))
        arguments = server_arguments(
            plan.repository,
            plan.backends,
            plan.engine.openvino,
            plan.ports,
            plan.run.region_prefix,
            plan.models,
            exit_seconds=DRAIN_SECONDS,
        )
        command = [str(plan.engine.executable), f"@args:{arguments_file}", *arguments]
        process = ServerProcess(command, self._environment, plan.folder, plan.engine.argfile)
        self.pid = process.pid
        return process

    def _watch(self, process: ServerProcess, canary: Canary) -> None:
        """Return when the process has ended."""
        stubs = StubWatch(process.pid)
        drain_deadline: float | None = None
        next_probe = 0.0
        while not process.wait(self._patience(next_probe, drain_deadline), self._wakeup):
            self._wakeup.clear()
            now = time.monotonic()
            if self._kill_wanted:
                self._supervisor.stop()
                process.kill_group()
            elif drain_deadline is not None:
                if now > drain_deadline or (self._drained_at and now > self._drained_at + KILL_GRACE_SECONDS):
                    process.kill_group()
            elif self._stop_wanted:
                self._supervisor.stop()
                self._publish(self.state)
                process.terminate()
                drain_deadline = now + DRAIN_SECONDS + KILL_GRACE_SECONDS
            elif now >= next_probe:
                probe = self._probe(canary, stubs)
                if process.has_ended():  # a failed probe of a dead process says nothing new
                    continue
                before = self.state
                self.targets = canary.targets or self.targets
                self._judge(probe, process)
                if self.state is State.READY and before is not State.READY:
                    stubs.remember()
                pause = CANARY_SECONDS if self.state is State.READY else STARTING_SECONDS
                next_probe = time.monotonic() + pause

    def _patience(self, next_probe: float, drain_deadline: float | None) -> float:
        if drain_deadline is not None:
            return STARTING_SECONDS
        return max(0.0, next_probe - time.monotonic())

    def _probe(self, canary: Canary, stubs: StubWatch) -> Probe:
        try:
            dead = stubs.dead(canary.ready_models) if self.state is State.READY else ""
            if dead:
                return Probe(Health.DEAD, f"the process of model instance {dead} has ended")
            return canary.probe()
        except Exception as error:  # whatever the client library raises: the watch must go on
            return Probe(Health.FAILED, f"canary: {type(error).__name__}: {error}")

    def _judge(self, probe: Probe, process: ServerProcess) -> None:
        before = self.state
        step = self._supervisor.checked(time.monotonic(), probe.health, probe.reason)
        if self.state is not before:
            self._publish(self.state)
        self._say(step)
        if step.action is Action.KILL:
            process.kill_group()
        elif before is State.STARTING and self.state is State.STARTING and self._loaded:
            self._tell(self._loading())

    def _bury(self, process: ServerProcess) -> str:
        """End whatever still lives of this process, then its regions; returns the exit status in words."""
        process.kill_group()
        status = process.reap()
        self.pid = None
        end_processes(self._plan.run, process.pid)
        remove_regions(self._plan.run)
        remove_temporary(self._plan.folder)
        return status

    def _explain(self, status: str) -> str:
        if status.startswith("killed"):
            return f"tritonserver was {status}"
        return f"tritonserver ended with {status}: {failure_reason(self._log.lines())}"

    def _read_line(self, line: str) -> None:
        match = _LOADED.search(line)
        if match:
            self._loaded.add(match.group(1))
        elif _DRAINED in line:
            self._drained_at = time.monotonic()

    def _loading(self) -> str:
        done, total = len(self._loaded), self._plan.model_count
        return f"loading models {done}/{total}" if done < total else "canary inference through each model"

    def _say(self, step: Step) -> None:
        if step.message and step.action is not Action.GIVE_UP:
            self._log.write(f"--- {step.message} ---")
            self._tell(step.message)
