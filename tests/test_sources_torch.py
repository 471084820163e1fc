# SPDX-License-Identifier: Apache-2.0
"""Every family of PyTorch networks, from its source to ONNX to OpenVINO, against PyTorch itself (random weights)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.builders.sources import ExportedModel, export_source, source_defaults
from sightline.card import ModelCard, card_from_dict
from sightline.preprocess_ext.geometry import Geometry
from sightline.preprocess_ext.heads import Head, decode_head

for _package in ("torch", "torchvision", "timm", "transformers", "ultralytics", "onnxscript", "openvino"):
    pytest.importorskip(_package)

CLASSES = 4
SIDE = 64
NORMAL = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
SMALL = {"size": [SIDE, SIDE], **NORMAL}
Checks = Callable[[ExportedModel, list[NDArray[Any]]], None]


def make_card(source: str, task: str = "classify", **values: Any) -> ModelCard:
    values.setdefault("input", SMALL)
    return card_from_dict({"name": "model", "task": task, "source": source, **values}, Path.cwd())


def run_openvino(exported: ExportedModel, images: NDArray[np.float32]) -> list[NDArray[Any]]:
    """The outputs of the ONNX file on the CPU, in its own order; they must be named RAW, RAW_1, …"""
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(exported.content),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1},
    )
    names = [port.get_any_name() for port in compiled.outputs]
    assert names == [f"RAW_{number}" if number else "RAW" for number in range(len(names))]
    assert compiled.inputs[0].get_any_name() == "TENSOR"
    answer = compiled({"TENSOR": images})
    return [np.array(answer[port]) for port in compiled.outputs]


def noise(card: ModelCard, count: int) -> NDArray[np.float32]:
    width, height = card.input.size
    levels = np.random.default_rng(7).uniform(0, 255, (count, 3, height, width))
    mean, std = (np.asarray(values).reshape(1, 3, 1, 1) for values in (card.input.mean, card.input.std))
    return ((levels - mean) / std).astype(np.float32)


def check_parity(
    card: ModelCard, count: int = 3, rows: bool = False, share: float = 0.98
) -> tuple[ExportedModel, list[NDArray[Any]]]:
    """Export, and compare OpenVINO with PyTorch on a batch that the exporter did not see."""
    exported = export_source(card)
    images = noise(card, count)
    assert exported.reference is not None
    wanted = exported.reference(images)
    found = run_openvino(exported, images)
    assert len(found) == len(wanted)
    for have, want in zip(found, wanted, strict=True):
        assert have.shape == want.shape
        assert have.dtype == np.float32
        spread = float(want.max() - want.min())
        assert spread > 0, "an output is the same everywhere: nothing is compared"
        errors = np.abs(have - want) / spread
        assert (np.quantile(errors, share) if rows else errors.max()) < 1e-3
    assert "RANDOM WEIGHTS" in exported.origin or "its own weights" in exported.origin
    assert len(exported.sha256) == 64
    return exported, wanted


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "inception_v3"])
def test_torchvision_classifiers(name: str) -> None:
    side = 96 if name == "inception_v3" else SIDE
    card = make_card(f"torchvision:{name}", input={**SMALL, "size": [side, side]})
    exported, (logits,) = check_parity(card)
    assert logits.shape == (3, 1000)
    assert exported.defaults["head"] == {"kind": "scores", "activation": "softmax"}
    assert len(set(exported.defaults["labels"])) == 1000
    assert exported.defaults["input"]["resize"] == "crop"
    assert np.abs(logits[0] - logits[1]).max() > 1e-3  # the weights are sane: pictures make a difference


def test_vision_transformer() -> None:
    card = make_card(
        "timm:vit_tiny_patch16_224", source_args={"img_size": SIDE, "depth": 2, "num_classes": CLASSES}
    )
    exported, (logits,) = check_parity(card)
    assert logits.shape == (3, CLASSES)
    assert exported.defaults["task"] == "classify"
    assert "labels" not in exported.defaults


def test_timm_embedder() -> None:
    card = make_card("timm:test_resnet", "embed", source_args={"num_classes": 0})
    exported, (vectors,) = check_parity(card)
    assert vectors.ndim == 2
    assert exported.defaults["head"] == {"kind": "embedding"}


@pytest.mark.parametrize("name", ["yolov5nu", "yolov8n", "yolo11n"])
def test_ultralytics_detectors(name: str) -> None:
    card = make_card(
        f"ultralytics:{name}.yaml", "detect", input={"size": [SIDE, 96]}, source_args={"nc": CLASSES}
    )
    exported, (raw,) = check_parity(card)
    assert raw.shape == (3, 4 + CLASSES, 8 * 12 + 4 * 6 + 2 * 3)
    assert exported.defaults["head"] == {"kind": "yolov8"}
    assert exported.defaults["task"] == "detect"


def test_ultralytics_segmenter() -> None:
    card = make_card(
        "ultralytics:yolo11n-seg.yaml", "segment", input={"size": [SIDE, SIDE]}, source_args={"nc": 2}
    )
    exported, (raw, prototypes) = check_parity(card)
    assert raw.shape == (3, 4 + 2 + 32, 84)
    assert prototypes.shape == (3, 32, 16, 16)
    assert exported.defaults["task"] == "segment"


def test_ultralytics_classifier_and_its_defaults() -> None:
    card = make_card(
        "ultralytics:yolov8n-cls.yaml", input={"size": [SIDE, SIDE]}, source_args={"nc": CLASSES}
    )
    _, (scores,) = check_parity(card)
    assert np.allclose(scores.sum(1), 1, atol=1e-5)
    defaults = source_defaults("ultralytics:yolov8n-cls.yaml")
    assert defaults["head"] == {"kind": "scores", "activation": "none"}
    assert defaults["input"]["short_side"] == 224


TINY_RTDETR = """
nc: 4
scales: {n: [1.0, 1.0, 64]}
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [48, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [[2, 3, 4], 1, RTDETRDecoder, [nc, 32, 12, 4, 4, 2, 64]]
"""


def test_ultralytics_rtdetr(tmp_path: Path) -> None:
    (tmp_path / "tiny-rtdetr.yaml").write_text(TINY_RTDETR)
    card = make_card(f"ultralytics:{tmp_path / 'tiny-rtdetr.yaml'}", "detect", input={"size": [SIDE, SIDE]})
    exported, (rows,) = check_parity(card)
    assert rows.shape == (3, 12, 4 + CLASSES)
    assert rows.min() >= 0
    assert rows.max() <= 1
    assert exported.defaults["head"]["kind"] == "detr"


def test_huggingface_rtdetr(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=[16, 24, 32], d_model=32, encoder_hidden_dim=32,
        decoder_in_channels=[32, 32, 32], num_queries=12, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=4, decoder_attention_heads=4, num_labels=CLASSES, hidden_expansion=0.5,
    )  # fmt: skip
    config.architectures = ["RTDetrForObjectDetection"]
    config.save_pretrained(tmp_path)
    card = make_card(f"huggingface:{tmp_path}", "detect", input={"size": [SIDE, SIDE]})
    exported, (boxes, logits) = check_parity(
        card, rows=True, share=0.8
    )  # queries whose scores tie change places
    assert boxes.shape == (3, 12, 4)
    assert logits.shape == (3, 12, CLASSES)
    assert exported.defaults["head"]["activation"] == "sigmoid"


def test_huggingface_segformer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        id2label={0: "road", 1: "car", 2: "sky"}, label2id={"road": 0, "car": 1, "sky": 2},
    )  # fmt: skip
    transformers.set_seed(3)
    transformers.SegformerForSemanticSegmentation(config).eval().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"do_rescale": true, "do_normalize": true, "image_mean": [0.485, 0.456, 0.406], '
        '"image_std": [0.229, 0.224, 0.225], "size": {"height": 512, "width": 512}}'
    )
    exported, (logits,) = check_parity(make_card(f"huggingface:{tmp_path}", "semantic"))
    assert logits.shape == (3, 3, SIDE // 4, SIDE // 4)
    assert exported.defaults["labels"] == ("road", "car", "sky")
    assert exported.defaults["input"]["mean"] == (123.675, 116.28, 103.53)
    assert exported.defaults["input"]["size"] == (512, 512)


def test_deeplab_gives_logits_at_their_own_stride() -> None:
    card = make_card(
        "torchvision:deeplabv3_mobilenet_v3_large", "semantic", source_args={"num_classes": CLASSES}
    )
    exported, (logits,) = check_parity(card)
    assert logits.shape == (3, CLASSES, SIDE // 16, SIDE // 16)
    assert exported.defaults["head"] == {"kind": "class_map", "upsample": "logits"}


def test_unet_drops_its_auxiliary_output() -> None:
    _, (logits,) = check_parity(make_card("python:tests.torch_factories:unet", "semantic"))
    assert logits.shape == (3, 4, SIDE, SIDE)


def test_yolox_layout() -> None:
    card = make_card("python:tests.torch_factories:yolox", "detect", source_args={"classes": 3})
    _, (raw,) = check_parity(card)
    assert raw.shape == (3, 84, 8)


def test_classic_yolov5_layout() -> None:
    _, (raw,) = check_parity(make_card("python:tests.torch_factories:yolov5", "detect"))
    assert raw.shape == (3, 3 * 84, 9)


def test_embedder_and_siamese_branch_are_the_same_tower() -> None:
    _, (vectors,) = check_parity(make_card("python:tests.torch_factories:tower", "embed"))
    card = make_card("python:tests.torch_factories:siamese", "embed", branch="tower")
    exported, (branch,) = check_parity(card)
    assert np.allclose(np.linalg.norm(branch, axis=1), 1, atol=1e-5)
    assert np.allclose(branch, vectors, atol=1e-6)  # same seed, same module
    assert "branch tower" in exported.origin


def _decoded(
    exported: ExportedModel,
    raw: list[NDArray[Any]],
    classes: int,
    size: tuple[int, int],
    score: float,
    iou: float,
) -> Any:
    options = dict(exported.defaults["head"])
    options["anchors"] = np.asarray(options.pop("anchors"), np.float32)
    head = Head(classes=classes, network=size, **options)
    geometry = Geometry(*size, 1, 1, 0, 0).as_array()
    first = [np.ascontiguousarray(output[0]) for output in raw]
    return decode_head(head, first, geometry, score=score, iou=iou, max_detections=30)


def _check_detections(found: Any, own: Mapping[str, Any]) -> None:
    """Ours against torchvision's post-processing: same number, scores, classes (ours without background) and boxes."""
    count = len(own["scores"])
    assert count == len(found.scores) > 5
    assert np.allclose(found.scores, own["scores"].numpy(), atol=1e-4)
    labels, scores, boxes = own["labels"].numpy() - 1, own["scores"].numpy(), own["boxes"].numpy()
    pairs = (
        (found.classes[:, None] == labels)
        & (np.abs(found.scores[:, None] - scores) < 1e-4)
        & (np.abs(found.boxes[:, None] - boxes).max(-1) < 0.05)
    )
    assert pairs.any(1).mean() > 0.9  # the last ones may be others: their scores are nearly equal


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn"])
def test_anchored_detectors_read_by_our_head_equal_torchvision(name: str) -> None:
    import torch

    from sightline.builders.sources import torch_network, torch_vision

    ssd = name.startswith("ssd")
    # RetinaNet's anchors are larger than this input, and torchvision clips boxes before NMS, Sightline after it
    iou = 0.5 if ssd else 1.0
    arguments = {"num_classes": CLASSES + 1, "score_thresh": 0.0, "nms_thresh": iou, "detections_per_img": 30}
    card = make_card(f"torchvision:{name}", "detect", source_args=arguments)
    exported, raw = check_parity(card)
    head = exported.defaults["head"]
    assert head["kind"] == "ssd"
    assert head["background"] == "first"
    assert len(head["anchors"]) == raw[0].shape[1] == raw[1].shape[1]
    assert raw[1].shape[2] == CLASSES + 1
    model = torch_vision._model(name, arguments, trained=False).eval()
    shapes = [(SIDE, SIDE)]
    logits, boxes = torch.from_numpy(raw[1][:1]), torch.from_numpy(raw[0][:1])
    anchors = torch.tensor(head["anchors"])
    outputs: dict[str, Any] = {"cls_logits": logits, "bbox_regression": boxes}
    if ssd:
        own = model.postprocess_detections(outputs, [anchors], shapes)[0]
    else:
        with torch.no_grad():
            features = model.backbone(torch_network.pictures(card.input, 1)).values()
        counts = [9 * part.shape[2] * part.shape[3] for part in features]
        levels = {key: list(value.split(counts, 1)) for key, value in outputs.items()}
        own = model.postprocess_detections(levels, [list(anchors.split(counts))], shapes)[0]
    kept = {key: value[:30] for key, value in own.items()}
    found = _decoded(exported, raw, CLASSES, (SIDE, SIDE), float(kept["scores"].min()) - 1e-5, iou)
    _check_detections(found, kept)


def test_mask_rcnn_has_fixed_rows_and_equals_torchvision() -> None:
    arguments = {
        "num_classes": CLASSES + 1, "box_detections_per_img": 12, "rpn_post_nms_top_n_test": 30,
        "rpn_pre_nms_top_n_test": 100, "box_score_thresh": 0.0,
    }  # fmt: skip
    card = make_card("torchvision:maskrcnn_resnet50_fpn", "segment", source_args=arguments)
    exported, (boxes, labels, scores, masks) = check_parity(card, count=2, rows=True)
    assert boxes.shape == (2, 12, 4)
    assert labels.shape == scores.shape == (2, 12)
    assert masks.shape == (2, 12, 1, 28, 28)
    assert set(np.unique(labels)) <= set(range(CLASSES + 1))
    assert exported.defaults["head"] == {"kind": "mask_rcnn", "background": "first"}
    assert exported.defaults["task"] == "segment"
