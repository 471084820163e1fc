# SPDX-License-Identifier: Apache-2.0
"""What a request consists of, without I/O: generators that yield operations and are sent their answers.

The same flows are driven by blocking calls, by callbacks and by asyncio; failures are thrown in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any, TypeVar, cast

from sightline.clients import _answers, _sharing, _wire
from sightline.clients._errors_border import OVERLOADED
from sightline.clients._images import ImageLike, item_from, size_of
from sightline.clients._session import INPROC, Session
from sightline.errors import (
    BadInputError,
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
    ServerUnavailable,
)
from sightline.frame import Frame
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

LABELS_AGE_SECONDS = 60.0  # a model may be built anew behind an idle client

T = TypeVar("T")
Flow = Generator[_wire.Operation, Any, T]


def infer(session: Session, model: str, image: ImageLike, method: str = "infer") -> Flow[Result]:
    """What the model says about one image; `method` of a client tells what is expected, see _answers.question."""
    model = _wire.checked_model(model)
    item = item_from(image)
    try:
        description = yield from description_of(session, model)
        asked = _answers.question(model, description, method)
        if isinstance(item, Frame):
            answer = yield from _sharing.infer_frame(session, asked, item)
        else:
            outputs = tuple(_wire.Output(name) for name in asked.outputs)
            answer = yield _wire.image_request(model, item, outputs)
        results = asked.results(answer, lambda _: size_of(item))
        if len(results) != 1:
            raise ProtocolError(f"the answer has {len(results)} items; one was asked for")
    except ServerUnavailable as error:
        if OVERLOADED not in str(error):  # else it is the same server, and has enough to do
            session.forget_server()
        raise
    except ProtocolError:
        session.models.pop(model, None)  # it may have been built anew, for another task
        raise
    except ModelNotFoundError as error:
        raise (yield from _with_known_models(session, model, error)) from error
    if isinstance(results[0], BadInputError):
        raise results[0]
    return results[0]


def detect(session: Session, model: str, image: ImageLike) -> Flow[Detections]:
    """Detections of one image."""
    return cast("Flow[Detections]", infer(session, model, image, "detect"))


def segment(session: Session, model: str, image: ImageLike) -> Flow[Detections]:
    """Detections with masks of one image."""
    return cast("Flow[Detections]", infer(session, model, image, "segment"))


def classify(session: Session, model: str, image: ImageLike) -> Flow[Classification]:
    """Classes of one image."""
    return cast("Flow[Classification]", infer(session, model, image, "classify"))


def semantic(session: Session, model: str, image: ImageLike) -> Flow[ClassMap]:
    """Class map of one image."""
    return cast("Flow[ClassMap]", infer(session, model, image, "semantic"))


def embed(session: Session, model: str, image: ImageLike) -> Flow[Embedding]:
    """Embedding of one image."""
    return cast("Flow[Embedding]", infer(session, model, image, "embed"))


def description_of(session: Session, model: str) -> Flow[_wire.Description]:
    """What the model tells of itself, asked for once in LABELS_AGE_SECONDS."""
    known, told_at = session.models.get(model, (_wire.Description(), -math.inf))
    now = time.monotonic()
    if now - told_at < LABELS_AGE_SECONDS:
        return known
    parameters = yield _wire.Describe(_wire.checked_model(model))
    description = _wire.description_from_parameters(parameters)
    session.models[model] = (description, now)
    return description


def described(session: Session, model: str) -> Flow[_wire.Description]:
    """What the model tells of itself, with helpful errors."""
    try:
        return (yield from description_of(session, model))
    except ModelNotFoundError as error:
        raise (yield from _with_known_models(session, model, error)) from error


def ready(session: Session, model: str | None) -> Flow[bool]:
    """Whether the server, or one model of it, answers and is ready."""
    try:
        return bool((yield _wire.Ready(_wire.checked_model(model) if model else "")))
    except ServerUnavailable:
        session.forget_server()
        return False
    except ModelNotFoundError:
        return False


def _with_known_models(session: Session, model: str, error: ModelNotFoundError) -> Flow[ModelNotFoundError]:
    """The error with the models that the server does have, where it tells."""
    if session.protocol != INPROC and not session.token():
        return error
    try:
        known = _wire.public_models((yield _wire.Index(session.token())))
    except InferenceError:
        return error
    return ModelNotFoundError(f"{error}; it has {', '.join(known) or 'none'}")
