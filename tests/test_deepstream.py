# SPDX-License-Identifier: Apache-2.0
"""DeepStream's parsers, called as nvinfer calls them, under sanitizers: bit-equal to the C core and to the Python shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.preprocess_ext import (
    Head,
    HeadDetections,
    classify,
    decode_head,
    prototype_masks,
    semantic_map,
)
from tests.native_build import BUILD_SECONDS, ROOT, require_tool, sanitized_build

pytestmark = pytest.mark.timeout(BUILD_SECONDS)

ABIS = (8, 9)
NETWORK = (320, 256)
CLASSES, ANCHORS = 5, 800
MOST = 300  # SIGHTLINE_DEEPSTREAM_DETECTIONS where it is not set
FLOAT, HALF, INT32 = 0, 1, 3
NUMBERS = {FLOAT: np.float32, HALF: np.float16, INT32: np.int32}

COMMON = [
    ("class_id", "u4"),
    ("left", "f4"),
    ("top", "f4"),
    ("width", "f4"),
    ("height", "f4"),
    ("score", "f4"),
]
MASKED = np.dtype(
    [
        *COMMON,
        ("mask", "u8"),
        ("mask_width", "u4"),
        ("mask_height", "u4"),
        ("mask_bytes", "u4"),
        ("pad", "u4"),
    ]
)
ATTRIBUTE = np.dtype([("layer", "u4"), ("value", "u4"), ("score", "f4"), ("pad", "u4"), ("label", "u8")])
OBJECT = {8: np.dtype(COMMON), 9: np.dtype([*COMMON, ("rotation", "f4")])}

Floats = NDArray[np.float32]
Layer = tuple[str, int, NDArray[Any]]


@dataclass(frozen=True)
class Host:
    program: Path
    library: Path
    abi: int
    folder: Path

    def run(
        self, kind: str, function: str, layers: Sequence[Layer], thresholds: Sequence[float], **variables: str
    ) -> tuple[bool, bytes, str]:
        """What the parser returned, the bytes it handed over, and what it said."""
        environment = os.environ | {
            f"SIGHTLINE_DEEPSTREAM_{name}": value for name, value in variables.items()
        }
        lines = [
            f"call {kind} NvDsInferParseSightline{function}",
            f"network {NETWORK[0]} {NETWORK[1]}",
            "thresholds " + " ".join(map(repr, map(float, thresholds))),
        ]
        for number, (name, code, values) in enumerate(layers):
            data = self.folder / f"{number}.bin"
            data.write_bytes(np.ascontiguousarray(values, NUMBERS[code]).tobytes())
            lines.append(f"layer {name} {code} {data} " + " ".join(map(str, values.shape)))
        case, result = self.folder / "case.txt", self.folder / "result.bin"
        case.write_text("\n".join(lines) + "\n")
        command = [str(self.program), str(self.library), "run", str(case), str(result)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0, result.read_bytes(), done.stderr


@pytest.fixture(scope="module")
def built() -> Path:
    require_tool("c++", "g++")
    return sanitized_build("deepstream_hosts") / "tests" / "native" / "deepstream"


@pytest.fixture(params=ABIS)
def host(request: pytest.FixtureRequest, built: Path, tmp_path: Path) -> Host:
    abi = request.param
    return Host(built / f"host_{abi}", built / "parsers" / f"libsightline_deepstream_{abi}.so", abi, tmp_path)


def _yolov8(generator: np.random.Generator, extra: int = 0) -> Floats:
    raw = np.empty((4 + CLASSES + extra, ANCHORS), np.float32)
    raw[:2] = generator.uniform(0, 320, (2, ANCHORS))
    raw[2:4] = generator.uniform(5, 90, (2, ANCHORS))
    raw[4 : 4 + CLASSES] = generator.uniform(0, 1, (CLASSES, ANCHORS)) ** 3
    raw[4 + CLASSES :] = generator.normal(0, 1, (extra, ANCHORS))
    return raw


def _identity() -> Floats:
    """nvinfer maps to the frame itself: the network's input is the picture."""
    return np.array([1, *NETWORK, 1, 1, 0, 0], np.float32)


def _python(head: Head, tensors: Sequence[Floats], score: float, iou: float = 0.45) -> HeadDetections:
    """What the Python shell finds; nvinfer's parsers leave out boxes that are inside out."""
    found = decode_head(head, tensors, _identity(), score=score, iou=iou, max_detections=ANCHORS)
    fine = (found.boxes[:, 2] >= found.boxes[:, 0]) & (found.boxes[:, 3] >= found.boxes[:, 1])
    return HeadDetections(*(array[fine] for array in found))


