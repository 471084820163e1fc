# SPDX-License-Identifier: Apache-2.0
"""The stages before and behind DALI in a real tritonserver: one bad picture fails alone, also in merged requests."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

from sightline.builders.stages.checked import checked_picture
from sightline.builders.stages.images import decode_image
from sightline.card import InputSpec, ModelCard
from sightline.deploy import LocalServer
from sightline.deploy.local.supervisor import RestartPolicy
from sightline.frame import ColourSpace, Frame, PixelFormat, frame_bytes
from sightline.preprocess_ext import letterbox
from tests.dali_models import serialize, write_dali_files, write_fronts
from tests.needs import needs
from tests.triton_models import write_repository

needs("nvidia.dali")

Arrays = dict[str, NDArray[Any]]
CARD = ModelCard(name="seen", source="x.onnx", input=InputSpec(size=(64, 48), filter="triangle"))
CARD_INPUT = CARD.input.model_dump()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("dali") / "repository")


@pytest.fixture(scope="module")
def graphs(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the serialized graphs: decode and letterbox, which the repository has, and those for a GPU."""
    folders = write_fronts(CARD, repository)
    large = CARD.model_copy(update={"input": InputSpec(size=(640, 640))})
    root = tmp_path_factory.mktemp("gpu")
    for stage in ("decode", "letterbox"):
        folders[f"{stage} gpu"] = write_dali_files(large, stage, root / stage, device="gpu")
    serialize(*folders.values())
    return folders


