# SPDX-License-Identifier: Apache-2.0
"""The C core's own tests: sanitized, optimised, under valgrind and on aarch64; the same bits at each level of instructions."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from tests.native_build import (
    BUILD_SECONDS,
    ROOT,
    aarch64_build,
    optimised_build,
    require_tool,
    sanitized_build,
)

pytestmark = pytest.mark.timeout(BUILD_SECONDS)
PROGRAMS = sorted(path.stem for path in (ROOT / "tests" / "native").glob("test_*.c"))
LEVELS = range(4)  # sl_cpu_level; one that the processor lacks falls back to the next lower
SCALAR = 0
AARCH64_ROOT = "/usr/aarch64-linux-gnu"  # where Debian's cross packages keep their libraries


def _programs(build: Path) -> Path:
    return build / "tests" / "native"


def _run(program: Path, level: int, *launcher: str) -> str:
    done = subprocess.run([*launcher, str(program), str(level)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def sanitized() -> Path:
    return _programs(sanitized_build("c_tests"))


@pytest.fixture(scope="module")
def optimised() -> Path:
    return _programs(optimised_build())


@pytest.fixture(scope="module")
def aarch64() -> Path:
    require_tool("qemu-aarch64", "qemu-user")
    return _programs(aarch64_build())


@pytest.mark.parametrize("program", PROGRAMS)
def test_clean_under_sanitizers_and_the_same_bits(program: str, sanitized: Path, optimised: Path) -> None:
    reference = _run(optimised / program, SCALAR)
    assert {_run(sanitized / program, level) for level in LEVELS} == {reference}
    assert {_run(optimised / program, level) for level in LEVELS} == {reference}


@pytest.mark.parametrize("program", PROGRAMS)
def test_clean_under_valgrind(program: str, optimised: Path) -> None:
    valgrind = require_tool("valgrind", "valgrind")  # it knows no AVX-512, so the scalar code
    launcher = [valgrind, "-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=all"]
    assert _run(optimised / program, SCALAR, *launcher) == _run(optimised / program, SCALAR)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the other processor to compare with is aarch64")
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_same_bits_on_aarch64(program: str, aarch64: Path, optimised: Path) -> None:
    reference = _run(optimised / program, SCALAR)
    assert {_run(aarch64 / program, level, "qemu-aarch64", "-L", AARCH64_ROOT) for level in (SCALAR, 1)} == {
        reference
    }
