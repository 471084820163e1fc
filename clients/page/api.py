# SPDX-License-Identifier: Apache-2.0
"""The page's HTTP routes; docs/api.md describes each."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sightline.clients.analytics.settings import MAX_RULES, Rule, Settings
from sightline.clients.page import mjpeg
from sightline.clients.page.control import Control
from sightline.clients.page.hub import Hub
from sightline.clients.page.login import COOKIE
from sightline.clients.page.requests import (
    RequestError,
    answered,
    camera_name,
    event_query,
    hours_of,
    json_body,
    problems_of,
)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NO_CONTROL = (
    "this watch was started without a cameras file, so its cameras and rules cannot be changed here; "
    "start it with `sightline watch cameras.yaml`"
)
_PICTURES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_MEDIA = {
    **_PICTURES,
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".ts": "video/mp2t",
}


@dataclass
class Api:
    """The routes of one page.

    state: what is going on now; may block. control: None where nothing can be changed. may_look: whether the session of this
    cookie is (still) open, for answers that go on.
    """

    hub: Hub
    streams: mjpeg.MjpegStreams
    state: Callable[[], dict[str, Any]]
    control: Control | None = None
    may_look: Callable[[str | None], bool] = lambda token: True

    def routes(self) -> list[Route]:
        """All of them; none but /healthz is open where there are users."""

        def route(path: str, **handlers: Callable[[Request], Awaitable[Response]]) -> Route:
            async def handle(request: Request) -> Response:
                method = "GET" if request.method == "HEAD" else request.method
                return await answered(handlers[method])(request)

            return Route(path, handle, methods=list(handlers))

        return [
            route("/healthz", GET=self.health),
            route("/metrics", GET=self.metrics),
            route("/api/state", GET=self.get_state),
            route("/api/schema", GET=self.get_schema),
            route("/api/events", GET=self.get_events),
            route("/api/counts", GET=self.get_counts),
            route("/api/cameras", GET=self.get_cameras),
            route("/api/cameras/{name}", GET=self.get_camera, PUT=self.put_camera, DELETE=self.delete_camera),
            route("/api/cameras/{name}/rules", GET=self.get_rules, PUT=self.put_rules),
            route("/media/{path:path}", GET=self.get_media),
            route("/mjpeg/{name}", GET=self.get_mjpeg),
        ]

    async def health(self, _: Request) -> Response:
        """The page is up."""
        return PlainTextResponse("ok\n")

    async def metrics(self, _: Request) -> Response:
        """The state for Prometheus."""
        try:
            module = importlib.import_module("sightline.clients.streams.metrics")
            text = module.prometheus_text(await self._current_state())
        except (ImportError, AttributeError):
            raise RequestError(
                503, "this installation has no module for metrics; install the whole of sightline[watch]"
            ) from None
        return Response(text, media_type=METRICS_TYPE)

    async def get_state(self, _: Request) -> Response:
        """What is going on now."""
        return JSONResponse(await self._current_state())

    async def _current_state(self) -> dict[str, Any]:
        return {**await asyncio.to_thread(self.state), **self.hub.figures()}

    async def get_schema(self, _: Request) -> Response:
        """JSON schemas of a rule and of a camera, from which the page makes its forms."""
        return JSONResponse(await asyncio.to_thread(schemas))

    async def get_events(self, request: Request) -> Response:
        """Events, the newest first."""
        query = event_query(request.query_params)
        source = self.control.events if self.control else self.hub.events.query
        return JSONResponse({"events": await asyncio.to_thread(source, query)})

    async def get_counts(self, request: Request) -> Response:
        """Events by time."""
        hours = hours_of(request.query_params)
        camera = request.query_params.get("camera", "")
        source = self.control.counts if self.control else self.hub.events.counts
        return JSONResponse({"hours": hours, "counts": await asyncio.to_thread(source, camera, hours)})

    async def get_cameras(self, _: Request) -> Response:
        """All cameras' settings."""
        return JSONResponse({"cameras": await self._cameras()})

    async def get_camera(self, request: Request) -> Response:
        """One camera's settings."""
        return JSONResponse(await self._camera(camera_name(request)))

    async def put_camera(self, request: Request) -> Response:
        """Add a camera or change it."""
        name, control = camera_name(request), self._control()
        document = _object(await json_body(request), "a camera's settings")
        known = name in await self._cameras()
        await asyncio.to_thread(control.put_camera, name, document)
        self.hub.changed()
        return JSONResponse({"camera": name}, 200 if known else 201)

    async def delete_camera(self, request: Request) -> Response:
        """Take a camera away."""
        name, control = camera_name(request), self._control()
        await self._camera(name)
        await asyncio.to_thread(control.remove_camera, name)
        self.hub.changed()
        return JSONResponse({"camera": name})

    async def get_rules(self, request: Request) -> Response:
        """One camera's rules."""
        camera = await self._camera(camera_name(request))
        return JSONResponse({"rules": camera.get("rules", [])})

    async def put_rules(self, request: Request) -> Response:
        """Replace one camera's rules."""
        name, control = camera_name(request), self._control()
        body = await json_body(request)
        rules = body.get("rules") if isinstance(body, dict) else body
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise RequestError(400, 'send {"rules": [...]}, each rule an object')
        await self._camera(name)
        check_rules(rules)
        await asyncio.to_thread(control.put_rules, name, rules)
        self.hub.changed()
        return JSONResponse({"camera": name, "rules": rules})

    async def get_media(self, request: Request) -> Response:
        """A snapshot or clip; parts of it, too (Range)."""
        path = str(request.path_params["path"])
        plain = bool(path) and "\\" not in path and "\x00" not in path
        plain = plain and not any(part in ("", ".", "..") for part in path.split("/"))
        file = await asyncio.to_thread(self.control.media, path) if self.control and plain else None
        kind = _MEDIA.get(file.suffix.lower()) if file else None
        if file is None or kind is None or not await asyncio.to_thread(file.is_file):
            raise RequestError(
                404, "there is no such picture or clip (any more); the oldest are deleted first"
            )
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return FileResponse(file, media_type=kind, headers=headers)

    async def get_mjpeg(self, request: Request) -> Response:
        """A camera with its boxes drawn in, as motion JPEG."""
        name = camera_name(request)
        camera = self.hub.camera_named(name)
        if camera is None:
            raise _no_camera(name, [channel.name for channel in self.hub.channels.values()])
        if self.streams.full:
            raise RequestError(
                503, f"{mjpeg.MAX_STREAMS} MJPEG streams are open; close one or try again later"
            )
        token = request.cookies.get(COOKIE)
        parts = self.streams.parts(camera, lambda: self.may_look(token))
        return StreamingResponse(parts, media_type=mjpeg.MEDIA_TYPE)

    def _control(self) -> Control:
        if self.control is None:
            raise RequestError(409, _NO_CONTROL)
        return self.control

    async def _cameras(self) -> dict[str, dict[str, Any]]:
        if self.control is None:
            return {channel.name: {} for channel in self.hub.channels.values()}
        return await asyncio.to_thread(self.control.cameras)

    async def _camera(self, name: str) -> dict[str, Any]:
        cameras = await self._cameras()
        if name not in cameras:
            raise _no_camera(name, list(cameras))
        return cameras[name]


def _no_camera(name: str, names: list[str]) -> RequestError:
    known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return RequestError(404, f"there is no camera {name!r}; there are: {known or 'none'}")


def _object(document: Any, what: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise RequestError(400, f"send {what} as a JSON object")
    return document


class _Rules(Settings):
    """Rules by themselves: what they need of the camera's other settings is for the control to say."""

    rules: tuple[Rule, ...] = Field(max_length=MAX_RULES)


def check_rules(rules: list[dict[str, Any]]) -> None:
    """Raises RequestError with the rule and field of each mistake."""
    document = {"rules": rules}
    try:
        _Rules.model_validate(document)
    except ValidationError as error:
        problems = problems_of(error, document)
        raise RequestError(400, problems[0]["text"], problems) from None


def schemas() -> dict[str, Any]:
    """JSON schemas (draft 2020-12) of a rule and of a camera."""
    from sightline.clients.config.watch_file import Camera

    return {
        "rule": TypeAdapter(Rule).json_schema(),
        "camera": Camera.model_json_schema(),
    }