@pytest.fixture(scope="module")
def client(
    repository: Path, graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[triton.InferenceServerClient]:
    policy = RestartPolicy(canary_failures=100)  # one that is late on a busy machine is well
    with LocalServer(
        repository, log_dir=tmp_path_factory.mktemp("dali-log"), restart_policy=policy
    ) as server:
        connection = triton.InferenceServerClient(server.grpc_address)
        yield connection
        connection.close()
        assert (server.state, server.restarts) == ("ready", 0)


def infer(client: Any, model: str, inputs: Arrays) -> Arrays:
    tensors = []
    for name, array in inputs.items():
        tensors.append(
            triton.InferInput(name, list(array.shape), {"uint8": "UINT8", "int32": "INT32"}[str(array.dtype)])
        )
        tensors[-1].set_data_from_numpy(array)
    answer = client.infer(model, tensors)
    return {name: answer.as_numpy(name) for name in ("TENSOR", "GEOMETRY", "ERROR")}


def file_of(width: int, height: int, file_format: str = "JPEG", **options: Any) -> bytes:
    ramp = np.add.outer(np.arange(height), np.arange(width))
    pixels = np.stack([ramp % 256, (3 * ramp) % 200, (ramp // 2) % 256], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def padded(*files: bytes) -> NDArray[np.uint8]:
    rows = np.zeros((len(files), max(map(len, files))), np.uint8)
    for row, file in zip(rows, files, strict=True):
        row[: len(file)] = np.frombuffer(file, np.uint8)
    return rows


def by_core(frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    out = np.empty((3, 48, 64), np.float32)
    return out, letterbox(frame, out, interpolation="triangle").as_array()


def assert_good(answer: Arrays, index: int, frame: Frame) -> None:
    tensor, geometry = by_core(frame)
    assert answer["ERROR"][index, 0] == b""
    assert np.array_equal(answer["GEOMETRY"][index], geometry)
    assert np.abs(answer["TENSOR"][index] - tensor).max() * 255 < 0.25


GOOD = [
    file_of(160, 90),
    file_of(33, 77, "PNG"),
    file_of(50, 50, "WEBP", lossless=True),
    file_of(300, 11, quality=60, progressive=True),
]
BAD = {
    "cut off": file_of(120, 80)[:900],
    "empty": bytes(10),
    "a GIF": b"GIF89a" + bytes(100),
    "a cut PNG": file_of(120, 80, "PNG")[:300],
}


@pytest.mark.parametrize("model", ["files", "local_dali"])
def test_bad_files_fail_alone_in_one_request(client: Any, model: str) -> None:
    answer = infer(client, model, {"IMAGE": padded(*GOOD, *BAD.values())})
    for index, file in enumerate(GOOD):
        assert_good(answer, index, Frame.from_rgb(decode_image(file).pixels))
    for index, name in enumerate(BAD, start=len(GOOD)):
        assert answer["ERROR"][index, 0].startswith(b"[bad_image] "), name
        assert not answer["GEOMETRY"][index].any(), name


@pytest.mark.parametrize("model", ["files", "local_dali"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_alone_is_the_requests_error(client: Any, model: str, name: str) -> None:
    with pytest.raises(
        InferenceServerException, match=r"\[bad_image\] (this is not a|the \w+ file is damaged)"
    ):
        infer(client, model, {"IMAGE": padded(BAD[name])})


def test_files_of_merged_requests(client: Any) -> None:
    """Requests of different lengths that Triton puts together, bad ones among them."""
    for _ in range(20):  # until a busy machine's threads are quick enough for something to be merged
        before = executions(client, "seen_v1_decode")
        ask_for_files_at_once(client)
        if (made := executions(client, "seen_v1_decode") - before) < 8:
            break
    assert made < 8, "Triton must have merged requests"


def ask_for_files_at_once(client: Any) -> None:
    answers: dict[int, Any] = {}

    def ask(index: int) -> None:
        file = list(BAD.values())[index // 2 % len(BAD)] if index % 2 else GOOD[index // 2 % len(GOOD)]
        try:
            answers[index] = infer(client, "files", {"IMAGE": padded(file)})
        except InferenceServerException as error:
            answers[index] = str(error)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for index, answer in answers.items():
        if index % 2:
            assert "[bad_image]" in answer
        else:
            assert_good(answer, 0, Frame.from_rgb(decode_image(GOOD[index // 2 % len(GOOD)]).pixels))
    assert len(answers) == 16


def executions(client: Any, model: str) -> int:
    return int(
        client.get_inference_statistics(model, as_json=True)["model_stats"][0].get("execution_count", 0)
    )


def test_frames_and_bad_frames(client: Any) -> None:
    rng = np.random.default_rng(0)
    frames = [
        Frame(rng.integers(0, 256, frame_bytes(w, h, kind), np.uint8), w, h, kind, ColourSpace(int(kind)))
        for (w, h), kind in zip(((90, 61), (33, 40), (64, 48), (1, 1)), PixelFormat, strict=True)
    ]
    bad = {
        (0, 5, 0, 0): b"width and height must be at least 1",
        (9, 9, 7, 0): b"FRAME_INFO is [9, 9, 7, 0]",
        (70_000, 1, 2, 0): b"at most 65535 pixels",
        (4000, 3000, 0, 0): b"frame data has too few bytes; 4000x3000 I420 needs 18000000",
    }
    infos = np.stack([*(frame.info for frame in frames), *(np.array(info, np.int32) for info in bad)])
    packed = padded(*(frame.data.tobytes() for frame in frames), *([b"\1"] * len(bad)))
    answer = infer(client, "frames", {"FRAME": packed, "FRAME_INFO": infos})
    for index, frame in enumerate(frames):
        assert_good(answer, index, frame)
    for index, text in enumerate(bad.values(), start=len(frames)):
        assert text in answer["ERROR"][index, 0]
        assert not answer["GEOMETRY"][index].any()
    with pytest.raises(InferenceServerException, match=r"\[bad_frame\] FRAME_INFO is"):
        infer(client, "frames", {"FRAME": packed[:1], "FRAME_INFO": np.array([[9, 9, 7, 0]], np.int32)})


@pytest.mark.parametrize("stage", ["decode", "letterbox"])
def test_the_graph_for_a_gpu_is_serialized_without_one(stage: str, graphs: dict[str, Path]) -> None:
    """The files of target server, read as the DALI backend reads them; only a GPU can run them."""
    content = (graphs[f"{stage} gpu"] / "model.dali").read_bytes()
    for word in (b"mixed", b"IMAGE", b"VALID") if stage == "decode" else (b"gpu", b"FRAME", b"FRAME_INFO"):
        assert word in content


def by_c_interface(
    pipeline: Path, folder: Path, items: dict[str, list[NDArray[Any]]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """TENSOR and GEOMETRY of the serialized pipeline, run as the DALI backend runs it."""
    inputs, outputs = folder / "inputs.npz", folder / "outputs.npz"
    np.savez(
        inputs, **{f"{name}/{i}": value for name, values in items.items() for i, value in enumerate(values)}
    )
    host = Path(__file__).parent / "dali_c_host.py"
    command = [sys.executable, str(host), str(pipeline / "model.dali"), str(inputs), str(outputs), "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(outputs) as arrays:
        return arrays["output_0"], arrays["output_1"]


def test_frames_by_the_calls_of_the_dali_backend(graphs: dict[str, Path], tmp_path: Path) -> None:
    """The C interface has another executor than Python's pipelines."""
    rng = np.random.default_rng(0)
    frames = [
        Frame(rng.integers(0, 256, frame_bytes(w, h, kind), np.uint8), w, h, kind, ColourSpace.BT709_FULL)
        for (w, h), kind in zip(((90, 61), (33, 40), (64, 48), (1, 1)), PixelFormat, strict=True)
    ]
    bad = np.array([9, 9, 7, 0], np.int32)
    tensors, geometry = by_c_interface(
        graphs["letterbox"],
        tmp_path,
        {
            "FRAME": [*(frame.data for frame in frames), np.zeros(3, np.uint8)],
            "FRAME_INFO": [*(frame.info for frame in frames), bad],
        },
    )
    errors = np.full((len(frames), 1), b"", object)
    for index, frame in enumerate(frames):
        assert_good({"TENSOR": tensors, "GEOMETRY": geometry, "ERROR": errors}, index, frame)
    assert not geometry[-1].any()


def test_files_by_the_calls_of_the_dali_backend(graphs: dict[str, Path], tmp_path: Path) -> None:
    files = [np.frombuffer(checked_picture(file, CARD_INPUT), np.uint8) for file in GOOD]
    valid = [np.array([index != 1], np.int32) for index in range(len(files))]
    tensors, geometry = by_c_interface(graphs["decode"], tmp_path, {"IMAGE": files, "VALID": valid})
    assert geometry[:, 0].tolist() == [1, 0, 1, 1]
    errors = np.full((len(files), 1), b"", object)
    for index in (0, 2, 3):
        frame = Frame.from_rgb(decode_image(GOOD[index]).pixels)
        assert_good({"TENSOR": tensors, "GEOMETRY": geometry, "ERROR": errors}, index, frame)
