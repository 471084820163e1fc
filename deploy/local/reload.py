# SPDX-License-Identifier: Apache-2.0
"""Tells a running server of ours that another version of a model is public; no request fails meanwhile.

The new version's stages are loaded first, each for itself: where a stage of an ensemble fails in Triton 2.51, the
ensemble that is being served is taken away with it. When all are there, loading the ensemble only exchanges it; requests
that are in flight end on the old one.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sightline.deploy.local.ports import LOOPBACK
from sightline.errors import MissingDependencyError, ServerError
from sightline.naming import STAGE_NAME
from sightline.runtime import TOKEN_KEY, ServerState, is_alive, runtime_folder

LOAD_SECONDS = 600.0
SHORT_SECONDS = 30.0
_LOOK_SECONDS = 0.05


def serving(repository: Path) -> ServerState | None:
    """The live server of this user that serves this repository; None where there is none."""
    wanted = repository.resolve()
    for path in sorted(runtime_folder().glob("server-*.json")):
        try:
            state = ServerState(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        same = Path(state.repository).resolve() == wanted
        if same and is_alive(state.supervisor_pid, state.supervisor_start_ticks):
            return state
    return None


def load_stages(
    state: ServerState, models: Sequence[str], folder: Path, progress: Callable[[str], None] | None = None
) -> None:
    """Load the stages that the ensembles `models` in `folder` name; the ensembles that are served are not touched.

    Raises ServerError where one cannot be loaded; those that nothing needs are unloaded again.
    """
    say = progress or (lambda _: None)
    with _control(state) as client:
        try:
            for stage in _stages_in(folder, models):
                say(f"loading {stage}")
                client.load(stage)
        except ServerError:
            with suppress(ServerError):  # the first error is the one to tell
                client.unload_unused(models, SHORT_SECONDS)
            raise


def load_public(
    state: ServerState,
    models: Sequence[str],
    *,
    drain_seconds: float,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Load these ensembles as they now are in the repository, then unload the stages that nothing names any more.

    drain_seconds: the longest that a request which began on the old stages may take; stages that still work then stay
    until the next change. Raises ServerError where the new version cannot be loaded; the server goes on with the old one.
    """
    say = progress or (lambda _: None)
    load_stages(state, models, Path(state.repository), progress)
    with _control(state) as client:
        for model in models:
            say(f"loading {model}")
            client.load(model)
        say("answering what is in flight on the old version")
        client.unload_unused(models, drain_seconds)


def served_numbers(state: ServerState, models: Sequence[str]) -> dict[str, int | None]:
    """The version that the server gives to clients, by ensemble; None where it has not loaded it. Raises ServerError."""
    with _control(state) as client:
        ready = client.ready()
        return {model: client.number(model) if model in ready else None for model in models}


def held_stages(state: ServerState) -> set[str]:
    """Names of the stages that the server holds in memory. Raises ServerError."""
    with _control(state) as client:
        return {name for name in client.ready() if STAGE_NAME.fullmatch(name)}


def _stages_in(folder: Path, models: Sequence[str]) -> list[str]:
    """Stages that the ensembles of a folder name; the network, which is likeliest to fail, comes first."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    found: set[str] = set()
    for model in models:
        try:
            text = (folder / model / "config.pbtxt").read_text(encoding="utf-8")
            config = text_format.Parse(text, model_config_pb2.ModelConfig())
        except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
            raise ServerError(f"the configuration of {model} in {folder} cannot be read: {error}") from error
        found |= {step.model_name for step in config.ensemble_scheduling.step}
    return sorted(found, key=lambda name: (not name.endswith("_network"), name))


@contextmanager
def _control(state: ServerState) -> Iterator[_Control]:
    client = _Control(state)
    try:
        yield client
    finally:
        client.close()


class _Control:
    """The model-control calls of one server, with its token."""

    def __init__(self, state: ServerState) -> None:
        try:
            self._triton: Any = importlib.import_module("tritonclient.grpc")
        except ImportError as error:
            raise MissingDependencyError("tritonclient is not installed: pip install sightline") from error
        self._client = self._triton.InferenceServerClient(f"{LOOPBACK}:{state.grpc_port}")
        self._headers = {f"triton-grpc-protocol-{TOKEN_KEY}": state.token}

    def close(self) -> None:
        with suppress(Exception):
            self._client.close()

    def load(self, model: str) -> None:
        self._call(f"load {model}", self._client.load_model, model, client_timeout=LOAD_SECONDS)

    def unload(self, model: str) -> None:
        self._call(f"unload {model}", self._client.unload_model, model, client_timeout=SHORT_SECONDS)

    def unload_unused(self, models: Sequence[str], drain_seconds: float) -> None:
        """Unload the stages of these models that no loaded ensemble names, when the last request on them is answered."""
        ready = self.ready()
        stages = {name for name in ready if (m := STAGE_NAME.fullmatch(name)) and m["name"] in models}
        used = {step for model in models if model in ready for step in self._steps(model)}
        if not stages - used or not self._wait_drained(models, drain_seconds):
            return
        for name in sorted(stages - used):
            self.unload(name)

    def ready(self) -> set[str]:
        """Names of the models that the server holds."""
        return {model.name for model in self._index() if model.state == "READY"}

    def number(self, model: str) -> int | None:
        """The version whose stages a loaded ensemble names."""
        found = {match["number"] for step in self._steps(model) if (match := STAGE_NAME.fullmatch(step))}
        return int(found.pop()) if len(found) == 1 else None

    def _wait_drained(self, models: Sequence[str], seconds: float) -> bool:
        """Whether the exchanged ensembles have answered all they had; Triton calls them UNLOADING until then."""
        deadline = time.monotonic() + seconds
        while any(model.name in models and model.state == "UNLOADING" for model in self._index()):
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def _index(self) -> Sequence[Any]:
        answer = self._call(
            "list the models", self._client.get_model_repository_index, client_timeout=SHORT_SECONDS
        )
        models: Sequence[Any] = answer.models
        return models

    def _steps(self, model: str) -> set[str]:
        answer = self._call(
            f"ask for {model}", self._client.get_model_config, model, client_timeout=SHORT_SECONDS
        )
        return {step.model_name for step in answer.config.ensemble_scheduling.step}

    def _call(self, what: str, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        restricted = call.__name__ not in ("get_model_config",)
        try:
            return call(*arguments, headers=self._headers if restricted else None, **keywords)
        except self._triton.InferenceServerException as error:
            raise ServerError(f"the server could not {what}: {error.message()}") from error
