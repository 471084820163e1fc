# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

class Block:
    def __init__(self, options: dict[str, Any]) -> None: ...

def update(
    blocks: list[Block], boxes: list[Floats], scores: list[Floats], classes: list[Int32s], ids: list[Int64s]
) -> None: ...
def read(
    block: Block,
    ids: Int64s,
    boxes: Floats,
    scores: Floats,
    classes: Int32s,
    states: Int32s,
    detections: Int32s,
    first_frames: Int64s,
    last_frames: Int64s,
) -> int: ...
def count(block: Block) -> tuple[int, int, int, int, int, int]: ...
def assign(cost: Floats, limit: float, column_of_row: Int32s, row_of_column: Int32s) -> None: ...
