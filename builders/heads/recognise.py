# SPDX-License-Identifier: Apache-2.0
"""Chooses how a network's outputs are read, or says what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sightline.builders.heads import grids, lists, pairs, pictures
from sightline.builders.heads.evidence import GraphEvidence
from sightline.builders.heads.network import BACKGROUND_NAMES, Family, Network, OutputInfo, Reading
from sightline.card import HEADS_OF_TASK, HeadKind, HeadSpec, ModelCard, Task
from sightline.errors import CardError, HeadMismatchError

FAMILIES: dict[HeadKind, Family] = {
    family.kind: family for family in (*grids.FAMILIES, *lists.FAMILIES, *pairs.FAMILIES, *pictures.FAMILIES)
}
_OPTIONS = tuple(name for name in HeadSpec.model_fields if name not in ("kind", "outputs"))


@dataclass(frozen=True)
class HeadPlan:
    """How a network's outputs are read: what the canonical network keeps and what the post-processing stage is told.

    outputs: indices of the network's outputs, in the order in which the head reads them. labels: checked; class_0… where
    there are none; () for embed. parameters: JSON of the native postprocess stage, all but stage, outputs and limits.
    why: one line for people. shift: added to the first output before the head reads it. batched: False where the outputs
    have no batch dimension, which the canonical network then adds.
    """

    kind: HeadKind
    outputs: tuple[int, ...]
    labels: tuple[str, ...]
    parameters: Mapping[str, Any]
    why: str
    shift: float = field(default=0.0)
    batched: bool = field(default=True)


def plan_head(
    card: ModelCard,
    outputs: Sequence[OutputInfo],
    *,
    metadata: Mapping[str, str] | None = None,
    labels: tuple[str, ...] = (),
    evidence: GraphEvidence | None = None,
) -> HeadPlan:
    """How the outputs answer the card's task.

    metadata: the exporter's notes. labels: class names that the source knows, where the card has none. evidence: of the
    graph, which decides between readings of the same shapes. Raises HeadMismatchError that names shapes, candidates and
    the card's lines for each; CardError for options that the head does not have.
    """
    evidence = evidence or GraphEvidence()
    notes = dict(evidence.metadata) if metadata is None else metadata
    network = Network(card, _chosen(card, outputs), card.labels or labels, evidence, notes)
    if card.task == "embed" and card.labels:
        raise CardError(
            f"the card has {len(card.labels)} labels; an embedder has no classes: leave labels out"
        )
    kinds = HEADS_OF_TASK[card.task] if card.head is None else (card.head.kind,)
    families = [FAMILIES[kind] for kind in kinds]
    if card.head is not None:
        _check_options(card.head, families[0])
    readings = [reading for family in families for reading in family.read(network)]
    if not readings:
        raise HeadMismatchError(_nothing_fits(network, families))
    return _plan(network, _one_of(network, readings))


def _chosen(card: ModelCard, outputs: Sequence[OutputInfo]) -> tuple[tuple[int, OutputInfo], ...]:
    """All outputs, or those that the card names in its order."""
    if not outputs:
        raise HeadMismatchError("the network has no outputs; export it again")
    if card.head is None or not card.head.outputs:
        return tuple(enumerate(outputs))
    index_of = {output.name: index for index, output in enumerate(outputs)}
    for name in card.head.outputs:
        if name not in index_of:
            raise HeadMismatchError(
                f"head.outputs names {name!r}; the network's outputs are {', '.join(index_of)}"
            )
    return tuple((index_of[name], outputs[index_of[name]]) for name in card.head.outputs)


def _check_options(head: HeadSpec, family: Family) -> None:
    for name in _OPTIONS:
        given = getattr(head, name) != HeadSpec.model_fields[name].default
        if given and name not in family.options:
            has = ", ".join(sorted(family.options)) or "none"
            raise CardError(f"head.{name} does not belong to the head {head.kind}; its options are {has}")


def _one_of(network: Network, readings: Sequence[Reading]) -> Reading:
    """The surest reading; among equals the one that fits the labels. Raises HeadMismatchError where several are left."""
    surest = max(reading.certainty for reading in readings)
    equal = [reading for reading in readings if reading.certainty == surest]
    fitting = [reading for reading in equal if _labels_fit(network, reading)]
    if not fitting:
        raise HeadMismatchError(_wrong_labels(network, equal[0]))
    if len(fitting) > 1:
        raise HeadMismatchError(
            _ambiguous(network, [reading for reading in readings if _labels_fit(network, reading)])
        )
    if fitting[0].missing:
        raise HeadMismatchError(
            f"head '{fitting[0].kind}' reads {fitting[0].found}, but {fitting[0].missing}"
        )
    return fitting[0]


def _labels_of(network: Network, reading: Reading) -> tuple[str, ...]:
    return network.labels if reading.labels is None else reading.labels


def _labels_fit(network: Network, reading: Reading) -> bool:
    labels = _labels_of(network, reading)
    return not labels or reading.classes is None or len(labels) == reading.classes


def _plan(network: Network, reading: Reading) -> HeadPlan:
    labels = _labels_of(network, reading)
    classes = len(labels) if reading.classes is None else reading.classes
    if not classes and network.card.task != "embed":
        raise HeadMismatchError(
            f"head '{reading.kind}' ({reading.found}): the outputs do not tell how many classes there are. "
            "Give the card its labels: labels: labels.txt, one name a line"
        )
    parameters: dict[str, Any] = {"task": network.card.task}
    if network.card.task in ("detect", "segment"):
        parameters["head"] = reading.kind
    if network.card.task not in ("classify", "embed"):
        parameters |= {"classes": classes, "size": list(network.size)}
    return HeadPlan(
        kind=reading.kind,
        outputs=reading.outputs,
        labels=labels or tuple(f"class_{index}" for index in range(classes)),
        parameters={**parameters, **reading.parameters},
        why=reading.why,
        shift=reading.shift,
        batched=reading.batched,
    )


def _wrong_labels(network: Network, reading: Reading) -> str:
    count = len(_labels_of(network, reading))
    where = "labels" if network.card.labels else "labels that the source carries"
    background = (
        " One of the labels is the background, which is not counted: remove it."
        if any(label.lower() in BACKGROUND_NAMES for label in network.labels)
        else ""
    )
    return (
        f"head '{reading.kind}' needs {reading.wanted}; the network's is {reading.found}, "
        f"which is {reading.classes} classes against {count} {where}.{background}{reading.hint} Check the labels file"
    )


def _ambiguous(network: Network, readings: Sequence[Reading]) -> str:
    choices = "".join(f"\n  {reading.line}    # {reading.why}" for reading in readings)
    return (
        f"the outputs {network.shapes} can be read in {len(readings)} ways. "
        f"Write the one that is meant into the card:{choices}"
    )


def _nothing_fits(network: Network, families: Sequence[Family]) -> str:
    advice = next(filter(None, (family.advice(network) for family in families)), "") or _other_task(network)
    if network.head is not None:
        needs = f"head '{network.head.kind}' needs {families[0].needs(network)}"
        return f"{needs}; the network's outputs are {network.shapes}{'. ' if advice else ''}{advice}"
    text = f"no head of the task {network.card.task} fits the outputs {network.shapes}"
    if advice:
        return f"{text}. {advice}"
    known = "".join(f"\n  {family.kind}: {family.needs(network)}" for family in families)
    return f"{text}. The heads that are read need:{known}"


def _other_task(network: Network) -> str:
    """The task under which the outputs could be read."""
    tasks: list[Task] = []
    for task, kinds in HEADS_OF_TASK.items():
        if task == network.card.task:
            continue
        card = network.card.model_copy(update={"task": task, "head": None})
        other = Network(card, network.outputs, (), network.evidence, network.metadata)
        if any(FAMILIES[kind].read(other) for kind in kinds):
            tasks.append(task)
    return f"The outputs look like those of task: {' or '.join(tasks)}" if tasks else ""
