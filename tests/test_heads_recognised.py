# SPDX-License-Identifier: Apache-2.0
"""How a network's outputs are read: recognised where shapes and graph tell, asked for with the card's lines where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from sightline.builders.heads import (
    GraphEvidence,
    HeadPlan,
    OutputEvidence,
    OutputInfo,
    evidence_from_onnx,
    plan_head,
)
from sightline.builders.heads.recognise import FAMILIES
from sightline.card import HEADS_OF_TASK, HeadSpec, ModelCard, card_from_dict
from sightline.errors import BuildError, CardError, HeadMismatchError
from sightline.preprocess_ext.heads import Head, decode_head
from tests.cases import about

Outputs = list[tuple[Any, ...]]
ANCHORS = [[10.0, 13.0]] * 9


def card(task: str, labels: Any = 0, size: tuple[int, int] = (640, 640), **values: Any) -> ModelCard:
    names = [f"thing {i}" for i in range(labels)] if isinstance(labels, int) else list(labels)
    fields = {"name": "toy", "source": "m.onnx", "task": task, "labels": names, "input": {"size": size}}
    return card_from_dict({**fields, **values}, Path("/nowhere"))


def infos(outputs: Outputs) -> list[OutputInfo]:
    """(name, dims[, element]) or dims alone."""
    made = []
    for index, output in enumerate(outputs):
        if isinstance(output[0], str):
            made.append(OutputInfo(*output))
        else:
            made.append(OutputInfo(f"output{index}", output))
    return made


def plan(task: str, outputs: Outputs, labels: Any = 0, **values: Any) -> HeadPlan:
    evidence, metadata = values.pop("evidence", None), values.pop("metadata", None)
    source_labels = values.pop("source_labels", ())
    made = card(task, labels, **values)
    return plan_head(made, infos(outputs), metadata=metadata, labels=source_labels, evidence=evidence)


def before(tail: tuple[str, ...], last: tuple[str, ...] = (), graph: tuple[str, ...] = ()) -> GraphEvidence:
    """Evidence that says the same of each output."""
    seen = OutputEvidence(frozenset(last), frozenset(tail))
    return GraphEvidence("", frozenset(graph), dict.fromkeys(("output0", "output1", "logits"), seen))


PROTOTYPES = (1, 32, 160, 160)
LEVELS = [(1, 3, 80, 80, 85), (1, 3, 40, 40, 85), (1, 3, 20, 20, 85)]
PAIR_100 = [("logits", (1, 100, 92)), ("pred_boxes", (1, 100, 4))]
NMS = [
    ("count", (1, 1), "INT32"),
    ("boxes", (1, 100, 4)),
    ("scores", (1, 100)),
    ("classes", (1, 100), "INT32"),
]
RCNN = [("boxes", (1, 100, 4)), ("labels", (1, 100), "INT64"), ("scores", (1, 100))]
SSD = [("deltas", (1, 8732, 4)), ("scores", (1, 8732, 21))]
SSD_ANCHORS = [[0.0, 0.0, 10.0, 10.0]] * 8732

# task, outputs, what else is known; then the head, the outputs' order, classes, parameters that must be there
RECOGNISED: list[tuple[str, Outputs, dict[str, Any], str, tuple[int, ...], int, dict[str, Any]]] = [
    ("detect", [(1, 84, 8400)], {}, "yolov8", (0,), 80, {"classes": 80, "size": [640, 640]}),
    ("detect", [(1, 15, 32)], {"labels": 11, "size": (64, 32)}, "yolov8", (0,), 11, {}),
    ("detect", [(1, 8400, 84)], {"labels": 80}, "yolov8", (0,), 80, {}),
    ("detect", [(1, 6, 8400)], {}, "yolov8", (0,), 2, {}),
    ("detect", [(1, 84, 8000)], {"size": (640, 608)}, "yolov8", (0,), 80, {}),
    ("detect", [(1, 56, 8400)], {"metadata": {"kpt_shape": "[17, 3]", "task": "pose"}}, "yolov8", (0,), 1,
     {"extra": "keypoints", "extra_values": 51, "keypoint_values": 3}),
    ("segment", [(1, 116, 8400), PROTOTYPES], {}, "yolov8", (0, 1), 80, {"extra": "masks", "extra_values": 32}),
    ("segment", [PROTOTYPES, (1, 116, 8400)], {}, "yolov8", (1, 0), 80, {"task": "segment"}),
    ("segment", [(1, 44, 6300), (1, 32, 120, 160)], {"size": (640, 480)}, "yolov8", (0, 1), 8, {}),
    ("detect", [(1, 25200, 85)], {}, "yolov5", (0,), 80, {}),
    ("detect", [(1, 25200, 6)], {}, "yolov5", (0,), 1, {}),
    ("segment", [(1, 25200, 117), PROTOTYPES], {}, "yolov5", (0, 1), 80, {"extra": "masks", "extra_values": 32}),
    ("detect", [(1, 25200, 85), *LEVELS], {}, "yolov5", (0,), 80, {}),
    ("detect", LEVELS, {"head": {"kind": "yolov5", "anchors": ANCHORS}}, "yolov5", (0, 1, 2), 80, {"anchors": ANCHORS}),
    ("detect", [(1, 255, 80, 80), (1, 255, 40, 40), (1, 255, 20, 20)],
     {"head": {"kind": "yolov5", "anchors": ANCHORS}}, "yolov5", (0, 1, 2), 80, {}),
    ("detect", [(1, 8400, 85)], {"evidence": before(("Exp", "Concat"))}, "yolov5", (0,), 80, {}),
    ("detect", [(1, 8400, 85)], {"evidence": before(("Concat",))}, "yolox", (0,), 80, {"strides": [8, 16, 32]}),
    ("detect", [(1, 3549, 85)], {"size": (416, 416), "head": "yolox"}, "yolox", (0,), 80, {"strides": [8, 16, 32]}),
    ("detect", [(1, 300, 6)], {"labels": 80}, "end_to_end", (0,), 80, {}),
    ("detect", [(1, 300, 6)], {"labels": 2, "metadata": {"end2end": "True"}}, "end_to_end", (0,), 2, {}),
    ("detect", [(1, 300, 6)], {"labels": 2, "evidence": before(("TopK", "Concat"))}, "end_to_end", (0,), 2, {}),
    ("detect", [(1, 300, 6)], {"labels": 2, "evidence": before(("Sigmoid", "Concat"), ("Sigmoid",))}, "detr", (0,), 2,
     {}),
    ("detect", [(1, 300, 6)], {"labels": 2, "evidence": before(("TopK", "Concat"), (), ("GridSample",))}, "end_to_end",
     (0,), 2, {"normalised": True, "centre_form": True}),
    ("detect", [(1, 300, 6)], {"labels": 80, "metadata": {"description": "Ultralytics rtdetr-l model"}}, "end_to_end",
     (0,), 80, {"normalised": True, "centre_form": True}),
    ("segment", [(1, 300, 38), PROTOTYPES], {"labels": 80}, "end_to_end", (0, 1), 80, {"extra_values": 32}),
    ("detect", [(1, 300, 84)], {}, "detr", (0,), 80, {}),
    ("detect", PAIR_100, {"labels": 91}, "detr", (1, 0), 91, {"activation": "softmax", "background": "last"}),
    ("detect", PAIR_100, {"labels": 92}, "detr", (1, 0), 92, {"activation": "sigmoid"}),
    ("detect", PAIR_100, {"evidence": before((), (), ("GridSample",))}, "detr", (1, 0), 92, {"activation": "sigmoid"}),
    ("detect", PAIR_100, {"head": {"kind": "detr", "activation": "softmax", "background": "last"}}, "detr", (1, 0), 91,
     {"activation": "softmax"}),
    ("detect", SSD, {"labels": 20, "head": {"kind": "ssd", "anchors": SSD_ANCHORS}}, "ssd", (0, 1), 20,
     {"background": "first", "activation": "softmax", "box_weights": [10.0, 10.0, 5.0, 5.0]}),
    ("detect", SSD, {"labels": 21, "head": {"kind": "ssd", "anchors": SSD_ANCHORS}}, "ssd", (0, 1), 21,
     {"activation": "sigmoid", "box_weights": [1.0, 1.0, 1.0, 1.0]}),
    ("detect", SSD, {"labels": ["__background__", *map(str, range(20))],
                     "head": {"kind": "ssd", "anchors": SSD_ANCHORS}}, "ssd", (0, 1), 20, {"background": "first"}),
    ("detect", NMS, {"labels": 80}, "efficient_nms", (0, 1, 2, 3), 80, {}),
    ("detect", [NMS[3], NMS[1], NMS[2], NMS[0]], {"labels": 3}, "efficient_nms", (3, 1, 2, 0), 3, {}),
    ("detect", RCNN, {"labels": 90}, "mask_rcnn", (0, 1, 2), 90, {"background": "first"}),
    ("detect", [RCNN[0], RCNN[2], ("numbers", (1, 100), "I64")], {"labels": ["__background__", "car"]},
     "mask_rcnn", (0, 2, 1), 2, {"background": "none"}),
    ("detect", [("RAW", (1, 9, 4)), ("RAW_1", (1, 9)), ("RAW_2", (1, 9))], {"labels": 90}, "mask_rcnn", (0, 1, 2), 90, {}),
    ("segment", [*RCNN, ("masks", (1, 100, 1, 28, 28))], {"labels": 90}, "mask_rcnn", (0, 1, 2, 3), 90, {}),
    ("classify", [(1, 1000)], {}, "scores", (0,), 1000, {"activation": "softmax", "top": 5}),
    ("classify", [(1, 1000, 1, 1)], {"labels": 1000}, "scores", (0,), 1000, {}),
    ("classify", [(1, 3)], {}, "scores", (0,), 3, {"top": 3}),
    ("classify", [(1, 1)], {}, "scores", (0,), 1, {"activation": "sigmoid"}),
    ("classify", [(1, 50, 768), (1, 10)], {}, "scores", (1,), 10, {}),
    ("classify", [("logits", (1, 10)), ("aux_logits", (1, 10))], {}, "scores", (0,), 10, {}),
    ("semantic", [("out", (1, 21, 520, 520)), ("aux", (1, 21, 520, 520))], {"size": (520, 520)}, "class_map", (0,), 21,
     {"channels_last": False, "upsample": "logits"}),
    ("semantic", [(1, 128, 128, 19)], {"size": (512, 512)}, "class_map", (0,), 19, {"channels_last": True}),
    ("semantic", [(1, 128, 128, 128)], {"size": (512, 512)}, "class_map", (0,), 128, {"channels_last": False}),
    ("semantic", [(1, 19, 64, 128)], {"size": (1024, 512)}, "class_map", (0,), 19, {"channels_last": False}),
    ("semantic", [(1, 1, 128, 128)], {"size": (512, 512)}, "class_map", (0,), 2, {"classes": 1}),
    ("semantic", [(1, 1, 128, 128)], {"labels": 1, "size": (512, 512)}, "class_map", (0,), 2, {"classes": 1}),
    ("embed", [(1, 512)], {}, "embedding", (0,), 0, {"task": "embed"}),
    ("embed", [(1, 512, 1, 1)], {"source_labels": ("ignored",)}, "embedding", (0,), 0, {}),
]  # fmt: skip


def test_a_head_is_recognised() -> None:
    for task, outputs, known, kind, order, classes, parameters in RECOGNISED:
        with about(task, outputs, known, kind, order, classes, parameters):
            made = plan(
                task, outputs, known.get("labels", 0), **{k: v for k, v in known.items() if k != "labels"}
            )
            assert (made.kind, made.outputs, len(made.labels)) == (kind, order, classes)
            assert parameters.items() <= made.parameters.items()
            assert made.parameters["task"] == task
            assert made.why.startswith("output")
            assert made.kind in HEADS_OF_TASK[task]  # type: ignore[index]


def test_the_decoder_takes_what_the_plan_says() -> None:
    """Random outputs of these shapes go through the real decoder with the plan's parameters."""
    for outputs, known in [
        (outputs, known)
        for task, outputs, known, kind, *_ in RECOGNISED
        if task in ("detect", "segment") and kind != "mask_rcnn"
    ]:
        with about(outputs, known):
            task = (
                "segment"
                if outputs[0] == PROTOTYPES or PROTOTYPES in outputs or (1, 32, 120, 160) in outputs
                else "detect"
            )
            made = plan(
                task, outputs, known.get("labels", 0), **{k: v for k, v in known.items() if k != "labels"}
            )
            options = {
                k: v for k, v in made.parameters.items() if k not in ("task", "head", "size", "upsample")
            }
            for name in ("strides", "box_weights"):
                if name in options:
                    options[name] = tuple(options[name])
            if "anchors" in options:
                options["anchors"] = np.array(options["anchors"], np.float32)
            width, height = made.parameters["size"]
            head = Head(kind=made.kind, network=(width, height), **options)  # type: ignore[arg-type]
            shapes = [output.inner for output in infos(outputs)]
            generator = np.random.default_rng(0)
            tensors = [np.ascontiguousarray(generator.random(shapes[i]), np.float32) for i in made.outputs]
            geometry = np.array([1, width, height, 1, 1, 0, 0], np.float32)
            found = decode_head(head, tensors, geometry, score=0.9)
            assert ((found.classes >= 0) & (found.classes < len(made.labels))).all()


