# SPDX-License-Identifier: Apache-2.0
"""Precision in the ONNX: casts and Q/DQ nodes give valid networks that answer like fp32, and build for a GPU."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sightline.builders.precision import cast_variants, onnx_in_precision, quantized_variants
from sightline.builders.precision.cast import cast_graph
from sightline.builders.precision.graph import (
    field_error,
    model_bytes,
    model_from_bytes,
    named_nodes,
    with_opset,
)
from sightline.builders.precision.quantize import quantized_for_cpu
from sightline.builders.precision.running import onnx_runner
from sightline.builders.precision.stored import half_weights
from sightline.builders.precision.variants import Precision, Variants
from sightline.errors import BuildError, CardError
from tests.precision_networks import ATTENTION, WILD, pictures, small_network

NETWORK = small_network()
CALIBRATION = pictures(12)
HELD_OUT = pictures(6, seed=1)
LARGEST_ERROR = {"fp16": 0.003, "bf16": 0.02, "int8": 0.12, "fp8": 0.12}


def answers(content: bytes, tensors: NDArray[np.float32] = HELD_OUT) -> NDArray[np.float32]:
    run = onnx_runner(content, exact=True)
    return np.concatenate([run(tensor[None])[0] for tensor in tensors])


def error_of(content: bytes, original: bytes = NETWORK) -> float:
    return field_error([answers(content)], [answers(original)])


@pytest.fixture(scope="module")
def int8() -> Variants:
    return quantized_variants(NETWORK, "int8", CALIBRATION)


def types_of(content: bytes) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(content)).graph
    return {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}


def test_fp32_is_the_network_as_it_came() -> None:
    assert onnx_in_precision(NETWORK, "fp32").content == NETWORK


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "fp8"])
def test_input_and_outputs_stay_float32_with_an_open_batch(precision: Precision) -> None:
    made = onnx_in_precision(NETWORK, precision, tensors=CALIBRATION, allowed_drop=1.0, seconds=0)
    model = onnx.load_from_string(made.content)
    onnx.checker.check_model(model, full_check=True)
    (source,), (raw,) = model.graph.input, model.graph.output
    assert (source.name, raw.name) == ("TENSOR", "RAW")
    assert source.type.tensor_type.elem_type == raw.type.tensor_type.elem_type == TensorProto.FLOAT
    assert source.type.tensor_type.shape.dim[0].dim_param
    assert made.report is not None
    assert made.report.error < LARGEST_ERROR[precision]


def test_fp16_answers_in_onnx_runtime_as_the_emulation_says() -> None:
    made = onnx_in_precision(NETWORK, "fp16").content
    emulated = cast_variants(NETWORK, "fp16").model(emulated=True).SerializeToString()
    assert 0 < error_of(made) < LARGEST_ERROR["fp16"]
    assert error_of(made) == pytest.approx(error_of(emulated), rel=1.0)
    assert error_of(cast_variants(NETWORK, "bf16").model(emulated=True).SerializeToString()) > 3 * error_of(
        made
    )


def test_layers_are_fp16_and_boxes_are_computed_in_fp32() -> None:
    made = onnx_in_precision(NETWORK, "fp16").content
    types = types_of(made)
    nodes = {node.name: node for node in onnx.load_from_string(made).graph.node}
    for layer in ("stem", "second", "answers", ATTENTION):
        assert types[nodes[layer].output[0]] == TensorProto.FLOAT16, layer
    for tail in ("centres", "sized", "scores", "split"):
        assert types[nodes[tail].output[0]] == TensorProto.FLOAT, tail
    centres = answers(made)[:, :2]
    assert np.abs(centres - answers(NETWORK)[:, :2]).max() < 0.02


def test_sensitive_operators_and_weights_beyond_the_range_stay_in_fp32() -> None:
    types = types_of(onnx_in_precision(NETWORK, "fp16").content)
    assert types["stem_norm_out"] == TensorProto.FLOAT
    wild = onnx_in_precision(small_network(wild=1e6), "fp16").content
    assert types_of(wild)["wild_scaling_out"] == TensorProto.FLOAT
    assert np.isfinite(answers(wild)).all()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("keep", ["second", "Conv"])
def test_kept_nodes_and_operators_stay_in_fp32(precision: Precision, keep: str) -> None:
    made = onnx_in_precision(NETWORK, precision, keep_precise=[keep]).content
    nodes = {node.name: node for node in onnx.load_from_string(made).graph.node}
    types = types_of(made)
    assert types[nodes["second"].output[0]] == TensorProto.FLOAT
    assert (types[nodes["inner"].output[0]] == TensorProto.FLOAT) == (keep == "Conv")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_name_that_is_not_in_the_network_is_an_error_of_the_card(precision: Precision) -> None:
    with pytest.raises(
        CardError, match=r"engine\.keep_precise names 'Convv'.*Conv.*its layers are stem, second"
    ):
        onnx_in_precision(NETWORK, precision, tensors=CALIBRATION, keep_precise=["Convv"])


def test_branches_keep_their_precision_and_read_what_they_need() -> None:
    """An If inside the graph is left alone; values that its branches capture are cast back for it."""
    content = _with_branch()
    made = onnx_in_precision(content, "fp16").content
    tensors = HELD_OUT[:, :, :8, :8]
    np.testing.assert_allclose(answers(made, tensors), answers(content, tensors), atol=2e-2)


def _with_branch() -> bytes:
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in (("first", (4, 3, 1, 1)), ("last", (4, 4, 1, 1)))
    ]
    yes = numpy_helper.from_array(np.array(True), "yes")
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["middle"], [f"{name}_made"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_made", TensorProto.FLOAT, None)],
        )
        for name, operator in (("then", "Relu"), ("else", "Neg"))
    }
    nodes = [
        helper.make_node("Conv", ["TENSOR", "first"], ["middle"]),
        helper.make_node("If", ["yes"], ["chosen"], **branches),
        helper.make_node("Conv", ["chosen", "last"], ["RAW"]),
    ]
    dims = [1, 3, 8, 8], [1, 4, 8, 8]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("TENSOR", "RAW"), dims, strict=True)
    ]
    graph = helper.make_graph(nodes, "branch", infos[:1], infos[1:], [*weights, yes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_q_dq_nodes_are_symmetric_by_channel_and_only_before_layers(int8: Variants) -> None:
    graph = int8.model().graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = [node for node in graph.node if any(_dequantized(makers, name) for name in node.input)]
    assert {node.op_type for node in readers} == {"Conv", "MatMul"}
    assert set(int8.layers) == {node.name for node in readers}
    assert ATTENTION not in int8.layers
    for node in readers:
        activation, constant = makers[node.input[0]], makers[node.input[1]]
        assert weights[activation.input[1]].ndim == 0
        assert weights[activation.input[2]] == 0
        assert weights[constant.input[0]].dtype == np.int8
        assert weights[constant.input[1]].size > 1
        assert len(node.input) < 3 or node.input[2] not in makers, "biases are not quantized"


def _dequantized(makers: dict[str, onnx.NodeProto], name: str) -> bool:
    return name in makers and makers[name].op_type == "DequantizeLinear"


def test_layers_taken_out_of_int8_are_as_they_were(int8: Variants) -> None:
    everything = error_of(int8.model().SerializeToString())
    some = error_of(int8.model(int8.layers[:4]).SerializeToString())
    none = int8.model(int8.layers)
    assert 0 < some < everything < LARGEST_ERROR["int8"]
    assert error_of(none.SerializeToString()) < 1e-5
    assert not any("QuantizeLinear" in node.op_type for node in none.graph.node)


def test_what_is_not_int8_is_fp16_and_runs(int8: Variants) -> None:
    variants = Variants("int8", "fp16", int8.layers, int8.plain, (), int8.quantized)
    content = model_bytes(variants.model())
    scales = {
        t.data_type
        for t in onnx.load_from_string(content).graph.initializer
        if t.name.endswith("_scale__fp16")
    }
    assert scales == {TensorProto.FLOAT16}
    emulated = variants.model(emulated=True).SerializeToString()
    assert error_of(content) < LARGEST_ERROR["int8"]
    assert error_of(content) == pytest.approx(error_of(emulated), rel=0.5)


def test_fp8_numbers_are_e4m3_with_scales_of_their_own(int8: Variants) -> None:
    model = quantized_variants(NETWORK, "fp8", CALIBRATION).model()
    kinds = {t.data_type for t in model.graph.initializer}
    assert TensorProto.FLOAT8E4M3FN in kinds
    assert TensorProto.INT8 not in kinds
    assert 0 < error_of(model_bytes(model)) < LARGEST_ERROR["fp8"]


@pytest.mark.parametrize("count", [0, 7])
def test_int8_without_enough_pictures_says_what_to_set(count: int) -> None:
    with pytest.raises(
        BuildError, match=rf"at least 8 calibration pictures; there are {count}.*calibration\.images"
    ):
        onnx_in_precision(NETWORK, "int8", tensors=CALIBRATION[:count])


def test_a_network_without_layers_cannot_be_quantized() -> None:
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 32, 64]) for n in ("TENSOR", "RAW")]
    graph = helper.make_graph([helper.make_node("Relu", ["TENSOR"], ["RAW"])], "none", infos[:1], infos[1:])
    content = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    with pytest.raises(BuildError, match=r"no layer that int8 can hold.*fp16"):
        onnx_in_precision(content, "int8", tensors=CALIBRATION)
    assert error_of(onnx_in_precision(content, "fp16").content, content) < 1e-3


def test_int8_for_this_cpu_quantizes_outputs_too_but_no_boxes() -> None:
    model = quantized_for_cpu(NETWORK, CALIBRATION)
    nodes = {node.name: node for node in model.graph.node}
    quantized = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantized) > len(quantized_variants(NETWORK, "int8", CALIBRATION).layers)
    makers = {name: node for node in model.graph.node for name in node.output}
    assert not any(_dequantized(makers, name) for tail in ("centres", "sized") for name in nodes[tail].input)
    assert error_of(model.SerializeToString()) < LARGEST_ERROR["int8"]


def test_unnamed_and_repeated_nodes_get_names_that_can_be_kept() -> None:
    nameless = small_network(names=False)
    model = onnx.load_from_string(named_nodes(nameless))
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    layers = quantized_variants(nameless, "int8", CALIBRATION, keep_precise=["Conv_second_out"]).layers
    assert "Conv_inner_out" in layers
    assert "Conv_second_out" not in layers


def test_stored_fp16_weights_are_half_the_size_and_run_in_fp32() -> None:
    content = small_network(wild=1e6)
    stored = half_weights(content)
    kinds = {t.name: t.data_type for t in onnx.load_from_string(stored).graph.initializer}
    assert kinds["second_weights__stored"] == TensorProto.FLOAT16
    assert kinds["wild_weights"] == TensorProto.FLOAT, "a twelfth of them is too small for fp16"
    assert 0 < error_of(stored, content) < 0.01
    assert len(stored) < 0.85 * len(content)


def test_an_opset_that_cannot_be_converted_is_told() -> None:
    model = model_from_bytes(NETWORK)
    model.opset_import[0].version = 3
    with pytest.raises(BuildError, match=r"opset 3 .*Export it again"):
        with_opset(model, 22)


def test_a_new_opset_keeps_the_answers() -> None:
    model = with_opset(model_from_bytes(small_network(opset=13)), 22)
    assert model.opset_import[0].version == 22
    for opset in (17, 18, 20):
        content = small_network(opset=opset)
        assert error_of(model_bytes(cast_graph(model_from_bytes(content), "fp16").model), content) < 0.003


def test_fields_of_an_output_count_each_with_its_own_spread() -> None:
    random = np.random.default_rng(0)
    wanted = np.stack([random.normal(0, 100, 500), random.normal(0, 0.1, 500)])[None]
    off = wanted + np.array([0, 0.1]).reshape(1, 2, 1)
    assert field_error([off], [wanted]) == pytest.approx(0.5, rel=0.1)
    assert field_error([off.transpose(0, 2, 1)], [wanted.transpose(0, 2, 1)]) == pytest.approx(0.5, rel=0.1)
    assert field_error([wanted], [wanted]) == 0
    assert field_error([np.full_like(wanted, np.nan)], [wanted]) == float("inf")
    assert field_error([np.zeros((1, 0, 4))], [np.zeros((1, 0, 4))]) == 0
    assert field_error([np.zeros((1, 3, 4))], [np.zeros((1, 2, 4))]) == float("inf")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "fp8"])
def test_tensorrt_rtx_builds_the_network(precision: Precision) -> None:
    """Strongly typed, without a GPU; an engine in lower precision is another engine."""
    trt = pytest.importorskip("tensorrt_rtx")
    content = onnx_in_precision(
        small_network(wild=2.0), precision, tensors=CALIBRATION, allowed_drop=1.0, seconds=0
    ).content
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(content), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("TENSOR", (1, 3, 32, 64), (2, 3, 32, 64), (4, 3, 32, 64))
    config.add_optimization_profile(profile)
    assert network.get_input(0).dtype == network.get_output(0).dtype == trt.float32
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    assert plan.nbytes > 1000


def test_kept_layers_have_the_names_of_the_source() -> None:
    made = onnx_in_precision(small_network(wild=300.0), "int8", tensors=CALIBRATION, allowed_drop=0.1)
    assert made.kept == (WILD,)
