# SPDX-License-Identifier: Apache-2.0
"""`sightline doctor`: its table, its honesty, its patience."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sightline.deploy.doctor import (
    CHECKS,
    Check,
    Found,
    Result,
    Status,
    is_main_road_open,
    machine,
    run_checks,
    serving,
)
from sightline.deploy.doctor.check import command_output, imported, install_command, package
from sightline.errors import MissingDependencyError


@pytest.fixture(scope="module")
def done() -> subprocess.CompletedProcess[str]:
    """The command as people run it."""
    command = [sys.executable, "-m", "sightline.cli", "doctor", "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def results(done: subprocess.CompletedProcess[str]) -> list[Result]:
    checks = json.loads(done.stdout)["checks"]
    return [Result(**{**check, "status": Status(check["status"])}) for check in checks]


def test_every_part_that_matters_is_looked_at(results: list[Result]) -> None:
    names = {result.name for result in results}
    wanted = (
        "Python, processor, memory, disk, shared memory, open files, GPU, Jetson, native core, onnx, OpenVINO"
    )
    wanted += (
        ", TensorRT, DALI, Triton, numpy, tritonclient, Docker, PyAV, FFmpeg program, RTSP server, browser"
    )
    wanted += ", perf_analyzer, port 8000, port 8001, port 8002, port 8080, port 8554"
    assert set(wanted.split(", ")) <= names
    assert len(names) == len(CHECKS)


def test_results_are_honest(results: list[Result]) -> None:
    for result in results:
        assert result.detail, result
        assert "the check failed" not in result.detail, result
        if result.status is Status.MISSING:
            assert result.fix, result


def test_engine_names_its_known_risk(results: list[Result]) -> None:
    triton = next(result for result in results if result.name == "Triton")
    assert triton.status is Status.OK, triton
    for words in ("2.51.0", "24.10", "CVE", "127.0.0.1 only"):
        assert words in triton.detail


def test_processor_tells_cores_and_features(results: list[Result]) -> None:
    detail = next(result for result in results if result.name == "processor").detail
    assert f"{len(os.sched_getaffinity(0))} cores" in detail
    flags = Path("/proc/cpuinfo").read_text()
    assert ("avx2" in detail) is (" avx2 " in flags)


@pytest.mark.parametrize(
    ("needed", "is_there", "status", "is_open"),
    [
        (True, True, Status.OK, True),
        (True, False, Status.MISSING, False),
        (False, True, Status.OK, True),
        (False, False, Status.OPTIONAL, True),
    ],
)
def test_status_and_main_road(needed: bool, is_there: bool, status: Status, is_open: bool) -> None:
    found = run_checks([Check("group", "name", needed, lambda: Found(is_there, "detail", "apt install x"))])
    assert found == [Result("group", "name", status, "detail", "" if is_there else "apt install x")]
    assert is_main_road_open(found) is is_open


def test_hanging_and_failing_checks_do_not_hold_up_the_report() -> None:
    end = threading.Event()

    def hang() -> Found:
        end.wait(300)
        return Found(True, "late")

    def fail() -> Found:
        raise RuntimeError("rtsp://user:geheim@camera")

    checks = [Check("a", "hangs", True, hang), Check("a", "fails", False, fail)]
    checks.append(Check("a", "works", True, lambda: Found(True, "fine")))
    hung, failed, fine = run_checks(checks, timeout_seconds=8)
    assert not end.is_set()
    end.set()
    assert (hung.status, hung.detail) == (Status.MISSING, "no answer in 8 s")
    assert failed.status is Status.OPTIONAL
    assert "geheim" not in failed.detail
    assert fine.status is Status.OK


def test_a_program_that_hangs_is_given_up() -> None:
    assert command_output(["sleep", "60"], timeout_seconds=0.2) == (127, "no answer in 0.2 s")
    assert command_output(["no-such-program-here"]) == (127, "No such file or directory")


def test_taken_port_names_its_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        found = machine.port(holder.getsockname()[1], "HTTP", "--http-port")()
    assert not found.is_there
    assert f"PID {os.getpid()}" in found.detail
    assert "--http-port" in found.fix


def test_packages_are_found_by_loading_them() -> None:
    assert package("numpy")().is_there
    absent = package("no-such-package-here", purpose="for nothing")()
    assert absent == Found(False, "for nothing", "pip install no-such-package-here")
    broken = imported("numpy", "raise ImportError('libx.so.1: cannot open')")()
    assert not broken.is_there
    assert "libx.so.1" in broken.detail


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("nvidia-pytriton", "pip install 'sightline[server]'"),
        ("av", "pip install 'sightline[watch]'"),
        ("numpy", "pip install --force-reinstall sightline"),
        ("other", "pip install other"),
    ],
)
def test_the_extra_that_lists_a_package_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    listed = ["numpy>=1.24", 'av>=14; extra == "watch"', "nvidia-pytriton==0.7.0 ; extra == 'server'"]
    listed.append('av-other>=1; extra == "server"')
    monkeypatch.setattr("sightline.deploy.doctor.check.requires", lambda distribution: listed)
    assert install_command(name) == command


def test_absent_engine_is_missing_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise MissingDependencyError("tritonserver is not installed: pip install 'sightline[server]'")

    monkeypatch.setattr(serving, "find_engine", absent)
    assert serving.triton() == Found(
        False, "tritonserver is not installed", "pip install 'sightline[server]'"
    )


def test_command_prints_json_and_its_exit_status_is_the_main_road(
    done: subprocess.CompletedProcess[str],
) -> None:
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1), done.stderr
    assert {"group", "name", "status", "detail", "fix"} == set(report["checks"][0])
    assert report["ok"] == all(check["status"] != "missing" for check in report["checks"])


def test_command_prints_a_table_for_people() -> None:
    from sightline.cli import app

    text = CliRunner().invoke(app, ["doctor"]).output
    for name in ("machine", "build", "serve", "watch", "The main road is"):
        assert name in text


def test_containers_table_holds_no_guess() -> None:
    from sightline.cli import app

    rows = json.loads(CliRunner().invoke(app, ["doctor", "--containers", "--json"]).output)
    assert {"Triton container", "DeepStream", "JetPack"} == {row["product"] for row in rows}
    assert all(all(row.values()) for row in rows)
    assert "26.04" in CliRunner().invoke(app, ["doctor", "--containers"]).output
