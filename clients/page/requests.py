# SPDX-License-Identifier: Apache-2.0
"""Reading requests and writing errors: bounded JSON bodies, checked parameters, texts that say what to do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sightline.clients.events.event import utc_text
from sightline.clients.page.control import EventQuery
from sightline.errors import OutputError, SightlineError
from sightline.redact import redact

MAX_BODY_BYTES = 256 << 10
BODY_SECONDS = 10.0
MAX_LIMIT = 500
MAX_VALUES = 64
MAX_HOURS = 24.0 * 366
CAMERA_NAME = re.compile(r"[\w][\w .-]{0,63}\Z")
Handler = Callable[[Request], Awaitable[Response]]


class RequestError(Exception):
    """A request that cannot be answered; `status` is HTTP's, `problems` name single fields."""

    def __init__(self, status: int, text: str, problems: list[dict[str, str]] | None = None) -> None:
        super().__init__(text)
        self.status, self.problems = status, problems or []

    def response(self) -> Response:
        """As JSON."""
        document: dict[str, Any] = {"error": redact(str(self))}
        if self.problems:
            document["problems"] = self.problems
        return JSONResponse(document, self.status)


def answered(handler: Handler) -> Handler:
    """The handler, with its errors made answers."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestError as error:
            return error.response()
        except ValidationError as error:
            problems = problems_of(error)
            return RequestError(400, problems[0]["text"], problems).response()
        except OutputError as error:  # the event store, a file: not what was asked for
            return RequestError(503, str(error)).response()
        except SightlineError as error:
            return RequestError(400, str(error)).response()

    return handle


async def json_body(request: Request, limit: int = MAX_BODY_BYTES) -> Any:
    """The request's JSON. Raises RequestError for another content type, a body that is too large or too slow, or no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(
            415,
            f"the body's type is {kind[:60] or 'not given'}; send JSON with Content-Type: application/json",
        )
    try:
        body = await asyncio.wait_for(_body(request, limit), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise RequestError(408, f"the body did not come within {BODY_SECONDS:g} s; send it again") from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(400, "the body is not JSON; see docs/api.md for examples") from None


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise RequestError(413, f"the body is larger than {limit} bytes; send less")
    return bytes(body)


def camera_name(request: Request) -> str:
    """The camera of the path. Raises RequestError for what cannot be one."""
    name = str(request.path_params["name"])
    if not CAMERA_NAME.match(name):
        raise RequestError(
            400, f"{name[:80]!r} is no camera name; use 1 to 64 letters, digits, spaces, '.', '_' or '-'"
        )
    return name


def event_query(parameters: QueryParams) -> EventQuery:
    """What GET /api/events asks for. Raises RequestError."""
    unknown = set(parameters) - {"camera", "type", "rule", "label", "since", "until", "before", "limit"}
    if unknown:
        raise RequestError(
            400,
            f"there is no parameter {sorted(unknown)[0]!r}; use camera, type, rule, label, since, until, before and limit",
        )
    limit = _number(parameters, "limit", 100.0, 1, MAX_LIMIT)
    before = _number(parameters, "before", -1.0, 0, 2**53) if "before" in parameters else None
    return EventQuery(
        cameras=_values(parameters, "camera"),
        types=_values(parameters, "type"),
        rules=_values(parameters, "rule"),
        labels=_values(parameters, "label"),
        since=_time(parameters, "since"),
        until=_time(parameters, "until"),
        before=None if before is None else int(before),
        limit=int(limit),
    )


def hours_of(parameters: QueryParams) -> float:
    """The span of GET /api/counts."""
    return _number(parameters, "hours", 24.0, 1 / 60, MAX_HOURS)


def _values(parameters: QueryParams, name: str) -> tuple[str, ...]:
    values = tuple(value for value in parameters.getlist(name) if value)
    if len(values) > MAX_VALUES:
        raise RequestError(400, f"{name} is given {len(values)} times; at most {MAX_VALUES}")
    return values


def _number(parameters: QueryParams, name: str, default: float, least: float, most: float) -> float:
    text = parameters.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise RequestError(400, f"{name} is {text[:40]!r}; it must be a number from {least:g} to {most:g}")
    return number


def _time(parameters: QueryParams, name: str) -> str | None:
    text = parameters.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        moment = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment
        return utc_text(moment.timestamp())
    except (ValueError, OverflowError):
        raise RequestError(400, f"{name} is {text[:40]!r}; write a time as 2026-11-28T07:55:00Z") from None


def problems_of(error: ValidationError, document: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """What is wrong, each with `rule` (where one is concerned), `field` and `text`."""
    problems = []
    for found in error.errors(include_url=False, include_input=False, include_context=False):
        place = [str(part) for part in found["loc"]]
        rule = ""
        if place[:1] == ["rules"] and len(place) > 1:
            rule = _rule_name(document, place[1])
            place = (
                place[3:]
                if len(place) > 2 and place[2].replace("_", "").isalpha() and len(place) > 3
                else place[2:]
            )
        field = ".".join(place)
        message = found["msg"].removeprefix("Value error, ")
        where = " ".join(
            part for part in (f"rule {rule!r}" if rule else "", f"field {field}" if field else "") if part
        )
        problems.append(
            {"rule": rule, "field": field, "text": redact(f"{where}: {message}" if where else message)}
        )
    return problems


def _rule_name(document: Mapping[str, Any] | None, index: str) -> str:
    rules = (document or {}).get("rules")
    if isinstance(rules, (list, tuple)) and index.isdigit() and int(index) < len(rules):
        rule = rules[int(index)]
        if isinstance(rule, Mapping) and isinstance(rule.get("name"), str) and rule["name"]:
            return str(rule["name"])
    return f"number {int(index) + 1}" if index.isdigit() else index
