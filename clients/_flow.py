# SPDX-License-Identifier: Apache-2.0
"""What a request consists of, without I/O: generators that yield operations and are sent their answers.

The same flows are driven by blocking calls, by callbacks and by asyncio; failures are thrown in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any, TypeVar

from sightline.clients import _sharing, _wire
from sightline.clients._images import ImageLike, item_from
from sightline.clients._session import INPROC, Session
from sightline.errors import InferenceError, ModelNotFoundError, ProtocolError, ServerUnavailable
from sightline.frame import Frame
from sightline.results import Detections

LABELS_AGE_SECONDS = 60.0  # a model may be built anew behind an idle client

T = TypeVar("T")
Flow = Generator[_wire.Operation, Any, T]


def detect(session: Session, model: str, image: ImageLike) -> Flow[Detections]:
    """Detections of one image."""
    model = _wire.checked_model(model)
    item = item_from(image)
    try:
        description = yield from description_of(session, model)
        if isinstance(item, Frame):
            answer = yield from _sharing.infer_frame(session, model, item, description.rows)
        else:
            answer = yield _wire.image_request(model, item)
    except ServerUnavailable:
        session.forget_server()
        raise
    except ModelNotFoundError as error:
        raise (yield from _with_known_models(session, model, error)) from error
    results = _wire.detections_from_answer(answer, description.labels)
    if len(results) != 1:
        raise ProtocolError(f"the answer has {len(results)} items; one was asked for")
    if isinstance(results[0], Detections):
        return results[0]
    raise results[0]


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


def labels(session: Session, model: str) -> Flow[tuple[str, ...]]:
    """Class names of the model, with helpful errors."""
    try:
        return (yield from description_of(session, model)).labels
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
