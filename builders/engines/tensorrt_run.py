# SPDX-License-Identifier: Apache-2.0
"""Runs an engine on the GPU without a server: for parity with its ONNX, and as the bare engine that serving is compared to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.engines.gpu import DeviceBuffer, Gpu
from sightline.builders.engines.tensorrt_api import LogKeeper, TensorRTKind, load_api, make_logger
from sightline.errors import BuildError

_RUNS_IN_FLIGHT = 16


@dataclass(frozen=True)
class BareRate:
    """Throughput of the engine alone, its input and output staying in GPU memory."""

    batch: int
    images_per_second: float
    milliseconds_per_run: float
    runs: int


class EngineRunner:
    """A deserialized engine with its buffers, one profile, one stream.

    allow_host_code: for version-compatible engines, which carry code that runs on the host; only for engines of our own
    store. Raises BuildError where the engine does not load here, with what TensorRT said; MissingDependencyError.
    """

    def __init__(self, plan: bytes, kind: TensorRTKind, gpu: Gpu, *, allow_host_code: bool = False) -> None:
        self._api = load_api(kind)
        self._keeper = LogKeeper()
        self._logger = make_logger(self._api, self._keeper)
        self._gpu = gpu
        try:
            self._runtime = self._api.module.Runtime(self._logger)
        except TypeError as error:  # how the binding says that the factory gave nothing
            raise self._error("the runtime does not start") from error
        if allow_host_code:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self._error("the engine does not load")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._error("the engine loads, its context does not")
        self._buffers: dict[str, DeviceBuffer] = {}
        mode = self._api.module.TensorIOMode
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.inputs = tuple(name for name in names if self._engine.get_tensor_mode(name) == mode.INPUT)
        self.outputs = tuple(name for name in names if name not in self.inputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name. inputs: by name, batch included, converted to the engine's types."""
        for name in self.inputs:
            array = np.ascontiguousarray(inputs[name], dtype=self._dtype(name))
            self._set_shape(name, array.shape)
            self._buffer(name, array.nbytes).upload(array)
        shapes = self._prepare_outputs()
        self._enqueue()
        return {
            name: self._buffers[name].download(shape, self._dtype(name)) for name, shape in shapes.items()
        }

    def rate(self, shape: tuple[int, ...], *, seconds: float = 2.0) -> BareRate:
        """Run the engine over and over for so long, after a warm-up. shape: of its one input, batch included."""
        (name,) = self.inputs
        self._set_shape(name, shape)
        noise = np.random.default_rng(0).random(shape, np.float32).astype(self._dtype(name))
        self._buffer(name, noise.nbytes).upload(noise)
        self._prepare_outputs()
        for _ in range(_RUNS_IN_FLIGHT):
            self._enqueue()
        self._gpu.wait()
        runs, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            for _ in range(_RUNS_IN_FLIGHT):
                self._enqueue()
            self._gpu.wait()
            runs += _RUNS_IN_FLIGHT
        return BareRate(shape[0], runs * shape[0] / elapsed, 1e3 * elapsed / runs, runs)

    def close(self) -> None:
        """Free the buffers."""
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()

    def __enter__(self) -> EngineRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if not self._context.set_input_shape(name, shape):
            raise self._error(f"input {name!r} cannot have the shape {shape}")

    def _prepare_outputs(self) -> dict[str, tuple[int, ...]]:
        shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in self.outputs}
        for name, shape in shapes.items():
            if -1 in shape:
                raise BuildError(
                    f"output {name!r} has the shape {shape}, which depends on the picture; it cannot be run here"
                )
            self._buffer(name, int(np.prod(shape)) * self._dtype(name).itemsize)
        return shapes

    def _buffer(self, name: str, size: int) -> DeviceBuffer:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            if buffer is not None:
                buffer.free()
            buffer = self._buffers[name] = self._gpu.allocate(max(size, 1))
        self._context.set_tensor_address(name, buffer.address)
        return buffer

    def _dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(self._api.module.nptype(self._engine.get_tensor_dtype(name)))

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._gpu.stream):
            raise self._error("the engine does not run")

    def _error(self, what: str) -> BuildError:
        said = "; ".join(self._keeper.errors[-3:])[:1200] or "it logged no reason"
        return BuildError(f"{self._api.title}: {what}: {said}")
