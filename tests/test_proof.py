# SPDX-License-Identifier: Apache-2.0
"""The proof: a faithful build passes in every task; one that is made wrong is refused, and the stage at fault is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from sightline.builders import Choices, card_from_onnx, repository_from_card
from sightline.builders.network import canonical_network
from sightline.builders.onnx_source import open_onnx
from sightline.builders.proof import Measure, Proof, ProofSubject, StageDrift, prove
from sightline.builders.proof.measures import Pair, agreement
from sightline.builders.proof.reference.pixels import network_input
from sightline.builders.proof.report import Shown, report_page
from sightline.builders.proof.sameness import sameness
from sightline.card import InputSpec, ModelCard, card_from_dict, load_card
from sightline.errors import BuildError
from sightline.frame import Frame
from sightline.model_repository import shipped_card
from sightline.preprocess_ext import letterbox
from sightline.results import Classification, ClassMap, Detections, Embedding, Result
from tests.onnx_models import (
    OPSET,
    mean_colours,
    mean_quarters,
    planted,
    planted_masks,
    write_pictures,
    yolov8_like,
)
from tests.proof_page import check_proof

FEW = {"samples": 3}


def planted_card(make: Callable[..., Path], folder: Path, task: str, **values: Any) -> ModelCard:
    return card_from_onnx(make(folder / f"{task}.onnx"), {"task": task, "proof": FEW, **values})


def subject_of(card: ModelCard, repository: Path, number: int = 1) -> ProofSubject:
    source = open_onnx(card.source_path)
    network = canonical_network(source, card)
    return ProofSubject(card, source, network, "ONNX", None, repository, number)


# ---------------------------------------------------------------- faithful builds


def test_a_faithful_build_is_proven_and_its_page_stays_with_it(tmp_path: Path) -> None:
    """One task; the others are in tests/test_families.py."""
    card = planted_card(mean_colours, tmp_path, "classify")
    report = repository_from_card(card, tmp_path / "repository", Choices(prove=True))
    assert report.public
    assert "tensor error" in report.proof[0]
    check_proof(tmp_path / "repository" / "classify_v1_network" / "proof", "top1_agreement")


# ---------------------------------------------------------------- builds that are made wrong


def change_stage(repository: Path, model: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a stage of a finished repository is told."""
    path = repository / model / "config.pbtxt"
    config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    values = json.loads(config.parameters["sightline"].string_value)
    change(values)
    config.parameters["sightline"].string_value = json.dumps(values)
    path.write_text(text_format.MessageToString(config, as_utf8=True), encoding="utf-8")


def other_std(values: dict[str, Any]) -> None:
    values["letterbox"]["std"] = [90.0, 90.0, 90.0]


def other_channel_order(values: dict[str, Any]) -> None:
    values["letterbox"]["colour"] = "bgr"


def other_limit(values: dict[str, Any]) -> None:
    values["score"] = 0.8


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelCard, Path]:
    """The shipped detector and its repository, which a test copies before it changes anything."""
    card = card_from_dict(
        {**load_card(shipped_card("street_detect")).model_dump(exclude_unset=True), "proof": FEW}, Path()
    )
    repository = tmp_path_factory.mktemp("street") / "repository"
    repository_from_card(card, repository)
    return card, repository


@pytest.mark.parametrize(
    ("stages", "change", "blamed"),
    [
        (("decode", "letterbox"), other_std, ("decode and preprocess", "preprocess frames")),
        (("decode",), other_channel_order, ("decode and preprocess",)),
        (("postprocess",), other_limit, ("post-processing",)),
        (("network",), None, ("engine",)),
    ],
)
def test_a_wrong_stage_is_found_and_named(
    tmp_path: Path,
    street: tuple[ModelCard, Path],
    stages: tuple[str, ...],
    change: Callable[[dict[str, Any]], None] | None,
    blamed: tuple[str, ...],
) -> None:
    card, built = street
    repository = tmp_path / "repository"
    shutil.copytree(built, repository, symlinks=True)
    if change is None:
        forge_engine(repository, card, tmp_path)
    else:
        for stage in stages:
            change_stage(repository, f"street_detect_v1_{stage}", change)
    proof = prove(subject_of(card, repository))
    assert not proof.passed
    assert tuple(stage.stage for stage in proof.stages if not stage.passed) == blamed
    assert all(stage in proof.failures[0] for stage in blamed)
    assert "proof.map" in " ".join(proof.failures) or "proof.tensor_error" in " ".join(proof.failures)
    assert b"does not answer like its source" in proof.report


