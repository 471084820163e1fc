# SPDX-License-Identifier: Apache-2.0
"""One function a task: data, own or drawn, in; a trained model with its record out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Idle OpenMP threads that spin take the cores from the processes that draw; torch reads this when it starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from sightline.errors import MissingDependencyError, SightlineError

if TYPE_CHECKING:
    from sightline.builders.train.dataset import RenderPlan
    from sightline.builders.train.drawn import CropPlan
    from sightline.builders.train.frozen import FeatureStore
    from sightline.builders.train.loop import Task, Trainer
    from sightline.builders.train.progress import Lines

_HELD_OUT_SHARE = 0.15
Size = tuple[int, int]


@dataclass(frozen=True)
class Options:
    """What the command line says of a run. None: the task's own value.

    out: folder of the model. work: folder of drawn data and of the checkpoint, from which a run with the same
    folder goes on; None: drawn data in a temporary folder, the checkpoint in `out`. workers: processes that draw, 0
    for one a core. threads: of the training itself, 0 for one a core.
    """

    out: Path
    work: Path | None = None
    epochs: float | None = None
    minutes: float | None = None
    batch: int | None = None
    rate: float | None = None
    seed: int = 1
    device: str = "auto"
    precision: str = "auto"
    patience: int = 0
    evaluations: int = 10
    workers: int = 0
    threads: int = 0


@dataclass(frozen=True)
class _Usual:
    """Values for a task where the options have none."""

    epochs: float
    batch: int
    rate: float
    average: float


_USUAL = {
    "classify": _Usual(12, 32, 3e-3, 0.998),
    "detect": _Usual(60, 8, 1.5e-3, 0.999),
    "segment": _Usual(60, 8, 1.5e-3, 0.998),
    "semantic": _Usual(30, 8, 2e-3, 0.998),
    "embed": _Usual(12, 64, 2e-3, 0.998),
}
_LARGER_ON_CUDA = 4
"""Batches are this many times larger on a GPU, and the rate twice as high."""


def chosen_device(device: str) -> str:
    """cpu or cuda. Raises MissingDependencyError without torch, SightlineError when the device is not there."""
    if device not in ("auto", "cpu", "cuda"):
        raise SightlineError(f"device is {device!r}; it must be auto, cpu or cuda")
    missing = []
    for name in ("torch", "onnx", "openvino", "cv2"):
        try:
            __import__(name)
        except ImportError:
            missing.append({"cv2": "opencv-python-headless"}.get(name, name))
    if missing:
        raise MissingDependencyError(
            f"training needs {', '.join(missing)}; install it with: pip install 'sightline[train,server]'"
        )
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise SightlineError(
            "device is cuda, but torch sees no CUDA device; use cpu, or install a CUDA build of torch"
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _network_size(size: Size) -> Size:
    """A size that all levels of the pyramid divide. Raises SightlineError."""
    if size[0] % 32 or size[1] % 32 or min(size) < 64:
        raise SightlineError(
            f"size is {size[0]}x{size[1]}; width and height must be multiples of 32, at least 64"
        )
    return size


def _with_work(options: Options, job: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Run the job with a folder for drawn data."""
    if options.work is not None:
        return job(options.work)
    with tempfile.TemporaryDirectory(prefix="sightline-train-") as folder:
        return job(Path(folder))


