# SPDX-License-Identifier: Apache-2.0
"""What a user gets back from models of every task, over every way, on networks whose answers are known from the pixels."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from sightline.builders import repository_from_card
from sightline.card import card_from_dict
from sightline.cli import app
from sightline.clients import AsyncClient, Client
from sightline.clients._answers import a_model_of, question
from sightline.clients._wire import Description
from sightline.clients.draw import class_colour
from sightline.deploy import LocalServer
from sightline.deploy.local.canary import Canary
from sightline.deploy.local.supervisor import Health
from sightline.errors import BadInputError, InferenceError, ModelNotFoundError
from sightline.frame import Frame, PixelFormat
from sightline.results import Classification, ClassMap, Detections, Embedding
from tests.cases import about
from tests.needs import needs
from tests.onnx_models import (
    PLANTED_SCORE,
    bright_rectangle,
    mean_colours,
    mean_quarters,
    planted_masks,
    strongest_channel,
)

COLOURS = ("red", "green", "blue")
SURFACES = ("background", "red", "green", "blue")
THINGS = ("dark", "bright", "grey")
MODELS = {"colours": "classify", "quarters": "embed", "channels": "semantic", "rects": "segment"}
BOX = (80, 80, 240, 240)
CORNER_PIXELS = 40  # that the interpolation between a mask's cells takes from the corners of a rectangle
MAP_SIZE = (64, 48)
WAYS = ("grpc", "http", "grpc without shared memory", "in process")

Picture = NDArray[np.uint8]


def cards(folder: Path) -> list[dict[str, Any]]:
    """One card for each task, of networks with known answers."""
    small: dict[str, Any] = {"size": [32, 32], "resize": "stretch"}
    scores = {"kind": "scores", "activation": "none"}
    whole = {"size": list(MAP_SIZE), "resize": "stretch"}
    return [
        {"source": mean_colours(folder / "c.onnx").name, "input": small, "labels": COLOURS, "head": scores},
        {"source": mean_quarters(folder / "q.onnx").name, "input": small},
        {
            "source": strongest_channel(folder / "s.onnx", size=MAP_SIZE).name,
            "input": whole,
            "labels": SURFACES,
        },
        {"source": planted_masks(folder / "m.onnx").name, "input": {"size": [384, 224]}, "labels": THINGS},
    ]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model of each task, built from its card."""
    folder = tmp_path_factory.mktemp("tasks")
    for (name, task), card in zip(MODELS.items(), cards(folder), strict=True):
        proof = {"samples": 1}
        repository_from_card(
            card_from_dict({"name": name, "task": task, "proof": proof, **card}, folder),
            folder / "repository",
        )
    return folder / "repository"


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A real tritonserver, whose canaries of all eight ensembles have passed."""
    with LocalServer(models, log_dir=tmp_path_factory.mktemp("log")) as running:
        yield running
        running.kill()  # draining is tested elsewhere


@pytest.fixture(scope="module")
def opened(server: LocalServer, models: Path) -> Iterator[dict[str, Client]]:
    clients = {
        "grpc": Client(server.grpc_address, timeout_seconds=60),
        "http": Client(server.http_address, protocol="http", timeout_seconds=60),
        "grpc without shared memory": Client(server.grpc_address, shared_memory="off", timeout_seconds=60),
        "in process": Client(f"inproc:{models}", timeout_seconds=60),
    }
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(params=WAYS)
def client(request: pytest.FixtureRequest, opened: dict[str, Client]) -> Client:
    return opened[request.param]


def half_red(size: tuple[int, int] = MAP_SIZE) -> Picture:
    """The left half red, a blue spot in the right one, which is black."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[:, : size[0] // 2, 0] = 255
    picture[10:20, 40:50, 2] = 204
    return picture


def plain(colour: tuple[int, int, int]) -> Picture:
    return np.full((40, 60, 3), colour, np.uint8)


