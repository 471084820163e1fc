# SPDX-License-Identifier: Apache-2.0
"""The model record: what is remembered of a build, where, and how it stays true."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sightline.builders import repository_from_card
from sightline.builders.build import Choices
from sightline.builders.publish import check_whole, switch_version
from sightline.builders.records import BuildRecord, Event, Records, open_records
from sightline.builders.records import database as databases
from sightline.builders.records.actions import promote, remove, rollback, unneeded
from sightline.builders.records.charts import charts_from_training, draw_charts
from sightline.builders.records.database import place_of
from sightline.builders.records.open import (
    IDENTITY_FILE,
    RECORDS_FILE,
    check_without_password,
    hide_passwords,
)
from sightline.builders.records.record import record_of_build, user_name
from sightline.builders.records.records import _past, event_now
from sightline.builders.records.schema import MIGRATIONS
from sightline.builders.repository import install_version, make_public, remove_version
from sightline.errors import BuildError, MissingDependencyError, OutputError
from sightline.redact import redact
from tests.cases import about
from tests.onnx_models import write_pictures, yolov8_like
from tests.records_parts import NAME, build, postgres, toy_card


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1, 2 and 3; 3 is public, and 2 was never."""
    folder = tmp_path_factory.mktemp("built") / "repository"
    card = toy_card(folder.parent / "sources", 1)
    training = {
        "classes": ["left", "right"],
        "training": {"drawn": "signs", "images": 12},
        "held_out": {
            "map50": 0.93,
            "ap50": {"left": 0.9, "right": 0.96},
            "confusion": [[5, 1], [0, 6]],
            "precision_recall": {"left": {"recall": [0, 1], "precision": [1, 0.5]}},
            "worst": float("nan"),
        },
    }
    (folder.parent / "sources" / "record.json").write_text(json.dumps(training))
    repository_from_card(card, folder)
    build(folder, 2, publish=False)
    build(folder, 3)
    return folder


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "repository"))


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, str]]:
    with postgres() as found:
        yield found


