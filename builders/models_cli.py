# SPDX-License-Identifier: Apache-2.0
"""`sightline models`: the versions of each model, what is known of them, and which one clients get."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from sightline.builders.records import BuildRecord, Records

_HELP = """List, compare and switch the versions of each model.

Every build of a model is a version that stays. One of them is public: clients get it. A running server changes over
without failing a request.

Examples:

    sightline models list                               all models and versions

    sightline models show street_detect                 the public version: proof, training, timings, history

    sightline models compare street_detect:3 street_detect:4

    sightline models promote street_detect:3            clients get version 3 from now on

    sightline models rollback street_detect             back to the version before

    sightline models gc --keep 2 --dry-run              what would be removed

The records are a file in the repository. SIGHTLINE_RECORDS=postgresql://USER@HOST/DATABASE keeps those of many
repositories in one database.
"""
_EXAMPLES = "Examples:\n\n"
_VERSION = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_.-]{0,63})(:(?P<number>[1-9][0-9]{0,8}))?")
_SECONDS_OF_A_DAY = 86_400

models_app = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="markdown")

Repository = Annotated[Path, typer.Option(metavar="FOLDER", help="Model repository.")]
Url = Annotated[
    str | None,
    typer.Option("--records", metavar="URL", help="postgresql://USER@HOST/DATABASE; else SIGHTLINE_RECORDS."),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
_REPOSITORY = Path("triton_models")


@models_app.command(
    "list",
    help="All versions, the oldest first.\n\n"
    + _EXAMPLES
    + "    sightline models list\n\n    sightline models list street_detect --json | jq '.[].status'",
)
def list_versions(
    name: Annotated[str | None, typer.Argument(help="Of this model only.")] = None,
    repository: Repository = _REPOSITORY,
    records: Url = None,
    as_json: Json = False,
) -> None:
    """All versions."""
    from sightline.builders.records.actions import served_version
    from sightline.builders.records.show import print_list

    with _open(repository, records, read_only=True) as opened:
        found = opened.list(name)
        if name is not None and not found:
            _fail(opened.unknown(name))
        names = sorted({record.name for record in found})
        served = {one: served_version(repository, one) for one in names}
        if as_json:
            _print_json([_as_listed(record, served) for record in found])
        elif found:
            print_list(found, served)
        else:
            typer.echo(f"{repository} holds no model; build one with: sightline build")
        for one in names:
            _warn_of_cut_off(repository, one, served[one], opened.public(one))


@models_app.command(
    "show",
    help="What is known of a version; of the public one where N is left out.\n\n"
    + _EXAMPLES
    + "    sightline models show street_detect:3\n\n    sightline models show street_detect --card > again.yaml\n\n"
    + "    xdg-open $(sightline models show street_detect --report)",
)
def show(
    version: Annotated[str, typer.Argument(metavar="NAME[:N]")],
    repository: Repository = _REPOSITORY,
    records: Url = None,
    as_json: Json = False,
    report: Annotated[bool, typer.Option("--report", help="Only the path of the proof's page.")] = False,
    card: Annotated[bool, typer.Option("--card", help="Only the card, as YAML.")] = False,
    charts: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write its charts there, as SVG files.")
    ] = None,
) -> None:
    """One version."""
    from sightline.builders.records.show import print_record

    with _open(repository, records, read_only=True) as opened:
        found = _record(opened, version)
        events = opened.events(found.name, found.number)
    if report:
        typer.echo(_report(found, repository))
    elif card:
        typer.echo(_card_text(found), nl=False)
    elif as_json:
        _print_json({**found.to_dict(), "history": [event.to_dict() for event in events]})
    elif charts is None:
        print_record(found, events, repository)
    if charts is not None:
        _draw(found, charts)


@models_app.command(
    "compare",
    help="Two versions side by side: proof, training, speed, sizes, and where their cards differ.\n\n"
    + _EXAMPLES
    + "    sightline models compare street_detect:3 street_detect:4",
)
def compare(
    first: Annotated[str, typer.Argument(metavar="NAME:A")],
    second: Annotated[str, typer.Argument(metavar="NAME:B")],
    repository: Repository = _REPOSITORY,
    records: Url = None,
    as_json: Json = False,
) -> None:
    """Two versions."""
    from sightline.builders.records.show import differences, print_comparison

    with _open(repository, records, read_only=True) as opened:
        one, other = _record(opened, first), _record(opened, second)
    if as_json:
        _print_json({key: list(pair) for key, pair in differences(one, other).items()})
    else:
        print_comparison(one, other)


@models_app.command(
    "promote",
    help="Give clients a version. A running server changes over; where it cannot load the version, the one before "
    "goes on.\n\n" + _EXAMPLES + "    sightline models promote street_detect:3",
)
def promote(
    version: Annotated[str, typer.Argument(metavar="NAME:N")],
    repository: Repository = _REPOSITORY,
    records: Url = None,
) -> None:
    """Switch to a version."""
    from sightline.builders.records import actions

    name, number = _version(version, needs_number=True)
    with _open(repository, records) as opened, _says() as say:
        switched = actions.promote(opened, name, number or 0, say)
    _tell_switch(name, number or 0, switched)


@models_app.command(
    "rollback",
    help="Give clients the version that they had before; again, and it is the one before that.\n\n"
    + _EXAMPLES
    + "    sightline models rollback street_detect",
)
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    repository: Repository = _REPOSITORY,
    records: Url = None,
) -> None:
    """Switch back."""
    from sightline.builders.records import actions

    with _open(repository, records) as opened, _says() as say:
        number, switched = actions.rollback(opened, name, say)
    _tell_switch(name, number, switched)


@models_app.command(
    "gc",
    help="Remove old versions, and engines that were not used for long. The public version and the one before it "
    "always stay.\n\n"
    + _EXAMPLES
    + "    sightline models gc --dry-run\n\n    sightline models gc street_detect --keep 1",
)
def collect(
    name: Annotated[str | None, typer.Argument(help="Of this model only.")] = None,
    repository: Repository = _REPOSITORY,
    records: Url = None,
    keep: Annotated[int, typer.Option(min=0, help="Newest versions that stay.")] = 3,
    engine_days: Annotated[
        int, typer.Option(min=0, help="Engines in the store that were not used for longer are removed.")
    ] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove what is not needed."""
    from sightline.builders.records import actions
    from sightline.builders.records.show import size_text
    from sightline.builders.repository import models, versions

    verb = "would remove" if dry_run else "removed"
    with _open(repository, records, read_only=dry_run) as opened:
        if name is not None and not versions(repository, name):
            _fail(opened.unknown(name))
        for one in [name] if name else models(repository):
            for number in actions.unneeded(opened, one, keep):
                size = opened.get(one, number).sizes.get("version", 0)
                if not dry_run:
                    actions.remove(opened, one, number)
                typer.echo(f"{verb} {one}:{number}, {size_text(size)}")
    for what, size in _collect_engines(engine_days, dry_run) if name is None else ():
        typer.echo(f"{verb} engine {what}, {size_text(size)}")
    typer.echo("done" if not dry_run else "nothing was changed")


