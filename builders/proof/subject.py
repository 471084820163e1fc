# SPDX-License-Identifier: Apache-2.0
"""What is proven, and what the proof says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sightline.builders.network import CanonicalNetwork
from sightline.builders.onnx_source import OnnxSource
from sightline.builders.sources.base import Reference
from sightline.card import ModelCard


@dataclass(frozen=True)
class ProofSubject:
    """A version before it is public.

    source: the ONNX as the source exported it. reference: runs the original framework; None where the source is ONNX.
    repository: a complete Triton repository that holds this version as its only model. number: of the version.
    facts: lines for the report, such as the engine and its precision.
    """

    card: ModelCard
    source: OnnxSource
    network: CanonicalNetwork
    origin: str
    reference: Reference | None
    repository: Path
    number: int
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def finds_objects(self) -> bool:
        """Whether the model answers with objects, of which there may be none."""
        return self.card.task in ("detect", "segment")


@dataclass(frozen=True)
class Measure:
    """One comparison with its threshold in the card. counted: how many pictures, pairs or pixels it is made of."""

    name: str
    what: str
    value: float
    threshold: float
    higher_is_better: bool
    counted: int

    @property
    def passed(self) -> bool:
        """Whether the card's threshold is kept."""
        return self.value >= self.threshold if self.higher_is_better else self.value <= self.threshold


@dataclass(frozen=True)
class StageDrift:
    """How far one stage is from its reference when both get the same input.

    mean, largest: as a share of the reference's spread, or in the unit that `what` names. allowed: of the mean.
    """

    stage: str
    what: str
    mean: float
    largest: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the stage drifts no more than rounding explains."""
        return self.mean <= self.allowed


@dataclass(frozen=True)
class Proof:
    """How the served model answers against its source.

    faults: why it fails whatever the measures say: one side finds nothing, or there was nothing to compare. score: from
    which on objects were compared, where the source finds none at the card's.
    """

    measures: tuple[Measure, ...]
    stages: tuple[StageDrift, ...]
    pictures: int
    data: str
    served_by: str
    seconds: float
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    score: float | None = None
    report: bytes = field(default=b"", repr=False)

    @property
    def passed(self) -> bool:
        """Whether every measure keeps its threshold, and nothing else is at fault."""
        return not self.faults and all(measure.passed for measure in self.measures)

    @property
    def verdict(self) -> str:
        """What is said of the served model."""
        if self.passed:
            return "answers like its source"
        unknown = all(measure.passed and measure.name == "tensor_error" for measure in self.measures)
        return "is not proven to answer like its source" if unknown else "does not answer like its source"

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each measure below its threshold, and where it drifted; then the faults."""
        drifted = [stage.stage for stage in self.stages if not stage.passed]
        where = f" It drifted in: {', '.join(drifted)}." if drifted else ""
        measures = tuple(
            f"{measure.what} is {measure.value:.3f}; the card asks for {measure.threshold:g} (proof.{measure.name}).{where}"
            for measure in self.measures
            if not measure.passed
        )
        return (*measures, *self.faults)

    @property
    def summary(self) -> str:
        """The measures in one line."""
        return ", ".join(f"{measure.what} {measure.value:.3f}" for measure in self.measures)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the report."""
        return {
            "passed": self.passed,
            "measures": [{**asdict(measure), "passed": measure.passed} for measure in self.measures],
            "stages": [{**asdict(stage), "passed": stage.passed} for stage in self.stages],
            "pictures": self.pictures,
            "data": self.data,
            "served_by": self.served_by,
            "seconds": round(self.seconds, 2),
            "notes": list(self.notes),
            "faults": list(self.faults),
            "score": self.score,
        }
