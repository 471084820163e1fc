# SPDX-License-Identifier: Apache-2.0
"""What a model says about an image: objects and their masks, classes, a class map, or an embedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detection:
    """One object: `box` is (x1, y1, x2, y2) in pixels of the image sent; `mask` its COCO run lengths, where it has one."""

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    label: str
    mask: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found in one image, highest score first.

    boxes: ndarray of shape (N, 4), float32, xyxy pixels of the image sent.
    scores: ndarray of shape (N,), float32, 0..1.
    classes: ndarray of shape (N,), int32.
    labels: names of all classes of the model, by class id; may be empty.
    masks: a COCO compressed run-length text for each object, of a picture of `size`; None where the model makes none.
    size: width and height of the image sent, pixels, upright; None where it is not known. Masks need it.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    labels: tuple[str, ...] = field(default=(), repr=False)
    masks: tuple[bytes, ...] | None = field(default=None, repr=False)
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.classes.shape != (count,):
            raise ValueError(
                f"boxes {self.boxes.shape}, scores {self.scores.shape} and classes {self.classes.shape} "
                "must have shapes (N, 4), (N,) and (N,)"
            )
        if self.masks is not None and (len(self.masks) != count or self.size is None):
            raise ValueError(
                f"there are {len(self.masks)} masks of {count} objects in a picture of size {self.size}; "
                "each object must have one, and the size must be known"
            )

    @classmethod
    def empty(cls, labels: tuple[str, ...] = ()) -> Detections:
        """No objects."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), labels)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        masks = self.masks if self.masks is not None else (None,) * len(self)
        for box, score, class_id, mask in zip(self.boxes, self.scores, self.classes, masks, strict=True):
            x1, y1, x2, y2 = (float(v) for v in box)
            label = _label(self.labels, int(class_id))
            yield Detection((x1, y1, x2, y2), float(score), int(class_id), label, mask)

    def label(self, class_id: int) -> str:
        """Name of a class; its number where the model has no labels."""
        return _label(self.labels, class_id)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Pixels of one object, bool of shape (height, width). Raises ValueError without masks, or for a damaged one."""
        from sightline.preprocess_ext import rle_decode

        if self.masks is None or self.size is None:
            raise ValueError("these objects have no masks; only a model of the task segment makes them")
        return rle_decode(self.masks[index], *self.size).view(np.bool_)

    def above(self, score: float) -> Detections:
        """Only the objects with at least this score."""
        keep = self.scores >= score
        masks = (
            None
            if self.masks is None
            else tuple(mask for mask, kept in zip(self.masks, keep, strict=True) if kept)
        )
        return Detections(
            self.boxes[keep], self.scores[keep], self.classes[keep], self.labels, masks, self.size
        )

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain values for JSON: label, class_id, score, box [x1, y1, x2, y2] in pixels; where there are masks also mask,
        {"size": [height, width], "counts": text} as COCO writes it."""
        return [
            {
                "label": d.label,
                "class_id": d.class_id,
                "score": round(d.score, 4),
                "box": [round(v, 2) for v in d.box],
                **({} if d.mask is None or self.size is None else {"mask": _coco(d.mask, *self.size)}),
            }
            for d in self
        ]


@dataclass(frozen=True)
class ClassScore:
    """One class that an image may be of."""

    label: str
    class_id: int
    score: float


