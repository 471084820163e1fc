# SPDX-License-Identifier: Apache-2.0
"""First start on a target machine, by the command that container and vehicle run, with TensorRT-RTX as the engine."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline.builders.engines.first_start import main
from sightline.builders.engines.first_start_request import find_requests, read_request, request_text
from sightline.builders.engines.tensorrt import TensorRTOptions
from sightline.errors import BuildError
from tests.needs import needs

needs("tensorrt_rtx")

OPTIONS = TensorRTOptions(kind="rtx", batch=(1, 2, 4), capabilities=(86,))
NAME = "street_v1_network"
ATTEMPTS = 10  # a build may come to its end before this process, which may be slow, stops it


def deep(layers: int) -> bytes:
    """A chain of convolutions: the more layers, the longer the build."""
    random = np.random.default_rng(layers)
    nodes, constants = [], []
    for index in range(layers):
        weights = 0.2 * random.standard_normal((4, 3 if index == 0 else 4, 3, 3))
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"w{index}"))
        source = "x" if index == 0 else f"a{index}"
        nodes.append(helper.make_node("Conv", [source, f"w{index}"], [f"b{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Sigmoid", [f"b{index}"], [f"a{index + 1}"]))
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info(f"a{layers}", TensorProto.FLOAT, None)],
        constants,
    )
    sets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=sets, ir_version=9).SerializeToString())


def add(repository: Path, name: str = NAME, *, layers: int = 2, **changes: Any) -> Path:
    """An entry that asks for an engine. Returns the plan's path."""
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    content = deep(layers)
    (folder / "model.onnx").write_bytes(content)
    request = request_text(hashlib.sha256(content).hexdigest(), replace(OPTIONS, **changes))
    (folder / "engine.json").write_text(request)
    return folder / "model.plan"


