# SPDX-License-Identifier: Apache-2.0
"""The native backend in a real tritonserver: the core's bits, and no request that brings the server down."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from sightline import runtime
from sightline.builders.stages.cpu_engine import CpuEngine, open_engine
from sightline.builders.stages.wire import letterbox_arguments
from sightline.deploy import LocalServer
from sightline.deploy.local.supervisor import RestartPolicy
from sightline.frame import ColourSpace, Frame, PixelFormat, frame_bytes
from sightline.preprocess_ext import (
    Head,
    classify,
    decode_head,
    embedding,
    letterbox,
    prototype_rles,
    semantic_map,
)
from tests.backend_models import (
    ANGLES,
    DETR,
    KEYPOINTS,
    MASKS,
    NAME,
    POSTPROCESS,
    SEMANTIC,
    STAGES,
    add_models,
    parameters_of,
    read_config,
)

Arrays = dict[str, NDArray[Any]]
BATCHES = (1, 3, 8)
PATIENT = RestartPolicy(canary_failures=100)
"""Restarts a server that ends, and not one that is late on a busy machine: that no test brings it down is to be seen."""
GEOMETRY = np.array([1, 64, 48, 1, 1, 0, 0], np.float32)


@pytest.fixture(scope="module")
def models(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backend") / "repository"
    shutil.copytree(repository, folder)
    return add_models(folder)


@pytest.fixture(scope="module")
def backend(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(
        models, log_dir=tmp_path_factory.mktemp("backend-log"), restart_policy=PATIENT
    ) as server:
        pid = server.pid
        yield server
        assert (server.state, server.restarts, server.pid) == ("ready", 0, pid), "no test may bring it down"
        server.kill()  # draining is tested elsewhere


@pytest.fixture(scope="module")
def client(backend: LocalServer) -> Iterator[triton.InferenceServerClient]:
    connection = triton.InferenceServerClient(backend.grpc_address)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def engine(models: Path) -> CpuEngine:
    return open_engine(models / f"{STAGES}_network" / "1" / "model.xml")


def infer(
    client: Any, model: str, inputs: Arrays, outputs: list[str] | None = None, api: Any = triton
) -> Arrays:
    """Outputs by name; `outputs` asks for these only."""
    tensors = []
    for name, array in inputs.items():
        data_type = {"uint8": "UINT8", "int32": "INT32", "float32": "FP32", "object": "BYTES"}[
            str(array.dtype)
        ]
        tensors.append(api.InferInput(name, list(array.shape), data_type))
        tensors[-1].set_data_from_numpy(array)
    wanted = [api.InferRequestedOutput(name) for name in outputs] if outputs else None
    answer = client.infer(model, tensors, outputs=wanted)
    listed = answer.get_response()["outputs"] if api is triton_http else answer.get_response().outputs
    names = [item["name"] if isinstance(item, dict) else item.name for item in listed]
    return {name: answer.as_numpy(name) for name in names}


def error_of(client: Any, model: str, inputs: dict[str, Any]) -> str:
    with pytest.raises(InferenceServerException) as error:
        infer(client, model, inputs)
    return str(error.value)


def equal(found: Arrays, wanted: Arrays) -> None:
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), f"{name} must have the same bits"


def frames_of(count: int, seed: int = 0) -> tuple[Arrays, list[Frame]]:
    """FRAME and FRAME_INFO of frames of different sizes and formats, zero-padded to the longest."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        width, height, kind = 40 + 97 * index, 30 + 61 * index, PixelFormat(index % 4)
        data = rng.integers(0, 256, frame_bytes(width, height, kind), np.uint8)
        frames.append(Frame(data, width, height, kind, ColourSpace(int(rng.integers(4)))))
    packed = np.zeros((count, max(frame.data.size for frame in frames)), np.uint8)
    for row, frame in zip(packed, frames, strict=True):
        row[: frame.data.size] = frame.data
    return {"FRAME": packed, "FRAME_INFO": np.stack([frame.info for frame in frames])}, frames