# task, outputs, what else is known, words of the refusal in this order
REFUSED: list[tuple[str, Outputs, dict[str, Any], str]] = [
    ("detect", [(1, 15, 32)], {"labels": 3, "size": (64, 32)},
     r"\(N, 7, anchors\).*\(N, 15, 32\).*11 classes against 3 labels"),
    ("detect", [(1, 32, 15)], {"size": (64, 32)}, r"\(N, 32, 15\).*transposed"),
    ("detect", [(1, 116, 8400), PROTOTYPES], {}, "segmentation model. Set task: segment"),
    ("detect", [(1, 116, 8400)], {"labels": 80}, "32 extra rows look like mask coefficients"),
    ("segment", [(1, 84, 8400)], {}, "no prototypes.*Set task: detect"),
    ("detect", [(1, 300, 6)], {"head": "yolov8"}, r"\(N, 300, 6\).*NMS inside.*nms=False"),
    ("detect", [(1, 6, None)], {"head": "yolov8"}, "depends on the picture.*nms=False"),
    ("detect", [(1, 21, 8400)], {"metadata": {"task": "obb"}}, "turned boxes"),
    ("detect", [(1, 8400, 85)], {}, r"3 ways(.|\n)*head: yolov5 (.|\n)*head: \{kind: yolox, strides: \[8, 16, 32\]\}"),
    ("detect", LEVELS, {}, r"9 anchors.*head: \{kind: yolov5, anchors: "),
    ("detect", LEVELS, {"head": {"kind": "yolov5", "anchors": ANCHORS[:6]}}, "need 9 anchors.*not 6"),
    ("detect", [(1, 300, 6)], {}, r"head: end_to_end (.|\n)*head: \{kind: detr, activation: none"),
    ("detect", [(1, 300, 6)], {"head": "end_to_end"}, "do not tell how many classes.*labels: labels.txt"),
    ("detect", [(1, 100, 85)], {"head": {"kind": "yolox"}}, r"must name its levels: head: \{kind: yolox, strides:"),
    ("detect", PAIR_100, {}, r"activation: sigmoid, background: none(.|\n)*activation: softmax, background: last"),
    ("detect", PAIR_100, {"labels": 80}, "against 80 labels"),
    ("detect", SSD, {"labels": 20}, r"8732 anchors.*\(8732, 4\).*head: \{kind: ssd, activation: softmax"),
    ("detect", NMS, {}, "do not tell how many classes"),
    ("detect", [("num_detections", (1, 1)), ("detection_boxes", (1, 100, 4)), ("detection_scores", (1, 100)),
                ("detection_classes", (1, 100))],
     {"labels": 3, "evidence": GraphEvidence("tf2onnx 1.17")}, "y1, x1, y2, x2"),
    ("segment", RCNN, {"labels": 90}, "looks like a detection model. Set task: detect"),
    ("classify", [(1, 1000)], {"labels": 999}, r"\(N, 999\).*\(N, 1000\).*1000 classes against 999 labels"),
    ("classify", [("a", (1, 10)), ("b", (1, 12))], {}, r"outputs: \[a\](.|\n)*outputs: \[b\]"),
    ("classify", [(1, 84, 8400)], {}, "look like those of task: detect"),
    ("detect", [(1, 1000)], {}, r"\(N, 1000\).*look like those of task: classify"),
    ("semantic", [("map", (1, 512, 512), "INT64")], {"size": (512, 512)}, "map.*ArgMax inside"),
    ("semantic", [(1, 300, 128, 128)], {"size": (512, 512)}, "256 classes"),
    ("semantic", [(1, 21, 128, 100)], {"size": (512, 512)}, "no head of the task semantic"),
    ("detect", [(1, 2, 3, 4, 5)], {}, r"heads that are read need:(.|\n)*yolov8(.|\n)*mask_rcnn"),
    ("detect", [(1, 84, 8400)], {"head": {"kind": "yolov8", "outputs": ["none"]}}, "'none'.*output0"),
    ("detect", [], {}, "no outputs"),
]  # fmt: skip


