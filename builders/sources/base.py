# SPDX-License-Identifier: Apache-2.0
"""What every kind of source gives: an ONNX file's bytes, a way to run the original, and what it knows of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Reference = Callable[[Floats], list[NDArray[Any]]]


@dataclass(frozen=True)
class ExportedModel:
    """A trained model as ONNX.

    content: the whole ONNX model, weights included. origin: framework, version and architecture, for people.
    sha256: of what was exported: the source file, or architecture and weights.
    reference: runs the original framework on float32 (N, 3, height, width), normalised as the card says, and gives its
    outputs in the order of the ONNX outputs; None where the source is ONNX itself.
    defaults: card fields (nested, as in YAML) that the source knows: input, head, labels.
    """

    content: bytes = field(repr=False)
    origin: str
    sha256: str
    reference: Reference | None = field(default=None, repr=False)
    defaults: Mapping[str, Any] = field(default_factory=dict)
