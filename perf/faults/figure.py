# SPDX-License-Identifier: Apache-2.0
"""What one provoked fault showed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Limit:
    """One thing that must hold. value: what was measured; at_most or at_least, or equal to: what is asked of it.

    counted: a number of things, which a busy machine does not change.
    """

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    counted: bool = False

    @property
    def holds(self) -> bool:
        """Whether the value lies within."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    def holds_loosely(self, slack: float) -> bool:
        """The same, but times and shares may miss their limits by this factor."""
        if self.counted:
            return self.holds
        return (self.at_most is None or self.value <= self.at_most * slack) and (
            self.at_least is None or self.value >= self.at_least / slack
        )

    @property
    def wanted(self) -> str:
        """As '≤ 5'."""
        if self.at_most is not None and self.at_least is not None and self.at_most == self.at_least:
            return f"= {self.at_most:g}"
        parts = [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        return " and ".join(parts + ([f"≤ {self.at_most:g}"] if self.at_most is not None else []))


@dataclass(frozen=True)
class Figure:
    """One row of the table. times: how often the fault was provoked. more: figures of which nothing is asked."""

    fault: str
    done: str
    times: int
    limits: tuple[Limit, ...]
    more: dict[str, Any]
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether all does."""
        return all(limit.holds for limit in self.limits)

    @property
    def broken(self) -> str:
        """What does not hold, for a person; empty where all does."""
        return self.broken_beyond(1.0)

    def broken_beyond(self, slack: float) -> str:
        """The same, where times and shares may miss their limits by this factor: for tests on a busy machine."""
        return "; ".join(
            f"{limit.name} is {limit.value:g}, wanted {limit.wanted}"
            for limit in self.limits
            if not limit.holds_loosely(slack)
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        limits = [
            {**asdict(limit), "value": _finite(limit.value), "holds": limit.holds} for limit in self.limits
        ]
        return {**asdict(self), "limits": limits, "holds": self.holds}


Scenario = Callable[[bool], Figure]
"""Provokes a fault: often where it is called with True, a few times with False."""


def _finite(value: float) -> float | None:
    """JSON knows no infinity: None stands for what never came."""
    return value if math.isfinite(value) else None


def exactly(name: str, value: float, wanted: float = 0) -> Limit:
    """A limit that asks for one value."""
    return Limit(name, value, at_most=wanted, at_least=wanted, counted=True)
