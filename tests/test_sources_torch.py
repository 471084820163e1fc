# SPDX-License-Identifier: Apache-2.0
"""Every family of PyTorch networks, from its source to ONNX to OpenVINO, against PyTorch itself (random weights)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.builders.sources import ExportedModel, export_source, source_defaults
from sightline.card import ModelCard, card_from_dict
from sightline.preprocess_ext.geometry import Geometry
from sightline.preprocess_ext.heads import Head, decode_head
from tests.needs import needs

needs("torch", "torchvision", "timm", "transformers", "ultralytics", "onnxscript", "openvino")

pytestmark = pytest.mark.no_cover  # torch.export is Python: traced, it takes twice as long
CLASSES = 4
SIDE = 64
NORMAL = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
SMALL = {"size": [SIDE, SIDE], **NORMAL}


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


def noise(card: ModelCard, count: int, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    width, height = size or card.input.size
    levels = np.random.default_rng(7).uniform(0, 255, (count, 3, height, width))
    mean, std = (np.asarray(values).reshape(1, 3, 1, 1) for values in (card.input.mean, card.input.std))
    return ((levels - mean) / std).astype(np.float32)


def check_parity(card: ModelCard) -> tuple[ExportedModel, list[NDArray[Any]]]:
    """Export, and compare OpenVINO with PyTorch on a batch that the exporter did not see."""
    exported = export_source(card)
    return exported, check_same(exported, noise(card, 3))


def check_same(exported: ExportedModel, images: NDArray[np.float32]) -> list[NDArray[Any]]:
    """PyTorch's own answers, which the ONNX must give too."""
    assert exported.reference is not None
    wanted = exported.reference(images)
    found = run_openvino(exported, images)
    assert len(found) == len(wanted)
    for have, want in zip(found, wanted, strict=True):
        assert have.shape == want.shape
        assert have.dtype == np.float32
        spread = float(want.max() - want.min())
        assert spread > 0, "an output is the same everywhere: nothing is compared"
        assert np.abs(have - want).max() / spread < 1e-3
    assert any(word in exported.origin for word in ("RANDOM WEIGHTS", "its own weights", "SHA-256"))
    assert len(exported.sha256) == 64
    return wanted


