# SPDX-License-Identifier: Apache-2.0
"""The GPU script and its parts: all that a machine without a GPU can run, and what it says of the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline.builders.engines.gpu import Gpu
from sightline.builders.engines.gpu_cuda import open_cuda
from sightline.builders.engines.gpu_query import GpuInfo, GpuReport, find_gpus
from sightline.errors import BuildError, MissingDependencyError, SightlineError
from sightline.model_repository import shipped_card, shipped_models
from sightline.perf.gpu import dali_steps
from sightline.perf.gpu.command import STEPS, main
from sightline.perf.gpu.measure import Parity, load, rate
from sightline.perf.gpu.onnx_torch import TorchNetwork, cpu_reference
from sightline.perf.gpu.server_steps import served
from sightline.perf.gpu.step import NO_GPU, Context, Network, NotRun, Step, each_network, run_step
from tests.needs import needs

no_gpu = pytest.mark.skipif(bool(find_gpus().gpus), reason="says what happens without a GPU")
SOME_GPU = GpuReport((GpuInfo(0, "a GPU", 90, 80 << 30, "13.0", False),))


def tiny() -> Network:
    """A convolution and a head of 5 scores, 32x16 pixels."""
    random = np.random.default_rng(2)
    constants = {
        "w": random.standard_normal((6, 3, 3, 3)).astype(np.float32),
        "v": random.standard_normal((6, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["TENSOR", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "v"], ["RAW"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("TENSOR", TensorProto.FLOAT, ["N", 3, 16, 32])],
        [helper.make_tensor_value_info("RAW", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return Network("tiny", bytes(model.SerializeToString()), (32, 16))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(GpuReport((), "none was asked for"), (tiny(),), tmp_path, 0.2, (1, 2, 4))


# --- the script


@no_gpu
def test_the_script_runs_through_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "gpu.json"
    assert main(["--out", str(out), "--seconds", "0.1"]) == 0
    values = json.loads(out.read_text())
    assert values["gpu"] is None
    assert values["ran"] == ["versions"]
    assert list(values["not_run"]) == [step.name for step in STEPS if step.name != "versions"]
    assert all(reason.startswith(NO_GPU) for reason in values["not_run"].values())
    assert [network["name"] for network in values["networks"]] == list(shipped_models())
    assert all("result" not in step for step in values["steps"] if not step["ran"])
    said = capsys.readouterr().err
    assert f"rtx: {NO_GPU}" in said


def test_versions_name_what_is_here_and_why_the_rest_is_not(context: Context) -> None:
    (step,) = [step for step in STEPS if step.name == "versions"]
    entry = run_step(step, context)
    assert entry["ran"]
    assert entry["result"]["numpy"] == np.__version__
    assert isinstance(entry["result"]["tensorrt"], str)


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file" / "gpu.json"), "--step", "device"]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "gpu.json"), "--model", "unknown"]) == 1
    assert "no shipped model" in capsys.readouterr().err


def test_a_step_that_fails_says_why(context: Context) -> None:
    def fails(_: Context) -> Mapping[str, Any]:
        raise ZeroDivisionError("by hand")

    def refuses(_: Context) -> Mapping[str, Any]:
        raise NotRun("the library cannot be carried")

    failed = run_step(Step("one", fails, needs_gpu=False), context)
    assert (failed["ran"], failed["reason"]) == (False, "ZeroDivisionError: by hand")
    assert failed["where"].startswith("test_tensorrt_gpu.py:")
    refused = run_step(Step("two", refuses, needs_gpu=False), context)
    assert (refused["ran"], refused["reason"]) == (False, "the library cannot be carried")
    assert "not run" in run_step(Step("three", fails), context)["reason"]


def test_one_network_that_fails_does_not_hide_the_others(context: Context) -> None:
    both = Context(context.report, (tiny(), Network("bad", b"\xff\xff no network", (8, 8))), context.folder)

    def measure(network: Network) -> Mapping[str, Any]:
        return {"operators": len(TorchNetwork(network.content, "cpu").outputs)}

    facts = each_network(both, measure)
    assert facts["tiny"] == {"operators": 1}
    assert "reason" in facts["bad"]
    with pytest.raises(NotRun, match="bad: "):
        each_network(Context(context.report, both.networks[1:], context.folder), measure)


@no_gpu
@pytest.mark.parametrize("step", [step for step in STEPS if step.needs_gpu and step.name != "device"])
def test_each_step_fails_in_words_where_the_gpu_is_not_usable(step: Step, context: Context) -> None:
    """As on a machine whose driver shows a GPU that the libraries then cannot use."""
    broken = Context(SOME_GPU, context.networks, context.folder, 0.1, (1,))
    entry = run_step(step, broken)
    assert not entry["ran"]
    assert len(entry["reason"]) > 10
    assert "result" not in entry


# --- gpu.py


@no_gpu
def test_gpu_memory_says_what_is_missing() -> None:
    with pytest.raises(MissingDependencyError, match="no NVIDIA GPU can be used"):
        Gpu()
    with pytest.raises(SightlineError, match=r"cudaSetDevice|pycuda|cuda-python"):
        open_cuda(0)


# --- the network in PyTorch


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_networks_answer_the_same_in_pytorch(name: str) -> None:
    content = (shipped_card(name).parent / "model.onnx").read_bytes()
    sides = [
        dim.dim_value for dim in onnx.load_from_string(content).graph.input[0].type.tensor_type.shape.dim
    ]
    image = np.random.default_rng(0).random((2, *sides[1:]), np.float32)
    network = TorchNetwork(content, "cpu")
    reference, _ = cpu_reference(content)
    for _ in range(2):  # the second run uses what the first kept for this shape
        for answer, wanted in zip(network.run(image), reference(image), strict=True):
            assert answer.shape == wanted.shape
            assert np.abs(answer - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert [len(answer) for answer in network.run(image[:1])] == [1] * len(network.outputs)


def test_half_precision_stays_close() -> None:
    network = tiny()
    parity = Parity(network)
    (exact,) = parity.compare(TorchNetwork(network.content, "cpu").run(parity.pictures))["outputs"]
    (half,) = parity.compare(TorchNetwork(network.content, "cpu", half=True).run(parity.pictures))["outputs"]
    assert exact["largest_error"] < 1e-5
    assert 1e-6 < half["largest_error"] < 1e-2


def test_parity_is_honest_about_nonsense() -> None:
    parity = Parity(tiny())
    (entry,) = parity.compare([np.full((4, 5), np.nan, np.float32)])["outputs"]
    assert entry == {"shape": [4, 5], "finite": False, "largest_error": None, "mean_error": None}
    with pytest.raises(ValueError, match="shape"):
        parity.compare([np.zeros((4, 6), np.float32)])
    with pytest.raises(ValueError, match="outputs"):
        parity.compare([])


def _one_node(operator: str, inputs: dict[str, Any], **attributes: Any) -> bytes:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *inputs], ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 6, 8])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in inputs.items()],
    )
    sets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=sets, ir_version=9).SerializeToString())


_AXES = {"axes": np.array([2, 3])}
_SCALES = {"roi": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
_WEIGHTS = np.random.default_rng(5).standard_normal((4, 2, 3, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    [
        ("Conv", {"w": _WEIGHTS[:, :1]}, {"group": 4, "pads": [0, 1, 1, 2]}),
        ("Conv", {"w": _WEIGHTS.reshape(2, 4, 3, 3)}, {"auto_pad": "SAME_UPPER", "kernel_shape": [3, 3]}),
        (
            "ConvTranspose",
            {"w": _WEIGHTS},
            {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        ),
        ("MaxPool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("AveragePool", {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
        (
            "Resize",
            _SCALES,
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        ),
        ("Resize", _SCALES, {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
        ("Resize", _SCALES, {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
        ("Slice", {"s": np.array([-1]), "e": np.array([-100]), "a": np.array([3]), "t": np.array([-1])}, {}),
        ("Slice", {"s": np.array([1, 0]), "e": np.array([9, -1]), "a": np.array([1, 2])}, {}),
        ("Gather", {"i": np.array([[0, -1], [2, 1]])}, {"axis": 1}),
        ("Gather", {"i": np.array(2)}, {"axis": 2}),
        ("Unsqueeze", {"a": np.array([0, -1])}, {}),
        ("ReduceMean", {}, {"axes": [2, 3], "keepdims": 0}),
        ("ReduceSum", _AXES, {"keepdims": 1}),
        ("ReduceL2", {}, {"axes": [1]}),
        ("Clip", {"low": np.float32(0.2), "high": np.float32(0.6)}, {}),
        ("Softmax", {}, {"axis": 1}),
        ("LpNormalization", {}, {"axis": 1, "p": 2}),
        ("HardSigmoid", {}, {"alpha": 0.3}),
        ("HardSwish", {}, {}),
        ("LeakyRelu", {}, {"alpha": 0.1}),
        ("Transpose", {}, {"perm": [0, 2, 3, 1]}),
        ("Pow", {"e": np.float32(2)}, {}),
        ("Expand", {"s": np.array([2, 4, 1, 8])}, {}),
        ("ArgMax", {}, {"axis": 1, "keepdims": 0}),
        ("LayerNormalization", {"g": np.ones(8, np.float32), "b": np.ones(8, np.float32)}, {"axis": -1}),
    ],
)
def test_operators_agree_with_onnx_runtime(
    operator: str, inputs: dict[str, Any], attributes: dict[str, Any]
) -> None:
    content = _one_node(operator, inputs, **attributes)
    image = np.random.default_rng(1).random((1 if operator == "Expand" else 2, 4, 6, 8), np.float32)
    reference, _ = cpu_reference(content)
    (answer,), (wanted,) = TorchNetwork(content, "cpu").run(image), reference(image)
    np.testing.assert_allclose(answer, wanted, rtol=1e-5, atol=1e-6)


def test_an_operator_that_is_not_known_is_named() -> None:
    with pytest.raises(BuildError, match=r"operators Det$"):
        TorchNetwork(_one_node("Det", {}), "cpu")


# --- rates


def test_rates_count_what_was_run() -> None:
    runs = 0

    def run() -> None:
        nonlocal runs
        runs += 1

    facts = rate(run, lambda: None, 4, 0.05)
    assert facts["runs"] == runs - 4  # a warm-up of three, and one to learn how long it takes
    assert facts["images_per_second"] == pytest.approx(4e3 / facts["milliseconds_per_run"])


def test_load_raises_what_a_client_raised() -> None:
    calls = 0

    def fails_later() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise ValueError("the server is gone")

    with pytest.raises(ValueError, match="the server is gone"):
        load([fails_later], 1, 5.0)
    facts = load([lambda: None, lambda: None], 2, 0.05)
    assert facts["clients"] == 2
    assert facts["requests"] > 0
    assert math.isfinite(facts["p99_milliseconds"])


# --- the same steps on the CPU: everything but the device


def test_the_served_network_on_a_cpu_instance(context: Context) -> None:
    facts = served(tiny(), context, "cpu")
    assert facts["instance"] == "KIND_CPU"
    assert facts["parity"]["outputs"][0]["largest_error"] < 1e-5
    assert facts["served"]["batch"] == 2
    assert facts["served"]["requests"] > 0
    assert facts["share_of_bare_eager"] > 0
    assert not list(context.folder.iterdir())


def test_dali_on_cpu_operators(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("nvidia.dali")
    monkeypatch.setattr(dali_steps, "_SOURCE", (320, 180))
    monkeypatch.setattr(dali_steps, "_NETWORK", (160, 160))
    files = dali_steps.measure_files(context, device_id=None)
    frames = dali_steps.measure_frames(context, device_id=None)
    assert frames["share_within_2_levels"] == 1.0
    assert files["share_within_2_levels"] > 0.99
    assert files["rate"]["runs"] > 0
