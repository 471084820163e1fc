# SPDX-License-Identifier: Apache-2.0
"""Engines of the target local: written, read back, compared with the ONNX; OpenVINO and ONNX Runtime."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sightline.builders import repository_from_card
from sightline.builders.engines.cpu import (
    Cancelled,
    Engine,
    compare,
    in_own_thread,
    trial_tensors,
    until_cancelled,
)
from sightline.builders.engines.onnxruntime import write_onnxruntime
from sightline.builders.engines.openvino import network_shapes, write_openvino
from sightline.builders.precision.running import onnx_runner
from sightline.builders.stages.cpu_engine import OnnxEngine, import_openvino, open_engine
from sightline.deploy import LocalServer
from sightline.errors import BuildError, CardError, ModelFileError
from tests.precision_networks import CLASSES, SIZE, WILD, pictures, small_card, small_network

NETWORK = small_network()
CALIBRATION = pictures(12)
RAW = (1, 4 + CLASSES, 32)
Write = Callable[..., Engine]
FILES = {"openvino": ("model.xml", "model.bin"), "onnxruntime": ("model.onnx",)}
BOTH = pytest.mark.parametrize("write", [write_openvino, write_onnxruntime], ids=["openvino", "onnxruntime"])


def card_of(folder: Path, precision: str, *, allowed_drop: float = 0.2, **engine: Any) -> Any:
    return small_card(
        folder,
        engine={"precision": precision, **engine},
        calibration={"allowed_drop": allowed_drop},
    )


def run_engine(engine: Engine, folder: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    if engine.kind == "openvino":
        return open_engine(folder / "model.xml", engine.precision).run(image)[0].copy()
    return OnnxEngine(folder / "model.onnx").run(image)[0]


@pytest.mark.parametrize(
    ("write", "precision"),
    [
        *((write_openvino, precision) for precision in ("fp32", "fp16", "bf16", "int8")),
        *((write_onnxruntime, precision) for precision in ("fp32", "fp16", "int8")),
    ],
)
def test_an_engine_answers_like_the_network(write: Write, precision: str, tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    folder.mkdir()
    engine = write(NETWORK, card_of(tmp_path, precision), folder, tensors=CALIBRATION)
    assert (engine.precision, engine.shapes) == (precision, (RAW,))
    assert engine.files == FILES[engine.kind]
    assert sorted(path.name for path in folder.iterdir()) == sorted(engine.files)
    assert engine.bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert engine.milliseconds > 0
    assert "ONNX Runtime" in engine.compared_with
    assert engine.mean_difference <= engine.largest_difference
    image = pictures(1, seed=9)
    wanted = onnx_runner(NETWORK)(image)[0]
    error = np.abs(run_engine(engine, folder, image) - wanted).mean() / wanted.std()
    assert error < {"fp32": 1e-5, "fp16": 1e-3, "bf16": 0.02, "int8": 0.05}[precision]


@BOTH
def test_fp16_weights_and_int8_are_smaller(write: Write, tmp_path: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16", "int8"):
        folder = tmp_path / precision
        folder.mkdir()
        write(NETWORK, card_of(tmp_path, precision), folder, tensors=CALIBRATION)
        weights = folder / "model.bin" if write is write_openvino else folder / "model.onnx"
        sizes[precision] = weights.stat().st_size
    assert sizes["fp16"] < 0.8 * sizes["fp32"]
    if write is write_openvino:
        assert sizes["int8"] < sizes["fp16"]


@BOTH
def test_int8_leaves_out_the_layer_that_costs_accuracy(write: Write, tmp_path: Path) -> None:
    told: set[str] = set()
    engine = write(
        small_network(wild=300.0),
        card_of(tmp_path, "int8", allowed_drop=0.1),
        tmp_path,
        tensors=CALIBRATION,
        progress=lambda what, done, of: told.add(what),
    )
    assert engine.sensitivity is not None
    assert WILD in engine.sensitivity["kept"]
    assert len(engine.sensitivity["kept"]) < 4
    assert engine.sensitivity["error"] <= 0.1 < engine.sensitivity["error_all"]
    assert json.loads(json.dumps(engine.sensitivity))["layers"][0]["names"] == [WILD]
    assert "in fp32" in engine.notes[-1]
    assert "layers" in told


@BOTH
def test_int8_that_stays_too_far_off_is_refused(write: Write, tmp_path: Path) -> None:
    def far(*_: Any) -> float:
        return 0.5

    with pytest.raises(BuildError, match=r"int8 costs 50\.00% of agreement.*allowed_drop is 10\.00%.*fp16"):
        write(
            NETWORK,
            card_of(tmp_path, "int8", allowed_drop=0.1),
            tmp_path,
            tensors=CALIBRATION,
            metric=far,
        )


@BOTH
def test_int8_without_pictures_says_what_to_set(write: Write, tmp_path: Path) -> None:
    for tensors in (None, CALIBRATION[:7]):
        with pytest.raises(BuildError, match=r"at least 8 calibration pictures.*calibration\.images"):
            write(NETWORK, card_of(tmp_path, "int8"), tmp_path, tensors=tensors)


@BOTH
def test_kept_names_must_be_in_the_network(write: Write, tmp_path: Path) -> None:
    card = card_of(tmp_path, "int8", keep_precise=["nowhere"])
    with pytest.raises(CardError, match=r"engine\.keep_precise names 'nowhere'"):
        write(NETWORK, card, tmp_path, tensors=CALIBRATION)


def test_kept_layers_stay_as_they_were_in_openvino(tmp_path: Path) -> None:
    card = card_of(tmp_path, "int8", keep_precise=["second", "MatMul"])
    write_openvino(NETWORK, card, tmp_path, tensors=CALIBRATION)
    model = import_openvino().Core().read_model(str(tmp_path / "model.xml"))
    quantized = {
        operation.get_friendly_name().split("/")[0]
        for operation in model.get_ordered_ops()
        if operation.get_type_name() in ("Convolution", "MatMul")
        and operation.input_value(0).get_node().get_type_name() == "FakeQuantize"
    }
    assert quantized == {"stem", "inner", "wild", "answers"}


@pytest.mark.parametrize(
    ("write", "precision", "words"),
    [
        (write_openvino, "fp8", r"OpenVINO on a CPU runs fp32, fp16, bf16, int8.*use int8"),
        (write_onnxruntime, "fp8", "fp8 needs a GPU"),
        (write_onnxruntime, "bf16", "engine.kind: openvino"),
    ],
)
def test_precisions_that_do_not_run_here(write: Write, precision: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=words):
        write(NETWORK, card_of(tmp_path, precision), tmp_path, tensors=CALIBRATION)


def test_bf16_says_where_the_cpu_has_none(tmp_path: Path) -> None:
    engine = write_openvino(NETWORK, card_of(tmp_path, "bf16"), tmp_path)
    has_it = "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert any("no bf16 instructions" in note for note in engine.notes) != has_it


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.full((1, 2, 2), np.nan, np.float32), "0% finite"),
        (np.zeros((1, 2, 3), np.float32), r"\(1, 2, 3\)"),
        (np.full((1, 2, 2), 1.5, np.float32), "differ from the ONNX's by 50.00%"),
    ],
)
def test_an_engine_that_answers_otherwise_is_refused(
    tmp_path: Path, answer: NDArray[np.float32], words: str
) -> None:
    wanted = np.ones((1, 2, 2), np.float32)
    with pytest.raises(BuildError, match=words):
        compare(answer, wanted, "fp16", tmp_path)
    assert compare(wanted, wanted, "fp16", tmp_path) == (0, 0)
    empty = np.ones((1, 0, 4), np.float32)
    assert compare(empty, empty, "fp32", tmp_path) == (0, 0)


_LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sightline.builders.engines.{module} import write_{module} as write
from sightline.errors import OutputError
from tests.precision_networks import small_card, small_network
folder = Path(sys.argv[2])
card = small_card(folder, engine={{"precision": "fp32"}})
content = small_network()
(folder / "engine").mkdir()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    write(content, card, folder / "engine")
except OutputError as error:
    print("OutputError:", error)
"""


