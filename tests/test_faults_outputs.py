# SPDX-License-Identifier: Apache-2.0
"""Faults of brokers, disks, receivers, viewers and of the inference server, provoked a few times each with real ones.

Counts must be exact; times may miss their limits by a factor here (see test_faults_cameras.py), and where only they miss
them, or pictures of cameras that a starved reader did not fetch, they are measured once more.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from sightline.errors import BadInputError
from sightline.perf.faults.command import SCENARIOS, run_faults
from sightline.perf.faults.figure import Figure, Limit, Scenario, exactly
from sightline.perf.faults.serving import killed_tritonserver
from sightline.perf.faults.sinks import brokers_away, full_disk, slow_webhook
from sightline.perf.faults.slow import slow_viewers
from tests.faults_parts import SLACK, measured


@pytest.mark.parametrize(
    "scenario", [brokers_away, full_disk, slow_webhook, slow_viewers], ids=lambda scenario: scenario.__name__
)
def test_no_event_is_lost_and_nobody_waits_for_who_is_slow(scenario: Scenario) -> None:
    figure = measured(lambda: scenario(False), lambda: scenario(False))
    assert figure.times > 0
    assert not figure.broken_beyond(SLACK), figure.more


def test_a_killed_tritonserver_costs_no_event_and_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    # the session's server may be at work in the repository
    own = shutil.copytree(repository, tmp_path / "repository", symlinks=True)
    figure = measured(lambda: killed_tritonserver(False, own), lambda: killed_tritonserver(False, own))
    assert figure.more["restarts"] >= figure.times
    assert not figure.broken_beyond(SLACK), figure.more


def test_a_limit_says_what_it_asks_for() -> None:
    assert exactly("lost", 0).holds
    assert not exactly("lost", 1).holds_loosely(SLACK)
    assert exactly("lost", 1).wanted == "= 0"
    assert Limit("seconds", 6, 5).holds_loosely(SLACK)
    assert not Limit("seconds", 21, 5).holds_loosely(SLACK)
    assert Limit("share", 0.5, at_least=0.9).wanted == "≥ 0.9"


def test_the_command_keeps_rows_and_writes_what_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(full: bool) -> Figure:
        raise TimeoutError("cameras did not come up")

    monkeypatch.setitem(SCENARIOS, "full_disk", broken)
    console = Console(quiet=True)
    run_faults(["away_an_hour"], False, tmp_path, console)
    run_faults(["full_disk"], False, tmp_path, console)
    rows = json.loads((tmp_path / "faults.json").read_text())["rows"]
    assert rows["away_an_hour"]["holds"]
    assert not rows["full_disk"]["holds"]
    text = (tmp_path / "faults.md").read_text()
    assert "| holds |" in text
    assert "cameras did not come up" in text
    with pytest.raises(BadInputError, match="there is no fault 'rain'"):
        run_faults(["rain"], False, tmp_path, console)
