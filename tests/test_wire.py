# SPDX-License-Identifier: Apache-2.0
"""The wire contract, spoken by a plain tritonclient to a real tritonserver."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from PIL import Image

from sightline.builders import card_from_onnx, repository_from_card
from sightline.frame import ColourSpace, Frame, PixelFormat, frame_bytes
from tests.cases import about
from tests.onnx_models import PLANTED_SCORE, bright_rectangle, planted

CLASS_ID = 3
DATA_TYPES = {np.dtype(np.uint8): "UINT8", np.dtype(np.int32): "INT32"}
OUTPUTS = {
    "COUNT": ("INT32", [1]),
    "BOXES": ("FP32", [-1, 4]),
    "SCORES": ("FP32", [-1]),
    "CLASSES": ("INT32", [-1]),
    "ERROR": ("STRING", [1]),
}
INPUTS = {
    "": {"IMAGE": ("UINT8", [-1])},
    "_frames": {"FRAME": ("UINT8", [-1]), "FRAME_INFO": ("INT32", [4])},
}

Answer = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    """A client of a real server with the planted detector, whose boxes are known from the pixels."""
    from sightline.deploy import LocalServer

    folder = tmp_path_factory.mktemp("wire")
    card = card_from_onnx(planted(folder / "planted.onnx"), {"engine": {"batch": [1, 16]}})
    repository_from_card(card, folder / "repository")
    with LocalServer(folder / "repository", log_dir=folder / "log") as running:
        connection = triton.InferenceServerClient(running.grpc_address)
        yield connection
        connection.close()
        running.kill()  # draining is tested elsewhere


def ask(client: triton.InferenceServerClient, model: str, **tensors: NDArray[Any]) -> Answer:
    inputs = []
    for name, values in tensors.items():
        tensor = triton.InferInput(name, list(values.shape), DATA_TYPES[values.dtype])
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    result = client.infer(model, inputs, client_timeout=120)
    return {name: result.as_numpy(name) for name in OUTPUTS}


def jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def stacked(*files: bytes) -> NDArray[np.uint8]:
    """Files as one IMAGE batch, zero-padded to the longest."""
    batch = np.zeros((len(files), max(map(len, files))), np.uint8)
    for row, file in zip(batch, files, strict=True):
        row[: len(file)] = np.frombuffer(file, np.uint8)
    return batch


def grey_frame(width: int, height: int, box: tuple[int, int, int, int], pixel_format: PixelFormat) -> Frame:
    """A dark frame with a bright rectangle, colourless, so that every format shows the same."""
    picture = bright_rectangle(width, height, box)
    if pixel_format in (PixelFormat.RGB, PixelFormat.BGR):
        return Frame(picture.reshape(-1), width, height, pixel_format)
    data = np.full(frame_bytes(width, height, pixel_format), 128, np.uint8)
    data[: width * height] = picture[..., 0].reshape(-1)
    return Frame(data, width, height, pixel_format, ColourSpace.BT709_FULL)


def assert_found(answer: Answer, item: int, box: tuple[int, int, int, int], width: int, height: int) -> None:
    """The rectangle is found to one network pixel."""
    pixel = 1 / min(384 / width, 224 / height)
    assert answer["COUNT"][item, 0] == 1
    assert answer["CLASSES"][item, 0] == CLASS_ID
    assert answer["SCORES"][item, 0] == pytest.approx(PLANTED_SCORE, abs=2e-3)
    assert np.abs(answer["BOXES"][item, 0] - box).max() <= max(pixel, 1) + 0.01
    assert answer["ERROR"][item, 0] == b""


# ---------------------------------------------------------------- the table of the contract


@pytest.mark.parametrize("suffix", INPUTS)
def test_an_ensemble_has_the_tensors_of_the_contract(
    client: triton.InferenceServerClient, suffix: str
) -> None:
    config = client.get_model_config(f"planted{suffix}", as_json=True)["config"]
    assert config["platform"] == "ensemble"
    for kind, wanted in (("input", INPUTS[suffix]), ("output", OUTPUTS)):
        found = {
            item["name"]: (item["data_type"].removeprefix("TYPE_"), [int(dim) for dim in item["dims"]])
            for item in config[kind]
        }
        assert found == wanted
    about = json.loads(config["parameters"]["sightline"]["string_value"])
    assert about["input"] == {"width": 384, "height": 224}
    assert (about["task"], about["head"], len(about["labels"])) == ("detect", "yolov8", 11)


def test_all_stages_are_loaded_under_their_names(client: triton.InferenceServerClient) -> None:
    for suffix in ("", "_frames", "_v1_decode", "_v1_letterbox", "_v1_network", "_v1_postprocess"):
        assert client.is_model_ready(f"planted{suffix}")


def test_the_shipped_detector_answers(server: Any) -> None:
    connection = triton.InferenceServerClient(server.grpc_address)
    try:
        answer = ask(connection, "street_detect", IMAGE=stacked(jpeg(np.full((90, 160, 3), 114, np.uint8))))
    finally:
        connection.close()
    count = int(answer["COUNT"][0, 0])
    assert count >= 0
    assert answer["BOXES"].shape == (1, count, 4)
    assert answer["SCORES"].shape == answer["CLASSES"].shape == (1, count)


# ---------------------------------------------------------------- boxes in pixels of what was sent


@pytest.mark.parametrize("size", [(1280, 720), (384, 224), (640, 480), (123, 457), (3840, 2160)])
def test_boxes_are_in_pixels_of_the_picture(
    client: triton.InferenceServerClient, size: tuple[int, int]
) -> None:
    width, height = size
    box = (width // 4, height // 3, width // 2, height - height // 4)
    answer = ask(client, "planted", IMAGE=stacked(jpeg(bright_rectangle(width, height, box))))
    assert_found(answer, 0, box, width, height)


def test_boxes_are_in_the_upright_picture(client: triton.InferenceServerClient) -> None:
    box = (100, 50, 200, 400)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: stored on its side
    stored = np.ascontiguousarray(np.rot90(bright_rectangle(600, 900, box)))
    answer = ask(client, "planted", IMAGE=stacked(jpeg(stored, exif=exif)))
    assert_found(answer, 0, box, 600, 900)


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_raw_frames_of_every_format(client: triton.InferenceServerClient, pixel_format: PixelFormat) -> None:
    for padding, size in product([0, 77], [(1280, 720), (641, 361), (101, 333)]):
        with about(size, padding):
            box = (size[0] // 4, size[1] // 3, size[0] // 2, size[1] - size[1] // 4)
            frame = grey_frame(*size, box, pixel_format)
            data = np.concatenate([frame.data, np.zeros(padding, np.uint8)])
            answer = ask(client, "planted_frames", FRAME=data[None], FRAME_INFO=frame.info[None])
            assert_found(answer, 0, box, *size)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (2, 3)])
def test_tiny_frames_are_answered(client: triton.InferenceServerClient, size: tuple[int, int]) -> None:
    frame = grey_frame(*size, (0, 0, 0, 0), PixelFormat.I420)
    answer = ask(client, "planted_frames", FRAME=frame.data[None], FRAME_INFO=frame.info[None])
    assert answer["COUNT"].tolist() == [[0]]


def test_no_object_gives_empty_arrays_with_their_shapes(client: triton.InferenceServerClient) -> None:
    answer = ask(client, "planted", IMAGE=stacked(jpeg(np.zeros((50, 80, 3), np.uint8))))
    assert answer["COUNT"].tolist() == [[0]]
    assert answer["BOXES"].shape == (1, 0, 4)
    assert answer["SCORES"].shape == answer["CLASSES"].shape == (1, 0)


# ---------------------------------------------------------------- bad items


BAD_IMAGES = {
    "text": (b"no picture at all", "not a JPEG, PNG or WebP"),
    "gif": (b"GIF89a" + bytes(30), "not a JPEG, PNG or WebP"),
    "cut": (jpeg(bright_rectangle(200, 100, (10, 10, 50, 50)))[:900], "damaged or cut off"),
    "empty": (bytes(8), "empty"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_one_bad_image_in_a_batch_fails_alone(client: triton.InferenceServerClient, kind: str) -> None:
    bad, words = BAD_IMAGES[kind]
    box = (300, 200, 700, 500)
    good = jpeg(bright_rectangle(1280, 720, box))
    answer = ask(client, "planted", IMAGE=stacked(good, bad, good))
    for item in (0, 2):
        assert_found(answer, item, box, 1280, 720)
    assert answer["COUNT"][1, 0] == -1
    assert not answer["BOXES"][1].any()
    assert not answer["SCORES"][1].any()
    message = answer["ERROR"][1, 0].decode()
    assert message.startswith("[bad_image] ")
    assert words in message


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_single_bad_image_is_an_error(client: triton.InferenceServerClient, kind: str) -> None:
    bad, words = BAD_IMAGES[kind]
    with pytest.raises(triton.InferenceServerException, match=words) as caught:
        ask(client, "planted", IMAGE=stacked(bad))
    assert "[bad_image] " in caught.value.message()
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


BAD_INFOS = [
    [101, 100, PixelFormat.RGB, 0],
    [0, 100, 0, 0],
    [-5, -5, 0, 0],
    [2**31 - 1, 2**31 - 1, 0, 0],
    [10, 10, 4, 0],
    [10, 10, -1, 0],
    [10, 10, 0, 9],
    [50_000, 1, 0, 0],
]


@pytest.mark.parametrize("info", BAD_INFOS)
def test_a_bad_frame_is_an_error_and_fails_alone_in_a_batch(
    client: triton.InferenceServerClient, info: list[int]
) -> None:
    box = (20, 20, 60, 70)
    frame = grey_frame(100, 100, box, PixelFormat.RGB)
    wrong = np.array([info], np.int32)
    with pytest.raises(triton.InferenceServerException, match=r"\[bad_frame\] "):
        ask(client, "planted_frames", FRAME=frame.data[None], FRAME_INFO=wrong)
    answer = ask(
        client, "planted_frames",
        FRAME=np.stack([frame.data] * 3), FRAME_INFO=np.concatenate([frame.info[None], wrong, frame.info[None]]),
    )  # fmt: skip
    assert answer["COUNT"].tolist() == [[1], [-1], [1]]
    assert_found(answer, 2, box, 100, 100)
    assert answer["ERROR"][1, 0].startswith(b"[bad_frame] ")


@pytest.mark.parametrize(
    ("model", "tensors"),
    [
        ("planted", {"IMAGE": np.zeros((17, 4), np.uint8)}),
        ("planted", {"IMAGE": np.zeros(4, np.uint8)}),
        ("planted", {"IMAGE": np.zeros((1, 4), np.int32)}),
        ("planted", {"FRAME": np.zeros((1, 4), np.uint8)}),
        ("planted_frames", {"FRAME": np.zeros((1, 4), np.uint8)}),
        ("planted_frames", {"FRAME": np.zeros((1, 4), np.uint8), "FRAME_INFO": np.zeros((1, 5), np.int32)}),
        ("planted_frames", {"FRAME": np.zeros((2, 4), np.uint8), "FRAME_INFO": np.zeros((1, 4), np.int32)}),
        ("unknown", {"IMAGE": np.zeros((1, 4), np.uint8)}),
    ],
)
def test_wrong_shapes_types_and_names_are_refused_and_the_server_lives(
    client: triton.InferenceServerClient, model: str, tensors: dict[str, NDArray[Any]]
) -> None:
    with pytest.raises(triton.InferenceServerException):
        ask(client, model, **tensors)
    assert client.is_model_ready("planted_v1_network")


# ---------------------------------------------------------------- batches and many clients at once


def test_a_full_batch_of_different_pictures(client: triton.InferenceServerClient) -> None:
    boxes = [(10 + 8 * i, 5 + 4 * i, 120 + 10 * i, 90 + 6 * i) for i in range(16)]
    sizes = [(300 + 40 * i, 200 + 11 * i) for i in range(16)]
    files = [jpeg(bright_rectangle(*size, box)) for size, box in zip(sizes, boxes, strict=True)]
    answer = ask(client, "planted", IMAGE=stacked(*files))
    for item, (size, box) in enumerate(zip(sizes, boxes, strict=True)):
        assert_found(answer, item, box, *size)


def test_parallel_clients_get_their_own_answers(client: triton.InferenceServerClient) -> None:
    faults: list[str] = []

    def work(number: int) -> None:
        size = (320 + 32 * number, 240 + 8 * number)
        box = (20 + 5 * number, 30, 150 + 9 * number, 200)
        frame = grey_frame(*size, box, PixelFormat.NV12)
        file = jpeg(bright_rectangle(*size, box))
        try:
            for _ in range(8):
                encoded = ask(client, "planted", IMAGE=stacked(file))
                raw = ask(client, "planted_frames", FRAME=frame.data[None], FRAME_INFO=frame.info[None])
                assert_found(encoded, 0, box, *size)
                assert_found(raw, 0, box, *size)
        except Exception as error:
            faults.append(f"client {number}: {error!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not faults


def test_both_ensembles_say_the_same(client: triton.InferenceServerClient) -> None:
    """A lossless file and the same pixels as a raw frame take different ways to the same boxes."""
    box = (33, 21, 170, 99)
    pixels = bright_rectangle(384, 224, box)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    frame = Frame.from_rgb(pixels)
    encoded = ask(client, "planted", IMAGE=stacked(file.getvalue()))
    raw = ask(client, "planted_frames", FRAME=frame.data[None], FRAME_INFO=frame.info[None])
    for name in ("COUNT", "BOXES", "SCORES", "CLASSES"):
        np.testing.assert_array_equal(encoded[name], raw[name])
    assert encoded["BOXES"][0, 0].tolist() == list(box)
