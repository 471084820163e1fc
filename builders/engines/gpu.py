# SPDX-License-Identifier: Apache-2.0
"""GPU memory, streams and memory that is shared with Triton: extra [gpu], imported only when used.

    with Gpu() as gpu, gpu.allocate(4 << 20) as buffer:
        buffer.upload(array)

`CudaRegion` registers with Triton by its raw handle. tritonclient's own cuda_shared_memory wants the module
`cuda.cudart`, which cuda-python 13 no longer has.
"""

from __future__ import annotations

import base64
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sightline.builders.engines.gpu_cuda import Cuda, open_cuda
from sightline.builders.engines.gpu_query import GpuInfo, find_gpus
from sightline.errors import MissingDependencyError, SightlineError

_Buffer = TypeVar("_Buffer", bound="DeviceBuffer")


class Gpu:
    """One NVIDIA GPU with a stream of our own. Not for use by several threads at once.

    Raises MissingDependencyError where there is no GPU, no driver, or neither pycuda nor cuda-python.
    """

    def __init__(self, index: int = 0) -> None:
        report = find_gpus()
        if not report.gpus:
            raise MissingDependencyError(f"no NVIDIA GPU can be used: {report.why_none}")
        if not 0 <= index < len(report.gpus):
            raise SightlineError(f"GPU {index} does not exist; there are 0 to {len(report.gpus) - 1}")
        self.info: GpuInfo = report.gpus[index]
        self.cuda: Cuda = open_cuda(index)
        self.stream = self.cuda.new_stream()

    def memory(self) -> tuple[int, int]:
        """Free and whole memory in bytes."""
        return self.cuda.memory()

    def allocate(self, size: int) -> DeviceBuffer:
        """`size` bytes of the GPU's memory."""
        return DeviceBuffer(self, size)

    def shared(self, size: int) -> CudaRegion:
        """`size` bytes that another process on this machine can open. Raises SightlineError on Jetson, which cannot."""
        if self.info.is_integrated:
            raise SightlineError(
                f"{self.info.name} has no CUDA shared memory between processes; use system shared memory"
            )
        return CudaRegion(self, size)

    def wait(self) -> None:
        """Until everything that was enqueued is done."""
        self.cuda.wait(self.stream)

    def close(self) -> None:
        """Give the stream back; a second call does nothing."""
        if self.stream:
            self.cuda.end_stream(self.stream)
            self.stream = 0

    def __enter__(self) -> Gpu:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DeviceBuffer:
    """Memory of a GPU, freed by `free` or at the end of a with block. address: as CUDA knows it."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        if size <= 0:
            raise SightlineError(f"a buffer of {size} bytes cannot be allocated; the size must be above 0")
        self._gpu, self.size = gpu, size
        self.address = gpu.cuda.allocate(size)

    def upload(self, array: NDArray[Any], *, offset: int = 0) -> None:
        """Copy an array to the GPU, `offset` bytes into the buffer, and wait until it is there."""
        content = np.ascontiguousarray(array)
        self._check(offset, content.nbytes)
        self._gpu.cuda.upload(self.address + offset, content, self._gpu.stream)
        self._gpu.wait()

    def download(self, shape: tuple[int, ...], dtype: DTypeLike, *, offset: int = 0) -> NDArray[Any]:
        """A new array of this shape and dtype, copied from the GPU after all that was enqueued before."""
        array = np.empty(shape, dtype)
        self._check(offset, array.nbytes)
        self._gpu.cuda.download(array, self.address + offset, self._gpu.stream)
        self._gpu.wait()
        return array

    def free(self) -> None:
        """Give the memory back; a second call does nothing."""
        if self.address:
            self._gpu.cuda.free(self.address)
            self.address = 0

    def __enter__(self: _Buffer) -> _Buffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()

    def _check(self, offset: int, size: int) -> None:
        if not self.address:
            raise SightlineError("the buffer has been freed")
        if offset < 0 or offset + size > self.size:
            raise SightlineError(
                f"{size} bytes at offset {offset} do not fit into a buffer of {self.size} bytes"
            )


class CudaRegion(DeviceBuffer):
    """GPU memory that Triton opens by its handle: nothing is copied between the two processes.

    `client.register_cuda_shared_memory(name, region.raw_handle, gpu.info.index, region.size)` registers it, with
    tritonclient's HTTP and gRPC clients. It stays allocated until it is unregistered there and freed here.
    """

    @property
    def raw_handle(self) -> bytes:
        """The CUDA IPC handle in base64, as tritonclient takes it."""
        return base64.b64encode(self._gpu.cuda.ipc_handle(self.address))
