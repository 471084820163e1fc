# SPDX-License-Identifier: Apache-2.0
"""Runs an engine with one thread, OpenVINO or ONNX Runtime: what stages, builder, bench and tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import MissingDependencyError

ENGINE_FILE = "model.xml"
ONNX_FILE = "model.onnx"
_ERRORS_ONLY = 3

# One thread an instance. Pinning is off: each process would pin itself to the same first core.
SETTINGS: dict[str, Any] = {
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}


def arithmetic(precision: str) -> str:
    """OpenVINO's name of the arithmetic that an engine of the card's precision runs in: f32 or bf16.

    Only where the card says so: bf16, OpenVINO's default on newer processors, has 8 bits, which is 2 pixels at 384.
    """
    return "bf16" if precision == "bf16" else "f32"


def import_openvino() -> Any:
    """The openvino package. Raises MissingDependencyError."""
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError(
            "the package 'openvino' is not installed; run: pip install 'sightline[server]'"
        ) from error
    return openvino


class CpuEngine:
    """A compiled network that takes one image a run."""

    def __init__(self, path: Path, precision: str = "fp32") -> None:
        ov = import_openvino()
        self._tensor = ov.Tensor
        settings = {**SETTINGS, "INFERENCE_PRECISION_HINT": arithmetic(precision)}
        self._compiled = ov.Core().compile_model(str(path), "CPU", settings)
        self._request = self._compiled.create_infer_request()
        self.input_shape: tuple[int, ...] = tuple(self._compiled.input(0).shape)
        self.output_shapes = tuple(tuple(output.shape) for output in self._compiled.outputs)

    def run(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Outputs for one image, float32 of shape `input_shape`, C-contiguous, not copied.

        The returned arrays are views that the next run overwrites.
        """
        self._request.set_input_tensor(self._tensor(image, shared_memory=True))
        self._request.infer()
        return [self._request.get_output_tensor(index).data for index in range(len(self.output_shapes))]

    def run_into(self, image: NDArray[np.float32], outputs: list[NDArray[np.float32]]) -> None:
        """Like `run`; the network writes straight into `outputs`, C-contiguous float32 of `output_shapes`."""
        self._request.set_input_tensor(self._tensor(image, shared_memory=True))
        for index, output in enumerate(outputs):
            self._request.set_output_tensor(index, self._tensor(output, shared_memory=True))
        self._request.infer()


def open_engine(path: Path, precision: str = "fp32") -> CpuEngine:
    """Compile the engine file for one thread. precision: the card's. Raises RuntimeError where OpenVINO cannot."""
    return CpuEngine(path, precision)


def import_onnxruntime() -> Any:
    """The onnxruntime package. Raises MissingDependencyError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "the package 'onnxruntime' is not installed; run: pip install 'sightline[build]'"
        ) from error
    return onnxruntime


def onnx_session(onnx: bytes | str, *, threads: int = 0, exact: bool = False) -> Any:
    """An InferenceSession on the CPU. onnx: content, or the path of a file. threads: 0 takes all cores.

    exact: run the graph as it is; the optimisations of ONNX Runtime 1.32 give wrong answers for fp8 numbers.
    Raises RuntimeError where ONNX Runtime refuses the model.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if exact:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise RuntimeError(f"ONNX Runtime cannot load the network: {str(error)[:400]}") from error


class OnnxEngine:
    """An ONNX Runtime session that takes one image a run."""

    def __init__(self, path: Path) -> None:
        self._session = onnx_session(str(path), threads=1)
        self._input = self._session.get_inputs()[0].name
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def run(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Outputs for one image, float32 of shape (1, 3, height, width); the arrays are the caller's."""
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input: image})
        return outputs
