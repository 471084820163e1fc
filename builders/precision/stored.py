# SPDX-License-Identifier: Apache-2.0
"""Weights stored in fp16 while the arithmetic stays in fp32: half the file, the same speed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.precision.graph import import_onnx, model_bytes, model_from_bytes, weight_array

_LEAST_VALUES = 64
_LARGEST = 65504.0
_SHARE_LOST = 0.01


def _fits(values: NDArray[Any]) -> bool:
    if not np.all(np.abs(values) <= _LARGEST):
        return False
    lost = np.abs(values - values.astype(np.float16).astype(np.float32)) > 0.01 * np.abs(values)
    return float(lost.mean()) <= _SHARE_LOST


def half_weights(onnx: bytes) -> bytes:
    """The network with every larger fp32 weight as fp16 and a Cast, which runtimes fold when they load it.

    Weights beyond the range of fp16 stay as they are, and so do those of which many are too small for it.
    """
    package = import_onnx()
    model = model_from_bytes(onnx)
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = weight_array(tensor) if tensor.data_type == package.TensorProto.FLOAT else np.empty(0)
        if values.size < _LEAST_VALUES or not _fits(values):
            kept.append(tensor)
            continue
        stored = f"{tensor.name}__stored"
        kept.append(package.numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(
            package.helper.make_node(
                "Cast", [stored], [tensor.name], name=f"cast_{tensor.name}", to=package.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return model_bytes(model)
