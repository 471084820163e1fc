# SPDX-License-Identifier: Apache-2.0
"""TensorRT's builder for real: TensorRT-RTX builds without a GPU where the compute capabilities are named."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline.builders.engines.gpu import Gpu
from sightline.builders.engines.gpu_query import find_gpus
from sightline.builders.engines.manifest import EngineTensor, ShapeRange
from sightline.builders.engines.tensorrt import (
    BuiltEngine,
    TensorRTOptions,
    options_from_card,
    tensorrt_engine,
)
from sightline.builders.engines.tensorrt_api import LogKeeper, load_api, make_logger
from sightline.builders.engines.tensorrt_cache import TimingCache, timing_cache
from sightline.builders.engines.tensorrt_progress import BuildTracker, make_monitor
from sightline.card import card_from_dict
from sightline.errors import BuildError, MissingDependencyError, ModelFileError
from sightline.model_repository import shipped_card, shipped_models
from tests.needs import needs

needs("tensorrt_rtx")

OPTIONS = TensorRTOptions(kind="rtx", batch=(1, 2, 4), capabilities=(86, 89))
no_gpu = pytest.mark.skipif(bool(find_gpus().gpus), reason="says what happens without a GPU")


def network(
    *nodes: onnx.NodeProto, dims: tuple[int | str, ...] = ("N", 3, 8, 8), constants: tuple[Any, ...] = ()
) -> bytes:
    """An ONNX from x to y."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    return bytes(helper.make_model(graph, opset_imports=sets, ir_version=9).SerializeToString())


def small() -> bytes:
    """A convolution with fixed weights."""
    weights = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    conv = helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1, 1, 1, 1])
    return network(conv, helper.make_node("Relu", ["a"], ["y"], name="relu"), constants=(("w", weights),))


def in_half(content: bytes) -> bytes:
    """The network with fp16 arithmetic and float32 ends."""
    from sightline.builders.precision.cast import cast_graph
    from sightline.builders.precision.graph import model_from_bytes

    return bytes(cast_graph(model_from_bytes(content), "fp16").model.SerializeToString())


def check_plan(engine: BuiltEngine) -> None:
    """What can be known of a plan without a GPU: its header tells its length and the version that built it.

    Deserializing needs a GPU: without one TensorRT-RTX asks for the driver first of all.
    """
    assert engine.plan[:4] == b"vtrt"
    assert struct.unpack_from("<Q", engine.plan, 16) == (len(engine.plan),)
    assert ".".join(map(str, engine.plan[24:28])) == engine.version


