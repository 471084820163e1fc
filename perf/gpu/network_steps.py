# SPDX-License-Identifier: Apache-2.0
"""The networks alone: TensorRT and TensorRT-RTX engines, and PyTorch where those cannot be used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from sightline.builders.engines.gpu import Gpu
from sightline.builders.engines.store import EngineStore
from sightline.builders.engines.tensorrt import TensorRTOptions
from sightline.builders.engines.tensorrt_api import TensorRTKind, load_api
from sightline.builders.engines.tensorrt_run import EngineRunner
from sightline.builders.engines.tensorrt_store import stored_engine
from sightline.errors import MissingDependencyError
from sightline.perf.gpu.measure import Parity, rate
from sightline.perf.gpu.onnx_torch import TorchNetwork, import_torch
from sightline.perf.gpu.step import Context, Network, NotRun, each_network

PRECISIONS = ("fp32", "fp16")


def tensorrt(context: Context) -> Mapping[str, Any]:
    """Engines of TensorRT."""
    return _engines(context, "tensorrt")


def rtx(context: Context) -> Mapping[str, Any]:
    """Engines of TensorRT-RTX."""
    return _engines(context, "rtx")


def torch(context: Context) -> Mapping[str, Any]:
    """The networks in PyTorch on CUDA, node by node and as a CUDA graph."""
    _torch_on_cuda()
    return each_network(
        context,
        lambda network: {
            precision: torch_network(network, context, "cuda", half=precision == "fp16")
            for precision in PRECISIONS
        },
    )


def _torch_on_cuda() -> Any:
    try:
        module = import_torch()
    except MissingDependencyError as error:
        raise NotRun(str(error)) from error
    if not module.cuda.is_available():
        raise NotRun(f"torch {module.__version__} (CUDA {module.version.cuda}) cannot use this GPU")
    return module


def in_precision(content: bytes, precision: str) -> bytes:
    """The ONNX in this precision: casts for fp16."""
    if precision == "fp32":
        return content
    from sightline.builders.precision.cast import cast_graph
    from sightline.builders.precision.graph import model_from_bytes

    return bytes(cast_graph(model_from_bytes(content), "fp16").model.SerializeToString())


def _engines(context: Context, kind: TensorRTKind) -> dict[str, Any]:
    try:
        load_api(kind)
    except MissingDependencyError as error:
        raise NotRun(str(error)) from error
    with Gpu() as gpu:
        return each_network(
            context,
            lambda network: {
                precision: _engine(network, context, kind, precision, gpu) for precision in PRECISIONS
            },
        )


def _engine(
    network: Network, context: Context, kind: TensorRTKind, precision: str, gpu: Gpu
) -> dict[str, Any]:
    """Build, load, compare, measure."""
    options = TensorRTOptions(
        kind=kind,
        precision=precision,
        batch=(1, context.batches[len(context.batches) // 2], max(4, context.batches[-1])),
        size=network.size,
    )
    stored = stored_engine(
        in_precision(network.content, precision), options, EngineStore(context.folder / "engines")
    )
    plan = stored.path().read_bytes()
    started = time.perf_counter()
    with EngineRunner(plan, kind, gpu) as runner:
        facts: dict[str, Any] = {
            "engine": stored.manifest.key.text,
            "build_seconds": stored.manifest.seconds,
            "bytes": len(plan),
            "load_seconds": time.perf_counter() - started,
        }
        parity = Parity(network)
        answers = runner.run({runner.inputs[0]: parity.pictures})
        facts["parity"] = parity.compare([answers[name] for name in runner.outputs])
        facts["rates"] = [
            vars(runner.rate(network.shape(batch), seconds=context.seconds)) for batch in context.batches
        ]
    return facts


def torch_network(network: Network, context: Context, device: str, *, half: bool) -> dict[str, Any]:
    """Parity and rates of the network in PyTorch on a device."""
    module = import_torch()
    parity = Parity(network)
    model = TorchNetwork(network.content, device, half=half)
    facts: dict[str, Any] = {"parity": parity.compare(model.run(parity.pictures)), "rates": []}
    wait = module.cuda.synchronize if device != "cpu" else (lambda: None)
    with module.inference_mode():
        for batch in context.batches:
            image = module.rand(network.shape(batch), device=device)
            model.run_tensor(image)
            facts["rates"].append(
                {"way": "eager", **rate(partial(model.run_tensor, image), wait, batch, context.seconds)}
            )
            if device != "cpu":
                facts["rates"].append(_graph_rate(module, model, image, context.seconds))
    return facts


def _graph_rate(module: Any, model: TorchNetwork, image: Any, seconds: float) -> dict[str, Any]:
    """The same as one CUDA graph, without Python between the kernels; the reason where it cannot be captured."""
    try:
        side = module.cuda.Stream()
        with module.cuda.stream(side):
            for _ in range(2):
                model.run_tensor(image)
        module.cuda.synchronize()
        graph = module.cuda.CUDAGraph()
        with module.cuda.graph(graph):
            kept = model.run_tensor(image)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        return {"way": "CUDA graph", "batch": len(image), "reason": first}
    result = {"way": "CUDA graph", **rate(graph.replay, module.cuda.synchronize, len(image), seconds)}
    del kept
    return result
