# SPDX-License-Identifier: Apache-2.0
"""Runs a serialized pipeline through DALI's C interface with the calls of the DALI backend, on the CPU.

    python tests/dali_c_host.py PIPELINE INPUTS.npz OUTPUTS.npz BATCH

INPUTS.npz holds arrays called NAME/INDEX, an item each. A process of its own: errors are C++ exceptions, which end it.
The calls and their order: src/dali_executor of triton-inference-server/dali_backend.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_CPU_ONLY = -99999  # CPU_ONLY_DEVICE_ID
_NO_COPY = 1 << 4  # DALI_ext_force_no_copy
_TYPES = {"uint8": 0, "int32": 6}
_THREADS = 2


def load() -> tuple[Any, Any]:
    """The libraries of the installed DALI, without its Python side."""
    import importlib.util

    spec = importlib.util.find_spec("nvidia.dali")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    names = ("libdali_core.so", "libdali_kernels.so", "libdali.so", "libdali_operators.so")
    return tuple(ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL) for name in names)[2:]  # type: ignore[return-value]


def main(pipeline: Path, inputs: Path, outputs: Path, batch: int) -> None:
    """One run."""
    dali, operators = load()
    dali.daliInitialize()
    operators.daliInitOperators()
    serialized = pipeline.read_bytes()
    assert dali.daliIsDeserializable(serialized, len(serialized)) == 0
    handle = ctypes.c_void_p()
    ref = ctypes.byref(handle)
    dali.daliCreatePipeline(ref, serialized, len(serialized), batch, _THREADS, _CPU_ONLY, 0, 1, 0, 0, 0)
    items: dict[str, list[np.ndarray[Any, Any]]] = {}
    with np.load(inputs) as arrays:
        for key in sorted(arrays.files, key=lambda key: int(key.rpartition("/")[2])):
            items.setdefault(key.rpartition("/")[0], []).append(arrays[key])
    kept = [feed(dali, ref, name.encode(), values) for name, values in items.items()]
    dali.daliRun(ref)
    dali.daliOutput(ref)
    np.savez(outputs, **{f"output_{index}": output(dali, ref, index) for index in range(2)})
    dali.daliOutputRelease(ref)
    dali.daliDeletePipeline(ref)
    del kept


def feed(dali: Any, ref: Any, name: bytes, values: Sequence[np.ndarray[Any, Any]]) -> Any:
    """Set one input, all items one behind the other, each with its own shape."""
    data = np.concatenate([value.reshape(-1) for value in values])
    shapes = (ctypes.c_int64 * len(values))(*(len(value) for value in values))
    kind = _TYPES[str(data.dtype)]
    dali.daliSetExternalInputDataId(ref, name, b"1")
    dali.daliSetExternalInputBatchSize(ref, name, len(values))
    dali.daliSetExternalInput(
        ref, name, 0, ctypes.c_void_p(data.ctypes.data), kind, shapes, 1, None, _NO_COPY
    )
    return data


def output(dali: Any, ref: Any, index: int) -> np.ndarray[Any, Any]:
    """One output as an array; all items have one shape."""
    dali.daliShapeAtSample.restype = ctypes.POINTER(ctypes.c_int64)
    rank = dali.daliMaxDimTensors(ref, index)
    count = dali.daliNumTensors(ref, index)
    assert dali.daliOutputHasUniformShape(ref, index)
    shape = dali.daliShapeAtSample(ref, index, 0)[:rank]
    out = np.empty((count, *shape), np.float32)
    dali.daliOutputCopy(ref, ctypes.c_void_p(out.ctypes.data), index, 0, None, 0)
    return out


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
