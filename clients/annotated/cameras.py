# SPDX-License-Identifier: Apache-2.0
"""The cameras that can be played: who plays them, and their encoders, which run while somebody does."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from sightline.clients.annotated.encoder import Encoded, Encoder
from sightline.clients.annotated.viewer import Viewer
from sightline.clients.page.stills import annotated_picture, annotated_size
from sightline.clients.streams.results import StreamResult

MAX_VIEWERS = 16


class AnnotatedCamera:
    """One camera. rate: pictures a second at most."""

    def __init__(self, name: str, rate: float) -> None:
        self.name = name
        self.size: tuple[int, int] | None = None
        self.viewers: set[Viewer] = set()
        self.gone = False
        self.pictures = self.failed = self.lost = 0
        self._rate = rate
        self._watched = self._busy = self._keyframe_wanted = False
        self._due_at = 0.0
        self._encoder: Encoder | None = None
        self._lock = threading.Lock()

    @property
    def encodes(self) -> bool:
        """True while it has an encoder."""
        return self._encoder is not None

    # On the thread of results

    def resized(self, result: StreamResult) -> bool:
        """Note the size of the result's picture; True where it was another one before."""
        before, self.size = self.size, annotated_size(result.source)
        return before is not None and before != self.size

    def due(self, now: float) -> bool:
        """True when the next picture is to be made; `done` is to follow. None is made that nobody would see."""
        if not self._watched or self._busy or now < self._due_at:
            return False
        self._due_at = max(self._due_at + 1 / self._rate, now)
        self._busy = True
        return True

    # On the threads that draw

    def encode(self, result: StreamResult) -> Encoded | None:
        """Draw and encode; None where nobody plays it any more."""
        size = annotated_size(result.source)
        with self._lock:
            if not self._watched:
                self._encoder = None
                return None
            if self._encoder is None or self._encoder.size != size:
                self._encoder = Encoder(*size, self._rate)
            keyframe, self._keyframe_wanted = self._keyframe_wanted, False
            return self._encoder.encode(
                annotated_picture(result), result.source.decoded_at, keyframe=keyframe
            )

    def done(self) -> None:
        """The picture is made."""
        self._busy = False

    def rest(self) -> None:
        """Give the encoder back, unless somebody plays it again."""
        with self._lock:
            if not self._watched:
                self._encoder = None

    # On the server's loop

    def show(self, picture: Encoded) -> None:
        """Send a picture to all who play."""
        self.pictures += 1
        for viewer in list(self.viewers):
            viewer.show(picture)

    def join(self, viewer: Viewer) -> None:
        """One more; its first picture is the next one, a key frame."""
        self.viewers.add(viewer)
        self._keyframe_wanted = True
        self._watched = True

    def leave(self, viewer: Viewer) -> bool:
        """One less; True where nobody is left and the encoder may rest."""
        if viewer not in self.viewers:
            return False
        self.viewers.remove(viewer)
        self.lost += viewer.lost
        self._watched = bool(self.viewers)
        return not self._watched

    def end_viewers(self) -> None:
        """End the connections of all who play; they leave by that."""
        for viewer in list(self.viewers):
            viewer.end()


class AnnotatedCameras:
    """All of them, by their numbers."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._cameras: Mapping[int, AnnotatedCamera] = {}
        self._lock = threading.Lock()

    def __getitem__(self, camera: int) -> AnnotatedCamera | None:
        return self._cameras.get(camera)

    def named(self, name: str) -> AnnotatedCamera | None:
        """The camera of this name."""
        return next((camera for camera in self._cameras.values() if camera.name == name), None)

    def add(self, camera: int, name: str) -> list[AnnotatedCamera]:
        """One more; those that had its number or its name before are taken away and given back."""
        with self._lock:
            if camera in self._cameras and self._cameras[camera].name == name:
                return []
            old = [number for number, one in self._cameras.items() if number == camera or one.name == name]
            taken = [self._take(number) for number in old]
            self._cameras = {**self._cameras, camera: AnnotatedCamera(name, self.rate)}
            return [one for one in taken if one is not None]

    def remove(self, camera: int) -> AnnotatedCamera | None:
        """One less, which is given back."""
        with self._lock:
            return self._take(camera)

    def names(self) -> list[str]:
        """The names of all."""
        return [camera.name for camera in self._cameras.values()]

    def all(self) -> list[AnnotatedCamera]:
        """All of them."""
        return list(self._cameras.values())

    @property
    def full(self) -> bool:
        """True where no more may play."""
        return sum(len(camera.viewers) for camera in self._cameras.values()) >= MAX_VIEWERS

    def figures(self) -> dict[str, Any]:
        """Who plays, what was sent, what was lost on the way to slow viewers."""
        cameras = self.all()
        return {
            "viewers": sum(len(camera.viewers) for camera in cameras),
            "encoders": sum(camera.encodes for camera in cameras),
            "pictures": sum(camera.pictures for camera in cameras),
            "pictures_failed": sum(camera.failed for camera in cameras),
            "viewer_pictures_lost": sum(
                camera.lost + sum(viewer.lost for viewer in tuple(camera.viewers)) for camera in cameras
            ),
        }

    def _take(self, camera: int) -> AnnotatedCamera | None:
        found = self._cameras.get(camera)
        if found is not None:
            found.gone = True
            self._cameras = {number: one for number, one in self._cameras.items() if number != camera}
        return found