def _expect_objects(objects: NDArray[Any], found: HeadDetections) -> None:
    boxes = found.boxes[:MOST]
    assert len(objects) == len(boxes) > 0
    expected = {
        "class_id": found.classes[:MOST].astype(np.uint32),
        "left": boxes[:, 0],
        "top": boxes[:, 1],
        "width": boxes[:, 2] - boxes[:, 0],
        "height": boxes[:, 3] - boxes[:, 1],
        "score": found.scores[:MOST],
    }
    for name, values in expected.items():
        assert objects[name].tobytes() == values.tobytes(), name


def test_equal_to_the_core_and_unmoved_by_hostile_layers(host: Host) -> None:
    command = [str(host.program), str(host.library), "checks"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("code", [FLOAT, HALF])
def test_detector_equals_the_python_shell(host: Host, code: int) -> None:
    raw = _yolov8(np.random.default_rng(code + 1))
    ok, data, said = host.run("detect", "Yolov8", [("output0", code, raw)], [0.25] * CLASSES)
    assert ok, said
    objects = np.frombuffer(data, OBJECT[host.abi])
    seen = raw if code == FLOAT else raw.astype(np.float16).astype(np.float32)
    _expect_objects(objects, _python(Head("yolov8", CLASSES, NETWORK), [seen], 0.25))
    if host.abi >= 9:
        assert not objects["rotation"].any()


def _boxes_and_scores(generator: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    corners = np.sort(generator.uniform(0, 250, (count, 2, 2)).astype(np.float32), axis=1)
    return corners.reshape(count, 4), generator.uniform(0, 1, count).astype(np.float32)


def _head_cases() -> dict[str, tuple[Head, list[Layer]]]:
    """For each parser the head as the Python shell names it, and layers; tensors in the order of the head."""
    generator = np.random.default_rng(11)
    grid = sum((NETWORK[0] // s) * (NETWORK[1] // s) for s in (8, 16, 32))
    v8 = _yolov8(generator)
    v5 = np.concatenate((v8[:4], np.full((1, ANCHORS), 0.9, np.float32), v8[4:])).T
    corners, scores = _boxes_and_scores(generator, 200)
    labels = generator.integers(0, CLASSES, 200)
    rows = np.column_stack((corners, scores, labels)).astype(np.float32)
    unit = generator.uniform(0.1, 0.6, (200, 4)).astype(np.float32)
    logits = generator.normal(0, 2, (200, CLASSES)).astype(np.float32)
    background = np.column_stack((logits, generator.normal(0, 2, 200))).astype(np.float32)
    yolox = generator.normal(0, 1, (grid, 5 + CLASSES)).astype(np.float32)
    yolox[:, 4:] = generator.uniform(0, 1, (grid, 1 + CLASSES))
    count = np.array([150], np.int32)
    return {
        "Yolov5": (Head("yolov5", CLASSES, NETWORK), [("output0", FLOAT, v5)]),
        "Yolox": (Head("yolox", CLASSES, NETWORK), [("output", FLOAT, yolox)]),
        "EndToEnd": (Head("end_to_end", CLASSES, NETWORK), [("output0", FLOAT, rows)]),
        "Detr": (
            Head("detr", CLASSES, NETWORK, activation="softmax", background="last"),
            [("pred_boxes", FLOAT, unit), ("pred_logits", FLOAT, background)],
        ),
        "RtDetr": (
            Head("detr", CLASSES, NETWORK, activation="sigmoid"),
            [("logits", FLOAT, logits), ("boxes", FLOAT, unit)],
        ),
        "EfficientNms": (
            Head("efficient_nms", CLASSES, NETWORK),
            [
                ("num_dets", INT32, count),
                ("det_boxes", FLOAT, corners),
                ("det_scores", FLOAT, scores),
                ("det_classes", INT32, labels.astype(np.int32)),
            ],
        ),
    }


@pytest.mark.parametrize("function", sorted(_head_cases()))
def test_each_head_equals_the_python_shell(host: Host, function: str) -> None:
    head, layers = _head_cases()[function]
    ok, data, said = host.run("detect", function, layers, [0.3] * CLASSES)
    assert ok, said
    tensors = [np.ascontiguousarray(values, np.float32) for _, _, values in layers]
    _expect_objects(np.frombuffer(data, OBJECT[host.abi]), _python(head, tensors, float(np.float32(0.3))))


def test_an_angle_turns_the_box_or_widens_it(host: Host) -> None:
    raw = _yolov8(np.random.default_rng(3), extra=1)
    ok, data, said = host.run("detect", "Yolov8Obb", [("output0", FLOAT, raw)], [0.5] * CLASSES)
    assert ok, said
    head = Head("yolov8", CLASSES, NETWORK, extra="angle", extra_values=1)
    found = _python(head, [raw], 0.5)
    objects, angles = np.frombuffer(data, OBJECT[host.abi]), found.extras[:MOST, 0]
    if host.abi >= 9:
        _expect_objects(objects, found)
        assert objects["rotation"].tobytes() == angles.tobytes()
        return
    width, height = (found.boxes[:MOST, 2:] - found.boxes[:MOST, :2]).T
    around = np.abs(width * np.cos(angles)) + np.abs(height * np.sin(angles))
    np.testing.assert_allclose(objects["width"], around, rtol=1e-5)
    centres = found.boxes[:MOST, [0, 2]].mean(1)
    np.testing.assert_allclose(objects["left"] + objects["width"] / 2, centres, atol=1e-3)


def test_a_class_may_have_its_own_threshold(host: Host) -> None:
    raw = _yolov8(np.random.default_rng(5))
    thresholds = np.array([0.25, 0.5, 0.75, 0.3, 2.0], np.float32)
    ok, data, said = host.run("detect", "Yolov8", [("output0", FLOAT, raw)], thresholds.tolist())
    assert ok, said
    found = _python(Head("yolov8", CLASSES, NETWORK), [raw], 0.25)
    own = found.scores >= thresholds[found.classes]
    _expect_objects(np.frombuffer(data, OBJECT[host.abi]), HeadDetections(*(array[own] for array in found)))


def _masked(data: bytes) -> tuple[NDArray[Any], list[Floats]]:
    """Objects and their masks, from the bytes that the host wrote one after the other."""
    objects, masks, at = [], [], 0
    while at < len(data):
        one = np.frombuffer(data, MASKED, 1, at)
        height, width = int(one["mask_height"][0]), int(one["mask_width"][0])
        assert one["mask_bytes"][0] == 4 * height * width
        masks.append(
            np.frombuffer(data, np.float32, height * width, at + MASKED.itemsize).reshape(height, width)
        )
        at += MASKED.itemsize + 4 * height * width
        objects.append(one)
    return np.concatenate(objects), masks


@pytest.mark.parametrize("code", [FLOAT, HALF])
@pytest.mark.parametrize("function", ["Yolov8Segment", "EndToEndSegment"])
def test_masks_equal_the_python_shell(host: Host, function: str, code: int) -> None:
    generator = np.random.default_rng(21)
    prototypes = generator.normal(0, 1, (8, 64, 80)).astype(np.float32)
    if function == "Yolov8Segment":
        raw, head = _yolov8(generator, extra=8), Head("yolov8", CLASSES, NETWORK, "masks", 8)
    else:
        corners, scores = _boxes_and_scores(generator, 60)
        labels, coefficients = generator.integers(0, CLASSES, 60), generator.normal(0, 1, (60, 8))
        raw = np.column_stack((corners, scores, labels, coefficients)).astype(np.float32)
        head = Head("end_to_end", CLASSES, NETWORK, "masks", 8)
    layers = [("output1", code, prototypes), ("output0", code, raw)]
    ok, data, said = host.run("instances", function, layers, [0.5] * CLASSES)
    assert ok, said
    seen_raw, seen_prototypes = (
        values.astype(NUMBERS[code]).astype(np.float32) for values in (raw, prototypes)
    )
    found = _python(head, [seen_raw], 0.5)
    objects, masks = _masked(data)
    _expect_objects(objects, found)
    regions = prototype_masks(seen_prototypes, found.extras[:MOST], found.network_boxes[:MOST], NETWORK)
    assert any(mask.any() for mask in masks)
    for mask, region in zip(masks, regions, strict=True):
        assert np.array_equal(mask, region.to_array().astype(np.float32))


@pytest.mark.parametrize("channels", [1, CLASSES, CLASSES + 1])
def test_mask_rcnn_hands_its_cells_on(host: Host, channels: int) -> None:
    generator = np.random.default_rng(31)
    corners, scores = _boxes_and_scores(generator, 20)
    labels = generator.integers(1, CLASSES + 1, 20)
    cells = generator.uniform(0, 1, (20, channels, 14, 14)).astype(np.float32)
    layers = [
        ("boxes", FLOAT, corners),
        ("labels", INT32, labels.astype(np.int32)),
        ("scores", FLOAT, scores),
        ("masks", FLOAT, cells),
    ]
    ok, data, said = host.run("instances", "MaskRcnn", layers, [0.5] * CLASSES)
    assert ok, said
    head = Head("mask_rcnn", CLASSES, NETWORK, background="first")
    found = _python(head, [corners, labels.astype(np.float32), scores], 0.5)
    objects, masks = _masked(data)
    _expect_objects(objects, found)
    for mask, row, own in zip(masks, found.indices, found.classes, strict=True):
        channel = 0 if channels == 1 else own + (channels == CLASSES + 1)
        assert np.array_equal(mask, cells[row, channel])


@pytest.mark.parametrize("function", ["Softmax", "Sigmoid", "Probabilities"])
def test_classifier_equals_the_python_shell(host: Host, function: str) -> None:
    values = np.random.default_rng(41).normal(0, 2, 100).astype(np.float32)
    ok, data, said = host.run("classify", function, [("logits", FLOAT, values)], [0.1])
    assert ok, said
    activation = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Probabilities": "none"}[function]
    scores, classes = classify(values, top=5, activation=activation)  # type: ignore[arg-type]
    attributes, enough = np.frombuffer(data, ATTRIBUTE), scores >= np.float32(0.1)
    assert enough.any()
    assert attributes["score"].tobytes() == scores[enough].tobytes()
    assert attributes["value"].tolist() == classes[enough].tolist()
    assert not attributes["label"].any()


@pytest.mark.parametrize("channels_last", [False, True])
def test_class_map_equals_the_python_shell(host: Host, channels_last: bool) -> None:
    logits = np.random.default_rng(51).normal(0, 1, (CLASSES, 32, 40)).astype(np.float32)
    given = np.ascontiguousarray(logits.transpose(1, 2, 0)) if channels_last else logits
    ok, data, said = host.run("semantic", "Semantic", [("output", FLOAT, given)], [0.0] * CLASSES)
    assert ok, said
    expected = semantic_map(given, _identity(), NETWORK, channels_last=channels_last, dtype=np.int32)
    assert data == expected.tobytes()


def test_a_refusal_says_what_came_and_what_is_needed(host: Host) -> None:
    raw = _yolov8(np.random.default_rng(6))
    ok, data, said = host.run("detect", "Yolov8", [("output0", FLOAT, raw)], [0.25] * 80)
    assert not ok
    assert data == b""
    assert len(said.splitlines()) == 1
    assert "(9, 800)" in said
    assert "num-detected-classes=80" in said


def test_a_refusal_can_be_an_empty_answer(host: Host) -> None:
    layers = [("output0", FLOAT, np.zeros((3, 3), np.float32))]
    ok, data, said = host.run("detect", "Yolov8", layers, [0.25] * CLASSES, REFUSE="empty")
    assert ok
    assert data == b""
    assert "refuses" in said


def test_overlap_and_number_of_objects_come_from_the_environment(host: Host) -> None:
    raw = _yolov8(np.random.default_rng(7))
    layers, thresholds = [("output0", FLOAT, raw)], [0.25] * CLASSES
    ok, data, said = host.run("detect", "Yolov8", layers, thresholds, IOU="0.8", DETECTIONS="20")
    assert ok, said
    found = _python(Head("yolov8", CLASSES, NETWORK), [raw], 0.25, iou=0.8)
    _expect_objects(np.frombuffer(data, OBJECT[host.abi]), HeadDetections(*(array[:20] for array in found)))
    _, usual, said = host.run("detect", "Yolov8", layers, thresholds, IOU="lots")
    assert "SIGHTLINE_DEEPSTREAM_IOU is lots" in said
    _expect_objects(
        np.frombuffer(usual, OBJECT[host.abi]), _python(Head("yolov8", CLASSES, NETWORK), [raw], 0.25)
    )


def test_only_parsers_are_exported_and_all_are_documented(built: Path) -> None:
    nm = require_tool("nm", "binutils")
    guide = (ROOT / "deploy" / "deepstream" / "README.md").read_text()
    names: list[set[str]] = []
    for abi in ABIS:
        library = built / "parsers" / f"libsightline_deepstream_{abi}.so"
        done = subprocess.run(
            [nm, "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
        )
        names.append({line.split()[-1] for line in done.stdout.splitlines()})
    assert names[0] == names[1]
    exported = {name for name in names[0] if not name.startswith(("__asan", "__odr_asan"))}
    assert all(name.startswith("NvDsInferParseSightline") for name in exported)
    assert [name for name in sorted(exported) if f"`{name}`" not in guide] == []