def test_what_does_not_fit_is_explained() -> None:
    for task, outputs, known, words in REFUSED:
        with about(task, outputs, known, words), pytest.raises(HeadMismatchError, match=words):
            plan(task, outputs, known.get("labels", 0), **{k: v for k, v in known.items() if k != "labels"})


def test_each_line_of_an_ambiguity_settles_it() -> None:
    """What the error proposes can be copied into a card, and is then what is built."""
    outputs: Outputs = [(1, 8400, 85)]
    with pytest.raises(HeadMismatchError) as raised:
        plan("detect", outputs)
    lines = [line.partition("#")[0] for line in str(raised.value).splitlines()[1:]]
    kinds = []
    for line in lines:
        made = plan("detect", outputs, head=yaml.safe_load(line)["head"])
        kinds.append(made.kind)
    assert sorted(kinds) == ["yolov5", "yolov8", "yolox"]


def test_options_of_another_head_are_contradictions() -> None:
    for kind in FAMILIES:
        with about(kind):
            given = {
                "activation": "softmax", "background": "last", "normalised": True, "centre_form": True, "multi_label": True,
                "anchors": [[1.0, 2.0]], "strides": [8], "box_weights": [1, 1, 1, 1], "upsample": "classes",
            }  # fmt: skip
            assert set(given) == set(HeadSpec.model_fields) - {"kind", "outputs"}
            task = next(task for task, kinds in HEADS_OF_TASK.items() if kind in kinds)
            for name, value in given.items():
                if name in FAMILIES[kind].options:
                    continue
                with pytest.raises(CardError, match=rf"head\.{name} does not belong to the head {kind}"):
                    plan(task, [(1, 84, 8400)], head={"kind": kind, name: value})


