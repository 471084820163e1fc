# SPDX-License-Identifier: Apache-2.0
"""The wheel's tritonserver on a GPU: instances of the Python backend there, and tensors in CUDA shared memory."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.engines.gpu import Gpu
from sightline.builders.repository import write_file
from sightline.perf.gpu.measure import Parity, load
from sightline.perf.gpu.network_steps import torch_network
from sightline.perf.gpu.step import Context, Network, NotRun, each_network
from sightline.perf.gpu.triton_network import INPUT, ONNX_FILE, output_name
from sightline.perf.transport.repository import MODEL as IDENTITY
from sightline.perf.transport.repository import write_identity

_CLIENTS = 4
_SHIM = (
    "# Written by the GPU script; its code is in the package.\n"
    "from sightline.perf.gpu.triton_network import TritonPythonModel as TritonPythonModel\n"
)


def gpu_instances(context: Context) -> Mapping[str, Any]:
    """Every network behind a Python model of KIND_GPU, against the same network in this process."""
    return each_network(context, lambda network: served(network, context, "cuda"))


def served(network: Network, context: Context, device: str) -> dict[str, Any]:
    """Parity and rate through the server, the bare rate in this process, and their ratio; batch: the middle one."""
    from sightline.deploy import LocalServer

    batch = context.batches[len(context.batches) // 2]
    bare = torch_network(network, _only(context, batch), device, half=False)
    parity = Parity(network)
    with tempfile.TemporaryDirectory(dir=context.folder, prefix="served-") as name:
        folder = Path(name)
        outputs = [tuple(one["shape"][1:]) for one in bare["parity"]["outputs"]]
        _write_model(folder / "repository" / "network", network, outputs, batch, on_gpu=device != "cpu")
        with LocalServer(folder / "repository", log_dir=folder / "log", restart=False) as server:
            answers = _infer(server.grpc_address, parity.pictures, len(outputs))
            with _clients(server.grpc_address, network.shape(batch)) as calls:
                measured = load(calls, batch, context.seconds)
    best = max(one["images_per_second"] for one in bare["rates"] if "images_per_second" in one)
    eager = next(one["images_per_second"] for one in bare["rates"] if one.get("way") == "eager")
    return {
        "instance": "KIND_GPU" if device != "cpu" else "KIND_CPU",
        "parity": parity.compare(answers),
        "served": measured,
        "bare_rates": bare["rates"],
        "share_of_bare_eager": measured["images_per_second"] / eager,
        "share_of_bare_best": measured["images_per_second"] / best,
    }


def _only(context: Context, batch: int) -> Context:
    return Context(context.report, context.networks, context.folder, context.seconds, (batch,))


def _write_model(
    folder: Path, network: Network, outputs: list[tuple[int, ...]], batch: int, *, on_gpu: bool
) -> None:
    config = pb.ModelConfig(name=folder.name, backend="python", max_batch_size=max(batch, 4))
    config.input.add(name=INPUT, data_type=pb.TYPE_FP32, dims=network.shape(1)[1:])
    for index, dims in enumerate(outputs):
        config.output.add(name=output_name(index), data_type=pb.TYPE_FP32, dims=dims)
    kind = pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU
    config.instance_group.add(kind=kind, count=1, gpus=[0] if on_gpu else [])
    config.dynamic_batching.preferred_batch_size.append(max(batch, 4))
    config.parameters["half"].string_value = "0"
    write_file(folder / "config.pbtxt", text_format.MessageToString(config).encode())
    write_file(folder / "1" / "model.py", _SHIM.encode())
    write_file(folder / "1" / ONNX_FILE, network.content)


def _infer(address: str, pictures: NDArray[np.float32], outputs: int) -> list[NDArray[Any]]:
    import tritonclient.grpc as triton

    with contextlib.closing(triton.InferenceServerClient(address)) as client:
        item = triton.InferInput(INPUT, list(pictures.shape), "FP32")
        item.set_data_from_numpy(pictures)
        answer = client.infer("network", [item])
        return [answer.as_numpy(output_name(index)) for index in range(outputs)]


@contextlib.contextmanager
def _clients(address: str, shape: tuple[int, ...]) -> Iterator[list[Callable[[], object]]]:
    """Calls of several gRPC clients, each with pictures of its own."""
    import tritonclient.grpc as triton

    with contextlib.ExitStack() as opened:
        calls: list[Callable[[], object]] = []
        for number in range(_CLIENTS):
            client = opened.enter_context(contextlib.closing(triton.InferenceServerClient(address)))
            item = triton.InferInput(INPUT, list(shape), "FP32")
            item.set_data_from_numpy(np.random.default_rng(number).random(shape, np.float32))
            calls.append(partial(client.infer, "network", [item]))
        yield calls


def cuda_shared_memory(context: Context) -> Mapping[str, Any]:
    """A tensor that goes to the server and back in GPU memory, by a handle."""
    import tritonclient.grpc as triton

    from sightline.deploy import LocalServer

    tensor = np.random.default_rng(5).random((1, 3, 640, 640), np.float32)
    name = f"sightline-gpu-{secrets.token_hex(4)}"
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(dir=context.folder)))
        repository = write_identity(folder / "repository", tensor.shape[1:])
        server = opened.enter_context(LocalServer(repository, log_dir=folder / "log", restart=False))
        gpu = opened.enter_context(Gpu())
        region = opened.enter_context(gpu.shared(2 * tensor.nbytes))
        client = opened.enter_context(contextlib.closing(triton.InferenceServerClient(server.grpc_address)))
        headers = {"triton-grpc-protocol-sightline-token": server.token}
        client.register_cuda_shared_memory(name, region.raw_handle, 0, region.size, headers=headers)
        opened.callback(client.unregister_cuda_shared_memory, name, headers=headers)
        item = triton.InferInput(INPUT, list(tensor.shape), "FP32")
        item.set_shared_memory(name, tensor.nbytes)
        wanted = triton.InferRequestedOutput(INPUT)
        wanted.set_shared_memory(name, tensor.nbytes, tensor.nbytes)

        def call() -> NDArray[Any]:
            region.upload(tensor)
            client.infer(IDENTITY, [item], outputs=[wanted])
            return region.download(tensor.shape, np.float32, offset=tensor.nbytes)

        if not np.array_equal(call(), tensor):
            raise NotRun("the tensor came back changed")
        measured = load([call], 1, context.seconds)
    return {"package": gpu.cuda.name, "bytes": tensor.nbytes, "round_trips": measured}
