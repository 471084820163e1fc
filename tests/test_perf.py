# SPDX-License-Identifier: Apache-2.0
"""Load tests: the reader of perf_analyzer's report, the figures made from it, and a short real run."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from sightline.errors import (
    BadInputError,
    InferenceError,
    MissingDependencyError,
    ModelNotFoundError,
    ProtocolError,
    ServerError,
    ServerUnavailable,
)
from sightline.perf.analyzer import binary, inputs
from sightline.perf.analyzer import run as run_module
from sightline.perf.analyzer.bare import BareLoop, BareRun
from sightline.perf.analyzer.binary import find_analyzer
from sightline.perf.analyzer.command import Plan, parsed_concurrencies, run_perf
from sightline.perf.analyzer.processes import cpu_between, part_of
from sightline.perf.analyzer.report import CpuSeconds, Latency, LoadPoint, StageTime, parse_csv
from sightline.perf.analyzer.run import Load, exclusive_use, run_load
from sightline.perf.analyzer.statistics import ServerStatistics, stage_times
from sightline.perf.analyzer.tax import ServingTax, engine_file
from tests.perf_parts import only_perf_analyzer

SAMPLE = Path(__file__).parent / "data" / "perf_analyzer.csv"
PNG = b"\x89PNG\r\n\x1a\n"


class TestReport:
    def test_reads_a_real_csv(self) -> None:
        rows = parse_csv(SAMPLE.read_text(encoding="utf-8"))
        assert [row.concurrency for row in rows] == [1, 2, 3, 4], "the file has them in another order"
        assert rows[0].frames_per_second == 49.1628
        assert (rows[0].p50_ms, rows[0].p90_ms, rows[0].p95_ms, rows[0].p99_ms) == (
            17.372,
            26.776,
            29.627,
            32.892,
        )
        assert rows[0].average_ms == 19.422
        assert rows[3].p99_ms == 107.632
        for row in rows:
            assert row.p50_ms <= row.p90_ms <= row.p95_ms <= row.p99_ms

    @pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "Concurrency,Inferences/Second\n1,2\n"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ProtocolError, match="CSV"):
            parse_csv(text)

    def test_a_cell_that_is_no_number_is_refused(self) -> None:
        text = SAMPLE.read_text(encoding="utf-8").replace("49.1628", "fast")
        with pytest.raises(ProtocolError, match="fast"):
            parse_csv(text)


def test_stage_times_are_means_of_the_difference() -> None:
    fields = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    before = {"m": dict.fromkeys(fields, (10, 10000000))}
    after = {"m": {field: (14, 10_000_000 + 4_000_000 * n) for n, field in enumerate(fields)}}
    (stage,) = stage_times(before, after)
    assert (stage.requests, stage.failed) == (4, 4)
    assert (stage.queue_ms, stage.input_ms, stage.infer_ms, stage.output_ms) == (2.0, 3.0, 4.0, 5.0)
    (idle,) = stage_times(after, after)
    assert (idle.requests, idle.total_ms) == (0, 0.0)


def test_cpu_is_told_apart_by_part() -> None:
    stub = "/x/triton_python_backend_stub"
    assert part_of([stub, "/models/my_network/1/model.py", "region"]) == "my_network"
    assert part_of(["/opt/bin/tritonserver", "--http-port=0"]) == "tritonserver"
    assert part_of(["/usr/bin/python3", "x.py"]) is None
    assert part_of([]) is None
    before = {(1, "tritonserver"): 1.0, (2, "a"): 5.0, (9, "gone"): 7.0}
    after = {(1, "tritonserver"): 1.5, (2, "a"): 5.0, (3, "a"): 0.25}
    assert cpu_between(before, after) == {"tritonserver": 0.5, "a": 0.25}


def _point(rate: float, parts: dict[str, float], frames: int = 100) -> LoadPoint:
    stage = StageTime("m_network", frames, 0, 1.0, 0.1, 10.0, 0.2)
    latency = Latency(2, rate, 20.0, 19.0, 25.0, 27.0, 30.0, 0.1, 0.1)
    return LoadPoint(latency, (stage,), CpuSeconds(frames, parts), 2.0)


def test_tax_is_the_median_of_the_rounds() -> None:
    parts = {"m_network": 1.1, "tritonserver": 0.2, "perf_analyzer": 0.1}
    served = tuple(_point(rate, parts) for rate in (80.0, 45.0, 90.0))
    bare = (BareRun(200, 2.0, 2.0), BareRun(100, 2.0, 1.0), BareRun(200, 2.0, 2.0))
    tax = ServingTax("m_frames", 2, 2, served, bare)
    assert tax.ratios == [0.8, 0.9, 0.9]
    assert tax.ratio == 0.9
    assert tax.bare_cpu_ms == 10.0
    assert tax.cpu_ratio == pytest.approx(10.0 / 14.0)
    assert tax.server_cpu_ratio == pytest.approx(10.0 / 13.0)
    assert tax.bare_core_share == 0.5


@pytest.mark.parametrize(("text", "numbers"), [("1", (1,)), ("8,1,2,2", (1, 2, 8)), ("256", (256,))])
def test_concurrencies(text: str, numbers: tuple[int, ...]) -> None:
    assert parsed_concurrencies(text) == numbers


@pytest.mark.parametrize("text", ["", "0", "1,", "a", "1;2", "257", "-1"])
def test_bad_concurrencies(text: str) -> None:
    with pytest.raises(BadInputError, match="concurrency"):
        parsed_concurrencies(text)


class TestBinary:
    def test_the_real_one_runs(self) -> None:
        analyzer = find_analyzer()
        version = subprocess.run(
            [analyzer.executable, "--version"], env=analyzer.environment, capture_output=True, text=True
        )
        assert binary.VERSION in version.stdout + version.stderr

    @pytest.mark.parametrize(
        ("library", "hint"), [("libb64.so.0d", "libb64-0d"), ("libcudart.so.12", "nvidia-cuda-runtime-cu12")]
    )
    def test_a_missing_library_is_named_with_its_package(
        self, library: str, hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        fake = tmp_path / "perf_analyzer"
        fake.write_text(
            f"#!/bin/sh\necho 'error while loading shared libraries: {library}: cannot open' >&2\nexit 127\n"
        )
        fake.chmod(0o755)
        monkeypatch.setattr(binary, "_executable", lambda: fake)
        with pytest.raises(MissingDependencyError, match=hint) as caught:
            find_analyzer()
        assert library in str(caught.value)

    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binary, "files", lambda _name: [])
        with pytest.raises(MissingDependencyError, match=r"sightline\[perf\]"):
            find_analyzer()


@pytest.fixture(scope="module", autouse=True)
def _alone() -> Iterator[None]:
    with only_perf_analyzer():
        yield


@pytest.fixture(scope="module", autouse=True)
def _drawn_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "drawn_frames", functools.cache(inputs.drawn_frames))
        yield


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    return inputs.drawn_frames()[:2]


class TestInputs:
    def test_frames_follow_the_wire_contract(self, frames: list[Any], tmp_path: Path) -> None:
        size = inputs.write_inputs(tmp_path / "x.json", "frames", frames)
        first, second = json.loads((tmp_path / "x.json").read_text())["data"]
        assert first["FRAME"]["shape"] == [1280 * 720 * 3 // 2]
        assert first["FRAME_INFO"]["shape"] == [4]
        assert size == 1280 * 720 * 3 // 2 + 16
        assert first["FRAME"]["b64"] != second["FRAME"]["b64"]

    def test_network_tensors_are_the_letterboxed_frames(self, frames: list[Any]) -> None:
        tensors = inputs.network_tensors(frames, {"size": [384, 224], "mean": [0.0] * 3, "std": [255.0] * 3})
        assert tensors.shape == (2, 3, 224, 384)
        assert tensors.min() >= 0.0
        assert tensors.max() <= 1.0
        picture = tensors[0, :, 4:220].mean(axis=(1, 2)) * 255  # between the bars of 16:9 in 12:7
        np.testing.assert_allclose(picture, frames[0].mean(axis=(0, 1)), atol=4)


def test_two_at_once_are_refused() -> None:
    with exclusive_use(), pytest.raises(ServerError, match="another"), exclusive_use():
        pass
    with exclusive_use():
        pass


def test_no_server_is_explained() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    statistics = ServerStatistics(f"127.0.0.1:{port}")
    with pytest.raises(ServerUnavailable, match=str(port)):
        statistics.version()
    statistics.close()


def _command(server: Any, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "sightline.cli", "perf", *arguments, "--server", server.grpc_address]


def _regions() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir() if path.name[0].isupper()}


def _held(server: Any, token: str) -> set[str]:
    """Regions that the server maps."""
    import tritonclient.grpc as triton

    from sightline.runtime import TOKEN_KEY

    with triton.InferenceServerClient(server.grpc_address) as client:
        headers = {f"triton-grpc-protocol-{TOKEN_KEY}": token}
        return set(client.get_system_shared_memory_status(headers=headers).regions)


@pytest.fixture(scope="module")
def run(server: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One short real run: folder and terminal text."""
    folder, text = tmp_path_factory.mktemp("perf"), io.StringIO()
    plan = Plan("street_detect", server.grpc_address, (2,), "frames", 0.6, folder, tax=True, rounds=3)
    run_perf(plan, Console(file=text))
    return folder, text.getvalue()


