# SPDX-License-Identifier: Apache-2.0
"""The proof: pictures through the source and through the real server, compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sightline.builders.calibration import PictureSource, calibration_pictures
from sightline.builders.proof.drift import DriftMeter
from sightline.builders.proof.measures import Pair, TensorError, agreement, border
from sightline.builders.proof.report import Shown, report_page
from sightline.builders.proof.served_side import ServedSide
from sightline.builders.proof.source_side import SourceAnswer, SourceSide
from sightline.builders.proof.subject import Measure, Proof, ProofSubject
from sightline.results import Detections

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Progress = Callable[[str, int, int], None]
MOST_SHOWN = 6
SERVED_BY = "tritonserver 2.51.0"


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
        meter = DriftMeter(subject, source, served)
        for number, picture in enumerate(calibration_pictures(spec.images, spec.samples, found), 1):
            say("pictures", number, spec.samples)
            answer = source.answer(picture)
            for error, raw, engine in zip(errors, answer.raw, meter.add(picture, answer), strict=True):
                error.add(raw, engine)
            loose = _loose(subject, source, answer)
            # One way into the server a picture, in turns: the same answers are asked of both.
            result = served.frame(picture) if number % 2 else served.file(picture)
            pairs.append(Pair(answer.result, result, loose))
            shown = _telling([*shown, Shown(picture, pairs[-1])])
    measures = _measures(subject, errors, pairs)
    proof = Proof(
        measures=measures,
        stages=meter.stages(),
        pictures=len(pairs),
        data=f"{len(pairs)} pictures of {found.origin}",
        served_by=SERVED_BY,
        seconds=time.monotonic() - started,
        notes=_notes(subject, measures),
    )
    return replace(proof, report=report_page(subject, proof, shown))


def _loose(subject: ProofSubject, source: SourceSide, answer: SourceAnswer) -> Detections | None:
    """The source's detections from a little below the score limit on."""
    if subject.card.task not in ("detect", "segment"):
        return None
    limits = subject.card.limits
    lower = limits.model_copy(
        update={"score": limits.score - border(limits.score), "detections": limits.detections * 2}
    )
    result = source.result(answer.raw, answer.geometry, lower)
    return result if isinstance(result, Detections) else None


def _measures(
    subject: ProofSubject, errors: Sequence[TensorError], pairs: Sequence[Pair]
) -> tuple[Measure, ...]:
    worst = max(error.value for error in errors)
    tensors = Measure(
        "tensor_error", "tensor error", worst, subject.card.proof.tensor_error, False, len(pairs)
    )
    return (tensors, *agreement(subject.card, pairs))


def _notes(subject: ProofSubject, measures: Sequence[Measure]) -> tuple[str, ...]:
    notes = []
    if len(measures) == 1:
        notes.append(
            "The source finds nothing in these pictures, so that only the network's outputs were compared. "
            "Give proof.images pictures in which there is something to be found."
        )
    if subject.reference is None:
        notes.append("The source is ONNX: it was run by ONNX Runtime in fp32.")
    return tuple(notes)


def _telling(shown: Sequence[Shown]) -> list[Shown]:
    """The pictures with most to see."""
    order = sorted(range(len(shown)), key=lambda i: -shown[i].content)
    return [shown[i] for i in sorted(order[:MOST_SHOWN])]
