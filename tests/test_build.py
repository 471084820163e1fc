# SPDX-License-Identifier: Apache-2.0
"""From an ONNX file to a repository entry: what is refused, what is written, what survives a failure."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from sightline.builders import BuildReport, card_from_onnx, open_onnx, repository_from_card
from sightline.builders import repository as writing
from sightline.builders.build import Choices, Progress, only_build
from sightline.builders.cards import name_from_path
from sightline.builders.engines.cpu import compare
from sightline.builders.entries.context import EntryContext
from sightline.builders.entries.entry import public_configs, stage_configs
from sightline.builders.entries.models import config_text
from sightline.builders.heads import HeadPlan
from sightline.builders.onnx_source import labels_from_names
from sightline.builders.preprocess import choice
from sightline.builders.repository import make_public, public_number, remove_version, versions
from sightline.builders.stages.cpu_engine import open_engine
from sightline.card import ModelCard, card_from_dict, load_card
from sightline.cli import app
from sightline.errors import BuildError, CardError, HeadMismatchError, ModelFileError, OutputError
from tests.cases import about
from tests.onnx_models import planted, with_external_data, write_pictures, yolov8_like

NAMES = tuple(f"thing {index}" for index in range(11))
PUBLIC = ("", "_frames")
RECORDS = ".sightline-records.db"
STAGES = ("_v1_decode", "_v1_letterbox", "_v1_network", "_v1_postprocess")


def card(source: Path, **values: Any) -> ModelCard:
    fields = {"name": "toy", "source": source, "input": {"size": (64, 32)}, "labels": NAMES, **values}
    return card_from_dict(fields, Path.cwd())


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files below the folder, temporary ones included; not the records, which remember every build."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(RECORDS)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return yolov8_like(tmp_path / "toy.onnx")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "shelf" / "repository"


# ---------------------------------------------------------------- the source file


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no graph"),
        (b"hello, this is text", "not an ONNX"),
        (b"PK\x03\x04 archive", "yolo export"),
        (b"\x80\x04\x95 pickle", "never opens"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"<!doctype html>", "download it again"),
        (b"\x00" * 4096, "not an ONNX"),
        (bytes(range(256)) * 40, "not an ONNX"),
    ],
)
def test_a_file_that_is_no_onnx(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=words):
        open_onnx(path)


def test_a_missing_file_a_folder_and_a_cut_off_file(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        open_onnx(tmp_path / "none.onnx")
    with pytest.raises(ModelFileError, match="cannot be read"):
        open_onnx(tmp_path)
    whole = model.read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 1):
        model.write_bytes(whole[:size])
        with pytest.raises(ModelFileError):
            open_onnx(model)


@pytest.mark.parametrize(("batch", "nhwc"), [(1, False), ("batch", False), (1, True), ("batch", True)])
def test_batch_and_layout_of_the_export_do_not_matter(
    tmp_path: Path, target: Path, batch: int | str, nhwc: bool
) -> None:
    plain = yolov8_like(tmp_path / "plain.onnx")
    other = yolov8_like(tmp_path / "other.onnx", batch=batch, nhwc=nhwc)
    image = np.random.default_rng(1).random((1, 3, 32, 64), np.float32)
    answers = []
    for source in (plain, other):
        repository_from_card(card(source, name=source.stem, engine={"precision": "fp32"}), target)
        engine = open_engine(target / f"{source.stem}_v1_network" / "1" / "model.xml")
        answers.append(engine.run(image)[0].copy())
    assert answers[0].std() > 0
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-5, atol=1e-6)


def test_stored_fp16_weights_are_half_the_size_and_answer_alike(model: Path, target: Path) -> None:
    sizes, answers = [], []
    for precision in ("fp32", "fp16"):
        repository_from_card(card(model, name=precision, engine={"precision": precision}), target)
        folder = target / f"{precision}_v1_network" / "1"
        sizes.append((folder / "model.bin").stat().st_size)
        answers.append(
            open_engine(folder / "model.xml").run(np.full((1, 3, 32, 64), 0.5, np.float32))[0].copy()
        )
    assert sizes[1] < 0.6 * sizes[0]
    np.testing.assert_allclose(answers[0], answers[1], atol=2e-3)


def test_weights_beyond_the_range_of_fp16_still_answer_alike(tmp_path: Path, target: Path) -> None:
    path = yolov8_like(tmp_path / "toy.onnx", weight_scale=1e6)
    repository_from_card(card(path, engine={"precision": "fp16"}), target)
    answer = open_engine(target / "toy_v1_network" / "1" / "model.xml").run(
        np.ones((1, 3, 32, 64), np.float32)
    )[0]
    assert np.isfinite(answer).all()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.full((1, 2, 2), np.nan, np.float32), "0% finite"),
        (np.zeros((1, 2, 3), np.float32), r"\(1, 2, 3\)"),
        (np.full((1, 2, 2), 1.5, np.float32), "differ from the ONNX's by 50.00%"),
    ],
)
def test_an_engine_that_answers_otherwise_is_refused(
    tmp_path: Path, answer: NDArray[np.float32], words: str
) -> None:
    with pytest.raises(BuildError, match=words):
        compare(answer, np.ones((1, 2, 2), np.float32), "fp16", tmp_path)
    same = compare(np.ones((1, 2, 2), np.float32), np.ones((1, 2, 2), np.float32), "fp16", tmp_path)
    assert same == (0, 0)


# ---------------------------------------------------------------- external weights


def test_external_weights_inside_the_folder_are_read(tmp_path: Path, target: Path) -> None:
    plain = open_onnx(yolov8_like(tmp_path / "plain.onnx"))
    tensor = onnx.load_from_string(plain.content).graph.initializer[0]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(tensor.raw_data)
    path = with_external_data(tmp_path / "toy.onnx", "weights/w.bin")
    assert onnx.load_from_string(open_onnx(path).content).graph.initializer[0].raw_data == tensor.raw_data
    repository_from_card(card(path), target)


@pytest.mark.parametrize(
    "location",
    [
        "", "/etc/passwd", "../secret.bin", "a/../../secret.bin", "./../secret.bin", "..", "C:\\secret.bin",
        "\\\\host\\share", "a\\..\\secret.bin", "secret\0.bin", "/proc/self/environ", "//etc/passwd",
    ],
)  # fmt: skip
def test_locations_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    (tmp_path / "inner").mkdir()
    path = with_external_data(tmp_path / "inner" / "toy.onnx", location)
    with pytest.raises(ModelFileError, match="inside the model's own folder"):
        open_onnx(path)


def _link(place: Path, secret: Path) -> None:
    place.symlink_to(secret)


def _hard_link(place: Path, secret: Path) -> None:
    os.link(secret, place)


def _fifo(place: Path, _: Path) -> None:
    os.mkfifo(place)


def _folder(place: Path, _: Path) -> None:
    place.mkdir()


@pytest.mark.parametrize("make", [_link, _hard_link, _fifo, _folder])
def test_links_and_special_files_are_not_followed(tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4096))
    (tmp_path / "inner").mkdir()
    make(tmp_path / "inner" / "w.bin", secret)
    path = with_external_data(tmp_path / "inner" / "toy.onnx", "w.bin")
    with pytest.raises(ModelFileError, match=r"w\.bin"):
        open_onnx(path)


def test_a_linked_folder_on_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "w.bin").write_bytes(bytes(4096))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "weights").symlink_to(tmp_path / "outside")
    path = with_external_data(tmp_path / "inner" / "toy.onnx", "weights/w.bin")
    with pytest.raises(ModelFileError, match="links are not followed"):
        open_onnx(path)


@pytest.mark.parametrize("length", [0, 4, 1 << 40, 10**17])
def test_a_length_that_does_not_fit_the_shape(tmp_path: Path, length: int) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(4096))
    path = with_external_data(tmp_path / "toy.onnx", "w.bin", length=length)
    with pytest.raises(ModelFileError, match="shape needs"):
        open_onnx(path)


def test_a_short_and_a_missing_weights_file(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "toy.onnx", "w.bin")
    with pytest.raises(ModelFileError, match="cannot be opened"):
        open_onnx(path)
    (tmp_path / "w.bin").write_bytes(b"few")
    with pytest.raises(ModelFileError, match="too few bytes"):
        open_onnx(path)


@pytest.mark.parametrize("where", ["node", "subgraph", "sparse"])
def test_external_weights_hidden_deeper_are_found(tmp_path: Path, where: str) -> None:
    tensor = onnx.TensorProto(name="hidden", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model = onnx.load(yolov8_like(tmp_path / "toy.onnx"))
    attribute = model.graph.node[0].attribute.add(name="extra")
    if where == "node":
        attribute.type = onnx.AttributeProto.TENSOR
        attribute.t.CopyFrom(tensor)
    elif where == "subgraph":
        attribute.type = onnx.AttributeProto.GRAPH
        attribute.g.initializer.add().CopyFrom(tensor)
    else:
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    (tmp_path / "toy.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="inside the model's own folder"):
        open_onnx(tmp_path / "toy.onnx")


# ---------------------------------------------------------------- the head


def test_a_wrong_number_of_labels_names_both(model: Path, target: Path) -> None:
    with pytest.raises(
        HeadMismatchError, match=r"\(N, 7, anchors\).*\(N, 15, 32\).*11 classes against 3 labels"
    ):
        repository_from_card(card(model, labels=("a", "b", "c")), target)


def test_a_transposed_output_is_read_where_the_labels_tell(tmp_path: Path, target: Path) -> None:
    path = yolov8_like(tmp_path / "toy.onnx", transposed=True)
    assert repository_from_card(card(path), target).labels == NAMES
    with pytest.raises(HeadMismatchError, match=r"\(N, 32, 15\).* 3 labels"):
        repository_from_card(card(path, labels=("a", "b", "c")), target)


def test_without_labels_the_classes_are_numbered(model: Path, target: Path) -> None:
    report = repository_from_card(card(model, labels=()), target)
    assert report.labels == tuple(f"class_{index}" for index in range(11))


def test_a_size_that_the_network_does_not_take(model: Path, target: Path) -> None:
    with pytest.raises(BuildError, match=r"640x640.*64x32 only.*\[64, 32\]"):
        repository_from_card(card(model, input={}), target)


@pytest.mark.parametrize("label", ["two\nlines", "bell\a", " ", "x" * 201])
def test_labels_that_would_break_a_labels_file(model: Path, target: Path, label: str) -> None:
    with pytest.raises(CardError, match="printable"):
        repository_from_card(card(model, labels=(label, *NAMES[1:])), target)


# ---------------------------------------------------------------- the configuration


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", fullmatch=True),
    labels=st.lists(st.text(max_size=40), min_size=1, max_size=5, unique=True),
)
def test_hostile_names_and_labels_come_back_identical(name: str, labels: list[str]) -> None:
    """Whatever stands in a label, the configuration has the fields that we set, and the label reads back the same."""
    made = card_from_dict({"name": name, "source": "m.onnx"}, Path())
    plan = HeadPlan("yolov8", (0,), tuple(labels), {"task": "detect", "head": "yolov8"}, "")
    context = EntryContext(made, plan, ((15, 32),), "1", 2)
    for model, config in {**stage_configs(context), **public_configs(context)}.items():
        again = text_format.Parse(config_text(config), model_config_pb2.ModelConfig())
        assert again == config
        assert again.name == model
        if again.platform == "ensemble":
            assert json.loads(again.parameters["sightline"].string_value)["labels"] == labels


def test_queues_are_bounded_and_ensembles_have_only_what_they_may(model: Path, target: Path) -> None:
    made = card(model, engine={"queue": 7, "queue_seconds": 0.5, "batch": [1, 4]})
    repository_from_card(made, target)
    for suffix in (*PUBLIC, *STAGES):
        text = (target / f"toy{suffix}" / "config.pbtxt").read_text(encoding="utf-8")
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        assert config.max_batch_size == 4
        if suffix in ("", "_frames"):
            assert config.platform == "ensemble"
            assert not config.instance_group
            assert not config.model_warmup
            assert not config.HasField("dynamic_batching")
            continue
        policy = config.dynamic_batching.default_queue_policy
        assert (policy.max_queue_size, policy.default_timeout_microseconds) == (7, 500_000)
        assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
        assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU


# ---------------------------------------------------------------- the repository


def test_the_manifest_tells_what_was_built(model: Path, target: Path) -> None:
    report = repository_from_card(card(model), target)
    assert isinstance(report, BuildReport)
    assert (report.number, report.models) == (1, ("toy", "toy_frames"))
    manifest = json.loads((target / "toy" / "sightline.json").read_text(encoding="utf-8"))
    assert manifest["number"] == 1
    assert manifest["card"]["labels"] == list(NAMES)
    assert manifest["card"]["source"] == "toy.onnx"  # no path of this machine
    assert manifest["source"]["sha256"] == open_onnx(model).sha256
    stages = {name: content for name, content in snapshot(target).items() if name.startswith("toy_v1_")}
    written = {name for name in stages if "/public/" not in name}
    assert set(manifest["files"]) == written
    assert all(hashlib.sha256(stages[name]).hexdigest() == manifest["files"][name] for name in written)
    assert str(target) not in json.dumps(manifest)


def test_a_rebuild_is_the_next_version_and_the_one_before_stays(model: Path, target: Path) -> None:
    first = repository_from_card(card(model), target)
    before = snapshot(target)
    second = repository_from_card(card(model, limits={"score": 0.9}), target)
    assert (first.number, first.before, second.number, second.before) == (1, None, 2, 1)
    assert public_number(target, "toy") == 2
    after = snapshot(target)
    assert {name: after[name] for name in before if name.startswith("toy_v1")} == {
        name: content for name, content in before.items() if name.startswith("toy_v1")
    }
    assert '\\"score\\": 0.9' in (target / "toy_v2_postprocess" / "config.pbtxt").read_text(encoding="utf-8")
    ensemble = (target / "toy" / "config.pbtxt").read_text(encoding="utf-8")
    assert "toy_v2_network" in ensemble
    assert "toy_v1_" not in ensemble
    assert [(version.number, version.public) for version in versions(target, "toy")] == [
        (1, False),
        (2, True),
    ]
    assert sorted(path.name for path in (target / "toy").iterdir()) == [
        "2", "config.pbtxt", "labels_v2.txt", "sightline.json",
    ]  # fmt: skip
    assert [path.name for path in target.parent.iterdir()] == ["repository"]


def test_promoting_an_older_version_restores_its_public_files(model: Path, target: Path) -> None:
    repository_from_card(card(model), target)
    public = {name: content for name, content in snapshot(target).items() if "_v1_" not in name}
    repository_from_card(card(model, limits={"score": 0.9}), target)
    assert make_public(target, "toy", 1) == 2
    again = {name: content for name, content in snapshot(target).items() if not re.match(r"toy_v\d", name)}
    assert again == public
    with pytest.raises(BuildError, match=r"no version 7 .* it has 1, 2"):
        make_public(target, "toy", 7)


def test_a_version_that_is_not_published_changes_nothing_for_clients(model: Path, target: Path) -> None:
    repository_from_card(card(model), target)
    before = {name: content for name, content in snapshot(target).items() if not re.match(r"toy_v\d", name)}
    report = repository_from_card(card(model, limits={"score": 0.9}), target, Choices(publish=False))
    assert (report.number, report.public) == (2, False)
    assert before == {
        name: content for name, content in snapshot(target).items() if not re.match(r"toy_v\d", name)
    }
    assert make_public(target, "toy", 2) == 1


def test_versions_are_removed_but_never_the_public_one(model: Path, target: Path) -> None:
    for _ in range(2):
        repository_from_card(card(model), target)
    with pytest.raises(BuildError, match="version 2 of toy is public"):
        remove_version(target, "toy", 2)
    remove_version(target, "toy", 1)
    assert not list(target.glob("toy_v1_*"))
    assert repository_from_card(card(model), target).number == 3  # a number is never used again


@pytest.mark.parametrize("suffix", PUBLIC)
@pytest.mark.parametrize("kind", ["folder", "file", "link", "other card", "odd manifest"])
def test_what_sightline_did_not_write_is_left_alone(
    tmp_path: Path, model: Path, target: Path, suffix: str, kind: str
) -> None:
    place = target / f"toy{suffix}"
    target.mkdir(parents=True)
    if kind == "file":
        place.write_text("mine")
    elif kind == "link":
        (tmp_path / "mine").mkdir()
        place.symlink_to(tmp_path / "mine")
    else:
        place.mkdir()
        (place / "config.pbtxt").write_text("mine")
        written = {"other card": {"written_by": "sightline", "model": "theirs"}, "odd manifest": [1]}.get(
            kind
        )
        if written is not None:
            (place / "sightline.json").write_text(json.dumps(written))
    before = snapshot(target)
    with pytest.raises(BuildError, match="--name"):
        repository_from_card(card(model), target)
    assert snapshot(target) == before
    assert list(target.iterdir()) == [place]


def test_a_folder_of_somebody_else_where_a_stage_would_go_is_passed_by(model: Path, target: Path) -> None:
    (target / "toy_v1_decode").mkdir(parents=True)
    (target / "toy_v1_decode" / "mine").write_text("mine")
    assert repository_from_card(card(model), target).number == 2
    assert (target / "toy_v1_decode" / "mine").read_text() == "mine"


@pytest.mark.parametrize("place", ["_v2_letterbox", "_v2_network"])
def test_a_failure_between_two_folders_leaves_the_versions_as_they_were(
    model: Path, target: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    repository_from_card(card(model), target)
    before = snapshot(target)
    move = writing._move

    def fail(new: Path, where: Path) -> None:
        if where.name.endswith(place):
            raise OSError(5, "Input/output error")
        move(new, where)

    monkeypatch.setattr(writing, "_move", fail)
    with pytest.raises(OutputError, match="unchanged"):
        repository_from_card(card(model, limits={"score": 0.9}), target)
    assert snapshot(target) == before
    assert [path.name for path in target.parent.iterdir()] == ["repository"]


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4, 5, 6])
def test_a_failure_while_a_version_is_made_public_keeps_the_one_before(
    model: Path, target: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    repository_from_card(card(model), target)
    repository_from_card(card(model, limits={"score": 0.9}), target, Choices(publish=False))
    before = snapshot(target)
    calls, replace = [0], writing._replace_file

    def fail(path: Path, content: bytes) -> None:
        calls[0] += 1
        if calls[0] == fails_at:
            raise OSError(28, "No space left on device")
        replace(path, content)

    monkeypatch.setattr(writing, "_replace_file", fail)
    with contextlib.suppress(OutputError):
        make_public(target, "toy", 2)
    if public_number(target, "toy") == 1:
        assert snapshot(target) == before
    else:
        assert fails_at > 5


def test_two_builds_of_one_model_at_once_do_not_mix(model: Path, target: Path) -> None:
    target.mkdir(parents=True)
    with only_build(target, "toy"), pytest.raises(BuildError, match="another build of 'toy'"):
        repository_from_card(card(model), target)
    assert not list(target.iterdir())
    assert repository_from_card(card(model), target).number == 1


def test_leftovers_of_a_killed_build_are_swept(model: Path, target: Path) -> None:
    target.mkdir(parents=True)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    stale = target.parent / f".sightline-build-{child.pid}-x"
    stale.mkdir()
    repository_from_card(card(model), target)
    assert not stale.exists()


_LIMITED_BUILDS = """
import resource, sys
from pathlib import Path
from sightline.builders import repository_from_card
from sightline.card import load_card
from sightline.errors import OutputError
card, repository = load_card(Path(sys.argv[1])), Path(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit in map(int, sys.argv[3:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        repository_from_card(card, repository)
    except OutputError as error:
        print("OutputError:", str(error).replace(chr(10), " "))
"""


def test_no_room_on_the_disk_leaves_the_old_entry_whole(model: Path, target: Path) -> None:
    """RLIMIT_FSIZE fails writes in the kernel as a full disk does: in our files, in OpenVINO's text and weights."""
    repository_from_card(card(model), target)
    before = snapshot(target)
    files = ("toy_v1_decode/1/model.py", "toy_v1_network/1/model.bin", "toy_v1_network/1/model.xml")
    limits = [str(len(before[file]) - 1) for file in files]
    labels = ", ".join(NAMES)
    path = model.with_name("card.yaml")
    path.write_text(
        f"name: toy\nsource: toy.onnx\ninput: {{size: [64, 32]}}\nlabels: [{labels}]\n", encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED_BUILDS, str(path), str(target), *limits],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    told = done.stdout.splitlines()
    assert len(told) == len(limits), done.stdout + done.stderr
    for line in told:
        assert line.startswith("OutputError:"), line
        assert "File too large" in line
    assert snapshot(target) == before
    assert [place.name for place in target.parent.iterdir()] == ["repository"]


def test_a_repository_that_may_not_be_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        repository_from_card(card(model), tmp_path / "file" / "repository")


def test_progress_names_each_step_once(model: Path, target: Path) -> None:
    steps: list[str] = []

    class Steps(Progress):
        def step(self, name: Any) -> None:
            steps.append(name)

    repository_from_card(card(model), target, progress=Steps())
    assert steps == ["check", "export", "convert", "engine", "write", "publish"]


# ---------------------------------------------------------------- cards out of exports, and the command


_NAMES_OF_EXPORTS = [
    ("{0: 'car', 1: 'bus'}", ("car", "bus")),
    ("['car', 'bus']", ("car", "bus")),
    ("{0: 'car', 1: 'car'}", ("car", "car_1")),
    ("{1: 'car'}", ()),
    ("{0: __import__('os').system('true')}", ()),
    ("(" * 100_000, ()),
    ("{0: 'x'}" + " " * (1 << 18), ()),
    ("7", ()),
    ("", ()),
]


def test_names_of_an_export_are_read_but_never_run() -> None:
    for text, labels in _NAMES_OF_EXPORTS:
        with about(text, labels):
            assert labels_from_names(text) == labels


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("yolo11n.onnx", "yolo11n"),
        ("My model (2).onnx", "My_model_2"),
        ("8n.onnx", "model_8n"),
        ("ü.onnx", "model"),
    ],
)
def test_a_model_is_named_after_its_file(file: str, name: str) -> None:
    assert name_from_path(Path(file)) == name


def test_an_ultralytics_export_needs_no_options(tmp_path: Path) -> None:
    names = "{" + ", ".join(f"{i}: 'kind{i}'" for i in range(11)) + "}"
    path = yolov8_like(tmp_path / "best.onnx", metadata={"names": names, "imgsz": "[32, 64]"})
    made = card_from_onnx(path, {"limits": {"score": 0.6}})
    assert (made.name, made.input.size, made.limits.score) == ("best", (64, 32), 0.6)
    assert made.labels[3] == "kind3"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["build", *arguments])