@pytest.mark.parametrize(
    ("module", "limit"), [("openvino", 5_000), ("openvino", 25_000), ("onnxruntime", 5_000)]
)
def test_no_room_on_the_disk(module: str, limit: int, tmp_path: Path) -> None:
    """RLIMIT_FSIZE fails writes in the kernel as a full disk does: in OpenVINO's weights and text, and in our file."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _LIMITED.format(module=module),
            str(Path(__file__).parents[1]),
            str(tmp_path),
            str(limit),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.startswith("OutputError:"), done.stdout + done.stderr
    assert "File too large" in done.stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit


def test_a_network_of_another_size_a_broken_one_and_open_shapes(tmp_path: Path) -> None:
    card = card_of(tmp_path, "fp32")
    with pytest.raises(ModelFileError, match="cannot be read by OpenVINO"):
        write_openvino(b"\x08\x08no", card, tmp_path)
    wide = small_card(tmp_path, input={"size": [48, 40]})
    with pytest.raises(BuildError, match="cannot take one image of 48x40"):
        write_openvino(NETWORK, wide, tmp_path)
    with pytest.raises(BuildError, match=r"'RAW' has the shape .* depends on the picture"):
        write_openvino(_open_shape(), card, tmp_path)
    assert network_shapes(NETWORK, card) == (RAW,)


def _open_shape() -> bytes:
    nodes = [
        helper.make_node("NonZero", ["TENSOR"], ["places"]),
        helper.make_node("Cast", ["places"], ["RAW"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "open",
        [helper.make_tensor_value_info("TENSOR", TensorProto.FLOAT, ["N", 3, SIZE[1], SIZE[0]])],
        [helper.make_tensor_value_info("RAW", TensorProto.FLOAT, [4, "found"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_without_pictures_random_ones_have_the_cards_normalisation(tmp_path: Path) -> None:
    card = small_card(tmp_path, input={"size": list(SIZE), "mean": 100, "std": 2})
    images = trial_tensors(card, ())
    assert len(images) == 3
    assert all(image.shape == (1, 3, SIZE[1], SIZE[0]) and image.dtype == np.float32 for image in images)
    assert -50 <= min(float(image.min()) for image in images) < -40
    assert len(trial_tensors(card, CALIBRATION)) == 8


def test_work_in_its_own_thread_ends_with_its_caller() -> None:
    assert in_own_thread(lambda _: threading.current_thread() is not threading.main_thread())
    with pytest.raises(BuildError, match="inner"):
        in_own_thread(_failing)
    cancelled = threading.Event()
    tensors = until_cancelled(CALIBRATION, cancelled)
    assert next(tensors).shape == (1, 3, SIZE[1], SIZE[0])
    cancelled.set()
    with pytest.raises(Cancelled):
        next(tensors)


_INTERRUPTED = """
import sys
import time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sightline.builders.engines.openvino import write_openvino
from tests.precision_networks import pictures, small_card, small_network
folder = Path(sys.argv[2])
card = small_card(folder, engine={"precision": "int8"})
def tell(what, done, of):
    print(what, done, of, flush=True)
    time.sleep(0.02)  # so that it is long wherever it runs