@models_app.command(
    "remove",
    help="Delete one version that is not public. Its record stays.\n\n"
    + _EXAMPLES
    + "    sightline models remove street_detect:2 --yes",
)
def remove(
    version: Annotated[str, typer.Argument(metavar="NAME:N")],
    repository: Repository = _REPOSITORY,
    records: Url = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a version."""
    from sightline.builders.records import actions
    from sightline.builders.records.show import size_text

    name, number = _version(version, needs_number=True)
    if not yes:
        typer.confirm(f"Delete version {number} of {name} from {repository}?", abort=True)
    with _open(repository, records) as opened:
        removed = actions.remove(opened, name, number or 0)
    typer.echo(f"removed {name}:{number}, {size_text(removed.size)}")


@contextmanager
def _open(repository: Path, url: str | None, *, read_only: bool = False) -> Iterator[Records]:
    from sightline.builders.records import open_records
    from sightline.builders.records.open import check_without_password

    if not repository.is_dir():
        _fail(f"there is no repository {repository}; build one with: sightline build, or choose --repository")
    with open_records(repository, check_without_password(url), read_only=read_only) as opened:
        yield opened


@contextmanager
def _says() -> Iterator[Any]:
    """A line on standard error that tells what a switch is doing."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    with console.status("switching") as status:
        yield lambda text: status.update(text)


def _version(text: str, *, needs_number: bool = False) -> tuple[str, int | None]:
    match = _VERSION.fullmatch(text)
    number = int(match["number"]) if match and match["number"] else None
    if match is None or (needs_number and number is None):
        form = "NAME:N, such as" if needs_number else "NAME or NAME:N, such as"
        _fail(f"'{text}' must be {form} street_detect:3; see: sightline models list")
    return match["name"], number


def _record(opened: Records, text: str) -> BuildRecord:
    name, number = _version(text)
    if number is None:
        found = opened.list(name)
        if not found:
            _fail(opened.unknown(name))
        number = opened.public(name) or found[-1].number
    return opened.get(name, number)


def _as_listed(record: BuildRecord, served: dict[str, int | None]) -> dict[str, Any]:
    keys = ("name", "number", "status", "built", "built_by", "target", "sizes", "proof_report", "id")
    values = record.to_dict()
    is_served = served.get(record.name) == record.number and record.status not in ("refused", "removed")
    return {**{key: values[key] for key in keys}, "served": is_served}


def _warn_of_cut_off(repository: Path, name: str, served: int | None, public: int | None) -> None:
    from sightline.builders.records.actions import cut_off

    half = cut_off(repository, name)
    if half is not None:
        typer.secho(
            f"a switch of {name} was cut off: files are answered by version {public}, raw frames by {half}; "
            f"complete it with: sightline models promote {name}:{half}, or take it back: "
            f"sightline models promote {name}:{public}",
            err=True,
            fg=typer.colors.YELLOW,
        )
    elif served is not None and served != public:
        typer.secho(
            f"the running server still answers with version {served} of {name}; "
            f"it changes over with: sightline models promote {name}:{public}",
            err=True,
            fg=typer.colors.YELLOW,
        )


def _tell_switch(name: str, number: int, switched: Any) -> None:
    if switched.before == number:
        typer.echo(f"version {number} of {name} is public, as it was")
    else:
        before = f", before it {switched.before}" if switched.before is not None else ""
        typer.echo(f"version {number} of {name} is public{before}")
    typer.echo(
        "the running server answers with it"
        if switched.served
        else "no server runs here; start one with: sightline serve"
    )


def _report(record: BuildRecord, repository: Path) -> Path:
    path = repository / record.proof_report
    if not record.proof_report or not path.is_file():
        _fail(
            f"version {record.number} of {record.name} has no proof's page"
            + (f"; {path} is gone" if record.proof_report else ": it was built with --no-proof")
        )
    return path


def _card_text(record: BuildRecord) -> str:
    import yaml

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items() if inner not in (None, {}, [])}
        return value

    return str(yaml.safe_dump(plain(dict(record.card)), sort_keys=False, allow_unicode=True))


def _draw(record: BuildRecord, folder: Path) -> None:
    from sightline.builders.records.charts import draw_charts

    if not record.charts:
        _fail(
            f"version {record.number} of {record.name} has no charts: they come from the training record "
            "(record.json beside the source) of a model that was tried on pictures with labels"
        )
    for path in draw_charts(record.charts, f"{record.name}:{record.number}", folder):
        typer.echo(path)


def _collect_engines(days: int, dry_run: bool) -> list[tuple[str, int]]:
    import time

    from sightline.builders.engines.store import EngineStore, default_store

    folder = default_store()
    if not folder.is_dir():
        return []
    store, age = EngineStore(folder), float(days * _SECONDS_OF_A_DAY)
    if dry_run:
        oldest = time.time() - age
        found = tuple(one for one in store.entries() if one.folder.stat().st_mtime < oldest)
    else:
        found = store.gc(max_age_seconds=age)
    return [(one.manifest.key.text, sum(file.bytes for file in one.manifest.files.values())) for one in found]


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _fail(text: str) -> NoReturn:
    from sightline.errors import BuildError

    raise BuildError(text)
