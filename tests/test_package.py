# SPDX-License-Identifier: Apache-2.0
"""The wheel: every room, the native libraries and the data are in it, sources and tests are not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.native_build import BUILD_SECONDS

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("builders", "preprocess_ext", "clients", "deploy", "perf", "model_repository")
DATA = {".json", ".html", ".css", ".js", ".svg", ".onnx", ".yaml", ".txt", ".pbtxt", ".pyi", ".typed"}
pytestmark = [
    pytest.mark.timeout(BUILD_SECONDS),
    pytest.mark.skipif(
        shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler on this machine"
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation"]
    # goes on in the folder that setup.sh built in, where little is left to compile
    done = subprocess.run([*pip, "-w", str(folder)], capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("sightline-*.whl"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _tracked(folder: Path) -> list[PurePosixPath]:
    return [
        PurePosixPath(path.relative_to(folder).as_posix())
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]


def test_every_module_of_every_room(names: set[str]) -> None:
    for room, target in [("sightline", "sightline"), *((room, f"sightline/{room}") for room in ROOMS)]:
        modules = [path for path in _tracked(ROOT / room) if path.suffix == ".py"]
        assert modules
        assert {f"{target}/{path}" for path in modules} <= names


def test_package_data(names: set[str]) -> None:
    for room, target in [("sightline", "sightline"), *((room, f"sightline/{room}") for room in ROOMS)]:
        data = {f"{target}/{path}" for path in _tracked(ROOT / room) if path.suffix in DATA}
        assert {name for name in data if "CMakeLists" not in name} <= names
    assert "sightline/py.typed" in names
    shells = (ROOT / "preprocess_ext").glob("_*.pyx")
    assert {f"sightline/preprocess_ext/{path.stem}.pyi" for path in shells} <= names


def test_native_libraries(names: set[str]) -> None:
    for shell in (ROOT / "preprocess_ext").glob("_*.pyx"):
        start = f"sightline/preprocess_ext/{shell.stem}."
        assert len([name for name in names if name.startswith(start) and name.endswith(".so")]) == 1
    assert (
        len(
            [
                name
                for name in names
                if name.startswith("sightline/clients/inprocess/_host.") and ".so" in name
            ]
        )
        == 1
    )
    libraries = {
        "sightline/preprocess_ext/libsightline_core.so",
        "sightline/builders/backend/libtriton_sightline.so",
        "sightline/deploy/deepstream/libsightline_deepstream_8.so",
        "sightline/deploy/deepstream/libsightline_deepstream_9.so",
        "sightline/deploy/native/libsightline_argfile.so",
    }
    assert libraries <= names


def test_no_sources_and_no_tests(names: set[str]) -> None:
    assert not [name for name in names if name.endswith((".c", ".h", ".pyx", ".pxd", ".a", ".sh", ".pyc"))]
    assert not [name for name in names if "tests/" in name or "test_" in PurePosixPath(name).name]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sightline"}


def test_the_wheel_works_on_its_own(wheel: Path, tmp_path: Path) -> None:
    """Unpacked somewhere else, and with -S so that the editable install is not seen."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    packages = [path for path in sys.path if path.endswith("-packages")]
    code = (
        "import sightline.preprocess_ext as p, sightline.cli, importlib.resources as r;"
        "print(p.__file__); print(p.version());"
        "assert r.files('sightline.model_repository').joinpath('street_detect').is_dir()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *packages])}
    python = [sys.executable, "-S", "-c", code]
    done = subprocess.run(python, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(str(tmp_path))
