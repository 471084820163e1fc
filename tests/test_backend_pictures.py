# SPDX-License-Identifier: Apache-2.0
"""Every input option of a card in both first stages, and networks of every form, in a real tritonserver: the core's bits."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from openvino import opset13 as op
from PIL import Image

from sightline.builders.stages.cpu_engine import open_engine
from sightline.builders.stages.wire import letterbox_arguments
from sightline.deploy import LocalServer
from sightline.frame import Frame
from sightline.preprocess_ext import letterbox
from tests.backend_models import STAGES, Tensors, read_config, stage_config, write_config
from tests.test_backend import PATIENT, equal, error_of, frames_of, infer

WIDTH, HEIGHT = 56, 48
PLAIN = {"mean": [0, 0, 0], "std": [255, 255, 255], "colour": "rgb"}
IMAGENET = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "colour": "rgb"}
LETTERBOXES: dict[str, dict[str, Any]] = {
    "letterbox": {**PLAIN, "resize": "letterbox"},
    "padded": {**PLAIN, "resize": "letterbox", "pad": 0.0, "filter": "box", "short_side": None},
    "corner": {**IMAGENET, "resize": "corner", "pad": 12.5, "filter": None},
    "stretch": {**PLAIN, "resize": "stretch", "filter": "triangle", "colour": "bgr"},
    "crop": {**IMAGENET, "resize": "crop", "filter": "triangle"},
    "short_side": {**PLAIN, "resize": "crop", "short_side": 50, "filter": "bilinear"},
}
TENSOR: Tensors = {"TENSOR": ("FP32", [3, HEIGHT, WIDTH])}
PICTURE: Tensors = {**TENSOR, "GEOMETRY": ("FP32", [7]), "ERROR": ("STRING", [1])}
NETWORK_OUTPUTS = 8


def parameters(name: str, stage: str) -> dict[str, Any]:
    return {"stage": stage, "size": [WIDTH, HEIGHT], "letterbox": LETTERBOXES[name]}


def add_first_stages(repository: Path, built: Path) -> None:
    """A letterbox and a decode stage for each of LETTERBOXES."""
    frame: Tensors = {"FRAME": ("UINT8", [-1]), "FRAME_INFO": ("INT32", [4])}
    for name in LETTERBOXES:
        config = stage_config(f"letterbox_{name}", parameters(name, "letterbox"), frame, PICTURE)
        write_config(repository / config.name, config)
        decode = read_config(built / f"{STAGES}_decode")
        decode.name = f"decode_{name}"
        decode.ClearField("model_warmup")
        decode.instance_group[0].count = 1
        decode.parameters["sightline"].string_value = json.dumps(parameters(name, "decode"))
        for output in decode.output:
            if output.name == "TENSOR":
                output.dims[:] = TENSOR["TENSOR"][1]
        write_config(repository / decode.name, decode)
        shutil.copy(built / f"{STAGES}_decode" / "1" / "model.py", repository / decode.name / "1")


def mixing_network() -> Any:
    """Eight outputs; between them and the input lie lists as long as there are positive values."""
    rng = np.random.default_rng(0)
    image = op.parameter([1, 3, HEIGHT, WIDTH], ov.Type.f32, name="TENSOR")
    weights = op.constant(rng.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32))
    features = op.convolution(image, weights, [2, 2], [1, 1], [1, 1], [1, 1])
    flat = op.reshape(features, op.constant(np.array([-1], np.int64)), False)
    places = op.squeeze(op.non_zero(op.relu(flat)), op.constant(np.array([0], np.int64)))
    chosen = op.gather(flat, places, op.constant(np.int64(0)))
    best = op.topk(op.concat([chosen, op.constant(np.zeros(50, np.float32))], 0), 50, 0, "max", "value")
    total = op.reduce_sum(chosen, op.constant(np.array([0], np.int64)), True)
    outputs = [
        features,
        op.reshape(best.output(0), op.constant(np.array([1, 50], np.int64)), False),
        op.reshape(total, op.constant(np.array([1, 1], np.int64)), False),
    ]
    outputs += [op.reduce_mean(op.multiply(features, np.float32(k)), [2, 3], k % 2 == 0) for k in range(1, 6)]
    return ov.Model(outputs, [image])


def add_networks(repository: Path) -> None:
    model = mixing_network()
    outputs: Tensors = {
        "RAW" if index == 0 else f"RAW_{index}": ("FP32", list(output.shape)[1:])
        for index, output in enumerate(model.outputs)
    }
    for precision in ("f32", "bf16", None):
        values = {"stage": "network", "outputs": NETWORK_OUTPUTS, "precision": precision}
        config = stage_config(f"network_{precision}", values, TENSOR, outputs)
        write_config(repository / config.name, config)
        ov.save_model(model, str(repository / config.name / "1" / "model.xml"), compress_to_fp16=False)


@pytest.fixture(scope="module")
def folder(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    add_first_stages(folder / "repository", repository)
    add_networks(folder / "repository")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[triton.InferenceServerClient]:
    with LocalServer(folder / "repository", log_dir=folder / "log", restart_policy=PATIENT) as server:
        connection = triton.InferenceServerClient(server.grpc_address)
        yield connection
        connection.close()
        assert (server.state, server.restarts) == ("ready", 0), "no test may bring it down"
        server.kill()  # draining is tested elsewhere


def converted(name: str, frames: list[Frame]) -> dict[str, NDArray[Any]]:
    tensor = np.empty((len(frames), 3, HEIGHT, WIDTH), np.float32)
    options = letterbox_arguments(LETTERBOXES[name])
    fits = [letterbox(frame, out, **options).as_array() for frame, out in zip(frames, tensor, strict=True)]
    return {"TENSOR": tensor, "GEOMETRY": np.stack(fits)}


@pytest.mark.parametrize("name", LETTERBOXES)
def test_letterbox_reads_every_field_of_the_card(client: Any, name: str) -> None:
    inputs, frames = frames_of(4, seed=2)
    found = infer(client, f"letterbox_{name}", inputs)
    equal(found, converted(name, frames))
    assert found["ERROR"].tolist() == [[b""]] * 4


@pytest.mark.parametrize("name", LETTERBOXES)
def test_decode_gives_the_same(client: Any, name: str) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (70, 110, 3), np.uint8)
    equal(
        infer(client, f"decode_{name}", {"IMAGE": encoded(pixels)}), converted(name, [Frame.from_rgb(pixels)])
    )


def test_the_options_make_a_difference() -> None:
    frames = [Frame.from_rgb(np.random.default_rng(7).integers(0, 256, (90, 120, 3), np.uint8))]
    made = {converted(name, frames)["TENSOR"].tobytes() for name in LETTERBOXES}
    assert len(made) == len(LETTERBOXES)


def encoded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return np.frombuffer(file.getvalue(), np.uint8)[None]


def test_a_picture_that_no_crop_can_be_cut_from_fails_alone(client: Any) -> None:
    """The network is wider than the shorter side is made, so that a wide picture covers it and a square does not."""
    square, wide = (np.full((60, width, 3), 9, np.uint8) for width in (60, 90))
    data = np.zeros((2, wide.size), np.uint8)
    data[0, : square.size], data[1] = square.ravel(), wide.ravel()
    info = np.stack([Frame.from_rgb(one).info for one in (square, wide)])
    found = infer(client, "letterbox_short_side", {"FRAME": data, "FRAME_INFO": info})
    text = "frame is 60x60; resized for the crop it does not cover the network's input of 56x48"
    assert found["ERROR"][0, 0].decode().startswith(f"[bad_frame] {text}")
    assert not found["GEOMETRY"][0].any()
    assert not found["TENSOR"][0].any()
    assert found["ERROR"][1, 0] == b""
    equal(
        {name: found[name][1:] for name in ("TENSOR", "GEOMETRY")},
        converted("short_side", [Frame.from_rgb(wide)]),
    )
    alone = error_of(client, "letterbox_short_side", {"FRAME": data[:1], "FRAME_INFO": info[:1]})
    assert f"[bad_frame] {text}" in alone
    assert "INVALID_ARG" in alone
    assert f"[bad_image] {text}" in error_of(client, "decode_short_side", {"IMAGE": encoded(square)})


@pytest.mark.parametrize("precision", ["f32", "bf16", None])
def test_network_of_eight_outputs_and_lists_of_unknown_length(
    client: Any, folder: Path, precision: str | None
) -> None:
    tensor = np.random.default_rng(1).normal(size=(5, 3, HEIGHT, WIDTH)).astype(np.float32)
    tensor[2] = -1
    path = folder / "repository" / f"network_{precision}" / "1" / "model.xml"
    with ThreadPoolExecutor(1) as own_thread:  # OpenVINO leaves a signal stack to the thread that compiles
        engine = own_thread.submit(open_engine, path, "bf16" if precision == "bf16" else "fp32").result()
        runs = [
            own_thread.submit(lambda i=item: [one.copy() for one in engine.run(i[None])]).result()
            for item in tensor
        ]
    wanted = {
        "RAW" if index == 0 else f"RAW_{index}": np.concatenate([run[index] for run in runs])
        for index in range(NETWORK_OUTPUTS)
    }
    equal(infer(client, f"network_{precision}", {"TENSOR": tensor}), wanted)


def test_precision_is_told_apart(client: Any) -> None:
    """Where the processor has bf16 its numbers are coarser; elsewhere OpenVINO runs f32."""
    tensor = np.random.default_rng(1).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)
    full, short = (infer(client, f"network_{name}", {"TENSOR": tensor})["RAW"] for name in ("f32", "bf16"))
    np.testing.assert_allclose(short, full, atol=0.05)
    features = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert (short != full).any() == ("BF16" in features)
