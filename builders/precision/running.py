# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX on this machine's CPU with ONNX Runtime: the independent reference of every precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.stages.cpu_engine import onnx_session
from sightline.errors import BuildError

Floats = NDArray[np.float32]
Run = Callable[[Floats], list[NDArray[Any]]]


def onnx_runner(onnx: bytes, *, threads: int = 0, exact: bool = False) -> Run:
    """A function of float32 (N, 3, height, width) that gives all outputs, in the network's order.

    threads, exact: as of onnx_session. Raises BuildError where ONNX Runtime refuses the network.
    """
    try:
        session = onnx_session(onnx, threads=threads, exact=exact)
    except RuntimeError as error:
        raise BuildError(str(error)) from error
    name = session.get_inputs()[0].name

    def run(image: Floats) -> list[NDArray[Any]]:
        return [np.asarray(output) for output in session.run(None, {name: image})]

    return run
