# SPDX-License-Identifier: Apache-2.0
"""Gives clients a version, also those of a server that is running; what fails leaves them the version they had."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sightline.builders.repository import PUBLIC, make_public, public_models, public_number, versions
from sightline.errors import BuildError, ServerError
from sightline.naming import stage_model
from sightline.runtime import process_start_ticks

Say = Callable[[str], None]
_STAGES_OF_A_REQUEST = 3
_IN_FLIGHT_SECONDS = 10.0
_WAIT_SECONDS = 30.0
_PARTIAL = re.compile(r"\.[A-Za-z0-9_.-]+\.(?P<pid>[1-9][0-9]*)")


@dataclass(frozen=True)
class Switched:
    """before: the version that was public. served: whether a server is running, which has changed over too."""

    before: int | None
    served: bool


def switch_version(repository: Path, name: str, number: int, progress: Say | None = None) -> Switched:
    """Make this version the public one, and tell the server that serves the repository, if there is one.

    The server loads the version's stages before anything is changed. One switch of a model at a time; it completes one
    that was cut off. Raises BuildError where there is no such version, another switch is under way, or the server cannot
    load it; the version before goes on then. Raises OutputError where the folders cannot be written.
    """
    from sightline.deploy.local.reload import load_stages, serving

    with _only_switch(repository, name):
        state = serving(repository)
        folder = repository / stage_model(name, number, "network") / PUBLIC
        if state is not None and folder.is_dir():
            try:
                load_stages(state, public_models(name), folder, progress)
            except ServerError as error:
                public = public_number(repository, name)
                raise BuildError(
                    f"version {number} of {name} does not load; {_goes_on(public)}: {error}"
                ) from error
        before = make_public(repository, name, number)
        _sweep_partial_files(repository, name)
        return Switched(before, _tell(repository, name, number, before, progress))


def publish_version(
    repository: Path,
    name: str,
    number: int,
    before: int | None,
    progress: Say | None = None,
) -> bool:
    """Tell the server that serves the repository, if there is one, that version `number` is public; whether there is.

    before: the version that was public. Raises BuildError where the server cannot load the new one; `before` is public
    again then, and the server has gone on with it.
    """
    with _only_switch(repository, name):
        return _tell(repository, name, number, before, progress)


def _tell(repository: Path, name: str, number: int, before: int | None, progress: Say | None) -> bool:
    from sightline.deploy.local.reload import load_public, serving

    state = serving(repository)
    if state is None:
        return False
    wait = _longest_request_seconds(repository, name)
    try:
        load_public(state, public_models(name), drain_seconds=wait, progress=progress)
    except ServerError as error:
        if public_number(repository, name) == number and before != number:
            if before is None:
                _withdraw(repository, name)
            else:
                make_public(repository, name, before)
                with suppress(
                    ServerError
                ):  # one of the two ensembles may have changed over before the other failed
                    load_public(state, public_models(name), drain_seconds=wait)
        public = public_number(repository, name)
        raise BuildError(f"version {number} of {name} does not load; {_goes_on(public)}: {error}") from error
    return True


def _goes_on(public: int | None) -> str:
    return "no version is public" if public is None else f"version {public} is public and goes on"


def check_whole(repository: Path, name: str, number: int) -> None:
    """Raise BuildError where a file of a version is not what the build wrote."""
    version = next((v for v in versions(repository, name) if v.number == number), None)
    files = version.manifest.get("files", {}) if version else {}
    for file, digest in files.items() if isinstance(files, dict) else ():
        try:
            found = hashlib.sha256((repository / file).read_bytes()).hexdigest()
        except OSError as error:
            raise BuildError(f"version {number} of {name} is damaged: {file}: {error.strerror}") from error
        if found != digest:
            raise BuildError(
                f"version {number} of {name} is damaged: {file} is not what the build wrote; build it again"
            )


def _withdraw(repository: Path, name: str) -> None:
    """Take away the ensembles of a first version that does not load: with them no server would start."""
    for model in public_models(name):
        shutil.rmtree(repository / model, ignore_errors=True)


def _sweep_partial_files(repository: Path, name: str) -> None:
    """Remove what a killed process left in the public folders."""
    for model in public_models(name):
        for path in (repository / model).iterdir():
            match = _PARTIAL.fullmatch(path.name)
            if match and path.is_file() and process_start_ticks(int(match["pid"])) is None:
                path.unlink(missing_ok=True)


@contextmanager
def _only_switch(repository: Path, name: str) -> Iterator[None]:
    """One switch of a model at a time. The kernel forgets the claim with its holder. Raises BuildError."""
    place = hashlib.sha256(f"{repository.resolve()}:{name}".encode()).hexdigest()
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0sightline-switch-{place}")
            break
        except OSError as error:
            claim.close()
            if time.monotonic() > deadline:
                raise BuildError(
                    f"another promotion or rollback of '{name}' in {repository} is under way; try again when it is done"
                ) from error
            time.sleep(0.05)
    with claim:
        yield


def _longest_request_seconds(repository: Path, name: str) -> float:
    """The longest that a request may take: it may wait before each stage."""
    cards = (version.manifest.get("card", {}) for version in versions(repository, name))
    waits = [card.get("engine", {}).get("queue_seconds", 0) for card in cards if isinstance(card, dict)]
    return _STAGES_OF_A_REQUEST * float(max(waits, default=0)) + _IN_FLIGHT_SECONDS
