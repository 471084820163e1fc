# SPDX-License-Identifier: Apache-2.0
"""What a check is given and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sightline.builders.entries.context import Target
from sightline.builders.rules.data import Rule
from sightline.builders.rules.folders import ModelFolder, RepositoryView


class Problem(NamedTuple):
    """text: what is wrong, with the field and the value. fix: what to do."""

    text: str
    fix: str


@dataclass(frozen=True)
class Case:
    """One model, seen with its repository, on a target, by one rule."""

    model: ModelFolder
    repository: RepositoryView
    target: Target
    rule: Rule


Check = Callable[[Case], Iterator[Problem]]
