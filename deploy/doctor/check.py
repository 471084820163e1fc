# SPDX-License-Identifier: Apache-2.0
"""What one check is, and what checks have in common."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, requires, version

COMMAND_SECONDS = 8.0
_LOAD_SECONDS = 60.0  # a busy machine that reads its disk for the first time
_DISTRIBUTION = "sightline"


class Status(str, Enum):
    """ok; missing: the main road needs it; optional: absent, and only a side road needs it."""

    OK = "ok"
    MISSING = "missing"
    OPTIONAL = "optional"


@dataclass(frozen=True)
class Found:
    """What a check found. `fix`: the command that gets what is missing."""

    is_there: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Check:
    """One line of the table. `needed`: build, serve and watch are not possible without it."""

    group: str
    name: str
    needed: bool
    look: Callable[[], Found]


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    group: str
    name: str
    status: Status
    detail: str
    fix: str


def package(name: str, *, purpose: str = "") -> Callable[[], Found]:
    """A check of an installed Python package."""

    def look() -> Found:
        try:
            found = version(name)
        except PackageNotFoundError:
            return Found(False, purpose or "not installed", install_command(name))
        return Found(True, found)

    return look


def imported(name: str, statement: str, *, purpose: str = "") -> Callable[[], Found]:
    """A check that a package is installed and loads; `statement` prints its version, in a new process."""

    def look() -> Found:
        missing = package(name, purpose=purpose)() if name else Found(True, "")
        if not missing.is_there:
            return missing
        status, text = command_output([sys.executable, "-c", statement], timeout_seconds=_LOAD_SECONDS)
        if status != 0:
            return Found(False, f"does not load: {last_line(text)}", install_command(name or _DISTRIBUTION))
        return Found(True, last_line(text))

    return look


def install_command(name: str) -> str:
    """The pip command that gets a package: through the extra of ours that lists it, where one does."""
    pattern = re.compile(
        rf"{re.escape(name)}\b(?![-_.]).*extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]", re.IGNORECASE
    )
    try:
        listed = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:
        listed = []
    for requirement in listed:
        match = pattern.match(requirement)
        if match:
            return f"pip install '{_DISTRIBUTION}[{match['extra']}]'"
    if any(re.match(rf"{re.escape(name)}\b(?![-_.])", requirement, re.IGNORECASE) for requirement in listed):
        return f"pip install --force-reinstall {_DISTRIBUTION}"
    return f"pip install {name}"


def command_output(
    command: Sequence[str],
    *,
    environment: dict[str, str] | None = None,
    timeout_seconds: float = COMMAND_SECONDS,
) -> tuple[int, str]:
    """(exit status, output and errors) of a program; (127, why) where it cannot run or end in time."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 127, f"no answer in {timeout_seconds:g} s"
    except OSError as error:
        return 127, error.strerror or str(error)
    return done.returncode, done.stdout.decode(errors="replace")


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
