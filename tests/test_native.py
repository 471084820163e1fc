# SPDX-License-Identifier: Apache-2.0
"""The C core's own tests: under sanitizers, and with and without the wider vectors."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler on this machine"
)


def _build(folder: Path, *options: str) -> Path:
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), *options],
        ["cmake", "--build", str(folder), "--target", "test_core"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "test_core"


def _run(program: Path, *arguments: str) -> str:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("sanitized"), "-DSIGHTLINE_SANITIZE=ON")


@pytest.fixture(scope="module")
def optimised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("optimised"), "-DSIGHTLINE_C_TESTS=ON")


def test_core_is_clean_under_sanitizers(sanitized: Path) -> None:
    _run(sanitized)


def test_core_optimised(optimised: Path) -> None:
    _run(optimised)


def test_wide_vectors_give_the_same_bits(sanitized: Path, optimised: Path) -> None:
    assert _run(optimised, "--checksum") == _run(sanitized, "--checksum")