def file_of(picture: Picture, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, lossless=True, **options)
    return file.getvalue()


def pixels_of(path: Path) -> Picture:
    with Image.open(path) as opened:
        return np.array(opened)


def both(picture: Picture) -> tuple[Picture, bytes]:
    """As a raw frame and as a file without loss: they take different ways on the server."""
    return picture, file_of(picture)


def rectangle() -> Picture:
    return bright_rectangle(768, 448, BOX)


def assert_rectangle(
    found: Any, box: tuple[int, int, int, int] = BOX, size: tuple[int, int] = (768, 448)
) -> None:
    """One object whose mask is the rectangle, but for its corners."""
    assert isinstance(found, Detections)
    assert found.size == size
    assert found.boxes.tolist() == [list(box)]
    assert [(d.label, d.class_id, round(d.score, 2)) for d in found] == [("bright", 1, PLANTED_SCORE)]
    x1, y1, x2, y2 = box
    wanted = np.zeros((size[1], size[0]), np.bool_)
    wanted[y1:y2, x1:x2] = True
    mask = found.mask(0)
    assert mask.shape == wanted.shape
    assert mask.dtype == np.bool_
    assert np.count_nonzero(mask != wanted) <= CORNER_PIXELS
    assert not (mask & ~wanted).any()


# ---------------------------------------------------------------- exact answers, over every way


def test_classes_are_the_mean_colours(client: Client) -> None:
    for image in both(plain((255, 51, 102))):
        found = client.classify("colours", image)
        assert [(c.label, c.class_id) for c in found] == [("red", 0), ("blue", 2), ("green", 1)]
        np.testing.assert_allclose(found.scores, [1.0, 0.4, 0.2], atol=2e-3)
        assert found.top.label == "red"


def test_embeddings_are_compared_by_their_cosine(client: Client) -> None:
    red, green, half = (
        client.embed("quarters", p) for p in (plain((200, 0, 0)), plain((0, 90, 0)), half_red())
    )
    assert red.vector.shape == (12,)
    assert np.linalg.norm(red.vector) == pytest.approx(1.0, abs=1e-5)
    assert red.cosine(client.embed("quarters", file_of(plain((30, 0, 0))))) == pytest.approx(1.0, abs=1e-5)
    assert red.cosine(green) == pytest.approx(0.0, abs=1e-6)
    assert 0.5 < red.cosine(half) < 0.9


def test_every_pixel_has_its_class(client: Client) -> None:
    picture = half_red()
    wanted = np.where(picture[..., 0] > 0, 1, np.where(picture[..., 2] > 0, 3, 0))
    for image in both(picture):
        found = client.semantic("channels", image)
        np.testing.assert_array_equal(found.classes, wanted)
        assert found.fractions() == pytest.approx({"red": 0.5, "background": 1436 / 3072, "blue": 100 / 3072})


@pytest.mark.parametrize("size", [(200, 120), (31, 77), (1, 1), (1280, 720)])
def test_a_class_map_has_the_size_of_its_picture(opened: dict[str, Client], size: tuple[int, int]) -> None:
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[..., 1] = 255
    for way in WAYS:
        for image in both(picture):
            found = opened[way].semantic("channels", image)
            assert found.size == size
            assert (found.classes == 2).all()


def test_masks_are_those_of_the_picture(client: Client) -> None:
    for image in both(rectangle()):
        assert_rectangle(client.segment("rects", image))


def test_boxes_alone_of_a_segmenter(client: Client) -> None:
    for image in both(rectangle()):
        found = client.detect("rects", image)
        assert found.boxes.tolist() == [list(BOX)]
        assert found.masks is None
    assert client.submit("rects", rectangle()).result(30).boxes.tolist() == [list(BOX)]


