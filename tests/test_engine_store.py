# SPDX-License-Identifier: Apache-2.0
"""The engine store: nothing is built twice, nothing is half-written, a misfit is explained."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sightline.builders.engines.manifest import (
    EngineKey,
    EngineManifest,
    EngineTensor,
    FileFacts,
    Machine,
    ShapeRange,
    fits,
    manifest_from_json,
)
from sightline.builders.engines.store import EngineStore, NewEngine, StoredEngine
from sightline.errors import BuildError, OutputError

KEY = EngineKey(
    onnx_sha256="ab" * 32,
    kind="tensorrt",
    version="10.16.0.72",
    system="linux",
    architecture="aarch64",
    precision="fp16",
    sm=(87,),
    device="Orin",
    batch=(1, 4, 8),
    size=(640, 640),
    options={"hardware": "this", "version_compatible": False, "dla": None},
)
ORIN = Machine("linux", "aarch64", {"tensorrt": "10.16.0.72"}, 87, "Orin", "13.2", is_jetson=True)
PLAN = bytes(range(256)) * 64


def manifest_of(key: EngineKey, **facts: Any) -> EngineManifest:
    return EngineManifest(
        key, {"model.plan": FileFacts(3, "cd" * 32)}, 12.5, "2026-11-28T04:00:00+00:00", **facts
    )


def new_engine() -> NewEngine:
    return NewEngine(files={"model.plan": PLAN}, seconds=1.25, cuda="13.2", device="Orin")


def build_once(store: EngineStore, key: EngineKey = KEY) -> StoredEngine:
    return store.get_or_build(key, new_engine)


def never() -> NewEngine:
    raise AssertionError("the engine is built a second time")


# --- key and manifest


def test_key_does_not_depend_on_the_order_of_options() -> None:
    turned = replace(KEY, options=dict(reversed(list(KEY.options.items()))))
    assert turned.digest == KEY.digest
    assert re.fullmatch("[0-9a-f]{32}", KEY.digest)


@pytest.mark.parametrize(
    "change",
    [
        {"onnx_sha256": "ac" * 32},
        {"kind": "rtx"},
        {"version": "10.16.1.7"},
        {"system": "windows"},
        {"architecture": "x86_64"},
        {"precision": "int8"},
        {"sm": (89,)},
        {"device": "Orin NX"},
        {"batch": (1, 4, 16)},
        {"size": (640, 384)},
        {"options": {**KEY.options, "dla": 0}},
    ],
)
def test_everything_in_the_key_changes_it(change: dict[str, Any]) -> None:
    assert replace(KEY, **change).digest != KEY.digest


def test_manifest_is_read_back_the_same() -> None:
    manifest = manifest_of(
        KEY,
        cuda="13.2",
        device="Orin",
        inputs=(EngineTensor("TENSOR", "float32", (-1, 3, 640, 640)),),
        outputs=(EngineTensor("RAW", "float32", (-1, 84, 8400)),),
        shapes={"TENSOR": ShapeRange((1, 3, 640, 640), (4, 3, 640, 640), (8, 3, 640, 640))},
    )
    assert manifest_from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        manifest_of(KEY).to_json()[:-20],
        manifest_of(KEY).to_json().replace('"format": 1', '"format": 2'),
        manifest_of(KEY).to_json().replace('"tensorrt"', '"unknown"'),
        manifest_of(KEY).to_json().replace('"model.plan"', '"../model.plan"'),
    ],
)
def test_a_damaged_manifest_is_refused(text: str) -> None:
    with pytest.raises(BuildError, match="manifest is damaged"):
        manifest_from_json(text)


# --- where an engine fits

VERSION_COMPATIBLE = replace(KEY, options={**KEY.options, "version_compatible": True})
SAME_CAPABILITY = replace(KEY, options={**KEY.options, "hardware": "same_capability"}, device="")
AMPERE = replace(
    KEY, architecture="x86_64", sm=(86,), device="", options={**KEY.options, "hardware": "ampere_plus"}
)
DESKTOP = Machine("linux", "x86_64", {"tensorrt": "10.16.0.72", "rtx": "1.7.1.116"}, 89, "RTX 4090", "13.2")
RTX = replace(KEY, kind="rtx", version="1.7.1.116", architecture="x86_64", sm=(86, 89), device="")
CPU = Machine("linux", "x86_64", {"openvino": "2026.4.1"})
OPENVINO = replace(KEY, kind="openvino", version="2026.4.1", sm=(), device="", architecture="aarch64")


@pytest.mark.parametrize(
    ("key", "machine", "ok", "why"),
    [
        (KEY, ORIN, True, "built with TensorRT 10.16.0.72 for SM 87, this is TensorRT 10.16.0.72 on SM 87"),
        (KEY, replace(ORIN, versions={}), False, "TensorRT, which is not installed here"),
        (KEY, replace(ORIN, sm=None), False, "it needs an NVIDIA GPU"),
        (KEY, DESKTOP, False, "it is for linux aarch64, not linux x86_64"),
        (KEY, replace(ORIN, versions={"tensorrt": "10.16.1.7"}), False, "the version that built it only"),
        (KEY, replace(ORIN, versions={"tensorrt": "11.4.1.7"}), False, "this is TensorRT 11.4.1.7 on SM 87"),
        (KEY, replace(ORIN, sm=110), False, "compute capability is another one"),
        (KEY, replace(ORIN, device="Orin NX"), False, "tuned on Orin, this GPU is Orin NX"),
        (SAME_CAPABILITY, replace(ORIN, device="Orin NX"), True, "for SM 87"),
        (SAME_CAPABILITY, replace(ORIN, sm=110), False, "compute capability is another one"),
        (VERSION_COMPATIBLE, replace(ORIN, versions={"tensorrt": "10.16.1.7"}), True, "10.16.1.7"),
        (VERSION_COMPATIBLE, replace(ORIN, versions={"tensorrt": "11.0.0.1"}), True, "11.0.0.1"),
        (VERSION_COMPATIBLE, replace(ORIN, versions={"tensorrt": "12.0.0.1"}), False, "do not run in 12"),
        (VERSION_COMPATIBLE, replace(ORIN, versions={"tensorrt": "10.3.0.26"}), False, "not in earlier ones"),
        (AMPERE, DESKTOP, True, "SM 89"),
        (AMPERE, replace(DESKTOP, sm=75), False, "SM 75 is older than Ampere"),
        (AMPERE, replace(DESKTOP, is_jetson=True), False, "discrete GPUs only"),
        (RTX, DESKTOP, True, "TensorRT-RTX 1.7.1.116 for SM 86, 89"),
        (RTX, replace(DESKTOP, sm=120), False, "it was not built for SM 120"),
        (RTX, replace(DESKTOP, sm=None), True, "on a machine without a GPU"),
        (RTX, replace(DESKTOP, versions={"rtx": "1.8.0.1"}), False, "the version that built it only"),
        (OPENVINO, CPU, True, "OpenVINO 2026.4.1 for CPU"),
        (OPENVINO, replace(CPU, versions={"openvino": "2027.0.0"}), True, "OpenVINO 2027.0.0 on this CPU"),
        (OPENVINO, replace(CPU, versions={"openvino": "2026.3.0"}), False, "made by a later version"),
    ],
)
def test_fit_is_decided_and_explained(key: EngineKey, machine: Machine, ok: bool, why: str) -> None:
    fit = fits(manifest_of(key, device="Orin" if key.kind == "tensorrt" else ""), machine)
    assert fit.ok is ok
    assert why in fit.why
    assert fit.ok or "not installed" in fit.why or fit.why.endswith("it is built again here")


def test_the_explanation_names_both_sides() -> None:
    machine = replace(DESKTOP, versions={"tensorrt": "11.4.0.106"}, architecture="aarch64")
    why = fits(manifest_of(KEY), machine).why
    assert why.startswith("built with TensorRT 10.16.0.72 for SM 87, this is TensorRT 11.4.0.106 on SM 89: ")


# --- the store


def test_nothing_is_built_twice(tmp_path: Path) -> None:
    store = EngineStore(tmp_path)
    assert store.get(KEY) is None
    first = build_once(store)
    again = store.get_or_build(KEY, never)
    assert (first.built, again.built) == (True, False)
    assert again.path().read_bytes() == PLAN
    assert again.manifest == first.manifest
    assert again.manifest.seconds == 1.25
    assert EngineStore(tmp_path).get(replace(KEY, precision="int8")) is None
    assert not list((tmp_path / "partial").iterdir())


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone", "manifest", "swapped"])
def test_a_damaged_entry_is_built_again(tmp_path: Path, damage: str) -> None:
    store = EngineStore(tmp_path)
    entry = build_once(store)
    plan, manifest = entry.path(), entry.path("manifest.json")
    if damage == "truncated":
        plan.write_bytes(PLAN[:100])
    elif damage == "flipped":
        plan.write_bytes(PLAN[:-1] + b"x")
    elif damage == "gone":
        plan.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:50])
    else:
        manifest.write_text(manifest.read_text().replace("fp16", "int8"))
    assert store.get(KEY) is None
    assert build_once(store).built
    assert store.get_or_build(KEY, never).path().read_bytes() == PLAN


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    store = EngineStore(tmp_path)

    def fails() -> NewEngine:
        raise BuildError("node 'x' is not supported")

    with pytest.raises(BuildError, match="node 'x'"):
        store.get_or_build(KEY, fails)
    assert not list((tmp_path / "engines").iterdir())
    assert not list((tmp_path / "partial").iterdir())
    assert build_once(store).built


def test_a_store_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match=r"engine store .* cannot be written"):
        build_once(EngineStore(tmp_path / "file"))


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, processes: Processes) -> None:
    """RLIMIT_FSIZE fails writes in the kernel as a full disk does."""
    process = processes.start(
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "from sightline.errors import OutputError\n"
        "try:\n    EngineStore(folder).get_or_build(KEY, new_engine)\nexcept OutputError as error:\n"
        "    print('refused:', error)\n"
    )
    out, _ = process.communicate(timeout=180)
    assert out.startswith("refused: the engine of key")
    assert not list((tmp_path / "engines").iterdir())
    assert not list((tmp_path / "partial").iterdir())


_SLOW = """
import os, time
def slow():
    with open(folder / 'builds', 'a') as file: file.write(f'{os.getpid()}\\n')
    print('building', flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (folder / 'go').exists(): time.sleep(0.01)
    return new_engine()
engine = EngineStore(folder).get_or_build(KEY, slow, on_wait=lambda pid: print('waiting for', pid, flush=True))
print('built' if engine.built else 'shared', flush=True)
"""


class Processes:
    """Python processes that use the store in `folder`; ended with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[str]] = []

    def start(self, code: str, seconds: float = 0) -> subprocess.Popen[str]:
        """Run `code`, which knows folder, KEY, seconds, new_engine and EngineStore."""
        head = (
            "from pathlib import Path\n"
            "from sightline.builders.engines.manifest import EngineKey\n"
            "from sightline.builders.engines.store import EngineStore, NewEngine\n"
            f"folder, seconds, KEY = Path({str(self._folder)!r}), {seconds}, {KEY!r}\n"
            "def new_engine(): return NewEngine({'model.plan': bytes(range(256)) * 64}, 1.25)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", head + code], stdout=subprocess.PIPE, text=True)
        self._running.append(process)
        return process

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate(timeout=60)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    running = Processes(tmp_path)
    yield running
    running.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_builds_of_one_engine_wait_for_each_other(tmp_path: Path, processes: Processes) -> None:
    first = processes.start(_SLOW, seconds=600)
    assert _line(first) == "building"
    second = processes.start(_SLOW, seconds=0)
    assert _line(second) == f"waiting for {first.pid}"
    (tmp_path / "go").touch()
    assert _line(first) == "built"
    assert _line(second) == "shared"
    assert first.wait(60) == second.wait(60) == 0
    assert (tmp_path / "builds").read_text().split() == [str(first.pid)]


