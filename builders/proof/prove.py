# SPDX-License-Identifier: Apache-2.0
"""The proof: pictures through the source and through the real server, compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sightline.builders.calibration import PictureSource, calibration_pictures
from sightline.builders.proof.drift import POSTPROCESS, DriftMeter
from sightline.builders.proof.lower import LowerScore
from sightline.builders.proof.measures import Pair, TensorError, agreement, border, looser, object_count
from sightline.builders.proof.report import Shown, report_page
from sightline.builders.proof.sameness import sameness
from sightline.builders.proof.served_side import ServedSide
from sightline.builders.proof.source_side import SourceAnswer, SourceSide
from sightline.builders.proof.subject import Measure, Proof, ProofSubject
from sightline.results import Detections, Result

Picture = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]
MOST_SHOWN = 6
SERVED_BY = "tritonserver 2.51.0"
_ADVICE = (
    "Give pictures that show what the model was trained on (--images FOLDER, or proof.images in the card), "
    "or correct how the card reads the network's outputs (head, head.outputs)"
)
_STAGES = (
    "The stages that drift are at fault: where it is the engine, choose another precision (engine.precision: fp32), "
    "else correct how the card has its input and head"
)


def prove(subject: ProofSubject, *, progress: Progress | None = None) -> Proof:
    """Compare the served model with its source on the card's pictures, or on drawn ones.

    Raises BuildError where pictures or stages cannot be used, MissingDependencyError where the server is not installed,
    ServerStartError where the version does not load.
    """
    started = time.monotonic()
    say = progress or (lambda *_: None)
    say("start tritonserver", 0, 0)
    spec, found = subject.card.proof, PictureSource()
    source = SourceSide(subject)
    errors = [TensorError() for _ in subject.network.shapes]
    pairs: list[Pair] = []
    shown: list[Shown] = []
    with ServedSide(subject) as served:
        meter, lower = DriftMeter(subject, source, served), LowerScore(subject.card, source)
        for number, picture in enumerate(calibration_pictures(spec.images, spec.samples, found), 1):
            say("pictures", number, spec.samples)
            answer = source.answer(picture)
            for error, raw, engine in zip(errors, answer.raw, meter.add(picture, answer), strict=True):
                error.add(raw, engine)
            pairs.append(
                Pair(answer.result, _served(served, picture, number), _loose(subject, source, answer))
            )
            shown = _telling([*shown, Shown(picture, pairs[-1])])
            lower.add(picture, answer)
        compared = _Compared(agreement(subject.card, pairs), shown, pairs)
        if subject.finds_objects and not _counts_objects(compared.measures):
            compared = _compared_lower(subject, lower, served, meter, compared)
    proof = Proof(
        measures=(_tensors(subject, errors, pairs), *compared.measures),
        stages=meter.stages(),
        pictures=len(pairs),
        data=f"{len(pairs)} pictures of {found.origin}",
        served_by=SERVED_BY,
        seconds=time.monotonic() - started,
        notes=(*compared.notes, *_notes(subject, pairs)),
        faults=(*compared.faults, *_one_sided(subject, compared.pairs)),
        score=compared.score,
    )
    return replace(proof, report=report_page(subject, proof, compared.shown))


@dataclass(frozen=True)
class _Compared:
    """Answers and how well they agree. score: from which on, where that is not the card's."""

    measures: Sequence[Measure]
    shown: Sequence[Shown]
    pairs: Sequence[Pair]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    score: float | None = None