write_openvino(small_network(), card, folder, tensors=pictures(5000), progress=tell)
"""


def test_ctrl_c_ends_a_long_calibration(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", _INTERRUPTED, str(Path(__file__).parents[1]), str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=120)
    assert first.startswith("int8 ranges 1 5000"), errors
    assert "int8 ranges 5000 5000" not in rest
    assert "KeyboardInterrupt" in errors
    assert process.returncode in (1, -signal.SIGINT)
    assert not (tmp_path / "model.xml").exists()


def _failing(_: threading.Event) -> None:
    raise BuildError("inner")


# ---------------------------------------------------------------- the stage in the real server


def test_the_onnx_runtime_stage_answers_in_the_server(tmp_path: Path) -> None:
    """Alone, in a batch, and with several instances at once; the wire is that of the native stage."""
    (tmp_path / "small.onnx").write_bytes(NETWORK)
    card = card_of(tmp_path, "fp32", kind="onnxruntime", batch=[1, 4], instances=2)
    repository_from_card(card, tmp_path / "repository")
    images = pictures(3, seed=5)
    wanted = onnx_runner(NETWORK)(images)[0]
    with (
        LocalServer(tmp_path / "repository", log_dir=tmp_path / "log") as server,
        triton.InferenceServerClient(server.grpc_address) as client,
    ):
        config = client.get_model_config("small_v1_network").config
        assert config.backend == "python"
        np.testing.assert_allclose(_served(client, images), wanted, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(_served(client, images[:1]), wanted[:1], rtol=1e-4, atol=1e-4)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda index: _served(client, images[index % 3 :][:1]), range(12)))
        for index, answer in enumerate(answers):
            np.testing.assert_allclose(answer[0], wanted[index % 3], rtol=1e-4, atol=1e-4)


def _served(client: triton.InferenceServerClient, images: NDArray[np.float32]) -> NDArray[np.float32]:
    tensor = triton.InferInput("TENSOR", list(images.shape), "FP32")
    tensor.set_data_from_numpy(np.ascontiguousarray(images))
    raw: NDArray[np.float32] = client.infer("small_v1_network", [tensor]).as_numpy("RAW")
    return raw
