# SPDX-License-Identifier: Apache-2.0
"""Models of the native backend beside those that the builder writes: other heads, loose shapes, few workers, fused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

NAME = "street_detect"
STAGES = f"{NAME}_v1"  # of the first build
LIMITS = {"score": 0.25, "iou": 0.5, "detections": 20}
POSTPROCESS = {"stage": "postprocess", "head": "yolov8", "outputs": 1, **LIMITS}
KEYPOINTS = {**POSTPROCESS, "classes": 2, "extra": "keypoints", "extra_values": 6}
ANGLES = {**POSTPROCESS, "head": "end_to_end", "classes": 3, "extra": "angle", "extra_values": 1}
DETR = {**POSTPROCESS, "head": "detr", "outputs": 2, "classes": 4, "size": [64, 32], "activation": "sigmoid"}
MASKS = {
    **POSTPROCESS,
    "task": "segment",
    "outputs": 2,
    "extra": "masks",
    "extra_values": 8,
    "size": [64, 64],
}
CLASSIFY = {"stage": "postprocess", "task": "classify", "outputs": 1, "activation": "softmax", "top": 3}
SEMANTIC = {"stage": "postprocess", "task": "semantic", "outputs": 1, "classes": 4, "size": [64, 64]}
EMBED = {"stage": "postprocess", "task": "embed", "outputs": 1}

_ANSWERS = {
    "COUNT": ("INT32", [1]),
    "BOXES": ("FP32", [-1, 4]),
    "SCORES": ("FP32", [-1]),
    "CLASSES": ("INT32", [-1]),
}
_GEOMETRY = {"GEOMETRY": ("FP32", [-1])}
_RAW = {"RAW": ("FP32", [-1, -1])}
_MAP = ("FP32", [-1, -1, -1])
_CLASSES = {"SCORES": ("FP32", [-1]), "CLASSES": ("INT32", [-1])}
Tensors = dict[str, tuple[str, list[int]]]


def read_config(folder: Path) -> pb.ModelConfig:
    config = pb.ModelConfig()
    text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), config)
    return config


def write_config(folder: Path, config: pb.ModelConfig) -> None:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")


def parameters_of(config: pb.ModelConfig) -> dict[str, Any]:
    return dict(json.loads(config.parameters["sightline"].string_value))


def stage_config(
    name: str, parameters: dict[str, Any], inputs: Tensors, outputs: Tensors, *, instances: int = 2
) -> pb.ModelConfig:
    """One model of the native backend; dims are without the batch."""
    config = pb.ModelConfig(name=name, backend="sightline", max_batch_size=8)
    for tensors, fields in ((inputs, config.input), (outputs, config.output)):
        for tensor, (data_type, dims) in tensors.items():
            fields.add(name=tensor, data_type=pb.DataType.Value(f"TYPE_{data_type}"), dims=dims)
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=instances)
    config.parameters["sightline"].string_value = json.dumps(parameters)
    return config


def add_models(repository: Path) -> Path:
    """Add our models to a built repository; returns it."""
    letterbox = parameters_of(read_config(repository / f"{STAGES}_letterbox"))
    picture: Tensors = {"FRAME": ("UINT8", [-1]), "FRAME_INFO": ("INT32", [-1])}
    tensor: Tensors = {"TENSOR": ("FP32", [-1, -1, -1])}
    made: Tensors = {**tensor, "GEOMETRY": ("FP32", [7]), "ERROR": ("STRING", [1])}
    configs = [
        stage_config("loose_letterbox", letterbox, picture, made),
        stage_config("loose_postprocess", POSTPROCESS, _RAW | _GEOMETRY, _ANSWERS),
        stage_config("few_workers", {**POSTPROCESS, "workers": 1}, _RAW | _GEOMETRY, _ANSWERS, instances=4),
        stage_config("angles", ANGLES, _RAW | _GEOMETRY, {**_ANSWERS, "ANGLES": ("FP32", [-1])}),
        stage_config(
            "keypoints", KEYPOINTS, _RAW | _GEOMETRY, {**_ANSWERS, "KEYPOINTS": ("FP32", [-1, -1, 3])}
        ),
        stage_config("detr", DETR, {**_RAW, "RAW_1": ("FP32", [-1, -1])} | _GEOMETRY, _ANSWERS),
        stage_config(
            "masks", MASKS, {**_RAW, "RAW_1": _MAP} | _GEOMETRY, {**_ANSWERS, "MASKS": ("STRING", [-1])}
        ),
        stage_config("classify", CLASSIFY, {"RAW": ("FP32", [-1])} | _GEOMETRY, _CLASSES),
        stage_config("semantic", SEMANTIC, {"RAW": _MAP} | _GEOMETRY, {"CLASS_MAP": ("UINT8", [-1, -1])}),
        stage_config("embed", EMBED, {"RAW": ("FP32", [-1])} | _GEOMETRY, {"EMBEDDING": ("FP32", [-1])}),
        stage_config("identity", {"stage": "identity"}, tensor, tensor),
    ]
    for config in configs:
        write_config(repository / config.name, config)
    _add_networks(repository, letterbox)
    return repository


def _add_networks(repository: Path, letterbox: dict[str, Any]) -> None:
    """The network shared by two workers, and the whole ensemble in one stage."""
    network = read_config(repository / f"{STAGES}_network")
    head = parameters_of(read_config(repository / f"{STAGES}_postprocess"))
    frames = read_config(repository / f"{NAME}_frames")
    shared = pb.ModelConfig()
    shared.CopyFrom(network)
    shared.name = "shared_network"
    shared.ClearField("model_warmup")
    shared.parameters["sightline"].string_value = json.dumps(
        {**parameters_of(network), "workers": 2, "streams": 2}
    )
    fused = pb.ModelConfig()
    fused.CopyFrom(shared)
    fused.name = "fused"
    del fused.input[:], fused.output[:]
    fused.input.extend(frames.input)
    fused.output.extend(frames.output)
    fused.parameters["sightline"].string_value = json.dumps(
        {**letterbox, **head, "stage": "fused", "workers": 2}
    )
    for config in (shared, fused):
        write_config(repository / config.name, config)
        for path in (repository / f"{STAGES}_network" / "1").glob("model.*"):
            shutil.copy(path, repository / config.name / "1" / path.name)
