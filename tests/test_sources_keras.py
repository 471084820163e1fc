# SPDX-License-Identifier: Apache-2.0
"""Keras files and SavedModels as sources: the export answers like the original, and code that they carry never runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sightline.builders import Choices, card_from_source, repository_from_card
from sightline.builders.build import Progress, Step
from sightline.builders.heads import OutputInfo, evidence_from_onnx, plan_head
from sightline.builders.onnx_source import open_onnx
from sightline.builders.sources import keras_source
from sightline.builders.sources.keras_defaults import defaults_of
from sightline.builders.sources.keras_process import KerasProcess
from sightline.card import ModelCard, card_from_dict
from sightline.errors import BuildError, CardError, MissingDependencyError, ModelFileError, SightlineError
from tests.needs import needs

ROOT = Path(__file__).resolve().parent.parent
SIZE = 75
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder with all models, written once, by Keras in a process of its own."""
    needs("tensorflow")
    folder = tmp_path_factory.mktemp("keras")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.keras_models", str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def answers(models: Path) -> dict[str, Any]:
    with np.load(models / "answers.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def process() -> Iterator[KerasProcess]:
    """One TensorFlow for all tests; starting it is most of the time."""
    made = KerasProcess()
    yield made
    made.close()


def card(source: Path | str, size: int = SIZE, **values: Any) -> ModelCard:
    fields = {
        "name": "toy", "task": "classify", "source": str(source),
        "input": {"size": [size, size], "mean": 0, "std": 1}, **values,
    }  # fmt: skip
    return card_from_dict(fields, Path("/nowhere"))


# ---------------------------------------------------------------- families


@pytest.mark.parametrize(
    ("name", "task", "kind", "branch", "defaults"),
    [
        ("mobilenet.keras", "classify", "scores", None, {"mean": 127.5, "std": 127.5}),
        ("unet", "semantic", "class_map", None, {}),
        ("unet.h5", "semantic", "class_map", None, {}),
        ("siamese.keras", "embed", "embedding", "tower", {}),
    ],
)
def test_a_family_answers_like_the_original(
    tmp_path: Path, models: Path, answers: dict[str, Any], process: KerasProcess,
    name: str, task: str, kind: str, branch: str | None, defaults: dict[str, Any],
) -> None:  # fmt: skip
    steps: list[str] = []
    made = card(models / name, task=task, branch=branch)
    exported = keras_source.export(made, steps.append, process=process)
    assert "export: tf2onnx" in steps
    assert defaults.items() <= exported.defaults["input"].items()
    assert exported.defaults["input"]["size"] == [SIZE, SIZE]
    images, wanted = answers["images"], answers[name]
    assert exported.reference is not None
    found = exported.reference(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-5 * float(np.abs(wanted).max()))
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.content)
    source = open_onnx(path)
    assert (source.layout, source.input.dims[0], source.size) == ("NHWC", None, (SIZE, SIZE))
    answer = keras_source._run_onnx(exported.content, images)[0]
    np.testing.assert_allclose(answer, wanted, rtol=1e-3, atol=1e-4 * float(np.abs(wanted).max()))
    evidence = evidence_from_onnx(onnx.load_from_string(source.content))
    plan = plan_head(made, [OutputInfo(source.outputs[0].name, (1, *wanted.shape[1:]))], evidence=evidence)
    assert plan.kind == kind
    assert "activation" not in plan.parameters  # Keras classifiers end in their softmax
    assert plan.parameters.get("channels_last", True)


def workers() -> set[str]:
    """The processes of TensorFlow that this one has."""
    command = ["pgrep", "-P", str(os.getpid()), "-f", "keras_worker"]
    return set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.split())


