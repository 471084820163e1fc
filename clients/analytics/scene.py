# SPDX-License-Identifier: Apache-2.0
"""What rules see: the objects of one camera at one moment, and what rules say about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Anchor = Literal["bottom", "centre"]
XY = tuple[float, float]


@dataclass(eq=False)
class TrackedObject:
    """One object that is followed; the same one is brought up to date from frame to frame.

    id: given once by a camera's analytics. label and class_id: what it was most often, by score. score, box: latest ones; box
    is xyxy in pixels. bottom, centre: middle of the box's lower side and of the box, fractions of the picture. size: width and
    height of the box, both in units of the picture's width. first_at, seen_at: seconds of the camera's clock.
    attributes: answers of second stages by their names; attribute_scores: their scores. speed_kmh: on the ground.
    """

    id: int
    label: str = ""
    class_id: int = -1
    score: float = 0.0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    bottom: XY = (0.0, 0.0)
    centre: XY = (0.0, 0.0)
    size: XY = (0.0, 0.0)
    first_at: float = 0.0
    seen_at: float = 0.0
    speed_kmh: float | None = None
    identity: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    attribute_scores: dict[str, float] = field(default_factory=dict)

    def anchor(self, which: Anchor) -> XY:
        """The point that counts, fractions of the picture."""
        return self.bottom if which == "bottom" else self.centre


@dataclass(frozen=True)
class Scene:
    """One moment of a camera.

    at: seconds of the camera's clock, which neither jumps nor goes back; for durations. unix_seconds: for schedules.
    aspect: height by width of the picture. objects: seen in this frame and followed. ended: objects that are not followed any
    more. has_frame: False where only time has passed.
    """

    at: float
    unix_seconds: float
    aspect: float = 1.0
    objects: Sequence[TrackedObject] = ()
    ended: frozenset[int] = frozenset()
    has_frame: bool = True


@dataclass(frozen=True)
class Happening:
    """What a rule says has happened; the camera's analytics make an event of it.

    type: as line.crossed. about: the object, where it is about one. opens, closes: two of one key are a pair: the second is
    told exactly if the first was.
    """

    type: str
    about: TrackedObject | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    opens: object = None
    closes: object = None
