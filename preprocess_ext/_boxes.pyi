# SPDX-License-Identifier: Apache-2.0
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Classes = NDArray[np.int32] | None

def nms(
    boxes: Floats, scores: Floats, classes: Classes, iou: float, distance: bool, keep: NDArray[np.int64]
) -> int: ...
def soft_nms(
    boxes: Floats,
    scores: Floats,
    classes: Classes,
    kind: int,
    iou: float,
    sigma: float,
    score: float,
    keep: NDArray[np.int64],
    kept_scores: Floats,
) -> int: ...
def oriented_nms(
    boxes: Floats,
    scores: Floats,
    classes: Classes,
    limit: float,
    overlap: int,
    fast: bool,
    keep: NDArray[np.int64],
) -> int: ...
