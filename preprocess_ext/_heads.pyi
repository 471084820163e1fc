# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

def decode_yolov8(
    raw: Floats,
    geometry: Floats,
    score: float,
    iou: float,
    boxes: Floats,
    scores: Floats,
    classes: NDArray[np.int32],
) -> int: ...

class HeadPlan:
    def __init__(
        self,
        kind: int,
        extra: int,
        classes: int,
        extra_values: int,
        width: int,
        height: int,
        activation: int,
        background: int,
        multi_label: bool,
        normalised: bool,
        keypoint_values: int,
        anchors: Floats | None,
        strides: Sequence[int],
        box_weights: Sequence[float],
        centre_form: bool,
    ) -> None: ...

def decode_head(
    plan: HeadPlan,
    arrays: list[Floats],
    geometry: Floats,
    score: float,
    iou: float,
    class_agnostic: bool,
    boxes: Floats,
    scores: Floats,
    classes: NDArray[np.int32],
    extras: Floats,
    network_boxes: Floats,
    indices: NDArray[np.int32],
) -> int: ...
def classify(values: Floats, activation: int, scores: Floats, classes: NDArray[np.int32]) -> int: ...
def embedding(values: Floats, out: Floats) -> None: ...
def semantic_map(
    logits: Floats,
    channels_last: bool,
    network_width: int,
    network_height: int,
    geometry: Floats,
    upsample: int,
    out8: NDArray[np.uint8] | None,
    out32: NDArray[np.int32] | None,
) -> None: ...
