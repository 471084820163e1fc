# SPDX-License-Identifier: Apache-2.0
"""Every task from pictures to a model folder: it learns, exports, goes on after a kill, and says what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from sightline.builders.records.charts import charts_from_training
from sightline.builders.train import cli, record
from sightline.builders.train.jobs import train_classify
from sightline.builders.train.loop import Settings, Trainer
from sightline.builders.train.progress import Lines
from sightline.builders.train.record import OnnxNetwork
from sightline.builders.train.run import Options
from sightline.card import load_card
from sightline.errors import SightlineError
from tests.needs import needs

needs("torch", "onnx", "openvino")

pytestmark = pytest.mark.train
SIDE = 64
COLOURS = {"red": (200, 30, 30), "green": (30, 190, 40), "blue": (30, 50, 200), "white": (240, 240, 240)}


@pytest.fixture(autouse=True)
def _short_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_SPEED_SECONDS", 0.05)


def _picture(
    rng: np.random.Generator, colour: tuple[int, int, int]
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A coloured square on grey noise, and its box."""
    image = rng.integers(70, 130, (SIDE, SIDE, 3)).astype(np.uint8)
    side = int(rng.integers(20, 36))
    x, y = (int(rng.integers(2, SIDE - side - 2)) for _ in range(2))
    image[y : y + side, x : x + side] = colour
    return image, (x, y, side, side)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """classes/COLOUR/*.png, coco.json with images/, and maps/ with a class a pixel."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "maps").mkdir()
    images, rows = [], []
    for kind, (name, colour) in enumerate(COLOURS.items()):
        (root / "classes" / name).mkdir(parents=True)
        for i in range(5):
            image, (x, y, w, h) = _picture(rng, colour)
            file = f"{name}{i}.png"
            Image.fromarray(image).save(root / "classes" / name / file)
            Image.fromarray(image).save(root / "images" / file)
            labels = np.zeros((SIDE, SIDE), np.uint8)
            labels[y : y + h, x : x + w] = kind + 1
            Image.fromarray(labels).save(root / "maps" / file)
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            number = len(images) + 1
            images.append({"id": number, "file_name": file})
            rows.append(
                {"image_id": number, "category_id": kind, "bbox": [x, y, w, h], "segmentation": [outline]}
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(COLOURS)]
    text = json.dumps({"images": images, "annotations": rows, "categories": categories})
    (root / "coco.json").write_text(text)
    (root / "names.txt").write_text("\n".join(["ground", *COLOURS]) + "\n")
    return root


def _arguments(task: str, pictures: Path) -> list[str]:
    if task in ("classify", "embed"):
        return ["--data", str(pictures / "classes")]
    if task == "semantic":
        return [
            "--data",
            str(pictures / "images"),
            "--maps",
            str(pictures / "maps"),
            "--labels",
            str(pictures / "names.txt"),
        ]
    return ["--data", str(pictures / "coco.json"), "--images", str(pictures / "images")]


@pytest.mark.parametrize(
    ("task", "outputs", "figure"),
    [
        ("classify", [(1, 4)], "accuracy"),
        ("detect", [(1, 8, 84)], "map50"),
        ("segment", [(1, 40, 84), (1, 32, 16, 16)], "mask_iou"),
        ("semantic", [(1, 5, 16, 16)], "miou"),
        ("embed", [(1, 128)], "recall_at_1"),
    ],
)
def test_a_command_makes_a_model_folder_of_own_pictures(
    task: str, outputs: list[tuple[int, ...]], figure: str, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"my_{task}"
    command = [
        task, *_arguments(task, pictures), "--out", str(out), "--size", "64x64", "--epochs", "2", "--batch", "4",
        "--evaluations", "1", "--threads", "1", "--device", "cpu",
    ]  # fmt: skip
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"{figure} " in result.output
    made = json.loads((out / "record.json").read_text())
    content = (out / "model.onnx").read_bytes()
    assert made["onnx_sha256"] == hashlib.sha256(content).hexdigest()
    assert made["onnx_bytes"] == len(content)
    assert figure in made["held_out"]
    chart = {"classify": "confusion", "semantic": "confusion", "embed": None}.get(task, "precision_recall")
    assert chart is None or chart in charts_from_training(made)
    assert made["training"]["steps"] >= 4
    card = load_card(out / "card.yaml")
    assert (card.name, card.task, card.input.size) == (out.name, task, (64, 64))
    assert card.source_path == (out / "model.onnx").resolve()
    names = {"embed": (), "semantic": ("ground", *COLOURS)}.get(task, tuple(COLOURS))
    assert set(card.labels) == set(names)
    shapes = [a.shape for a in OnnxNetwork(out / "model.onnx").outputs(np.zeros((1, 3, 64, 64), np.float32))]
    assert shapes == outputs
    assert 0 < (out / "training.png").stat().st_size <= 300_000
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["card.yaml", "model.onnx", "record.json", "training.png", *(["labels.txt"] if names else [])]
    )


def _task(kind: str, pictures: Path) -> Any:
    """A task on the pictures, at 64x64 pixels."""
    from sightline.builders.train import coco, own
    from sightline.builders.train.classify import ClassifyTask
    from sightline.builders.train.detect import DetectTask
    from sightline.builders.train.embed import EmbedTask
    from sightline.builders.train.segment import SegmentTask
    from sightline.builders.train.semantic import SemanticTask

    size, names = (SIDE, SIDE), tuple(COLOURS)
    if kind in ("classify", "embed"):
        data = own.class_folders(pictures / "classes")
        way = own.labelled(data, np.arange(len(data.paths)), size, "stretch")
        return ClassifyTask(way, way, names) if kind == "classify" else EmbedTask(way, way)
    if kind == "semantic":
        maps = own.MapScenes(pictures / "images", pictures / "maps", ("ground", *names), size)
        return SemanticTask(maps, maps, ("ground", *names), size)
    scenes = coco.CocoScenes(pictures / "coco.json", pictures / "images", size, kind == "segment")
    return (DetectTask if kind == "detect" else SegmentTask)(scenes, scenes, scenes.classes, size)


@pytest.mark.parametrize("kind", ["classify", "detect", "segment", "semantic", "embed"])
def test_the_loss_of_each_task_falls(kind: str, pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    task = _task(kind, pictures)
    settings = Settings(epochs=100, batch=8, rate=4e-3, seed=1, threads=1)
    trainer = Trainer(settings, task, tmp_path / "c.pt", Lines(lambda line: None))
    batch = next(iter(task.batches(8, 0)))
    losses = [trainer.step(batch) for _ in range(16)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.92 * np.mean(losses[:3])


def test_a_frozen_detector_stays_as_it_is_and_its_masks_are_learnt(pictures: Path, tmp_path: Path) -> None:
    from sightline.builders.train.coco import CocoScenes
    from sightline.builders.train.export import ExportedDetector, onnx_from_network
    from sightline.builders.train.frozen import FeatureStore, FrozenTrunk
    from sightline.builders.train.network import StreetDetector
    from sightline.builders.train.segment import SegmentTask
    from sightline.builders.train.start import detector_from_onnx

    torch.manual_seed(0)
    first = StreetDetector(4).eval()
    onnx_from_network(first, tmp_path / "model.onnx", (SIDE, SIDE))
    detector = detector_from_onnx(tmp_path / "model.onnx")
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected, found = (ExportedDetector(n).eval()(images) for n in (first, detector))
    assert torch.allclose(expected, found, atol=1e-3)
    scenes = CocoScenes(pictures / "coco.json", pictures / "images", (SIDE, SIDE), True)
    told: list[int] = []
    stores = [
        FeatureStore(
            tmp_path / "f", FrozenTrunk(detector), scenes, (SIDE, SIDE), lambda done, _: told.append(done)
        )
        for _ in range(2)
    ]
    assert told == [8, 16, 20]
    task = SegmentTask(scenes, scenes, scenes.classes, (SIDE, SIDE), detector, (stores[0], stores[1]))
    settings = Settings(epochs=100, batch=8, rate=4e-3, threads=1)
    trainer = Trainer(settings, task, tmp_path / "c.pt", Lines(lambda line: None))
    before = {k: v.clone() for k, v in trainer.network.trunk.state_dict().items()}
    batch = next(iter(task.batches(8, 0)))
    losses = [trainer.step(batch) for _ in range(16)]
    assert np.mean(losses[-3:]) < 0.95 * np.mean(losses[:3])
    assert all(torch.equal(before[k], v) for k, v in trainer.network.trunk.state_dict().items())
    assert set(task.evaluate(trainer.average.eval(), torch.device("cpu"))) >= {"mask mAP50", "mask IoU"}


def test_an_embedder_on_a_frozen_backbone_learns_from_vectors(pictures: Path, tmp_path: Path) -> None:
    from sightline.builders.train import own
    from sightline.builders.train.embed import AUGMENT, EmbedTask
    from sightline.builders.train.embedder import PooledTrunk, VectorStore
    from sightline.builders.train.export import onnx_from_module
    from sightline.builders.train.network import StreetDetector

    torch.manual_seed(0)
    detector = StreetDetector(4).eval()
    folders = own.class_folders(pictures / "classes")
    data = own.labelled(folders, np.arange(len(folders.paths)), (96, 96), "stretch")
    told: list[int] = []
    trunk = PooledTrunk(detector, (96, 96))
    stores = [
        VectorStore(tmp_path / "v", trunk, data, 2, AUGMENT, lambda done, _: told.append(done)) for _ in "ab"
    ]
    assert told == [20]
    assert stores[0].vectors.shape[:2] == (2, 20)
    assert not np.array_equal(stores[0].vectors[0], stores[0].vectors[1])
    task = EmbedTask(data, data, start=detector, stores=(stores[0], stores[1]))
    trainer = Trainer(
        Settings(epochs=100, batch=16, rate=4e-3, threads=1),
        task,
        tmp_path / "c.pt",
        Lines(lambda line: None),
    )
    batch = next(iter(task.batches(16, 0)))
    losses = [trainer.step(batch) for _ in range(12)]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    assert set(task.evaluate(trainer.average.eval(), torch.device("cpu"))) == {"recall@1", "mAP"}
    embedder: Any = trainer.average.embedder
    onnx_from_module(embedder, tmp_path / "model.onnx", (96, 96), ("embedding",))
    assert OnnxNetwork(tmp_path / "model.onnx")(np.zeros((2, 3, 96, 96), np.float32)).shape == (2, 128)
    with torch.no_grad():
        assert embedder(torch.rand(2, 3, 96, 96)).norm(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_weights_stored_as_half_give_almost_the_same(tmp_path: Path) -> None:
    from sightline.builders.train.compact import Classifier
    from sightline.builders.train.export import onnx_from_module

    torch.manual_seed(0)
    network = Classifier(5).eval()
    images = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    found = []
    for half in (False, True):
        onnx_from_module(network, tmp_path / f"{half}.onnx", (64, 64), ("logits",), half_weights=half)
        found.append(OnnxNetwork(tmp_path / f"{half}.onnx")(images))
    assert (tmp_path / "True.onnx").stat().st_size < 0.6 * (tmp_path / "False.onnx").stat().st_size
    assert np.abs(found[0] - found[1]).max() < 5e-3 * max(np.abs(found[0]).max(), 1.0)


class _Counting:
    """A task of one number that the network should learn, and of scores given beforehand."""

    score_name = "score"
    images = 8
    classes = ("a",)

    def __init__(self, scores: list[float], value: float = 1.0) -> None:
        self.network: nn.Module = nn.Linear(1, 1)
        self._scores, self._value = iter(scores), value

    def batches(self, size: int, seed: int) -> Iterator[float]:
        while True:
            yield self._value

    def loss(self, network: nn.Module, batch: float, device: torch.device) -> torch.Tensor:
        return ((network(torch.ones(1, 1)) - batch) ** 2).mean()

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        return {"score": next(self._scores)}


def _count(tmp_path: Path, task: _Counting, **settings: Any) -> Trainer:
    values = {"epochs": 10.0, "batch": 8, "evaluations": 10, "threads": 1, **settings}
    return Trainer(Settings(**values), task, tmp_path / "c.pt", Lines(lambda line: None))


def test_the_best_weights_are_kept_and_a_run_that_gets_no_better_stops(tmp_path: Path) -> None:
    kept: list[tuple[int, float]] = []
    task = _Counting([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    trainer = _count(tmp_path, task, patience=3)
    trainer.saved = lambda network, figures: kept.append((trainer.history.steps, figures["score"]))
    trainer.run()
    assert trainer.history.stopped_early
    assert trainer.history.steps == 5
    assert kept == [(1, 0.1), (2, 0.5)]
    assert trainer.best is not None
    assert all(torch.equal(trainer.best[k], v) for k, v in trainer.average.state_dict().items())


def test_mixed_precision_learns_too(tmp_path: Path) -> None:
    trainer = _count(tmp_path, _Counting([0.1] * 20), precision="mixed", epochs=1000)
    losses = [trainer.step(1.0) for _ in range(60)]
    assert losses[-1] < losses[0]
    assert trainer.summary()["precision"] == "mixed"


def test_a_loss_that_is_no_number_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=r"the loss is nan at step 0; lower the rate"):
        _count(tmp_path, _Counting([0.1] * 20, float("nan"))).run()


def test_an_error_in_the_data_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(_Counting):
        def batches(self, size: int, seed: int) -> Iterator[float]:
            yield 1.0
            raise SightlineError("picture 7 is broken")

    with pytest.raises(SightlineError, match="picture 7 is broken"):
        _count(tmp_path, Broken([0.1] * 20)).run()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "neither minutes nor epochs"),
        ({"epochs": 0.0}, "epochs is 0.0; it must be above 0"),
        ({"epochs": 1.0, "batch": -1}, "batch is -1"),
        ({"epochs": 1.0, "precision": "fp8"}, "precision is 'fp8'; it must be auto, fp32 or mixed"),
    ],
)
def test_settings_that_make_no_run_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SightlineError, match=message):
        Settings(**values)


def test_a_checkpoint_of_another_run_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    _count(tmp_path, _Counting([0.1] * 20)).save()
    other = _Counting([0.1] * 20)
    other.classes = ("b", "c")
    with pytest.raises(SightlineError, match=r"c\.pt is of a run with other classes; delete it"):
        _count(tmp_path, other)
    (tmp_path / "c.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(SightlineError, match=r"c\.pt cannot be used: .*; delete it to begin anew"):
        _count(tmp_path, _Counting([0.1]))


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "c.pt").write_bytes(pickle.dumps({"format": Evil()}))
    with pytest.raises(SightlineError, match="cannot be used"):
        _count(tmp_path, _Counting([0.1]))
    assert not (tmp_path / "owned").exists()


def test_a_killed_run_goes_on_where_it_was(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable, "-c", "from sightline.builders.train.cli import app; app()", "classify", "--data",
        str(pictures / "classes"), "--out", str(out), "--size", "64x64", "--epochs", "4000", "--batch", "4",
        "--evaluations", "4000", "--threads", "1",
    ]  # fmt: skip
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 120
            while not (out / "checkpoint.pt").exists():
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, "no checkpoint was written"
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    lines: list[str] = []
    options = Options(out=out, epochs=4000, minutes=0.001, batch=4, evaluations=1, device="cpu", threads=1)
    made = train_classify(options, Lines(lines.append), pictures / "classes")
    assert any(line.startswith("resumed at ") and not line.endswith("step 0") for line in lines)
    assert made["training"]["steps"] >= 1
    assert not (out / "checkpoint.pt").exists()


def test_wrong_arguments_are_named(pictures: Path, tmp_path: Path) -> None:
    def error_of(*arguments: str) -> str:
        result = CliRunner().invoke(cli.app, [*arguments, "--out", str(tmp_path / "o"), "--device", "cpu"])
        assert isinstance(result.exception, SightlineError), result.output
        return str(result.exception)

    assert "--size is 'big'" in error_of("classify", "--data", str(pictures / "classes"), "--size", "big")
    coco = str(pictures / "coco.json")
    assert "multiples of 32" in error_of(
        "detect", "--data", coco, "--images", str(pictures), "--size", "100x64"
    )
    assert "without --maps and --labels" in error_of("semantic", "--data", str(pictures / "images"))
    start = str(pictures / "names.txt")
    images = str(pictures / "images")
    assert "is no ONNX file" in error_of("segment", "--data", coco, "--images", images, "--start", start)
    assert not (tmp_path / "o" / "model.onnx").exists()
