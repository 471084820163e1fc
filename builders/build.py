# SPDX-License-Identifier: Apache-2.0
"""The whole way from a model card to a version in a repository."""

from __future__ import annotations

import errno
import hashlib
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sightline.builders.cards import check_plain, with_defaults
from sightline.builders.engine import BuiltEngine, build_engine, engine_kind
from sightline.builders.entries.context import EntryContext, Target
from sightline.builders.network import CanonicalNetwork, canonical_network
from sightline.builders.onnx_source import OnnxSource, open_onnx
from sightline.builders.records import Records, open_records, record_built, record_refused
from sightline.builders.repository import (
    check_replaceable,
    install_version,
    make_public,
    next_number,
    remove_leftovers,
    staging_folder,
)
from sightline.builders.rules import refuse_broken
from sightline.builders.sources import ExportedModel, export_source
from sightline.builders.stopping import deferred_signals
from sightline.builders.version import (
    TRIAL,
    VersionFacts,
    keep_refused,
    remove_bytecode,
    trial_repository,
    write_proof,
    write_version,
)
from sightline.card import ModelCard
from sightline.deploy.local.sweep import sweep_dead_runs
from sightline.errors import BuildError, CardError, OutputError

if TYPE_CHECKING:
    from sightline.builders.proof import Proof

_CLAIM_SECONDS = 2.0
Step = Literal["check", "export", "convert", "engine", "preprocess", "write", "prove", "publish"]
STEPS: tuple[Step, ...] = get_args(Step)


class Progress:
    """Told what a build does; subclass it to show that. Nothing is shown by default."""

    def step(self, name: Step) -> None:
        """A step begins."""

    def part(self, what: str, done: int, total: int) -> None:
        """So much of the step is done; total is 0 where that is not known."""

    def built(self, report: BuildReport) -> None:
        """The version and its record are in the repository."""


@dataclass(frozen=True)
class Choices:
    """How a build is done. target: where the model will run. publish: clients get the version from now on.

    prove: compare the served model with its source before. allow_drift: keep a version that fails the comparison, not
    public. measure: choose the faster preprocessing by measuring (target local).
    """

    target: Target = "local"
    publish: bool = True
    prove: bool = False
    allow_drift: bool = False
    measure: bool = False


@dataclass(frozen=True)
class BuildReport:
    """What a build did. milliseconds_per_image: the network alone, one thread, in the test run; 0 where it did not run.

    before: the version that clients had; None where there was none. public: whether clients get this one.
    step_seconds: by step.
    """

    name: str
    number: int
    target: Target
    repository: Path
    models: tuple[str, ...]
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    raw_shapes: tuple[tuple[int, ...], ...]
    head: str
    origin: str
    engine: str
    precision: str
    compared_with: str
    largest_difference: float
    milliseconds_per_image: float
    instances: int
    before: int | None
    public: bool
    seconds: float
    step_seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    proof: tuple[str, ...] = ()


def repository_from_card(
    card: ModelCard, repository: Path, choices: Choices | None = None, *, progress: Progress | None = None
) -> BuildReport:
    """Build the card's model and write it as the next version into `repository`.

    Raises CardError, BuildError and its subclasses, MissingDependencyError, or OutputError; the versions that are there
    stay whole then.
    """
    return _Build(card, repository, choices or Choices(), progress or Progress()).run()