class TestRealRun:
    def test_document(self, run: tuple[Path, str]) -> None:
        content = json.loads((run[0] / "perf.json").read_text())
        assert content["model"] == "street_detect_frames"
        assert content["shared_memory"] is True
        assert content["triton"] == "2.51.0"
        (point,) = content["points"]
        assert point["concurrency"] == 2
        assert point["frames_per_second"] > 0
        assert 0 < point["p50_ms"] <= point["p90_ms"] <= point["p95_ms"] <= point["p99_ms"]
        assert point["server_cpu_seconds"] > 0
        assert point["client_cpu_seconds"] > 0
        stages = [stage["model"] for stage in point["stages"]]
        assert stages == [f"street_detect_v1_{stage}" for stage in ("letterbox", "network", "postprocess")]
        for stage in point["stages"]:
            assert stage["failed"] == 0
            assert stage["requests"] > 0
            assert stage["infer_ms"] > 0
        assert {"tritonserver", "perf_analyzer"} <= point["cpu_ms_a_frame"].keys()

    def test_serving_tax(self, run: tuple[Path, str]) -> None:
        tax = json.loads((run[0] / "perf.json").read_text())["serving_tax"]
        assert len(tax["ratios"]) == tax["rounds"] == len(tax["bare_frames_per_second"])
        assert (
            0 < tax["cpu_ratio"] < 1.2
        )  # CPU time: what a loaded machine does to frame rates does not matter
        assert min(tax["ratios"]) <= tax["ratio"] <= max(tax["ratios"])
        assert tax["ratio"] > 0
        if tax["bare_core_share"] > 0.95:
            assert tax["ratio"] < 1.2
        assert tax["served_cpu_ms_a_frame"]["tritonserver"] > 0.5 * tax["bare_cpu_ms_a_frame"]

    def test_picture(self, run: tuple[Path, str]) -> None:
        from PIL import Image

        path = run[0] / "perf.png"
        assert path.read_bytes().startswith(PNG)
        with Image.open(path) as image:
            assert image.width >= 1000
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 50, "the picture is empty"

    def test_table_says_exactly_what_the_tax_is(self, run: tuple[Path, str]) -> None:
        text = " ".join(run[1].split())
        assert "Serving tax: " in text
        assert "frames/s of a bare OpenVINO loop with the same engine" in text
        assert "perf_analyzer on the same" in text

    def test_leaves_no_region(self, run: tuple[Path, str]) -> None:
        assert not _regions() & {"FRAME_0_0", "BOXES", "COUNT"}


