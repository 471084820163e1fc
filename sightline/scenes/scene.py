# SPDX-License-Identifier: Apache-2.0
"""A drawn street scene: frames and their truth as pure functions of seed and time."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sightline.errors import SightlineError
from sightline.scenes.backdrop import paint_backdrop
from sightline.scenes.canvas import Canvas
from sightline.scenes.silhouettes import MOST_OBJECTS, POLE, SilhouetteCanvas
from sightline.scenes.street import Street, make_street
from sightline.scenes.surfaces import POLE_SURFACE, SURFACE_OF_CLASS, empty_street_surfaces
from sightline.scenes.traffic import Actor, populate
from sightline.scenes.truth import HIDDEN_OWNER, MIN_SIDE_FRACTION, MIN_VISIBLE, SceneTruth, SceneView
from sightline.scenes.weather import Weather

_SHADOW_STEP = 4
_NEAREST_METRES = 3.5
_HIDDEN = 0.02
_LAP_IDS = 1000
_EXPOSURE_SECONDS = 1.0 / 60.0


@dataclass(frozen=True)
class _Placed:
    """An actor at one time: world x and z, heading, times round."""

    x: float
    z: float
    yaw: float
    lap: int
    actor: Actor


@dataclass(frozen=True)
class _Drawn:
    """What drawing it covered: box before clipping and area of its outline, pixels."""

    box: np.ndarray
    area: float
    placed: _Placed


class Scene:
    """One street seen by one camera.

    seed chooses everything; size is (width, height) in pixels; night and rain may be fixed, None lets the
    seed choose.
    The empty street is painted once, here; frame() draws only what moves.
    """

    def __init__(
        self,
        seed: int,
        *,
        size: tuple[int, int] = (1280, 720),
        night: bool | None = None,
        rain: bool | None = None,
    ) -> None:
        if size[0] < 64 or size[1] < 36:
            raise SightlineError(
                f"size is {size}; it must be at least (64, 36); pass (width, height) in pixels"
            )
        self._scale = 2 if size[0] < 640 else 1
        self._size = size
        self.street: Street = make_street(seed, (size[0] * self._scale, size[1] * self._scale), night, rain)
        self._actors = populate(self.street)
        self._empty = paint_backdrop(self.street)
        self._backdrop, self._cover = self._empty.picture, self._empty.cover
        self._surfaces: np.ndarray | None = None
        self._weather = Weather(self.street)

    def frame(self, time_seconds: float) -> tuple[np.ndarray, SceneTruth]:
        """The picture (H, W, 3) uint8 RGB at a time, and what is in it."""
        street = self.street
        canvas = Canvas(self._backdrop.copy(), street.camera, street.haze, street.haze_metres)
        image, drawn = self._picture(canvas, time_seconds)
        return image, self._truth(canvas, drawn)

    def view(self, time_seconds: float) -> SceneView:
        """frame(), and what each pixel shows."""
        street = self.street
        canvas = SilhouetteCanvas(self._backdrop.copy(), street.camera, street.haze, street.haze_metres)
        image, drawn = self._picture(canvas, time_seconds)
        if len(drawn) > MOST_OBJECTS:
            raise SightlineError(
                f"the scene draws {len(drawn)} objects; a view can tell {MOST_OBJECTS} apart"
            )
        truth = self._truth(canvas, drawn)
        labels = canvas.labels[self._scale // 2 :: self._scale, self._scale // 2 :: self._scale]
        places = {int(number): i for i, number in enumerate(truth.ids, 1)}
        owner_of, surface_of = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
        for label, item in enumerate(drawn, 1):
            owner_of[label] = places.get(_number(item.placed), HIDDEN_OWNER)
            surface_of[label] = SURFACE_OF_CLASS[item.placed.actor.kind]
        surface_of[POLE] = POLE_SURFACE
        surfaces = np.where(labels > 0, surface_of[labels], self._empty_surfaces())
        return SceneView(image, truth, owner_of[labels], surfaces)

    def _empty_surfaces(self) -> np.ndarray:
        """Surfaces of the street without traffic, at the picture's size; found once."""
        if self._surfaces is None:
            found = empty_street_surfaces(self.street, self._empty)
            self._surfaces = found[self._scale // 2 :: self._scale, self._scale // 2 :: self._scale]
        return self._surfaces

    def _picture(self, canvas: Canvas, t: float) -> tuple[np.ndarray, list[_Drawn]]:
        """Draw everything that moves onto the canvas; the finished picture, and what was drawn."""
        street = self.street
        placed = [_Placed(*actor.place(street, t), actor) for actor in self._actors]
        placed = sorted((p for p in placed if p.z >= _NEAREST_METRES), key=lambda p: -p.z)
        _shadows(canvas.image, street, placed)
        drawn = self._draw(canvas, placed, t)
        for item in drawn:
            self._blur(canvas.image, item)
        if street.night or street.rain:
            self._weather.glow(canvas)
        image = self._weather.finish(canvas.image, t)
        if self._scale != 1:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        return image, drawn

    def _draw(self, canvas: Canvas, placed: list[_Placed], t: float) -> list[_Drawn]:
        """Far to near; owners are numbered from 1 in this order."""
        drawn: list[_Drawn] = []
        covered = False
        for owner, p in enumerate(placed, 1):
            if not covered and p.z < self.street.cover_z:
                self._hide_behind_cover(canvas)
                covered = True
            canvas.begin(owner, p.z)
            canvas.light = self.street.light_at(p.x, p.z)
            speed = p.actor.track.speed
            p.actor.draw(canvas, (p.x, p.z), p.yaw, t if speed == 0 else abs(speed) * t)
            drawn.append(_Drawn(*canvas.end(), p))
        if not covered:
            self._hide_behind_cover(canvas)
        return drawn

    def _hide_behind_cover(self, canvas: Canvas) -> None:
        """Put the near houses, trees and posts back over what has been drawn so far."""
        cv2.copyTo(self._backdrop, self._cover, canvas.image)
        canvas.hide(self._cover)
        canvas.owners[self._cover[:: canvas.owner_step, :: canvas.owner_step] > 0] = 0

    def _blur(self, image: np.ndarray, item: _Drawn) -> None:
        """Motion blur of a thing that crosses the picture fast."""
        track, scale = item.placed.actor.track, self.street.camera.pixels_per_metre(item.placed.z)
        shift = abs(track.speed) * scale * _EXPOSURE_SECONDS * (1.0 if track.across else 0.35)
        if shift < 2.0:
            return
        x0, y0 = max(int(item.box[0]), 0), max(int(item.box[1]), 0)
        region = image[y0 : max(int(item.box[3]) + 1, 0), x0 : max(int(item.box[2]) + 1, 0)]
        if min(region.shape[:2]) > 4:
            k = min(int(shift), 9)
            region[:] = cv2.blur(region, (k, 1) if track.across else (1, k))

    def _truth(self, canvas: Canvas, drawn: list[_Drawn]) -> SceneTruth:
        height, width = canvas.image.shape[:2]
        seen = np.bincount(canvas.owners.ravel(), minlength=len(drawn) + 1) * float(canvas.owner_step**2)
        counted: list[tuple[np.ndarray, float, _Placed]] = []
        ignored: list[np.ndarray] = []
        for owner, item in enumerate(drawn, 1):
            visible = float(min(seen[owner] / max(item.area, 1.0), 1.0))
            box = np.clip(item.box, 0, (width, height, width, height))
            box = _seen_box(canvas, owner, box, visible)
            side = float(max(box[2] - box[0], box[3] - box[1]))
            if visible <= _HIDDEN or side < 2:
                continue
            if visible >= MIN_VISIBLE and side >= MIN_SIDE_FRACTION * height:
                counted.append((box, visible, item.placed))
            else:
                ignored.append(box)
        scale = np.float32(1.0 / self._scale)
        return SceneTruth(
            boxes=np.array([box for box, _, _ in counted], np.float32).reshape(-1, 4) * scale,
            classes=np.array([p.actor.kind for _, _, p in counted], np.int32),
            visible=np.array([visible for _, visible, _ in counted], np.float32),
            ids=np.array([_number(p) for _, _, p in counted], np.int32),
            ignore=np.array(ignored, np.float32).reshape(-1, 4) * scale,
        )


def _number(placed: _Placed) -> int:
    """The same number for the same object over time."""
    return placed.actor.number + _LAP_IDS * placed.lap


def _seen_box(canvas: Canvas, owner: int, box: np.ndarray, visible: float) -> np.ndarray:
    """Shrink a box to the part of the object that is seen."""
    if visible > 0.97 or visible <= _HIDDEN:
        return box
    step = canvas.owner_step
    x0, y0 = int(box[0] // step), int(box[1] // step)
    mine = canvas.owners[y0 : int(box[3] // step) + 1, x0 : int(box[2] // step) + 1] == owner
    cols, rows = np.flatnonzero(mine.any(0)), np.flatnonzero(mine.any(1))
    if not len(cols):
        return box
    seen = np.array([x0 + cols[0], y0 + rows[0], x0 + cols[-1] + 1, y0 + rows[-1] + 1]) * float(step)
    return np.concatenate([np.maximum(box[:2], seen[:2]), np.minimum(box[2:], seen[2:])])


def _shadows(image: np.ndarray, street: Street, placed: list[_Placed]) -> None:
    """Darken the ground under everything that stands on it."""
    height, width = image.shape[:2]
    mask = np.full((-(-height // _SHADOW_STEP), -(-width // _SHADOW_STEP)), 255, np.uint8)
    slant = 0.0 if street.night or street.rain else 0.9 * np.sin(street.seed)
    for p in placed:
        if p.actor.length > 0:
            outline = _shadow_outline(street, p, slant)
            cv2.fillConvexPoly(mask, outline, int(255 * street.sun_shadow), cv2.LINE_AA, 4)
    mask = cv2.blur(mask, (3, 3))
    top = max(int(street.camera.horizon_y), 0)
    wide = cv2.resize(mask, (width, height))[top:]
    cv2.multiply(image[top:], cv2.merge([wide, wide, wide]), image[top:], 1.0 / 255.0)


def _shadow_outline(street: Street, p: _Placed, slant: float) -> np.ndarray:
    """Convex outline (N, 2) int32 in sixteenths of a mask pixel."""
    w, half = p.actor.half_width * 1.06, p.actor.length / 2 * 1.03
    ahead = half * np.array([np.sin(p.yaw), np.cos(p.yaw)])
    side = w * np.array([np.cos(p.yaw), -np.sin(p.yaw)])
    base = np.array([ahead + side, ahead - side, -ahead - side, -ahead + side])
    cast = base + np.array([slant * min(1.2, p.actor.length), 0.25])
    ground = np.concatenate([base, cast]) + np.array([p.x, p.z])
    pixels = street.camera.project(np.insert(ground, 1, 0.0, axis=1)) / _SHADOW_STEP
    return np.round(cv2.convexHull(pixels.astype(np.float32))[:, 0] * 16).astype(np.int32)
