# SPDX-License-Identifier: Apache-2.0
"""Programs over the C core alone, built for the tests with CMake."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CXX = {"clang": "clang++", "gcc": "g++"}
ROOT = Path(__file__).resolve().parent.parent


def require_tool(name: str, packages: str) -> str:
    """The path of the program `name`; without it the test is skipped (or fails, see conftest.py), naming the packages."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: install {packages} (sh deploy/setup.sh test does)")
    return found


def sanitized_build(factory: pytest.TempPathFactory, target: str) -> Path:
    """Build `target` under AddressSanitizer and UBSan; returns the folder of tests/native's programs.

    In one folder a session, so that the core is compiled once for all who need it so.
    """
    folder = factory.getbasetemp() / "sanitized-build"
    return cmake_build(folder, target, "-DSIGHTLINE_SANITIZE=ON") / "tests" / "native"


def cmake_build(folder: Path, target: str, *options: str, compiler: str | None = None, jobs: int = 2) -> Path:
    """Configure the repository into `folder` and build `target`; returns the folder."""
    require_tool("cmake", "cmake")
    require_tool(compiler or "cc", "gcc libc6-dev")
    environment = dict(os.environ)
    if compiler:
        environment |= {"CC": compiler, "CXX": CXX[compiler]}
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), *options],
        ["cmake", "--build", str(folder), "--target", target, "--parallel", str(jobs)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=290, env=environment)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return folder