def test_a_file_answers_through_the_server_like_its_source_whose_process_then_ends(
    models: Path, tmp_path: Path
) -> None:
    before: set[str] = workers()
    during: set[str] = set()

    class Looking(Progress):
        def step(self, name: Step) -> None:
            during.update(workers())

    given = {
        "name": "toy", "task": "semantic", "input": {"size": [SIZE, SIZE], "resize": "stretch"},
        "engine": {"precision": "fp32"},
        "proof": {"samples": 2, "miou": 0.8},  # random weights: rounding chooses another class at a border
    }  # fmt: skip
    made = card_from_source(f"keras:{models / 'unet.h5'}", given)
    report = repository_from_card(made, tmp_path / "repository", Choices(prove=True), progress=Looking())
    assert report.public, report.proof
    assert report.largest_difference < 5e-3
    assert during - before
    assert workers() <= before


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "values", "error", "words"),
    [
        ("lambda.keras", {}, ModelFileError, "carries Python code.*never run.*model.export"),
        ("lambda.h5", {}, ModelFileError, "carries Python code.*never run.*model.export"),
        ("custom.keras", {}, ModelFileError, "needs classes of its own.*model.export"),
        ("writer", {}, ModelFileError, "WriteFile.*never lets a model do"),
        ("siamese.keras", {}, ModelFileError, "2 inputs; name one of its parts as 'branch': tower"),
        ("siamese.keras", {"branch": "none"}, CardError, "'none'.*tower"),
        ("mobilenet.keras", {"size": 64}, BuildError, r"64x64.*takes 75x75 only.*\[75, 75\]"),
        ("unet", {"branch": "top"}, CardError, "no layers to choose from"),
        ("unet", {"source_args": {"signature": "none"}}, CardError, "'none'.*serving_default"),
        ("unet.h5", {"size": 76}, BuildError, "TensorFlow|exported|differs"),
    ],
)
def test_what_cannot_be_served_is_refused(
    models: Path,
    process: KerasProcess,
    name: str,
    values: dict[str, Any],
    error: type[SightlineError],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        keras_source.export(card(models / name, **values), process=process)
    assert not (models / "harm").exists()


def rewritten(source: Path, target: Path, change: Any) -> Path:
    """A .keras file with another config.json."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename == "config.json":
                content = json.dumps(change(json.loads(content))).encode()
            new.writestr(item, content)
    return target


def test_a_config_that_names_a_function_of_the_system_is_not_obeyed(
    tmp_path: Path, models: Path, process: KerasProcess
) -> None:
    harm = tmp_path / "harm"

    def change(config: dict[str, Any]) -> dict[str, Any]:
        config["config"]["layers"].append(
            {"module": "os", "class_name": "system", "registered_name": None, "name": "evil",
             "config": f"touch {harm}", "inbound_nodes": []}
        )  # fmt: skip
        return config

    path = rewritten(models / "mobilenet.keras", tmp_path / "evil.keras", change)
    with pytest.raises(ModelFileError):
        keras_source.export(card(path), process=process)
    assert not harm.exists()


@pytest.mark.parametrize("name", ["siamese.keras", "unet.h5", "unet"])
def test_a_cut_off_file_is_refused(tmp_path: Path, models: Path, process: KerasProcess, name: str) -> None:
    if (models / name).is_dir():
        shutil.copytree(models / name, tmp_path / name)
        part = tmp_path / name / "saved_model.pb"
    else:
        shutil.copy(models / name, tmp_path / name)
        part = tmp_path / name
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with pytest.raises(ModelFileError):
        keras_source.export(card(tmp_path / name), process=process)


def test_links_in_a_saved_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    (tmp_path / "variables").symlink_to("/etc")
    with pytest.raises(ModelFileError, match=r"variables is a link.*plain files"):
        keras_source.export(card(tmp_path))


def test_what_is_no_model_is_refused_before_tensorflow_starts(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        keras_source.export(card(tmp_path / "none.keras"))
    with pytest.raises(ModelFileError, match=r"without saved_model\.pb"):
        keras_source.export(card(tmp_path))
    (tmp_path / "model.keras").write_bytes(b"")
    with pytest.raises(CardError, match="'other'"):
        keras_source.export(card(tmp_path / "model.keras", source_args={"other": 1}))
    with pytest.raises(CardError, match="weights belong"):
        keras_source.export(card(tmp_path / "model.keras", weights=str(tmp_path / "w.h5")))


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_source, "_PACKAGES", ("no_such_package",))
    with pytest.raises(MissingDependencyError, match=r"no_such_package is not installed.*sightline\[keras\]"):
        keras_source.export(card(tmp_path / "model.keras"))


def test_a_worker_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.builders.sources import keras_process

    monkeypatch.setattr(keras_process, "WORKER", "no_such_module_of_ours")
    dead = KerasProcess()
    with pytest.raises(BuildError, match=r"ended with status 1.*no_such_module_of_ours"):
        dead.load({}, print)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("resnet50", 103.939),
        ("resnet50v2", 127.5),
        ("mobilenetv2_1.00_224", 127.5),
        ("efficientnetb0", 0.0),
        ("inception_v3", 127.5),
    ],
)
def test_the_longest_name_decides_the_normalisation(name: str, mean: float) -> None:
    found = defaults_of(name)["input"]["mean"]
    assert (found[0] if isinstance(found, list) else found) == mean
    assert defaults_of("my_network") == {}
