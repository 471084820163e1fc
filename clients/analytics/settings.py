# SPDX-License-Identifier: Apache-2.0
"""What a person writes about a camera's analytics: filter, tracking, rules, second stages, privacy.

All points are fractions of the picture (0..1 from the left and from the top), so that a rule outlives a change of resolution.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from sightline.clients.analytics.geometry import Homography, on_one_line

MAX_RULES = 64
MAX_POINTS = 64
RULE_NAME = r"[A-Za-z0-9][A-Za-z0-9_. -]{0,63}"

Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Point = tuple[Fraction, Fraction]
Seconds = Annotated[float, Field(gt=0.0, le=86_400.0, allow_inf_nan=False)]


def _with_area(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if on_one_line(points):
        raise ValueError(f"the {len(points)} points lie on one line; a zone needs corners that span an area")
    return points


def _with_length(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if len(set(points)) < 2:
        raise ValueError(f"the {len(points)} points are all the same; a line leads from one place to another")
    return points


Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=MAX_POINTS), AfterValidator(_with_area)]
Polyline = Annotated[
    tuple[Point, ...], Field(min_length=2, max_length=MAX_POINTS), AfterValidator(_with_length)
]
Metres = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Settings(BaseModel):
    """Frozen; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ObjectFilter(Settings):
    """Which objects count. Sizes are pixels of the picture sent."""

    classes: tuple[str, ...] = Field(default=(), description="labels that count; empty: all")
    min_score: Fraction = Field(
        default=0.0,
        description="least score, 0..1, with which an object begins to count; ByteTrack follows it below that too",
    )
    min_size: tuple[int, int] = Field(default=(0, 0), description="least width and height of the box, pixels")
    max_size: tuple[int, int] | None = Field(default=None, description="largest width and height, pixels")


class Tracking(Settings):
    """How objects keep their ids from frame to frame."""

    tracker: Literal["bytetrack", "sort"] = Field(default="bytetrack", description="the tracker")
    lost_seconds: Seconds = Field(
        default=1.0, description="how long an object that is not seen is remembered"
    )