class _Build:
    """One build; each step leaves what the next ones need."""

    def __init__(self, card: ModelCard, repository: Path, choices: Choices, progress: Progress) -> None:
        self._card, self._repository, self._choices, self._progress = card, repository, choices, progress
        self._started: list[tuple[str, float]] = []

    def run(self) -> BuildReport:
        name = self._card.name
        self._step("check")
        check_labels(self._card.labels)
        check_source(self._card)
        engine_kind(self._card, self._choices.target)
        check_replaceable(self._repository, name)
        sweep_dead_runs()  # a build that was killed during its proof leaves a server's memory
        with (
            only_build(self._repository, name),
            staging_folder(self._repository) as staging,
            open_records(self._repository) as records,
        ):
            self._step("export")
            exported, source = self._export(staging)
            self._step("convert")
            network = canonical_network(source, self._card)
            check_labels(network.plan.labels)
            number = max(next_number(self._repository, name), records.last_number(name) + 1)
            self._step("engine")
            (staging / "engine").mkdir()
            target = self._choices.target
            built = build_engine(network, self._card, target, staging / "engine", self._progress.part)
            preprocess = self._measure()
            self._step("write")
            facts = VersionFacts(
                self._card, source, exported.origin, network, number, target, built, preprocess
            )
            context = write_version(facts, staging)
            refuse_broken(trial_repository(staging, name, number), target)
            proof = self._prove(facts, exported, staging, records) if self._choices.prove else None
            public = self._choices.publish and (proof is None or proof.passed)
            self._step("publish")
            with deferred_signals():  # a version with its record, or none
                before = self._install(staging, number, public)
                report = self._report(context, network, exported, built, public, before, proof)
                report = record_built(records, report, self._card, proof)
                self._progress.built(report)
        return report

    def _export(self, staging: Path) -> tuple[ExportedModel, OnnxSource]:
        """The source as ONNX, checked; the card learns what the source knows."""
        exported = export_source(self._card, lambda what: self._progress.part(what, 0, 0))
        self._card = with_defaults(self._card, exported.defaults)
        if self._card.scheme == "file" and exported.reference is None:
            check_onnx_fields(self._card)
            return exported, open_onnx(self._card.source_path)
        path = staging / "export" / f"{_file_name(self._card)}.onnx"
        path.parent.mkdir()
        path.write_bytes(exported.content)
        return exported, open_onnx(path)

    def _measure(self) -> dict[str, Any]:
        if not self._choices.measure or self._choices.target != "local":
            return {}
        from sightline.builders.preprocess.choice import measure_preprocessing

        self._step("preprocess")
        choice = measure_preprocessing(self._card)
        return {**choice.as_json(), "stage": choice.stage}

    def _prove(self, facts: VersionFacts, exported: ExportedModel, staging: Path, records: Records) -> Proof:
        """Raises BuildError where the served model drifts from its source and that is not allowed."""
        from sightline.builders.proof import ProofSubject, prove

        self._step("prove")
        subject = ProofSubject(
            card=self._card,
            source=facts.source,
            network=facts.network,
            origin=exported.origin,
            reference=exported.reference,
            repository=staging / TRIAL,
            number=facts.number,
            facts={"engine": f"{facts.built.engine.kind}, {facts.built.engine.precision}"},
        )
        proof = prove(subject, progress=self._progress.part)
        if not proof.passed and not self._choices.allow_drift:
            page = keep_refused(self._card.name, proof.report)
            record_refused(records, staging / "new", self._card, facts.number, proof, page, self._seconds())
            raise BuildError(
                f"the served model {proof.verdict}:\n  "
                + "\n  ".join(proof.failures)
                + f"\nThe report is {page}. Nothing was published; --allow-drift keeps the version without publishing it"
            )
        remove_bytecode(staging / "new")
        write_proof(staging / "new", self._card.name, facts.number, proof)
        return proof

    def _install(self, staging: Path, number: int, public: bool) -> int | None:
        name = self._card.name
        install_version(staging / "new", self._repository, name, number)
        before = make_public(self._repository, name, number) if public else None
        remove_leftovers(self._repository, name)
        return before

    def _report(
        self,
        context: EntryContext,
        network: CanonicalNetwork,
        exported: ExportedModel,
        built: BuiltEngine,
        public: bool,
        before: int | None,
        proof: Proof | None,
    ) -> BuildReport:
        engine, seconds = built.engine, self._seconds()
        return BuildReport(
            name=self._card.name,
            number=context.number,
            target=context.target,
            repository=self._repository,
            models=context.public,
            labels=context.labels,
            input_size=self._card.input.size,
            raw_shapes=network.shapes,
            head=network.plan.why,
            origin=exported.origin,
            engine=f"{engine.kind} {engine.version.partition('-')[0]}",
            precision=engine.precision,
            compared_with=engine.compared_with,
            largest_difference=engine.largest_difference,
            milliseconds_per_image=engine.milliseconds,
            instances=context.network_instances,
            before=before,
            public=public,
            seconds=sum(seconds.values()),
            step_seconds=seconds,
            notes=engine.notes,
            proof=(proof.summary, *proof.failures) if proof else (),
        )

    def _step(self, name: Step) -> None:
        self._started.append((name, time.monotonic()))
        self._progress.step(name)

    def _seconds(self) -> dict[str, float]:
        ends = [*(begun for _, begun in self._started[1:]), time.monotonic()]
        return {name: end - begun for (name, begun), end in zip(self._started, ends, strict=True)}


@contextmanager
def only_build(repository: Path, name: str) -> Iterator[None]:
    """One build of a model at a time. The kernel forgets the claim with its holder. Raises BuildError."""
    place = hashlib.sha256(f"{repository.resolve()}:{name}".encode()).hexdigest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as claim:
        try:
            if not _bound(claim, f"\0sightline-build-{place}"):
                raise BuildError(
                    f"another build of '{name}' into {repository} is under way; "
                    "wait until it is done, or choose another --name"
                )
        except OSError as error:
            raise OutputError(f"no claim on the build of '{name}' can be made: {error.strerror}") from error
        yield


def _bound(claim: socket.socket, place: str) -> bool:
    """Whether the place is free, now or in a moment: a child of a build that has just failed may still hold it."""
    until = time.monotonic() + _CLAIM_SECONDS
    while True:
        try:
            claim.bind(place)
            return True
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if time.monotonic() > until:
                return False
        time.sleep(0.05)


def check_source(card: ModelCard) -> None:
    """Raise ModelFileError for a path that is missing, or that would be read for ever, before anything is made."""
    if card.scheme == "file":
        check_plain(card.source_path, "source")
    paths = {
        "weights": card.weights,
        "calibration.images": card.calibration.images,
        "proof.images": card.proof.images,
    }
    for field_name, path in paths.items():
        if path is not None:
            check_plain(path, field_name)


def check_onnx_fields(card: ModelCard) -> None:
    """Raise CardError for fields that choose something in other sources and would do nothing here."""
    for name in ("weights", "source_args", "branch"):
        if getattr(card, name):
            raise CardError(
                f"{name} is given, and {card.source_path.name} is an ONNX file, which has its own weights and no choices; "
                f"remove {name}"
            )


def check_labels(labels: tuple[str, ...]) -> None:
    """Raise CardError for a label that would break a labels file."""
    for label in labels:
        if not label.isprintable() or not label.strip() or len(label) > 200:
            raise CardError(f"the label {label!r} must be 1 to 200 printable characters on one line")


def _file_name(card: ModelCard) -> str:
    last = card.source.partition(":")[2] if card.scheme != "file" else card.source_path.stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", last).strip("._-")[:64] or "model"
