# SPDX-License-Identifier: Apache-2.0
"""Training: the metric against tables worked out by hand, the loss, the export, and the shipped record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from sightline.builders.records.charts import charts_from_training
from sightline.builders.train import dataset
from sightline.builders.train.evaluate import average_precision, box_iou, decode, evaluate, match
from sightline.scenes import CLASS_NAMES
from tests.needs import needs

SHIPPED = Path(__file__).parents[1] / "model_repository" / "street_detect"
SUBSET_SEEDS = 6
SUBSET_MAP50 = 0.80


def _need_torch() -> None:
    needs("torch")


@pytest.mark.parametrize(
    ("scores", "verdicts", "objects", "expected"),
    [
        ([0.9, 0.8], [1, 1], 2, 1.0),
        ([0.9, 0.8, 0.7], [1, 0, 1], 2, (51 * 1.0 + 50 * 2 / 3) / 101),
        ([0.7, 0.9, 0.8], [1, 1, 0], 2, (51 * 1.0 + 50 * 2 / 3) / 101),
        ([0.9, 0.8], [0, 1], 1, 0.5),
        ([0.9], [1], 4, 26 / 101),
        ([0.9, 0.8, 0.7], [1, -1, 1], 2, 1.0),
        ([0.9], [0], 3, 0.0),
        ([], [], 3, 0.0),
    ],
)
def test_average_precision_equals_the_hand_computed_value(
    scores: list[float], verdicts: list[int], objects: int, expected: float
) -> None:
    assert average_precision(np.array(scores), np.array(verdicts), objects) == pytest.approx(expected)


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 10, 10]], float)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], float)
    assert box_iou(a, b)[0] == pytest.approx([1.0, 1 / 3, 0.0])


def test_each_object_is_matched_once_and_best_first() -> None:
    truth = np.array([[0, 0, 10, 10]], float)
    found = np.array([[0, 0, 10, 9], [0, 0, 10, 10]], float)
    assert match(found, truth, np.zeros((0, 4)), 0.5).tolist() == [1, 0]


def test_a_detection_on_an_ignored_region_does_not_count() -> None:
    found = np.array([[50, 50, 60, 60], [80, 80, 90, 90]], float)
    assert match(found, np.zeros((0, 4)), np.array([[48, 48, 62, 62]], float), 0.5).tolist() == [-1, 0]


def test_evaluate_of_perfect_shifted_and_missing_detections() -> None:
    truth = [np.array([[0, 10, 10, 30, 30], [1, 50, 50, 70, 70]], float)]
    none = [np.zeros((0, 4))]
    exact = np.array([[10, 10, 30, 30, 0.9, 0], [50, 50, 70, 70, 0.8, 1]], float)
    assert evaluate([exact], truth, none, 3).map50_95 == pytest.approx(1.0)
    shifted = exact + np.array(
        [4, 0, 4, 0, 0, 0]
    )  # IoU 16/24 = 0.667: right at 0.50 to 0.65, wrong from 0.70
    result = evaluate([shifted], truth, none, 3)
    assert (result.map50, result.map50_95) == (pytest.approx(1.0), pytest.approx(0.4))
    half = evaluate([exact[:1]], truth, none, 3)
    assert half.map50 == pytest.approx(0.5)
    assert {k: curve.mean() for k, curve in half.precision.items()} == pytest.approx(half.ap50)
    assert evaluate([np.zeros((0, 6))], truth, none, 3).map50 == 0.0


def test_decode_suppresses_within_a_class_only() -> None:
    head = np.zeros((4 + 2, 3))
    head[:4] = np.array([[20, 20, 10, 10], [21, 20, 10, 10], [20, 20, 10, 10]]).T
    head[4] = [0.9, 0.8, 0.0]
    head[5] = [0.0, 0.0, 0.7]
    found = decode(head, score=0.05, nms_iou=0.5)
    assert found[:, 5].tolist() == [0, 1]
    assert found[0, :4].tolist() == [15, 15, 25, 25]


def test_training_and_held_out_seeds_do_not_meet() -> None:
    train, held_out = dataset.STREETS
    assert train.first_seed + train.seeds <= dataset.HELD_OUT_FIRST_SEED <= held_out.first_seed


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dataset.RenderedScenes:
    folder = tmp_path_factory.mktemp("scenes")
    return dataset.render(folder, dataset.RenderPlan(300, 2, 2, 0.0), 1, lambda done, total: None)


def test_rendered_frames_equal_frames_drawn_again(rendered: dataset.RenderedScenes) -> None:
    from sightline.scenes import Scene

    scene = Scene(301, size=(2 * dataset.PICTURE_SIZE[0], 2 * dataset.PICTURE_SIZE[1]))
    image, objects, _ = dataset.frame_of(301, scene, 1)
    assert np.array_equal(rendered.images[3], image)
    assert np.array_equal(rendered.truth(3)[0], objects)


def test_augmented_boxes_stay_in_the_picture(rendered: dataset.RenderedScenes) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        sample = dataset.augment(rendered.sample(0), rng)
        assert sample.picture.shape == (216, 384, 3)
        assert sample.picture.dtype == np.uint8
        for boxes in (sample.found[:, 1:5], sample.hidden):
            assert (boxes >= 0).all()
            assert (boxes[:, [0, 2]] <= 384).all()
            assert (boxes[:, [1, 3]] <= 216).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_letterbox_is_centred_and_grey() -> None:
    image = dataset.letterboxed(np.zeros((216, 384, 3), np.uint8))
    assert image.shape == (224, 384, 3)
    assert (image[:4] == 114).all()
    assert (image[-4:] == 114).all()
    assert not image[4:-4].any()


@pytest.mark.train
def test_iou_loss_is_zero_for_equal_boxes_and_grows_apart() -> None:
    _need_torch()
    import torch

    from sightline.builders.train.loss import iou

    box = torch.tensor([[10.0, 10.0, 30.0, 20.0]])
    near, far = box + 4, box + 100
    assert float(iou(box, box, True)) == pytest.approx(1.0, abs=1e-5)
    assert float(iou(box, near, False)) == pytest.approx(box_iou(box.numpy(), near.numpy())[0, 0], abs=1e-5)
    assert float(iou(box, far, True)) < float(iou(box, near, True)) < 1.0


@pytest.mark.train
def test_small_boxes_are_assigned_and_padding_is_not() -> None:
    _need_torch()
    import torch

    from sightline.builders.train.loss import assign
    from sightline.builders.train.network import anchor_points

    points, strides = anchor_points(64, 64, torch.device("cpu"))
    count = points.shape[2]
    truth = torch.tensor([[[31.0, 31.0, 34.0, 34.0], [0.0, 0.0, 0.0, 0.0]]])
    boxes = torch.cat([points[0].T - 4, points[0].T + 4], 1)[None]
    chosen, owner, quality = assign(
        boxes,
        torch.full((1, count, 2), 0.5),
        truth,
        torch.zeros(1, 2, dtype=torch.long),
        torch.tensor([[True, False]]),
        points[0].T,
        strides[0, 0],
    )
    assert 1 <= int(chosen.sum()) <= 9
    assert not owner[chosen].any()
    assert 0 < float(quality.max()) <= 1


class _Silent:
    def say(self, line: str) -> None: ...

    def advance(self, share: float, text: str) -> None: ...


@pytest.mark.train
def test_loss_falls_on_a_few_frames(rendered: dataset.RenderedScenes, tmp_path: Path) -> None:
    _need_torch()
    from sightline.builders.train.detect import DetectTask
    from sightline.builders.train.loop import Settings, Trainer

    def trainer_of() -> Trainer:
        settings = Settings(minutes=1, batch=2, seed=3, threads=1)
        return Trainer(settings, DetectTask(rendered, None, CLASS_NAMES), tmp_path / "c.pt", _Silent())

    trainer = trainer_of()
    batch = next(dataset.batches(rendered, 2, 0))
    losses = [trainer.step(batch) for _ in range(30)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.95 * np.mean(losses[:3])
    trainer.save()
    again = trainer_of()
    assert again.history.steps == 30
    assert all(
        bool((a == b).all())
        for a, b in zip(again.network.parameters(), trainer.network.parameters(), strict=True)
    )


@pytest.mark.train
def test_exported_file_gives_what_torch_gives(tmp_path: Path) -> None:
    _need_torch()
    needs("onnx", "openvino")
    import torch

    from sightline.builders.train.export import ExportedDetector, onnx_from_network
    from sightline.builders.train.network import StreetDetector
    from sightline.builders.train.record import OnnxNetwork

    torch.manual_seed(0)
    network = StreetDetector(len(CLASS_NAMES)).eval()
    path = tmp_path / "model.onnx"
    digest = onnx_from_network(network, path, dataset.INPUT_SIZE)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.stat().st_size <= 5_000_000
    images = np.random.default_rng(0).random((2, 3, 224, 384), np.float32)
    with torch.no_grad():
        expected = ExportedDetector(network).eval()(torch.from_numpy(images)).numpy()
    assert expected.shape == (2, 4 + len(CLASS_NAMES), 48 * 28 + 24 * 14 + 12 * 7)
    np.testing.assert_allclose(OnnxNetwork(path)(images), expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(OnnxNetwork(path)(images)[:, 4:], expected[:, 4:], atol=1e-4)


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    from sightline.builders.train.cli import train
    from sightline.errors import SightlineError

    with pytest.raises(SightlineError, match=r"'tpu'; it must be auto, cpu or cuda"):
        train(tmp_path, device="tpu")


@pytest.mark.train
def test_one_command_leaves_model_labels_record_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _need_torch()
    needs("onnx", "openvino")
    from typer.testing import CliRunner

    from sightline.builders.train import cli
    from sightline.builders.train import record as measuring

    monkeypatch.setattr(measuring, "_SPEED_SECONDS", 0.2)
    plans = dataset.RenderPlan(1000, 2, 2, 0.5), dataset.RenderPlan(dataset.HELD_OUT_FIRST_SEED, 1, 3, 1.0)
    monkeypatch.setattr(dataset, "STREETS", plans)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    out = tmp_path / "out"
    command = [
        "--minutes",
        "0.1",
        "--out",
        str(out),
        "--seed",
        "5",
        "--device",
        "cpu",
        "--data",
        str(tmp_path / "data"),
    ]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    record = json.loads((out / "record.json").read_text())
    assert record["onnx_sha256"] == hashlib.sha256((out / "model.onnx").read_bytes()).hexdigest()
    assert record["held_out"]["frames"] == 3
    curves = charts_from_training(record)["precision_recall"]["curves"]
    assert all(len(curve["recall"]) == len(curve["precision"]) == 21 for curve in curves.values())
    assert record["training"]["images"] == 4
    assert record["training"]["steps"] >= 1
    assert (out / "labels.txt").read_text().split() == list(CLASS_NAMES)
    assert 0 < (out / "training.png").stat().st_size <= 300_000
    assert not list(out.glob("*.partial"))
    assert not (tmp_path / "data" / "checkpoint.pt").exists()


def _record() -> dict:
    return json.loads((SHIPPED / "record.json").read_text())


def test_shipped_record_describes_the_shipped_file() -> None:
    record = _record()
    content = (SHIPPED / "model.onnx").read_bytes()
    assert record["onnx_sha256"] == hashlib.sha256(content).hexdigest()
    assert record["onnx_bytes"] == len(content) <= 5_000_000
    assert record["held_out"]["map50"] >= 0.85
    assert record["frames_per_second_per_core"] >= 60
    assert tuple(record["classes"]) == CLASS_NAMES == tuple((SHIPPED / "labels.txt").read_text().split())
    assert (SHIPPED / "training.png").stat().st_size <= 300_000


def test_shipped_detector_finds_what_its_record_says(tmp_path: Path) -> None:
    needs("openvino")
    from sightline.builders.train.detect import detection_evaluation
    from sightline.builders.train.record import OnnxNetwork

    first = dataset.HELD_OUT_FIRST_SEED
    frames = dataset.render(
        tmp_path, dataset.RenderPlan(first, SUBSET_SEEDS, 3, 1.0), 1, lambda done, total: None
    )
    result = detection_evaluation(OnnxNetwork(SHIPPED / "model.onnx"), frames, len(CLASS_NAMES))
    assert result.frames == 3 * SUBSET_SEEDS
    assert result.map50 >= SUBSET_MAP50, result.ap50
