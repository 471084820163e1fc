# SPDX-License-Identifier: Apache-2.0
"""Gives clients a version, also those of a server that is running; what fails leaves them the version they had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sightline.builders.repository import make_public, public_models, versions
from sightline.errors import BuildError, ServerError

_IN_FLIGHT_SECONDS = 1.0


def publish_version(
    repository: Path,
    name: str,
    number: int,
    before: int | None,
    progress: Callable[[str], None] | None = None,
) -> bool:
    """Tell the server that serves the repository, if there is one, that version `number` is public; whether there is.

    before: the version that was public. Raises BuildError where the server cannot load the new one; `before` is public
    again then, and the server has gone on with it.
    """
    from sightline.deploy.local.reload import load_public, serving

    state = serving(repository)
    if state is None:
        return False
    wait = _queue_seconds(repository, name) + _IN_FLIGHT_SECONDS
    try:
        load_public(state, public_models(name), drain_seconds=wait, progress=progress)
    except ServerError as error:
        if before is None:
            raise BuildError(f"version {number} of {name} does not load: {error}") from error
        make_public(repository, name, before)
        raise BuildError(
            f"version {number} of {name} does not load, so that {before} is public again: {error}"
        ) from error
    return True


def _queue_seconds(repository: Path, name: str) -> float:
    """The longest that a request may wait before a stage of any version."""
    cards = (version.manifest.get("card", {}) for version in versions(repository, name))
    waits = [card.get("engine", {}).get("queue_seconds", 0) for card in cards if isinstance(card, dict)]
    return float(max(waits, default=0))
