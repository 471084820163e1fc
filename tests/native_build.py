# SPDX-License-Identifier: Apache-2.0
"""Programs over the C core alone, built for the tests with CMake.

`python -m tests.native_build` builds them all; deploy/setup.sh does so while pip is at work on one core.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CXX = {"clang": "clang++", "gcc": "g++"}
ROOT = Path(__file__).resolve().parent.parent
BUILD_SECONDS = 900  # of a slow machine that does other things beside


def require_tool(name: str, packages: str) -> str:
    """The path of the program `name`; without it the test is skipped (or fails, see conftest.py), naming the packages."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: install {packages} (sh deploy/setup.sh test does)")
    return found


def sanitized_build(target: str) -> Path:
    """Build `target` under AddressSanitizer and UBSan; returns the folder of the build."""
    return native_build("sanitized", target, "-DSIGHTLINE_SANITIZE=ON")


def optimised_build() -> Path:
    """The C tests as in the package."""
    return native_build("optimised", "c_tests", "-DSIGHTLINE_C_TESTS=ON")


def aarch64_build() -> Path:
    """The C tests for aarch64."""
    compiler = require_tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
    return native_build(
        "aarch64",
        "c_tests",
        "-DSIGHTLINE_C_TESTS=ON",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_C_COMPILER={compiler}",
    )


def fuzz_build() -> Path:
    """All fuzzers."""
    compiler = "clang" if _has_libfuzzer() else "gcc"  # with gcc driver.c stands in for libFuzzer
    return native_build(f"fuzz-{compiler}", "fuzzers", "-DSIGHTLINE_FUZZ=ON", compiler=compiler)


def _has_libfuzzer() -> bool:
    code = (
        "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const char *d, size_t n);\n"
        "int LLVMFuzzerTestOneInput(const char *d, size_t n) { return d == 0 && n != 0; }\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        (source := Path(folder) / "probe.c").write_text(code)
        command = ["clang", "-fsanitize=fuzzer,address,undefined", str(source), "-o", f"{folder}/probe"]
        try:
            return subprocess.run(command, capture_output=True, timeout=240).returncode == 0
        except FileNotFoundError:
            return False


def native_build(name: str, target: str, *options: str, compiler: str | None = None, jobs: int = 2) -> Path:
    """Build `target` in build/native/NAME, which is configured with `options`; returns that folder.

    What has not changed since the last run is not compiled again; one process at a time builds in a folder.
    """
    cmake = _cmake()
    require_tool(compiler or "cc", "gcc libc6-dev")
    folder = ROOT / "build" / "native" / name
    environment = dict(os.environ)
    if compiler:
        environment |= {"CC": compiler, "CXX": CXX[compiler]}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = [cmake, "-S", str(ROOT), "-B", str(folder), *options]
        if _run(configure, environment).returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)  # made for a tree in another place
            _require(_run(configure, environment))
        _require(
            _run([cmake, "--build", str(folder), "--target", target, "--parallel", str(jobs)], environment)
        )
    return folder


def _cmake() -> str:
    """The environment's own before the system's: another version than setup.sh's would build everything again."""
    return shutil.which("cmake", path=str(Path(sys.executable).parent)) or require_tool("cmake", "cmake")


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_SECONDS, env=environment, check=False
    )


def _require(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


def _main() -> None:
    builds = (
        fuzz_build,
        optimised_build,
        lambda: sanitized_build("c_tests"),
        lambda: sanitized_build("deepstream_hosts"),
        aarch64_build,
    )
    for build in builds:
        try:
            print(build())
        except (AssertionError, pytest.skip.Exception) as error:  # its tests tell it again
            print(error)


if __name__ == "__main__":
    _main()