class Schedule(Settings):
    """When a rule is in force. `start` after `end` runs over midnight."""

    days: tuple[Day, ...] = Field(default=(), description="days of the week, of the start; empty: all")
    start: str = Field(default="00:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="HH:MM")
    end: str = Field(default="24:00", pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$", description="HH:MM")
    timezone: str = Field(default="", description="IANA name, as Europe/Berlin; empty: this machine's")

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            if name:
                ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"timezone is {name!r}, which this machine does not know; use an IANA name as Europe/Berlin "
                "(they come with the system's tzdata)"
            ) from None
        return name

    @model_validator(mode="after")
    def _lasts(self) -> Schedule:
        if self.start == self.end:
            raise ValueError(f"start and end are both {self.start}; leave both out for the whole day")
        return self


class _Rule(Settings):
    name: str = Field(pattern=f"^{RULE_NAME}$", description="unique within the camera; stands in events")
    classes: tuple[str, ...] = Field(default=(), description="labels that count; empty: all")
    schedule: tuple[Schedule, ...] = Field(default=(), description="when it is in force; empty: always")
    anchor: Literal["bottom", "centre"] = Field(
        default="bottom",
        description="the point of the box that counts: middle of its lower side, or its centre",
    )
    cooldown_seconds: float = Field(
        default=0.0,
        ge=0,
        le=86_400,
        description="least time between two events of the rule, seconds; the end of what was told is always told",
    )
    snapshot: bool = Field(default=True, description="keep a picture of each event")
    clip: bool = Field(default=False, description="keep a video clip of each event")


class ZoneRule(_Rule):
    """Events when an object enters and leaves, with its time inside; counts who is inside."""

    kind: Literal["zone"]
    points: Polygon = Field(description="the zone's corners")


class LineRule(_Rule):
    """Events and counts when an object crosses. Seen from the first point to the last, `forward` goes from left to right."""

    kind: Literal["line"]
    points: Polyline = Field(description="a line of two or more points")
    direction: Literal["both", "forward", "backward"] = Field(
        default="both", description="which crossings count"
    )


class LoiteringRule(_Rule):
    """An event when an object stays inside for so long."""

    kind: Literal["loitering"]
    points: Polygon = Field(description="the zone's corners")
    seconds: Seconds = Field(description="time inside")


class CrowdingRule(_Rule):
    """An event when so many objects are inside for so long, and another when they are not any more."""

    kind: Literal["crowding"]
    points: Polygon = Field(description="the zone's corners")
    count: int = Field(ge=1, le=10_000, description="least number of objects")
    seconds: float = Field(default=2.0, ge=0, le=86_400, description="for how long")


class StoppedRule(_Rule):
    """An event when an object that moved before stands still for so long."""

    kind: Literal["stopped"]
    points: Polygon | None = Field(
        default=None, description="the zone's corners; left out: the whole picture"
    )
    seconds: Seconds = Field(description="time of standing")
    tolerance: Fraction = Field(
        default=0.25, description="movement that still is standing, of the box's larger side"
    )


class WrongWayRule(_Rule):
    """An event when an object moves against the allowed direction."""

    kind: Literal["wrong_way"]
    points: Polygon = Field(description="the zone's corners")
    allowed: Annotated[tuple[Point, Point], AfterValidator(_with_length)] = Field(
        description="an arrow in the allowed direction: from, to"
    )
    tolerance_degrees: float = Field(
        default=60.0, gt=0, lt=180, description="deviation that is still allowed"
    )
    distance: Fraction = Field(default=0.05, description="way that must be gone, of the picture's width")


class SpeedRule(_Rule):
    """An event when an object's speed on the ground is above or below a limit; needs the camera's `ground`."""

    kind: Literal["speed"]
    points: Polygon | None = Field(
        default=None, description="the zone's corners; left out: the whole picture"
    )
    above_kmh: float | None = Field(default=None, gt=0, le=1000, description="km/h; faster is an event")
    below_kmh: float | None = Field(default=None, gt=0, le=1000, description="km/h; slower is an event")

    @model_validator(mode="after")
    def _one_limit(self) -> SpeedRule:
        if self.above_kmh is None and self.below_kmh is None:
            raise ValueError(f"rule {self.name!r} has no limit; give above_kmh, below_kmh or both")
        return self


class AbsenceRule(_Rule):
    """An event when no object is inside for so long, and another when one is again."""

    kind: Literal["absence"]
    points: Polygon | None = Field(
        default=None, description="the zone's corners; left out: the whole picture"
    )
    seconds: Seconds = Field(description="time without an object")


class AttributeRule(_Rule):
    """An event when a second stage says one of these labels about an object."""

    kind: Literal["attribute"]
    stage: str = Field(description="name of the second stage")
    values: tuple[str, ...] = Field(min_length=1, description="its labels that are events")
    min_score: Fraction = Field(default=0.5, description="least score, 0..1")


Rule = Annotated[
    ZoneRule | LineRule | LoiteringRule | CrowdingRule | StoppedRule | WrongWayRule | SpeedRule | AbsenceRule
    | AttributeRule,
    Field(discriminator="kind"),
]  # fmt: skip


class Ground(Settings):
    """Four or more points of the picture and where they lie on the ground, for speeds (a homography)."""

    image: tuple[Point, ...] = Field(min_length=4, max_length=MAX_POINTS, description="points in the picture")
    metres: tuple[tuple[Metres, Metres], ...] = Field(
        min_length=4, max_length=MAX_POINTS, description="the same points on the ground, metres"
    )

    @model_validator(mode="after")
    def _pairs(self) -> Ground:
        if len(self.image) != len(self.metres):
            raise ValueError(
                f"image has {len(self.image)} points and metres {len(self.metres)}; they are pairs"
            )
        Homography(self.image, self.metres)
        return self


class SecondStage(Settings):
    """A model that is asked about the crop of each tracked object, once in a while: what kind of it is it?"""

    name: str = Field(pattern=f"^{RULE_NAME}$", description="under which its answers are shown")
    model: str = Field(
        description="a model of the task classify or detect on the same server; its best label is the answer"
    )
    classes: tuple[str, ...] = Field(
        default=(), description="labels of objects that are asked about; empty: all"
    )
    every_seconds: Seconds = Field(
        default=2.0, description="least time between two questions about one object"
    )
    min_size: tuple[int, int] = Field(
        default=(24, 24), description="smaller crops are not asked about, pixels"
    )
    margin: Fraction = Field(default=0.05, description="what the crop shows around the box, of its sides")


class ReIdentification(Settings):
    """The same object on several cameras gets one identity, by embeddings of its crops."""

    model: str = Field(description="a model of the task embed on the same server")
    classes: tuple[str, ...] = Field(default=(), description="labels of objects; empty: all")
    min_cosine: Annotated[float, Field(ge=-1.0, le=1.0)] = Field(
        default=0.7, description="least likeness of two crops of one object"
    )
    remember_seconds: Seconds = Field(
        default=3600.0, description="how long an identity that is not seen is known"
    )
    every_seconds: Seconds = Field(
        default=2.0, description="least time between two questions about one object"
    )
    min_size: tuple[int, int] = Field(
        default=(24, 24), description="smaller crops are not asked about, pixels"
    )


class Privacy(Settings):
    """These objects are made unrecognisable before a picture leaves memory; where that fails, no picture leaves."""

    classes: tuple[str, ...] = Field(min_length=1, description="labels; '*' stands for all")
    margin: Fraction = Field(default=0.1, description="what is blurred around the box, of its sides")
    method: Literal["blur", "pixelate", "fill"] = Field(
        default="pixelate", description="fill leaves nothing; pixelate and blur leave a few mean colours"
    )
    remember_seconds: float = Field(
        default=0.5,
        ge=0,
        le=60,
        description="how long the place of an object that is not found any more stays blurred",
    )


class Analytics(Settings):
    """What is made of one camera's detections."""

    objects: ObjectFilter = Field(default=ObjectFilter(), description="which objects count")
    track: Tracking = Field(default=Tracking(), description="how objects keep their ids")
    rules: tuple[Rule, ...] = Field(default=(), max_length=MAX_RULES, description="what becomes an event")
    ground: Ground | None = Field(
        default=None, description="where the picture lies on the ground, for speeds"
    )
    stages: tuple[SecondStage, ...] = Field(default=(), max_length=8, description="models that look at crops")
    identity: ReIdentification | None = Field(default=None, description="re-identification across cameras")
    privacy: Privacy | None = Field(default=None, description="what is made unrecognisable")

    @model_validator(mode="after")
    def _rules_fit(self) -> Analytics:
        _check_unique("rule", [rule.name for rule in self.rules])
        _check_unique("second stage", [stage.name for stage in self.stages])
        stages = {stage.name for stage in self.stages}
        for rule in self.rules:
            if isinstance(rule, SpeedRule) and self.ground is None:
                raise ValueError(f"rule {rule.name!r} measures speed; the camera needs `ground` for it")
            if isinstance(rule, AttributeRule) and rule.stage not in stages:
                raise ValueError(
                    f"rule {rule.name!r} names the stage {rule.stage!r}; there is none of that name"
                )
        return self

    def to_document(self) -> dict[str, Any]:
        """Plain values as they stand in the file, without what is left at its default."""
        return self.model_dump(mode="json", exclude_defaults=True)


def _check_unique(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the {what} name {twice[0]!r} is given twice; each needs its own")
