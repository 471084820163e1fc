# SPDX-License-Identifier: Apache-2.0
"""Leaves layers of a CPU engine out of int8, the costliest first, until its answers are close enough to fp32's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sightline.builders.precision.sensitivity import SensitivityReport
from sightline.errors import BuildError

Trial = Callable[[tuple[str, ...]], tuple[Any, float]]
"""Quantizes with these layers left out; gives the engine's model and its loss of agreement."""
_TRIALS = 4


@dataclass(frozen=True)
class Int8Model:
    """model: as the trial gave it. error: its loss. kept: layers left out of int8.

    report: what each layer costs, where layers had to be left out.
    """

    model: Any
    error: float
    kept: tuple[str, ...]
    report: SensitivityReport | None
    note: str


def search_int8(trial: Trial, ranking: Callable[[], SensitivityReport], allowed: float) -> Int8Model:
    """Try with all layers; then rank them, and try with more and more left out.

    Raises BuildError where the loss stays above `allowed`.
    """
    model, error_all = trial(())
    if error_all <= allowed:
        return Int8Model(
            model,
            error_all,
            (),
            None,
            f"int8: error {error_all:.3%}, allowed {allowed:.3%}; all layers are in int8",
        )
    report = ranking()
    order = [name for layer in report.layers for name in layer.names]
    count = max(1, len(report.kept))
    for _ in range(_TRIALS):
        kept = tuple(order[:count])
        model, error = trial(kept)
        if error <= allowed:
            return _found(model, report, kept, (error_all, error, allowed), len(order))
        if count >= len(order):
            break
        count = min(2 * count, len(order))
    raise BuildError(
        f"int8 costs {error:.2%} of agreement even with {len(kept)} of {len(order)} layers in fp32; "
        f"calibration.allowed_drop is {allowed:.2%}. Use engine.precision: fp16, or calibrate with pictures of your "
        "own cameras (calibration.images)"
    )


def _found(
    model: Any,
    report: SensitivityReport,
    kept: tuple[str, ...],
    errors: tuple[float, float, float],
    layers: int,
) -> Int8Model:
    """The ranking, with what was kept in this engine and this engine's errors (all in int8, result, allowed)."""
    error_all, error, allowed = errors
    marked = tuple(replace(layer, kept=layer.names[0] in kept) for layer in report.layers)
    report = replace(report, layers=marked, error_all=error_all, error=error, within=True)
    note = (
        f"int8: error {error:.3%}, allowed {allowed:.3%}; {len(kept)} of {layers} layers are in fp32 "
        f"(with none it was {error_all:.3%})"
    )
    return Int8Model(model, error, kept, report, note)
