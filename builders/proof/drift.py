# SPDX-License-Identifier: Apache-2.0
"""Where served answers drift from the source's: each stage with the same input as its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sightline.builders.proof.measures import with_area
from sightline.builders.proof.served_side import ServedSide
from sightline.builders.proof.source_side import SourceAnswer, SourceSide, canonical_run
from sightline.builders.proof.subject import ProofSubject, StageDrift
from sightline.builders.tasks import TASKS
from sightline.builders.train.evaluate import box_iou
from sightline.clients._answers import question
from sightline.clients._wire import Description
from sightline.errors import BadInputError
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

Floats = NDArray[np.float32]
POSTPROCESS = "post-processing"
# Mean differences that rounding explains, as shares of an output's spread.
_EXPORT, _CANONICAL, _POSTPROCESS = 2e-3, 1e-4, 0.02
_ENGINE = {"fp32": 2e-3, "fp16": 1e-2, "bf16": 3e-2, "int8": 8e-2, "fp8": 8e-2}
_LEVELS = 1.0
_SAME_BOX = 0.9


@dataclass
class DriftMeter:
    """Collects the differences of every stage, a picture at a time."""

    subject: ProofSubject
    source: SourceSide
    served: ServedSide
    _seen: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._canonical = canonical_run(self.subject.network)
        labels = self.subject.network.plan.labels
        card = self.subject.card
        self._question = question(card.name, Description(labels=labels, task=card.task), "infer")

    def add(self, picture: NDArray[np.uint8], answer: SourceAnswer) -> tuple[Floats, ...]:
        """Compare all stages on one picture; the outputs of the served network for it."""
        exported = self.source.raw(self.source.exported(answer.tensor[None]))
        canonical = tuple(output[0] for output in self._canonical(answer.tensor[None]))
        engine = self.served.network(answer.tensor)
        if self.subject.reference is not None:
            self._share("export", answer.raw, exported)
        self._share("canonical form", exported, canonical)
        self._levels("decode and preprocess", answer.tensor, self.served.decode(picture))
        self._levels("preprocess frames", answer.tensor, self.served.letterbox(picture))
        self._share("engine", canonical, engine)
        self.postprocess(picture, answer, answer.result)
        return engine

    def stages(self) -> tuple[StageDrift, ...]:
        """What was found, in the order of the way."""
        precision = self.subject.card.engine.precision
        share = "mean difference ÷ spread"
        plans = (
            ("export", share, _EXPORT),
            ("canonical form", share, _CANONICAL),
            ("decode and preprocess", "levels of 255", _LEVELS),
            ("preprocess frames", "levels of 255", _LEVELS),
            ("engine", f"mean difference ÷ spread, {precision}", _ENGINE[precision]),
            (POSTPROCESS, "share of other answers", _POSTPROCESS),
        )
        made = []
        for stage, what, allowed in plans:
            seen = self._seen.get(stage)
            if seen:
                means, largest = zip(*seen, strict=True)
                made.append(StageDrift(stage, what, float(np.mean(means)), float(max(largest)), allowed))
        return tuple(made)

    def _share(self, stage: str, wanted: Sequence[Floats], got: Sequence[Floats]) -> None:
        for a, b in zip(wanted, got, strict=True):
            spread = max(float(a.std()), float(np.abs(a).mean()), 1e-12)
            difference = np.abs(a.astype(np.float64) - b) / spread
            self._note(stage, float(difference.mean()), float(difference.max(initial=0)))

    def _levels(self, stage: str, wanted: Floats, got: Floats) -> None:
        std = np.asarray(self.subject.card.input.std, np.float64).reshape(3, 1, 1)
        difference = np.abs(wanted.astype(np.float64) - got) * std
        self._note(stage, float(difference.mean()), float(difference.max()))

    def forget_postprocess(self) -> None:
        """Two empty answers say nothing."""
        self._seen.pop(POSTPROCESS, None)

    def postprocess(self, picture: NDArray[np.uint8], answer: SourceAnswer, wanted: Result) -> None:
        """Compare the stage's answer to the source's outputs with the one that is wanted."""
        names = tuple(spec.name for spec in TASKS[self.subject.card.task].outputs)
        outputs = self.served.postprocess(answer.raw, answer.geometry, names)
        size = picture.shape[1], picture.shape[0]
        found = self._question.results(outputs, lambda _: size)[0]
        share = 1.0 if isinstance(found, BadInputError) else _other_share(wanted, found)
        self._note(POSTPROCESS, share, share)

    def _note(self, stage: str, mean: float, largest: float) -> None:
        self._seen.setdefault(stage, []).append((mean, largest))


def _other_share(wanted: Result, got: Result) -> float:
    """0 where two answers are the same, 1 where nothing of them is."""
    if isinstance(wanted, Classification) and isinstance(got, Classification):
        count = min(len(wanted), len(got))
        return float(np.mean(wanted.classes[:count] != got.classes[:count])) if count else 0.0
    if isinstance(wanted, ClassMap) and isinstance(got, ClassMap):
        return float(np.mean(wanted.classes != got.classes))
    if isinstance(wanted, Embedding) and isinstance(got, Embedding):
        return 1.0 - wanted.cosine(got)
    if isinstance(wanted, Detections) and isinstance(got, Detections):
        return _other_objects(with_area(wanted), with_area(got))
    return 1.0


def _other_objects(wanted: Detections, got: Detections) -> float:
    """Share of objects of either answer without one of the same class in the same place in the other."""
    if not len(wanted) and not len(got):
        return 0.0
    same = wanted.classes[:, None] == got.classes[None]
    near = (box_iou(wanted.boxes, got.boxes) >= _SAME_BOX) & same
    lonely = int((~near.any(axis=1)).sum()) + int((~near.any(axis=0)).sum())
    return lonely / (len(wanted) + len(got))