def _run(kind: str, options: Options, device: str, task: Task, lines: Lines) -> Trainer:
    """Train, from the checkpoint where there is one. What comes out is the best evaluation's averaged network."""
    from sightline.builders.train.loop import Settings, Trainer

    usual, larger = _USUAL[kind], device == "cuda"
    epochs = options.epochs if options.epochs or options.minutes else usual.epochs
    settings = Settings(
        minutes=options.minutes,
        epochs=epochs,
        seed=options.seed,
        batch=options.batch or usual.batch * (_LARGER_ON_CUDA if larger else 1),
        rate=options.rate or usual.rate * (2 if larger else 1),
        average=usual.average,
        evaluations=options.evaluations,
        patience=options.patience,
        device=device,
        threads=options.threads or os.cpu_count() or 1,
        precision=options.precision,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(settings, task, _checkpoint(options), lines)
    try:
        trainer.run()
    except KeyboardInterrupt:
        lines.say(f"stopped; the same command goes on from {_checkpoint(options)}")
        raise
    return trainer


def _checkpoint(options: Options) -> Path:
    return (options.work or options.out) / "checkpoint.pt"


def _done(options: Options, record: dict[str, Any], lines: Lines) -> dict[str, Any]:
    """A finished run needs no checkpoint."""
    _checkpoint(options).unlink(missing_ok=True)
    lines.say(f"the model, its card and its record are in {options.out}")
    return record


def _workers(options: Options) -> int:
    return options.workers or os.cpu_count() or 1


def train_classify(
    options: Options, lines: Lines, data: Path | None = None, size: Size = (64, 64), *,
    flip: bool = False, plans: tuple[CropPlan, CropPlan] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a classifier of the pictures in `data`, one subfolder a class, or of drawn traffic signs.

    Returns the record. Raises SightlineError.
    """
    device = chosen_device(options.device)
    from sightline.builders.train import drawn, finish, own
    from sightline.builders.train.classify import Augment, ClassifyTask
    from sightline.scenes.sign_crops import CROP_NAMES

    def job(work: Path) -> dict[str, Any]:
        if data is None:
            plan, held_plan = plans or drawn.SIGNS
            train = drawn.render_crops(
                work / "train", plan, _workers(options), lines.drawing("training signs")
            )
            held = drawn.render_crops(
                work / "held_out", held_plan, _workers(options), lines.drawing("held-out signs")
            )
            classes, origin = (
                CROP_NAMES,
                {"drawn": "signs", "first_seed": plan.first_seed, "streets": plan.streets},
            )
        else:
            found = own.class_folders(data)
            picks, rest = own.split_within(found, _HELD_OUT_SHARE, options.seed)
            train, held = (own.labelled(found, part, size, "stretch") for part in (picks, rest))
            classes, origin = found.classes, {"data": data.name}
        task = ClassifyTask(train, held, classes, Augment(flip=flip))
        trainer = _run("classify", options, device, task, lines)
        return _done(options, finish.finish_classify(options.out, trainer, held, size, origin), lines)

    return _with_work(options, job)


def train_embed(
    options: Options, lines: Lines, data: Path | None = None, size: Size = (96, 96), *,
    plans: tuple[CropPlan, CropPlan] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train an embedder of the pictures in `data`, one subfolder an identity, or of drawn vehicles and people.

    Whole identities are held out. Returns the record. Raises SightlineError.
    """
    device = chosen_device(options.device)
    from sightline.builders.train import drawn, finish, own
    from sightline.builders.train.embed import VIEWS_EACH, EmbedTask

    def job(work: Path) -> dict[str, Any]:
        if data is None:
            plan, held_plan = plans or drawn.PORTRAITS
            train = drawn.render_crops(
                work / "train", plan, _workers(options), lines.drawing("training portraits")
            )
            held = drawn.render_crops(
                work / "held_out", held_plan, _workers(options), lines.drawing("held-out portraits")
            )
            origin = {"drawn": "portraits", "first_seed": plan.first_seed, "identities": plan.things}
        else:
            found = own.class_folders(data)
            picks, rest = own.split_identities(found, _HELD_OUT_SHARE, options.seed)
            train, held = (
                own.labelled(found, part, size, "letterbox", renumber=True) for part in (picks, rest)
            )
            origin = {"data": data.name, "identities": len(found.classes)}
        task = EmbedTask(train, held)
        usual = options.batch or _USUAL["embed"].batch
        fitting = replace(options, batch=min(usual, VIEWS_EACH * task.identities))
        trainer = _run("embed", fitting, device, task, lines)
        return _done(options, finish.finish_embed(options.out, trainer, held, size, origin), lines)

    return _with_work(options, job)


def train_detect(
    options: Options, lines: Lines, data: Path | None = None, images: Path | None = None,
    size: Size = (384, 224), *, plans: tuple[RenderPlan, RenderPlan] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a detector of a COCO file's objects, or of drawn streets. Returns the record. Raises SightlineError."""
    device = chosen_device(options.device)
    from sightline.builders.train import dataset, finish
    from sightline.builders.train.detect import DetectTask
    from sightline.scenes import CLASS_NAMES

    def job(work: Path) -> dict[str, Any]:
        if data is None:
            plan, held_plan = plans or dataset.STREETS
            train = dataset.render(work / "train", plan, _workers(options), lines.drawing("training scenes"))
            held = dataset.render(
                work / "held_out", held_plan, _workers(options), lines.drawing("held-out scenes")
            )
            classes, origin, shape = CLASS_NAMES, {"scene_seeds": plan.seeds}, dataset.INPUT_SIZE
        else:
            train, held, classes, origin = _coco(options, data, images, _network_size(size), masks=False)
            shape = size
        trainer = _run("detect", options, device, DetectTask(train, held, classes, shape), lines)
        return _done(options, finish.finish_detect(options.out, trainer, held, shape, origin), lines)

    return _with_work(options, job)


def _coco(
    options: Options, data: Path, images: Path | None, size: Size, *, masks: bool
) -> tuple[Any, Any, tuple[str, ...], dict[str, Any]]:
    """Training and held-out pictures of a COCO file, its classes, and what the record says of it."""
    from sightline.builders.train.coco import CocoScenes
    from sightline.builders.train.own import split_scenes

    whole = CocoScenes(data, images or data.parent, size, masks)
    train, held = split_scenes(whole, _HELD_OUT_SHARE, options.seed)
    return train, held, whole.classes, {"data": data.name}


def train_segment(
    options: Options, lines: Lines, data: Path | None = None, images: Path | None = None,
    size: Size = (384, 224), *, start: Path | None = None, plans: tuple[RenderPlan, RenderPlan] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train an instance segmenter of a COCO file's objects, or of drawn streets.

    start: a detector's ONNX file of ours to begin with. Where its classes are those of the data, it is left as it is
    and only the mask branch learns; drawn streets begin with the shipped detector. Returns the record. Raises
    SightlineError.
    """
    device = chosen_device(options.device)
    from sightline.builders.train import dataset, drawn, finish, views
    from sightline.builders.train.segment import SegmentTask
    from sightline.builders.train.start import backbone_from, detector_from_onnx
    from sightline.scenes import CLASS_NAMES

    def job(work: Path) -> dict[str, Any]:
        shape, first = size, start
        if data is None:
            plan, held_plan = plans or drawn.VIEWS
            train = views.render_views(
                work / "train", plan, _workers(options), lines.drawing("training scenes")
            )
            held = views.render_views(
                work / "held_out", held_plan, _workers(options), lines.drawing("held-out scenes")
            )
            classes, origin, shape = CLASS_NAMES, {"scene_seeds": plan.seeds}, dataset.INPUT_SIZE
            first = start or _shipped_detector()
        else:
            train, held, classes, origin = _coco(options, data, images, _network_size(size), masks=True)
        begin = detector_from_onnx(first) if first else None
        stores = None
        if begin is not None and begin.classes != len(classes):
            begin = backbone_from(begin, len(classes))
        elif begin is not None:
            stores = _stores(work, begin, train, held, shape, lines)
        task = SegmentTask(train, held, classes, shape, begin, stores)
        origin = {**origin, **_beginning(first, stores is not None)}
        trainer = _run("segment", options, device, task, lines)
        return _done(options, finish.finish_segment(options.out, trainer, held, shape, origin), lines)

    return _with_work(options, job)


def train_semantic(
    options: Options, lines: Lines, data: Path | None = None, maps: Path | None = None,
    labels: Path | None = None, size: Size = (384, 224), *, start: Path | None = None, frozen: bool = False,
    plans: tuple[RenderPlan, RenderPlan] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a semantic segmenter of the pictures in `data` with the class maps in `maps`, or of drawn streets.

    start: a detector's ONNX file of ours with whose backbone it begins; drawn streets begin with the shipped one.
    frozen: that backbone is left as it is, which takes a tenth of the time. Returns the record. Raises SightlineError.
    """
    device = chosen_device(options.device)
    from sightline.builders.train import dataset, drawn, finish, own, views
    from sightline.builders.train.semantic import SemanticTask
    from sightline.builders.train.start import detector_from_onnx
    from sightline.card import read_labels
    from sightline.scenes import SURFACE_NAMES

    def job(work: Path) -> dict[str, Any]:
        shape, first = size, start
        train: Any
        held: Any
        if data is None:
            plan, held_plan = plans or drawn.VIEWS
            train = views.render_views(
                work / "train", plan, _workers(options), lines.drawing("training scenes")
            )
            held = views.render_views(
                work / "held_out", held_plan, _workers(options), lines.drawing("held-out scenes")
            )
            classes, shape = SURFACE_NAMES, dataset.INPUT_SIZE
            origin: dict[str, Any] = {"scene_seeds": plan.seeds}
            first = start or _shipped_detector()
        else:
            if maps is None or labels is None:
                raise SightlineError(
                    "--data is given without --maps and --labels; a class map a picture and the names are needed"
                )
            classes = read_labels(labels)
            whole = own.MapScenes(data, maps, classes, _network_size(size))
            train, held = own.split_scenes(whole, _HELD_OUT_SHARE, options.seed)
            origin = {"data": data.name}
        begin = detector_from_onnx(first) if first else None
        stores = _stores(work, begin, train, held, shape, lines) if begin is not None and frozen else None
        task = SemanticTask(train, held, classes, shape, begin, stores)
        origin |= _beginning(first, stores is not None)
        trainer = _run("semantic", options, device, task, lines)
        return _done(options, finish.finish_semantic(options.out, trainer, held, shape, origin), lines)

    return _with_work(options, job)


def _beginning(first: Path | None, frozen: bool) -> dict[str, Any]:
    """What the record says of the first weights."""
    return {"started_from": first.parent.name if first else None, "detector_frozen": frozen}


def _stores(
    work: Path, detector: Any, train: Any, held: Any, size: Size, lines: Lines
) -> tuple[FeatureStore, FeatureStore]:
    """What the detector makes of the training and the held-out pictures; segmenters of one folder share it."""
    from sightline.builders.train.frozen import FeatureStore, FrozenTrunk

    trunk = FrozenTrunk(detector)
    return (
        FeatureStore(work / "features_train", trunk, train, size, lines.drawing("features for training")),
        FeatureStore(work / "features_held_out", trunk, held, size, lines.drawing("held-out features")),
    )


def _shipped_detector() -> Path:
    from sightline.model_repository import shipped_card

    return shipped_card("street_detect").parent / "model.onnx"
