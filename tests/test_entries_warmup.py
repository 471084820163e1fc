# SPDX-License-Identifier: Apache-2.0
"""Warm-up data of the stages, and how many instances the network gets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.engines.gpu_query import GpuInfo
from sightline.builders.entries import warmup
from sightline.builders.entries.context import EntryContext, Target
from sightline.builders.entries.entry import public_configs, stage_configs
from sightline.builders.entries.instances import cpu_instances, gpu_instances
from sightline.builders.entries.warmup import TENSORS, picture, warmup_files
from sightline.builders.heads import HeadPlan
from sightline.builders.stages.images import decode_image
from sightline.builders.stages.jpeg import plain_jpeg
from sightline.card import ModelCard, card_from_dict
from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.preprocess_ext import letterbox
from tests.cases import about

SIZES = {pb.TYPE_UINT8: 1, pb.TYPE_INT32: 4, pb.TYPE_FP32: 4}


def card(**values: Any) -> ModelCard:
    fields = {"name": "toy", "source": "m.onnx", "input": {"size": (64, 32), "std": 255.0}, **values}
    return card_from_dict(fields, Path())


def context(made: ModelCard, target: Target = "local") -> EntryContext:
    plan = HeadPlan("yolov8", (0,), ("a", "b"), {"task": "detect", "head": "yolov8"}, "")
    engine = "openvino" if target == "local" else "tensorrt"
    return EntryContext(made, plan, ((6, 32),), "1", 2, target=target, engine=engine)


WARMED = {
    "local": {"decode", "letterbox", "network"},
    "jetson": {"decode", "letterbox", "network"},
    "server": {"check", "decode", "letterbox", "frame_errors", "network"},
}


@pytest.mark.parametrize("target", WARMED)
def test_every_stage_that_sees_a_picture_warms_up_and_no_ensemble(target: Target) -> None:
    entry = context(card(), target)
    stages = {config.name.removeprefix("toy_v1_"): config for config in stage_configs(entry).values()}
    assert {name for name, config in stages.items() if config.model_warmup} == WARMED[target]
    assert not any(config.model_warmup for config in public_configs(entry).values())
    for name in WARMED[target]:
        for sample in stages[name].model_warmup:
            assert set(sample.inputs) == {tensor.name for tensor in stages[name].input}


@pytest.mark.parametrize("target", WARMED)
def test_files_are_as_long_as_triton_reads_and_small(target: Target) -> None:
    entry = context(card(), target)
    for config in stage_configs(entry).values():
        files = warmup_files(config, entry.card)
        for sample in config.model_warmup:
            for tensor in sample.inputs.values():
                expected = SIZES[tensor.data_type] * int(np.prod(tensor.dims))
                assert len(files[tensor.input_data_file]) == expected
        assert sum(len(content) for name, content in files.items() if name != "tensor.fp32") < 40_000


def test_an_engine_is_warmed_with_one_picture_and_a_full_batch() -> None:
    def batches(**values: Any) -> list[int]:
        entry = context(card(**values), "server")
        config = stage_configs(entry)["toy_v1_network"]
        return [sample.batch_size for sample in config.model_warmup]

    assert batches(engine={"batch": [1, 8, 32]}) == [1, 32]
    assert batches(engine={"batch": [1]}) == [1]
    large = batches(engine={"batch": [1, 256]}, input={"size": (1280, 1280)})
    assert large == [1, warmup.MOST_BYTES // (12 * 1280 * 1280)]
    assert large[1] < 256


def test_all_files_show_the_same_picture() -> None:
    """JPEG, I420 and the network's tensor, each decoded by what the stages use."""
    made = card()
    jpeg = TENSORS["IMAGE"].content(made)
    decoded = decode_image(np.frombuffer(jpeg, np.uint8))
    assert (decoded.width, decoded.height) == (warmup.WIDTH, warmup.HEIGHT)
    opened = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.float32)
    assert np.abs(opened - picture()).mean() < 6
    assert plain_jpeg(jpeg, 1) is not None, "ordinary enough for every decoder"
    info = np.frombuffer(TENSORS["FRAME_INFO"].content(made), "<i4")
    raw = np.frombuffer(TENSORS["FRAME"].content(made), np.uint8)
    frame = Frame(raw, int(info[0]), int(info[1]), PixelFormat(info[2]), ColourSpace(info[3]))
    out = np.empty((3, 32, 64), np.float32)
    fit = letterbox(frame, out, mean=made.input.mean, std=made.input.std)
    tensor = np.frombuffer(TENSORS["TENSOR"].content(made), "<f4").reshape(3, 32, 64)
    assert np.abs(out - tensor).mean() < 0.02
    assert tensor.std() > 0.1
    geometry = np.frombuffer(TENSORS["GEOMETRY"].content(made), "<f4")
    np.testing.assert_array_equal(geometry, fit.as_array())
    assert geometry[0] == 1


def gpu(gib: float, name: str = "Big GPU", *, integrated: bool = False) -> GpuInfo:
    return GpuInfo(0, name, 86, int(gib * (1 << 30)), "12.6", integrated)


RAW = ((84, 8400),)


_INSTANCES = [
    ({"instances": 5}, (gpu(1),), 10, 5, "the card's"),
    ({}, (), 10, 1, "not known here"),
    ({}, (gpu(64, "Orin", integrated=True),), 10, 1, "shares its memory"),
    ({}, (gpu(24),), 10, 2, "fit twice"),
    ({}, (gpu(8),), 10, 1, "holds no more"),
    ({"workspace_mib": 256}, (gpu(8),), 10, 2, "fit twice"),
    ({"workspace_mib": 256, "batch": [1, 64]}, (gpu(8),), 10, 1, "of Big GPU holds no more"),
    ({}, (gpu(24), gpu(4, "Small GPU")), 10, 1, "of Small GPU holds no more"),
    ({}, (gpu(24),), 9000, 1, "8.79 GiB of weights"),
    ({}, (gpu(0.5),), 10, 1, "holds no more"),
]


def test_instances_on_a_gpu() -> None:
    for values, gpus, network_mib, count, why in _INSTANCES:
        with about(values, gpus, network_mib, count, why):
            made = card(engine=values, input={"size": (640, 640)})
            choice = gpu_instances(made, RAW, network_mib << 20, gpus)
            assert choice.count == count
            assert why in choice.why


def test_instances_on_a_cpu() -> None:
    assert cpu_instances(card(), 4).count == 5
    assert "4 cores" in cpu_instances(card(), 4).why
    assert cpu_instances(card(engine={"instances": 3}), 4).count == 3
    assert cpu_instances(card(), 2).count == context(card()).network_instances
