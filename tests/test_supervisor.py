# SPDX-License-Identifier: Apache-2.0
"""The supervisor's state machine as tables: events in, steps and states out."""

from __future__ import annotations

import pytest

from sightline.deploy.local.supervisor import Action, Health, RestartPolicy, State, Supervisor

POLICY = RestartPolicy(jitter=0.0, ready_timeout_seconds=30.0)


def supervisor(policy: RestartPolicy = POLICY) -> Supervisor:
    return Supervisor(policy, chance=lambda: 0.5)


def ready(policy: RestartPolicy = POLICY) -> Supervisor:
    machine = supervisor(policy)
    machine.start()
    machine.spawned(0.0)
    machine.checked(1.0, Health.OK)
    assert machine.state is State.READY
    return machine


def crash(machine: Supervisor, at: float) -> float:
    """Death at `at`, then ready again 1 s after the delayed start; returns the delay."""
    step = machine.exited(at, "killed by SIGKILL")
    assert step.action is Action.SPAWN
    assert machine.state is State.RESTARTING
    machine.spawned(at + step.delay_seconds)
    machine.checked(at + step.delay_seconds + 0.1, Health.OK)
    return step.delay_seconds


def test_start_waits_for_the_canary() -> None:
    machine = supervisor()
    assert machine.start().action is Action.SPAWN
    machine.spawned(0.0)
    assert machine.checked(0.5, Health.FAILED, "connection refused").action is Action.NONE
    assert machine.state is State.STARTING
    machine.checked(0.6, Health.OK)
    assert machine.state is State.READY
    assert machine.restarts == 0


def test_death_before_the_first_ready_is_final() -> None:
    machine = supervisor()
    machine.start()
    machine.spawned(0.0)
    step = machine.exited(0.5, "exit status 1: weights are missing")
    assert step.action is Action.GIVE_UP
    assert "weights are missing" in step.message
    assert machine.state is State.FAILED


def test_never_ready_is_killed_and_keeps_its_reason() -> None:
    machine = supervisor()
    machine.start()
    machine.spawned(0.0)
    assert machine.checked(29.9, Health.FAILED, "x").action is Action.NONE
    step = machine.checked(30.0, Health.FAILED, "COUNT is -1")
    assert step.action is Action.KILL
    machine.exited(30.1, "killed by SIGKILL")
    assert machine.state is State.FAILED
    assert machine.reason == "not ready after 30 s: COUNT is -1"


@pytest.mark.parametrize(
    ("healths", "state", "action"),
    [
        ([Health.FAILED], State.READY, Action.NONE),
        ([Health.FAILED, Health.FAILED], State.UNHEALTHY, Action.KILL),
        ([Health.FAILED, Health.OK, Health.FAILED], State.READY, Action.NONE),
        ([Health.DEAD], State.UNHEALTHY, Action.KILL),
        ([Health.OK, Health.OK], State.READY, Action.NONE),
    ],
)
def test_canaries_while_ready(healths: list[Health], state: State, action: Action) -> None:
    machine = ready()
    for index, health in enumerate(healths):
        step = machine.checked(2.0 + index, health, "reason")
    assert (machine.state, step.action) == (state, action)


def test_unhealthy_is_restarted_and_tells_why() -> None:
    machine = ready()
    machine.checked(2.0, Health.DEAD, "the process of model instance a_0_0 has ended")
    assert machine.checked(2.1, Health.FAILED, "ignored").action is Action.NONE
    step = machine.exited(2.2, "killed by SIGKILL")
    assert (step.action, step.delay_seconds) == (Action.SPAWN, 0.0)
    assert "a_0_0" in step.message
    machine.spawned(2.3)
    assert machine.restarts == 1


def test_backoff_then_crash_loop() -> None:
    machine = ready()
    now, delays = 2.0, []
    for _ in range(6):
        delay = crash(machine, now)
        delays.append(delay)
        now += delay + 1.0
    assert delays == [0.0, 0.5, 1.0, 2.0, 60.0, 60.0]
    assert machine.restarts == 6


def test_crash_loop_is_loud_and_ends_when_stable() -> None:
    machine = ready()
    for at in range(2, 6):
        crash(machine, float(at))
    step = machine.exited(6.0, "killed by SIGSEGV")
    assert step.message.startswith("CRASH LOOP")
    assert "SIGSEGV" in step.message
    machine.spawned(66.0)
    machine.checked(67.0, Health.OK)
    machine.checked(100.0, Health.OK)
    assert machine.exited(101.0, "killed").delay_seconds == 60.0, "33 s of readiness are not yet stable"
    machine.spawned(161.0)
    machine.checked(162.0, Health.OK)
    machine.checked(222.0, Health.OK)
    assert machine.exited(223.0, "killed").delay_seconds == 0.0


def test_old_deaths_do_not_count() -> None:
    machine = ready()
    assert [crash(machine, at) for at in (2.0, 70.0, 140.0)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 0.4), (0.5, 0.5), (1.0, 0.6)])
def test_jitter_stays_within_its_share(chance: float, delay: float) -> None:
    machine = Supervisor(RestartPolicy(jitter=0.2), chance=lambda: chance)
    machine.start()
    machine.spawned(0.0)
    machine.checked(1.0, Health.OK)
    crash(machine, 2.0)
    assert crash(machine, 3.0) == pytest.approx(delay)


def test_failing_restart_goes_on_with_backoff() -> None:
    machine = ready()
    machine.exited(2.0, "killed")
    machine.spawned(2.0)
    step = machine.exited(2.1, "exit status 1")
    assert (step.action, step.delay_seconds) == (Action.SPAWN, 0.5)


def test_without_restart_a_death_is_final() -> None:
    machine = ready(RestartPolicy(enabled=False))
    assert machine.exited(2.0, "killed by SIGKILL").action is Action.GIVE_UP
    assert machine.state is State.FAILED


def test_stop_drains_and_a_death_then_is_no_crash() -> None:
    machine = ready()
    assert machine.stop().action is Action.DRAIN
    assert machine.checked(2.0, Health.FAILED, "closing").action is Action.NONE
    assert machine.exited(3.0, "exit status 0").action is Action.NONE
    assert machine.state is State.STOPPED
    assert machine.stop().action is Action.NONE
