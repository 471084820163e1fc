# SPDX-License-Identifier: Apache-2.0
"""Which layers cost accuracy, and which of them go back to higher precision until the answers are close enough.

Each layer is put into the lower precision alone and its error measured; the costliest go back first. How many, is
found by halving: some seven trials for a hundred layers. All of it is bounded in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.precision.graph import field_error
from sightline.builders.precision.running import onnx_runner
from sightline.builders.precision.variants import Variants

if TYPE_CHECKING:
    from sightline.builders.engines.cpu import Progress

Floats = NDArray[np.float32]
Answers = Sequence[Sequence[NDArray[Any]]]
"""For each picture the network's outputs, with a batch of 1."""
Metric = Callable[[Answers, Answers], float]
"""Loss of agreement of answers (first) against those of the fp32 network (second): 0 is none, 1 all."""
SECONDS = 60.0
_RANKING_PICTURES = 2
_CHECKING_PICTURES = 12


@dataclass(frozen=True)
class LayerSensitivity:
    """names: one layer, or neighbours that were measured together. error_alone: with only these in the lower precision;
    None where time ran out. parameters: weights. kept: they are in higher precision in the result."""

    names: tuple[str, ...]
    operator: str
    parameters: int
    error_alone: float | None
    kept: bool


@dataclass(frozen=True)
class SensitivityReport:
    """What a lower precision costs, and what was done about it.

    layers: the costliest first. error_all: with every layer in the lower precision; error: of the result.
    """

    precision: str
    rest: str
    metric: str
    allowed: float
    error_all: float
    error: float
    within: bool
    layers: tuple[LayerSensitivity, ...]
    pictures: int
    seconds: float
    complete: bool

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the layers that went back to higher precision."""
        return tuple(name for layer in self.layers if layer.kept for name in layer.names)

    @property
    def note(self) -> str:
        """The outcome in one line, for people."""
        total = sum(len(layer.names) for layer in self.layers)
        outcome = f"{self.precision}: error {self.error:.3%} ({self.metric}), allowed {self.allowed:.3%}"
        if self.kept:
            outcome += f"; {len(self.kept)} of {total} layers are in higher precision (with none it was {self.error_all:.3%})"
        return outcome if self.within else f"{outcome}: not reached"

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return {**asdict(self), "kept": list(self.kept)}


def mean_field_error(answers: Answers, wanted: Answers) -> float:
    """The default metric: mean difference as a share of each field's spread over all pictures."""
    return field_error(_stacked(answers), _stacked(wanted))


def _stacked(answers: Answers) -> list[NDArray[Any]]:
    return [np.concatenate(list(outputs)) for outputs in zip(*answers, strict=True)]


