# SPDX-License-Identifier: Apache-2.0
"""The tritonserver inside the nvidia-pytriton wheel: where it is, what it needs, its environment."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

from sightline.deploy.local.run_id import ENVIRONMENT_KEY, RunId
from sightline.errors import MissingDependencyError

TRITON_RELEASE = "24.10"
TRITON_VERSION = "2.51.0"
INSTALL_HINT = "pip install 'sightline[server]'"
ARGFILE_NAME = "libsightline_argfile.so"
BACKEND_NAME = "libtriton_sightline.so"
STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class Engine:
    """Paths of one usable tritonserver."""

    executable: Path
    python_backend: Path
    stub: Path
    libraries: Path
    argfile: Path
    backend: Path
    openvino: Path


def find_engine() -> Engine:
    """The wheel's tritonserver, with all that it needs here. Raises MissingDependencyError naming the fix."""
    check_platform()
    root = _wheel_folder() / "tritonserver"
    engine = Engine(
        executable=root / "bin" / "tritonserver",
        python_backend=root / "backends" / "python",
        stub=root / "python_backend_stubs" / _python_version() / STUB,
        libraries=root.parent.parent / "nvidia_pytriton.libs",
        argfile=_built_library(ARGFILE_NAME, "deploy/native"),
        backend=_built_library(BACKEND_NAME, "builders/backend"),
        openvino=_openvino_library(),
    )
    if not engine.stub.is_file():
        raise MissingDependencyError(
            f"this tritonserver has no stub for Python {_python_version()}; use Python 3.10 to 3.12"
        )
    for path in (engine.executable, engine.python_backend / "libtriton_python.so", engine.libraries):
        if not path.exists():
            raise MissingDependencyError(
                f"{path} is missing from the wheel: {INSTALL_HINT} --force-reinstall"
            )
    for path in (engine.argfile, engine.backend):
        if not path.is_file():
            raise MissingDependencyError(
                f"{path.name} was not built with this package; install it again where a C compiler is: "
                f"{INSTALL_HINT}"
            )
    check_numpy()
    return engine


def check_platform() -> None:
    """Raise MissingDependencyError where no such wheel exists."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        here = f"{sys.platform} {platform.machine()}"
        raise MissingDependencyError(f"the tritonserver wheel runs on Linux (x86_64, aarch64), not on {here}")


def check_numpy() -> None:
    """Raise MissingDependencyError unless numpy 1 is installed.

    With numpy 2 this Python backend answers with tensors of 0 bytes and says nothing.
    """
    try:
        found = version("numpy")
    except PackageNotFoundError as error:
        raise MissingDependencyError(f"numpy is not installed: {INSTALL_HINT}") from error
    if int(found.split(".", 1)[0]) >= 2:
        raise MissingDependencyError(
            f"numpy is {found}; with numpy 2 Triton {TRITON_RELEASE}'s Python backend silently returns empty "
            "tensors: pip install 'numpy<2'"
        )


def check_stub(engine: Engine, environment: dict[str, str]) -> None:
    """Raise MissingDependencyError where a shared library of the stub, such as libpython, is missing."""
    traced = subprocess.run(
        [str(engine.stub)],
        env={**environment, "LD_TRACE_LOADED_OBJECTS": "1"},  # the loader lists libraries, runs nothing
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    missing = [line.split()[0] for line in traced.stdout.splitlines() if "not found" in line]
    if missing:
        needs_python = any("libpython" in name for name in missing)
        library = (
            f"apt install libpython{_python_version()}  # or use a Python with a shared library of its own"
        )
        hint = library if needs_python else INSTALL_HINT
        raise MissingDependencyError(f"the Python backend needs {', '.join(missing)}: {hint}")


def prepare_backends(engine: Engine, folder: Path) -> Path:
    """Make FOLDER/backends of links: python from the wheel with this Python's stub, sightline; returns FOLDER/backends.

    Links, because nothing can then be stale or half copied, and the folder may lie on a noexec mount.
    """
    python = folder / "backends" / "python"
    python.mkdir(parents=True, mode=0o700)
    for path in (
        engine.python_backend / "libtriton_python.so",
        engine.python_backend / "triton_python_backend_utils.py",
        engine.stub,
    ):
        (python / path.name).symlink_to(path)
    native = folder / "backends" / "sightline"
    native.mkdir(mode=0o700)
    (native / BACKEND_NAME).symlink_to(engine.backend)
    return folder / "backends"


def server_environment(engine: Engine, run: RunId) -> dict[str, str]:
    """Environment of tritonserver and, through it, of the stubs that run model.py."""
    environment = dict(os.environ)
    environment.pop("LD_PRELOAD", None)
    libraries = [str(engine.libraries), *_python_libraries(), *_split(environment.get("LD_LIBRARY_PATH"))]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
    # The stub finds this virtual environment by the first python3 on PATH.
    programs = [str(Path(sys.executable).parent), *_split(environment.get("PATH"))]
    environment["PATH"] = os.pathsep.join(programs)
    environment[ENVIRONMENT_KEY] = str(run)
    environment.pop("PYTHONHOME", None)
    if environment.get("PYTHONPATH"):  # the server runs in another folder
        paths = [os.path.abspath(path) for path in _split(environment["PYTHONPATH"])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(name, "1")  # one stub a core already; their own pools would only fight
    return environment


def _wheel_folder() -> Path:
    try:
        spec = importlib.util.find_spec("pytriton")
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(f"tritonserver (wheel nvidia-pytriton) is not installed: {INSTALL_HINT}")
    return Path(next(iter(spec.submodule_search_locations)))


def _built_library(name: str, room: str) -> Path:
    """Where the package's build put it: for an editable install that is not beside the sources."""
    try:
        installed = files("sightline") or []
    except PackageNotFoundError:
        installed = []
    for entry in installed:
        if entry.name == name:
            return Path(str(entry.locate()))
    return Path(__file__).resolve().parents[2] / room / name


def _openvino_library() -> Path:
    """OpenVINO's C library out of its wheel. Raises MissingDependencyError."""
    try:
        spec = importlib.util.find_spec("openvino")
    except (ImportError, ValueError):
        spec = None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found = sorted(Path(folder, "libs").glob("libopenvino_c.so*"))
        if found:
            return found[-1]
    raise MissingDependencyError(f"OpenVINO's C library is not installed: {INSTALL_HINT}")


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _python_libraries() -> list[str]:
    """Where this interpreter keeps a shared libpython of its own (conda, uv, some pyenv builds)."""
    folder = sysconfig.get_config_var("LIBDIR")
    name = f"libpython{_python_version()}.so.1.0"
    if not folder or str(folder).startswith("/usr/lib") or not (Path(folder) / name).is_file():
        return []
    return [str(folder)]


def _split(paths: str | None) -> list[str]:
    return [path for path in (paths or "").split(os.pathsep) if path]
