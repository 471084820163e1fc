# SPDX-License-Identifier: Apache-2.0
"""Anchors out of a card: rows of numbers, or a .npy file with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sightline.errors import CardError

_MAX_FILE_BYTES = 1 << 26


def anchor_rows(anchors: Sequence[Sequence[float]] | Path | None, columns: int) -> list[list[float]]:
    """Rows of `columns` float32 numbers, network pixels; [] where there are none.

    Raises CardError for a file that cannot be read, another shape, or numbers that are not finite.
    """
    if anchors is None:
        return []
    values = (
        _from_file(anchors) if isinstance(anchors, Path) else np.asarray(_even(anchors, columns), np.float64)
    )
    if values.ndim == 3:  # levels x shapes x numbers
        values = values.reshape(-1, values.shape[-1])
    if values.ndim != 2 or values.shape[1] != columns or not np.isfinite(values).all():
        raise CardError(
            f"head.anchors has the shape {values.shape}; it must be (anchors, {columns}), all finite"
        )
    return [[float(str(number)) for number in row] for row in values.astype(np.float32)]


def _even(rows: Sequence[Sequence[float]], columns: int) -> Sequence[Sequence[float]]:
    for index, row in enumerate(rows):
        if len(row) != columns:
            raise CardError(f"head.anchors has {len(row)} numbers in row {index}; it must have {columns}")
    return rows


def _from_file(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise CardError(f"head.anchors {path} has more than {_MAX_FILE_BYTES} bytes")
        return np.asarray(np.load(path, allow_pickle=False), np.float64)
    except (OSError, ValueError, TypeError, EOFError, SyntaxError) as error:
        raise CardError(
            f"head.anchors {path} cannot be read ({error}); write it with numpy.save, numbers only"
        ) from error
