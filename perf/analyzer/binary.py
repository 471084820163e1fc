# SPDX-License-Identifier: Apache-2.0
"""The real perf_analyzer: where it is, what it needs to run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from sightline.errors import MissingDependencyError

VERSION = "2.51.0"
_INSTALL = f"pip install 'sightline[perf]'  # tritonclient=={VERSION} carries perf_analyzer"
_HINTS = {"libb64": "apt install libb64-0d", "libcudart": "pip install nvidia-cuda-runtime-cu12"}
_LOADER_ERROR = re.compile(r"error while loading shared libraries: (\S+?):")


@dataclass(frozen=True)
class Analyzer:
    """A perf_analyzer that starts on this machine, and the environment that it needs."""

    executable: Path
    environment: dict[str, str]


def find_analyzer() -> Analyzer:
    """The wheel's perf_analyzer, tried once. Raises MissingDependencyError naming the fix."""
    executable = _executable()
    environment = dict(os.environ)
    paths = [*_cuda_runtime(), *filter(None, environment.get("LD_LIBRARY_PATH", "").split(os.pathsep))]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(paths)
    try:
        trial = subprocess.run(
            [str(executable), "--version"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingDependencyError(f"{executable} does not run here ({error}); {_INSTALL}") from error
    if trial.returncode != 0:
        raise MissingDependencyError(f"perf_analyzer does not start: {_diagnosis(trial.stderr)}")
    return Analyzer(executable, environment)


def _executable() -> Path:
    """Path of the installed binary: the wheel's list of files knows it, whatever the layout."""
    try:
        installed = files("tritonclient") or []
    except PackageNotFoundError:
        installed = []
    for entry in installed:
        if entry.name == "perf_analyzer":
            path = Path(str(entry.locate())).resolve()
            if os.access(path, os.X_OK):
                return path
    raise MissingDependencyError(f"perf_analyzer is not installed: {_INSTALL}")


def _cuda_runtime() -> list[str]:
    """Folder of libcudart from NVIDIA's wheel. The binary links it even where no GPU is used."""
    spec = importlib.util.find_spec("nvidia")
    roots = list(spec.submodule_search_locations or []) if spec else []
    return [str(path) for root in roots if (path := Path(root) / "cuda_runtime" / "lib").is_dir()]


def _diagnosis(text: str) -> str:
    missing = _LOADER_ERROR.search(text)
    if not missing:
        return text.strip()[-300:] or "it ended without a word"
    library = missing[1]
    hint = next((hint for name, hint in _HINTS.items() if library.startswith(name)), _INSTALL)
    return f"{library} is missing: {hint}"