def test_the_command_builds_and_its_card_builds_again(
    tmp_path: Path, model: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "dali_version", lambda: None)  # test_dali_choice.py measures it
    monkeypatch.setattr(choice, "measure_preprocessing", partial(choice.measure_preprocessing, seconds=0.05))
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    yolov8_like(model, box_scale=30.0)  # boxes that lie in the picture, for the proof
    (tmp_path / "cards").mkdir()
    saved = tmp_path / "cards" / "saved.yaml"
    done = run(
        str(model), "--labels", str(tmp_path / "names.txt"), "--repository", str(target), "--name", "cams",
        "--score", "0.4", "--batch", "16", "--write-card", str(saved), "--images", str(write_pictures(tmp_path / "photos")),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"next: sightline serve --repository {target}" in done.output
    made = load_card(saved)
    assert (made.name, made.labels, made.limits.score, made.engine.batch) == ("cams", NAMES, 0.4, (1, 16))
    again = run(str(saved), "--repository", str(target), "--no-proof")
    assert again.exit_code == 0, again.output
    assert "version 2" in again.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing_like_this"], "street_detect"),
        (["none.onnx"], "does not exist"),
        (["none.yaml"], "cannot be read"),
        (["{model}", "--size", "640"], "--size"),
        (["{model}", "--head", "efficient_nms"], "efficient_nms"),
        (["{model}", "--head", "scores"], "yolov8"),
        (["{model}", "--labels", "none.txt"], "none.txt"),
        (["{model}", "--batch", "0"], "engine.batch"),
        (["{model}", "--name", "../x"], "name"),
    ],
)
def test_what_the_command_refuses(model: Path, target: Path, arguments: list[str], words: str) -> None:
    filled = [argument.format(model=model) for argument in arguments]
    done = run(*filled, "--repository", str(target))
    assert done.exit_code != 0
    assert words in str(done.exception)
    assert not target.exists()


def test_help_teaches() -> None:
    text = run("--help").output
    for word in ("sightline build yolo11n.onnx", "--labels", "--write-card", "sightline serve"):
        assert word in text


def test_the_planted_detector_finds_its_rectangle(tmp_path: Path, target: Path) -> None:
    """The other tests lean on this network: its box is the bright rectangle, exactly."""
    repository_from_card(card_from_onnx(planted(tmp_path / "planted.onnx")), target)
    image = np.zeros((1, 3, 224, 384), np.float32)
    image[:, :, 30:50, 100:160] = 1
    answer = open_engine(target / "planted_v1_network" / "1" / "model.xml").run(image)[0][0]
    np.testing.assert_allclose(answer[:4, 0], [130, 40, 60, 20])
    assert answer[4 + 3, 0] == pytest.approx(0.9, abs=1e-3)
    assert not answer[4:, 1:].any()
