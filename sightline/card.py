# SPDX-License-Identifier: Apache-2.0
"""The model card: all that a user writes about a model.

A card is a YAML file; unknown fields are errors, every field is checked once, and the card is frozen.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sightline.errors import CardError

NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
MAX_CARD_BYTES = 1 << 20
MAX_LABELS_BYTES = 16 << 20

Task = Literal["classify", "detect", "segment", "semantic", "embed"]
HeadKind = Literal[
    "yolov8", "yolov5", "yolox", "end_to_end", "detr", "ssd", "efficient_nms", "mask_rcnn",
    "scores", "class_map", "embedding",
]  # fmt: skip
HEADS_OF_TASK: dict[Task, tuple[HeadKind, ...]] = {
    "classify": ("scores",),
    "detect": (
        "yolov8", "yolov5", "yolox", "end_to_end", "detr", "ssd", "efficient_nms", "mask_rcnn",
    ),
    "segment": ("yolov8", "yolov5", "end_to_end", "mask_rcnn"),
    "semantic": ("class_map",),
    "embed": ("embedding",),
}  # fmt: skip
SOURCE_SCHEMES = ("python", "torchvision", "timm", "ultralytics", "huggingface", "keras")
Triple = tuple[float, float, float]
Scalar = bool | int | float | str | None


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_Frozen):
    """How an image becomes the network's input tensor: (pixel - mean) / std."""

    size: tuple[Annotated[int, Field(ge=8, le=8192)], Annotated[int, Field(ge=8, le=8192)]] = Field(
        default=(640, 640), description="width and height of the network's input, pixels"
    )
    resize: Literal["letterbox", "stretch", "corner", "crop"] = Field(
        default="letterbox",
        description="letterbox keeps the aspect ratio, centred; corner the same in the left upper corner; stretch "
        "fills the input; crop resizes the shorter side to short_side and takes the middle",
    )
    short_side: int | None = Field(
        default=None, ge=8, le=8192, description="of crop: the shorter side before cropping, pixels"
    )
    filter: Literal["bilinear", "triangle", "box"] = Field(
        default="bilinear",
        description="bilinear as cv2.INTER_LINEAR, triangle as Pillow's and torchvision's antialiased one, "
        "box as cv2.INTER_AREA",
    )
    pad: float = Field(default=114.0, ge=0, le=255, description="level of the padding, 0..255")
    mean: Triple = Field(default=(0.0, 0.0, 0.0), description="subtracted from each channel, 0..255")
    std: Triple = Field(default=(255.0, 255.0, 255.0), description="each channel is divided by it, 0..255")
    colour: Literal["rgb", "bgr"] = Field(
        default="rgb", description="channel order that the network was trained on"
    )

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _one_for_all(cls, value: Any) -> Any:
        return (value,) * 3 if isinstance(value, (int, float)) else value

    @field_validator("std")
    @classmethod
    def _above_zero(cls, value: Triple) -> Triple:
        if any(v <= 0 for v in value):
            raise ValueError("std must be above 0")
        return value

    @model_validator(mode="after")
    def _short_side_covers(self) -> InputSpec:
        if self.short_side is not None and self.resize != "crop":
            raise ValueError(f"short_side belongs to resize: crop; resize is {self.resize}")
        if self.short_side is not None and self.short_side < min(self.size):
            raise ValueError(f"short_side is {self.short_side}; the crop needs at least {min(self.size)}")
        return self


class HeadSpec(_Frozen):
    """How the network's outputs are read. A plain name, such as `head: yolov8`, stands for {kind: yolov8}."""

    kind: HeadKind = Field(description="family of the head")
    outputs: tuple[str, ...] = Field(
        default=(), description="names of the network's outputs, in the order in which the head reads them"
    )
    activation: Literal["none", "sigmoid", "softmax"] | None = Field(
        default=None, description="applied to class scores; left out: what the family's exports need"
    )
    background: Literal["none", "first", "last"] | None = Field(
        default=None, description="column of the scores that means 'nothing here'"
    )
    normalised: bool = Field(default=False, description="boxes are 0..1 of the network's sides")
    centre_form: bool = Field(default=False, description="boxes are centre x, centre y, width, height")
    multi_label: bool = Field(
        default=False, description="every class above the limit counts, not only the best"
    )
    anchors: tuple[tuple[float, ...], ...] | Path | None = Field(
        default=None,
        description="rows of numbers, or a .npy file with them, network pixels (yolov5 levels, ssd)",
    )
    strides: tuple[int, ...] = Field(default=(), description="pixels a cell, a level each (yolox)")
    box_weights: tuple[float, float, float, float] | None = Field(
        default=None, description="deltas are divided by them (ssd)"
    )
    upsample: Literal["logits", "classes"] = Field(
        default="logits", description="class_map: interpolate the logits, or repeat the classes"
    )


