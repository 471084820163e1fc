# SPDX-License-Identifier: Apache-2.0
"""Checks a model repository against the rules: one small function for each, in a table that equals the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sightline.builders.entries.context import Target
from sightline.builders.rules.check_batches import BATCH_CHECKS
from sightline.builders.rules.check_ensembles import ENSEMBLE_CHECKS
from sightline.builders.rules.check_files import FILE_CHECKS, UNREAD_CHECKS
from sightline.builders.rules.check_flow import FLOW_CHECKS
from sightline.builders.rules.check_instances import INSTANCE_CHECKS
from sightline.builders.rules.check_tensors import TENSOR_CHECKS
from sightline.builders.rules.check_warmup import WARMUP_CHECKS
from sightline.builders.rules.data import RELEASE, rules_for
from sightline.builders.rules.folders import read_repository
from sightline.builders.rules.problem import Case, Check
from sightline.errors import BuildError

CHECKS: dict[str, Check] = {
    **UNREAD_CHECKS,
    **FILE_CHECKS,
    **TENSOR_CHECKS,
    **BATCH_CHECKS,
    **INSTANCE_CHECKS,
    **WARMUP_CHECKS,
    **ENSEMBLE_CHECKS,
    **FLOW_CHECKS,
}


@dataclass(frozen=True)
class Finding:
    """A rule that a model breaks. text: what is wrong there. fix: what to do."""

    rule: str
    model: str
    text: str
    fix: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.model}: {self.text}; {self.fix} ({self.rule})"


def check_repository(repository: Path, target: Target, release: str = RELEASE) -> list[Finding]:
    """All findings, by model, in the order of the rules.

    Nothing is loaded or run. Raises SightlineError for a release that is none; whatever stands in the repository is
    answered with findings.
    """
    view = read_repository(repository)
    rules = rules_for(target, release)
    found = []
    for model in view.models.values():
        for rule in rules:
            if bool(model.unread) != (rule.id in UNREAD_CHECKS):
                continue
            for problem in CHECKS[rule.id](Case(model, view, target, rule)):
                found.append(Finding(rule.id, model.name, problem.text, problem.fix, rule.severity))
    return found


def refuse_broken(repository: Path, target: Target) -> None:
    """Raise BuildError where Triton would not load a model of the repository."""
    errors = [str(finding) for finding in check_repository(repository, target) if finding.severity == "error"]
    if errors:
        raise BuildError(
            "the entry breaks rules of Triton, so it is not written:\n  "
            + "\n  ".join(errors)
            + "\nPlease report this with the card: a build must not come to this"
        )
