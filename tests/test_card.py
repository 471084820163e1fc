# SPDX-License-Identifier: Apache-2.0
"""The model card: what is wrong with it is said in words, and nothing hostile in it is followed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sightline.card import ModelCard, card_from_dict, load_card
from sightline.errors import CardError
from sightline.model_repository import shipped_card, shipped_models
from tests.cases import about

GOOD: dict[str, Any] = {"name": "cars", "source": "cars.onnx"}


def card(**values: Any) -> ModelCard:
    return card_from_dict({**GOOD, **values}, Path("/models"))


def test_defaults_are_those_of_an_ultralytics_export() -> None:
    made = card()
    assert (made.source, made.scheme) == ("/models/cars.onnx", "file")
    assert (made.input.size, made.input.std, made.head) == ((640, 640), (255.0, 255.0, 255.0), None)


_WRONG_FIELDS = [
    ({"treshold": 0.5}, ["treshold", "unknown field", "limits"]),
    ({"limits": {"scores": 0.5}}, ["limits.scores", "unknown field", "detections, iou, score"]),
    ({"limits": {"score": 1.5}}, ["limits.score", "1.5", "less than or equal to 1"]),
    ({"limits": {"score": "high"}}, ["limits.score", "'high'"]),
    ({"input": {"size": [640]}}, ["input.size"]),
    ({"input": {"size": [4, 640]}}, ["input.size", "8"]),
    ({"input": {"std": 0}}, ["input.std", "above 0"]),
    ({"input": {"resize": "cut"}}, ["input.resize", "'letterbox', 'stretch', 'corner' or 'crop'"]),
    ({"input": {"short_side": 700}}, ["input", "short_side belongs to resize: crop"]),
    ({"input": {"resize": "crop", "short_side": 600}}, ["short_side is 600", "640"]),
    ({"engine": {"batch": [8, 1]}}, ["engine.batch", "ascend"]),
    ({"engine": {"precision": "int4"}}, ["engine.precision", "'fp16'", "'int8'"]),
    ({"engine": {"dla": 0, "precision": "fp32"}}, ["engine", "dla runs fp16 and int8"]),
    ({"head": "yolov1"}, ["head.kind", "yolov1", "yolov8"]),
    ({"head": {"kind": "ssd", "anchor": []}}, ["head.anchor", "unknown field", "anchors"]),
    ({"task": "classify", "head": "yolov8"}, ["head is yolov8", "classify", "scores"]),
    ({"task": "describe"}, ["task", "'detect'"]),
    ({"proof": {"cosine": 2}}, ["proof.cosine", "less than or equal to 1"]),
    ({"labels": ["car", "car"]}, ["labels must be unique"]),
    ({"labels": 3}, ["labels"]),
    ({"source": None}, ["source"]),
]


def test_a_wrong_field_is_named_with_what_is_allowed() -> None:
    for values, words in _WRONG_FIELDS:
        with about(values, words):
            with pytest.raises(CardError) as caught:
                card(**values)
            for word in words:
                assert word in str(caught.value)


_BAD_NAMES = ["", "../etc", "a/b", "1st", ".hidden", "a b", 'x"', "x\n", "x" * 65, "ä", "a\0b", "-rf", 7]


def test_names_that_could_leave_the_repository_are_refused() -> None:
    for name in _BAD_NAMES:
        with about(name), pytest.raises(CardError, match="name"):
            card(name=name)


@pytest.mark.parametrize(
    ("source", "scheme"),
    [
        ("torchvision:resnet18", "torchvision"),
        ("python:my.net:make", "python"),
        ("huggingface:folder", "huggingface"),
        ("odd:name.onnx", "file"),
        ("net.onnx", "file"),
    ],
)
def test_a_source_names_a_file_or_a_scheme(source: str, scheme: str) -> None:
    made = card(source=source)
    assert made.scheme == scheme
    assert made.source == {"file": f"/models/{source}", "huggingface": "huggingface:/models/folder"}.get(
        scheme, source
    )
    if scheme != "file":
        with pytest.raises(CardError, match="not a file"):
            _ = made.source_path


def test_paths_of_a_card_start_at_its_folder() -> None:
    made = card(weights="w.safetensors", calibration={"images": "pictures"}, proof={"images": "/abs"})
    assert made.weights == Path("/models/w.safetensors")
    assert made.calibration.images == Path("/models/pictures")
    assert made.proof.images == Path("/abs")


def test_all_wrong_fields_are_told_at_once() -> None:
    with pytest.raises(CardError) as caught:
        card_from_dict({"name": "1", "limits": {"iou": 2}}, Path())
    assert all(word in str(caught.value) for word in ("name", "limits.iou", "source: missing"))


def test_a_card_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        card().name = "other"  # type: ignore[misc]


def test_labels_file_lies_beside_the_card(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("car\n\n  bus \n", encoding="utf-8")
    (tmp_path / "card.yaml").write_text("name: a\nsource: m.onnx\nlabels: names.txt\n", encoding="utf-8")
    made = load_card(tmp_path / "card.yaml")
    assert made.labels == ("car", "bus")
    assert made.source_path == tmp_path / "m.onnx"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must hold fields"),
        ("- a\n- b\n", "must hold fields"),
        ("name: [", "not plain YAML"),
        ("name: !!python/object/apply:os.system ['true']", "not plain YAML"),
        ("a: &a [1]\nb: *a\n", "aliases"),
        ("[" * 500, "not plain YAML"),
        ("name: a\nsource: m.onnx\nlabels: missing.txt\n", "missing.txt"),
    ],
)
def test_text_that_is_no_card(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CardError, match=words):
        load_card(path)


def test_an_alias_bomb_costs_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path = tmp_path / "card.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    started = time.process_time()
    with pytest.raises(CardError, match="aliases"):
        load_card(path)
    assert time.process_time() - started < 5  # expanded it would take for ever


def test_a_missing_a_binary_and_a_huge_file(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="cannot be read"):
        load_card(tmp_path / "none.yaml")
    binary = tmp_path / "card.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CardError, match="cannot be read"):
        load_card(binary)
    binary.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(CardError, match="short text"):
        load_card(binary)


def test_the_shipped_cards_load_and_a_wrong_name_lists_them() -> None:
    assert "street_detect" in shipped_models()
    for name in shipped_models():
        made = load_card(shipped_card(name))
        assert made.name == name
        assert made.source_path.is_file()
        assert made.labels or made.task == "embed"
    with pytest.raises(CardError, match="street_detect"):
        shipped_card("../street_detect")
