# SPDX-License-Identifier: Apache-2.0
"""When to start, kill and restart a server: a state machine without I/O, clock or chance of its own."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """Life of a server; the values are what the state file and `LocalServer.state` show."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    FAILED = "failed"


class Health(Enum):
    """What a canary found. DEAD is beyond doubt (a part of the server has ended) and needs no second look."""

    OK = "ok"
    FAILED = "failed"
    DEAD = "dead"


class Action(Enum):
    """What the caller must do next."""

    NONE = "none"
    SPAWN = "spawn"
    KILL = "kill"
    DRAIN = "drain"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Step:
    """One action, after `delay_seconds`, and a line for people where there is something to say."""

    action: Action
    delay_seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class RestartPolicy:
    """The first restart is immediate, the next wait base * 2^n up to the maximum, give or take the jitter.

    `crash_limit` deaths within `crash_window_seconds` are a crash loop: from then on every restart waits
    `slow_delay_seconds`, until the server has been ready for `stable_seconds`. `jitter` is a share of 1.
    """

    enabled: bool = True
    base_delay_seconds: float = 0.5
    max_delay_seconds: float = 30.0
    jitter: float = 0.2
    crash_limit: int = 5
    crash_window_seconds: float = 60.0
    slow_delay_seconds: float = 60.0
    stable_seconds: float = 60.0
    canary_failures: int = 2
    ready_timeout_seconds: float = 120.0


NOTHING = Step(Action.NONE)


class Supervisor:
    """Fed with events and the time of a monotonic clock; answers with the next step. Not thread safe."""

    def __init__(self, policy: RestartPolicy, *, chance: Callable[[], float] = random.random) -> None:
        self.state = State.STOPPED
        self.restarts = 0
        self.reason = ""
        self._policy = policy
        self._chance = chance
        self._deaths: deque[float] = deque()
        self._was_ready = False
        self._crash_looping = False
        self._failures = 0
        self._spawned_at = 0.0
        self._ready_at = 0.0

    def start(self) -> Step:
        """The server is wanted."""
        self.state = State.STARTING
        return Step(Action.SPAWN)

    def spawned(self, now: float) -> None:
        """The process runs; its canary is next."""
        self._spawned_at = now
        self._failures = 0
        if self._deaths or self._was_ready:
            self.restarts += 1

    def checked(self, now: float, health: Health, reason: str = "") -> Step:
        """A canary came back."""
        if self.state in (State.STARTING, State.RESTARTING):
            return self._checked_while_starting(now, health, reason)
        if self.state is not State.READY:
            return NOTHING
        if health is Health.OK:
            self._failures = 0
            if now - self._ready_at >= self._policy.stable_seconds:
                self._crash_looping = False
                self._deaths.clear()
            return NOTHING
        self._failures += 1
        if health is not Health.DEAD and self._failures < self._policy.canary_failures:
            return NOTHING
        self.state, self.reason = State.UNHEALTHY, reason
        return Step(Action.KILL, message=f"the server is unhealthy: {reason}; it is ended and started anew")

    def exited(self, now: float, reason: str) -> Step:
        """The process has ended, by itself or because of our kill."""
        if self.state is State.STOPPING:
            self.state = State.STOPPED
            return NOTHING
        if self.state is not State.UNHEALTHY or not self.reason:
            self.reason = reason
        if not self._was_ready or not self._policy.enabled:
            self.state = State.FAILED
            return Step(Action.GIVE_UP, message=self.reason)
        self.state = State.RESTARTING
        return self._restart(now)

    def stop(self) -> Step:
        """The server is no longer wanted; no process runs after `exited` (or now, where none ran)."""
        if self.state in (State.STOPPED, State.FAILED):
            return NOTHING
        self.state = State.STOPPING
        return Step(Action.DRAIN)

    def _checked_while_starting(self, now: float, health: Health, reason: str) -> Step:
        if health is Health.OK:
            self.state, self._was_ready, self._ready_at, self._failures = State.READY, True, now, 0
            return NOTHING
        if now - self._spawned_at < self._policy.ready_timeout_seconds:
            return NOTHING
        self.reason = f"not ready after {self._policy.ready_timeout_seconds:g} s: {reason}"
        self.state = State.UNHEALTHY
        return Step(Action.KILL, message=self.reason)

    def _restart(self, now: float) -> Step:
        policy = self._policy
        self._deaths.append(now)
        while self._deaths and now - self._deaths[0] > policy.crash_window_seconds:
            self._deaths.popleft()
        count = len(self._deaths)
        if count >= policy.crash_limit:
            self._crash_looping = True
        if self._crash_looping:
            delay = self._jittered(policy.slow_delay_seconds)
            return Step(
                Action.SPAWN,
                delay,
                f"CRASH LOOP, see the log: the server keeps ending ({self.reason}); next in {delay:.0f} s",
            )
        if count == 1:
            return Step(Action.SPAWN, 0.0, f"the server has ended ({self.reason}); starting it anew")
        delay = self._jittered(min(policy.base_delay_seconds * 2 ** (count - 2), policy.max_delay_seconds))
        return Step(
            Action.SPAWN,
            delay,
            f"the server has ended again ({self.reason}); starting it anew in {delay:.1f} s",
        )

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 + self._policy.jitter * (2 * self._chance() - 1))
