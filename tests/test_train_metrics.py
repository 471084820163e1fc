# SPDX-License-Identifier: Apache-2.0
"""Figures of classification, segmentation and retrieval against tables worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.builders.train.evaluate import evaluate
from sightline.builders.train.metrics import (
    IGNORED,
    accuracy,
    class_ious,
    confusion,
    mask_ious,
    recalls,
    retrieval,
)


def test_confusion_counts_and_leaves_out_ignored_places() -> None:
    truth = np.array([[0, 0, 1], [2, IGNORED, 1]])
    found = np.array([[0, 1, 1], [2, 2, 0]])
    table = confusion(truth, found, 3)
    assert table.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert accuracy(table) == pytest.approx(3 / 5)
    assert recalls(table) == pytest.approx([0.5, 0.5, 1.0])
    assert class_ious(table) == pytest.approx([1 / 3, 1 / 3, 1.0])


def test_a_class_that_never_occurs_has_no_figure() -> None:
    table = confusion(np.array([0, 0]), np.array([0, 1]), 3)
    assert np.isnan(recalls(table)).tolist() == [False, True, True]
    assert class_ious(table)[:2] == pytest.approx([0.5, 0.0])
    assert np.isnan(class_ious(table)[2])
    assert accuracy(np.zeros((2, 2), np.int64)) == 0.0


def test_mask_ious_of_known_masks() -> None:
    a = np.zeros((2, 4, 4), bool)
    a[0, :2], a[1, 3, 3] = True, True
    b = np.zeros((2, 4, 4), bool)
    b[0, :, :2] = True
    assert mask_ious(a, b) == pytest.approx(np.array([[4 / 12, 0.0], [0.0, 0.0]]))
    assert mask_ious(a[:0], b).shape == (0, 2)


def test_retrieval_of_a_search_worked_out_by_hand() -> None:
    similarity = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.2, 0.8, 0.1], [0.1, 0.2, 0.3, 0.4]])
    result = retrieval(similarity, np.array([1, 2, 9]), np.array([1, 2, 1, 2]))
    # query 1: ranks 1 and 3 of 2, AP (1 + 2/3) / 2; query 2: ranks 3 and 4, AP (1/3 + 2/4) / 2; query 9: nobody
    assert result.queries == 2
    assert result.recall_at_1 == pytest.approx(0.5)
    assert result.recall_at_5 == pytest.approx(1.0)
    assert result.mean_average_precision == pytest.approx(((1 + 2 / 3) / 2 + (1 / 3 + 1 / 2) / 2) / 2)


def test_retrieval_leaves_out_pairs_that_do_not_count() -> None:
    alike = np.array([[1.0, 0.5, 0.9], [0.5, 1.0, 0.2], [0.9, 0.2, 1.0]])
    ids = np.array([1, 1, 2])
    result = retrieval(alike, ids, ids, np.eye(3, dtype=bool))
    assert (result.queries, result.recall_at_1) == (2, 0.5)
    assert retrieval(alike[:1, :2], ids[2:], ids[:2], None).queries == 0


def test_mask_ap_follows_the_masks_and_not_the_boxes() -> None:
    found = [np.array([[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 0]], float)]
    truth = [np.array([[0, 0, 0, 10, 10], [0, 50, 50, 60, 60]], float)]
    none = [np.zeros((0, 4))]
    assert evaluate(found, truth, none, 1).map50 == pytest.approx(1.0)
    half = [np.array([[0.72, 0.0], [0.0, 0.4]])]
    result = evaluate(found, truth, none, 1, half)
    # one of two objects is found up to an IoU of 0.70: 51 of 101 recalls, at 5 of 10 thresholds
    assert result.map50 == pytest.approx(51 / 101)
    assert result.map50_95 == pytest.approx(51 / 101 * 5 / 10)


@pytest.mark.train
def test_losses_of_embeddings_worked_out_by_hand() -> None:
    torch = pytest.importorskip("torch")
    from sightline.builders.train.embed import contrastive_loss, cosine_softmax_loss

    found = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    kinds = torch.tensor([0, 0, 1, 1])
    # each row: its partner at exp(10), two others at exp(0)
    assert float(contrastive_loss(found, kinds)) == pytest.approx(
        float(np.log(1 + 2 * np.exp(-10.0))), rel=1e-3
    )
    assert float(contrastive_loss(found, torch.tensor([0, 1, 0, 1]))) > 9.9
    centres = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(cosine_softmax_loss(found, centres, kinds)) < 1e-5
    expected = float(np.log(1 + np.exp(16 * (1 + 0.15))))
    assert float(cosine_softmax_loss(found, centres, 1 - kinds)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.train
def test_mask_loss_is_small_for_the_right_masks_and_large_for_the_wrong_ones() -> None:
    torch = pytest.importorskip("torch")
    from sightline.builders.train.loss import Matches
    from sightline.builders.train.segment import mask_loss

    target = torch.zeros(1, 8, 8)
    target[0, 2:6, 2:6] = 1
    prototypes = torch.zeros(1, 32, 8, 8)
    prototypes[0, 0] = 20 * target[0] - 10
    boxes = torch.tensor([[8.0, 8.0, 24.0, 24.0]])
    zero = torch.zeros(1, dtype=torch.long)
    matches = Matches(zero, zero, zero, torch.ones(1))
    right, wrong = torch.zeros(1, 32), torch.zeros(1, 32)
    right[0, 0], wrong[0, 0] = 1.0, -1.0
    assert float(mask_loss(right, prototypes, target, boxes, matches)) < 0.01
    assert float(mask_loss(wrong, prototypes, target, boxes, matches)) > 5