def letterboxed(models: Path, frames: list[Frame]) -> Arrays:
    values = parameters_of(read_config(models / f"{STAGES}_letterbox"))
    width, height = values["size"]
    tensor = np.empty((len(frames), 3, height, width), np.float32)
    options = letterbox_arguments(values["letterbox"])
    fits = [letterbox(frame, out, **options) for frame, out in zip(frames, tensor, strict=True)]
    return {"TENSOR": tensor, "GEOMETRY": np.stack([fit.as_array() for fit in fits])}


def run_network(engine: CpuEngine, tensor: NDArray[np.float32]) -> Arrays:
    return {"RAW": np.concatenate([engine.run(item[None])[0].copy() for item in tensor])}


def decoded(
    parameters: dict[str, Any], raw: list[NDArray[np.float32]], geometry: NDArray[np.float32]
) -> Arrays:
    """What post-processing must answer, from the same kernel called here."""
    classes = parameters.get("classes") or raw[0].shape[1] - 4
    names = ("extra", "extra_values", "activation")
    options = {name: parameters[name] for name in names if name in parameters}
    head = Head(parameters["head"], classes, tuple(parameters.get("size", (1, 1))), **options)
    limits = {
        "score": parameters["score"],
        "iou": parameters["iou"],
        "max_detections": parameters["detections"],
    }
    found = [
        decode_head(head, [one[index] for one in raw], fit, **limits) if fit[0] else None
        for index, fit in enumerate(geometry)
    ]
    counts = [-1 if one is None else len(one.scores) for one in found]
    rows = max(0, *counts)
    out: Arrays = {"COUNT": np.array(counts, np.int32)[:, None]}
    for name, column in (
        ("BOXES", "boxes"),
        ("SCORES", "scores"),
        ("CLASSES", "classes"),
        ("EXTRAS", "extras"),
    ):
        first = next(getattr(one, column) for one in found if one is not None)
        out[name] = np.zeros((len(found), rows, *first.shape[1:]), first.dtype)
        for index, one in enumerate(found):
            if one is not None:
                out[name][index, : counts[index]] = getattr(one, column)
    return out


def random_head(items: int, rows: int = 7, anchors: int = 60) -> NDArray[np.float32]:
    rng = np.random.default_rng(items)
    raw = rng.random((items, rows, anchors), np.float32)
    raw[:, :4] *= 40
    return raw


@pytest.mark.parametrize("items", BATCHES)
def test_letterbox_has_the_bits_of_the_core(client: Any, models: Path, items: int) -> None:
    inputs, frames = frames_of(items)
    found = infer(client, f"{STAGES}_letterbox", inputs)
    equal(found, letterboxed(models, frames))
    assert found["ERROR"].tolist() == [[b""]] * items


@pytest.mark.parametrize("model", [f"{STAGES}_network", "shared_network"])
@pytest.mark.parametrize("items", BATCHES)
def test_network_has_the_bits_of_openvino(
    client: Any, models: Path, engine: CpuEngine, items: int, model: str
) -> None:
    tensor = letterboxed(models, frames_of(items)[1])["TENSOR"]
    equal(infer(client, model, {"TENSOR": tensor}), run_network(engine, tensor))


