# SPDX-License-Identifier: Apache-2.0
"""The few CUDA calls that we need, through pycuda or through cuda-python, whichever is installed.

pycuda is compiled on installation and wants the CUDA toolkit; cuda-python (the package cuda-bindings) is a plain wheel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightline.errors import MissingDependencyError, SightlineError

IPC_HANDLE_BYTES = 64


class Cuda(Protocol):
    """One GPU. Addresses and streams are plain integers; sizes are in bytes; failures raise SightlineError."""

    name: str

    def allocate(self, size: int) -> int:
        """Memory of the GPU."""

    def free(self, address: int) -> None:
        """Give memory back."""

    def new_stream(self) -> int:
        """A stream."""

    def end_stream(self, stream: int) -> None:
        """Give a stream back."""

    def wait(self, stream: int) -> None:
        """Until all work of the stream is done."""

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Enqueue a copy to the GPU; `array`, contiguous, stays as it is until `wait`."""

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Enqueue a copy into `array`, contiguous."""

    def memory(self) -> tuple[int, int]:
        """Free and whole memory."""

    def ipc_handle(self, address: int) -> bytes:
        """64 bytes by which another process opens this memory."""


def open_cuda(index: int) -> Cuda:
    """pycuda where it is installed, else cuda-python. Raises MissingDependencyError where neither is."""
    problems = []
    for opener in (PyCuda, CudaPython):
        try:
            return opener(index)
        except ImportError as error:
            problems.append(str(error))
    raise MissingDependencyError(
        f"neither pycuda nor cuda-python is installed ({'; '.join(problems)}); run: pip install 'sightline[gpu]'"
    )


class CudaPython:
    """Through cuda-python's runtime API. The device is chosen at each call: CUDA keeps it by thread."""

    name = "cuda-python"

    def __init__(self, index: int) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError:
            from cuda import cudart as runtime  # as it was named until cuda-python 12.6
        self._runtime, self._index = runtime, index
        self._call("cudaSetDevice", index)

    def allocate(self, size: int) -> int:
        """Memory of the GPU."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cudaFree", address)

    def new_stream(self) -> int:
        """A stream that does not wait for the default stream."""
        return int(self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking))

    def end_stream(self, stream: int) -> None:
        """Give a stream back."""
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: int) -> None:
        """Until all work of the stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Enqueue a copy to the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Enqueue a copy into `array`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def memory(self) -> tuple[int, int]:
        """Free and whole memory."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def ipc_handle(self, address: int) -> bytes:
        """64 bytes by which another process opens this memory."""
        return bytes(self._call("cudaIpcGetMemHandle", address).reserved)

    def _call(self, function: str, *arguments: Any) -> Any:
        if function != "cudaSetDevice":
            self._checked("cudaSetDevice", self._index)
        return self._checked(function, *arguments)

    def _checked(self, function: str, *arguments: Any) -> Any:
        """What the function gives beside its status. Raises SightlineError."""
        status, *results = getattr(self._runtime, function)(*arguments)
        if int(status) != 0:
            raise SightlineError(f"{function}{_shown(arguments)} failed: {status.name}")
        return results[0] if len(results) == 1 else tuple(results)


class PyCuda:
    """Through pycuda's driver API, in the GPU's primary context, which TensorRT uses as well."""

    name = "pycuda"

    def __init__(self, index: int) -> None:
        import pycuda.driver as driver

        self._driver = driver
        try:
            driver.init()
            self._context = driver.Device(index).retain_primary_context()
        except driver.Error as error:
            raise SightlineError(f"pycuda cannot open GPU {index}: {error}") from error
        self._streams: dict[int, Any] = {}
        self._memory: dict[int, Any] = {}

    def allocate(self, size: int) -> int:
        """Memory of the GPU."""
        with self._current():
            memory = self._driver.mem_alloc(size)
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, address: int) -> None:
        """Give memory back."""
        with self._current():
            self._memory.pop(address).free()

    def new_stream(self) -> int:
        """A stream that does not wait for the default stream."""
        with self._current():
            stream = self._driver.Stream(1)  # CU_STREAM_NON_BLOCKING
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def end_stream(self, stream: int) -> None:
        """Give a stream back."""
        with self._current():
            self._streams.pop(stream, None)

    def wait(self, stream: int) -> None:
        """Until all work of the stream is done."""
        with self._current():
            self._streams[stream].synchronize()

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Enqueue a copy to the GPU."""
        with self._current():
            self._driver.memcpy_htod_async(address, array, self._streams[stream])

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Enqueue a copy into `array`."""
        with self._current():
            self._driver.memcpy_dtoh_async(array, address, self._streams[stream])

    def memory(self) -> tuple[int, int]:
        """Free and whole memory."""
        with self._current():
            free, total = self._driver.mem_get_info()
        return int(free), int(total)

    def ipc_handle(self, address: int) -> bytes:
        """64 bytes by which another process opens this memory."""
        with self._current():
            return bytes(self._driver.mem_get_ipc_handle(address))

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        except self._driver.Error as error:
            raise SightlineError(f"CUDA call through pycuda failed: {error}") from error
        finally:
            self._driver.Context.pop()


def _shown(arguments: tuple[Any, ...]) -> str:
    return f"({', '.join(str(value) for value in arguments if isinstance(value, (int, np.integer)))})"
