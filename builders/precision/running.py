# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX on this machine's CPU with ONNX Runtime: the independent reference of every precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BuildError, MissingDependencyError

Floats = NDArray[np.float32]
Run = Callable[[Floats], list[NDArray[Any]]]
_ERRORS_ONLY = 3


def import_onnxruntime() -> Any:
    """The onnxruntime package. Raises MissingDependencyError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "the package 'onnxruntime' is not installed; run: pip install 'sightline[precision]'"
        ) from error
    return onnxruntime


def onnx_session(onnx: bytes | str, *, threads: int = 0, exact: bool = False) -> Any:
    """An InferenceSession on the CPU. onnx: content, or the path of a file. threads: 0 takes all cores.

    exact: leave out the optimisations that change answers (those of 1.32 break Q/DQ pairs of fp8 numbers).
    Raises BuildError where ONNX Runtime refuses the model.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if exact:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise BuildError(f"ONNX Runtime cannot load the network: {str(error)[:400]}") from error


def onnx_runner(onnx: bytes, *, threads: int = 0, exact: bool = False) -> Run:
    """A function of float32 (N, 3, height, width) that gives all outputs, in the network's order."""
    session = onnx_session(onnx, threads=threads, exact=exact)
    name = session.get_inputs()[0].name

    def run(image: Floats) -> list[NDArray[Any]]:
        return [np.asarray(output) for output in session.run(None, {name: image})]

    return run
