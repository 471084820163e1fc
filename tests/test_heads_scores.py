# SPDX-License-Identifier: Apache-2.0
"""Classification, class maps and embeddings against plain numpy."""

from __future__ import annotations

from itertools import product
from typing import Any

import heads_references as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.preprocess_ext import Geometry, classify, embedding, semantic_map
from tests.cases import about

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=150, deadline=None)
@given(
    seed=seeds,
    count=st.integers(1, 200),
    top=st.integers(1, 220),
    steps=st.sampled_from([0, 3]),
    activation=st.sampled_from(["none", "sigmoid", "softmax"]),
)
def test_classify_equals_reference(seed: int, count: int, top: int, steps: int, activation: Any) -> None:
    values = np.random.default_rng(seed).normal(0, 4, count).astype(np.float32)
    if steps:
        values = (np.round(values * steps) / steps).astype(np.float32)
    scores, classes = classify(values, top=top, activation=activation)
    order = np.argsort(-values, kind="stable")[:top]
    np.testing.assert_array_equal(classes, order)
    wide = values.astype(np.float64)
    want = {"none": wide, "sigmoid": reference.sigmoid(wide), "softmax": reference.softmax(wide[None])[0]}
    np.testing.assert_allclose(scores, want[activation][order], rtol=3e-6, atol=1e-37)


def test_classify_leaves_out_nan() -> None:
    values = np.array([np.nan, 1, -np.inf, np.inf, np.nan], np.float32)
    scores, classes = classify(values, activation="none")
    assert classes.tolist() == [3, 1, 2]
    assert scores.tolist() == [np.inf, 1, -np.inf]
    assert classify(values, activation="sigmoid")[0].tolist() == [1, pytest.approx(0.7310586), 0]
    with pytest.raises(ValueError, match="not finite"):
        classify(values)
    assert classify(np.array([0, -np.inf], np.float32))[0].tolist() == [1, 0]


@pytest.mark.parametrize("size", [1, 3, 8, 128, 1000])
def test_embedding_has_length_one(size: int) -> None:
    values = np.random.default_rng(size).normal(0, 100, size).astype(np.float32)
    want = values.astype(np.float64) / np.linalg.norm(values.astype(np.float64))
    np.testing.assert_allclose(embedding(values), want, rtol=1e-7)
    huge = embedding(np.full(size, 3e38, np.float32))
    np.testing.assert_allclose(huge, size**-0.5, rtol=1e-6)


def test_embedding_of_nothing_is_zero() -> None:
    assert embedding(np.zeros(5, np.float32)).tolist() == [0] * 5
    with pytest.raises(ValueError, match="not finite"):
        embedding(np.array([1, np.nan], np.float32))


GEOMETRIES = [
    (Geometry(64, 48, 1.0, 1.0, 0, 0), (64, 48)),
    (Geometry(120, 50, 0.5, 0.5, 2, 19), (64, 64)),
    (Geometry(30, 40, 1.6, 1.6, 8, 0), (64, 64)),
    (Geometry(211, 97, 64 / 211, 64 / 97, 0, 0), (64, 64)),
    (Geometry(7, 5, 3.0, 3.0, 1, 4), (24, 24)),
    (Geometry(120, 50, 1.28, 1.28, -45, 0), (64, 64)),
    (Geometry(31, 90, 3.0, 3.0, -15, -103), (64, 64)),
]


def best_classes(values: np.ndarray) -> np.ndarray:
    return values.argmax(axis=0) if len(values) > 1 else (values[0] > 0).astype(np.int64)