@pytest.fixture
def empty_database(database: tuple[str, str]) -> str:
    """URL of a new database."""
    import psycopg

    name = f"records_{secrets.token_hex(4)}"
    with psycopg.connect(database[0], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return database[0].replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """None for the file in the repository."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("empty_database"))


def a_record(number: int, name: str = NAME, status: str = "refused") -> BuildRecord:
    """Of a build that is not in the repository."""
    return BuildRecord(
        id=f"{number:016x}{name}", name=name, number=number, status=status, target="local",  # type: ignore[arg-type]
        built=f"2026-01-0{number}T00:00:00+00:00", built_by="ann", sightline="0.1.0",
        card={"name": name, "labels": ["ä", "'; DROP TABLE sightline_builds; --"]}, source={"sha256": "0" * 64},
    )  # fmt: skip


def summary(records: Records) -> list[tuple[int, str]]:
    return [(record.number, record.status) for record in records.list(NAME)]


# ---------------------------------------------------------------- what is remembered


def test_a_build_is_remembered_with_all_that_made_it(built: Path) -> None:
    with open_records(built, read_only=True) as records:
        record = records.get(NAME, 1)
        assert summary(records) == [(1, "retired"), (2, "built"), (3, "public")]
        events = [(e.number, e.what, e.before, e.by) for e in records.events()]
    me = user_name()
    assert events == [
        (1, "built", None, me), (1, "published", None, me), (2, "built", None, me),
        (3, "built", None, me), (3, "published", 1, me),
    ]  # fmt: skip
    assert (record.built_by, record.target, record.number) == (me, "local", 1)
    assert record.card["input"]["size"] == [64, 64]
    assert record.source["file"] == record.source["text"] == "toy1.onnx"
    assert len(record.source["sha256"]) == 64
    assert record.engine["kind"] == "openvino"
    assert set(record.step_seconds) == {"check", "export", "convert", "engine", "write", "publish"}
    assert record.sizes["version"] > record.sizes["engine"] > 0
    assert record.metrics["training"]["held_out"]["map50"] == 0.93
    assert record.metrics["training"]["held_out"]["worst"] is None  # JSON has no NaN
    assert record.data["training"] == "drawn signs, 12 images"
    assert set(record.charts) == {"confusion", "precision_recall", "by_class"}
    assert json.loads(json.dumps(record.to_dict())) == json.loads(
        json.dumps(record.to_dict(), allow_nan=False)
    )


def test_a_training_record_of_other_weights_is_not_taken(built: Path) -> None:
    card = toy_card(built.parent / "others", 1)
    (built.parent / "others" / "record.json").write_text(
        json.dumps({"onnx_sha256": "0" * 64, "held_out": {"map50": 1.0}})
    )
    record = record_of_build(built, NAME, 1, status="built", card=card)
    assert "training" not in record.metrics


def test_secrets_of_a_card_are_not_remembered(built: Path, tmp_path: Path) -> None:
    repository = Path(shutil.copytree(built, tmp_path / "repository"))
    path = repository / "toy_v1_network" / "public" / NAME / "sightline.json"
    manifest = json.loads(path.read_text())
    manifest["card"]["source_args"] = {"token": "s3cr3t-token", "classes": 3}
    manifest["card"]["calibration"]["images"] = "rtsp://ann:s3cr3t-pass@camera/1"
    manifest["calibration"] = "32 pictures of rtsp://ann:s3cr3t-pass@camera/1"
    path.write_text(json.dumps(manifest))
    record = record_of_build(repository, NAME, 1, status="built")
    assert "s3cr3t" not in json.dumps(record.to_dict())
    assert record.card["source_args"] == {"token": "***", "classes": 3}
    assert record.data["calibration"] == "32 pictures of rtsp://***@camera/1"


def test_a_refused_build_is_remembered_with_its_proof(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real proof, whose threshold nothing in fp16 can keep."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    repository = Path(shutil.copytree(built, tmp_path / "repository"))
    source = yolov8_like(tmp_path / "random.onnx", classes=3, size=(64, 64))
    proof = {"samples": 2, "tensor_error": 1e-12, "images": write_pictures(tmp_path / "pictures")}
    card = toy_card(tmp_path, 1, source=str(source), proof=proof)
    with pytest.raises(BuildError, match="does not answer like its source"):
        repository_from_card(card, repository, Choices(prove=True))
    with open_records(repository) as records:
        assert summary(records)[-1] == (4, "refused")
        record = records.get(NAME, 4)
        assert records.events(NAME, 4)[-1].what == "refused"
        assert records.last_number(NAME) == 3  # the number was not used up
    assert record.metrics["proof"]["passed"] is False
    assert Path(record.proof_report).read_bytes().startswith(b"<!doctype html>")
    assert not list(repository.glob("toy_v4_*"))


def test_charts_are_drawn_from_what_training_measured(built: Path, tmp_path: Path) -> None:
    with open_records(built, read_only=True) as records:
        charts = records.get(NAME, 1).charts
    paths = draw_charts(charts, "toy:1", tmp_path / "charts")
    assert [path.name for path in paths] == ["precision_recall.svg", "confusion.svg", "by_class.svg"]
    assert all(ElementTree.parse(path).getroot().tag.endswith("svg") for path in paths)
    assert all(path.stat().st_size < 100_000 for path in paths)


@pytest.mark.parametrize(
    "training",
    [{}, {"held_out": 3}, {"held_out": {"confusion": [[1]]}}, {"classes": ["a", "b"], "held_out": {}}],
)
def test_odd_training_records_have_no_charts(training: dict[str, object]) -> None:
    assert charts_from_training(training) == {}


# ---------------------------------------------------------------- where: SQLite and PostgreSQL alike


def test_what_is_added_is_found_again(repository: Path, url: str | None) -> None:
    with open_records(repository, url) as records:
        records.add(a_record(8), event_now(NAME, 8, "refused", detail="mAP50 is 0.1"))
        records.add(replace(a_record(9, name="other"), metrics={"proof": {"measures": [{"value": 0.5}]}}))
        records.add(replace(a_record(8), built_by="bob"))  # the same build once more
        assert [r.number for r in records.list("other")] == [9]
        assert [r.built_by for r in records.list(NAME) if r.number == 8] == ["bob"]
        assert records.get("other", 9).metrics == {"proof": {"measures": [{"value": 0.5}]}}
        assert records.get(NAME, 8).card["labels"] == ["ä", "'; DROP TABLE sightline_builds; --"]
        assert records.events(NAME, 8)[-1].detail == "mAP50 is 0.1"
        with pytest.raises(BuildError, match="no version 7 of toy; known are 1, 2, 3, 8"):
            records.get(NAME, 7)
        with pytest.raises(BuildError, match=r"no model 'nothing' in .*; it holds other, toy"):
            records.get("nothing", 1)


def test_many_at_once_lose_nothing(repository: Path, url: str | None) -> None:
    def work(worker: int) -> None:
        with open_records(repository, url) as records:
            for number in range(5):
                records.event(NAME, 100 * worker + number, "found")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(1, 5)))
    with open_records(repository, url) as records:
        numbers = sorted(e.number for e in records.events(NAME) if e.number >= 100)
    assert numbers == [100 * worker + number for worker in range(1, 5) for number in range(5)]


def test_an_unfinished_change_is_undone(repository: Path, url: str | None) -> None:
    with open_records(repository, url) as records:
        before = records.events()
        nameless = replace(event_now(NAME, 5, "found"), name=None)  # type: ignore[arg-type]
        with pytest.raises(OutputError, match="cannot be used"):
            records.add(a_record(5), nameless)  # the record is written first
        assert records.events() == before
        assert [record.number for record in records.list()] == [1, 2, 3]


def test_an_older_database_is_brought_forward_and_a_later_one_refused(
    repository: Path, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_records(repository, url) as records:
        records.event(NAME, 1, "found")
    later = (*MIGRATIONS, ("CREATE TABLE extra (value {json})",), ("ALTER TABLE extra ADD COLUMN more TEXT",))
    monkeypatch.setattr(databases, "MIGRATIONS", later)
    with open_records(repository, url) as records:
        records.event(NAME, 2, "found")
        with records._database.transaction(write=True) as run:
            assert run("SELECT count(more) FROM extra") == [(0,)]
        assert [e.number for e in records.events(NAME)][-2:] == [1, 2]
    monkeypatch.setattr(databases, "MIGRATIONS", MIGRATIONS)
    with pytest.raises(OutputError, match=r"written by a later Sightline .*: update Sightline"):
        open_records(repository, url)


def test_the_history_moves_with_the_repository(repository: Path, url: str | None, tmp_path: Path) -> None:
    with open_records(repository, url) as records:
        records.event(NAME, 2, "found")
        before = records.events()
    repository.rename(tmp_path / "moved")
    with open_records(tmp_path / "moved", url) as records:
        assert records.events() == before


def test_repositories_in_one_database_do_not_mix(
    repository: Path, empty_database: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    with open_records(repository, empty_database) as records, open_records(other, empty_database) as others:
        others.add(a_record(5))
        records.sync(NAME)
        assert [r.number for r in others.list()] == [5]
        assert [r.number for r in records.list()] == [1, 2, 3]
        assert (other / IDENTITY_FILE).read_text() != (repository / IDENTITY_FILE).read_text()


# ---------------------------------------------------------------- what goes wrong


def test_no_password_is_shown(
    database: tuple[str, str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, password = database
    wrong = url.replace(password, "wr0ng-secret")
    monkeypatch.setenv("SIGHTLINE_RECORDS", wrong)
    with pytest.raises(OutputError, match="password authentication failed") as caught:
        open_records(repository)
    assert "wr0ng-secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    with open_records(repository, url) as records:
        assert password not in records.place
    with pytest.raises(BuildError, match=r"--records holds a password.*SIGHTLINE_RECORDS") as refused:
        check_without_password(wrong)
    assert "wr0ng-secret" not in str(refused.value)
    with pytest.raises(BuildError, match="--records holds a password"):
        check_without_password("postgresql://ann@db/records?password=wr0ng-secret")
    plain = "postgresql://sightline@db:5432/records"
    assert check_without_password(plain) == plain
    hide_passwords(plain)
    assert redact("sightline build") == "sightline build"  # a user's name is no secret
    assert place_of(plain) == "PostgreSQL (database records on db:5432)"


def test_records_that_cannot_be_opened_stop_a_build_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_RECORDS", f"postgresql://ann:s3cr3t@/records?host={tmp_path}")
    with pytest.raises(OutputError, match=r"cannot be used: .*\. Check SIGHTLINE_RECORDS") as caught:
        repository_from_card(toy_card(tmp_path, 1), tmp_path / "repository")
    assert "s3cr3t" not in str(caught.value)
    assert not list(tmp_path.glob("repository/*"))
    monkeypatch.setenv("SIGHTLINE_RECORDS", "mysql://ann:s3cr3t@db/records")
    with pytest.raises(BuildError, match="begins with 'mysql'; it must be postgresql://"):
        repository_from_card(toy_card(tmp_path, 1), tmp_path / "repository")


def test_without_psycopg_the_extra_is_named(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"sightline\[records\]"):
        open_records(repository, "postgresql://db/records")


@pytest.mark.parametrize("damage", ["text", "cut"])
def test_a_damaged_file_is_named_and_the_versions_are_not(repository: Path, damage: str) -> None:
    path = repository / RECORDS_FILE
    content = path.read_bytes()
    path.write_bytes(b"no database" * 100 if damage == "text" else content[:4096])
    with pytest.raises(OutputError, match=r"\.sightline-records\.db are damaged: .*Move the file away"):
        open_records(repository)
    path.unlink()
    with open_records(repository) as records:
        assert [number for number, _ in summary(records)] == [1, 2, 3]


def test_a_link_in_place_of_the_file_is_refused(repository: Path, tmp_path: Path) -> None:
    path = repository / RECORDS_FILE
    path.rename(tmp_path / "theirs")
    path.symlink_to(tmp_path / "theirs")
    with pytest.raises(OutputError, match="are a link; remove it"):
        open_records(repository)


def test_looking_changes_nothing(repository: Path) -> None:
    def state() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in repository.iterdir() if p.is_file()}

    before = state()
    with open_records(repository, read_only=True) as records:
        records.list()
        records.events()
    assert state() == before
    (repository / RECORDS_FILE).unlink()
    with open_records(repository, read_only=True) as records:
        assert summary(records) == [(1, "built"), (2, "built"), (3, "public")]
        assert records.get(NAME, 1).built_by == ""
    assert not (repository / RECORDS_FILE).exists()


def test_a_record_that_cannot_be_written_does_not_cost_the_version(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Path(shutil.copytree(built, tmp_path / "repository"))

    def full(*_: object) -> None:
        raise OutputError("disk full")

    monkeypatch.setattr(Records, "add", full)
    report = build(repository, 4)
    assert (report.number, report.public) == (4, True)
    assert report.notes[-1] == (
        "the version is whole, its record lacks who built it and the timings: disk full"
    )
    monkeypatch.undo()
    with open_records(repository) as records:
        records.sync(NAME)
        assert summary(records)[-1] == (4, "public")
        assert records.events(NAME)[-1].what == "found"
        assert records.predecessor(NAME) == 3


_KILLED_WRITER = """
import os, sys
from pathlib import Path
from sightline.builders.records import open_records
with open_records(Path(sys.argv[1])) as records:
    with records._database.transaction(write=True) as run:
        run("DELETE FROM sightline_events")
        run("PRAGMA cache_spill = 1")
        os.kill(os.getpid(), 9)
"""


def test_a_killed_writer_loses_only_what_it_had_not_finished(repository: Path) -> None:
    with open_records(repository) as records:
        before = records.events()
    done = subprocess.run([sys.executable, "-c", _KILLED_WRITER, str(repository)], check=False, timeout=240)
    assert done.returncode == -9
    with open_records(repository) as records:
        assert records.events() == before


# ---------------------------------------------------------------- promote, rollback, remove


_STORIES = [
    ("", None, []),
    ("published 1, published 2", 2, [1, 2]),
    ("published 1, promoted 2, promoted 3, rolled back 2", 2, [1, 2]),
    ("published 1, promoted 2, promoted 3, rolled back 2, rolled back 1", 1, [1]),
    ("published 1, promoted 2, promoted 1, rolled back 2", 2, [1, 2]),
    ("published 1, failed 2, published 3", 3, [1, 3]),
    ("published 1, published 2", 1, [1]),  # a rollback that was killed before it told
    ("published 1, published 2", 3, [1, 2]),  # a promotion that was
    ("found 2, promoted 3", 3, [2, 3]),
    ("rolled back 2", 2, [2]),
]


def test_the_past_is_a_stack() -> None:
    for story, public, past in _STORIES:
        with about(story, public, past):
            events = [
                Event(NAME, int(words.split()[-1]), words.rpartition(" ")[0], "", "")
                for words in story.split(", ")
                if words
            ]
            assert _past(events, public) == past


def test_rollback_goes_back_step_by_step(repository: Path) -> None:
    with open_records(repository) as records:
        promote(records, NAME, 2)
        assert summary(records) == [(1, "retired"), (2, "public"), (3, "retired")]
        assert rollback(records, NAME)[0] == 3
        assert rollback(records, NAME)[0] == 1
        with pytest.raises(
            BuildError, match=r"version 1 is the first that was public. Choose one of 1, 2, 3"
        ):
            rollback(records, NAME)
        assert [(e.what, e.number, e.before) for e in records.events()][-3:] == [
            ("promoted", 2, 3), ("rolled back", 3, 2), ("rolled back", 1, 3),
        ]  # fmt: skip


def test_a_switch_that_nobody_noted_is_found(repository: Path) -> None:
    make_public(repository, NAME, 2)  # as a process does that is killed before it could tell
    with open_records(repository) as records:
        assert summary(records) == [(1, "retired"), (2, "public"), (3, "retired")]
        assert records.predecessor(NAME) == 3
        promote(records, NAME, 1)
        assert [e.what for e in records.events()][-2:] == ["found", "promoted"]
        assert rollback(records, NAME)[0] == 2


def test_promoting_what_is_public_changes_nothing(repository: Path) -> None:
    with open_records(repository) as records:
        before = records.events()
        assert promote(records, NAME, 3).before == 3
        assert records.events() == before


def test_a_version_that_is_damaged_or_not_there_is_not_promoted(repository: Path) -> None:
    check_whole(repository, NAME, 1)
    (repository / "toy_v1_decode" / "config.pbtxt").write_text("name: 'x'")
    (repository / "toy_v2_decode" / "1" / "model.py").unlink()
    with open_records(repository) as records:
        with pytest.raises(
            BuildError, match=r"version 1 of toy is damaged: toy_v1_decode/config.pbtxt is not what"
        ):
            promote(records, NAME, 1)
        with pytest.raises(BuildError, match=r"version 2 of toy is damaged: .*model.py: No such file"):
            promote(records, NAME, 2)
        with pytest.raises(BuildError, match=r"toy has no version 9 in .*; it has 1, 2, 3"):
            promote(records, NAME, 9)
        with pytest.raises(BuildError, match="no model 'nothing'"):
            rollback(records, "nothing")
        assert summary(records) == [(1, "retired"), (2, "built"), (3, "public")]


def test_two_switches_at_once_follow_one_another(repository: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = [1, 2, 3, 1, 2, 3]
        before = list(pool.map(lambda number: switch_version(repository, NAME, number).before, numbers))
    assert all(number in (1, 2, 3) for number in before)
    with open_records(repository) as records:
        assert sum(status == "public" for _, status in summary(records)) == 1


def test_removed_versions_keep_their_records_and_numbers(repository: Path) -> None:
    with open_records(repository) as records:
        promote(records, NAME, 1)
        size = records.get(NAME, 3).sizes["version"]
        assert remove(records, NAME, 3).size == size > 0
        assert summary(records) == [(1, "public"), (2, "built"), (3, "removed")]
        assert not list(repository.glob("toy_v3_*"))
        with pytest.raises(BuildError, match="version 1 of toy is public"):
            remove(records, NAME, 1)
        assert records.last_number(NAME) == 3
        with pytest.raises(BuildError, match=r"toy has no version 3 .*; it has 1, 2"):
            promote(records, NAME, 3)
    assert build(repository, 2).number == 4  # no number is used twice


def test_gc_never_takes_the_public_version_nor_the_one_before(repository: Path) -> None:
    with open_records(repository) as records:
        assert unneeded(records, NAME, 3) == []
        assert unneeded(records, NAME, 0) == [2]  # 3 is public, before it 1
        promote(records, NAME, 2)
        assert unneeded(records, NAME, 0) == [1]
        assert unneeded(records, NAME, 2) == [1]
        remove_version(repository, NAME, 3)  # the one before, by hand
        assert records.predecessor(NAME) == 1
        assert unneeded(records, NAME, 0) == []


def test_a_version_from_elsewhere_is_taken_in(repository: Path, tmp_path: Path) -> None:
    """A version whose build told another database, or none."""
    (repository / RECORDS_FILE).unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for stage in repository.glob("toy_v3_*"):
        shutil.copytree(stage, elsewhere / "new" / stage.name)
    install_version(elsewhere / "new", elsewhere, NAME, 3)
    with open_records(elsewhere) as records:
        assert summary(records) == [(3, "built")]
        promote(records, NAME, 3)
        assert summary(records) == [(3, "public")]
        assert [e.what for e in records.events()] == ["promoted"]
