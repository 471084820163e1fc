# SPDX-License-Identifier: Apache-2.0
"""Hands each camera's video, results and events to the viewers. All of it runs on the page's event loop."""

from __future__ import annotations

from typing import Any

from sightline.clients.analytics.privacy_video import PRIVATE_CODEC
from sightline.clients.draw import class_colour
from sightline.clients.page.fmp4 import Fragment
from sightline.clients.page.recent import RecentEvents
from sightline.clients.page.viewers import Channel, Viewer, text_of
from sightline.clients.streams.counters import DROP_MEANINGS

MAX_VIEWERS = 16
_MEANINGS = {reason.value: meaning for reason, meaning in DROP_MEANINGS.items()}
_COLOURS = ["#{:02x}{:02x}{:02x}".format(*class_colour(class_id)) for class_id in range(64)]


class Hub:
    """The cameras' channels, by their ids, and the viewers who look at them.

    `features` stands in the greeting: what the page may offer.
    """

    def __init__(self, features: dict[str, Any] | None = None) -> None:
        self.channels: dict[int, Channel] = {}
        self.viewers: set[Viewer] = set()
        self.events = RecentEvents()
        self.lost = 0
        self.watched: frozenset[int] = frozenset()
        self.jpeg_cameras: frozenset[int] = frozenset()
        self._features = features or {}
        self._state: dict[str, Any] = {}

    def figures(self) -> dict[str, int]:
        """The page's own figures."""
        lost = self.lost + sum(v.lost for v in self.viewers)
        return {"viewers": len(self.viewers), "viewer_pictures_lost": lost}

    def names(self) -> list[dict[str, Any]]:
        """The cameras as the page is told of them."""
        return [{"id": camera, "name": channel.name} for camera, channel in self.channels.items()]

    def camera_named(self, name: str) -> int | None:
        """The id of a camera; None where there is none of that name."""
        return next((c for c, channel in self.channels.items() if channel.name == name), None)

    def added(self, camera: int, name: str) -> None:
        """A camera is watched from now on; one that had this name before is gone."""
        known = self.channels.get(camera)
        if known is not None and known.name == name:
            return
        for old in [c for c, channel in self.channels.items() if channel.name == name]:
            self._forget(old)
        self.channels[camera] = Channel(name)
        for viewer in self.viewers:
            if viewer.shows_all:
                viewer.shown.add(camera)
        self._tell_cameras()

    def removed(self, camera: int) -> None:
        """A camera is not watched any more."""
        if camera in self.channels:
            self._forget(camera)
            self._tell_cameras()

    def _forget(self, camera: int) -> None:
        del self.channels[camera]
        for viewer in self.viewers:
            viewer.forget(camera)

    def _tell_cameras(self) -> None:
        self._find_watched()
        text = text_of({"type": "cameras", "cameras": self.names()})
        for viewer in self.viewers:
            viewer.send_latest("cameras", text)

    def join(self) -> Viewer:
        """A new viewer, who gets names, state and the newest group of pictures of each camera."""
        viewer = Viewer(self.channels)
        self.viewers.add(viewer)
        greeting = {
            "type": "hello",
            "cameras": self.names(),
            "meanings": _MEANINGS,
            "colours": _COLOURS,
            **self._features,
        }
        viewer.send_text(text_of(greeting))
        if self._state:
            viewer.send_latest("state", text_of({"type": "state", **self._state, **self.figures()}))
        for camera, channel in self.channels.items():
            viewer.restart(camera, channel)
        self._find_watched()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """The viewer is gone."""
        if viewer in self.viewers:
            self.viewers.remove(viewer)
            self.lost += viewer.lost
            self._find_watched()

    def connected(self, camera: int, epoch: int, codec: str, *, playable: bool) -> None:
        """A camera's connection begins; what waits of the one before is not sent: the camera may be private by now."""
        channel = self.channels.get(camera)
        if channel is not None:
            channel.restart(epoch, codec, playable=playable)
            for viewer in self.viewers:
                viewer.restart(camera, channel)
            self._find_watched()

    def fragment(self, camera: int, epoch: int, fragment: Fragment) -> None:
        """A compressed picture."""
        channel = self.channels.get(camera)
        if channel is None or epoch != channel.epoch:
            return
        channel.add(fragment)
        for viewer in self.viewers:
            viewer.send_fragment(camera, epoch, fragment)

    def shows(self, camera: int, epoch: int, *, cleaned: bool) -> bool:
        """Whether a decoded picture may be shown by now: it is of this connection, and a private camera's was cleaned.

        A camera that becomes private keeps its epoch, so that the epoch alone does not tell a picture of before.
        """
        channel = self.channels.get(camera)
        return channel is not None and channel.epoch == epoch and (cleaned or channel.codec != PRIVATE_CODEC)

    def jpeg(self, camera: int, epoch: int, pts_seconds: float, jpeg: bytes, cleaned: bool) -> None:
        """A still picture, for those who cannot play the video."""
        if not self.shows(camera, epoch, cleaned=cleaned):
            return
        channel = self.channels[camera]
        for viewer in self.viewers:
            if camera in viewer.jpeg or channel.needs_jpeg:
                viewer.send_jpeg(camera, epoch, pts_seconds, jpeg)

    def result(self, camera: int, document: dict[str, Any]) -> None:
        """Detections of one frame."""
        if camera not in self.channels:
            return
        text = text_of(document)
        for viewer in self.viewers:
            if camera in viewer.shown:
                viewer.send_text(text, camera)

    def event(self, event: dict[str, Any]) -> None:
        """Something happened; the same event again, with a picture by now, replaces the first."""
        if self.events.add(event):
            text = text_of({"type": "event", "event": event})
            for viewer in self.viewers:
                viewer.send_news(text)

    def changed(self) -> None:
        """Settings of cameras changed: every open page reads them again."""
        text = text_of({"type": "changed"})
        for viewer in self.viewers:
            viewer.send_latest("changed", text)

    def tick(self, state: dict[str, Any]) -> None:
        """Tell everyone the state."""
        self._state = state
        if self.viewers:
            text = text_of({"type": "state", **state, **self.figures()})
            for viewer in self.viewers:
                viewer.send_latest("state", text)

    def _find_watched(self) -> None:
        """Cameras at which somebody looks, and those whose video somebody cannot play; read by the cameras' threads."""
        self.watched = frozenset(camera for viewer in self.viewers for camera in viewer.shown)
        self.jpeg_cameras = frozenset(
            camera
            for viewer in self.viewers
            for camera in viewer.shown
            if camera in self.channels and (camera in viewer.jpeg or self.channels[camera].needs_jpeg)
        )

    def command(self, viewer: Viewer, document: object) -> None:
        """What the page asks for.

        {"type": "show", "cameras": [...]}, {"type": "restart", "camera": n} or {"type": "jpeg", "camera": n}.
        """
        if not isinstance(document, dict):
            return
        kind, camera = document.get("type"), document.get("camera")
        if kind == "show" and isinstance(document.get("cameras"), list):
            wanted = {c for c in document["cameras"] if isinstance(c, int) and c in self.channels}
            viewer.shows_all = False
            fresh = wanted - viewer.shown
            viewer.shown = wanted
            for one in fresh:
                viewer.restart(one, self.channels[one])
        elif isinstance(camera, int) and camera in self.channels:
            if kind == "jpeg":
                viewer.jpeg.add(camera)
            elif kind == "restart" and camera in viewer.shown:
                viewer.restart(camera, self.channels[camera])
        self._find_watched()