@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_nothing(server: Any, tmp_path: Path, order: signal.Signals) -> None:
    """Nor is the token to be read while it runs."""
    import psutil

    from sightline.runtime import read_state

    state = read_state(int(server.grpc_address.rsplit(":", 1)[1]))
    assert state
    arguments = ["street_detect", "--concurrency", "2", "--seconds", "60", "--no-tax", "--output"]
    process = subprocess.Popen(
        _command(server, *arguments, str(tmp_path)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 240
        while "FRAME_0_0" not in _held(server, state.token):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        children = psutil.Process(process.pid).children()
        lines = [" ".join([*child.cmdline(), *child.environ().values()]) for child in children]
        assert any("--shared-memory system" in line for line in lines)
        assert not any(state.token in line for line in lines)
        process.send_signal(order)
        process.wait(120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode not in (0, -signal.SIGKILL)
    assert psutil.wait_procs(children, 30)[1] == []
    assert "FRAME_0_0" not in _regions()
    assert not list(tmp_path.iterdir())
    assert not [name for name in _held(server, state.token) if name.startswith("FRAME")], (
        "the server still maps regions of the dead"
    )


@pytest.mark.parametrize("kind", inputs.INPUTS)
def test_each_kind_of_input_through_grpc(server: Any, tmp_path: Path, kind: str) -> None:
    frames = inputs.drawn_frames()[:1]
    path = tmp_path / "input.json"
    inputs.write_inputs(path, kind, frames, {"size": [384, 224], "mean": [0.0] * 3, "std": [255.0] * 3})
    statistics = ServerStatistics(server.grpc_address)
    load = Load(find_analyzer(), server.grpc_address, inputs.target("street_detect", kind).model, path)
    point = run_load(load, 1, 0.6, statistics, None)
    statistics.close()
    assert point.latency.frames_per_second > 0
    assert point.cpu.parts.keys() == {"perf_analyzer"}
    assert len(point.stages) == (1 if kind == "network" else 3)
    assert all(stage.requests > 0 and stage.failed == 0 for stage in point.stages)


def test_a_window_without_an_answer_is_measured_again(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run ends as perf_analyzer does then; the second is a real one."""
    path = tmp_path / "input.json"
    inputs.write_inputs(path, "frames", inputs.drawn_frames()[:1], {})
    statistics = ServerStatistics(server.grpc_address)
    load = Load(find_analyzer(), server.grpc_address, "street_detect_frames", path)
    windows: list[str] = []
    run = run_module._run

    def first_empty(command: list[str], *others: Any) -> tuple[str, int, float]:
        windows.append(command[command.index("-p") + 1])
        if len(windows) == 1:
            return (
                "Failed to obtain stable measurement within 3 measurement windows for concurrency 1.",
                2,
                0.1,
            )
        return run(command, *others)

    monkeypatch.setattr(run_module, "_run", first_empty)
    point = run_load(load, 1, 0.9, statistics, None)
    statistics.close()
    assert point.latency.frames_per_second > 0
    assert point.attempts == len(windows) > 1
    assert windows[:2] == ["300", "600"]


def test_bad_input_file_is_explained(server: Any, tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    path.write_text('{"data": [{"NOTHING": [1]}]}')
    statistics = ServerStatistics(server.grpc_address)
    load = Load(find_analyzer(), server.grpc_address, "street_detect_frames", path)
    with pytest.raises(InferenceError, match="perf_analyzer measured nothing"):
        run_load(load, 1, 0.6, statistics, None)
    statistics.close()


def test_unknown_model_is_named(server: Any, tmp_path: Path) -> None:
    done = subprocess.run(
        _command(server, "nonesuch", "--output", str(tmp_path)), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 1
    assert "nonesuch" in done.stderr
    assert "Traceback" not in done.stderr


def test_bare_loop_runs_the_built_engine(repository: Path, tmp_path: Path) -> None:
    engine = engine_file(repository, "street_detect")
    np.save(tmp_path / "tensors.npy", np.zeros((1, 3, 224, 384), np.float32))
    with BareLoop(engine, tmp_path / "tensors.npy", 1) as bare:
        first, second = bare.run(0.3), bare.run(0.3)
        pid = bare.pid
    for result in (first, second):
        assert result.frames > 0
        assert result.seconds >= 0.3
        assert result.cpu_seconds > 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_bare_loop_without_engine_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no OpenVINO engine"):
        engine_file(tmp_path, "street_detect")


def test_plan_is_frozen() -> None:
    plan = Plan("m", "localhost:8001", (1,), "frames", 1.0, Path(), None)
    with pytest.raises(AttributeError):
        plan.model = "other"  # type: ignore[misc]


def test_remote_server_gets_no_tax(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without a state file, as on another machine: tensors go through gRPC and --tax is refused."""
    monkeypatch.setenv("SIGHTLINE_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir(mode=0o700)
    plan = Plan("street_detect", server.grpc_address, (1,), "frames", 0.6, tmp_path, tax=True)
    with pytest.raises(BadInputError, match="--tax needs"):
        run_perf(plan, Console(file=io.StringIO()))
    run_perf(dataclasses.replace(plan, tax=None), Console(file=io.StringIO()))
    content = json.loads((tmp_path / "perf.json").read_text())
    assert content["serving_tax"] is None
    assert content["shared_memory"] is False