class Limits(_Frozen):
    """What is kept of the network's answers."""

    score: float = Field(default=0.25, ge=0, le=1, description="lowest score that is reported")
    iou: float = Field(
        default=0.45, gt=0, le=1, description="boxes of one class that overlap more are suppressed"
    )
    detections: int = Field(default=300, ge=1, le=3000, description="most objects reported for an image")
    top: int = Field(
        default=5, ge=1, le=1000, description="classify: how many classes are answered, best first"
    )
    class_agnostic: bool = Field(default=False, description="boxes suppress boxes of every class")


class EngineSpec(_Frozen):
    """How the network is run."""

    kind: Literal["auto", "openvino", "onnxruntime", "tensorrt"] = Field(
        default="auto", description="auto: openvino on the target local, tensorrt on server and jetson"
    )
    precision: Literal["fp32", "fp16", "bf16", "int8", "fp8"] = Field(
        default="fp16", description="arithmetic on a GPU; on a CPU fp16 is that of the stored weights"
    )
    batch: tuple[Annotated[int, Field(ge=1, le=256)], ...] = Field(
        default=(1, 8),
        min_length=1,
        description="batch sizes, ascending; the last is the most images a request may have",
    )
    queue: int = Field(default=64, ge=1, le=100_000, description="requests that may wait; more are refused")
    queue_seconds: float = Field(
        default=2.0, gt=0, le=600, description="a request that waits longer is refused"
    )
    instances: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="of the network; left out: from the machine's cores or GPU memory",
    )
    keep_precise: tuple[str, ...] = Field(
        default=(), description="nodes or operator types that stay in fp32 whatever the precision"
    )
    workspace_mib: int = Field(
        default=2048, ge=16, le=1 << 20, description="TensorRT: most memory for tactics, MiB"
    )
    version_compatible: bool = Field(
        default=False, description="TensorRT: the engine also runs in later versions"
    )
    hardware: Literal["this", "same_capability", "ampere_plus"] = Field(
        default="this", description="TensorRT: on which other GPUs the engine runs"
    )
    dla: int | None = Field(
        default=None, ge=0, le=1, description="Orin: the DLA core; the rest falls back to the GPU"
    )
    response_cache: bool = Field(
        default=False,
        description="answer repeated encoded images from the cache of a server that has --cache-config",
    )

    @field_validator("batch")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"batch is {list(value)}; sizes must ascend without repeats")
        return value

    @model_validator(mode="after")
    def _dla_precision(self) -> EngineSpec:
        if self.dla is not None and self.precision not in ("fp16", "int8"):
            raise ValueError(f"dla runs fp16 and int8; precision is {self.precision}")
        return self


class CalibrationSpec(_Frozen):
    """Pictures from which int8 and fp8 ranges are measured."""

    images: Path | None = Field(
        default=None, description="folder of pictures, or a video recording of the user's own cameras"
    )
    samples: int = Field(default=128, ge=8, le=10_000, description="pictures that are used, spread evenly")
    allowed_drop: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="loss of agreement from which a layer goes back to higher precision",
    )


class ProofSpec(_Frozen):
    """How far the served model may be from its source; below a threshold the build is refused."""

    images: Path | None = Field(default=None, description="folder of pictures; left out: pictures that ship")
    samples: int = Field(default=16, ge=1, le=10_000, description="pictures that are compared, spread evenly")
    tensor_error: float = Field(
        default=0.05, gt=0, description="largest mean error of an output, as a share of its spread"
    )
    top1_agreement: float = Field(default=0.95, ge=0, le=1, description="classify: same best class")
    map: float = Field(
        default=0.95, ge=0, le=1, description="detect, segment: mAP50 against the source's detections"
    )
    mask_iou: float = Field(default=0.90, ge=0, le=1, description="segment: mean IoU of matched masks")
    miou: float = Field(
        default=0.95, ge=0, le=1, description="semantic: mean IoU against the source's class map"
    )
    cosine: float = Field(
        default=0.99, ge=-1, le=1, description="embed: smallest cosine to the source's embedding"
    )