@pytest.mark.parametrize("case", range(len(GEOMETRIES)))
def test_class_map_equals_reference(case: int) -> None:
    """Where two classes nearly tie rounding may choose: those pixels are left out of the comparison."""
    for coarse, cells, classes in product([False, True], [(8, 8), (16, 11), (1, 1), (3, 70)], [1, 2, 19]):
        with about(classes, cells, coarse):
            rng = np.random.default_rng(case)
            fit, network = GEOMETRIES[case]
            logits = rng.normal(0, 2, (classes, *cells)).astype(np.float32)
            if coarse:
                logits[:, : cells[0] // 2] = logits[:, :1, :1]
            have = semantic_map(logits, fit.as_array(), network)
            rows = reference.cell_positions(fit.source_height, fit.scale_y, fit.pad_top, network[1], cells[0])
            columns = reference.cell_positions(
                fit.source_width, fit.scale_x, fit.pad_left, network[0], cells[1]
            )
            values = reference.bilinear(logits.astype(np.float64), rows, columns)
            spread = np.sort(
                np.concatenate([values, np.zeros_like(values[:1])]) if classes == 1 else values, axis=0
            )
            clear = spread[-1] - spread[-2] > 1e-5
            np.testing.assert_array_equal(have[clear], best_classes(values)[clear])
            last = np.ascontiguousarray(np.moveaxis(logits, 0, 2))
            wide = semantic_map(last, fit.as_array(), network, channels_last=True, dtype=np.int32)
            assert wide.dtype == np.int32
            np.testing.assert_array_equal(wide, have)


@pytest.mark.parametrize("case", range(len(GEOMETRIES)))
def test_nearest_cells(case: int) -> None:
    fit, network = GEOMETRIES[case]
    logits = np.random.default_rng(case).normal(0, 2, (4, 9, 13)).astype(np.float32)
    rows = reference.cell_positions(fit.source_height, fit.scale_y, fit.pad_top, network[1], 9)
    columns = reference.cell_positions(fit.source_width, fit.scale_x, fit.pad_left, network[0], 13)
    near = [np.floor(at + 0.5).astype(int) for at in (rows, columns)]
    want = best_classes(logits)[near[0]][:, near[1]]
    have = semantic_map(logits, fit.as_array(), network, upsample="classes")
    clear = np.abs(rows % 1 - 0.5)[:, None].clip(max=1) > 1e-6
    clear = clear & (np.abs(columns % 1 - 0.5) > 1e-6)
    np.testing.assert_array_equal(have[clear], want[clear])


def test_a_map_of_one_class_has_it_everywhere_and_ties_take_the_lowest() -> None:
    fit, network = GEOMETRIES[1]
    logits = np.zeros((5, 8, 8), np.float32)
    assert not semantic_map(logits, fit.as_array(), network).any()
    logits[3] = 1
    assert (semantic_map(logits, fit.as_array(), network) == 3).all()


@settings(max_examples=60, deadline=None)
@given(seed=seeds, classes=st.integers(1, 5), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_strange_logits_give_some_class(seed: int, classes: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (classes, rows, columns)).astype(np.float32)
    where = rng.random(logits.shape) < 0.3
    strange = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38], np.float32)
    logits[where] = rng.choice(strange, int(where.sum()))
    fit, network = GEOMETRIES[int(rng.integers(len(GEOMETRIES)))]
    have = semantic_map(logits, fit.as_array(), network)
    assert have.shape == (fit.source_height, fit.source_width)
    assert have.max() <= max(classes - 1, 1)


FIT = GEOMETRIES[0][0].as_array()
LOGITS = np.zeros((3, 4, 4), np.float32)


_BAD_ARGUMENTS = [
    (lambda: classify(np.zeros((2, 2), np.float32)), "values is float32 of shape (2, 2)"),
    (lambda: classify(np.zeros(0, np.float32)), "there are 0 values"),
    (lambda: classify(np.zeros(3, np.float32), top=0), "top is 0"),
    (lambda: classify(np.zeros(3, np.float32), activation="relu"), "activation is 'relu'"),  # type: ignore[arg-type]
    (lambda: embedding(np.zeros(3)), "values is float64"),
    (lambda: embedding(np.zeros(0, np.float32)), "there are 0 values"),
    (lambda: semantic_map(LOGITS[0], FIT, (64, 48)), "logits is float32 of shape (4, 4)"),
    (lambda: semantic_map(np.zeros((257, 1, 1), np.float32), FIT, (64, 48)), "logits have 257 classes"),
    (lambda: semantic_map(LOGITS[:, :0], FIT, (64, 48)), "rows is 0"),
    (lambda: semantic_map(LOGITS, FIT, (0, 48)), "width is 0"),
    (lambda: semantic_map(LOGITS, FIT, (64, 48), upsample="cubic"), "upsample is 'cubic'"),  # type: ignore[arg-type]
    (lambda: semantic_map(LOGITS, FIT * 0, (64, 48)), "its source must have sides"),
    (lambda: semantic_map(LOGITS, FIT * 2, (64, 48)), "marked invalid"),
]


def test_bad_arguments_are_named() -> None:
    for call, message in _BAD_ARGUMENTS:
        with about(call, message):
            with pytest.raises(ValueError) as caught:
                call()
            assert message in str(caught.value)