@pytest.fixture(scope="module")
def segment_onnx(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A YOLO11n segment network of Ultralytics with random weights, 64 pixels, open batch."""
    needs("ultralytics")
    folder = tmp_path_factory.mktemp("yolo")
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch

        from sightline.builders.sources.torch_ultralytics import import_ultralytics

        model = import_ultralytics().YOLO("yolo11n-seg.yaml").model.eval()
        for module in model.modules():
            if hasattr(module, "export"):
                module.export, module.format, module.dynamic = True, "onnx", True
        path = folder / "segment.onnx"
        torch.onnx.export(
            model,
            torch.zeros(1, 3, 64, 64),
            str(path),
            opset_version=17,
            input_names=["images"],
            output_names=["output0", "output1"],
            dynamic_axes={name: {0: "batch"} for name in ("images", "output0", "output1")},
            dynamo=False,
        )
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "fp16") for name in shipped_models()), ("sign_classify", "fp32")]
)
def test_every_shipped_model_builds(name: str, precision: str) -> None:
    content = (shipped_card(name).parent / "model.onnx").read_bytes()
    engine = tensorrt_engine(in_half(content) if precision == "fp16" else content, OPTIONS)
    check_plan(engine)
    model = onnx.load_from_string(content)
    (tensor,) = engine.inputs
    width, height = _card_size(name)
    assert tensor == EngineTensor(model.graph.input[0].name, "float32", (-1, 3, height, width))
    assert engine.shapes == {
        tensor.name: ShapeRange((1, 3, height, width), (2, 3, height, width), (4, 3, height, width))
    }
    assert [one.name for one in engine.outputs] == [one.name for one in model.graph.output]
    assert {one.data_type for one in engine.outputs} == {"float32"}
    assert engine.sm == (86, 89)
    assert len(engine.plan) > len(content) // 3
    assert engine.seconds > 0


def _card_size(name: str) -> tuple[int, int]:
    from sightline.card import load_card

    return load_card(shipped_card(name)).input.size


def test_a_yolo_segment_network_builds(segment_onnx: bytes) -> None:
    engine = tensorrt_engine(in_half(segment_onnx), OPTIONS)
    check_plan(engine)
    assert [one.dims for one in engine.inputs] == [(-1, 3, 64, 64)]
    assert [one.dims for one in engine.outputs] == [(-1, 116, 84), (-1, 32, 16, 16)]
    assert {one.data_type for one in engine.outputs} == {"float32"}


def quantized(number: int) -> bytes:
    """A convolution between Q/DQ nodes of this ONNX element type."""
    weights = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    scale = numpy_helper.from_array(np.float32(0.02), "s")
    zero = helper.make_tensor("z", number, [], b"\0", raw=True)
    nodes = []
    for name in ("x", "w"):
        nodes.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}q"], name=f"q{name}"))
        nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}q", "s", "z"], [f"{name}d"], name=f"d{name}")
        )
    nodes.append(helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv", pads=[1, 1, 1, 1]))
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w"), scale, zero],
    )
    sets = [helper.make_opsetid("", 19)]
    return bytes(helper.make_model(graph, opset_imports=sets, ir_version=9).SerializeToString())


def test_quantized_networks_build_where_the_hardware_has_the_numbers() -> None:
    check_plan(tensorrt_engine(quantized(TensorProto.INT8), OPTIONS))
    check_plan(tensorrt_engine(quantized(TensorProto.FLOAT8E4M3FN), replace(OPTIONS, capabilities=(89, 120))))
    with pytest.raises(BuildError, match=r"fp8 needs SM 89 or later"):
        tensorrt_engine(quantized(TensorProto.FLOAT8E4M3FN), OPTIONS)


# --- progress, Ctrl-C


def test_progress_rises_to_one() -> None:
    seen: list[tuple[float, str]] = []
    tensorrt_engine(small(), OPTIONS, progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1
    assert seen[-1] == (1.0, "done")
    assert len(seen) > 20
    assert all(text for _, text in seen)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_a_progress_callback_raises_ends_the_build(error: type[BaseException]) -> None:
    calls = 0

    def stop(fraction: float, text: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise error

    with pytest.raises(error):
        tensorrt_engine(small(), OPTIONS, progress=stop)
    assert calls == 10


def test_tracker_nests_phases_and_never_falls() -> None:
    seen: list[float] = []
    tracker = BuildTracker(lambda fraction, _: seen.append(round(fraction, 3)))
    tracker.begin("build", None, 2)
    tracker.begin("inner", "build", 2)
    assert tracker.step("inner")
    tracker.end("inner")
    tracker.step("build")
    tracker.begin("inner", "build", 4)
    tracker.begin("deep", "inner", 2)
    tracker.step("deep")
    tracker.end("deep")
    tracker.end("inner")
    tracker.begin("lost", "unknown", 3)
    tracker.step("lost")
    tracker.step("never begun")
    tracker.step("build")
    assert seen == sorted(seen)
    assert 0.25 in seen
    assert pytest.approx(seen[seen.index(0.5) + 3], abs=1e-3) == 0.5625
    assert seen[-1] == 1.0
    tracker.cancel()
    assert not tracker.step("build")


# --- errors


def test_an_unknown_operator_is_named() -> None:
    content = network(
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("MyThing", ["a"], ["y"], name="strange/node", domain="acme"),
    )
    with pytest.raises(BuildError) as caught:
        tensorrt_engine(content, OPTIONS)
    version = load_api("rtx").version
    assert str(caught.value).startswith(
        f"node 'strange/node' of type MyThing is not supported by TensorRT-RTX {version}: it is neither an ONNX operator"
    )


def test_an_unsupported_operator_is_named() -> None:
    content = network(helper.make_node("Unique", ["x"], ["y"], name="uniq"))
    with pytest.raises(BuildError, match=r"node 'uniq' of type Unique is not supported by TensorRT-RTX"):
        tensorrt_engine(content, OPTIONS)


def test_mixed_types_are_explained_without_noise_about_the_driver() -> None:
    content = network(
        helper.make_node("Add", ["x", "b"], ["y"], name="sum"), constants=(("b", np.ones(1, np.float16)),)
    )
    with pytest.raises(BuildError) as caught:
        tensorrt_engine(content, OPTIONS)
    text = str(caught.value)
    assert text.startswith("node 'sum' of type Add cannot be used by TensorRT-RTX")
    assert "same input types" in text
    assert "driver" not in text


@pytest.mark.parametrize("content", [b"", b"not onnx", small()[:300]])
def test_a_damaged_file_is_refused(content: bytes) -> None:
    with pytest.raises((ModelFileError, BuildError), match="TensorRT-RTX"):
        tensorrt_engine(content, OPTIONS)


def test_open_sides_need_a_size() -> None:
    conv = helper.make_node("Relu", ["x"], ["y"])
    content = network(conv, dims=("N", 3, "H", "W"))
    with pytest.raises(BuildError, match=r"input 'x' has shape \(-1, 3, -1, -1\): dimension 2 is open"):
        tensorrt_engine(content, OPTIONS)
    engine = tensorrt_engine(content, replace(OPTIONS, size=(32, 16)))
    assert engine.shapes["x"].maximum == (4, 3, 16, 32)


def test_a_fixed_batch_stays_as_it_is() -> None:
    content = network(helper.make_node("Relu", ["x"], ["y"]), dims=(1, 3, 8, 8))
    engine = tensorrt_engine(content, OPTIONS)
    assert engine.shapes["x"] == ShapeRange(*[(1, 3, 8, 8)] * 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capabilities": (87,)}, r"does not build for SM 87; it builds for SM 75, 80, 86"),
        ({"version_compatible": True}, "no version-compatible engines"),
        ({"hardware": "ampere_plus"}, "engine.hardware is ampere_plus"),
        ({"dla": 0, "batch": (1, 1, 1)}, "shows no DLA here"),
    ],
)
def test_what_the_runtime_has_not_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        tensorrt_engine(small(), replace(OPTIONS, **change))


@no_gpu
def test_without_a_gpu_the_capabilities_must_be_named() -> None:
    with pytest.raises(BuildError, match=r"no NVIDIA driver .*; name the compute capabilities"):
        tensorrt_engine(small(), replace(OPTIONS, capabilities=()))


@no_gpu
def test_a_gpu_is_asked_for_in_words() -> None:
    with pytest.raises(MissingDependencyError, match="no NVIDIA GPU can be used: no NVIDIA driver"):
        Gpu()


def test_options_are_checked() -> None:
    with pytest.raises(BuildError, match=r"batch is \[1, 8, 4\]"):
        TensorRTOptions(batch=(1, 8, 4))
    with pytest.raises(BuildError, match="a DLA runs fixed shapes"):
        TensorRTOptions(dla=0, batch=(1, 4, 8))


@pytest.mark.parametrize(
    ("batch", "wanted"),
    [
        ((1,), (1, 1, 1)),
        ((4,), (1, 4, 4)),
        ((1, 8), (1, 8, 8)),
        ((1, 8, 32), (1, 8, 32)),
        ((2, 4, 6, 9), (1, 6, 9)),
    ],
)
def test_options_come_from_the_card(batch: tuple[int, ...], wanted: tuple[int, int, int]) -> None:
    card = card_from_dict(
        {
            "name": "m",
            "source": "m.onnx",
            "input": {"size": [320, 192]},
            "engine": {"batch": batch, "precision": "int8", "hardware": "ampere_plus", "workspace_mib": 512},
        },
        Path(),
    )
    options = options_from_card(card)
    assert options == TensorRTOptions(
        "tensorrt", "int8", wanted, size=(320, 192), workspace_mib=512, hardware="ampere_plus"
    )


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_tensorrt_is_not_here_and_says_how_to_get_it() -> None:
    with pytest.raises(MissingDependencyError, match=r"TensorRT cannot be loaded .* it comes with JetPack"):
        load_api("tensorrt")


# --- what TensorRT-RTX ignores and TensorRT uses: the same API, asked of the real module


@pytest.fixture
def parts() -> Iterator[tuple[Any, Any, Any, Any]]:
    """API, builder, parsed network and an empty configuration."""
    api = load_api("rtx")
    logger = make_logger(api, LogKeeper())
    builder = api.module.Builder(logger)
    network_ = builder.create_network(1 << int(api.member("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")))
    parser = api.module.OnnxParser(network_, logger)
    assert parser.parse(small())
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(api.member("ComputeCapability", "SM86"), 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8))
    config.add_optimization_profile(profile)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # timing caches, in TensorRT-RTX only
        yield api, builder, network_, config


def test_the_timing_cache_is_kept_during_the_build_and_read_again(
    parts: tuple[Any, Any, Any, Any], tmp_path: Path
) -> None:
    """Written from the builder's own thread, between its steps."""
    api, builder, network_, config = parts
    cache = TimingCache(tmp_path / "new" / "a.timing", keep_seconds=0.0)
    attached = cache.attach(config)
    kept = 0

    def keep() -> None:
        nonlocal kept
        cache.keep(attached)
        kept += cache.path.exists()

    tracker = BuildTracker(on_step=keep)
    monitor = make_monitor(api, tracker)
    config.progress_monitor = monitor
    assert builder.build_serialized_network(network_, config) is not None
    assert tracker.failure is None
    assert kept > 10
    cache.save(attached)
    again = TimingCache(cache.path)
    assert again.attach(config) is not None
    assert [path.name for path in cache.path.parent.iterdir()] == ["a.timing"]


def test_a_damaged_timing_cache_is_begun_anew(parts: tuple[Any, Any, Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.timing"
    path.write_bytes(b"no timing cache at all")
    cache = TimingCache(path)
    attached = cache.attach(parts[3])
    assert attached is not None
    cache.save(attached)
    assert path.read_bytes() != b"no timing cache at all"


def test_a_timing_cache_is_for_one_version_and_one_gpu(tmp_path: Path) -> None:
    path = timing_cache(tmp_path, "10.16.0.72", 89, "NVIDIA GeForce RTX 4090 (24 GB)/x").path
    assert path == tmp_path / "tensorrt-10.16.0.72-sm89-nvidia-geforce-rtx-4090-24-gb-x.timing"


def test_portability_and_dla_are_set_by_name(parts: tuple[Any, Any, Any, Any]) -> None:
    from sightline.builders.engines import tensorrt

    api, _, _, config = parts
    options = TensorRTOptions(version_compatible=True, hardware="same_capability")
    tensorrt._set_portability(api, config, options)
    assert config.get_flag(api.module.BuilderFlag.VERSION_COMPATIBLE)
    tensorrt._set_dla(api, config, 1, weakly_typed=False)
    assert config.get_flag(api.module.BuilderFlag.GPU_FALLBACK)
    assert config.default_device_type == api.module.DeviceType.DLA
    with pytest.raises(BuildError, match=r"engine\.dla is not known to TensorRT-RTX .*BuilderFlag\.FP16"):
        tensorrt._set_dla(api, config, 1, weakly_typed=True)
