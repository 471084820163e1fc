# SPDX-License-Identifier: Apache-2.0
"""The model card: all that a user writes about a model.

A card is a YAML file; unknown fields are errors, every field is checked once, and the card is frozen.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sightline.errors import CardError

NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
MAX_CARD_BYTES = 1 << 20

Task = Literal["detect"]
Head = Literal["yolov8"]
Triple = tuple[float, float, float]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_Frozen):
    """How an image becomes the network's input tensor: (pixel - mean) / std."""

    size: tuple[Annotated[int, Field(ge=8, le=8192)], Annotated[int, Field(ge=8, le=8192)]] = Field(
        default=(640, 640), description="width and height of the network's input, pixels"
    )
    resize: Literal["letterbox", "stretch"] = Field(
        default="letterbox", description="keep the aspect ratio, or not"
    )
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
    def _not_zero(cls, value: Triple) -> Triple:
        if any(v == 0 for v in value):
            raise ValueError("std must not be 0")
        return value


class Limits(_Frozen):
    """What is kept of the network's answers."""

    score: float = Field(default=0.25, ge=0, le=1, description="lowest score that is reported")
    iou: float = Field(
        default=0.45, gt=0, le=1, description="boxes of one class that overlap more are suppressed"
    )
    detections: int = Field(default=300, ge=1, le=3000, description="most objects reported for an image")


class EngineSpec(_Frozen):
    """How the network is run."""

    precision: Literal["fp32", "fp16"] = Field(default="fp16", description="precision of the stored weights")
    batch: tuple[Annotated[int, Field(ge=1, le=256)], ...] = Field(
        default=(1, 8),
        min_length=1,
        description="batch sizes, ascending; the last is the most images a request may have",
    )
    queue: int = Field(default=64, ge=1, le=100_000, description="requests that may wait; more are refused")
    queue_seconds: float = Field(
        default=2.0, gt=0, le=600, description="a request that waits longer is refused"
    )

    @field_validator("batch")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"batch is {list(value)}; sizes must ascend without repeats")
        return value


class ModelCard(_Frozen):
    """One trained model and how it is to be served."""

    name: str = Field(description="name of the model on the server")
    task: Task = Field(default="detect", description="what the model does")
    source: Path = Field(description="trained model file; relative paths start at the card's folder")
    input: InputSpec = InputSpec()
    head: Head = Field(default="yolov8", description="how the network's outputs are read")
    labels: tuple[str, ...] = Field(
        default=(), description="class names, or the path of a text file with one a line"
    )
    limits: Limits = Limits()
    engine: EngineSpec = EngineSpec()

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


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line, empty lines left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"labels file {path} cannot be read: {error}") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def card_from_dict(values: dict[str, Any], folder: Path) -> ModelCard:
    """Check the values of a card; `source` and `labels` paths start at `folder`.

    Raises CardError with one line for each wrong field.
    """
    values = dict(values)
    if isinstance(values.get("labels"), str):
        values["labels"] = read_labels(folder / values["labels"])
    if isinstance(values.get("source"), (str, Path)):
        values["source"] = folder / values["source"]
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        raise CardError("the model card is wrong:\n" + "\n".join(_explain(error))) from error


def load_card(path: Path) -> ModelCard:
    """Read a card file (safe YAML, at most 1 MiB). Raises CardError."""
    try:
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
        elif item["type"] == "missing":
            lines.append(f"  {where}: missing")
        else:
            lines.append(f"  {where} is {item['input']!r}: {item['msg']}")
    return lines


def _known_fields(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = ModelCard
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return sorted(model.model_fields)
