# SPDX-License-Identifier: Apache-2.0
"""From a trained network to a folder: model.onnx, labels.txt, card.yaml, record.json and training.png.

Every figure of a record is measured on the exported file, run by OpenVINO.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from torch import nn

from sightline.builders.train.classify import Labelled
from sightline.builders.train.dataset import HELD_OUT_FIRST_SEED, Scenes, letterboxed
from sightline.builders.train.detect import spread
from sightline.builders.train.drawn import SIGNS_OF_CLASS, scene_crops
from sightline.builders.train.embed import search_figures
from sightline.builders.train.evaluate import decode
from sightline.builders.train.export import ExportedDetector, onnx_from_module
from sightline.builders.train.held_out import of_classifier, of_detector, of_segmenter, of_semantic
from sightline.builders.train.loop import Trainer
from sightline.builders.train.record import OnnxNetwork, write_record
from sightline.builders.train.segment import ExportedSegmenter, segmented
from sightline.builders.train.semantic import class_map
from sightline.builders.train.sheets import (
    boxes_drawn,
    classes_drawn,
    labelled,
    masks_drawn,
    tiled,
    write_sheet,
)
from sightline.scenes import CLASS_NAMES
from sightline.scenes.sign_crops import CROP_NAMES

_SHOWN = 6
_TILES = 48
Size = tuple[int, int]


def write_card(folder: Path, task: str, size: Size, **fields: Any) -> None:
    """card.yaml for the folder's model.onnx; one that is there already is left as it is."""
    path = folder / "card.yaml"
    if path.exists():
        return
    name = folder.resolve().name
    values = {
        "name": name if name[:1].isalpha() else f"model_{name}",
        "task": task,
        "source": "model.onnx",
        "input": {"size": list(size), "resize": fields.pop("resize", "letterbox"), "mean": 0, "std": 255},
        **fields,
    }
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None)
    path.write_text(
        f"# Written by sightline train; edit it as you like. Next: sightline build {path.name}\n{text}",
        encoding="utf-8",
    )


def _export(
    folder: Path,
    module: nn.Module,
    size: Size,
    outputs: Sequence[str],
    classes: Sequence[str],
    half: bool = False,
) -> OnnxNetwork:
    folder.mkdir(parents=True, exist_ok=True)
    if classes:
        (folder / "labels.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    onnx_from_module(module, folder / "model.onnx", size, outputs, half_weights=half)
    return OnnxNetwork(folder / "model.onnx")


def _content(trainer: Trainer, task: str, size: Size, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": task,
        "classes": list(trainer.task.classes),
        "input_size": list(size),
        "seed": trainer.settings.seed,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "training": {**data, **trainer.summary()},
    }


def finish_classify(
    folder: Path, trainer: Trainer, held_out: Labelled, size: Size, data: dict[str, Any], scenes: int = 0
) -> dict[str, Any]:
    """A classifier: accuracy and each class's recall; logits leave the graph, the card asks for the softmax.

    scenes: how many whole scenes the classifier of drawn signs is measured on besides.
    """
    classes = trainer.task.classes
    network = _export(folder, trainer.average, size, ("logits",), classes)
    held = of_classifier(network, held_out, classes)
    if scenes:
        held["in_scenes"] = signs_in_scenes(network, HELD_OUT_FIRST_SEED + 300, scenes)
    head = {"kind": "scores", "activation": "softmax"}
    limits = {"score": 0.0, "top": min(3, len(classes))}
    write_card(folder, "classify", size, resize="stretch", head=head, labels="labels.txt", limits=limits)
    picks = spread(len(held_out), _TILES)
    tiles = []
    for i in np.random.default_rng(0).permutation(len(held_out))[: len(picks)]:
        picture = np.asarray(held_out.pictures[int(i)])
        found = int(network(_input(picture)).argmax())
        tiles.append(labelled(picture, classes[found], found == held_out.kinds[i]))
    write_sheet(folder / "training.png", trainer.history, trainer.task.score_name, tiled(tiles, 12))
    return write_record(folder, network, _content(trainer, "classify", size, data), held)


def signs_in_scenes(network: OnnxNetwork, first_seed: int, scenes: int) -> dict[str, Any]:
    """How often the drawn signs' classifier is right about the signs of whole scenes, cut out at their true boxes.

    Scenes have four kinds of signs; which speed a sign shows, they do not tell, so that any speed counts.
    """
    crops = scene_crops(first_seed, scenes, 2, "signs")
    right = 0
    for image, kind in zip(crops.images, crops.classes, strict=True):
        found = CROP_NAMES[int(network(_input(image)).argmax())]
        right += found in SIGNS_OF_CLASS[CLASS_NAMES[int(kind)]]
    return {
        "accuracy": round(right / max(len(crops.images), 1), 4),
        "signs": len(crops.images),
        "scenes": scenes,
    }


def people_in_scenes(network: OnnxNetwork, first_seed: int, scenes: int) -> dict[str, Any]:
    """Search for vehicles and people of whole scenes, cut out at their true boxes, each among all others of all scenes."""
    crops = scene_crops(first_seed, scenes, 5, "portraits")
    data = Labelled(crops.images, crops.ids)
    result = search_figures(network, data)
    return {
        "recall_at_1": round(result.recall_at_1, 4),
        "map": round(result.mean_average_precision, 4),
        "pictures": len(data),
        "identities": len(np.unique(data.kinds)),
        "scenes": scenes,
    }


def _input(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None].astype(np.float32) / 255.0)


