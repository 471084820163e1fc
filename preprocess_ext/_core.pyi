# SPDX-License-Identifier: Apache-2.0
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

def version() -> str: ...
def letterbox(
    data: NDArray[np.uint8],
    width: int,
    height: int,
    pixel_format: int,
    colour: int,
    out: Floats,
    mean: Floats,
    std: Floats,
    pad_value: float,
    resize: int,
    order: int,
    geometry: Floats,
) -> None: ...
def nms(
    boxes: Floats, scores: Floats, classes: NDArray[np.int32], iou: float, keep: NDArray[np.int64]
) -> int: ...
def decode_yolov8(
    raw: Floats,
    geometry: Floats,
    score: float,
    iou: float,
    boxes: Floats,
    scores: Floats,
    classes: NDArray[np.int32],
) -> int: ...
