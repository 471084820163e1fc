# SPDX-License-Identifier: Apache-2.0
"""The Python modules of TensorRT 10 and 11 and of TensorRT-RTX, which share one API, behind one face.

Enum members are asked for by name only: their numbers changed from 10 to 11, and some exist in one of them alone.
"""

from __future__ import annotations

import importlib
import logging
import threading
from dataclasses import dataclass
from typing import Any, Literal

from sightline.builders.engines.manifest import KIND_NAMES
from sightline.errors import BuildError, MissingDependencyError

TensorRTKind = Literal["tensorrt", "rtx"]
OLDEST_MAJOR = 10
_MODULES: dict[TensorRTKind, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "rtx": ("tensorrt_rtx",),
}
_INSTALL: dict[TensorRTKind, str] = {
    "tensorrt": "it comes with JetPack and NVIDIA's containers; elsewhere: pip install tensorrt",
    "rtx": "run: pip install 'sightline[rtx]'",
}
_KEPT_ERRORS = 20
_LOGGER = logging.getLogger("sightline.tensorrt")
_LOGGER.addHandler(logging.NullHandler())  # silent where nobody listens: what matters is in the exception


@dataclass(frozen=True)
class Api:
    """One of the modules, with its version such as "10.16.0.72"."""

    kind: TensorRTKind
    module: Any
    version: str

    @property
    def title(self) -> str:
        """Name and version for people."""
        return f"{KIND_NAMES[self.kind]} {self.version}"

    @property
    def major(self) -> int:
        """First number of the version."""
        return int(self.version.partition(".")[0])

    def member(self, enum: str, name: str) -> Any:
        """Member `name` of `enum`, or None where this version has none."""
        members = getattr(getattr(self.module, enum, None), "__members__", {})
        return members.get(name)

    def needed(self, enum: str, name: str, field: str) -> Any:
        """Like `member`. Raises BuildError that names the card's field where there is none."""
        value = self.member(enum, name)
        if value is None:
            raise BuildError(
                f"{field} is not known to {self.title} ({enum}.{name}); leave it out or use a later version"
            )
        return value


def load_api(kind: TensorRTKind) -> Api:
    """Import the module. Raises MissingDependencyError where it is missing, does not load, or is older than 10."""
    problem: Exception | None = None
    for name in _MODULES[kind]:
        try:
            module = importlib.import_module(name)
            api = Api(kind, module, str(module.__version__))
        except (ImportError, OSError, AttributeError) as error:
            problem = problem or error
            continue
        if kind == "tensorrt" and api.major < OLDEST_MAJOR:
            raise MissingDependencyError(f"{api.title} is installed; {OLDEST_MAJOR}.0 or later is needed")
        return api
    raise MissingDependencyError(
        f"{KIND_NAMES[kind]} cannot be loaded ({problem}); {_INSTALL[kind]}"
    ) from problem


class LogKeeper:
    """Takes TensorRT's messages: all go to Python's logger "sightline.tensorrt", the last errors are kept."""

    def __init__(self) -> None:
        self._errors: list[str] = []
        self._lock = threading.Lock()

    def take(self, level: int, message: str) -> None:
        """Called by TensorRT, from any of its threads."""
        _LOGGER.log(level, "%s", message)
        if level >= logging.ERROR:
            with self._lock:
                self._errors = [*self._errors, message.strip()][-_KEPT_ERRORS:]

    @property
    def errors(self) -> tuple[str, ...]:
        """The last messages of severity ERROR and above, oldest first."""
        with self._lock:
            return tuple(self._errors)


def make_logger(api: Api, keeper: LogKeeper) -> Any:
    """An ILogger that hands everything to `keeper`; it must outlive the objects that are made with it."""
    levels = {
        "INTERNAL_ERROR": logging.ERROR,
        "ERROR": logging.ERROR,
        "WARNING": logging.WARNING,
        "INFO": logging.INFO,
        "VERBOSE": logging.DEBUG,
    }

    class Bridge(api.module.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            api.module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            keeper.take(levels.get(severity.name, logging.INFO), message)

    return Bridge()