def test_nothing_found_has_no_masks(client: Client) -> None:
    for image in both(np.zeros((60, 80, 3), np.uint8)):
        found = client.segment("rects", image)
        assert (len(found), found.masks, found.size) == (0, (), (80, 60))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_masks_of_a_turned_file_are_upright(opened: dict[str, Client], kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: stored on its side
    box = (64, 160, 192, 480)
    stored = np.ascontiguousarray(np.rot90(bright_rectangle(384, 640, box)))
    found = opened["grpc"].segment("rects", file_of(stored, kind, exif=exif, quality=100))
    assert found.size == (384, 640)
    mask = found.mask(0)
    assert mask.shape == (640, 384)
    assert mask[170:470, 74:182].all()
    assert np.count_nonzero(mask) == pytest.approx(128 * 320, rel=0.03)


@pytest.mark.parametrize("pixel_format", [PixelFormat.I420, PixelFormat.NV12])
def test_camera_frames(client: Client, pixel_format: PixelFormat) -> None:
    data = np.full(768 * 448 * 3 // 2, 128, np.uint8)
    data[: 768 * 448] = rectangle()[..., 0].reshape(-1)
    assert_rectangle(client.segment("rects", Frame(data, 768, 448, pixel_format)))


# ---------------------------------------------------------------- by the model's own task


def test_infer_gives_the_type_of_the_task(client: Client) -> None:
    kinds = {"colours": Classification, "quarters": Embedding, "channels": ClassMap, "rects": Detections}
    for name, kind in kinds.items():
        assert client.task(name) == MODELS[name]
        for image in both(rectangle()):
            assert isinstance(client.infer(name, image), kind)
    assert_rectangle(client.infer("rects", rectangle()))


def test_a_batch_of_any_task_keeps_its_order_and_a_bad_image_fails_alone(client: Client) -> None:
    good = plain((255, 0, 0))
    for name in MODELS:
        found = client.infer_batch(name, [good, b"broken", file_of(good), plain((0, 255, 0))])
        assert [isinstance(one, BadInputError) for one in found] == [False, True, False, False]
    first, _, third, fourth = client.infer_batch(
        "colours", [good, b"broken", file_of(good), plain((0, 255, 0))]
    )
    assert [one.top.label for one in (first, third, fourth)] == ["red", "red", "green"]  # type: ignore[union-attr]


METHODS: dict[str, Callable[[Client, str, Any], Any]] = {
    "detect": Client.detect,
    "segment": Client.segment,
    "classify": Client.classify,
    "semantic": Client.semantic,
    "embed": Client.embed,
}


def test_the_wrong_method_names_the_right_one(opened: dict[str, Client]) -> None:
    for method, name in product(METHODS, MODELS):
        with about(name, method):
            task = MODELS[name]
            if method == task or (method, task) == ("detect", "segment"):
                continue
            for client in opened.values():
                with pytest.raises(BadInputError) as caught:
                    METHODS[method](client, name, plain((0, 0, 0)))
                assert str(caught.value) == f"model {name} is {a_model_of(task)}; call {task}()"


def test_stages_are_hidden_and_unknown_models_named(client: Client) -> None:
    with pytest.raises(ModelNotFoundError, match=r"it has channels, colours, quarters, rects$"):
        client.classify("absent", plain((0, 0, 0)))


def test_errors_do_not_name_stages(client: Client) -> None:
    with pytest.raises(BadInputError) as caught:
        client.classify("colours", b"broken")
    assert "_v1_" not in str(caught.value)


async def test_the_asyncio_client_knows_every_task(server: LocalServer) -> None:
    async with AsyncClient(server.grpc_address) as client:
        classes, vector, found, area = await asyncio.gather(
            client.classify("colours", plain((0, 0, 255))),
            client.embed("quarters", plain((0, 0, 255))),
            client.segment("rects", rectangle()),
            client.semantic("channels", plain((0, 0, 255))),
        )
        assert classes.top.label == "blue"
        assert len(vector) == 12
        assert_rectangle(found)
        assert area.fractions() == {"blue": 1.0}
        assert await client.task("colours") == "classify"
        batch = await client.infer_batch("colours", [plain((0, 255, 0)), b"broken"])
        assert [type(one).__name__ for one in batch] == ["Classification", "BadInputError"]
        with pytest.raises(BadInputError, match=r"call embed\(\)"):
            await client.detect("quarters", plain((0, 0, 0)))


# ---------------------------------------------------------------- the wire contract, spoken by a plain tritonclient


OUTPUTS: dict[str, dict[str, tuple[str, list[int]]]] = {
    "colours": {"SCORES": ("FP32", [-1]), "CLASSES": ("INT32", [-1])},
    "quarters": {"EMBEDDING": ("FP32", [12])},
    "channels": {"CLASS_MAP": ("UINT8", [-1, -1])},
    "rects": {
        "COUNT": ("INT32", [1]),
        "BOXES": ("FP32", [-1, 4]),
        "SCORES": ("FP32", [-1]),
        "CLASSES": ("INT32", [-1]),
        "MASKS": ("STRING", [-1]),
    },
}


@pytest.fixture(scope="module")
def triton(server: LocalServer) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as connection:
        yield connection


@pytest.mark.parametrize("name", MODELS)
def test_both_ensembles_have_the_tensors_of_the_task(
    triton: tritonclient.grpc.InferenceServerClient, name: str
) -> None:
    for model in (name, f"{name}_frames"):
        config = triton.get_model_config(model, as_json=True)["config"]
        found = {
            item["name"]: (item["data_type"].removeprefix("TYPE_"), [int(dim) for dim in item["dims"]])
            for item in config["output"]
        }
        assert found == {**OUTPUTS[name], "ERROR": ("STRING", [1])}
        assert json.loads(config["parameters"]["sightline"]["string_value"])["task"] == MODELS[name]


@pytest.mark.parametrize("name", MODELS)
def test_one_bad_picture_in_a_request_fails_alone(
    triton: tritonclient.grpc.InferenceServerClient, opened: dict[str, Client], name: str
) -> None:
    pictures = [rectangle(), np.full((50, 900, 3), 255, np.uint8)]
    files = [file_of(pictures[0]), b"no picture", file_of(pictures[1])]
    batch = np.zeros((3, max(map(len, files))), np.uint8)
    for row, file in zip(batch, files, strict=True):
        row[: len(file)] = np.frombuffer(file, np.uint8)
    tensor = tritonclient.grpc.InferInput("IMAGE", list(batch.shape), "UINT8")
    tensor.set_data_from_numpy(batch)
    result = triton.infer(name, [tensor], client_timeout=120)
    answer = {output: result.as_numpy(output) for output in (*OUTPUTS[name], "ERROR")}
    sizes = {0: (768, 448), 2: (900, 50)}
    asked = question(name, Description((), 0, MODELS[name]), "infer")
    first, second, third = asked.results(answer, sizes.__getitem__)
    assert isinstance(second, BadInputError)
    assert "not a JPEG, PNG or WebP" in str(second)
    for one, picture in ((first, pictures[0]), (third, pictures[1])):
        assert_same(one, opened["grpc"].infer(name, file_of(picture)))


def assert_same(one: Any, other: Any) -> None:
    """Two results of one picture."""
    assert type(one) is type(other)
    names = {Detections: ("boxes", "scores", "classes"), Classification: ("scores", "classes")}
    for field in names.get(type(one), ("classes",) if isinstance(one, ClassMap) else ("vector",)):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert getattr(one, "masks", None) == getattr(other, "masks", None)


# ---------------------------------------------------------------- shared memory


def test_results_of_every_task_come_through_shared_memory(server: LocalServer) -> None:
    picture = np.full((360, 640, 3), 50, np.uint8)
    with Client(server.grpc_address) as client:
        for number, name in enumerate(MODELS, 1):
            assert not isinstance(client.infer(name, picture), InferenceError)
            stats = client.stats()
            assert (stats.shared_requests, stats.shared_results, stats.fallbacks) == (number, number, 0)


def test_slots_of_every_task(server: LocalServer) -> None:
    """A slot has no room for a class map, which then comes over the socket."""
    with Client(server.grpc_address) as client:
        for name in MODELS:
            slot = client.frame_slot(768, 448, PixelFormat.RGB)
            slot.data[:] = rectangle().reshape(-1)
            client.infer(name, slot)
        stats = client.stats()
        assert (stats.frames_in_place, stats.shared_requests, stats.shared_results) == (4, 4, 3)
        assert client.semantic("channels", slot).size == (768, 448)


# ---------------------------------------------------------------- canaries


def test_the_canary_probes_both_ensembles_of_every_task(server: LocalServer) -> None:
    canary = Canary(server.grpc_address, server.token)
    try:
        probe = canary.probe()
        assert (probe.health, probe.reason) == (Health.OK, "")
        assert sorted(canary.targets) == sorted(f"{name}{end}" for name in MODELS for end in ("", "_frames"))
    finally:
        canary.close()


# ---------------------------------------------------------------- commands


def run(server: LocalServer, model: str, *arguments: object) -> Result:
    command = ["infer", "--server", server.grpc_address, "--model", model, *map(str, arguments)]
    return CliRunner().invoke(app, command)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(file_of(plain((255, 51, 0))))
    (folder / "b.png").write_bytes(file_of(plain((255, 0, 0))))
    (folder / "c.png").write_bytes(file_of(plain((0, 0, 255))))
    (folder / "rectangle.png").write_bytes(file_of(rectangle()))
    (folder / "half.png").write_bytes(file_of(half_red()))
    return folder


def test_infer_prints_classes(server: LocalServer, photos: Path) -> None:
    result = run(server, "colours", photos / "a.png")
    assert result.exit_code == 0, result.output
    rows = [line.split()[1:] for line in result.stdout.splitlines() if "%" in line]
    assert rows == [["red", "100.0%"], ["green", "20.0%"], ["blue", "0.0%"]]
    assert "blue" not in run(server, "colours", photos / "a.png", "--score", "0.1").stdout


def test_infer_prints_the_shares_of_a_class_map(server: LocalServer, photos: Path) -> None:
    result = run(server, "channels", photos / "half.png")
    assert result.exit_code == 0, result.output
    rows = [line.split()[1:] for line in result.stdout.splitlines() if "%" in line]
    assert rows == [["red", "50.0%", "1,536"], ["background", "46.7%", "1,436"], ["blue", "3.3%", "100"]]


def test_infer_prints_how_alike_images_are(server: LocalServer, photos: Path) -> None:
    paths = [photos / f"{name}.png" for name in "abc"]
    result = run(server, "quarters", *paths)
    assert result.exit_code == 0, result.output
    rows = [line.split()[2:] for line in result.stdout.splitlines() if ".png" in line]
    assert rows == [["1.000", "0.981", "0.000"], ["0.981", "1.000", "0.000"], ["0.000", "0.000", "1.000"]]
    liked = run(server, "quarters", *paths, "--like", photos / "b.png")
    names = [line.split()[0] for line in liked.stdout.splitlines() if ".png" in line]
    assert names == ["b.png", "a.png", "c.png"]


def test_infer_prints_the_nearest_of_many(server: LocalServer, tmp_path: Path) -> None:
    for number in range(12):
        level = 20 * number
        (tmp_path / f"{number:02}.png").write_bytes(file_of(plain((level, 240 - level, 10))))
    result = run(server, "quarters", tmp_path)
    lines = [line.split() for line in result.stdout.splitlines() if ".png" in line]
    assert len(lines) == 12
    for line in lines:
        one, other = (int(Path(name).stem) for name in line[:2])
        assert abs(one - other) == 1


def test_infer_prints_masks_as_coco_writes_them(server: LocalServer, photos: Path) -> None:
    pycocotools = pytest.importorskip("pycocotools.mask")
    line = json.loads(run(server, "rects", photos / "rectangle.png", "--json").stdout)
    (found,) = line["detections"]
    assert found["box"] == list(BOX)
    assert found["mask"]["size"] == [448, 768]
    mask = pycocotools.decode(found["mask"])
    assert int(mask.sum()) == pytest.approx(160 * 160, abs=CORNER_PIXELS)
    assert "pixels" in run(server, "rects", photos / "rectangle.png").stdout


def test_json_of_every_task(server: LocalServer, photos: Path) -> None:
    keys = {
        "colours": {"image", "classes"},
        "quarters": {"image", "embedding"},
        "channels": {"image", "width", "height", "classes"},
        "rects": {"image", "detections"},
    }
    for name, wanted in keys.items():
        line = json.loads(run(server, name, photos / "half.png", "--json").stdout)
        assert set(line) == wanted
    like = run(server, "quarters", photos / "a.png", "--json", "--like", photos / "a.png")
    assert json.loads(like.stdout)["cosine"] == 1.0


def test_results_are_drawn(server: LocalServer, photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "drawn"
    for name, photo in (("rects", "rectangle"), ("channels", "half"), ("colours", "a")):
        result = run(server, name, photos / f"{photo}.png", "--draw", target)
        assert result.exit_code == 0, result.output
    drawn = pixels_of(target / "rectangle.png")
    assert drawn.shape == (448, 768, 3)
    assert tuple(drawn[BOX[3] - 1, 160]) == class_colour(1)
    assert not np.array_equal(drawn[200, 160], rectangle()[200, 160])
    assert np.array_equal(drawn[400, 600], rectangle()[400, 600])
    area = pixels_of(target / "half.png").astype(int)
    assert np.abs(area[5, 55] - (0, 0, 0)).sum() == 0  # the background keeps its pixels
    assert area[5, 10, 0] > 100
    assert (
        min(pixels_of(target / "a.png").shape[:2]) >= 240
    )  # enlarged, so that there is room for the classes


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("quarters", ["--draw", "drawn"], "nothing to draw"),
        ("colours", ["--like", "a.png"], "models that embed"),
        ("channels", ["--score", "0.5"], "answer with scores"),
    ],
)
def test_options_that_do_not_suit_the_task(
    server: LocalServer, photos: Path, tmp_path: Path, model: str, options: list[str], words: str
) -> None:
    options = [str(tmp_path / one) if not one.startswith("-") and "." not in one else one for one in options]
    result = run(server, model, photos / "a.png", *options)
    assert result.exit_code == 1
    assert words in str(result.exception)


def watch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sightline.cli", "watch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_watch_shows_the_boxes_of_a_segmenter(server: LocalServer, tmp_path: Path) -> None:
    needs("av")
    from tests.streams_parts import make_clip

    clip = make_clip(tmp_path / "clip.mp4", seconds=4.0)  # a starved watch loses seconds of it
    events = tmp_path / "events.jsonl"
    done = watch(clip, "--server", server.grpc_address, "--model", "rects", "--events", events)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert lines
    assert {found["label"] for line in lines for found in line["detections"]} == {"bright"}


@pytest.mark.parametrize("model", ["colours", "channels", "quarters"])
def test_watch_refuses_models_without_boxes(server: LocalServer, tmp_path: Path, model: str) -> None:
    needs("av")
    result = CliRunner().invoke(
        app, ["watch", "x=rtsp://127.0.0.1:1/x", "--server", server.grpc_address, "--model", model]
    )
    assert result.exit_code == 1
    assert f"model {model} is {a_model_of(MODELS[model])}; watch shows the boxes" in str(result.exception)
