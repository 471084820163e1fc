# SPDX-License-Identifier: Apache-2.0
"""`source: ultralytics:NAME.yaml`: YOLO and RT-DETR of Ultralytics, to detect, segment and classify.

A description (YAML) names layers, and Ultralytics evaluates parts of it as Python; so it is checked here before it
gets there: only network layers, only literal arguments.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml as yaml_reader

from sightline.builders.sources.torch_network import (
    TorchNetwork,
    architecture,
    import_torch,
    pictures,
    seeded,
    settle,
)
from sightline.builders.sources.torch_weights import load_weights
from sightline.card import ModelCard, PlainLoader
from sightline.errors import CardError, MissingDependencyError

_MAX_YAML_BYTES = 1 << 20
_SIDE = 640
_CLASSIFY_SIDE = 224
_DETECT = {"Detect", "v10Detect"}
_SEGMENT = {"Segment", "Segment26"}
_DOWNLOADS = {"TorchVision"}
_COMMON = {"filter": "bilinear", "mean": 0.0, "std": 255.0, "pad": 114.0}


def load(card: ModelCard) -> TorchNetwork:
    """The network with the card's weights (random without). Raises CardError and BuildError."""
    name = card.source.partition(":")[2]
    description = read_description(name)
    model = model_of(description, card.source_args)
    if card.weights:
        load_weights(model, card.weights)
    origin = architecture(
        f"Ultralytics {import_ultralytics().__version__}", name, card.source_args, card.weights
    )
    if not card.weights:
        settle(model.eval(), card.input)
    return network(model, card, origin, defaults_of_yaml(description))


def network(model: Any, card: ModelCard, origin: str, defaults: Mapping[str, Any]) -> TorchNetwork:
    """The model with its head set to give what Ultralytics' own exports give."""
    import_torch()
    model.eval()
    head = model.model[-1]
    head.export, head.format = True, "onnx"
    chosen = getattr(head, "one2one_cv2", None) is not None
    if chosen:
        head.end2end = True  # the branch that needs no NMS
    if hasattr(head, "_get_decode_boxes"):
        _fix_anchors(model, head, card)
    queries = type(head).__name__ == "RTDETRDecoder"
    if queries:
        head.postprocess = _boxes_and_scores
        model(pictures(card.input, 1))  # makes its anchors, which may not change during the export
    return TorchNetwork(model, origin, defaults, rows=chosen or queries)


def defaults_of(name: str, source_args: Mapping[str, Any]) -> dict[str, Any]:
    """Card fields (task, input, head) of a description."""
    return defaults_of_yaml(read_description(name))


def defaults_of_yaml(description: Mapping[str, Any]) -> dict[str, Any]:
    """Card fields (task, input, head) of a description that was read. Raises CardError for other tasks."""
    last = str(description["head"][-1][2])
    size = {"size": (_SIDE, _SIDE), **_COMMON}
    if last == "Classify":
        crop = {"size": (_CLASSIFY_SIDE,) * 2, "resize": "crop", "short_side": _CLASSIFY_SIDE}
        spec = {**_COMMON, **crop, "filter": "triangle"}
        return {"task": "classify", "input": spec, "head": {"kind": "scores", "activation": "none"}}
    if last == "RTDETRDecoder":
        head = {"kind": "detr", "activation": "none", "background": "none", "multi_label": True}
        return {"task": "detect", "input": {**size, "resize": "stretch"}, "head": head}
    if last not in _DETECT | _SEGMENT:
        raise CardError(f"the network ends in {last}; supported are detect, segment, classify and RT-DETR")
    kind = "end_to_end" if last == "v10Detect" or description.get("end2end") else "yolov8"
    task = "segment" if last in _SEGMENT else "detect"
    return {"task": task, "input": {**size, "resize": "letterbox"}, "head": {"kind": kind}}


def read_description(name: str) -> dict[str, Any]:
    """A description by name, such as yolo11n.yaml (one of the package's), or by the path of a file.

    Raises CardError where it does not exist, is no plain YAML, or has anything but layers with literal arguments.
    """
    path, scale = _find(name)
    try:
        if path.stat().st_size > _MAX_YAML_BYTES:
            raise CardError(
                f"{path} has more than {_MAX_YAML_BYTES} bytes; a network's description is a short text"
            )
        values = yaml_reader.load(path.read_text(encoding="utf-8"), Loader=PlainLoader)
    except (OSError, ValueError, yaml_reader.YAMLError, RecursionError) as error:
        raise CardError(f"{path} cannot be read as a network's description: {error}") from error
    if not isinstance(values, dict):
        raise CardError(f"{path} is no description of a network: it has no backbone and head")
    if scale:
        values["scale"] = scale
    values["yaml_file"] = str(path)
    check_description(values)
    return values


