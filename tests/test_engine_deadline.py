# SPDX-License-Identifier: Apache-2.0
"""A request's timeout reaches tritonserver's queue: what nobody waits for any more is not computed."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sightline.clients import Client
from sightline.deploy import LocalServer
from sightline.deploy.local.supervisor import RestartPolicy
from sightline.errors import InferenceError
from sightline.frame import Frame

LATE_SECONDS = 0.15
PATIENCE_SECONDS = 60.0
MODEL = """\
import pathlib, time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        frame = pb_utils.get_input_tensor_by_name(request, "FRAME").as_numpy()[0]
        number = int(frame[0]) if frame.size == 384 else 0  # else the canary's
        if number:
            with open(RECORD, "a") as record:
                record.write(f"{number}\\n")
        end = time.monotonic() + 120  # against a hang only
        while number and not pathlib.Path(RELEASE).exists() and time.monotonic() < end:
            time.sleep(0.01)
        return pb_utils.InferenceResponse([
            pb_utils.Tensor("COUNT", np.zeros((1, 1), np.int32)),
            pb_utils.Tensor("BOXES", np.zeros((1, 0, 4), np.float32)),
            pb_utils.Tensor("SCORES", np.zeros((1, 0), np.float32)),
            pb_utils.Tensor("CLASSES", np.zeros((1, 0), np.int32)),
            pb_utils.Tensor("ERROR", np.array([[b""]], object)),
        ])
"""
TENSORS = """\
input [ { name: "FRAME" data_type: TYPE_UINT8 dims: [-1] }, { name: "FRAME_INFO" data_type: TYPE_INT32 dims: [4] } ]
output [
  { name: "COUNT" data_type: TYPE_INT32 dims: [1] }, { name: "BOXES" data_type: TYPE_FP32 dims: [-1, 4] },
  { name: "SCORES" data_type: TYPE_FP32 dims: [-1] }, { name: "CLASSES" data_type: TYPE_INT32 dims: [-1] },
  { name: "ERROR" data_type: TYPE_STRING dims: [1] }
]
max_batch_size: 1
"""
NAMES = {"input_map": ("FRAME", "FRAME_INFO"), "output_map": ("COUNT", "BOXES", "SCORES", "CLASSES", "ERROR")}


def write_repository(folder: Path, record: Path) -> None:
    """The ensembles `busy` and `busy_frames` over one model of two instances, with a queue as the builders write it."""
    stage = folder / "busy_v1_network"
    (stage / "1").mkdir(parents=True)
    source = MODEL.replace("RECORD", repr(str(record))).replace(
        "RELEASE", repr(str(record.parent / "release"))
    )
    (stage / "1" / "model.py").write_text(source)
    (stage / "config.pbtxt").write_text(
        f'name: "busy_v1_network" backend: "python" {TENSORS}'
        "instance_group [ { kind: KIND_CPU count: 2 } ]\n"
        "dynamic_batching { default_queue_policy { max_queue_size: 16 default_timeout_microseconds: 120000000 "
        "timeout_action: REJECT allow_timeout_override: true } }\n"
    )
    maps = "".join(f'{kind} {{ key: "{n}" value: "{n}" }} ' for kind, names in NAMES.items() for n in names)
    description = json.dumps(json.dumps({"task": "detect", "labels": ["thing"], "version": 1}))
    for name in ("busy", "busy_frames"):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(
            f'name: "{name}" platform: "ensemble" {TENSORS}'
            f'ensemble_scheduling {{ step {{ model_name: "busy_v1_network" model_version: -1 {maps} }} }}\n'
            f'parameters {{ key: "sightline" value {{ string_value: {description} }} }}\n'
        )


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("busy") / "record"


@pytest.fixture(scope="module")
def busy_server(record: Path) -> Iterator[LocalServer]:
    write_repository(record.parent / "repository", record)
    policy = RestartPolicy(canary_failures=100)  # who keeps both instances busy holds its canaries up as well
    repository, log = record.parent / "repository", record.parent / "log"
    with LocalServer(repository, log_dir=log, restart_policy=policy) as server:
        yield server


def frame(number: int) -> Frame:
    """A frame that the model knows by its first byte; 0 keeps it busy for no time."""
    data = np.zeros(16 * 16 * 3 // 2, np.uint8)
    data[0] = number
    return Frame(data, 16, 16)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_frame_that_waited_too_long_is_never_computed(
    busy_server: LocalServer, record: Path, protocol: str
) -> None:
    """Over gRPC it is the server that drops it, for there the client cancels nothing."""
    address = busy_server.grpc_address if protocol == "grpc" else busy_server.http_address
    release = record.parent / "release"
    release.unlink(missing_ok=True)
    with Client(address, protocol=protocol, timeout_seconds=PATIENCE_SECONDS) as client:  # type: ignore[arg-type]
        assert len(client.detect("busy", frame(0))) == 0
        record.write_text("")
        running = [client.submit("busy", frame(number)) for number in (1, 2)]
        end = time.monotonic() + PATIENCE_SECONDS
        while len(record.read_text().split()) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        late = client.submit("busy", frame(3), timeout_seconds=LATE_SECONDS)
        patient = client.submit("busy", frame(4))
        with pytest.raises(InferenceError, match=r"expired|no answer"):
            late.result()
        release.touch()
        for pending in (*running, patient):
            pending.result()
    assert sorted(record.read_text().split()) == ["1", "2", "4"]


@pytest.mark.parametrize("timeout", [20.0, 0.002])
def test_a_requests_memory_is_free_without_the_garbage_collector(
    busy_server: LocalServer, timeout: float
) -> None:
    """Answered or late: few regions of shared memory serve many requests one after the other."""
    with Client(busy_server.grpc_address, timeout_seconds=PATIENCE_SECONDS) as client:
        client.detect("busy", frame(0))
        gc.disable()
        try:
            for _ in range(40):
                slot = client.frame_slot(32, 32)
                slot.data[:] = 0
                done = threading.Event()
                pending = client.submit("busy", slot, timeout_seconds=timeout)
                pending.add_done_callback(lambda _, done=done, slot=slot: done.set())  # type: ignore[misc]
                assert done.wait(30)
                del pending, slot
            stats = client.stats()
        finally:
            gc.enable()
    assert stats.in_use <= 12
    assert stats.regions <= (8 if timeout > 1 else 44), "what the server may still read is put aside"
