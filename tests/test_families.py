# SPDX-License-Identifier: Apache-2.0
"""Families of models from end to end: source framework → ONNX → engine → real tritonserver, proven equal, random weights.

tests/test_sources_*.py hold the other architectures against their framework; here one of each kind of head and
framework is built as a user builds it, and answers through the server as its source does. Keras, whose TensorFlow needs
a process of its own, is in tests/test_sources_keras.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.builders import Choices, card_from_source, repository_from_card
from tests.proof_page import check_proof

pytestmark = pytest.mark.no_cover  # torch.export is Python: traced, it takes twice as long
SIDE = 64
# Scores of random weights nearly tie: rounding then chooses other boxes, or another class at a border.
FEW_AND_TIES = {"samples": 2, "map": 0.7, "mask_iou": 0.8, "miou": 0.8}
FIVE = {"num_classes": 5}
RCNN = {
    "num_classes": 4, "box_detections_per_img": 12, "rpn_post_nms_top_n_test": 30,
    "rpn_pre_nms_top_n_test": 100, "box_score_thresh": 0.0,
}  # fmt: skip
MEASURES = {
    "classify": "top1_agreement", "detect": "map", "segment": "mask_iou", "semantic": "miou", "embed": "cosine",
}  # fmt: skip
WEIGHTS = "weights.safetensors"
BEST = {"score": 0.0, "detections": 20}

Make = Callable[[Path], str]


def named(source: str) -> Make:
    return lambda _: source


def mask_rcnn(folder: Path) -> str:
    """torchvision's with random weights, whose boxes stay near their anchors: others of random weights have hardly an area."""
    import torch
    from safetensors.torch import save_file
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    torch.manual_seed(0)
    network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **RCNN)
    weights = network.state_dict()
    weights["roi_heads.box_predictor.bbox_pred.weight"] *= 0.05
    weights["rpn.head.bbox_pred.weight"] *= 0.05
    save_file(weights, folder / WEIGHTS)
    return "torchvision:maskrcnn_resnet50_fpn"


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


# The blocks of YOLO11-seg, once each.
TINY_YOLO11 = """
nc: 80
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, C3k2, [16, False, 0.25]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, C3k2, [32, True]]
  - [-1, 1, SPPF, [128, 5]]
  - [-1, 1, C2PSA, [128]]
head:
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 3], 1, Concat, [1]]
  - [-1, 1, C3k2, [16, False]]
  - [[10, 7], 1, Segment, [nc, 32, 16]]
"""


def ultralytics_yolo11(folder: Path) -> str:
    (folder / "tiny-seg.yaml").write_text(TINY_YOLO11)
    return f"ultralytics:{folder / 'tiny-seg.yaml'}"


def classes(count: int) -> list[str]:
    return [f"kind {index}" for index in range(count)]


FAMILIES: dict[str, tuple[Make, str, dict[str, Any]]] = {
    "resnet": (named("torchvision:resnet18"), "classify", {"source_args": FIVE, "labels": classes(5)}),
    "yolov8": (named("ultralytics:yolov8n.yaml"), "detect", {"limits": {"score": 1e-6, "detections": 20}}),
    "yolo11-seg": (
        ultralytics_yolo11,
        "segment",
        {
            "limits": {"score": 1e-6, "detections": 20},
            "input": {"size": [128, 128], "resize": "letterbox"},  # in 64x64 too many boxes tie
        },
    ),
    "yolox": (
        named("python:tests.torch_factories:yolox"),
        "detect",
        {"head": "yolox", "source_args": {"classes": 3}, "limits": BEST},
    ),
    "rt-detr": (
        huggingface_rtdetr,
        "detect",
        {"limits": BEST, "input": {"size": [128, 128], "resize": "stretch"}},  # in 64x64 too many queries tie
    ),
    "mask r-cnn": (
        mask_rcnn,
        "segment",
        {"source_args": RCNN, "limits": BEST, "labels": classes(3)},
    ),
    "segformer": (huggingface_segformer, "semantic", {}),
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
    source = make(folder)
    if (folder / WEIGHTS).exists():
        given["weights"] = str(folder / WEIGHTS)
    card = card_from_source(source, given)
    report = repository_from_card(card, tmp_path / "repository", Choices(prove=True))
    assert report.public, report.proof
    assert report.largest_difference < 5e-3
    check_proof(tmp_path / "repository" / "family_v1_network" / "proof", MEASURES[task])
