# SPDX-License-Identifier: Apache-2.0
"""Which GPU this is, and what is installed for it."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

import numpy as np

from sightline.builders.engines.gpu import Gpu
from sightline.builders.engines.tensorrt_api import load_api
from sightline.errors import SightlineError
from sightline.perf.gpu.step import Context, NotRun

_PACKAGES = (
    "torch", "onnxruntime", "openvino", "nvidia-dali-cuda130", "nvidia-dali-cuda120", "cuda-bindings", "pycuda",
    "nvidia-pytriton", "tritonclient", "numpy", "onnx",
)  # fmt: skip


def device(context: Context) -> Mapping[str, Any]:
    """Name, compute capability and memory of each GPU, as the driver tells them."""
    return {"gpus": [asdict(gpu) for gpu in context.report.gpus]}


def versions(context: Context) -> Mapping[str, Any]:
    """What is installed, and why what is missing is missing."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    for kind in ("tensorrt", "rtx"):
        try:
            found[kind] = load_api(kind).version
        except SightlineError as error:
            found[kind] = f"not usable: {error}"
    found["torch_cuda"] = _torch_cuda()
    return found


def _torch_cuda() -> str:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return f"torch cannot be imported: {error}"
    state = "a GPU can be used" if torch.cuda.is_available() else "no GPU can be used"
    return f"built for CUDA {torch.version.cuda}: {state}"


def memory(context: Context) -> Mapping[str, Any]:
    """GPU memory and a stream through pycuda or cuda-python: what goes up comes down the same."""
    with Gpu() as gpu, gpu.allocate(64 << 20) as buffer:
        wanted = np.random.default_rng(3).integers(0, 256, 64 << 20, np.uint8)
        buffer.upload(wanted)
        if not np.array_equal(buffer.download(wanted.shape, np.uint8), wanted):
            raise NotRun("what was copied to the GPU came back changed")
        free, total = gpu.memory()
        return {
            "package": gpu.cuda.name,
            "free_bytes": free,
            "total_bytes": total,
            "copied_bytes": wanted.nbytes,
        }