def model_of(description: Mapping[str, Any], source_args: Mapping[str, Any]) -> Any:
    """A network of Ultralytics from a checked description. source_args: nc (or num_classes), scale."""
    check_description(description)
    tasks = import_ultralytics().nn.tasks
    values = dict(description)
    unknown = sorted(set(source_args) - {"nc", "num_classes", "scale"})
    if unknown:
        raise CardError(f"source_args has {', '.join(unknown)}; Ultralytics' networks take nc and scale")
    if source_args.get("scale"):
        values["scale"] = source_args["scale"]
    scales = values.get("scales")
    if isinstance(scales, Mapping) and values.get("scale") not in scales:
        values["scale"] = next(iter(scales))
    last = str(values["head"][-1][2])
    builders = {"Classify": tasks.ClassificationModel, "RTDETRDecoder": tasks.RTDETRDetectionModel}
    builder = tasks.SegmentationModel if last in _SEGMENT else builders.get(last, tasks.DetectionModel)
    classes = source_args.get("nc", source_args.get("num_classes")) or values.get("nc")
    try:
        with seeded():
            return builder(cfg=values, ch=3, nc=classes, verbose=False)
    except Exception as error:  # a wrong description gives all sorts
        raise CardError(f"Ultralytics cannot build the network: {type(error).__name__}: {error}") from error


def check_description(values: Mapping[str, Any]) -> None:
    """Raises CardError for anything but layers of torch.nn and Ultralytics with literal arguments."""
    rows = [values.get("backbone"), values.get("head")]
    if not all(isinstance(part, list) and part for part in rows):
        raise CardError("a network's description needs the lists 'backbone' and 'head'")
    for row in [*values["backbone"], *values["head"]]:
        if not isinstance(row, list) or len(row) != 4 or not isinstance(row[2], str):
            raise CardError(f"the layer {row!r} must be [from, number, module, arguments]")
        if not _is_layer(row[2]):
            raise CardError(f"the layer {row[2]!r} is no layer of torch.nn or Ultralytics that may be used")
    activation = values.get("activation")
    if activation is not None and not _is_activation(activation):
        raise CardError(f"activation is {activation!r}; write a layer of torch.nn such as nn.SiLU()")
    defaults_of_yaml(values)


def _is_layer(name: str) -> bool:
    torch = import_torch()
    if name.startswith("nn."):
        found = getattr(torch.nn, name[3:], None)
    else:
        found = None if name in _DOWNLOADS else getattr(import_ultralytics().nn.tasks, name, None)
    return isinstance(found, type) and issubclass(found, torch.nn.Module)


def _is_activation(text: Any) -> bool:
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or ast.unparse(call.func).count("(") or len(text) > 200:
            return False
        for value in [*call.args, *(word.value for word in call.keywords)]:
            ast.literal_eval(value)
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    name = re.fullmatch(r"(?:torch\.)?(nn\.\w+)", ast.unparse(call.func))
    return bool(name) and _is_layer(name.group(1))  # type: ignore[union-attr]


def _find(name: str) -> tuple[Path, str]:
    """The file of a description, and the scale that its name asks for ("n" of yolo11n-seg.yaml)."""
    path = Path(name)
    scale = re.match(r"yolo(?:e-)?v?\d+([nslmx])(?![a-z])", path.stem)
    if path.is_file():
        return path, scale.group(1) if scale else ""
    folder = Path(import_ultralytics().__file__).parent / "cfg" / "models"
    known = {file.name: file for file in sorted(folder.rglob("*.yaml"))}
    # yolov5nu and yolov8n are the scale n of yolov5.yaml and yolov8.yaml
    plain = re.sub(r"^(yolo(?:e-)?v?\d+)[nslmx]u?(?![a-z])", r"\1", path.name)
    for candidate in (path.name, plain):
        if candidate in known and name == path.name:
            return known[candidate], scale.group(1) if scale else ""
    import difflib

    similar = ", ".join(difflib.get_close_matches(plain, known, 5, 0.4)) or "none"
    raise CardError(f"Ultralytics has no network {name!r}, and there is no such file; similar: {similar}")


def _fix_anchors(model: Any, head: Any, card: ModelCard) -> None:
    """The anchors of the card's input as constants: the head would compare shapes, which pins the batch."""
    torch = import_torch()
    with torch.no_grad():
        model(pictures(card.input, 1))
    anchors, strides = head.anchors.clone(), head.strides.clone()

    def boxes(x: Mapping[str, Any]) -> Any:
        return head.decode_bboxes(head.dfl(x["boxes"]), anchors.unsqueeze(0)) * strides

    head._get_decode_boxes = boxes


def _boxes_and_scores(boxes: Any, scores: Any) -> Any:
    """(N, queries, 4 + classes), without the selection of the best, which the head does."""
    return import_torch().cat((boxes, scores), -1)


@contextlib.contextmanager
def _unpatched() -> Iterator[None]:
    """Importing Ultralytics replaces functions of other packages for the whole process; they are put back."""
    import PIL.Image
    import torch

    before = PIL.Image.open, torch.save
    try:
        yield
    finally:
        PIL.Image.open, torch.save = before


def import_ultralytics() -> Any:
    """The package: its import leaves others as they are, and it may not write into the user's folders or call home."""
    import_torch()
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    folder = "" if os.environ.get("YOLO_CONFIG_DIR") else tempfile.mkdtemp(prefix="sightline-ultralytics-")
    if folder:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = folder
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    try:
        with _unpatched():
            import ultralytics
            import ultralytics.nn.tasks
    except ImportError as error:
        raise MissingDependencyError(
            "Ultralytics' networks need: pip install 'sightline[ultralytics]'"
        ) from error
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    return ultralytics
