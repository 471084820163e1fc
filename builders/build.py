# SPDX-License-Identifier: Apache-2.0
"""The whole way from a model card to a version in a repository."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from sightline.builders.engines.cpu import Engine
from sightline.builders.entries.context import Target
from sightline.builders.network import CanonicalNetwork, canonical_network
from sightline.builders.onnx_source import open_onnx
from sightline.builders.repository import (
    check_replaceable,
    install_version,
    make_public,
    next_number,
    remove_leftovers,
    staging_folder,
)
from sightline.builders.version import VersionFacts, write_version
from sightline.card import ModelCard
from sightline.errors import BuildError, CardError

Step = Literal["check", "convert", "engine", "write", "publish"]
STEPS: tuple[Step, ...] = get_args(Step)
Progress = Callable[[Step], None]


@dataclass(frozen=True)
class BuildReport:
    """What a build did. milliseconds_per_image: the network alone, one thread, in the test run; 0 where it did not run.

    before: the version that clients had; None where there was none. public: whether clients get this one.
    """

    name: str
    number: int
    repository: Path
    models: tuple[str, ...]
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    raw_shapes: tuple[tuple[int, ...], ...]
    head: str
    engine: str
    precision: str
    compared_with: str
    largest_difference: float
    milliseconds_per_image: float
    instances: int
    before: int | None
    public: bool
    seconds: float
    notes: tuple[str, ...] = ()


def repository_from_card(
    card: ModelCard,
    repository: Path,
    *,
    target: Target = "local",
    publish: bool = True,
    progress: Progress | None = None,
) -> BuildReport:
    """Build the card's model and write it as the next version into `repository`.

    target: where it will run. publish: clients get it from now on; else it waits for `sightline models promote`.
    progress: called with the name of each step (STEPS) when it begins.
    Raises CardError, BuildError and its subclasses, or OutputError; the versions that are there stay whole then.
    """
    started = time.monotonic()
    step = progress or (lambda _: None)
    step("check")
    check_labels(card.labels)
    check_replaceable(repository, card.name)
    source = open_onnx(card.source_path)
    step("convert")
    network = canonical_network(source, card)
    with only_build(repository, card.name), staging_folder(repository) as staging:
        facts = VersionFacts(card, source, network, next_number(repository, card.name), target)
        step("engine")
        (staging / "engine").mkdir()
        engine = _write_engine(network, card, target, staging / "engine")
        step("write")
        context = write_version(facts, engine, staging)
        install_version(staging / "new", repository, card.name, facts.number)
        step("publish")
        before = make_public(repository, card.name, facts.number) if publish else None
        remove_leftovers(repository, card.name)
    return BuildReport(
        name=card.name,
        number=facts.number,
        repository=repository,
        models=context.public,
        labels=network.plan.labels,
        input_size=card.input.size,
        raw_shapes=network.shapes,
        head=network.plan.why,
        engine=f"{engine.kind} {engine.version.partition('-')[0]}",
        precision=engine.precision,
        compared_with=engine.compared_with,
        largest_difference=engine.largest_difference,
        milliseconds_per_image=engine.milliseconds,
        instances=context.network_instances,
        before=before,
        public=publish,
        seconds=time.monotonic() - started,
        notes=engine.notes,
    )


@contextmanager
def only_build(repository: Path, name: str) -> Iterator[None]:
    """One build of a model at a time. The kernel forgets the claim with its holder. Raises BuildError."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    address = f"\0sightline-build:{repository.resolve()}:{name}"
    with claim:
        try:
            claim.bind(address if len(address) < 100 else f"\0sightline-build:{hash(address)}")
        except OSError as error:
            raise BuildError(
                f"another build of '{name}' into {repository} is under way; wait until it is done, or choose another --name"
            ) from error
        yield


def check_labels(labels: tuple[str, ...]) -> None:
    """Raise CardError for a label that would break a labels file."""
    for label in labels:
        if not label.isprintable() or not label.strip() or len(label) > 200:
            raise CardError(f"the label {label!r} must be 1 to 200 printable characters on one line")


def _write_engine(network: CanonicalNetwork, card: ModelCard, target: Target, folder: Path) -> Engine:
    from sightline.builders.engines.openvino import write_openvino

    engine = write_openvino(network.content, card, folder)
    return replace(engine, shapes=network.shapes)
