# SPDX-License-Identifier: Apache-2.0
"""What each task answers, without any I/O: the outputs that are asked for, their room in a region, and the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.clients._wire import ERROR_PREFIX, Answer, Description, Room
from sightline.errors import BadInputError, ProtocolError
from sightline.frame import Frame
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

EMBEDDING_VALUES = 4_096  # for which there is room in a region; longer ones come over the socket
UNUSABLE = "the server could not use this image"
NO_ANSWER = "the model gave no answer for this image"  # its outputs are not numbers

Sizes = Callable[[int], tuple[int, int]]
"""Width and height of the picture of an item, pixels; may raise BadInputError."""


@dataclass(frozen=True)
class Question:
    """What is asked of one model.

    task: what is read from its answers. is_whole: all that the model answers is wanted, so that no output is named.
    """

    model: str
    task: str
    description: Description
    is_whole: bool = True

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs to be named in a request; none where all are wanted."""
        return () if self.is_whole else tuple(room.name for room in _TASKS[self.task].rooms(self, 0, 0))

    def rooms(self, frame: Frame, default_rows: int) -> tuple[Room, ...]:
        """The outputs for one frame and the bytes that they take at most; default_rows: where the model tells no limit."""
        return _TASKS[self.task].rooms(self, default_rows, frame.width * frame.height)

    def results(self, answer: Answer, size: Sizes) -> list[Result | BadInputError]:
        """One result, or why there is none, for each item of the request. Raises ProtocolError."""
        return _TASKS[self.task].read(answer, self.description.labels, size)


def question(model: str, description: Description, method: str) -> Question:
    """What `method` of a client asks of the model; 'infer' asks whatever it answers. Raises BadInputError.

    A model that does not describe itself is asked as the method says, one that has other answers is refused.
    """
    task = description.task or ("detect" if method == "infer" else method)
    if task not in _TASKS:
        known = ", ".join(_TASKS)
        raise BadInputError(f"model {model} is {a_model_of(task)}; this version reads {known}")
    if method in (task, "infer"):
        return Question(model, task, description)
    if (method, task) == ("detect", "segment"):
        return Question(model, method, description, is_whole=False)
    raise BadInputError(f"model {model} is {a_model_of(task)}; call {task}()")


def a_model_of(task: str) -> str:
    """Such as 'an embed model'."""
    return f"{'an' if task[:1] in 'aeiou' else 'a'} {task} model"


def detections_from_answer(answer: Answer, labels: tuple[str, ...]) -> list[Detections | BadInputError]:
    """Objects without their masks, for each item. A count of -1 marks one that could not be used."""
    counts = _output(answer, "COUNT", np.int32, 2)
    items = len(counts)
    boxes = _output(answer, "BOXES", np.float32, 3)
    scores = _output(answer, "SCORES", np.float32, 2)
    classes = _output(answer, "CLASSES", np.int32, 2)
    rows = scores.shape[1]
    if (
        counts.shape != (items, 1)
        or boxes.shape != (items, rows, 4)
        or not (scores.shape == classes.shape == (items, rows))
    ):
        raise ProtocolError(
            f"the answer's shapes do not fit: COUNT {counts.shape}, BOXES {boxes.shape}, "
            f"SCORES {scores.shape}, CLASSES {classes.shape}"
        )
    results: list[Detections | BadInputError] = []
    for item, count in enumerate(counts[:, 0].tolist()):
        if count == -1:
            results.append(BadInputError(_item_error(answer, item) or NO_ANSWER))
        elif 0 <= count <= rows:
            results.append(
                Detections(boxes[item, :count], scores[item, :count], classes[item, :count], labels)
            )
        else:
            raise ProtocolError(f"the answer counts {count} objects but has {rows} rows")
    return results


def _detect(answer: Answer, labels: tuple[str, ...], _: Sizes) -> list[Result | BadInputError]:
    return list(detections_from_answer(answer, labels))


def _segment(answer: Answer, labels: tuple[str, ...], size: Sizes) -> list[Result | BadInputError]:
    found = detections_from_answer(answer, labels)
    texts = _output(answer, "MASKS", np.object_, 2)
    if texts.shape != answer["SCORES"].shape:
        raise ProtocolError(
            f"MASKS has shape {texts.shape}; it must be that of SCORES {answer['SCORES'].shape}"
        )
    return [
        one if isinstance(one, BadInputError) else _with_masks(one, texts[item, : len(one)], size(item))
        for item, one in enumerate(found)
    ]


def _with_masks(found: Detections, texts: NDArray[Any], size: tuple[int, int]) -> Detections:
    from sightline.preprocess_ext import rle_counts

    masks = tuple(text.encode() if isinstance(text, str) else text for text in texts.tolist())
    try:
        for text in masks:
            rle_counts(text, *size)
    except (ValueError, TypeError) as error:
        raise ProtocolError(f"MASKS cannot be read: {error}") from error
    return Detections(found.boxes, found.scores, found.classes, found.labels, masks, size)