def test_a_lock_dies_with_its_holder(tmp_path: Path, processes: Processes) -> None:
    first = processes.start(_SLOW, seconds=600)
    assert _line(first) == "building"
    partial = tmp_path / "partial" / f"{KEY.digest}.{first.pid}.left"
    partial.mkdir()
    (partial / "model.plan").write_bytes(b"half")
    second = processes.start(_SLOW, seconds=0)
    assert _line(second) == f"waiting for {first.pid}"
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    assert _line(second) == "building"
    assert _line(second) == "built"
    assert second.wait(60) == 0
    assert not partial.exists()
    assert EngineStore(tmp_path).get_or_build(KEY, never).path().read_bytes() == PLAN


def test_gc_removes_the_least_recently_used_first(tmp_path: Path) -> None:
    store = EngineStore(tmp_path)
    keys = [replace(KEY, precision=name) for name in ("fp32", "fp16", "int8")]
    now = time.time()
    for age, key in zip((300, 200, 100), keys, strict=True):
        folder = build_once(store, key).folder
        os.utime(folder, (now - age, now - age))
    assert [one.manifest.key.precision for one in store.entries()] == ["fp32", "fp16", "int8"]
    store.get(keys[0])  # used a moment ago
    assert store.gc(max_bytes=10 * len(PLAN), max_age_seconds=1000) == ()
    removed = store.gc(max_bytes=2 * len(PLAN))
    assert [one.manifest.key.precision for one in removed] == ["fp16"]
    removed = store.gc(max_age_seconds=50)
    assert [one.manifest.key.precision for one in removed] == ["int8"]
    assert [one.manifest.key.precision for one in store.entries()] == ["fp32"]
    assert not list((tmp_path / "partial").iterdir())


def test_gc_leaves_an_engine_that_is_being_built(tmp_path: Path, processes: Processes) -> None:
    store = EngineStore(tmp_path)
    build_once(store).path().write_bytes(b"damaged")
    process = processes.start(_SLOW, seconds=600)
    assert _line(process) == "building"
    assert store.gc(max_bytes=0) == ()
    process.kill()
    process.wait(60)
    assert len(store.gc(max_bytes=0)) == 1


def test_the_manifest_on_disk_says_what_people_want_to_know(tmp_path: Path) -> None:
    entry = build_once(EngineStore(tmp_path))
    values = json.loads(entry.path("manifest.json").read_text())
    assert values["files"]["model.plan"]["bytes"] == len(PLAN)
    assert values["key"]["version"] == "10.16.0.72"
    assert values["cuda"] == "13.2"
    assert values["device"] == "Orin"
