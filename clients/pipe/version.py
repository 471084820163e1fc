# SPDX-License-Identifier: Apache-2.0
"""Which version of a model answers."""

from __future__ import annotations

import json
import threading
import time
import weakref

from sightline.clients import _wire
from sightline.clients._flow import Flow
from sightline.clients.client import Client
from sightline.errors import InferenceError

AGE_SECONDS = 60.0  # a model may be built anew meanwhile

_lock = threading.Lock()
_known: weakref.WeakKeyDictionary[Client, dict[str, tuple[int, float]]] = weakref.WeakKeyDictionary()


def version_of(client: Client, model: str) -> int:
    """Number of the model's version that the server serves, as at most AGE_SECONDS ago; 0 where it does not tell."""
    now = time.monotonic()
    with _lock:
        versions = _known.setdefault(client, {})
        number, told_at = versions.get(model, (0, -AGE_SECONDS))
        if now - told_at < AGE_SECONDS:
            return number
        versions[model] = (number, now)  # one asks, the others go on
    try:
        number = client._run(_number(model), None)
    except InferenceError:
        return number
    with _lock:
        versions[model] = (number, now)
    return number


def _number(model: str) -> Flow[int]:
    parameters = yield _wire.Describe(model)
    try:
        number = json.loads(parameters.get("sightline", "{}")).get("number", 0)
    except (ValueError, AttributeError, RecursionError):
        return 0
    return number if type(number) is int else 0