def _classify(answer: Answer, labels: tuple[str, ...], _: Sizes) -> list[Result | BadInputError]:
    scores = _output(answer, "SCORES", np.float32, 2)
    classes = _output(answer, "CLASSES", np.int32, 2)
    if scores.shape != classes.shape:
        raise ProtocolError(f"the answer's shapes do not fit: SCORES {scores.shape}, CLASSES {classes.shape}")
    results: list[Result | BadInputError] = []
    for item, ids in enumerate(classes):
        there = ids >= 0
        why = _item_error(answer, item) or ("" if there.any() else NO_ANSWER)
        results.append(BadInputError(why) if why else Classification(scores[item, there], ids[there], labels))
    return results


def _semantic(answer: Answer, labels: tuple[str, ...], size: Sizes) -> list[Result | BadInputError]:
    maps = _output(answer, "CLASS_MAP", np.uint8, 3)
    results: list[Result | BadInputError] = []
    for item, whole in enumerate(maps):
        why = _item_error(answer, item)
        if why:
            results.append(BadInputError(why))
            continue
        height, width = whole.shape
        if len(maps) > 1:  # as large as the largest picture of the request
            width, height = size(item)
        if not (0 < height <= whole.shape[0] and 0 < width <= whole.shape[1]):
            raise ProtocolError(f"CLASS_MAP has shape {maps.shape}; the picture has {width}x{height} pixels")
        results.append(ClassMap(whole[:height, :width], labels))
    return results


def _embed(answer: Answer, _: tuple[str, ...], __: Sizes) -> list[Result | BadInputError]:
    vectors = _output(answer, "EMBEDDING", np.float32, 2)
    if not vectors.shape[1] or not np.isfinite(vectors).all():
        raise ProtocolError(f"EMBEDDING of shape {vectors.shape} must have finite values")
    results: list[Result | BadInputError] = []
    for item, vector in enumerate(vectors):
        why = _item_error(answer, item) or ("" if vector.any() else NO_ANSWER)
        results.append(BadInputError(why) if why else Embedding(vector))
    return results


def _output(answer: Answer, name: str, dtype: type[np.generic], dimensions: int) -> NDArray[Any]:
    array = answer.get(name)
    if array is None:
        raise ProtocolError(f"the answer has no {name}; it has {', '.join(answer) or 'nothing'}")
    if array.size == 0 and array.ndim == dimensions:
        return array.astype(dtype)  # an empty array over HTTP has lost its type
    if array.dtype != dtype or array.ndim != dimensions:
        raise ProtocolError(
            f"{name} is {array.dtype} of {array.ndim} dimensions; "
            f"it must be {np.dtype(dtype)} of {dimensions}"
        )
    return array


def _item_error(answer: Answer, item: int) -> str:
    """What the server says against an item, '' where nothing."""
    try:
        text = answer["ERROR"].reshape(-1)[item]
    except (KeyError, IndexError):
        return ""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return ERROR_PREFIX.sub("", str(text)) or (UNUSABLE if text else "")


def _box_rooms(asked: Question, default_rows: int, _: int) -> tuple[Room, ...]:
    rows = asked.description.rows or default_rows
    return (
        Room("COUNT", 4),
        Room("BOXES", rows * 16),
        Room("SCORES", rows * 4),
        Room("CLASSES", rows * 4),
        Room("ERROR"),
    )


def _mask_rooms(asked: Question, default_rows: int, _: int) -> tuple[Room, ...]:
    return (*_box_rooms(asked, default_rows, 0), Room("MASKS"))


def _class_rooms(asked: Question, default_rows: int, _: int) -> tuple[Room, ...]:
    size_bytes = 4 * (asked.description.top or default_rows)
    return Room("SCORES", size_bytes), Room("CLASSES", size_bytes), Room("ERROR")


def _map_rooms(_: Question, __: int, pixels: int) -> tuple[Room, ...]:
    return Room("CLASS_MAP", pixels), Room("ERROR")


def _embedding_rooms(_: Question, __: int, ___: int) -> tuple[Room, ...]:
    return Room("EMBEDDING", 4 * EMBEDDING_VALUES), Room("ERROR")


@dataclass(frozen=True)
class _Task:
    """rooms: of a question, for so many rows and pixels; read: the results of an answer."""

    rooms: Callable[[Question, int, int], tuple[Room, ...]]
    read: Callable[[Answer, tuple[str, ...], Sizes], list[Result | BadInputError]]


_TASKS = {
    "detect": _Task(_box_rooms, _detect),
    "segment": _Task(_mask_rooms, _segment),
    "classify": _Task(_class_rooms, _classify),
    "semantic": _Task(_map_rooms, _semantic),
    "embed": _Task(_embedding_rooms, _embed),
}