@dataclass(frozen=True, eq=False)
class Classification:
    """What one image shows, best class first.

    scores: ndarray of shape (K,), float32; 0..1 where the model gives probabilities. K is at most the model's limit `top`.
    classes: ndarray of shape (K,), int32.
    labels: names of all classes of the model, by class id; may be empty.
    """

    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    labels: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or self.scores.shape != self.classes.shape:
            raise ValueError(
                f"scores {self.scores.shape} and classes {self.classes.shape} must both have the shape (K,)"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[ClassScore]:
        for score, class_id in zip(self.scores, self.classes, strict=True):
            yield ClassScore(_label(self.labels, int(class_id)), int(class_id), float(score))

    @property
    def top(self) -> ClassScore:
        """The best class. Raises ValueError where there is none."""
        best = next(iter(self), None)
        if best is None:
            raise ValueError("the image has no class; were all taken away by above()?")
        return best

    def above(self, score: float) -> Classification:
        """Only the classes with at least this score."""
        keep = self.scores >= score
        return Classification(self.scores[keep], self.classes[keep], self.labels)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain values for JSON: label, class_id, score of each class."""
        return [
            {"label": found.label, "class_id": found.class_id, "score": round(found.score, 4)}
            for found in self
        ]


@dataclass(frozen=True)
class ClassArea:
    """How much of an image one class covers; `fraction` is 0..1."""

    label: str
    class_id: int
    pixels: int
    fraction: float


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The class of every pixel of one image.

    classes: ndarray of shape (height, width), uint8, of the image sent, upright.
    labels: names of all classes of the model, by class id; may be empty.
    """

    classes: NDArray[np.uint8]
    labels: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.classes.ndim != 2 or self.classes.dtype != np.uint8:
            raise ValueError(
                f"classes is {self.classes.dtype} of shape {self.classes.shape}; it must be uint8 of shape (height, width)"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        height, width = self.classes.shape
        return width, height

    def mask(self, class_id: int) -> NDArray[np.bool_]:
        """Pixels of one class, bool of shape (height, width)."""
        return np.equal(self.classes, class_id)

    def label(self, class_id: int) -> str:
        """Name of a class; its number where the model has no labels."""
        return _label(self.labels, class_id)

    def areas(self) -> tuple[ClassArea, ...]:
        """The classes that the image has, the largest first."""
        pixels = np.bincount(self.classes.reshape(-1), minlength=1)
        present = [class_id for class_id in np.argsort(-pixels, kind="stable").tolist() if pixels[class_id]]
        return tuple(
            ClassArea(
                self.label(class_id),
                class_id,
                int(pixels[class_id]),
                float(pixels[class_id] / self.classes.size),
            )
            for class_id in present
        )

    def fractions(self) -> dict[str, float]:
        """Share of the image, 0..1, of each class that it has, by label, the largest first."""
        return {area.label: area.fraction for area in self.areas()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: width, height, and classes, each with label, class_id, fraction and its mask as COCO
        writes it, so that nothing is lost."""
        from sightline.preprocess_ext import rle_encode

        width, height = self.size
        return {
            "width": width,
            "height": height,
            "classes": [
                {
                    "label": area.label,
                    "class_id": area.class_id,
                    "fraction": round(area.fraction, 4),
                    "mask": _coco(rle_encode(self.mask(area.class_id)), width, height),
                }
                for area in self.areas()
            ],
        }


@dataclass(frozen=True, eq=False)
class Embedding:
    """Where an image lies among all others: alike images lie close together.

    vector: ndarray of shape (D,), float32, of length 1 as the server sends it.
    """

    vector: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.vector.ndim != 1 or self.vector.dtype != np.float32:
            raise ValueError(
                f"vector is {self.vector.dtype} of shape {self.vector.shape}; it must be float32 of shape (D,)"
            )

    def __len__(self) -> int:
        return len(self.vector)

    def cosine(self, other: Embedding) -> float:
        """Likeness of two images, -1..1; 0 where one of the vectors is zero. Raises ValueError for different lengths."""
        if len(self) != len(other):
            raise ValueError(
                f"the embeddings have {len(self)} and {len(other)} values; only those of one model can be compared"
            )
        one, two = self.vector.astype(np.float64), other.vector.astype(np.float64)
        lengths = float(np.linalg.norm(one) * np.linalg.norm(two))
        return float(np.clip(one @ two / lengths, -1.0, 1.0)) if lengths > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: embedding, a list of D numbers."""
        return {"embedding": [round(value, 7) for value in self.vector.tolist()]}


Result: TypeAlias = Detections | Classification | ClassMap | Embedding


def _label(labels: tuple[str, ...], class_id: int) -> str:
    return labels[class_id] if 0 <= class_id < len(labels) else str(class_id)


def _coco(text: bytes, width: int, height: int) -> dict[str, Any]:
    return {"size": [height, width], "counts": text.decode("ascii")}
