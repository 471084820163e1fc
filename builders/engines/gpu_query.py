# SPDX-License-Identifier: Apache-2.0
"""Which NVIDIA GPUs this machine has, asked of the driver itself: no Python package is needed for it."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

_CAPABILITY_MAJOR, _CAPABILITY_MINOR, _INTEGRATED = 75, 76, 18  # CUdevice_attribute, cuda.h


@dataclass(frozen=True)
class GpuInfo:
    """One GPU. sm: compute capability such as 87; driver_cuda: highest CUDA version that the driver knows."""

    index: int
    name: str
    sm: int
    memory_bytes: int
    driver_cuda: str
    is_integrated: bool


@dataclass(frozen=True)
class GpuReport:
    """The machine's GPUs; `why_none` says in a sentence why there are none."""

    gpus: tuple[GpuInfo, ...]
    why_none: str = ""


@functools.cache
def find_gpus() -> GpuReport:
    """Ask the NVIDIA driver for its GPUs. Never raises; the answer is kept for the life of the process."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return GpuReport((), "no NVIDIA driver is installed here (libcuda.so.1 is missing)")
    code = driver.cuInit(0)
    if code:
        return GpuReport((), f"the NVIDIA driver does not start here: {_error_name(driver, code)}")
    count = ctypes.c_int()
    code = driver.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        reason = _error_name(driver, code) if code else "it shows no device"
        return GpuReport((), f"the NVIDIA driver gives no GPU: {reason}")
    return GpuReport(tuple(_gpu(driver, index) for index in range(count.value)))


def is_jetson() -> bool:
    """Whether this is an NVIDIA Jetson module."""
    try:
        model = Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Path("/etc/nv_tegra_release").exists()
    return "nvidia" in model.lower()


def _gpu(driver: ctypes.CDLL, index: int) -> GpuInfo:
    handle, version, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), handle)
    major, minor = (_attribute(driver, handle, code) for code in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
    return GpuInfo(
        index=index,
        name=name.value.decode(errors="replace"),
        sm=10 * major + minor,
        memory_bytes=memory.value,
        driver_cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
        is_integrated=bool(_attribute(driver, handle, _INTEGRATED)),
    )


def _attribute(driver: ctypes.CDLL, handle: ctypes.c_int, code: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), code, handle)
    return value.value


def _error_name(driver: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    driver.cuGetErrorName(code, ctypes.byref(text))
    return text.value.decode() if text.value else f"error {code}"
