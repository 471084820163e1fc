# SPDX-License-Identifier: Apache-2.0
"""Every head against plain numpy, in both layouts, on random, tied and hostile outputs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import heads_references as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.preprocess_ext import Geometry, Head, HeadDetections, decode_head, decode_yolov8
from tests.cases import about

NETWORK = (96, 64)
GEOMETRY = Geometry(320, 200, 0.3, 0.3, 0, 2).as_array()
STRANGE = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, -0.0, 1e-45], np.float32)
seeds = st.integers(0, 2**32 - 1)


def centre_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low, high = np.array([0, 0, 4, 4]), np.array([*NETWORK, 30, 30])
    return (rng.random((count, 4)) * (high - low) + low).astype(np.float32)


def random_scores(rng: np.random.Generator, count: int, classes: int) -> np.ndarray:
    """All different, so that rounding cannot change an order."""
    ranks = rng.permutation(count * classes).astype(np.float32)
    return ((ranks + 1) / np.float32(count * classes + 1)).reshape(count, classes) ** np.float32(3)


def check(
    head: Head,
    tensors: Sequence[np.ndarray],
    rows: reference.Rows,
    *,
    limits: tuple[float, float, int] = (0.25, 0.45, 50),
    class_agnostic: bool = False,
) -> HeadDetections:
    score, iou, most = limits
    have = decode_head(
        head, tensors, GEOMETRY, score=score, iou=iou, max_detections=most, class_agnostic=class_agnostic
    )
    boxes, scores, classes, indices = reference.detections(
        rows, GEOMETRY, score, iou, most, multi_label=head.multi_label, class_agnostic=class_agnostic
    )
    np.testing.assert_array_equal(have.indices, indices)
    np.testing.assert_array_equal(have.classes, classes)
    np.testing.assert_allclose(have.scores, scores, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(have.boxes, boxes, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(have.network_boxes, rows.boxes[indices], rtol=1e-4, atol=1e-3)
    return have


def test_yolov8() -> None:
    for class_agnostic, anchors, classes in product([False, True], [1, 9, 130], [1, 3, 80]):
        with about(classes, anchors, class_agnostic):
            rng = np.random.default_rng(anchors * 100 + classes)
            raw = np.concatenate([centre_boxes(rng, anchors), random_scores(rng, anchors, classes)], axis=1)
            for limits in ((0.25, 0.45, 50), (0.0, 0.7, 1000), (0.6, 0.0, 3)):
                rows = reference.yolov8(raw.T, classes)
                head = Head("yolov8", classes, NETWORK)
                for tensor in (np.ascontiguousarray(raw.T), raw):
                    check(head, [tensor], rows, limits=limits, class_agnostic=class_agnostic)


def test_yolov8_multi_label_and_logits() -> None:
    rng = np.random.default_rng(5)
    raw = np.concatenate(
        [centre_boxes(rng, 200), rng.standard_normal((200, 6)) - 1], axis=1, dtype=np.float32
    )
    for multi_label in (False, True):
        head = Head("yolov8", 6, NETWORK, activation="sigmoid", multi_label=multi_label)
        check(head, [np.ascontiguousarray(raw.T)], reference.yolov8(raw.T, 6, logits=True))


@pytest.mark.parametrize("multi_label", [False, True])
def test_yolov5_multi_label(multi_label: bool) -> None:
    rng = np.random.default_rng(9)
    boxes, objectness, scores = centre_boxes(rng, 200), random_scores(rng, 200, 1), random_scores(rng, 200, 4)
    products = np.concatenate([boxes, objectness * scores], axis=1)
    raw = np.concatenate([boxes, objectness, scores], axis=1)
    head = Head("yolov5", 4, NETWORK, multi_label=multi_label)
    check(head, [raw], reference.yolov8(products.T, 4), limits=(0.05, 0.45, 300))


def test_normalised_boxes() -> None:
    rng = np.random.default_rng(6)
    raw = np.concatenate([centre_boxes(rng, 60), random_scores(rng, 60, 2)], axis=1)
    small = raw / np.array([*NETWORK, *NETWORK, 1, 1], np.float32)
    check(Head("yolov8", 2, NETWORK, normalised=True), [small], reference.yolov8(raw.T, 2))


@pytest.mark.parametrize("values", [2, 3])
def test_keypoints_come_back_to_the_source(values: int) -> None:
    rng = np.random.default_rng(7)
    points = (rng.random((40, 5 * values)) * 90).astype(np.float32)
    raw = np.concatenate([centre_boxes(rng, 40), random_scores(rng, 40, 1), points], axis=1)
    head = Head("yolov8", 1, NETWORK, extra="keypoints", extra_values=5 * values, keypoint_values=values)
    have = check(head, [np.ascontiguousarray(raw.T)], reference.yolov8(raw.T, 1))
    want = points[have.indices].reshape(-1, 5, values).astype(np.float64)
    want[..., :2] = np.clip((want[..., :2] - GEOMETRY[5:7]) / GEOMETRY[3:5], 0, GEOMETRY[1:3])
    np.testing.assert_allclose(have.extras.reshape(want.shape), want, rtol=1e-5, atol=1e-4)


def test_coefficients_stay_as_they_are() -> None:
    rng = np.random.default_rng(8)
    coefficients = rng.standard_normal((90, 32)).astype(np.float32)
    coefficients[:, 3] = STRANGE[np.arange(90) % len(STRANGE)]
    raw = np.concatenate([centre_boxes(rng, 90), random_scores(rng, 90, 4), coefficients], axis=1)
    prototypes = np.zeros((32, 16, 24), np.float32)
    head = Head("yolov8", 4, NETWORK, extra="masks", extra_values=32)
    have = check(head, [np.ascontiguousarray(raw.T), prototypes], reference.yolov8(raw.T, 4))
    want = coefficients[have.indices]
    np.testing.assert_array_equal(have.extras, np.where(np.isfinite(want), want, 0))


def test_yolov5_decoded() -> None:
    rng = np.random.default_rng(9)
    objectness = rng.random((300, 1)).astype(np.float32)
    raw = np.concatenate([centre_boxes(rng, 300), objectness, random_scores(rng, 300, 5)], axis=1)
    for tensor in (raw, np.ascontiguousarray(raw.T)):
        check(Head("yolov5", 5, NETWORK), [tensor], reference.yolov5(raw, 5))
    segment = np.concatenate([raw, rng.random((300, 8)).astype(np.float32)], axis=1)
    head = Head("yolov5", 5, NETWORK, extra="masks", extra_values=8)
    have = check(head, [segment], reference.yolov5(segment, 5))
    np.testing.assert_array_equal(have.extras, segment[have.indices, 10:])


@pytest.mark.parametrize("classes", [1, 4])
def test_yolov5_levels(classes: int) -> None:
    rng = np.random.default_rng(10)
    anchors = rng.uniform(5, 40, (3, 3, 2)).astype(np.float32)
    levels = [
        rng.normal(-0.5, 1.5, (3, NETWORK[1] // s, NETWORK[0] // s, 5 + classes)).astype(np.float32)
        for s in (8, 16, 32)
    ]
    head = Head("yolov5", classes, NETWORK, anchors=anchors.reshape(-1, 2))
    want = reference.yolov5_levels(levels, anchors, classes, NETWORK)
    maps = [
        np.ascontiguousarray(level.transpose(0, 3, 1, 2).reshape(-1, *level.shape[1:3])) for level in levels
    ]
    for tensors in (levels, maps):
        check(head, tensors, want, limits=(0.3, 0.45, 300))


@pytest.mark.parametrize("strides", [(), (8, 16, 32), (16,)])
def test_yolox(strides: tuple[int, ...]) -> None:
    rng = np.random.default_rng(11)
    used = strides or (8, 16, 32)
    count = sum((NETWORK[0] // s) * (NETWORK[1] // s) for s in used)
    sizes, objectness = rng.normal(0, 0.5, (count, 4)), rng.random((count, 1))
    raw = np.concatenate([sizes, objectness, random_scores(rng, count, 3)], axis=1).astype(np.float32)
    check(Head("yolox", 3, NETWORK, strides=strides), [raw], reference.yolox(raw, 3, NETWORK, used))


def listed_rows(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = reference.corners(centre_boxes(rng, count)).astype(np.float32)
    return boxes, random_scores(rng, count, 1)[:, 0], rng.integers(-1, 5, count).astype(np.float32)


def test_end_to_end() -> None:
    rng = np.random.default_rng(12)
    boxes, scores, labels = listed_rows(rng, 100)
    extras = rng.standard_normal((100, 6)).astype(np.float32)
    rows = np.concatenate([boxes, scores[:, None], labels[:, None]], axis=1)
    check(Head("end_to_end", 4, NETWORK), [rows], reference.listed(boxes, scores, labels, 4))
    centre = rows.copy()
    centre[:, :2], centre[:, 2:4] = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    check(
        Head("end_to_end", 4, NETWORK, centre_form=True), [centre], reference.listed(boxes, scores, labels, 4)
    )
    head = Head("end_to_end", 4, NETWORK, extra="masks", extra_values=6)
    have = check(head, [np.concatenate([rows, extras], axis=1)], reference.listed(boxes, scores, labels, 4))
    np.testing.assert_array_equal(have.extras, extras[have.indices])


@pytest.mark.parametrize("scale", [(0.5, 0.5), (0.5, 0.8)])
@pytest.mark.parametrize("kind", ["yolov8", "end_to_end"])
def test_turned_boxes_come_back_to_the_source(kind: Any, scale: tuple[float, float]) -> None:
    """The first axis of a box is mapped exactly; with equal scales so are all four corners."""
    rng = np.random.default_rng(21)
    boxes, angles = centre_boxes(rng, 40), rng.uniform(-7, 7, (40, 1)).astype(np.float32)
    scores = np.linspace(0.9, 0.5, 40, dtype=np.float32)[:, None]
    parts = [boxes, scores, angles] if kind == "yolov8" else [boxes, scores, np.zeros_like(scores), angles]
    head = Head(kind, 1, NETWORK, extra="angle", extra_values=1)
    fit = Geometry(192, 128, *scale, 3, 5).as_array()
    have = decode_head(head, [np.concatenate(parts, axis=1)], fit, score=0.2, iou=1.0)
    np.testing.assert_array_equal(have.indices, np.arange(40))

    def axes(centre: np.ndarray, size: np.ndarray, angle: np.ndarray) -> np.ndarray:
        turn = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        ends = [centre, centre + turn * size[:, :1] / 2, centre + turn[:, ::-1] * [-1, 1] * size[:, 1:] / 2]
        return np.stack(ends if scale[0] == scale[1] else ends[:2])

    want = (axes(boxes[:, :2], boxes[:, 2:], angles[:, 0].astype(np.float64)) - fit[5:7]) / fit[3:5]
    centre, size = (have.boxes[:, :2] + have.boxes[:, 2:]) / 2, have.boxes[:, 2:] - have.boxes[:, :2]
    np.testing.assert_allclose(axes(centre, size, have.extras[:, 0].astype(np.float64)), want, atol=1e-3)


def test_efficient_nms_reads_only_its_count() -> None:
    boxes, scores, labels = listed_rows(np.random.default_rng(13), 30)
    head = Head("efficient_nms", 5, NETWORK)
    for count in (0, 1, 12, 30):
        rows = reference.listed(boxes[:count], scores[:count], labels[:count], 5)
        check(head, [np.array([count], np.float32), boxes, scores, labels], rows)


@pytest.mark.parametrize("background", ["none", "first"])
def test_mask_rcnn(background: Any) -> None:
    boxes, scores, labels = listed_rows(np.random.default_rng(14), 30)
    head = Head("mask_rcnn", 4, NETWORK, background=background)
    rows = reference.listed(boxes, scores, labels - (background == "first"), 4)
    check(head, [boxes, labels, scores], rows)
    nothing = decode_head(head, [boxes[:0], labels[:0], scores[:0]], GEOMETRY, score=0.1)
    assert [len(part) for part in nothing] == [0] * 6


@pytest.mark.parametrize("kind", ["detr", "ssd"])
def test_detr_and_ssd(kind: Any) -> None:
    for multi_label, background, activation in product(
        [False, True], ["none", "first", "last"], ["none", "sigmoid", "softmax"]
    ):
        with about(activation, background, multi_label):
            rng = np.random.default_rng(15)
            count, classes = 150, 5
            columns = classes + (background != "none")
            scores = random_scores(rng, count, columns)
            if activation != "none":
                scores = np.log(scores / (1 - scores)).astype(np.float32)
            options: dict[str, Any] = {
                "activation": activation,
                "background": background,
                "multi_label": multi_label,
            }
            if kind == "detr":
                boxes = rng.uniform(0.1, 0.9, (count, 4)).astype(np.float32)
                head = Head("detr", classes, NETWORK, **options)
                rows = reference.detr(boxes, scores, NETWORK, activation, background)
                check(head, [np.concatenate([boxes, scores], axis=1)], rows, limits=(0.3, 0.5, 400))
            else:
                anchors = reference.corners(centre_boxes(rng, count)).astype(np.float32)
                boxes = rng.normal(0, 2, (count, 4)).astype(np.float32)
                boxes[:3, 2] = 1e6
                weights = (10.0, 10.0, 5.0, 5.0)
                head = Head("ssd", classes, NETWORK, anchors=anchors, box_weights=weights, **options)
                rows = reference.ssd(boxes, scores, anchors, weights, NETWORK, activation, background)
            for tensors in ([boxes, scores], [scores, boxes], [boxes, np.ascontiguousarray(scores.T)]):
                check(head, tensors, rows, limits=(0.3, 0.5, 400))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, anchors=st.integers(1, 300), classes=st.integers(1, 40), steps=st.integers(1, 8))
def test_ties_take_the_lowest(seed: int, anchors: int, classes: int, steps: int) -> None:
    """Equal scores and boxes: the lowest class, the lowest anchor, the same for both layouts and both entries."""
    rng = np.random.default_rng(seed)
    raw = np.concatenate([centre_boxes(rng, anchors).round(-1), rng.random((anchors, classes))], axis=1)
    raw[:, 4:] = np.round(raw[:, 4:] * steps) / steps
    tensor = np.ascontiguousarray(raw.T, dtype=np.float32)
    head = Head("yolov8", classes, NETWORK)
    have = check(head, [tensor], reference.yolov8(tensor, classes), limits=(0.5, 0.5, 20))
    turned = decode_head(
        head, [np.ascontiguousarray(tensor.T)], GEOMETRY, score=0.5, iou=0.5, max_detections=20
    )
    boxes, scores, ids = np.empty((20, 4), np.float32), np.empty(20, np.float32), np.empty(20, np.int32)
    options = {"boxes_out": boxes, "scores_out": scores, "classes_out": ids}
    count = decode_yolov8(tensor, GEOMETRY, score=0.5, iou=0.5, max_detections=20, **options)
    for name, other in (("boxes", boxes), ("scores", scores), ("classes", ids)):
        np.testing.assert_array_equal(getattr(have, name), other[:count])
        if tensor.shape[0] != tensor.shape[1]:
            np.testing.assert_array_equal(getattr(have, name), getattr(turned, name))


def hostile_cases(rng: np.random.Generator, count: int) -> list[tuple[Head, list[np.ndarray]]]:
    def tensor(*shape: int) -> np.ndarray:
        values = rng.normal(0.4, 1, shape).astype(np.float32)
        where = rng.random(shape) < 0.2
        values[where] = rng.choice(STRANGE, int(where.sum()))
        return values

    anchors, grid = tensor(count, 4), tensor(count, 4)
    return [
        (Head("yolov8", 3, NETWORK, extra="keypoints", extra_values=6), [tensor(13, count)]),
        (Head("yolov8", 3, NETWORK, activation="sigmoid", multi_label=True), [tensor(count, 7)]),
        (Head("yolov8", 3, NETWORK, extra="angle", extra_values=1), [tensor(count, 8)]),
        (Head("yolov5", 3, NETWORK), [tensor(count, 8)]),
        (Head("yolov5", 1, NETWORK, anchors=tensor(2, 2)), [tensor(12, 3, 4)]),
        (Head("yolox", 2, NETWORK), [tensor(126, 7)]),
        (Head("end_to_end", 3, NETWORK), [tensor(count, 6)]),
        (Head("detr", 3, NETWORK, activation="softmax", background="last"), [grid, tensor(count, 4)]),
        (Head("ssd", 3, NETWORK, activation="sigmoid", anchors=anchors), [grid, tensor(count, 3)]),
        (Head("efficient_nms", 3, NETWORK), [np.ones(1, np.float32), grid, tensor(count), tensor(count)]),
        (Head("mask_rcnn", 3, NETWORK), [grid, tensor(count), tensor(count)]),
    ]


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=st.integers(1, 80))
def test_strange_numbers_never_come_out(seed: int, count: int) -> None:
    for head, tensors in hostile_cases(np.random.default_rng(seed), count):
        have = decode_head(head, tensors, GEOMETRY, score=0.2, max_detections=40)
        assert all(np.isfinite(part).all() for part in have)
        assert (have.scores >= 0.2).all()
        assert (np.diff(have.scores) <= 0).all()
        inside = (have.boxes >= 0) & (have.boxes <= np.tile(GEOMETRY[1:3], 2))
        assert inside.all() or head.extra == "angle"
        assert ((have.classes >= 0) & (have.classes < head.classes)).all()


def test_more_candidates_than_are_looked_at() -> None:
    """Of 84,000 x 3 labels the best 30,000 enter NMS, and on equal scores the first ones."""
    count = 84_000
    raw = np.full((count, 7), 0.5, np.float32)
    raw[:, 0], raw[:, 1] = np.arange(count) % 300 * 10, np.arange(count) // 300 * 10
    raw[:, 2:4] = 5
    raw[-10:, 6] = 0.9
    wide = Geometry(3000, 3000, 1, 1, 0, 0).as_array()
    head = Head("yolov8", 3, (3000, 3000), multi_label=True)
    have = decode_head(head, [raw], wide, score=0.5, max_detections=40_000)
    assert len(have.scores) == 30_000
    assert have.indices[:10].tolist() == list(range(count - 10, count))
    np.testing.assert_array_equal(have.indices[10:], np.arange(29_990) // 3)


RAW = np.zeros((6, 5), np.float32)


_BAD_HEADS = [
    ({}, [], "there are 0 tensors"),
    ({}, [RAW.astype(np.float16)], "tensor 0 is float16"),
    ({}, [np.asfortranarray(RAW)], "contiguous"),
    ({}, [RAW[:5]], "a width, height or count is outside its bounds"),
    ({}, [RAW[None]], "head yolov8 with 2 classes, tensors (1, 6, 5)"),
    ({"extra": "masks"}, [RAW], "outside its bounds"),
    ({"activation": "softmax"}, [RAW], "is unknown"),
    ({"kind": "yolov5"}, [RAW], "outside its bounds"),
    ({"kind": "yolov5"}, [np.zeros((21, 2, 2), np.float32)], "a pointer is missing"),
    ({"kind": "yolox"}, [np.zeros((5, 7), np.float32)], "outside its bounds"),
    ({"kind": "efficient_nms"}, [np.zeros(1, np.float32)], "outside its bounds"),
    ({"kind": "ssd"}, [RAW, RAW], "a pointer is missing"),
    ({"kind": "yolov4"}, [RAW], "kind is 'yolov4'; it must be one of yolov8"),
    ({"classes": 0}, [RAW], "classes is 0; it must lie in 1..65536"),
    ({"network": (0, 5)}, [RAW], "network's width is 0"),
    ({"extra_values": -1}, [RAW], "extra_values is -1"),
    ({"strides": (0,)}, [RAW], "stride 0 is 0"),
    ({"box_weights": (1.0, 0.0, 1.0, 1.0)}, [RAW], "box_weights is (1.0, 0.0, 1.0, 1.0)"),
    ({"anchors": np.zeros((2, 3), np.float32)}, [RAW], "anchors is float32 of shape (2, 3)"),
]


def test_bad_heads_and_shapes_are_named() -> None:
    for options, tensors, message in _BAD_HEADS:
        with about(options, tensors, message):
            values = {"kind": "yolov8", "classes": 2, "network": NETWORK, **options}
            with pytest.raises(ValueError) as caught:
                decode_head(Head(**values), tensors, GEOMETRY, score=0.2)
            assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 1.5}, "score is 1.5; it must lie in 0..1"),
        ({"iou": float("nan")}, "iou is nan"),
        ({"max_detections": 0}, "max_detections is 0"),
        ({"geometry": np.zeros(7, np.float32)}, "geometry [0.0"),
        ({"geometry": np.zeros(6, np.float32)}, "geometry is float32 of shape (6,)"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"geometry": GEOMETRY, "score": 0.2, **change}
    with pytest.raises(ValueError) as caught:
        decode_head(Head("yolov8", 2, NETWORK), [RAW], **arguments)
    assert message in str(caught.value)
