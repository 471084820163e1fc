# SPDX-License-Identifier: Apache-2.0
"""The answers of the source: its own framework, with preprocessing and post-processing in plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.network import CanonicalNetwork
from sightline.builders.onnx_source import OnnxSource
from sightline.builders.proof.reference.heads import activated, detections, rows_of
from sightline.builders.proof.reference.pictures import class_map, pasted_masks, prototype_masks
from sightline.builders.proof.reference.pixels import network_input
from sightline.builders.proof.subject import ProofSubject
from sightline.card import Limits, ModelCard
from sightline.preprocess_ext import rle_encode
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

Floats = NDArray[np.float32]
Run = Callable[[Floats], list[Floats]]


@dataclass(frozen=True)
class SourceAnswer:
    """One picture through the source. raw: what the head reads, without the batch."""

    tensor: Floats
    geometry: Floats
    raw: tuple[Floats, ...]
    result: Result


class SourceSide:
    """Runs the source for pictures uint8 RGB (h, w, 3)."""

    def __init__(self, subject: ProofSubject) -> None:
        self._card, self._network = subject.card, subject.network
        self.exported = onnx_run(subject.source)
        self.framework: Run = (
            (lambda tensor: [np.asarray(out, np.float32) for out in subject.reference(tensor)])  # type: ignore[misc]
            if subject.reference
            else self.exported
        )

    def answer(self, picture: NDArray[np.uint8]) -> SourceAnswer:
        """The whole way."""
        tensor, geometry = network_input(picture, self._card.input)
        raw = self.raw(self.framework(tensor[None]))
        return SourceAnswer(tensor, geometry, raw, self.result(raw, geometry))

    def raw(self, outputs: list[Floats]) -> tuple[Floats, ...]:
        """Of all outputs those that the head reads, in its order, as the canonical network has them."""
        return head_outputs(outputs, self._network)

    def result(self, raw: tuple[Floats, ...], geometry: Floats, limits: Limits | None = None) -> Result:
        """Post-processing in plain numpy."""
        return result_of(self._card, self._network, raw, geometry, limits or self._card.limits)

    def boxes(self, raw: tuple[Floats, ...], geometry: Floats, limits: Limits) -> Detections:
        """What result() finds, without masks."""
        return _objects(self._card, self._network, raw, geometry, limits, masks=False)

    def row_scores(self, raw: tuple[Floats, ...]) -> NDArray[np.float64]:
        """The highest score of each row of a detector's head; 0 where it has no score of a class of the model."""
        values = {**self._network.plan.parameters, "score": 0.0}
        rows = rows_of(self._network.plan.kind, raw, values)
        best = rows.scores.max(axis=1, initial=-np.inf)
        return np.where(np.isfinite(best) & np.isfinite(rows.boxes).all(axis=1), np.maximum(best, 0), 0)


def head_outputs(outputs: list[Floats], network: CanonicalNetwork) -> tuple[Floats, ...]:
    """Without the batch; `shift` of the plan is added to the first."""
    plan = network.plan
    chosen = [np.asarray(outputs[index], np.float32) for index in plan.outputs]
    if plan.batched:
        chosen = [tensor[0] for tensor in chosen]
    if plan.shift:
        chosen[0] = chosen[0] + np.float32(plan.shift)
    return tuple(chosen)


def result_of(
    card: ModelCard, network: CanonicalNetwork, raw: tuple[Floats, ...], geometry: Floats, limits: Limits
) -> Result:
    """The answer to a picture from the network's outputs."""
    values = {**network.plan.parameters, "score": limits.score}
    labels = network.plan.labels
    if card.task == "classify":
        scores = activated(raw[0].reshape(-1).astype(np.float64), values)
        best = np.argsort(-scores, kind="stable")[: limits.top]
        return Classification(scores[best].astype(np.float32), best.astype(np.int32), labels)
    if card.task == "semantic":
        return ClassMap(class_map(raw[0], geometry, values), labels)
    if card.task == "embed":
        vector = raw[0].reshape(-1).astype(np.float64)
        return Embedding((vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32))
    return _objects(card, network, raw, geometry, limits, masks=card.task == "segment")


def _objects(
    card: ModelCard,
    network: CanonicalNetwork,
    raw: tuple[Floats, ...],
    geometry: Floats,
    limits: Limits,
    *,
    masks: bool,
) -> Detections:
    values = {**network.plan.parameters, "score": limits.score}
    found = detections(rows_of(network.plan.kind, raw, values), geometry, limits, values)
    texts = None
    if masks:
        pasted = values.get("extra") != "masks"
        drawn = (
            pasted_masks(raw[-1][found.rows], found.boxes, geometry)
            if pasted
            else prototype_masks(found.extras, raw[-1], found.boxes, geometry, values)
        )
        texts = tuple(rle_encode(mask) for mask in drawn)
    return Detections(
        found.boxes.astype(np.float32).reshape(-1, 4),
        found.scores.astype(np.float32),
        found.classes.astype(np.int32),
        network.plan.labels,
        texts,
        (int(geometry[1]), int(geometry[2])),
    )


def onnx_run(source: OnnxSource) -> Run:
    """The exported ONNX in ONNX Runtime, fp32: float32 (1, 3, h, w) to its outputs for that picture."""
    session = _session(source.content)
    element = {"FLOAT16": np.float16, "UINT8": np.uint8}.get(source.input.element, np.float32)
    batch = source.input.dims[0] or 1

    def run(tensor: Floats) -> list[Floats]:
        image = tensor if source.layout == "NCHW" else tensor.transpose(0, 2, 3, 1)
        given = np.repeat(image, batch, axis=0).astype(element)
        return [np.asarray(output) for output in session.run(None, {source.input.name: given})]

    return run


def canonical_run(network: CanonicalNetwork) -> Run:
    """The canonical network in ONNX Runtime, fp32."""
    session = _session(network.content)
    return lambda tensor: [np.asarray(output) for output in session.run(None, {"TENSOR": tensor})]


def _session(content: bytes) -> Any:
    from sightline.builders.stages.cpu_engine import onnx_session

    return onnx_session(content, exact=True)
