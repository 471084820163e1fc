# SPDX-License-Identifier: Apache-2.0
"""What a person sees of records: a table of versions, one version in full, two side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.builders.records.record import BuildRecord, Event

_STYLES = {"public": "bold green", "refused": "red", "removed": "dim"}
_MOST_EVENTS = 12
Values = dict[str, str]


def print_list(records: Sequence[BuildRecord], served: Mapping[str, int | None]) -> None:
    """A line a version. served: by model, the version with which a running server answers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("version", "status", "built", "by", "engine", "proof", "size"):
        table.add_column(
            column,
            justify="right" if column == "size" else "left",
            no_wrap=column != "version",
            overflow="fold",
        )
    for record in records:
        is_served = served.get(record.name) == record.number and record.status not in ("refused", "removed")
        table.add_row(
            f"{record.name}:{record.number}",
            record.status + (", served" if is_served else ""),
            record.built[:16].replace("T", " "),
            record.built_by,
            _engine(record),
            _proof(record),
            size_text(record.sizes.get("version", 0)),
            style=_STYLES.get(record.status),
        )
    _console().print(table)


def print_record(record: BuildRecord, events: Sequence[Event], repository: Path) -> None:
    """Everything of one version."""
    rows = _rows(record)
    if record.proof_report:
        rows["report"] = str(repository / record.proof_report)
    _print_rows({f"{record.name}:{record.number}": record.status, **rows})
    for title, values in (("proof", _measures(record)), ("training", _training(record))):
        if values:
            _console().print(f"\n[bold]{title}[/bold]", markup=True)
            _print_rows(values)
    if events:
        _console().print("\n[bold]history[/bold]", markup=True)
        _print_rows_of([_event(event) for event in events[-_MOST_EVENTS:]])


def print_comparison(first: BuildRecord, second: BuildRecord) -> None:
    """What differs between two versions; a star marks each line that does."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "", *(f"{one.name}:{one.number}" for one in (first, second))):
        table.add_column(column, overflow="fold")
    for key, (one, other) in differences(first, second, everything=False).items():
        table.add_row("*" if one != other else "", key, one, other)
    _console().print(table)


def differences(
    first: BuildRecord, second: BuildRecord, *, everything: bool = True
) -> dict[str, tuple[str, str]]:
    """Values of both by what they are; where `everything` is not set, of the card only those that differ."""
    both = [
        {**_rows(one), **_measures(one), **_training(one), **_flat(one.card, "card.")}
        for one in (first, second)
    ]
    keys = list(dict.fromkeys([*both[0], *both[1]]))
    found = {key: (both[0].get(key, ""), both[1].get(key, "")) for key in keys}
    return {
        key: pair
        for key, pair in found.items()
        if everything or not key.startswith("card.") or pair[0] != pair[1]
    }


def _rows(record: BuildRecord) -> Values:
    card, engine = record.card, record.engine
    rows = {
        "built": f"{record.built} by {record.built_by or 'unknown'}",
        "sightline": record.sightline,
        "task": str(card.get("task", "")),
        "source": str(record.source.get("origin") or record.source.get("text", "")),
        "source sha256": str(record.source.get("sha256", "")),
        "target": record.target,
        "engine": _engine(record),
        "network": f"{engine['milliseconds']:.2f} ms an image" if engine.get("milliseconds") else "",
        "head": str(record.head.get("why", "")),
        **{f"{key} data": value for key, value in record.data.items()},
        "sizes": ", ".join(f"{key} {size_text(value)}" for key, value in record.sizes.items()),
        "seconds": ", ".join(f"{key} {value:.1f}" for key, value in record.step_seconds.items()),
    }
    return {key: value for key, value in rows.items() if value}


def _measures(record: BuildRecord) -> Values:
    proof = record.metrics.get("proof", {})
    found = {
        str(measure.get("what")): f"{_number(measure.get('value'))} "
        f"({'at least' if measure.get('higher_is_better') else 'at most'} {measure.get('threshold'):g}"
        f"{'' if measure.get('passed') else ', failed'})"
        for measure in proof.get("measures", ())
    }
    drifted = [str(stage["stage"]) for stage in proof.get("stages", ()) if not stage.get("passed", True)]
    return {**found, **({"drifted in": ", ".join(drifted)} if drifted else {})}


def _training(record: BuildRecord) -> Values:
    held_out = record.metrics.get("training", {}).get("held_out", {})
    plain = {key: value for key, value in held_out.items() if isinstance(value, (int, float, str))}
    return {f"held-out {key}": _number(value) for key, value in plain.items()}


def _proof(record: BuildRecord) -> str:
    """The verdict and the last measure, which is that of the task."""
    proof = record.metrics.get("proof", {})
    if not proof:
        return "none"
    verdict = "passed" if proof.get("passed") else "failed"
    last = next(iter(reversed(proof.get("measures", ()))), None)
    return f"{verdict}, {last.get('name')} {_number(last.get('value'))}" if last else verdict


def _engine(record: BuildRecord) -> str:
    engine = record.engine
    version = str(engine.get("version", "")).partition("-")[0]
    return f"{engine.get('kind', '')} {engine.get('precision', '')}".strip() + (
        f" ({version})" if version and version[0].isdigit() else ""
    )


def _event(event: Event) -> tuple[str, str]:
    before = f", before it {event.before}" if event.before is not None else ""
    words = {"found": "found public, although nobody noted it"}
    detail = (
        f": {event.detail.splitlines()[0]}" if event.detail and event.what in ("failed", "refused") else ""
    )
    return (
        event.at[:19].replace("T", " "),
        f"{words.get(event.what, event.what)} by {event.by}{before}{detail}",
    )


def _flat(values: Mapping[str, Any], prefix: str) -> Values:
    found: Values = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = (
                ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
            )
    return found


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "not a number" if value is None else str(value)


def size_text(count: int) -> str:
    """A number of bytes for people."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _print_rows(rows: Values) -> None:
    _print_rows_of(list(rows.items()))


def _print_rows_of(rows: Sequence[tuple[str, str]]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, markup=False)
