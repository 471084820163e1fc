# SPDX-License-Identifier: Apache-2.0
"""Tells a running server of ours that another version of a model is public; no request fails meanwhile.

The new ensembles name the new version's stages. Triton loads those, then exchanges the ensemble; requests that are in
flight end on the old one. Where loading fails, the old one goes on.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sightline.deploy.local.ports import LOOPBACK
from sightline.errors import MissingDependencyError, ServerError
from sightline.naming import STAGE_NAME
from sightline.runtime import TOKEN_KEY, ServerState, is_alive, runtime_folder

LOAD_SECONDS = 600.0
SHORT_SECONDS = 10.0


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


def load_public(
    state: ServerState,
    models: Sequence[str],
    *,
    drain_seconds: float,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Load these ensembles as they now are in the repository, then unload the stages that nothing names any more.

    drain_seconds: how long a request that began on the old stages may take. Raises ServerError where the new version
    cannot be loaded; the server then goes on with the old one.
    """
    say = progress or (lambda _: None)
    client = _Control(state)
    try:
        for model in models:
            say(f"loading {model}")
            client.load(model)
        names = client.loaded_stages(models)
        unused = names - client.used_stages(models)
        if unused:
            say("answering what is in flight on the old version")
            time.sleep(drain_seconds)
            for name in sorted(unused):
                client.unload(name)
    finally:
        client.close()


def unload(state: ServerState, models: Sequence[str]) -> None:
    """Take models out of a running server. Raises ServerError."""
    client = _Control(state)
    try:
        for model in models:
            client.unload(model)
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

    def loaded_stages(self, models: Sequence[str]) -> set[str]:
        """Stages of these models, of any version, that the server holds."""
        index = self._call(
            "list the models", self._client.get_model_repository_index, client_timeout=SHORT_SECONDS
        )
        ready = {model.name for model in index.models if model.state == "READY"}
        return {name for name in ready if (m := STAGE_NAME.fullmatch(name)) and m["name"] in models}

    def used_stages(self, models: Sequence[str]) -> set[str]:
        """Stages that the loaded ensembles name."""
        used = set()
        for model in models:
            answer = self._call(
                f"ask for {model}", self._client.get_model_config, model, client_timeout=SHORT_SECONDS
            )
            used |= {step.model_name for step in answer.config.ensemble_scheduling.step}
        return used

    def _call(self, what: str, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        restricted = call.__name__ not in ("get_model_config",)
        try:
            return call(*arguments, headers=self._headers if restricted else None, **keywords)
        except self._triton.InferenceServerException as error:
            raise ServerError(f"the server could not {what}: {error.message()}") from error