def test_labels_of_an_embedder_are_a_contradiction() -> None:
    with pytest.raises(CardError, match="leave labels out"):
        plan("embed", [(1, 512)], 3)


def test_labels_of_the_source_are_used_where_the_card_has_none() -> None:
    assert plan("classify", [(1, 2)], source_labels=("cat", "dog")).labels == ("cat", "dog")
    assert plan("classify", [(1, 2)], ["a", "b"], source_labels=("cat", "dog")).labels == ("a", "b")
    with pytest.raises(HeadMismatchError, match="labels that the source carries"):
        plan("classify", [(1, 3)], source_labels=("cat", "dog"))


def test_named_outputs_are_read_in_the_cards_order() -> None:
    outputs: Outputs = [("a", (1, 7)), ("b", (1, 9))]
    made = plan("classify", outputs, head={"kind": "scores", "outputs": ["b"]})
    assert (made.outputs, len(made.labels)) == ((1,), 9)


def test_outputs_without_a_batch_are_said_to_be_so() -> None:
    outputs: Outputs = [
        ("boxes", (None, 4)), ("labels", (None,), "INT64"), ("scores", (None,)), ("masks", (None, None, None, None)),
    ]  # fmt: skip
    made = plan("segment", outputs, 90)
    assert (made.kind, made.outputs, made.batched) == ("mask_rcnn", (0, 1, 2, 3), False)