def finish_detect(
    folder: Path, trainer: Trainer, held_out: Scenes, size: Size, data: dict[str, Any]
) -> dict[str, Any]:
    """A detector with the output of a YOLOv8 export: AP of its boxes."""
    classes = trainer.task.classes
    network = _export(folder, ExportedDetector(trainer.average), size, ("output0",), classes)
    held = of_detector(network, held_out, classes, size)
    write_card(folder, "detect", size, head="yolov8", labels="labels.txt", limits={"score": 0.35, "iou": 0.5})
    shown = []
    for i in spread(len(held_out), _SHOWN):
        picture = letterboxed(held_out.sample(int(i)).picture, size)
        shown.append(boxes_drawn(picture, decode(network(_input(picture))[0]), classes))
    write_sheet(folder / "training.png", trainer.history, trainer.task.score_name, tiled(shown, 2))
    return write_record(folder, network, _content(trainer, "detect", size, data), held)


def finish_segment(
    folder: Path, trainer: Trainer, held_out: Scenes, size: Size, data: dict[str, Any]
) -> dict[str, Any]:
    """A segmenter with the outputs of a YOLOv8-seg export: AP of masks and boxes. Large weights are stored as fp16."""
    classes = trainer.task.classes
    module = ExportedSegmenter(trainer.average)
    network = _export(folder, module, size, ("output0", "output1"), classes, half=True)
    held = of_segmenter(network, held_out, classes, size)
    write_card(
        folder, "segment", size, head="yolov8", labels="labels.txt", limits={"score": 0.35, "iou": 0.5}
    )
    shown = []
    for i in spread(len(held_out), _SHOWN):
        picture = letterboxed(held_out.sample(int(i)).picture, size)
        raw, prototypes = network.outputs(_input(picture))
        found = segmented(raw[0], prototypes[0], len(classes), size, score=0.2)
        shown.append(boxes_drawn(masks_drawn(picture, found.masks, found.rows), found.rows, classes))
    write_sheet(folder / "training.png", trainer.history, trainer.task.score_name, tiled(shown, 2))
    return write_record(folder, network, _content(trainer, "segment", size, data), held)


def finish_semantic(
    folder: Path, trainer: Trainer, held_out: Scenes, size: Size, data: dict[str, Any]
) -> dict[str, Any]:
    """A semantic segmenter: IoU of each class, on the classes of the enlarged logits."""
    classes = trainer.task.classes
    network = _export(folder, trainer.average, size, ("logits",), classes)
    held = of_semantic(network, held_out, classes, size)
    write_card(folder, "semantic", size, head="class_map", labels="labels.txt")
    shown = []
    for i in spread(len(held_out), _SHOWN):
        picture = letterboxed(held_out.sample(int(i)).picture, size)
        shown.append(classes_drawn(picture, class_map(network(_input(picture))[0], size), classes))
    write_sheet(folder / "training.png", trainer.history, trainer.task.score_name, tiled(shown, 2))
    return write_record(folder, network, _content(trainer, "semantic", size, data), held)


def finish_embed(
    folder: Path, trainer: Trainer, held_out: Labelled, size: Size, data: dict[str, Any], scenes: int = 0
) -> dict[str, Any]:
    """An embedder: recall and mAP of a search among held-out identities. Embeddings leave the graph at length 1.

    scenes: how many whole scenes the embedder of drawn vehicles and people is measured on besides.
    """
    embedder = cast(nn.Module, trainer.average.embedder)
    network = _export(folder, embedder, size, ("embedding",), ())
    result = search_figures(network, held_out)
    held = {
        "recall_at_1": round(result.recall_at_1, 4),
        "recall_at_5": round(result.recall_at_5, 4),
        "map": round(result.mean_average_precision, 4),
        "identities": len(np.unique(held_out.kinds)),
        "queries": result.queries,
        "dimensions": int(network(np.zeros((1, 3, size[1], size[0]), np.float32)).shape[1]),
    }
    if scenes:
        held["in_scenes"] = people_in_scenes(network, HELD_OUT_FIRST_SEED + 300, scenes)
    write_card(folder, "embed", size, head="embedding")
    write_sheet(
        folder / "training.png", trainer.history, trainer.task.score_name, _searches(network, held_out)
    )
    content = _content(trainer, "embed", size, data)
    content["parameters"] = sum(p.numel() for p in embedder.parameters())
    return write_record(folder, network, content, held)


def _searches(network: OnnxNetwork, held_out: Labelled) -> np.ndarray:
    """Eight queries, each with the eleven pictures that are most alike."""
    picks = np.arange(min(len(held_out), 1200))
    found = np.concatenate([network(_input(np.asarray(held_out.pictures[int(i)]))) for i in picks])
    tiles = []
    for query in spread(len(picks), 8):
        alike = found @ found[query]
        tiles.append(labelled(np.asarray(held_out.pictures[int(query)]), "looked for", True))
        for i in np.argsort(-alike, kind="stable")[1:12]:
            right = bool(held_out.kinds[i] == held_out.kinds[query])
            tiles.append(labelled(np.asarray(held_out.pictures[int(i)]), f"{alike[i]:.2f}", right))
        tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 12)
    return tiled(tiles, 12)
