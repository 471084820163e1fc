# SPDX-License-Identifier: Apache-2.0
"""The sensitivity report: finds the layer that costs, keeps no more than it must, is bounded in time, is data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.builders.precision import Variants, cast_variants, quantized_variants, sensitivity
from sightline.builders.precision.sensitivity import mean_field_error
from tests.precision_networks import WILD, pictures, small_network

CALIBRATION = pictures(12)


@pytest.fixture(scope="module")
def wild() -> Variants:
    return quantized_variants(small_network(wild=300.0), "int8", CALIBRATION)


def test_the_costly_layer_is_found_and_alone_goes_back(wild: Variants) -> None:
    told: list[tuple[str, int, int]] = []
    report = sensitivity(
        wild, CALIBRATION, allowed=0.1, progress=lambda what, done, of: told.append((what, done, of))
    )
    assert report.layers[0].names == (WILD,)
    assert report.kept == (WILD,)
    assert report.error_all > 0.5
    assert report.error <= 0.1
    assert report.within
    assert report.complete
    assert all(layer.error_alone is not None and layer.error_alone < 0.1 for layer in report.layers[1:])
    assert ("layers", len(wild.layers), len(wild.layers)) in told
    assert "1 of" in report.note


def test_the_report_is_data(wild: Variants) -> None:
    report = sensitivity(wild, CALIBRATION, allowed=0.1, seconds=0.0)
    read = json.loads(json.dumps(report.as_dict()))
    assert read["precision"] == "int8"
    assert read["layers"][0]["parameters"] > 0
    assert read["layers"][0]["operator"]
    assert read["pictures"] == 12
    assert set(read["kept"]) <= {name for layer in read["layers"] for name in layer["names"]}


def test_time_is_bounded_and_what_was_not_measured_is_said(wild: Variants) -> None:
    report = sensitivity(wild, CALIBRATION, allowed=1e-9, seconds=0.0)
    assert not report.complete
    assert sum(layer.error_alone is None for layer in report.layers) >= len(wild.layers) - 2
    assert report.error <= report.error_all


def test_nothing_goes_back_where_nothing_has_to(wild: Variants) -> None:
    report = sensitivity(wild, CALIBRATION, allowed=100.0, rank=False)
    assert report.kept == ()
    assert report.error == report.error_all
    assert report.complete
    assert all(layer.error_alone is None for layer in report.layers)


def test_the_tasks_own_measure_decides(wild: Variants) -> None:
    """A measure that sees scores only, the second half of the answers."""

    def scores(answers: Sequence[Sequence[NDArray[Any]]], wanted: Sequence[Sequence[NDArray[Any]]]) -> float:
        return max(
            float(np.abs(a[0][:, 4:] - w[0][:, 4:]).max()) for a, w in zip(answers, wanted, strict=True)
        )

    report = sensitivity(
        wild, CALIBRATION, allowed=0.15, metric=scores, metric_name="largest score difference"
    )
    assert report.metric == "largest score difference"
    assert report.error <= 0.15
    assert WILD in report.kept


def test_casts_are_measured_too() -> None:
    variants = cast_variants(small_network(), "bf16")
    report = sensitivity(variants, CALIBRATION, allowed=0.5, seconds=30.0)
    everything, nothing = report.error_all, sensitivity(variants, CALIBRATION, allowed=1e-9, seconds=0.0)
    assert report.rest == "bf16"
    assert 0 < everything < 0.02
    assert nothing.error < everything
    assert not nothing.within
    assert "not reached" in nothing.note


def test_equal_answers_have_no_error() -> None:
    answers = [[np.ones((1, 4)), np.zeros((1, 2, 3))]] * 2
    assert mean_field_error(answers, answers) == 0