def test_a_binary_map_after_its_sigmoid_is_shifted_to_logits() -> None:
    made = plan("semantic", [(1, 1, 64, 64)], size=(64, 64), evidence=before(("Sigmoid",), ("Sigmoid",)))
    assert (made.shift, made.parameters["classes"], made.labels) == (-0.5, 1, ("class_0", "class_1"))


def test_anchors_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "anchors.npy", np.ones((3, 3, 2)))
    made = plan("detect", LEVELS, head={"kind": "yolov5", "anchors": str(tmp_path / "anchors.npy")})
    assert made.parameters["anchors"] == [[1.0, 1.0]] * 9
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("none")
    for name, words in (
        ("objects.npy", "numpy.save"),
        ("text.npy", "numpy.save"),
        ("none.npy", "cannot be read"),
    ):
        with pytest.raises(CardError, match=words):
            plan("detect", LEVELS, head={"kind": "yolov5", "anchors": str(tmp_path / name)})
    with pytest.raises(CardError, match="3 numbers in row 1"):
        plan("detect", LEVELS, head={"kind": "yolov5", "anchors": [[1, 2], [1, 2, 3]]})


# ---------------------------------------------------------------- evidence of real graphs


def graph(nodes: list[onnx.NodeProto], outputs: list[str]) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    return helper.make_model(made, producer_name="hand", producer_version="1")