class ModelCard(_Frozen):
    """One trained model and how it is to be served."""

    name: str = Field(description="name of the model on the server")
    task: Task = Field(default="detect", description="what the model does")
    source: str = Field(
        min_length=1,
        description="trained model: a file (relative paths start at the card's folder), or a scheme such as "
        "torchvision:resnet18, timm:NAME, ultralytics:yolo11n.yaml, huggingface:FOLDER, python:package.module:factory",
    )
    weights: Path | None = Field(
        default=None, description="safetensors or state_dict file for a source that names an architecture"
    )
    source_args: dict[str, Scalar] = Field(
        default_factory=dict, description="keyword arguments for the architecture, such as num_classes"
    )
    branch: str | None = Field(
        default=None, description="submodule that is served, such as the tower of a Siamese pair"
    )
    input: InputSpec = InputSpec()
    head: HeadSpec | None = Field(
        default=None, description="how the network's outputs are read; left out: recognised from the graph"
    )
    labels: tuple[str, ...] = Field(
        default=(), description="class names, or the path of a text file with one a line"
    )
    limits: Limits = Limits()
    engine: EngineSpec = EngineSpec()
    calibration: CalibrationSpec = CalibrationSpec()
    proof: ProofSpec = ProofSpec()

    @property
    def scheme(self) -> str:
        """Which kind of source it is: one of SOURCE_SCHEMES, or "file"."""
        before, colon, _ = self.source.partition(":")
        return before if colon and before in SOURCE_SCHEMES else "file"

    @property
    def source_path(self) -> Path:
        """The source's file. Raises CardError where the source is not a file."""
        if self.scheme != "file":
            raise CardError(f"source is {self.source!r}, which is not a file")
        return Path(self.source)

    @field_validator("head", mode="before")
    @classmethod
    def _plain_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _safe_name(cls, value: str) -> str:
        if not NAME_PATTERN.fullmatch(value):
            raise ValueError(
                "a name starts with a letter and has at most 64 letters, digits, '_', '-' or '.'"
            )
        return value

    @model_validator(mode="after")
    def _labels_unique(self) -> ModelCard:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be unique")
        return self

    @model_validator(mode="after")
    def _head_fits_task(self) -> ModelCard:
        allowed = HEADS_OF_TASK[self.task]
        if self.head is not None and self.head.kind not in allowed:
            raise ValueError(
                f"head is {self.head.kind}; the task {self.task} is answered by {', '.join(allowed)}"
            )
        return self


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names from a text file of at most 16 MiB, one a line, empty lines left out."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_LABELS_BYTES:
            raise CardError(f"labels file {path} must be a text file of at most {MAX_LABELS_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"labels file {path} cannot be read: {error}") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def card_from_dict(values: dict[str, Any], folder: Path) -> ModelCard:
    """Check the values of a card; its relative paths start at `folder`.

    Raises CardError with one line for each wrong field.
    """
    values = dict(values)
    if isinstance(values.get("labels"), str):
        values["labels"] = read_labels(folder / values["labels"])
    values = _with_folder(values, folder)
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        raise CardError("the model card is wrong:\n" + "\n".join(_explain(error))) from error


def _with_folder(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values with every path made absolute; a source that names a scheme is left as it is."""
    values = dict(values)
    source = values.get("source")
    if isinstance(source, (str, Path)) and str(source).partition(":")[0] not in SOURCE_SCHEMES:
        values["source"] = str(folder / source)
    for scheme in ("keras", "huggingface"):
        if isinstance(source, str) and source.startswith(f"{scheme}:"):
            values["source"] = f"{scheme}:{folder / source.partition(':')[2]}"
    if isinstance(values.get("weights"), (str, Path)):
        values["weights"] = folder / values["weights"]
    for group, name in (("calibration", "images"), ("proof", "images"), ("head", "anchors")):
        inner = values.get(group)
        if isinstance(inner, dict) and isinstance(inner.get(name), (str, Path)):
            values[group] = {**inner, name: folder / inner[name]}
    return values


def load_card(path: Path) -> ModelCard:
    """Read a card file (safe YAML, at most 1 MiB). Raises CardError."""
    try:
        if path.exists() and not path.is_file():
            raise CardError(f"model card {path} is not a file")
        if path.stat().st_size > MAX_CARD_BYTES:
            raise CardError(f"{path} has more than {MAX_CARD_BYTES} bytes; a model card is a short text")
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=PlainLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"model card {path} cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise CardError(f"model card {path} is not plain YAML: {error}") from error
    if not isinstance(values, dict):
        raise CardError(f"model card {path} must hold fields such as 'name: my_model'")
    return card_from_dict(values, path.resolve().parent)


class PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases, which our files never need and a bomb is made of."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "card"
        if item["type"] == "extra_forbidden":
            lines.append(f"  {where}: unknown field; known are {', '.join(_known_fields(item['loc']))}")
        elif not item["loc"]:
            lines.append(f"  {item['msg'].removeprefix('Value error, ')}")
        elif item["type"] == "missing":
            lines.append(f"  {where}: missing")
        else:
            lines.append(f"  {where} is {item['input']!r}: {item['msg']}")
    return lines


def _known_fields(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = ModelCard
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        for inner in (annotation, *get_args(annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return sorted(model.model_fields)