def forge_engine(repository: Path, card: ModelCard, folder: Path) -> None:
    """Put the engine of another network, of the same shapes, in place of the right one."""
    other = yolov8_like(folder / "other.onnx", classes=11, size=card.input.size)
    values = {"name": "other", "source": str(other), "input": {"size": card.input.size}}
    made = card_from_dict({**values, "engine": {"precision": "fp32"}}, Path())
    network = canonical_network(open_onnx(other), made)
    anchors = (384 // 8) * (224 // 8)
    assert network.shapes == ((1, 15, anchors),)
    from sightline.builders.engines.openvino import write_openvino

    content = padded_anchors(network.content, 1764 - anchors)
    for name in ("model.xml", "model.bin"):
        (repository / "street_detect_v1_network" / "1" / name).unlink()
    write_openvino(content, made, repository / "street_detect_v1_network" / "1")


def padded_anchors(content: bytes, more: int) -> bytes:
    """The network with so many empty anchors behind its own."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(content)
    node = next(node for node in model.graph.node if "RAW" in node.output)
    node.output[0] = "RAW/few"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 0, 0, 0, more]), "pads"))
    model.graph.node.append(helper.make_node("Pad", ["RAW/few", "pads"], ["RAW"]))
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value += more
    return bytes(model.SerializeToString())


def failed_proof() -> Proof:
    measure = Measure("cosine", "smallest cosine to the source", 0.5, 0.99, True, 3)
    return Proof((measure,), (StageDrift("engine", "share", 0.5, 1.0, 0.01),), 3, "3 pictures", "server", 1.0)


def test_a_build_that_drifts_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sightline.builders.proof.prove", lambda *_, **__: failed_proof())
    card = planted_card(mean_quarters, tmp_path, "embed")
    repository = tmp_path / "shelf" / "repository"
    with pytest.raises(
        BuildError, match=r"cosine.* 0\.500; the card asks for 0\.99 .*engine.*\n.*--allow-drift"
    ):
        repository_from_card(card, repository, Choices(prove=True))
    assert [path.name for path in repository.iterdir()] == [
        ".sightline-records.db"
    ]  # it remembers the refusal
    assert list((tmp_path / "cache" / "sightline" / "proofs").glob("embed-*.html"))
    report = repository_from_card(card, repository, Choices(prove=True, allow_drift=True))
    assert not report.public
    assert not (repository / "embed").exists()
    assert (repository / "embed_v1_network" / "proof" / "proof.html").exists()


# ---------------------------------------------------------------- pictures that show nothing

NOTHING_FOUND = {"score": 0.99}
STRETCHED: dict[Callable[..., Path], dict[str, Any]] = {
    planted: {"size": [384, 224]},
    yolov8_like: {
        "size": [64, 32],
        "resize": "stretch",
    },  # its boxes lie in the corner, where others have their padding
}
FAINT: dict[str, tuple[Callable[..., Path], str, dict[str, Any], set[str]]] = {
    "boxes": (planted, "detect", {}, {"map"}),
    "masks": (planted_masks, "segment", {}, {"map", "mask_iou"}),
    "random weights, whose scores nearly tie": (
        yolov8_like,
        "detect",
        {"input": STRETCHED[yolov8_like]},
        {"map"},
    ),
}


@pytest.mark.parametrize("kind", FAINT)
def test_where_nothing_is_found_the_best_candidates_are_compared(tmp_path: Path, kind: str) -> None:
    make, task, values, measures = FAINT[kind]
    proof = {"samples": 2, "images": write_pictures(tmp_path / "pictures")}
    card = planted_card(make, tmp_path, task, limits=NOTHING_FOUND, **{**values, "proof": proof})
    repository = tmp_path / "repository"
    report = repository_from_card(card, repository, Choices(prove=True))
    assert report.public
    assert ", from score 0." in report.proof[0]
    folder = repository / f"{task}_v1_network" / "proof"
    check_proof(folder, "map")
    said = json.loads((folder / "proof.json").read_text())
    assert 0 < said["score"] < NOTHING_FOUND["score"]
    assert {one["name"] for one in said["measures"]} == {"tensor_error", *measures}
    assert said["notes"][0].startswith("At the card's score 0.99 the source finds nothing in these pictures.")
    assert said["notes"][0] in unescape((folder / "proof.html").read_text())


def other_unit(values: dict[str, Any]) -> None:
    """The boxes then have no area."""
    values["normalised"] = True


def no_nms(values: dict[str, Any]) -> None:
    values["iou"] = 1.0


@pytest.mark.parametrize(
    ("make", "change", "said"),
    [
        (
            planted,
            other_unit,
            (
                r"mAP50 .*, from score 0\.9 is 0\.000; .* It drifted in: post-processing\.",
                r"served model finds nothing where the source finds 2 objects.*stages that drift",
            ),
        ),
        (
            yolov8_like,
            no_nms,
            (r"post-processing answers otherwise than its reference.* of the objects differ",),
        ),
    ],
)
def test_a_wrong_stage_is_found_where_the_source_finds_nothing(
    tmp_path: Path, make: Callable[..., Path], change: Callable[[dict[str, Any]], None], said: tuple[str, ...]
) -> None:
    proof = {"samples": 2, "images": write_pictures(tmp_path / "pictures")}
    card = planted_card(make, tmp_path, "detect", limits=NOTHING_FOUND, input=STRETCHED[make], proof=proof)
    repository = tmp_path / "repository"
    repository_from_card(card, repository)
    change_stage(repository, "detect_v1_postprocess", change)
    failures = "\n".join(prove(subject_of(card, repository)).failures)
    for words in said:
        assert re.search(words, failures)


def listed_objects(path: Path) -> Path:
    """As torchvision exports detectors: boxes, labels and scores of three objects, wherever they are."""
    from onnx import TensorProto, helper, numpy_helper

    values = {
        "boxes": [[2, 2, 20, 20], [8, 8, 30, 30], [1, 9, 9, 30]], "kinds": [1, 2, 3], "values": [0.9, 0.8, 0.7],
    }  # fmt: skip
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        *(helper.make_node("Add", [f"all_{name}", "nothing"], [name]) for name in values),
    ]
    constants = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    constants += [
        numpy_helper.from_array(np.array(v, np.float32), f"all_{name}") for name, v in values.items()
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, np.shape(v)) for name, v in values.items()
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])
    graph = helper.make_graph(nodes, "listed", [images], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_source_without_any_candidate_is_not_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels and scores exchanged: no score has a class of the model, on either side, and all tensors are equal."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    head = {"kind": "mask_rcnn", "outputs": ["boxes", "values", "kinds"]}
    proof = {"samples": 2, "images": write_pictures(tmp_path / "pictures")}
    card = planted_card(listed_objects, tmp_path, "detect", head=head, labels=["a", "b", "c"], proof=proof)
    repository = tmp_path / "repository"
    with pytest.raises(
        BuildError,
        match=r"Nothing is proven: .*its head has 3 rows.*--images FOLDER.*head\.outputs.*\n.*--allow-drift",
    ):
        repository_from_card(card, repository, Choices(prove=True))
    report = repository_from_card(card, repository, Choices(prove=True, allow_drift=True))
    assert not report.public
    assert "Nothing is proven" in report.proof[-1]
    folder = repository / "detect_v1_network" / "proof"
    said = json.loads((folder / "proof.json").read_text())
    assert (said["passed"], [one["passed"] for one in said["measures"]]) == (False, [True])
    assert "is not proven to answer like its source" in (folder / "proof.html").read_text()
    right = card.model_copy(update={"head": card.head.model_copy(update={"outputs": ()})})
    assert repository_from_card(right, repository, Choices(prove=True)).public


LABELS = ("road", "car")


def classified(kind: int) -> Classification:
    return Classification(np.array([0.9], np.float32), np.array([kind], np.int32), LABELS)


def mapped(*kinds: int) -> ClassMap:
    return ClassMap(np.array([kinds], np.uint8), LABELS)


def embedded(*values: float) -> Embedding:
    return Embedding(np.array(values, np.float32))


@pytest.mark.parametrize(
    ("task", "same", "different", "words"),
    [
        (
            "classify",
            [classified(1), classified(1)],
            [classified(0), classified(1)],
            "the same class, car, in every picture",
        ),
        (
            "semantic",
            [mapped(1, 1), mapped(1, 1)],
            [mapped(1, 1), mapped(1, 0)],
            "car alone in every picture",
        ),
        (
            "embed",
            [embedded(1, 0), embedded(1, 0.01)],
            [embedded(1, 0), embedded(0.6, 0.8)],
            "of all pictures are alike",
        ),
        ("detect", [], [], None),
    ],
)
def test_the_proof_says_where_all_pictures_answer_the_same(
    task: str, same: list[Result], different: list[Result], words: str | None
) -> None:
    card = card_from_dict({"name": "a", "source": "a.onnx", "task": task}, Path())
    assert sameness(card, different) == sameness(card, same[:1]) == ()
    if words:
        (note,) = sameness(card, same)
        assert words in note
        assert "--images FOLDER" in note


# ---------------------------------------------------------------- measures


def boxes(count: int, shift: float = 0.0, score: float = 0.9, kind: int = 0) -> Detections:
    starts = np.arange(count, dtype=np.float32)[:, None] * 40 + np.float32(shift)
    corners = np.concatenate([starts, starts, starts + 30, starts + 30], axis=1)
    return Detections(corners, np.full(count, score, np.float32), np.full(count, kind, np.int32))


CARD = card_from_dict({"name": "a", "source": "a.onnx"}, Path())


@pytest.mark.parametrize(
    ("source", "served", "value"),
    [
        (boxes(4), boxes(4), 1.0),
        (boxes(4), boxes(4, shift=2), 1.0),
        (boxes(4), boxes(4, shift=25), 0.0),
        (boxes(4), boxes(2), 51 / 101),
        (boxes(4), boxes(4, kind=1), 0.0),
        (boxes(4), Detections.empty(), 0.0),
    ],
)
def test_map_has_the_source_as_its_truth(source: Detections, served: Detections, value: float) -> None:
    (found,) = agreement(CARD, [Pair(source, served)])
    assert found.value == pytest.approx(value)
    assert found.counted >= 4


def test_objects_that_the_source_does_not_have_count_against_the_served_model() -> None:
    both = Detections(*joined(boxes(4), boxes(3, kind=2)))
    (found,) = agreement(CARD, [Pair(boxes(4), both)])
    assert (found.value, found.counted) == (0.5, 7)
    (invented,) = agreement(CARD, [Pair(Detections.empty(), boxes(2))])
    assert (invented.value, invented.passed) == (0.0, False)


def test_objects_at_the_score_limit_do_not_count_either_way() -> None:
    limit = CARD.limits.score
    assert agreement(CARD, [Pair(boxes(2, score=limit + 0.01), Detections.empty())]) == []
    both = Pair(boxes(1), Detections(*joined(boxes(1), boxes(3, score=limit + 0.01))), boxes(3, score=limit))
    assert agreement(CARD, [both])[0].value == 1.0


def test_a_second_box_of_an_object_counts_against_the_served_model() -> None:
    """As without NMS; unless it is one that the source's NMS has suppressed by a little only."""
    both, mixed = joined(boxes(4), boxes(4, shift=3)), [0, 4, 1, 5, 2, 6, 3, 7]
    twice = Detections(*(values[mixed] for values in both))
    (found,) = agreement(CARD, [Pair(boxes(4), twice, boxes(4))])
    assert 0.5 < found.value < 0.95
    (near,) = agreement(CARD, [Pair(boxes(4), twice, twice)])
    assert near.value == 1.0


def joined(*many: Detections) -> tuple[Any, Any, Any]:
    return (
        np.concatenate([one.boxes for one in many]),
        np.concatenate([one.scores for one in many]),
        np.concatenate([one.classes for one in many]),
    )


def test_measures_of_whole_pictures() -> None:
    def card(task: str) -> ModelCard:
        return card_from_dict({"name": "a", "source": "a.onnx", "task": task}, Path())

    first = Classification(np.array([0.9], np.float32), np.array([1], np.int32))
    second = Classification(np.array([0.9], np.float32), np.array([2], np.int32))
    assert agreement(card("classify"), [Pair(first, first), Pair(first, second)])[0].value == 0.5
    half = np.zeros((2, 4), np.uint8)
    half[:, :2] = 1
    whole = ClassMap(np.zeros((2, 4), np.uint8))
    assert agreement(card("semantic"), [Pair(ClassMap(half), whole)])[0].value == pytest.approx(0.25)
    one, other = (Embedding(np.array(v, np.float32)) for v in ([1, 0], [0.6, 0.8]))
    assert agreement(card("embed"), [Pair(one, one), Pair(one, other)])[0].value == pytest.approx(0.6)


# ---------------------------------------------------------------- the references, and the page

RESIZE = {"corner": "letterbox_corner", "crop": "centre_crop"}


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    resize=st.sampled_from(["letterbox", "stretch", "corner", "crop"]),
    filter_=st.sampled_from(["bilinear", "triangle", "box"]),
    colour=st.sampled_from(["rgb", "bgr"]),
)
def test_the_reference_and_the_core_make_the_same_input(
    width: int, height: int, resize: str, filter_: str, colour: str
) -> None:
    """The plain reference differs from the C core by no more than Pillow's rounding of levels, and not in geometry."""
    if resize == "crop" and max(width, height) / min(width, height) > 20:
        return
    spec = InputSpec(
        size=(40, 32), resize=resize, filter=filter_, colour=colour, mean=(1, 2, 3), std=(1, 1, 1)
    )
    picture = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3), np.uint8)
    wanted, geometry = network_input(picture, spec)
    tensor = np.empty((3, 32, 40), np.float32)
    found = letterbox(
        Frame.from_rgb(picture), tensor, mean=spec.mean, std=spec.std, pad_value=spec.pad, colour=colour,
        resize=RESIZE.get(resize, resize), interpolation=filter_,
    )  # fmt: skip
    np.testing.assert_allclose(found.as_array(), geometry, rtol=1e-6)
    assert np.abs(wanted - tensor).max() <= (1.01 if filter_ == "triangle" else 0.01)


def test_hostile_labels_stay_text(tmp_path: Path) -> None:
    label = '<img src=x onerror="alert(1)">'
    found = Classification(np.array([0.9], np.float32), np.array([0], np.int32), (label,))
    card = planted_card(mean_colours, tmp_path, "classify", labels=[label, "b", "c"])
    picture = np.zeros((20, 20, 3), np.uint8)
    page = report_page(subject_of(card, tmp_path), failed_proof(), [Shown(picture, Pair(found, found))])
    assert b"<img src=x" not in page
    assert b"&lt;img src=x" in page
