# SPDX-License-Identifier: Apache-2.0
"""Figures of classification, segmentation and retrieval, in plain numpy. Average precision of boxes is in evaluate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IGNORED = 255
"""Value of class maps that says: this pixel does not count."""


def confusion(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """How often class i was called j: (classes, classes) int64 from two arrays of integers of one shape.

    Places whose truth is not in 0..classes-1 (such as IGNORED) do not count.
    """
    truth, found = truth.ravel().astype(np.int64), found.ravel().astype(np.int64)
    counted = (truth >= 0) & (truth < classes)
    table = np.bincount(truth[counted] * classes + found[counted], minlength=classes * classes)
    return np.asarray(table.reshape(classes, classes))


def accuracy(table: np.ndarray) -> float:
    """Share of a confusion table that lies on its diagonal; 0 for an empty table."""
    return float(np.trace(table) / max(table.sum(), 1))


def recalls(table: np.ndarray) -> np.ndarray:
    """Share of each class that was found, (classes,) float64; nan for classes that do not occur."""
    total = table.sum(1).astype(float)
    return np.asarray(np.divide(np.diag(table), total, out=np.full(len(table), np.nan), where=total > 0))


def class_ious(table: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, (classes,) float64; nan for classes neither there nor found."""
    hit = np.diag(table).astype(float)
    union = table.sum(0) + table.sum(1) - hit
    return np.asarray(np.divide(hit, union, out=np.full(len(table), np.nan), where=union > 0))


def mask_ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of masks, (N, H, W) against (M, H, W) bool -> (N, M) float64."""
    flat_a, flat_b = (m.reshape(len(m), int(np.prod(m.shape[1:]))).astype(np.float32) for m in (a, b))
    overlap = (flat_a @ flat_b.T).astype(np.float64)
    union = flat_a.sum(1)[:, None] + flat_b.sum(1)[None] - overlap
    return np.asarray(overlap / np.maximum(union, 1.0))


@dataclass(frozen=True)
class Retrieval:
    """Means over the queries that have a match in the gallery."""

    recall_at_1: float
    recall_at_5: float
    mean_average_precision: float
    queries: int


def retrieval(
    similarity: np.ndarray, query: np.ndarray, gallery: np.ndarray, same: np.ndarray | None = None
) -> Retrieval:
    """Figures of a search: similarity (Q, G), identities query (Q,) and gallery (G,).

    same: (Q, G) bool, pairs that do not count, such as a picture and itself. Ties keep the gallery's order.
    """
    hits_1 = hits_5 = counted = 0
    precisions: list[float] = []
    for i in range(len(query)):
        usable = np.ones(len(gallery), bool) if same is None else ~same[i]
        order = np.argsort(-similarity[i][usable], kind="stable")
        right = (gallery[usable] == query[i])[order]
        if not right.any():
            continue
        counted += 1
        hits_1 += bool(right[0])
        hits_5 += bool(right[:5].any())
        ranks = np.flatnonzero(right) + 1
        precisions.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    if not counted:
        return Retrieval(0.0, 0.0, 0.0, 0)
    return Retrieval(hits_1 / counted, hits_5 / counted, float(np.mean(precisions)), counted)