def test_inception_as_a_torchscript_file(tmp_path: Path) -> None:
    """Torchvision's network, traced: of what it is the file says nothing."""
    import torch

    from sightline.builders.sources import torch_vision

    side = 75  # the least that it takes
    network = torch_vision.load(make_card("torchvision:inception_v3", input={**SMALL, "size": [side, side]}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(
            torch.jit.trace(network.module, torch.rand(2, 3, side, side)), tmp_path / "inception.ts"
        )
    card = make_card(str(tmp_path / "inception.ts"), input={**SMALL, "size": [side, side]})
    exported, (logits,) = check_parity(card)
    assert logits.shape == (3, 1000)
    assert np.abs(logits[0] - logits[1]).max() > 1e-3  # the weights are sane: pictures make a difference
    assert "TorchScript" in exported.origin
    assert network.defaults["head"] == {"kind": "scores", "activation": "softmax"}
    assert len(set(network.defaults["labels"])) == 1000
    assert network.defaults["input"]["resize"] == "crop"


def test_efficientnet_as_an_embedder_of_the_size_that_its_source_names() -> None:
    import onnx

    card = card_from_dict(
        {"name": "m", "task": "embed", "source": "timm:test_efficientnet", "source_args": {"num_classes": 0}},
        Path.cwd(),
    )
    exported = export_source(card)
    width, height = exported.defaults["input"]["size"]
    assert (width, height) != card.input.size
    shape = onnx.load_from_string(exported.content).graph.input[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim[1:]] == [3, height, width]
    assert exported.defaults["head"] == {"kind": "embedding"}
    vectors = check_same(exported, noise(card, 3, (width, height)))[0]
    assert vectors.ndim == 2


def test_vision_transformer() -> None:
    card = make_card(
        "timm:vit_tiny_patch16_224", source_args={"img_size": SIDE, "depth": 1, "num_classes": CLASSES}
    )
    exported, (logits,) = check_parity(card)
    assert logits.shape == (3, CLASSES)
    assert exported.defaults["task"] == "classify"
    assert "labels" not in exported.defaults


@pytest.mark.parametrize(
    ("name", "task"), [("yolov5nu", "detect"), ("yolo11n", "detect"), ("yolo11n-seg", "segment")]
)
def test_ultralytics_networks_by_name(name: str, task: str) -> None:
    """Their outputs and what is known of them; their blocks are exported below and, with yolov8n, in test_families."""
    from sightline.builders.sources import torch_onnx, torch_ultralytics

    card = make_card(
        f"ultralytics:{name}.yaml", task, input={"size": [SIDE, 96]}, source_args={"nc": CLASSES}
    )
    network = torch_ultralytics.load(card)
    raw, *prototypes = torch_onnx.reference_of(network)(noise(card, 2))
    assert raw.shape == (2, 4 + CLASSES + 32 * len(prototypes), 8 * 12 + 4 * 6 + 2 * 3)
    assert [output.shape for output in prototypes] == [(2, 32, 24, 16)] * (task == "segment")
    assert network.defaults["head"] == {"kind": "yolov8"}
    assert network.defaults["task"] == task


def test_ultralytics_yolov5(tmp_path: Path) -> None:
    (tmp_path / "yolov5.yaml").write_text(TINY_YOLOV5)
    card = make_card(f"ultralytics:{tmp_path / 'yolov5.yaml'}", "detect", input={"size": [SIDE, 96]})
    exported, (raw,) = check_parity(card)
    assert raw.shape == (3, 4 + CLASSES, 16 * 24 + 8 * 12)
    assert exported.defaults["head"] == {"kind": "yolov8"}


def test_ultralytics_classifier_and_its_defaults() -> None:
    from sightline.builders.sources import torch_onnx, torch_ultralytics

    card = make_card(
        "ultralytics:yolov8n-cls.yaml", input={"size": [SIDE, SIDE]}, source_args={"nc": CLASSES}
    )
    (scores,) = torch_onnx.reference_of(torch_ultralytics.load(card))(noise(card, 3))
    assert scores.shape == (3, CLASSES)
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
  - [[2, 3, 4], 1, RTDETRDecoder, [nc, 32, 12, 4, 4, 1, 64]]
"""


# The blocks of YOLOv5u, once each.
TINY_YOLOV5 = """
nc: 4
backbone:
  - [-1, 1, Conv, [8, 6, 2, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, C3, [16]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, SPPF, [16, 5]]
head:
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 2], 1, Concat, [1]]
  - [-1, 1, C3, [16, False]]
  - [[7, 4], 1, Detect, [nc]]
"""


def test_ultralytics_rtdetr(tmp_path: Path) -> None:
    (tmp_path / "tiny-rtdetr.yaml").write_text(TINY_RTDETR)
    card = make_card(f"ultralytics:{tmp_path / 'tiny-rtdetr.yaml'}", "detect", input={"size": [SIDE, SIDE]})
    exported, (rows,) = check_parity(card)
    assert rows.shape == (3, 12, 4 + CLASSES)
    assert rows.min() >= 0
    assert rows.max() <= 1
    assert exported.defaults["head"]["kind"] == "detr"


def test_huggingface_notes_are_the_defaults(tmp_path: Path) -> None:
    import transformers

    labels = {"id2label": {0: "road", 1: "car", 2: "sky"}, "label2id": {"road": 0, "car": 1, "sky": 2}}
    config = transformers.SegformerConfig(**labels)
    config.architectures = ["SegformerForSemanticSegmentation"]
    config.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"do_rescale": true, "do_normalize": true, "image_mean": [0.485, 0.456, 0.406], '
        '"image_std": [0.229, 0.224, 0.225], "size": {"height": 512, "width": 512}}'
    )
    defaults = source_defaults(f"huggingface:{tmp_path}")
    assert defaults["labels"] == ("road", "car", "sky")
    assert defaults["input"]["mean"] == (123.675, 116.28, 103.53)
    assert defaults["input"]["size"] == (512, 512)


def test_deeplab_gives_logits_at_their_own_stride() -> None:
    card = make_card(
        "torchvision:deeplabv3_mobilenet_v3_large", "semantic", source_args={"num_classes": CLASSES}
    )
    exported, (logits,) = check_parity(card)
    assert logits.shape == (3, CLASSES, SIDE // 16, SIDE // 16)
    assert exported.defaults["head"] == {"kind": "class_map", "upsample": "logits"}


def original(name: str, task: str, **values: Any) -> tuple[str, list[NDArray[Any]]]:
    """Origin and outputs of a module of tests.torch_factories, which is not exported."""
    from sightline.builders.sources import torch_onnx, torch_python

    card = make_card(f"python:tests.torch_factories:{name}", task, **values)
    network = torch_python.load(card)
    return network.origin, torch_onnx.reference_of(network)(noise(card, 3))


def test_unet_drops_its_auxiliary_output() -> None:
    _, (logits,) = original("unet", "semantic")
    assert logits.shape == (3, 4, SIDE, SIDE)


def test_classic_yolov5_layout() -> None:
    _, (raw,) = check_parity(make_card("python:tests.torch_factories:yolov5", "detect"))
    assert raw.shape == (3, 3 * 84, 9)


def test_embedder_and_siamese_branch_are_the_same_tower() -> None:
    _, (vectors,) = original("tower", "embed")
    origin, (branch,) = original("siamese", "embed", branch="tower")
    assert np.allclose(np.linalg.norm(branch, axis=1), 1, atol=1e-5)
    assert np.allclose(branch, vectors, atol=1e-6)  # same seed, same module
    assert "branch tower" in origin


def _decoded(
    values: Mapping[str, Any],
    raw: list[NDArray[Any]],
    classes: int,
    size: tuple[int, int],
    score: float,
    iou: float,
) -> Any:
    options = dict(values)
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


@pytest.mark.parametrize("name", ["ssd300_vgg16", "retinanet_resnet50_fpn"])
def test_anchored_detectors_read_by_our_head_equal_torchvision(name: str) -> None:
    """SSD as it is exported; RetinaNet, whose outputs have the same form, as its module gives them."""
    import torch

    from sightline.builders.sources import torch_network, torch_onnx, torch_vision

    ssd = name.startswith("ssd")
    side = 272 if ssd else SIDE  # SSD takes no smaller one
    # RetinaNet's anchors are larger than this input, and torchvision clips boxes before NMS, Sightline after it
    iou = 0.5 if ssd else 1.0
    arguments = {"num_classes": CLASSES + 1, "score_thresh": 0.0, "nms_thresh": iou, "detections_per_img": 30}
    spec = {**SMALL, "size": [side, side]}
    card = make_card(f"torchvision:{name}", "detect", input=spec, source_args=arguments)
    if ssd:
        exported = export_source(card)
        raw = check_same(exported, noise(card, 1))
        head = exported.defaults["head"]
    else:
        network = torch_vision.load(card)
        raw, head = torch_onnx.reference_of(network)(noise(card, 1)), network.defaults["head"]
    assert head["kind"] == "ssd"
    assert head["background"] == "first"
    assert len(head["anchors"]) == raw[0].shape[1] == raw[1].shape[1]
    assert raw[1].shape[2] == CLASSES + 1
    model = torch_vision._model(name, arguments, trained=False).eval()
    shapes = [(side, side)]
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
    found = _decoded(head, raw, CLASSES, (side, side), float(kept["scores"].min()) - 1e-5, iou)
    _check_detections(found, kept)
