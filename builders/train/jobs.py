# SPDX-License-Identifier: Apache-2.0
"""One function a task: data, own or drawn, in; a trained model with its record out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.builders.train.run import (
    USUAL,
    Options,
    Size,
    chosen_device,
    finished,
    network_size,
    run_task,
    with_work,
    workers_of,
)
from sightline.errors import SightlineError

if TYPE_CHECKING:
    from sightline.builders.train.dataset import RenderPlan
    from sightline.builders.train.drawn import CropPlan
    from sightline.builders.train.embedder import VectorStore
    from sightline.builders.train.frozen import FeatureStore
    from sightline.builders.train.progress import Lines

_HELD_OUT_SHARE = 0.15
_LOOKS = 2
"""How many looks of each picture an embedder on a frozen backbone learns from."""
_MEASURED_SCENES = 10
"""Whole scenes that models of drawn cut-outs are measured on besides."""


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
                work / "train", plan, workers_of(options), lines.counting("drawing training signs")
            )
            held = drawn.render_crops(
                work / "held_out", held_plan, workers_of(options), lines.counting("drawing held-out signs")
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
        scenes = _MEASURED_SCENES if data is None and plans is None else 0
        task = ClassifyTask(train, held, classes, Augment(flip=flip))
        trainer = run_task("classify", options, device, task, lines)
        return finished(
            options, finish.finish_classify(options.out, trainer, held, size, origin, scenes), lines
        )

    return with_work(options, job)


def train_embed(
    options: Options, lines: Lines, data: Path | None = None, size: Size = (96, 96), *,
    start: Path | None = None, plans: tuple[CropPlan, CropPlan] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train an embedder of the pictures in `data`, one subfolder an identity, or of drawn vehicles and people.

    Whole identities are held out. start: a detector's ONNX file of ours, on whose backbone, left as it is, the
    embedder stands; drawn ones stand on the shipped one. Returns the record. Raises SightlineError.
    """
    device = chosen_device(options.device)
    from sightline.builders.train import drawn, finish, own
    from sightline.builders.train.embed import VIEWS_EACH, EmbedTask
    from sightline.builders.train.start import detector_from_onnx

    def job(work: Path) -> dict[str, Any]:
        if data is None:
            plan, held_plan = plans or drawn.PORTRAITS
            train = drawn.render_crops(
                work / "train", plan, workers_of(options), lines.counting("drawing training portraits")
            )
            held = drawn.render_crops(
                work / "held_out",
                held_plan,
                workers_of(options),
                lines.counting("drawing held-out portraits"),
            )
            origin = {"drawn": "portraits", "first_seed": plan.first_seed, "identities": plan.things}
        else:
            found = own.class_folders(data)
            picks, rest = own.split_identities(found, _HELD_OUT_SHARE, options.seed)
            train, held = (
                own.labelled(found, part, size, "letterbox", renumber=True) for part in (picks, rest)
            )
            origin = {"data": data.name, "identities": len(found.classes)}
        scenes = _MEASURED_SCENES if data is None and plans is None else 0
        first = start if data is not None or start else _shipped_detector()
        begin = detector_from_onnx(first) if first else None
        stores = _vectors(work, begin, train, held, size, lines) if begin is not None else None
        task = EmbedTask(train, held, size=network_size(size) if begin else size, start=begin, stores=stores)
        origin = {**origin, **_beginning(first, stores is not None)}
        usual = options.batch or USUAL["embed"].batch
        fitting = replace(options, batch=min(usual, VIEWS_EACH * task.identities))
        trainer = run_task("embed", fitting, device, task, lines)
        return finished(options, finish.finish_embed(options.out, trainer, held, size, origin, scenes), lines)

    return with_work(options, job)


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
            train = dataset.render(
                work / "train", plan, workers_of(options), lines.counting("drawing training scenes")
            )
            held = dataset.render(
                work / "held_out", held_plan, workers_of(options), lines.counting("drawing held-out scenes")
            )
            classes, origin, shape = CLASS_NAMES, {"scene_seeds": plan.seeds}, dataset.INPUT_SIZE
        else:
            train, held, classes, origin = _coco(options, data, images, network_size(size), masks=False)
            shape = size
        trainer = run_task("detect", options, device, DetectTask(train, held, classes, shape), lines)
        return finished(options, finish.finish_detect(options.out, trainer, held, shape, origin), lines)

    return with_work(options, job)


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
                work / "train", plan, workers_of(options), lines.counting("drawing training scenes")
            )
            held = views.render_views(
                work / "held_out", held_plan, workers_of(options), lines.counting("drawing held-out scenes")
            )
            classes, origin, shape = CLASS_NAMES, {"scene_seeds": plan.seeds}, dataset.INPUT_SIZE
            first = start or _shipped_detector()
        else:
            train, held, classes, origin = _coco(options, data, images, network_size(size), masks=True)
        begin = detector_from_onnx(first) if first else None
        stores = None
        if begin is not None and begin.classes != len(classes):
            begin = backbone_from(begin, len(classes))
        elif begin is not None:
            stores = _stores(work, begin, train, held, shape, lines)
        task = SegmentTask(train, held, classes, shape, begin, stores)
        origin = {**origin, **_beginning(first, stores is not None)}
        trainer = run_task("segment", options, device, task, lines)
        return finished(options, finish.finish_segment(options.out, trainer, held, shape, origin), lines)

    return with_work(options, job)


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
                work / "train", plan, workers_of(options), lines.counting("drawing training scenes")
            )
            held = views.render_views(
                work / "held_out", held_plan, workers_of(options), lines.counting("drawing held-out scenes")
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
            whole = own.MapScenes(data, maps, classes, network_size(size))
            train, held = own.split_scenes(whole, _HELD_OUT_SHARE, options.seed)
            origin = {"data": data.name}
        begin = detector_from_onnx(first) if first else None
        stores = _stores(work, begin, train, held, shape, lines) if begin is not None and frozen else None
        task = SemanticTask(train, held, classes, shape, begin, stores)
        origin |= _beginning(first, stores is not None)
        trainer = run_task("semantic", options, device, task, lines)
        return finished(options, finish.finish_semantic(options.out, trainer, held, shape, origin), lines)

    return with_work(options, job)


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
        FeatureStore(work / "features_train", trunk, train, size, lines.counting("features for training")),
        FeatureStore(work / "features_held_out", trunk, held, size, lines.counting("held-out features")),
    )


def _vectors(
    work: Path, detector: Any, train: Any, held: Any, size: Size, lines: Lines
) -> tuple[VectorStore, VectorStore]:
    """What the detector's backbone makes of the training pictures, in several looks, and of the held-out ones."""
    from sightline.builders.train.embed import AUGMENT
    from sightline.builders.train.embedder import PooledTrunk, VectorStore

    trunk = PooledTrunk(detector, size)
    return (
        VectorStore(
            work / "vectors_train", trunk, train, _LOOKS, AUGMENT, lines.counting("vectors for training")
        ),
        VectorStore(work / "vectors_held_out", trunk, held, 1, AUGMENT, lines.counting("held-out vectors")),
    )


def _shipped_detector() -> Path:
    from sightline.model_repository import shipped_card

    return shipped_card("street_detect").parent / "model.onnx"
