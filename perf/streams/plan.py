# SPDX-License-Identifier: Apache-2.0
"""What of the streams is measured, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sightline.errors import BadInputError

SECTIONS = ("decoding", "network", "ultralytics", "memory")


@dataclass(frozen=True)
class Plan:
    """seconds: of one turn. minutes: of the run at 80 % of the cameras. changes: of sources in the memory test."""

    sections: tuple[str, ...] = SECTIONS
    rounds: int = 3
    seconds: float = 3.0
    minutes: float = 1.0
    clip_seconds: float = 8.0
    rtsp_cameras: int = 6
    rates: tuple[int, ...] = (5, 10)
    changes: int = 1000


SHORT = Plan(rounds=1, seconds=2.0, minutes=0.2, rtsp_cameras=2, rates=(10,), changes=100)
"""To see that it runs; its figures say little."""


def checked_sections(names: Sequence[str]) -> tuple[str, ...]:
    """The sections named, all where none is. Raises BadInputError."""
    for name in names:
        if name not in SECTIONS:
            raise BadInputError(f"there is no section {name!r}; there are: {', '.join(SECTIONS)}")
    return tuple(names) or SECTIONS


def checked_rates(text: str) -> tuple[int, ...]:
    """Frames a second, as '5,10'. Raises BadInputError."""
    rates = [part.strip() for part in text.split(",")]
    if not all(rate.isdecimal() and 1 <= int(rate) <= 60 for rate in rates):
        raise BadInputError(f"--rates is {text!r}; it must be whole numbers from 1 to 60, as 5,10")
    return tuple(int(rate) for rate in rates)
