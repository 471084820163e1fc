# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of kernels: equal results first, honest ratios, groups that cannot run are named."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sightline.cli import app
from sightline.errors import MissingDependencyError
from sightline.perf.kernels import bench, command
from sightline.perf.kernels.bench import Bench, Timing, copy_bandwidth, run_bench
from sightline.perf.kernels.document import document
from sightline.perf.kernels.groups import GROUPS


def equal() -> None:
    """Results are the same."""


def differ() -> None:
    raise ValueError("3 of 8 boxes")


def sleeper(seconds: float) -> bench.Call:
    return lambda: time.sleep(seconds)


class Clock:
    """Stands in for the module `time`; passes only where it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleeper(self, seconds: float) -> bench.Call:
        def call() -> None:
            self.now += seconds

        return call


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "STRETCH_SECONDS", 0.002)


def test_the_ratio_is_to_the_fastest_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(bench, "time", clock)
    peers = {"slow": clock.sleeper(0.4), "fast": clock.sleeper(0.02)}
    timing = run_bench(Bench("g", "c", clock.sleeper(0.002), peers, equal, goal=2), rounds=3)
    assert timing.fastest_peer == "fast"
    assert timing.ratio == pytest.approx(10)  # to the slow one: 200
    assert len(timing.ratios) == 3


def test_nothing_is_timed_where_results_differ() -> None:
    calls: list[int] = []
    with pytest.raises(ValueError, match="3 of 8"):
        run_bench(Bench("g", "c", lambda: calls.append(1), {"p": lambda: calls.append(2)}, differ))
    assert calls == []


def test_the_floor_is_bytes_over_bandwidth() -> None:
    timing = run_bench(
        Bench("g", "c", equal, {"p": equal}, equal, floor_bytes=1000), rounds=1, copy_bytes_per_second=1e6
    )
    assert timing.floor_seconds == pytest.approx(1e-3)
    assert 1e8 < copy_bandwidth() < 1e12


def test_the_document_says_on_what_and_what_was_not_measured() -> None:
    timing = Timing("g", "c", 1e-3, {"a": 4e-3, "b": 2e-3}, (2.0, 2.2, 1.9), 2.0)
    content = json.loads(json.dumps(document([timing], {"h": "not installed"}, 1e10)))
    assert content["not_measured"] == {"h": "not installed"}
    assert content["machine"]["instructions"]
    (row,) = content["rows"]
    assert (row["ratio"], row["fastest_peer"], row["ours_ms"]) == (2.0, "b", 1.0)


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_can_be_loaded(group: str) -> None:
    assert callable(importlib.import_module(f"sightline.perf.kernels.groups.{group}").benches)


def test_the_command_writes_what_it_measured_and_names_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def benches(group: str):  # type: ignore[no-untyped-def]
        if group == "rle":
            raise MissingDependencyError("pycocotools is not installed: pip install pycocotools")
        yield Bench(group, "one", equal, {"peer": sleeper(0.001)}, equal, goal=1.5)

    monkeypatch.setattr(command, "benches", benches)
    done = CliRunner().invoke(app, ["bench", "nms", "rle", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "pip install pycocotools" in done.output
    content = json.loads((tmp_path / "kernels.json").read_text(encoding="utf-8"))
    assert [row["group"] for row in content["rows"]] == ["nms"]
    assert (tmp_path / "kernels.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_group_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "speed", "--output", str(tmp_path)])
    assert done.exit_code != 0
    assert not list(tmp_path.iterdir())