@pytest.mark.parametrize("items", BATCHES)
def test_postprocess_has_the_bits_of_the_core(client: Any, items: int) -> None:
    raw, geometry = random_head(items), np.tile(GEOMETRY, (items, 1))
    geometry[items // 2, 0] = 0 if items > 1 else 1
    wanted = decoded(POSTPROCESS, [raw], geometry)
    assert wanted["COUNT"].max() > 1
    for model in ("loose_postprocess", "few_workers"):
        equal(infer(client, model, {"RAW": raw, "GEOMETRY": geometry}), without_extras(wanted))


def without_extras(answers: Arrays) -> Arrays:
    return {name: array for name, array in answers.items() if name != "EXTRAS"}


@pytest.mark.parametrize("model", ["angles", "keypoints", "detr"])
def test_other_heads_have_the_bits_of_the_core(client: Any, model: str) -> None:
    geometry, rng = np.tile(GEOMETRY, (3, 1)), np.random.default_rng(5)
    parameters, extra, shape = {
        "angles": (ANGLES, "ANGLES", (1,)),
        "keypoints": (KEYPOINTS, "KEYPOINTS", (2, 3)),
        "detr": (DETR, "", ()),
    }[model]
    raw = {
        "angles": [np.concatenate([random_head(3, 30, 4), rng.random((3, 30, 3), np.float32)], 2)],
        "keypoints": [random_head(3, 12)],
        "detr": [rng.random((3, 30, 4), np.float32), rng.normal(size=(3, 30, 4)).astype(np.float32)],
    }[model]
    wanted = decoded(parameters, raw, geometry)
    assert wanted["COUNT"].max() > 1
    extras = wanted.pop("EXTRAS")
    inputs = {("RAW", "RAW_1")[index]: array for index, array in enumerate(raw)}
    found = infer(client, model, {**inputs, "GEOMETRY": geometry})
    equal(found, wanted)
    if extra:
        equal(found, {extra: extras.reshape(*extras.shape[:2], *(shape if len(shape) > 1 else ()))})


def pictures(*sizes: tuple[int, int]) -> NDArray[np.float32]:
    """GEOMETRY of pictures letterboxed into 64x64; 0x0 is one that could not be used."""
    rows = np.zeros((len(sizes), 7), np.float32)
    for row, (width, height) in zip(rows, sizes, strict=True):
        if width:
            frame = Frame.from_rgb(np.zeros((height, width, 3), np.uint8))
            row[:] = letterbox(frame, np.empty((3, 64, 64), np.float32)).as_array()
    return rows


def test_masks_are_the_texts_of_the_core(client: Any) -> None:
    geometry, rng = pictures((128, 96), (0, 0), (500, 700)), np.random.default_rng(4)
    raw = np.concatenate([random_head(3), rng.normal(size=(3, 8, 60)).astype(np.float32)], 1)
    prototypes = rng.normal(size=(3, 8, 16, 16)).astype(np.float32)
    found = infer(client, "masks", {"RAW": raw, "RAW_1": prototypes, "GEOMETRY": geometry})
    wanted = decoded({**MASKS, "classes": 3}, [raw, prototypes], geometry)
    extras = wanted.pop("EXTRAS")
    equal(found, wanted)
    assert found["MASKS"].shape == wanted["SCORES"].shape
    assert wanted["COUNT"].ravel().tolist()[1] == -1
    for index, count in enumerate(wanted["COUNT"][:, 0]):
        if count > 0:
            objects = extras[index, :count], wanted["BOXES"][index, :count]
            texts = prototype_rles(prototypes[index], *objects, (64, 64), geometry[index])
            assert found["MASKS"][index, :count].tolist() == texts
        assert set(found["MASKS"][index, max(count, 0) :].tolist()) <= {b""}
    assert max(map(len, found["MASKS"].ravel())) > 20
    flat = {"RAW": raw, "RAW_1": prototypes[:, :5], "GEOMETRY": geometry}
    assert "prototypes" in error_of(client, "masks", flat)


def test_classes_of_a_picture(client: Any) -> None:
    values, geometry = (
        np.random.default_rng(1).normal(size=(3, 10)).astype(np.float32),
        pictures((9, 9), (0, 0), (9, 9)),
    )
    found = infer(client, "classify", {"RAW": values, "GEOMETRY": geometry})
    for index in (0, 2):
        scores, classes = classify(values[index], top=3, activation="softmax")
        equal({"s": found["SCORES"][index], "c": found["CLASSES"][index]}, {"s": scores, "c": classes})
    assert found["CLASSES"][1].tolist() == [-1] * 3
    assert infer(client, "classify", {"RAW": values[:, :2], "GEOMETRY": geometry})["SCORES"].shape == (3, 2)
    values[0, 0] = np.nan
    alone = infer(client, "classify", {"RAW": values, "GEOMETRY": geometry})
    assert alone["CLASSES"][0].tolist() == [-1] * 3
    assert alone["SCORES"][0].tolist() == [0] * 3
    equal({"s": alone["SCORES"][2], "c": alone["CLASSES"][2]}, {"s": scores, "c": classes})


def test_class_map_and_embedding(client: Any) -> None:
    rng, geometry = np.random.default_rng(2), pictures((40, 30), (0, 0), (25, 50))
    logits = rng.normal(size=(3, 4, 8, 8)).astype(np.float32)
    found = infer(client, "semantic", {"RAW": logits, "GEOMETRY": geometry})["CLASS_MAP"]
    assert found.shape == (3, 50, 40)
    for index, (width, height) in ((0, (40, 30)), (2, (25, 50))):
        wanted = semantic_map(logits[index], geometry[index], (64, 64))
        assert (found[index, :height, :width] == wanted).all()
        assert found[index, height:].sum() == found[index, :, width:].sum() == 0
    assert found[1].sum() == 0
    values = rng.normal(size=(3, 33)).astype(np.float32)
    vectors = infer(client, "embed", {"RAW": values, "GEOMETRY": geometry})["EMBEDDING"]
    equal({"0": vectors[0], "2": vectors[2]}, {"0": embedding(values[0]), "2": embedding(values[2])})
    assert not vectors[1].any()
    values[0, 5] = np.nan
    alone = infer(client, "embed", {"RAW": values, "GEOMETRY": geometry})["EMBEDDING"]
    equal({"0": alone[0], "2": alone[2]}, {"0": np.zeros(33, np.float32), "2": vectors[2]})
    for width, height in ((3e9, 3e9), (65535, 763)):
        huge = geometry.copy()
        huge[0, 1:3] = width, height
        assert "GEOMETRY says" in error_of(client, "semantic", {"RAW": logits, "GEOMETRY": huge})
    huge[0, 1:3], huge[2, 1:3] = (65535, 1), (1, 65535)
    assert "CLASS_MAP would be" in error_of(client, "semantic", {"RAW": logits, "GEOMETRY": huge})


@pytest.mark.parametrize("items", BATCHES)
def test_whole_ensemble_and_fused_stage_agree(
    client: Any, models: Path, engine: CpuEngine, items: int
) -> None:
    inputs, frames = frames_of(items, seed=3)
    picture = letterboxed(models, frames)
    raw = run_network(engine, picture["TENSOR"])["RAW"]
    head = parameters_of(read_config(models / f"{STAGES}_postprocess"))
    wanted = without_extras(decoded(head, [raw], picture["GEOMETRY"]))
    assert wanted["COUNT"].max() > 0, "noise must look like something to the detector"
    for model in (f"{NAME}_frames", "fused"):
        found = infer(client, model, inputs)
        equal(found, wanted)
        assert found["ERROR"].tolist() == [[b""]] * items


def test_instances_at_work_at_the_same_time_do_not_mix_answers(client: Any, backend: LocalServer) -> None:
    inputs = [frames_of(1 + index % 3, seed=index)[0] for index in range(4)]
    models = (f"{NAME}_frames", "fused")
    wanted = {(model, i): infer(client, model, one) for model in models for i, one in enumerate(inputs)}
    wrong: list[str] = []

    def work(index: int) -> None:
        connection = triton.InferenceServerClient(backend.grpc_address)
        for turn in range(8):
            key = models[turn % 2], (index + turn) % len(inputs)
            found = infer(connection, key[0], inputs[key[1]])
            wrong.extend(
                name for name, array in wanted[key].items() if array.tobytes() != found[name].tobytes()
            )
        connection.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


BAD_INFOS = {
    (0, 30, 0, 0): "frame is 0x30; width and height must be at least 1 and their product at most 50000000",
    (-5, 30, 0, 0): "frame is -5x30",
    (2**31 - 1, 2**31 - 1, 0, 0): "frame is 2147483647x2147483647",
    (-(2**31), 1, 0, 0): "frame is -2147483648x1",
    (
        40,
        30,
        4,
        0,
    ): "FRAME_INFO is [40, 30, 4, 0]; it must be [width, height, pixel format 0..3, colour 0..3]",
    (40, 30, 0, -1): "FRAME_INFO is [40, 30, 0, -1]",
    (41, 30, 0, 0): "frame data has 1800 bytes; 41x30 I420 needs 1860",
    (40, 30, 2, 0): "frame data has 1800 bytes; 40x30 RGB needs 3600",
    (70000, 1, 2, 0): "frame data has 1800 bytes; 70000x1 RGB needs 210000",
}


@pytest.mark.parametrize("model", [f"{STAGES}_letterbox", f"{NAME}_frames", "fused"])
def test_bad_frame_alone_is_an_error(client: Any, model: str) -> None:
    inputs = frames_of(1)[0]
    for info, text in BAD_INFOS.items():
        message = error_of(client, model, {**inputs, "FRAME_INFO": np.array([info], np.int32)})
        assert f"[bad_frame] {text}" in message
        assert "INVALID_ARG" in message


@pytest.mark.parametrize("model", [f"{NAME}_frames", "fused"])
def test_bad_frame_among_others_fails_alone(client: Any, model: str) -> None:
    inputs, _ = frames_of(3)
    good = infer(client, model, inputs)
    inputs["FRAME_INFO"][1] = (-7, 9, 0, 0)
    found = infer(client, model, inputs)
    assert found["COUNT"][1, 0] == -1
    assert found["ERROR"][1, 0].startswith(b"[bad_frame] frame is -7x9")
    for index in (0, 2):
        assert found["COUNT"][index] == good["COUNT"][index]
        count = found["COUNT"][index, 0]
        assert (found["BOXES"][index, :count] == good["BOXES"][index, :count]).all()
        assert found["ERROR"][index, 0] == b""


def test_frame_of_too_many_pixels_on_a_side(client: Any) -> None:
    inputs = {
        "FRAME": np.zeros((1, 70000 * 3), np.uint8),
        "FRAME_INFO": np.array([[70000, 1, 2, 0]], np.int32),
    }
    message = error_of(client, f"{STAGES}_letterbox", inputs)
    assert "[bad_frame] frame is 70000x1; width and height must be at most 65535 pixels" in message


HOSTILE: dict[str, tuple[str, Arrays, str]] = {
    "fields of FRAME_INFO": (
        "loose_letterbox",
        {"FRAME": np.zeros((1, 9), np.uint8), "FRAME_INFO": np.zeros((1, 3), np.int32)},
        "FRAME_INFO [items, 4]",
    ),
    "items": (
        "loose_letterbox",
        {"FRAME": np.zeros((2, 9), np.uint8), "FRAME_INFO": np.zeros((1, 4), np.int32)},
        "batch",
    ),
    "empty frame": (
        "loose_letterbox",
        {"FRAME": np.zeros((1, 0), np.uint8), "FRAME_INFO": np.array([[2, 2, 0, 0]], np.int32)},
        "",
    ),
    "short GEOMETRY": (
        "loose_postprocess",
        {"RAW": random_head(1), "GEOMETRY": np.ones((1, 6), np.float32)},
        "GEOMETRY must be [items, 7]",
    ),
    "GEOMETRY of NaN": (
        "loose_postprocess",
        {"RAW": random_head(1), "GEOMETRY": np.full((1, 7), np.nan, np.float32)},
        "geometry",
    ),
    "GEOMETRY that cannot be inverted": (
        "loose_postprocess",
        {"RAW": random_head(1), "GEOMETRY": GEOMETRY[None] * (1, 1, 1, 0, 1, 1, 1)},
        "geometry",
    ),
    "GEOMETRY of too many pixels": (
        "loose_postprocess",
        {"RAW": random_head(1), "GEOMETRY": np.array([[1, 50_001, 1000, 1, 1, 0, 0]], np.float32)},
        "50001x1000 pixels",
    ),
    "too few rows": (
        "loose_postprocess",
        {"RAW": random_head(1, rows=4), "GEOMETRY": GEOMETRY[None]},
        "RAW must be",
    ),
    "no anchors": (
        "loose_postprocess",
        {"RAW": np.zeros((1, 6, 0), np.float32), "GEOMETRY": GEOMETRY[None]},
        "",
    ),
    "other head's shape": (
        "detr",
        {"RAW": random_head(1), "RAW_1": random_head(1), "GEOMETRY": GEOMETRY[None]},
        "shapes of this head",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_malformed_request_is_refused(client: Any, case: str) -> None:
    model, inputs, text = HOSTILE[case]
    inputs = {
        name: array.astype(np.float32) if array.dtype == float else array for name, array in inputs.items()
    }
    assert text in error_of(client, model, inputs)


def test_numbers_that_are_not_finite_are_no_detections(client: Any) -> None:
    raw = random_head(3)
    raw[0], raw[1] = np.nan, np.inf
    geometry = np.tile(GEOMETRY, (3, 1))
    found = infer(client, "loose_postprocess", {"RAW": raw, "GEOMETRY": geometry})
    assert found["COUNT"].tolist()[:2] == [[0], [0]]
    equal(found, without_extras(decoded(POSTPROCESS, [raw], geometry)))


def test_wrong_datatype_and_missing_input_are_refused(client: Any) -> None:
    inputs = frames_of(1)[0]
    wrong = {**inputs, "FRAME_INFO": inputs["FRAME_INFO"].astype(np.float32)}
    assert "data-type" in error_of(client, "loose_letterbox", wrong)
    assert "FRAME_INFO" in error_of(client, "loose_letterbox", {"FRAME": inputs["FRAME"]})


@pytest.mark.parametrize("wanted", [["COUNT"], ["SCORES", "COUNT"], ["ERROR"], ["BOXES", "ERROR"]])
@pytest.mark.parametrize("model", [f"{NAME}_frames", "fused"])
def test_only_what_is_asked_for_is_answered(client: Any, model: str, wanted: list[str]) -> None:
    inputs = frames_of(3)[0]
    everything, found = infer(client, model, inputs), infer(client, model, inputs, wanted)
    assert sorted(found) == sorted(wanted)
    for name in wanted:
        assert (found[name] == everything[name]).all()


def test_single_outputs_of_the_stages(client: Any, models: Path) -> None:
    inputs, frames = frames_of(3)
    wanted = letterboxed(models, frames)
    for name in ("TENSOR", "GEOMETRY"):
        equal(infer(client, f"{STAGES}_letterbox", inputs, [name]), {name: wanted[name]})
    assert infer(client, f"{STAGES}_letterbox", inputs, ["ERROR"])["ERROR"].tolist() == [[b""]] * 3


def test_request_in_several_buffers(backend: LocalServer, client: Any) -> None:
    """A large HTTP body reaches the server in pieces, which it hands over one by one."""
    rng = np.random.default_rng(9)
    tensor = rng.random((2, 3, 500, 700), np.float32)
    connection = triton_http.InferenceServerClient(backend.http_address)
    try:
        equal(infer(connection, "identity", {"TENSOR": tensor}, api=triton_http), {"TENSOR": tensor})
    finally:
        connection.close()


@pytest.fixture
def region(backend: LocalServer, client: Any) -> Iterator[tuple[str, shared_memory.SharedMemory]]:
    memory = shared_memory.SharedMemory(create=True, size=1 << 16)
    key = {f"triton-grpc-protocol-{runtime.TOKEN_KEY}": backend.token}
    client.register_system_shared_memory(memory.name, "/" + memory.name, memory.size, headers=key)
    yield memory.name, memory
    for last in (False,) * 600 + (True,):  # the server lets go of a request a moment after it has answered
        try:
            client.unregister_system_shared_memory(memory.name, headers=key)
            break
        except InferenceServerException as error:
            if last or "in use" not in str(error):
                raise
            time.sleep(0.1)
    memory.close()
    memory.unlink()


def test_floats_at_an_odd_address(client: Any, region: tuple[str, shared_memory.SharedMemory]) -> None:
    name, memory = region
    raw, geometry = random_head(1), GEOMETRY[None]
    tensors = []
    for offset, (tensor, array) in zip((1, 60001), (("RAW", raw), ("GEOMETRY", geometry)), strict=True):
        np.ndarray(array.shape, np.float32, memory.buf, offset)[:] = array
        tensors.append(triton.InferInput(tensor, list(array.shape), "FP32"))
        tensors[-1].set_shared_memory(name, array.nbytes, offset)
    answer = client.infer("loose_postprocess", tensors)
    wanted = without_extras(decoded(POSTPROCESS, [raw], geometry))
    equal({key: answer.as_numpy(key) for key in wanted}, wanted)


def test_wrong_byte_counts_in_shared_memory(
    client: Any, region: tuple[str, shared_memory.SharedMemory]
) -> None:
    name, _ = region
    for stated in (0, 3, 4 * 7 * 60 - 1, 4 * 7 * 60 + 1, 1 << 15):
        raw = triton.InferInput("RAW", [1, 7, 60], "FP32")
        raw.set_shared_memory(name, stated)
        geometry = triton.InferInput("GEOMETRY", [1, 7], "FP32")
        geometry.set_data_from_numpy(GEOMETRY[None])
        with pytest.raises(InferenceServerException):
            client.infer("loose_postprocess", [raw, geometry])


def test_answer_that_does_not_fit_into_its_region(
    client: Any, region: tuple[str, shared_memory.SharedMemory]
) -> None:
    name, _ = region
    tensors = []
    for tensor, array in (("RAW", random_head(1)), ("GEOMETRY", GEOMETRY[None])):
        tensors.append(triton.InferInput(tensor, list(array.shape), "FP32"))
        tensors[-1].set_data_from_numpy(array)
    boxes = triton.InferRequestedOutput("BOXES")
    boxes.set_shared_memory(name, 4)
    with pytest.raises(InferenceServerException):
        client.infer("loose_postprocess", tensors, outputs=[triton.InferRequestedOutput("COUNT"), boxes])


FIT = {"resize": "letterbox", "colour": "rgb", "mean": [0, 0, 0], "std": [1, 1, 1]}
LETTERBOX = {"stage": "letterbox", "size": [8, 16], "letterbox": FIT}
NETWORK = {"stage": "network", "outputs": 1}
SSD = {**POSTPROCESS, "head": "ssd", "classes": 2, "outputs": 2}
WRONG_PARAMETERS: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "is not a JSON object"),
    "no object": ("[1]", "is not a JSON object"),
    "depth": ('{"stage":' + "[" * 40 + "]" * 40 + "}", "is not a JSON object"),
    "no stage": ("{}", 'needs "stage"'),
    "unknown stage": ('{"stage": "magic"}', 'needs "stage"'),
    "unknown head": (json.dumps({**POSTPROCESS, "head": "x"}), 'needs "head"'),
    "no limit": ('{"stage": "postprocess", "head": "yolov8", "outputs": 1}', 'needs "score"'),
    "limit": (json.dumps({**POSTPROCESS, "iou": 1.5}), 'needs "iou": a number in 0..1'),
    "no number": (json.dumps({**POSTPROCESS, "score": float("nan")}), "is not a JSON object"),
    "detections": (json.dumps({**POSTPROCESS, "detections": 10**9}), 'needs "detections"'),
    "outputs": (json.dumps({**POSTPROCESS, "outputs": 0}), 'needs "outputs"'),
    "extra values": (json.dumps({**KEYPOINTS, "extra_values": 5}), 'needs "extra_values"'),
    "workers": (json.dumps({**POSTPROCESS, "workers": 65}), 'needs "workers"'),
    "letterbox": ('{"stage": "letterbox", "size": [8, 8]}', 'needs "letterbox"'),
    "resize": (
        json.dumps({**LETTERBOX, "letterbox": {**FIT, "resize": "fit"}}),
        "letterbox, stretch, corner, crop",
    ),
    "filter": (json.dumps({**LETTERBOX, "letterbox": {**FIT, "filter": "cubic"}}), 'needs "filter"'),
    "pad": (json.dumps({**LETTERBOX, "letterbox": {**FIT, "pad": 256}}), 'needs "pad": a level in 0..255'),
    "short side": (json.dumps({**LETTERBOX, "letterbox": {**FIT, "short_side": 9}}), 'needs "resize": crop'),
    "too short side": (
        json.dumps({**LETTERBOX, "letterbox": {**FIT, "resize": "crop", "short_side": 7}}),
        '"short_side" outside 8..65535',
    ),
    "precision": (json.dumps({**NETWORK, "precision": "fp8"}), 'needs "precision": f32 or bf16'),
    "class map": (json.dumps({**SEMANTIC, "classes": 257}), "1..256: CLASS_MAP is UINT8"),
    "no masks": (json.dumps({**POSTPROCESS, "task": "segment"}), 'needs "extra": masks or pasted'),
    "pasted": (json.dumps({**POSTPROCESS, "extra": "pasted", "outputs": 4}), "belong to the head mask_rcnn"),
    "pasted outputs": (
        json.dumps({**POSTPROCESS, "head": "mask_rcnn", "classes": 2, "task": "segment", "outputs": 3}),
        'has 3 "outputs"; this head reads 4',
    ),
    "extra of a list": (
        json.dumps({**MASKS, "head": "efficient_nms", "classes": 2, "outputs": 5}),
        "none for efficient_nms",
    ),
    "centre form": (json.dumps({**POSTPROCESS, "centre_form": 1}), 'needs "centre_form": true or false'),
    "anchors": (json.dumps({**SSD, "anchors": [[1, 2]]}), "rows of 2 numbers, of 4 for the head ssd"),
    "path of anchors": (json.dumps({**SSD, "anchors_file": "../a"}), 'needs "anchors_file": the plain name'),
    "file of anchors": (json.dumps({**SSD, "anchors_file": "a.f32"}), "a.f32 cannot be opened"),
    "no network": ('{"stage": "network", "outputs": 1}', "cannot compile the network"),
}


@pytest.mark.parametrize("case", WRONG_PARAMETERS)
def test_wrong_settings_are_refused_when_the_model_is_loaded(
    client: Any, backend: LocalServer, case: str
) -> None:
    text, reason = WRONG_PARAMETERS[case]
    key = {f"triton-grpc-protocol-{runtime.TOKEN_KEY}": backend.token}
    parameters = {"sightline": {"string_value": text}}
    tensors = {"name": "TENSOR", "data_type": "TYPE_FP32", "dims": [-1, -1, -1]}
    config = {"backend": "sightline", "max_batch_size": 8, "parameters": parameters}
    full = {
        **config,
        "input": [tensors],
        "output": [tensors],
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    }
    with pytest.raises(InferenceServerException) as error:
        client.load_model("identity", headers=key, config=json.dumps(full))
    assert reason in str(error.value)
    tensor = np.ones((1, 1, 2, 3), np.float32)
    equal(infer(client, "identity", {"TENSOR": tensor}), {"TENSOR": tensor})  # the loaded one serves on


def settled(counts: Callable[[], tuple[int, int, int]]) -> tuple[int, int, int]:
    """The counts when they have stayed the same for a while."""
    found, since = counts(), time.monotonic()
    while time.monotonic() - since < 2.0:
        time.sleep(0.1)
        if (now := counts()) != found:
            found, since = now, time.monotonic()
    return found


def test_every_request_is_counted_in_the_statistics(client: Any) -> None:
    def counts() -> tuple[int, int, int]:
        found = client.get_inference_statistics("identity").model_stats[0]
        return found.inference_count, found.inference_stats.success.count, found.inference_stats.success.ns

    before = settled(counts)  # the server counts a request after it has answered it
    for _ in range(5):
        infer(client, "identity", {"TENSOR": np.ones((2, 3, 4, 4), np.float32)})
    after = settled(counts)
    assert (after[0] - before[0], after[1] - before[1]) == (10, 5)
    assert 0 < after[2] - before[2] < 60e9