def sensitivity(
    variants: Variants,
    tensors: Sequence[Floats],
    *,
    allowed: float,
    metric: Metric | None = None,
    metric_name: str = "",
    rank: bool = True,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> SensitivityReport:
    """Measure the network's layers on real pictures and choose those that stay in higher precision.

    tensors: float32 of shape (3, height, width); some, evenly spread, are used. allowed: the most loss that the result
    may have by `metric`. rank: measure each layer even where nothing has to go back. seconds: for the ranking; the
    search for the result comes on top and takes a few runs of the checking pictures.
    """
    run = _Measurement(variants, tensors, metric or mean_field_error, seconds, progress)
    return run.report(allowed, metric_name or ("task's own" if metric else "of each field's spread"), rank)


class _Measurement:
    def __init__(
        self,
        variants: Variants,
        tensors: Sequence[Floats],
        metric: Metric,
        seconds: float,
        progress: Progress | None,
    ) -> None:
        self._started = time.monotonic()
        self._variants, self._metric, self._seconds, self._progress = variants, metric, seconds, progress
        picked = np.linspace(0, len(tensors) - 1, min(len(tensors), _CHECKING_PICTURES)).round().astype(int)
        self._pictures = [
            np.ascontiguousarray(tensors[int(i)], np.float32).reshape(1, *tensors[int(i)].shape[-3:])
            for i in picked
        ]
        plain = onnx_runner(variants.plain)
        self._wanted = [plain(picture) for picture in self._pictures]
        self._errors: dict[frozenset[str], float] = {}

    def _error(self, kept: Collection[str], *, quick: bool = False) -> float:
        model = self._variants.model(kept, emulated=True, rest_too=not quick)
        run = onnx_runner(model.SerializeToString(), exact=True)
        count = min(_RANKING_PICTURES, len(self._pictures)) if quick else len(self._pictures)
        return self._metric([run(picture) for picture in self._pictures[:count]], self._wanted[:count])

    def report(self, allowed: float, metric_name: str, rank: bool) -> SensitivityReport:
        """Rank, choose, measure the result."""
        layers = self._variants.layers
        error_all = self._error(())
        must_choose = not error_all <= allowed
        groups: list[tuple[str, ...]] = [(name,) for name in layers]
        alone: list[float | None] = [None] * len(layers)
        if rank or must_choose:
            groups, alone = self._ranking()
        kept: tuple[str, ...] = ()
        error = error_all
        if must_choose:
            kept, error = self._search(groups, allowed)
        operators, parameters = self._variants.operators(), self._variants.parameters()
        chosen = set(kept)
        return SensitivityReport(
            precision=self._variants.precision,
            rest=self._variants.rest,
            metric=metric_name,
            allowed=allowed,
            error_all=error_all,
            error=error,
            within=bool(error <= allowed),
            layers=tuple(
                LayerSensitivity(
                    names,
                    "/".join(sorted({operators[name] for name in names})),
                    sum(parameters[name] for name in names),
                    value,
                    names[0] in chosen,
                )
                for names, value in zip(groups, alone, strict=True)
            ),
            pictures=len(self._pictures),
            seconds=time.monotonic() - self._started,
            complete=None not in alone or not (rank or must_choose),
        )

    def _ranking(self) -> tuple[list[tuple[str, ...]], list[float | None]]:
        """Groups of layers and their errors alone, costliest first; those that time did not allow come last."""
        layers = self._variants.layers
        started = time.monotonic()
        first = self._alone(layers[:1]) if layers else 0.0
        each = time.monotonic() - started
        size = max(1, int(np.ceil(len(layers) * each / max(self._seconds, 1e-3))))
        size = min(size, max(1, len(layers) // 8))
        groups = [layers[index : index + size] for index in range(0, len(layers), size)]
        errors: list[float | None] = []
        for index, group in enumerate(groups):
            if time.monotonic() - started > self._seconds:
                errors.append(None)
                continue
            errors.append(first if group == layers[:1] else self._alone(group))
            if self._progress:
                self._progress("layers", index + 1, len(groups))
        ranked = sorted(zip(groups, errors, strict=True), key=_cost, reverse=True)
        return [names for names, _ in ranked], [error for _, error in ranked]

    def _alone(self, group: Sequence[str]) -> float:
        return self._error([name for name in self._variants.layers if name not in group], quick=True)

    def _search(self, groups: list[tuple[str, ...]], allowed: float) -> tuple[tuple[str, ...], float]:
        """The fewest costliest groups whose return brings the error down to what is allowed; all where none do."""
        low, high = 0, len(groups)
        best = self._error(self._variants.layers)
        while high - low > 1:
            middle = (low + high) // 2
            error = self._error([name for group in groups[:middle] for name in group])
            if error <= allowed:
                high, best = middle, error
            else:
                low = middle
            if self._progress:
                self._progress("layers kept", middle, len(groups))
        return tuple(name for group in groups[:high] for name in group), best


def _cost(item: tuple[tuple[str, ...], float | None]) -> float:
    return -1.0 if item[1] is None else item[1]
