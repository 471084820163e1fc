# SPDX-License-Identifier: Apache-2.0
"""Result types, and how answers become them, without a server."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sightline.clients import _answers
from sightline.clients._answers import Question, a_model_of, question
from sightline.clients._errors_border import clean_text
from sightline.clients._images import size_of
from sightline.clients._wire import Description, description_from_parameters, public_models
from sightline.deploy.local.canary import check_answer, encoded_picture, raw_picture
from sightline.errors import BadInputError, ProtocolError
from sightline.frame import Frame, PixelFormat
from sightline.naming import STAGES, stage_model
from sightline.preprocess_ext import rle_encode
from sightline.results import Classification, ClassMap, Detections, Embedding
from tests.cases import about

LABELS = ("car", "bus", "person")
WIDTH, HEIGHT = 40, 30


def masks(count: int) -> list[NDArray[np.bool_]]:
    found = []
    for number in range(count):
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[5 + number : 12, 3 : 9 + number] = True
        found.append(mask)
    return found


def segmented(count: int) -> Detections:
    return Detections(
        np.tile(np.array([3, 5, 9, 12], np.float32), (count, 1)),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.arange(count, dtype=np.int32),
        LABELS,
        tuple(rle_encode(mask) for mask in masks(count)),
        (WIDTH, HEIGHT),
    )


# ---------------------------------------------------------------- result types


def test_masks_come_back_as_they_were() -> None:
    found = segmented(3)
    for index, mask in enumerate(masks(3)):
        np.testing.assert_array_equal(found.mask(index), mask)
        assert found.mask(index).dtype == np.bool_
    assert [one.mask for one in found] == list(found.masks or ())


def test_masks_go_with_their_objects() -> None:
    kept = segmented(3).above(0.6)
    assert kept.masks == (segmented(3).masks or ())[:2]
    assert kept.size == (WIDTH, HEIGHT)
    assert segmented(3).above(1.0).masks == ()


def test_masks_in_json_are_read_by_coco() -> None:
    pycocotools = pytest.importorskip("pycocotools.mask")
    for value, mask in zip(json.loads(json.dumps(segmented(2).to_dicts())), masks(2), strict=True):
        np.testing.assert_array_equal(pycocotools.decode(value["mask"]), mask)
    assert "mask" not in Detections.empty().to_dicts()


def test_objects_without_masks_say_so() -> None:
    boxes = Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))
    with pytest.raises(ValueError, match="no masks; only a model of the task segment"):
        boxes.mask(0)
    assert set(boxes.to_dicts()[0]) == {"label", "class_id", "score", "box"}


@pytest.mark.parametrize("change", [{"masks": (b"0",)}, {"size": None}])
def test_masks_must_fit(change: dict[str, Any]) -> None:
    values = {"masks": segmented(2).masks, "size": (WIDTH, HEIGHT), **change}
    with pytest.raises(ValueError, match="each object must have one"):
        Detections(np.zeros((2, 4), np.float32), np.ones(2, np.float32), np.zeros(2, np.int32), (), **values)


def test_classification() -> None:
    found = Classification(np.array([0.7, 0.2], np.float32), np.array([2, 9], np.int32), LABELS)
    assert (found.top.label, found.top.class_id, len(found)) == ("person", 2, 2)
    assert [one.label for one in found] == ["person", "9"]
    assert found.above(0.5).to_dicts() == [{"label": "person", "class_id": 2, "score": 0.7}]
    with pytest.raises(ValueError, match="no class"):
        found.above(0.9).top  # noqa: B018
    with pytest.raises(ValueError, match=r"shape \(K,\)"):
        Classification(np.zeros(2, np.float32), np.zeros(3, np.int32))


def test_class_map() -> None:
    classes = np.zeros((HEIGHT, WIDTH), np.uint8)
    classes[:, :10] = 2
    classes[0, 0] = 200
    found = ClassMap(classes, LABELS)
    assert found.size == (WIDTH, HEIGHT)
    assert list(found.fractions()) == ["car", "person", "200"]
    assert sum(found.fractions().values()) == pytest.approx(1.0)
    assert [area.pixels for area in found.areas()] == [900, 299, 1]
    np.testing.assert_array_equal(found.mask(2), classes == 2)
    with pytest.raises(ValueError, match="must be uint8 of shape"):
        ClassMap(classes.astype(np.int32))  # type: ignore[arg-type]


def test_a_class_map_in_json_loses_nothing() -> None:
    pycocotools = pytest.importorskip("pycocotools.mask")
    classes = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    told = json.loads(json.dumps(ClassMap(classes, LABELS).to_dict()))
    again = np.full((told["height"], told["width"]), 255, np.uint8)
    for one in told["classes"]:
        again[pycocotools.decode(one["mask"]) > 0] = one["class_id"]
    np.testing.assert_array_equal(again, classes)


def test_embeddings() -> None:
    one, other = Embedding(np.array([3, 4], np.float32)), Embedding(np.array([-4, 3], np.float32))
    assert one.cosine(one) == 1.0
    assert one.cosine(other) == 0.0
    assert one.cosine(Embedding(np.array([-6, -8], np.float32))) == -1.0
    assert one.cosine(Embedding(np.zeros(2, np.float32))) == 0.0
    assert one.to_dict() == {"embedding": [3.0, 4.0]}
    with pytest.raises(ValueError, match="2 and 3 values"):
        one.cosine(Embedding(np.zeros(3, np.float32)))
    with pytest.raises(ValueError, match="must be float32"):
        Embedding(np.zeros(3))  # type: ignore[arg-type]


# ---------------------------------------------------------------- answers


def asked(task: str) -> Question:
    return question("m", Description(LABELS, 0, task), task)


def sizes(_: int) -> tuple[int, int]:
    return WIDTH, HEIGHT


def texts(*items: list[bytes]) -> NDArray[Any]:
    array = np.empty((len(items), len(items[0])), object)
    for row, item in zip(array, items, strict=True):
        row[:] = item
    return array


def boxes_answer(counts: list[int], rows: int) -> dict[str, Any]:
    items = len(counts)
    return {
        "COUNT": np.array(counts, np.int32).reshape(items, 1),
        "BOXES": np.zeros((items, rows, 4), np.float32),
        "SCORES": np.full((items, rows), 0.5, np.float32),
        "CLASSES": np.zeros((items, rows), np.int32),
        "ERROR": texts(*([b"[bad_image] cut off" if count < 0 else b""] for count in counts)),
    }


def test_each_item_gets_its_masks_or_its_error() -> None:
    text = rle_encode(masks(1)[0])
    answer = {**boxes_answer([1, -1, 2], 2), "MASKS": texts([text, b""], [b"", b""], [text, text])}
    first, second, third = asked("segment").results(answer, sizes)
    assert isinstance(first, Detections)
    assert first.masks == (text,)
    assert first.size == (WIDTH, HEIGHT)
    assert (type(second), str(second)) == (BadInputError, "cut off")
    assert isinstance(third, Detections)
    assert third.masks == (text, text)


@pytest.mark.parametrize("text", [b"", b"\xff\xff", b"0", rle_encode(np.zeros((5, 5), np.bool_)), 7])
def test_a_mask_that_does_not_fit_the_picture(text: Any) -> None:
    answer = {**boxes_answer([1], 1), "MASKS": texts([text])}
    with pytest.raises(ProtocolError, match="MASKS cannot be read"):
        asked("segment").results(answer, sizes)


def test_classes_end_at_the_first_that_is_none() -> None:
    answer = {
        "SCORES": np.array([[0.9, 0.1, 0], [0, 0, 0], [0, 0, 0]], np.float32),
        "CLASSES": np.array([[2, 0, -1], [-1, -1, -1], [-1, -1, -1]], np.int32),
        "ERROR": texts([b""], [b"[bad_image] cut off"], [b""]),
    }
    first, second, third = asked("classify").results(answer, sizes)
    assert isinstance(first, Classification)
    assert [one.class_id for one in first] == [2, 0]
    assert (type(second), str(second)) == (BadInputError, "cut off")
    assert (type(third), str(third)) == (BadInputError, "the model gave no answer for this image")


def test_class_maps_are_cut_to_their_pictures() -> None:
    maps = np.zeros((3, 50, 60), np.uint8)
    maps[0, :30, :40] = 1
    maps[2, :50, :20] = 2
    wanted = {0: (40, 30), 2: (20, 50)}
    answer = {"CLASS_MAP": maps, "ERROR": texts([b""], [b"[bad_frame] too short"], [b""])}
    first, second, third = asked("semantic").results(answer, wanted.__getitem__)
    assert isinstance(first, ClassMap)
    assert first.size == (40, 30)
    assert first.fractions() == {"bus": 1.0}
    assert str(second) == "too short"
    assert isinstance(third, ClassMap)
    assert third.fractions() == {"person": 1.0}
    with pytest.raises(ProtocolError, match="the picture has 61x50"):
        asked("semantic").results({"CLASS_MAP": maps}, lambda _: (61, 50))


def test_a_bad_item_has_no_embedding() -> None:
    vectors = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    answer = {"EMBEDDING": vectors, "ERROR": texts([b""], [b"[bad_image]"], [b""])}
    first, second, third = asked("embed").results(answer, sizes)
    assert isinstance(first, Embedding)
    assert str(second) == "the server could not use this image"
    assert str(third) == "the model gave no answer for this image"


def test_an_item_without_an_answer_and_without_words() -> None:
    (one,) = asked("detect").results({**boxes_answer([-1], 0), "ERROR": texts([b""])}, sizes)
    assert str(one) == "the model gave no answer for this image"


_BROKEN_ANSWERS = [
    ("classify", {"SCORES": np.zeros((1, 2), np.float32), "CLASSES": np.zeros((1, 3), np.int32)}),
    ("classify", {"CLASSES": np.zeros((1, 3), np.int32)}),
    ("semantic", {"CLASS_MAP": np.zeros((1, 3, 4), np.int32)}),
    ("semantic", {"CLASS_MAP": np.zeros((1, 0, 4), np.uint8)}),
    ("semantic", {}),
    ("embed", {"EMBEDDING": np.full((1, 3), np.nan, np.float32)}),
    ("embed", {"EMBEDDING": np.zeros((1, 0), np.float32)}),
    ("embed", {"EMBEDDING": np.zeros((1, 3), np.float64)}),
    ("segment", boxes_answer([1], 1)),
    ("segment", {**boxes_answer([1], 1), "MASKS": texts([b"a", b"b"])}),
    ("segment", {**boxes_answer([1], 1), "MASKS": np.zeros((1, 1), np.float32)}),
]


def test_answers_that_break_the_contract() -> None:
    for task, answer in _BROKEN_ANSWERS:
        with about(task, answer), pytest.raises(ProtocolError):
            asked(task).results(answer, sizes)


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize("method", ["detect", "segment", "classify", "semantic", "embed"])
def test_a_model_that_tells_no_task_is_asked_as_the_method_says(method: str) -> None:
    assert question("m", Description(), method).task == method
    assert question("m", Description(), "infer").task == "detect"


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(
        BadInputError, match="m is a pose model; this version reads detect, segment, classify"
    ):
        question("m", Description(task="pose"), "infer")


def test_tasks_in_words() -> None:
    assert (a_model_of("embed"), a_model_of("classify")) == ("an embed model", "a classify model")


def test_rooms_hold_the_largest_answers() -> None:
    frame = Frame(np.zeros(WIDTH * HEIGHT * 3, np.uint8), WIDTH, HEIGHT, PixelFormat.RGB)
    description = Description(LABELS, 20, "", 7)
    rooms = {
        task: {room.name: room.size_bytes for room in question("m", description, task).rooms(frame, 1000)}
        for task in ("segment", "classify", "semantic", "embed")
    }
    assert rooms["segment"] == {
        "COUNT": 4, "BOXES": 320, "SCORES": 80, "CLASSES": 80, "ERROR": None, "MASKS": None,
    }  # fmt: skip
    assert rooms["classify"] == {"SCORES": 28, "CLASSES": 28, "ERROR": None}
    assert rooms["semantic"] == {"CLASS_MAP": WIDTH * HEIGHT, "ERROR": None}
    assert rooms["embed"] == {"EMBEDDING": 4 * _answers.EMBEDDING_VALUES, "ERROR": None}


def test_a_description_tells_task_and_limits() -> None:
    told = {"task": "classify", "labels": LABELS, "limits": {"detections": 300, "top": 5}}
    assert description_from_parameters({"sightline": json.dumps(told)}) == Description(
        LABELS, 300, "classify", 5
    )
    for value in ({"task": 3}, {"task": "rm -rf /"}, {"task": "x" * 99}):
        with pytest.raises(ProtocolError, match="task must be a short word"):
            description_from_parameters({"sightline": json.dumps(value)})
    for limits in ([], {"top": -1, "detections": True}, {"top": "5"}, {"detections": 10**9}):
        about = description_from_parameters({"sightline": json.dumps({"limits": limits})})
        assert (about.rows, about.top) == (0, 0)


@pytest.mark.parametrize("stage", [*STAGES, "frames"])
def test_stages_of_both_forms_are_no_models(stage: str) -> None:
    names = ["street", f"street_{stage}", stage_model("street", 12, stage), f"other_v1_{stage}", "street_v1"]
    assert public_models(names) == [f"other_v1_{stage}", "street", "street_v1"]


@pytest.mark.parametrize("inner", ["street_v12_network", "street_network", "street_v3_postprocess_0_1"])
def test_errors_name_the_model_not_its_stage(inner: str) -> None:
    assert clean_text(f"in ensemble 'street', {inner}: no memory", "street_frames") == "street: no memory"


# ---------------------------------------------------------------- sizes of files


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_a_size_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(BadInputError, match="size of the image"):
        size_of(data)


# ---------------------------------------------------------------- canaries


CANARY_TEXT = rle_encode(np.ones((240, 320), np.bool_))
SOUND: dict[str, dict[str, Any]] = {
    "classify": {"SCORES": np.ones((1, 2), np.float32), "CLASSES": np.array([[4, -1]], np.int32)},
    "semantic": {"CLASS_MAP": np.zeros((1, 240, 320), np.uint8)},
    "embed": {"EMBEDDING": np.array([[0.6, 0.8]], np.float32)},
    "segment": {**boxes_answer([1], 1), "MASKS": texts([CANARY_TEXT])},
}
RANKS = {
    "COUNT": 2,
    "BOXES": 3,
    "SCORES": 2,
    "CLASSES": 2,
    "CLASS_MAP": 3,
    "EMBEDDING": 2,
    "MASKS": 2,
    "ERROR": 2,
}
TYPES = {"f4": "FP32", "i4": "INT32", "u1": "UINT8", "O": "STRING"}


def judged(values: dict[str, Any]) -> str:
    outputs = [(name, TYPES[value.dtype.str.lstrip("<|")], RANKS[name]) for name, value in values.items()]
    return check_answer(outputs, values)


@pytest.mark.parametrize("task", SOUND)
def test_sound_canaries(task: str) -> None:
    assert judged({**SOUND[task], "ERROR": texts([b""])}) == ""


_BROKEN_CANARIES = [
    ("classify", {"CLASSES": np.full((1, 2), -1, np.int32)}, "CLASSES holds no class"),
    ("classify", {"ERROR": texts([b"[bad_image] x"])}, "ERROR says [bad_image] x"),
    (
        "classify",
        {"SCORES": np.full((1, 2), np.nan, np.float32)},
        "SCORES holds values that are not finite",
    ),
    ("embed", {"EMBEDDING": np.zeros((1, 4), np.float32)}, "EMBEDDING has the length 0.0000"),
    ("embed", {"EMBEDDING": np.ones((1, 4), np.float32)}, "EMBEDDING has the length 2.0000"),
    ("semantic", {"CLASS_MAP": np.zeros((1, 0, 0), np.uint8)}, "CLASS_MAP has shape (1, 0, 0)"),
    ("segment", {"MASKS": texts([b"xx"])}, "MASKS cannot be read"),
    ("segment", {"MASKS": np.empty((1, 0), object)}, "COUNT is 1 but there are 0 masks"),
    ("segment", {"ERROR": texts([b"[bad_frame] y"])}, "ERROR says [bad_frame] y"),
]


def test_broken_canaries() -> None:
    for task, change, words in _BROKEN_CANARIES:
        with about(task, change, words):
            assert words in judged({**SOUND[task], **change})


def test_each_canary_has_other_bytes() -> None:
    """Else Triton's response cache would answer for a dead stage."""
    for make in (encoded_picture, raw_picture):
        assert len({make(number).tobytes() for number in range(300)}) == 300
    first, second = (np.asarray(Image.open(io.BytesIO(encoded_picture(n).tobytes()))) for n in (1, 2))
    np.testing.assert_array_equal(first, second)
