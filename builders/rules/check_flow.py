# SPDX-License-Identifier: Apache-2.0
"""Rules of the way that tensors take through an ensemble: each is written once, before it is read, and for a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sightline.builders.rules.problem import Case, Check, Problem


@dataclass(frozen=True)
class Flow:
    """The names of an ensemble's tensors. steps: what each reads and writes."""

    inputs: frozenset[str]
    outputs: frozenset[str]
    steps: tuple[tuple[str, frozenset[str], frozenset[str]], ...]

    @property
    def read(self) -> set[str]:
        """What any step reads."""
        return {name for _, names, _ in self.steps for name in names}

    @property
    def written(self) -> set[str]:
        """What any step writes."""
        return {name for _, _, names in self.steps for name in names}


def flow_of(case: Case) -> Flow:
    """The flow of a model; one without steps has no tensors."""
    config = case.model.config
    steps = config.ensemble_scheduling.step
    if not steps:
        return Flow(frozenset(), frozenset(), ())
    return Flow(
        frozenset(tensor.name for tensor in config.input),
        frozenset(tensor.name for tensor in config.output),
        tuple(
            (
                f"step {i + 1} ({s.model_name})",
                frozenset(s.input_map.values()),
                frozenset(s.output_map.values()),
            )
            for i, s in enumerate(steps)
        ),
    )


def _once(case: Case) -> Iterator[Problem]:
    steps = case.model.config.ensemble_scheduling.step
    count = Counter(name for step in steps for name in step.output_map.values())
    for name in sorted(name for name, times in count.items() if times > 1):
        yield Problem(f"{name!r} stands in {count[name]} output_maps", "give each its own name")


def _inputs_used(case: Case) -> Iterator[Problem]:
    flow = flow_of(case)
    for name in sorted(flow.inputs - flow.read):
        yield Problem(f"input {name!r} is read by no step", "take it out, or map it")


def _outputs_written(case: Case) -> Iterator[Problem]:
    flow = flow_of(case)
    for name in sorted(flow.outputs - flow.written - flow.inputs):
        yield Problem(f"output {name!r} is written by no step", "take it out, or map it")


def _connected(case: Case) -> Iterator[Problem]:
    flow = flow_of(case)
    for what, reads, _ in flow.steps:
        for name in sorted(reads - flow.inputs - flow.written):
            yield Problem(
                f"{what} reads {name!r}, which nobody writes", "map an input or another step's output"
            )


def _cycle(case: Case) -> Iterator[Problem]:
    """What stays when every step has run whose inputs are there; what nobody writes is taken as there."""
    flow = flow_of(case)
    there = flow.inputs | (flow.read - flow.written)
    left = list(flow.steps)
    while ready := [step for step in left if step[1] <= there]:
        there |= {name for step in ready for name in step[2]}
        left = [step for step in left if step not in ready]
    if left:
        waiting = ", ".join(what for what, _, _ in left)
        yield Problem(f"each of these waits for another: {waiting}", "break the circle of their maps")


def _tensors_used(case: Case) -> Iterator[Problem]:
    flow = flow_of(case)
    for what, _, writes in flow.steps:
        for name in sorted(writes - flow.read - flow.outputs):
            yield Problem(f"{what} writes {name!r}, which nobody reads", "leave it out of output_map")


FLOW_CHECKS: dict[str, Check] = {
    "ensemble-written-once": _once,
    "ensemble-inputs-used": _inputs_used,
    "ensemble-outputs-written": _outputs_written,
    "ensemble-connected": _connected,
    "ensemble-cycle": _cycle,
    "ensemble-tensors-used": _tensors_used,
}
