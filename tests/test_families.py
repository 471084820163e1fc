# SPDX-License-Identifier: Apache-2.0
"""Families of models from end to end: source framework → ONNX → engine → real tritonserver, proven equal, random weights.

tests/test_sources_*.py hold many more architectures against their framework; here one of each kind of head and
framework is built as a user builds it, and answers through the server as its source does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.builders import Choices, card_from_source, repository_from_card

SIDE = 128
# Scores of random weights nearly tie: rounding then chooses other boxes, or another class at a border.
FEW_AND_TIES = {"samples": 2, "map": 0.7, "mask_iou": 0.8, "miou": 0.8}
FIVE = {"num_classes": 5}
RCNN = {
    "num_classes": 4, "box_detections_per_img": 12, "rpn_post_nms_top_n_test": 30,
    "rpn_pre_nms_top_n_test": 100, "box_score_thresh": 0.0,
}  # fmt: skip
BEST = {"score": 0.0, "detections": 20}

Make = Callable[[Path], str]


def named(source: str) -> Make:
    return lambda _: source


def keras_mobilenet(folder: Path) -> str:
    """Saved by a process of its own, as TensorFlow and PyTorch in one do not get on."""
    path = folder / "mobilenet.keras"
    made = f"keras.applications.MobileNetV2(input_shape=({SIDE}, {SIDE}, 3), weights=None, classes=5, alpha=0.35)"
    code = f"import keras; keras.utils.set_random_seed(1); {made}.save({str(path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240, capture_output=True)
    return str(path)


def huggingface_rtdetr(folder: Path) -> str:
    import transformers

    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=[16, 24, 32], d_model=32, encoder_hidden_dim=32,
        decoder_in_channels=[32, 32, 32], num_queries=12, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=4, decoder_attention_heads=4, num_labels=5, hidden_expansion=0.5,
    )  # fmt: skip
    config.architectures = ["RTDetrForObjectDetection"]
    config.save_pretrained(folder)
    return f"huggingface:{folder}"


def huggingface_segformer(folder: Path) -> str:
    import transformers

    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        id2label={0: "road", 1: "car", 2: "sky"}, label2id={"road": 0, "car": 1, "sky": 2},
    )  # fmt: skip
    transformers.set_seed(3)
    transformers.SegformerForSemanticSegmentation(config).eval().save_pretrained(folder)
    return f"huggingface:{folder}"


def classes(count: int) -> list[str]:
    return [f"kind {index}" for index in range(count)]


FAMILIES: dict[str, tuple[Make, str, dict[str, Any]]] = {
    "resnet": (named("torchvision:resnet18"), "classify", {"source_args": FIVE, "labels": classes(5)}),
    "vit": (
        named("timm:vit_tiny_patch16_224"),
        "classify",
        {"source_args": FIVE, "labels": classes(5), "input": {"size": [224, 224], "resize": "stretch"}},
    ),
    "mobilenet of keras": (keras_mobilenet, "classify", {}),
    "yolov8": (named("ultralytics:yolov8n.yaml"), "detect", {"limits": {"score": 1e-6, "detections": 20}}),
    "yolo11-seg": (
        named("ultralytics:yolo11n-seg.yaml"),
        "segment",
        {"limits": {"score": 1e-6, "detections": 20}},
    ),
    "yolox": (
        named("python:tests.torch_factories:yolox"),
        "detect",
        {"head": "yolox", "source_args": {"classes": 3}, "limits": BEST},
    ),
    "retinanet": (
        named("torchvision:retinanet_resnet50_fpn"),
        "detect",
        {"source_args": FIVE, "limits": BEST},
    ),
    "rt-detr": (huggingface_rtdetr, "detect", {"limits": BEST}),
    "mask r-cnn": (
        named("torchvision:maskrcnn_resnet50_fpn"),
        "segment",
        {"source_args": RCNN, "limits": BEST, "labels": classes(3)},
    ),
    "segformer": (huggingface_segformer, "semantic", {}),
    "deeplab": (named("torchvision:deeplabv3_mobilenet_v3_large"), "semantic", {"source_args": FIVE}),
    "u-net": (named("python:tests.torch_factories:unet"), "semantic", {}),
    "siamese pair": (named("python:tests.torch_factories:siamese"), "embed", {"branch": "tower"}),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_through_the_server_like_its_source(tmp_path: Path, family: str) -> None:
    make, task, values = FAMILIES[family]
    folder = tmp_path / "source"
    folder.mkdir()
    given = {
        "name": "family", "task": task, "engine": {"precision": "fp32"}, "proof": FEW_AND_TIES,
        "input": {"size": [SIDE, SIDE], "resize": "stretch"}, **values,
    }  # fmt: skip
    card = card_from_source(make(folder), given)
    report = repository_from_card(card, tmp_path / "repository", Choices(prove=True))
    assert report.public, report.proof
    assert report.largest_difference < 5e-3
