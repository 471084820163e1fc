# SPDX-License-Identifier: Apache-2.0
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

def convert(
    data: NDArray[np.uint8],
    width: int,
    height: int,
    pixel_format: int,
    colour: int,
    out: NDArray[np.uint8],
    out_width: int,
    out_height: int,
    output_type: int,
    layout: int,
    mean: Floats,
    std: Floats,
    pad_value: float,
    resize: int,
    short_side: int,
    order: int,
    filter: int,
    geometry: Floats,
) -> None: ...
def boxes_to_source(geometry: Floats, boxes: Floats) -> None: ...
def boxes_to_network(geometry: Floats, boxes: Floats) -> None: ...
def points_to_source(geometry: Floats, points: Floats) -> None: ...