class Starts:
    """Runs the command on one repository and store; what still runs is killed with the test."""

    def __init__(self, folder: Path) -> None:
        self.repository, self.store = folder / "repository", folder / "store"
        self.repository.mkdir()
        self._running: list[subprocess.Popen[str]] = []

    def begin(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sightline.builders.engines.first_start"]
        places = ["--repository", str(self.repository), "--store", str(self.store)]
        process = subprocess.Popen([*command, *places], stderr=subprocess.PIPE, text=True)
        self._running.append(process)
        return process

    def here(self, *arguments: str) -> int:
        """In this process."""
        return main(["--repository", str(self.repository), "--store", str(self.store), *arguments])

    def forget(self, plan: Path) -> None:
        """This engine, and what the store has."""
        plan.unlink()
        plan.with_name("model.plan.json").unlink(missing_ok=True)
        shutil.rmtree(self.store)

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate(timeout=60)


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[Starts]:
    made = Starts(tmp_path)
    yield made
    made.close()


def until(process: subprocess.Popen[str], wanted: str) -> None:
    """Read its messages until one has `wanted`."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if wanted in line:
            return
    raise AssertionError(f"{wanted!r} was not said: {seen}")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_engines_are_built_placed_and_kept(starts: Starts, capsys: pytest.CaptureFixture[str]) -> None:
    plan = add(starts.repository)
    (starts.repository / "other" / "1").mkdir(parents=True)
    assert starts.here() == 0
    said = capsys.readouterr().err
    assert f"{NAME}/1: there is no engine yet" in said
    assert "100% done" in said
    assert "TensorRT-RTX" in said
    assert "1 of 1 engines are there" in said
    assert files(plan.parent) == ["engine.json", "model.onnx", "model.plan", "model.plan.json"]
    manifest = json.loads((plan.parent / "model.plan.json").read_text())
    assert manifest["files"]["model.plan"]["sha256"] == hashlib.sha256(plan.read_bytes()).hexdigest()
    before = plan.stat()
    assert starts.here() == 0
    assert "built with TensorRT-RTX" in capsys.readouterr().err
    assert (plan.stat().st_ino, plan.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_engine_of_the_store_is_not_built_again(
    starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = add(starts.repository)
    assert starts.here() == 0
    second = add(starts.repository, "street_v2_network")
    capsys.readouterr()
    assert starts.here("--model", "street_v2_network") == 0
    said = capsys.readouterr().err
    assert "street_v2_network/1: TensorRT-RTX" in said
    assert "taken from the store" in said
    assert NAME not in said
    assert second.read_bytes() == plan.read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "no manifest", "other machine", "other options"])
def test_what_does_not_fit_is_replaced(
    starts: Starts, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = add(starts.repository)
    assert starts.here() == 0
    good = plan.read_bytes()
    manifest = plan.with_name("model.plan.json")
    if damage == "truncated":
        plan.unlink()  # not to write through the hard link into the store
        plan.write_bytes(good[:1000])
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "other machine":
        text = manifest.read_text().replace('"version": "1.', '"version": "0.')
        manifest.unlink()
        manifest.write_text(text)
    else:
        request = plan.with_name("engine.json")
        request.write_text(request.read_text().replace("2048", "1024"))
    capsys.readouterr()
    assert starts.here() == 0
    said = capsys.readouterr().err
    wanted = {
        "truncated": "the engine is damaged",
        "no manifest": "the engine is damaged",
        "other machine": "built with TensorRT-RTX 0.7.",
        "other options": "another one is asked for",
    }
    assert wanted[damage] in said
    assert ("taken from the store" in said) == (damage != "other options")
    if damage != "other options":
        assert plan.read_bytes() == good
    assert starts.here() == 0


def test_a_killed_start_goes_on_where_it_was(starts: Starts) -> None:
    """kill -9 during the second build: the first engine stays, the second is built, nothing is left over."""
    first = add(starts.repository, "a_v1_network")
    second = add(starts.repository, "b_v1_network", layers=60)
    for _ in range(ATTEMPTS):
        process = starts.begin()
        until(process, "b_v1_network/1:  33%")
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        if not second.exists():
            break
        starts.forget(second)
    kept = first.stat()
    assert not second.exists()
    assert starts.here() == 0
    assert second.exists()
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    assert files(second.parent) == ["engine.json", "model.onnx", "model.plan", "model.plan.json"]
    assert not list((starts.store / "partial").iterdir())


def test_two_at_once_build_one_engine(starts: Starts) -> None:
    plan = add(starts.repository, layers=60)
    one, two = starts.begin(), starts.begin()
    said = [process.communicate(timeout=120)[1] for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0)
    assert sum("built in" in text for text in said) == 1
    assert len(list((starts.store / "engines").iterdir())) == 1
    assert files(plan.parent) == ["engine.json", "model.onnx", "model.plan", "model.plan.json"]


def test_ctrl_c_ends_the_build_and_leaves_nothing(starts: Starts) -> None:
    plan = add(starts.repository, layers=60)
    for _ in range(ATTEMPTS):
        process = starts.begin()
        until(process, f"{NAME}/1:  10%")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        if not plan.exists():
            break
        starts.forget(plan)
    assert process.returncode == 130
    assert "interrupted; what is finished is kept" in said
    assert "Traceback" not in said
    assert not plan.exists()
    assert not list((starts.store / "engines").iterdir())
    assert not list((starts.store / "partial").iterdir())


def test_one_engine_that_fails_does_not_stop_the_others(
    starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = add(starts.repository, "a_v1_network", capabilities=(87,))
    changed = add(starts.repository, "b_v1_network")
    changed.with_name("model.onnx").write_bytes(b"half")
    good = add(starts.repository, "c_v1_network")
    assert starts.here() == 1
    said = capsys.readouterr().err
    assert "a_v1_network/1: TensorRT-RTX" in said
    assert "does not build for SM 87" in said
    assert "is not the network that engine.json asks for" in said
    assert "1 of 3 engines are there" in said
    assert (bad.exists(), changed.exists(), good.exists()) == (False, False, True)


def test_a_full_disk_leaves_no_half_plan(starts: Starts) -> None:
    """RLIMIT_FSIZE fails writes in the kernel as a full disk does."""
    plan = add(starts.repository)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from sightline.builders.engines.first_start import main\n"
        f"sys.exit(main(['--repository', {str(starts.repository)!r}, '--store', {str(starts.store)!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert files(plan.parent) == ["engine.json", "model.onnx"]
    assert starts.here() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format is wrong"),
        ({"written_by": "me"}, "written_by is wrong"),
        ({"onnx_sha256": "short"}, "onnx_sha256 is wrong"),
        ({"options": {}}, "options.kind is wrong"),
        ({"options": {**asdict(OPTIONS), "dla": 2}}, "options.dla is wrong"),
        ({"options": {**asdict(OPTIONS), "onnx": "/etc/passwd"}}, "options.onnx is wrong"),
        ({"options": {**asdict(OPTIONS), "batch": [4, 2, 1]}}, "batch is"),
    ],
)
def test_a_wrong_request_names_its_field(starts: Starts, change: dict[str, Any], message: str) -> None:
    path = add(starts.repository).with_name("engine.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BuildError, match=message):
        find_requests(starts.repository)
    assert starts.here() == 2


@pytest.mark.parametrize("text", ["", "[1]", "{" * 10_000, "x" * 70_000])
def test_a_damaged_request_is_refused(starts: Starts, text: str) -> None:
    path = add(starts.repository).with_name("engine.json")
    path.write_text(text)
    with pytest.raises(BuildError, match=r"engine\.json"):
        read_request(path.parent)


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_exit_codes_without_a_repository_or_tensorrt(
    starts: Starts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--repository", str(tmp_path / "none")]) == 2
    assert starts.here() == 0
    add(starts.repository, kind="tensorrt", capabilities=())
    assert starts.here() == 3
    assert "TensorRT is needed to build the engines" in capsys.readouterr().err
