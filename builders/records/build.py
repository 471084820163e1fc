# SPDX-License-Identifier: Apache-2.0
"""What a build tells the records."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.builders.records.record import record_of_build, user_name
from sightline.builders.records.records import Records, event_now
from sightline.card import ModelCard
from sightline.errors import OutputError

if TYPE_CHECKING:
    from sightline.builders.build import BuildReport
    from sightline.builders.proof import Proof


def record_built(
    records: Records, report: BuildReport, card: ModelCard, proof: Proof | None = None
) -> BuildReport:
    """Remember a version that is in the repository. Returns the report, with a note where that was not possible.

    The version is whole and may be public already; its record is made up from its manifest later on.
    """
    record = record_of_build(
        report.repository,
        report.name,
        report.number,
        status="public" if report.public else "built",
        built_by=user_name(),
        card=card,
        proof=proof,
        step_seconds=report.step_seconds,
    )
    events = [event_now(report.name, report.number, "built")]
    if report.public:
        events.append(event_now(report.name, report.number, "published", before=report.before))
    try:
        records.add(record, *events)
    except OutputError as error:
        note = f"the version is whole, its record lacks who built it and the timings: {error}"
        return replace(report, notes=(*report.notes, note))
    return report


def record_refused(
    records: Records,
    staging: Path,
    card: ModelCard,
    number: int,
    proof: Proof,
    page: Path,
    step_seconds: Mapping[str, float],
) -> None:
    """Remember a build that its proof refused. staging: folder with its stage folders; page: the proof's report.

    Where that is not possible the refusal itself is what the user must hear of.
    """
    record = record_of_build(
        staging,
        card.name,
        number,
        status="refused",
        built_by=user_name(),
        card=card,
        proof=proof,
        proof_report=str(page),
        step_seconds=step_seconds,
    )
    with suppress(OutputError):
        records.add(record, event_now(card.name, number, "refused", detail="; ".join(proof.failures)))
