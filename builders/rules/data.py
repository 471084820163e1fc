# SPDX-License-Identifier: Apache-2.0
"""The rules as rules.yaml holds them."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from sightline.builders.entries.context import TARGETS, Target
from sightline.errors import SightlineError

RELEASE = "24.10"
"""Of the server that local embeds. Containers are later; rules that changed say so."""
_RELEASE = r"^[0-9]{2}\.[0-9]{2}$"


class Rule(BaseModel):
    """One rule. source: where it was read. since, until: releases, both included; empty for all. allowed: by target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    severity: Literal["error", "warning"]
    text: str = Field(min_length=20)
    source: str = Field(min_length=20)
    since: str = Field(default="", pattern=rf"^$|{_RELEASE}")
    until: str = Field(default="", pattern=rf"^$|{_RELEASE}")
    targets: tuple[Target, ...] = TARGETS
    allowed: dict[Target, tuple[str, ...]] = {}

    def holds(self, target: Target, release: str) -> bool:
        """Whether the rule is one of this target and release."""
        at = _number(release)
        begun = not self.since or _number(self.since) <= at
        return target in self.targets and begun and (not self.until or at <= _number(self.until))


@functools.cache
def all_rules() -> tuple[Rule, ...]:
    """All rules, in the order of the file."""
    text = resources.files(__package__).joinpath("rules.yaml").read_text(encoding="utf-8")
    return tuple(Rule.model_validate(values) for values in yaml.safe_load(text))


def rules_for(target: Target, release: str = RELEASE) -> tuple[Rule, ...]:
    """The rules of a target and a Triton release such as "24.10". Raises SightlineError where it is no release."""
    if not re.match(_RELEASE, release):
        raise SightlineError(f"the release is {release!r}; it must be two numbers such as {RELEASE}")
    return tuple(rule for rule in all_rules() if rule.holds(target, release))


def _number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))
