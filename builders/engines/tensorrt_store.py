# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines through the store: built where they are not there yet."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable

from sightline.builders.engines.gpu_query import find_gpus
from sightline.builders.engines.manifest import EngineKey
from sightline.builders.engines.store import PLAN_FILE, EngineStore, NewEngine, StoredEngine
from sightline.builders.engines.tensorrt import TensorRTOptions, engine_targets, tensorrt_engine
from sightline.builders.engines.tensorrt_api import load_api
from sightline.builders.engines.tensorrt_cache import timing_cache
from sightline.builders.engines.tensorrt_progress import Progress


def engine_key(onnx_sha256: str, options: TensorRTOptions) -> EngineKey:
    """Key of the engine that this machine would build. Raises BuildError, MissingDependencyError."""
    api = load_api(options.kind)
    sm = engine_targets(api, options)
    gpus = find_gpus().gpus
    is_bound = options.kind == "tensorrt" and options.hardware == "this"
    return EngineKey(
        onnx_sha256=onnx_sha256,
        kind=options.kind,
        version=api.version,
        system=platform.system().lower(),
        architecture=platform.machine(),
        precision=options.precision,
        sm=sm,
        device=gpus[0].name if gpus and is_bound else "",
        batch=options.batch,
        size=options.size or (),
        options=options.scalars,
    )


def stored_engine(
    onnx: bytes,
    options: TensorRTOptions,
    store: EngineStore,
    *,
    progress: Progress | None = None,
    on_wait: Callable[[int], None] | None = None,
) -> StoredEngine:
    """The engine out of the store, built first where it is not there.

    progress: as `tensorrt_engine` calls it; on_wait: as `EngineStore.get_or_build` does. Raises what these raise.
    """
    key = engine_key(hashlib.sha256(onnx).hexdigest(), options)

    def build() -> NewEngine:
        cache = None
        if key.kind == "tensorrt":
            cache = timing_cache(store.timing_folder, key.version, key.sm[0], find_gpus().gpus[0].name)
        built = tensorrt_engine(onnx, options, progress=progress, timing_cache=cache)
        return NewEngine(
            files={PLAN_FILE: built.plan},
            seconds=built.seconds,
            cuda=built.cuda,
            device=built.device,
            inputs=built.inputs,
            outputs=built.outputs,
            shapes=built.shapes,
        )

    return store.get_or_build(key, build, on_wait=on_wait)