def test_evidence_names_the_operators_up_to_the_layers() -> None:
    model = graph(
        [
            helper.make_node("Exp", ["images"], ["early"]),
            helper.make_node("Conv", ["early", "w"], ["conv"]),
            helper.make_node("Sigmoid", ["conv"], ["scores"]),
            helper.make_node("Mul", ["conv", "conv"], ["boxes"]),
            helper.make_node("Concat", ["boxes", "scores"], ["both"], axis=1),
            helper.make_node("Transpose", ["both"], ["output0"]),
        ],
        ["output0", "images"],
    )
    evidence = evidence_from_onnx(model)
    seen = evidence.of("output0")
    assert seen is not None
    assert seen.last == {"Mul", "Sigmoid"}
    assert seen.tail == {"Transpose", "Concat", "Mul", "Sigmoid", "Conv"}
    assert evidence.producer == "hand 1"
    assert "Exp" in evidence.operators


def test_evidence_of_a_cyclic_or_endless_graph_is_bounded() -> None:
    cyclic = graph(
        [helper.make_node("Add", ["a", "b"], ["a"]), helper.make_node("Add", ["a", "a"], ["b"])], ["a"]
    )
    assert evidence_from_onnx(cyclic).outputs["a"].tail == {"Add"}
    chain = [helper.make_node("Relu", [f"t{i + 1}"], [f"t{i}"]) for i in range(20_000)]
    assert evidence_from_onnx(graph(chain, ["t0"])).outputs["t0"].tail == {"Relu"}


def test_a_softmax_in_the_graph_is_not_applied_twice() -> None:
    model = graph([helper.make_node("Softmax", ["images"], ["p"]), helper.make_node("Identity", ["p"], ["output0"])],
                  ["output0"])  # fmt: skip
    made = plan("classify", [(1, 10)], evidence=evidence_from_onnx(model))
    assert "activation" not in made.parameters
    again = plan(
        "classify",
        [(1, 10)],
        evidence=evidence_from_onnx(model),
        head={"kind": "scores", "activation": "sigmoid"},
    )
    assert again.parameters["activation"] == "sigmoid"


dimension = st.one_of(
    st.none(), st.integers(1, 10), st.sampled_from([84, 85, 116, 300, 6, 4, 160, 8400, 25200, 640])
)
shape = st.lists(dimension, min_size=0, max_size=5).map(tuple)


@settings(max_examples=80, deadline=None)
@given(
    task=st.sampled_from(sorted(HEADS_OF_TASK)),
    shapes=st.lists(shape, min_size=0, max_size=5),
    labels=st.integers(0, 100),
    kind=st.integers(0, 10),
    metadata=st.dictionaries(st.sampled_from(["kpt_shape", "end2end", "task"]), st.text(max_size=20)),
)
def test_any_shapes_give_a_plan_or_our_error(
    task: Any, shapes: list[Any], labels: int, kind: int, metadata: dict[str, str]
) -> None:
    """Whatever the outputs look like, a plan comes out whose outputs exist, or an error of ours."""
    kinds = HEADS_OF_TASK[task]
    values = {"head": kinds[kind]} if kind < len(kinds) else {}
    outputs = [OutputInfo(f"o{i}", dims) for i, dims in enumerate(shapes)]
    try:
        made = plan_head(card(task, labels, **values), outputs, metadata=metadata)
    except (BuildError, CardError):
        return
    assert all(0 <= index < len(outputs) for index in made.outputs)
    assert task == "embed" or len(made.labels) == labels or not labels or made.kind == "class_map"
