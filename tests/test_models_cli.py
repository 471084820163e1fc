# SPDX-License-Identifier: Apache-2.0
"""`sightline models` as a person uses it."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sightline.builders.engines.manifest import EngineKey
from sightline.builders.engines.store import EngineStore, NewEngine
from sightline.builders.records import BuildRecord
from sightline.builders.records.show import print_list, size_text
from sightline.builders.repository import public_number, versions
from sightline.card import load_card
from sightline.cli import app
from sightline.errors import SightlineError
from tests.cases import about
from tests.records_parts import NAME, build

COMMANDS = ("list", "show", "compare", "promote", "rollback", "gc", "remove")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2, public is 2; the first tells of its training, the second has a proof."""
    folder = tmp_path_factory.mktemp("built") / "repository"
    sources = folder.parent / "sources"
    sources.mkdir()
    training = {"held_out": {"map50": 0.93, "ap50": {"left": 0.9, "right": 0.96}}}
    (sources / "record.json").write_text(json.dumps(training))
    build(folder, 1)
    (sources / "record.json").unlink()
    build(folder, 2)
    return folder


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "repository"))


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("SIGHTLINE_RECORDS", raising=False)


def models(repository: Path | None, *words: str) -> Result:
    where = ("--repository", str(repository)) if repository else ()
    return CliRunner().invoke(app, ["models", *words, *where])