def _compared_lower(
    subject: ProofSubject, lower: LowerScore, served: ServedSide, meter: DriftMeter, at_card: _Compared
) -> _Compared:
    """The source's best candidates, where it finds no object: by the same server, asked for a lower score."""
    if not lower.score > 0:
        return replace(at_card, faults=(_nothing(lower),))
    served.ask_from(lower.asked)
    meter.forget_postprocess()
    pairs: list[Pair] = []
    shown: list[Shown] = []
    for number, one in enumerate(lower.kept, 1):
        meter.postprocess(one.picture, one.answer, lower.at_asked(one.answer))
        got = _served(served, one.picture, number)
        pairs.append(Pair(lower.best(one.answer), got, lower.near(one.answer)))
        if isinstance(got, Detections):  # what it was asked for besides is not shown
            got = got.above(lower.limits.score)
        shown = _telling([*shown, Shown(one.picture, replace(pairs[-1], served=got))])
    card = subject.card.model_copy(update={"limits": lower.limits})
    measures = [
        replace(measure, what=f"{measure.what}, from score {lower.score:.2g}")
        for measure in agreement(card, pairs)
    ]
    note = (
        f"At the card's score {subject.card.limits.score:g} the source finds nothing in these pictures. Its best "
        f"candidates, from score {lower.score:.2g} on, were compared instead: the server's post-processing was asked for "
        "them. Pictures that show what the model was trained on prove more (--images FOLDER, or proof.images in the card)."
    )
    faults = _otherwise(meter) if _counts_objects(measures) else (_nothing(lower),)
    return _Compared(measures, shown, pairs, (note,), faults, lower.score)


def _otherwise(meter: DriftMeter) -> tuple[str, ...]:
    """The post-processing's fault, which so few candidates would hide."""
    return tuple(
        "The served post-processing answers otherwise than its reference to the same outputs of the network: "
        f"{stage.mean:.0%} of the objects differ."
        for stage in meter.stages()
        if stage.stage == POSTPROCESS and not stage.passed
    )


def _counts_objects(measures: Sequence[Measure]) -> bool:
    return any(measure.name == "map" for measure in measures)


def _nothing(lower: LowerScore) -> str:
    rows = (
        f"although its head has {lower.rows:,} rows for a picture"
        if lower.rows
        else "its outputs have no rows"
    )
    return f"Nothing is proven: the source finds no object at any score, {rows}. {_ADVICE}."


def _one_sided(subject: ProofSubject, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """What to do where one side finds nothing in any picture, and the other does."""
    if not subject.finds_objects:
        return ()
    source, served = (
        sum(object_count(getattr(pair, side)) for pair in pairs) for side in ("source", "served")
    )
    if source and not served:
        return (f"The served model finds nothing where the source finds {source:,} objects. {_STAGES}.",)
    if served and not source:
        return (f"The source finds nothing where the served model finds {served:,} objects. {_ADVICE}.",)
    return ()


def _served(served: ServedSide, picture: Picture, number: int) -> Result:
    """One way into the server a picture, in turns: the same answers are asked of both."""
    return served.frame(picture) if number % 2 else served.file(picture)


def _loose(subject: ProofSubject, source: SourceSide, answer: SourceAnswer) -> Detections | None:
    """The source's detections from a little below the score limit on."""
    if not subject.finds_objects:
        return None
    limits = subject.card.limits
    lower = looser(limits, limits.score - border(limits.score), limits.detections * 2)
    return source.boxes(answer.raw, answer.geometry, lower)


def _tensors(subject: ProofSubject, errors: Sequence[TensorError], pairs: Sequence[Pair]) -> Measure:
    worst, limit = max(error.value for error in errors), subject.card.proof.tensor_error
    return Measure("tensor_error", "tensor error", worst, limit, False, len(pairs))


def _notes(subject: ProofSubject, pairs: Sequence[Pair]) -> tuple[str, ...]:
    onnx = () if subject.reference else ("The source is ONNX: it was run by ONNX Runtime in fp32.",)
    return (*sameness(subject.card, [pair.source for pair in pairs]), *onnx)


def _telling(shown: Sequence[Shown]) -> list[Shown]:
    """The pictures with most to see."""
    order = sorted(range(len(shown)), key=lambda i: -shown[i].content)
    return [shown[i] for i in sorted(order[:MOST_SHOWN])]