def said(repository: Path, *words: str) -> str:
    done = models(repository, *words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def refused(repository: Path, *words: str) -> str:
    done = models(repository, *words)
    assert done.exit_code != 0
    assert isinstance(done.exception, SightlineError), done.output
    return str(done.exception)


def test_list_fits_100_columns_and_tells_what_clients_get(repository: Path) -> None:
    lines = said(repository, "list").splitlines()
    assert lines[0].split() == ["version", "status", "built", "by", "engine", "proof", "size"]
    assert lines[1].startswith("toy:1    retired")
    assert lines[2].startswith("toy:2    public")
    assert all(len(line) <= 100 for line in lines)
    found = json.loads(said(repository, "list", NAME, "--json"))
    assert [(one["number"], one["status"], one["served"]) for one in found] == [
        (1, "retired", False),
        (2, "public", False),
    ]


def test_a_long_name_does_not_hide_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    proof = {
        "passed": False,
        "measures": [{"name": "tensor_error", "value": 0.0}, {"name": "map", "value": 0.5}],
    }
    record = BuildRecord(
        id="0", name="n" * 64, number=12345, status="refused", target="local", built="2026-01-01T00:00:00+00:00",
        built_by="ann", sightline="0.1.0", card={}, source={}, metrics={"proof": proof}, sizes={"version": 9_000_000},
        engine={"kind": "onnxruntime", "precision": "fp16", "version": "1.2.3"},
    )  # fmt: skip
    print_list([record], {})
    shown = capsys.readouterr().out
    assert all(len(line) <= 100 for line in shown.splitlines())
    for words in (
        "refused",
        "2026-01-01 00:00",
        "ann",
        "onnxruntime fp16 (1.2.3)",
        "failed, map 0.500",
        "9.0 MB",
    ):
        assert words in shown


def test_show_tells_everything_of_a_version(repository: Path) -> None:
    text = said(repository, "show", "toy")
    for words in ("toy:2", "public", "openvino", "source sha256", "seconds", "published by", "before it 1"):
        assert words in text
    assert "held-out map50" in said(repository, "show", "toy:1")
    values = json.loads(said(repository, "show", "toy:1", "--json"))
    assert values["metrics"]["training"]["held_out"]["map50"] == 0.93
    assert [event["what"] for event in values["history"]] == ["built", "published"]


def test_show_gives_a_card_that_builds_again(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "again.yaml"
    path.write_text(said(repository, "show", "toy:1", "--card"))
    card = load_card(path)
    assert (card.name, card.input.size, card.limits.score) == (NAME, (64, 64), 0.51)


def test_show_gives_the_proofs_page_and_charts(repository: Path, tmp_path: Path) -> None:
    assert "toy has no proof's page: it was built with --no-proof" in refused(
        repository, "show", "toy:2", "--report"
    )
    page = repository / "toy_v1_network" / "proof" / "proof.html"
    page.parent.mkdir()
    page.write_text("<!doctype html>")
    (repository / ".sightline-records.db").unlink()  # the record is made up from the version
    assert said(repository, "show", "toy:1", "--report").strip() == str(page)
    assert "no charts" in refused(repository, "show", "toy:2", "--charts", str(tmp_path / "charts"))


def test_charts_are_written(repository: Path, tmp_path: Path) -> None:
    shown = said(repository, "show", "toy:1", "--charts", str(tmp_path / "charts"))
    assert shown.strip() == str(tmp_path / "charts" / "by_class.svg")
    assert (tmp_path / "charts" / "by_class.svg").is_file()


def test_compare_marks_what_differs(repository: Path) -> None:
    lines = said(repository, "compare", "toy:1", "toy:2").splitlines()
    marked = {line.split()[1] for line in lines if line.startswith("*")}
    assert {"card.input.size", "card.limits.score", "source"} <= marked
    assert not any("card.limits.iou" in line for line in lines)
    assert all(len(line) <= 100 for line in lines)
    both = json.loads(said(repository, "compare", "toy:1", "toy:2", "--json"))
    assert both["card.limits.score"] == ["0.51", "0.52"]
    assert both["card.limits.iou"] == ["0.45", "0.45"]


def test_promote_and_rollback(repository: Path) -> None:
    assert said(repository, "promote", "toy:1").splitlines() == [
        "version 1 of toy is public, before it 2",
        "no server runs here; start one with: sightline serve",
    ]
    assert public_number(repository, NAME) == 1
    assert said(repository, "rollback", "toy").startswith("version 2 of toy is public, before it 1")
    assert said(repository, "promote", "toy:2").startswith("version 2 of toy is public, as it was")


def test_remove_asks_first_and_leaves_the_record(repository: Path) -> None:
    assert models(repository, "remove", "toy:1").exit_code != 0  # nobody said yes
    assert [version.number for version in versions(repository, NAME)] == [1, 2]
    assert said(repository, "remove", "toy:1", "--yes").startswith("removed toy:1, ")
    assert [version.number for version in versions(repository, NAME)] == [2]
    assert "toy:1    removed" in said(repository, "list")
    assert "version 2 of toy is public; promote another one first" in refused(
        repository, "remove", "toy:2", "--yes"
    )


def test_gc_keeps_what_is_needed(repository: Path) -> None:
    for version in (3, 4):
        build(repository, version, publish=False)
    dry = said(repository, "gc", "--keep", "1", "--dry-run").splitlines()
    assert dry[0].startswith("would remove toy:3, ")
    assert dry[1:] == ["nothing was changed"]
    assert len(versions(repository, NAME)) == 4
    assert said(repository, "gc", NAME, "--keep", "1").startswith("removed toy:3, ")
    assert [version.number for version in versions(repository, NAME)] == [1, 2, 4]


def test_gc_removes_engines_that_were_not_used_for_long(repository: Path, tmp_path: Path) -> None:
    store = EngineStore(tmp_path / "engines")
    kept, old = (
        store.get_or_build(
            EngineKey(digit * 64, "openvino", "1.0", "linux", "x86_64", "fp32"),
            lambda: NewEngine({"model.bin": b"12345"}, 1.0),
        )
        for digit in "ab"
    )
    long_ago = time.time() - 40 * 86_400
    os.utime(old.folder, (long_ago, long_ago))
    assert "would remove engine OpenVINO 1.0 for CPU, 5 B" in said(repository, "gc", "--dry-run")
    assert old.folder.is_dir()
    assert "removed engine OpenVINO 1.0 for CPU, 5 B" in said(repository, "gc")
    assert not old.folder.exists()
    assert kept.folder.is_dir()


_ERRORS = [
    (("promote", "toy"), "'toy' must be NAME:N, such as street_detect:3"),
    (("promote", "toy:0"), "'toy:0' must be NAME:N"),
    (("show", "toy:x"), "'toy:x' must be NAME or NAME:N"),
    (("show", "nothing"), "there is no model 'nothing' in"),
    (("show", "../toy:1"), "'../toy:1' must be NAME or NAME:N"),
    (("show", "toy:9"), "there is no version 9 of toy; known are 1, 2"),
    (("compare", "toy:1", "toy:9"), "there is no version 9 of toy"),
    (("list", "nothing"), "it holds toy"),
    (("rollback", "nothing"), "there is no model 'nothing'"),
    (("gc", "nothing"), "there is no model 'nothing'"),
    (("list", "--records", "mysql://db/x"), "it must be postgresql://"),
    (("list", "--records", "postgresql://ann:s3cr3t@db/x"), "--records holds a password"),
]


def test_errors_name_the_value_and_what_to_do(built: Path) -> None:
    for words, says in _ERRORS:
        with about(words, says):
            text = refused(built, *words)
            assert says in text
            assert "s3cr3t" not in text


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    assert "build one with: sightline build" in refused(tmp_path / "none", "list")
    assert "holds no model" in said(tmp_path, "list")


def test_help_has_examples_and_fits() -> None:
    for command in COMMANDS:
        with about(command):
            done = models(None, command, "--help")
            assert done.exit_code == 0
            assert f"sightline models {command}" in done.stdout
            assert all(len(line) <= 100 for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (41240, "41.2 kB"), (5_000_000_000, "5.0 GB")],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert size_text(count) == text
