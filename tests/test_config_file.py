# SPDX-License-Identifier: Apache-2.0
"""The cameras file: what it accepts, what its errors say, and changes that leave the rest as it was."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from pydantic import BaseModel

from sightline.clients.analytics.settings import (
    Ground,
    ObjectFilter,
    Privacy,
    ReIdentification,
    SecondStage,
    Tracking,
)
from sightline.clients.config.editing import WatchFileEditor, shown_url
from sightline.clients.config.reading import read_watch_file, watch_file_from_text
from sightline.clients.config.watch_file import AnnotatedStream, Camera, Page, WatchFile
from sightline.clients.events.settings import (
    FolderSink,
    JsonlSink,
    KafkaSink,
    MediaSettings,
    MqttSink,
    RedisPubSubSink,
    RedisStreamSink,
    SpoolSettings,
    SqlSink,
    WebhookSink,
)
from sightline.errors import ConfigError
from sightline.redact import redact

FILE = """\
# our yard
cameras:
  gate: rtsp://viewer:${GATE_PASSWORD}@10.0.0.7/1   # by the road
  yard:
    url: rtsp://admin:geheim99@10.0.0.8/1
    rate: 10   # enough
    rules:
      # nobody climbs it
      - {name: fence, kind: line, points: [[0.1, 0.6], [0.9, 0.6]], classes: [person]}
defaults: {deadline_seconds: 0.5}
sinks:
  - {kind: jsonl, path: events.jsonl}
"""
ZONE = {"name": "door", "kind": "zone", "points": [[0, 0], [1, 0], [0.123456, 1]]}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file above, in a folder of its own."""
    monkeypatch.setenv("GATE_PASSWORD", "offen4711")
    file = tmp_path / "cameras.yaml"
    file.write_text(FILE)
    return file


def test_a_file_is_read_with_defaults_variables_and_paths(path: Path) -> None:
    document = read_watch_file(path)
    gate, yard = document.cameras["gate"], document.cameras["yard"]
    assert gate.url == "rtsp://viewer:offen4711@10.0.0.7/1"
    assert (gate.deadline_seconds, yard.rate, yard.rules[0].name) == (0.5, 10, "fence")
    assert document.sinks[0].path == path.parent / "events.jsonl"  # type: ignore[union-attr]
    assert "offen4711" not in repr(document)
    assert "offen4711" not in redact("cannot open rtsp://viewer:offen4711@10.0.0.7/1")


def test_name_url_lines_are_a_cameras_file(path: Path) -> None:
    path.write_text("a: rtsp://h/1\nb: rtsp://h/2\n")
    assert list(read_watch_file(path).cameras) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cameras:\n  a: {url: x,\n    rats: 3}\n", r"line 3: cameras\.a\.rats: unknown field"),
        ("cameras:\n  a: {rate: 3}\n", r"line 2: cameras\.a\.url: missing"),
        ("cameras:\n  a:\n    url: x\n    rate: -1\n", r"line 4: cameras\.a\.rate is -1: .*greater than 0"),
        (
            "cameras:\n  a:\n    url: x\n    rules:\n      - {kind: zone, name: z, points: [[0, 0], [2, 0], [0, 1]]}\n",
            r"line 5: cameras\.a\.rules\.0\.points\.1\.0 is 2",
        ),
        (
            "cameras:\n  a:\n    url: x\n    rules: [{kind: speed, name: s, above_kmh: 9}]\n",
            r"rule 's' measures speed; the camera needs `ground`",
        ),
        ("cameras: {a: {url: x, rules: [{kind: zune, name: z}]}}", r"Input tag 'zune'"),
        ("cameras: {a: &a {url: x}, b: *a}", "aliases are not allowed"),
        ("cameras: [", "line 1 is not valid YAML"),
        ("- a", "must begin with `cameras:`"),
        ("cameras: {a: 'rtsp://u:${NO_SUCH_VARIABLE}@h/1'}", r"no such variable; export it"),
        ("cameras: {a: !!python/object:os.system {}}", "not valid YAML"),
        ("[" * 1500, r"nested too deeply|not valid YAML"),
        (
            "cameras: {a: x}\nsinks: [{kind: mqtt, url: m}, {kind: mqtt, url: n}]",
            "two sinks are called 'mqtt'",
        ),
        ("cameras: {a: x}\ndefaults: {url: y}", "defaults holds fields of cameras other than url"),
    ],
)
def test_errors_name_line_and_field(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        watch_file_from_text(text, Path("cameras.yaml"))


def test_errors_do_not_show_what_a_url_holds() -> None:
    text = "cameras:\n  a: {url: ['rtsp://u:lachs123@h/1']}\n"
    with pytest.raises(ConfigError) as error:
        watch_file_from_text(text, Path("cameras.yaml"))
    assert "lachs123" not in str(error.value)


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_watch_file(tmp_path / "no.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_watch_file(binary)
    with binary.open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(ConfigError, match="larger than"):
        read_watch_file(binary)


def test_rules_are_saved_and_the_rest_stays(path: Path) -> None:
    editor = WatchFileEditor(path)
    rule = editor.documents()["yard"]["rules"][0]
    document = editor.put_rules("yard", [rule, ZONE])
    assert [r.name for r in document.cameras["yard"].rules] == ["fence", "door"]
    text = path.read_text()
    untouched = [line for line in FILE.splitlines() if line]
    assert [line for line in text.splitlines() if line in untouched] == untouched
    assert "points: [[0, 0], [1, 0], [0.1235, 1]]" in text
    editor.put_rules("yard", [])
    assert "rules" not in editor.documents()["yard"]
    assert read_watch_file(path).cameras["yard"].rate == 10


def test_rules_of_a_camera_that_was_only_a_url(path: Path) -> None:
    document = WatchFileEditor(path).put_rules("gate", [ZONE])
    assert document.cameras["gate"].rules[0].name == "door"
    assert "${GATE_PASSWORD}" in path.read_text()
    assert "offen4711" not in path.read_text()


def test_passwords_do_not_leave_the_file_and_survive_changes(path: Path) -> None:
    editor = WatchFileEditor(path)
    shown = editor.documents()
    assert shown["yard"]["url"] == "rtsp://***@10.0.0.8/1"
    assert shown["gate"]["url"] == "rtsp://viewer:${GATE_PASSWORD}@10.0.0.7/1"
    document = editor.put_camera("yard", {"url": shown["yard"]["url"], "rate": 5})
    assert document.cameras["yard"].url == "rtsp://admin:geheim99@10.0.0.8/1"
    assert document.cameras["yard"].rate == 5
    assert [r.name for r in document.cameras["yard"].rules] == ["fence"]
    assert "# enough" in path.read_text()


def test_cameras_come_and_go(path: Path) -> None:
    editor = WatchFileEditor(path)
    editor.put_camera("new", {"url": "rtsp://h/9"})
    editor.put_camera("wide", {"url": "rtsp://h/8", "rate": 2})
    assert list(editor.remove_camera("gate").cameras) == ["yard", "new", "wide"]
    with pytest.raises(ConfigError, match="no camera 'gate'"):
        editor.remove_camera("gate")
    with pytest.raises(ConfigError, match="new and needs a url"):
        editor.put_camera("other", {"rate": 2})


def test_the_environment_cannot_be_read_through_a_new_camera(path: Path) -> None:
    before = path.read_text()
    with pytest.raises(ConfigError, match="can only be written in"):
        WatchFileEditor(path).put_camera("spy", {"url": "rtsp://evil/${GATE_PASSWORD}"})
    assert path.read_text() == before


@pytest.mark.parametrize(
    "document",
    [
        {"url": "rtsp://h/1", "model": "${GATE_PASSWORD}"},
        {"url": "rtsp://h/1", "privacy": {"classes": ["${GATE_PASSWORD}"]}},
        {"url": "rtsp://h/1", "rules": [ZONE | {"classes": ["${GATE_PASSWORD}"]}]},
    ],
)
def test_nor_through_any_other_field(path: Path, document: dict[str, object]) -> None:
    editor, before = WatchFileEditor(path), path.read_text()
    for name in ("spy", "yard"):
        with pytest.raises(ConfigError, match="can only be written in"):
            editor.put_camera(name, document)
    if "rules" in document:
        with pytest.raises(ConfigError, match="can only be written in"):
            editor.put_rules("yard", document["rules"])  # type: ignore[arg-type]
    assert path.read_text() == before


def test_privacy_goes_only_when_it_is_taken_away(path: Path) -> None:
    editor = WatchFileEditor(path)
    editor.put_camera("yard", {"privacy": {"classes": ["person"]}})
    assert editor.put_camera("yard", {"rate": 3}).cameras["yard"].privacy is not None
    assert editor.put_camera("yard", {"privacy": None}).cameras["yard"].privacy is None


def test_a_password_that_looks_like_a_number_is_not_shown() -> None:
    text = "cameras: {a: x}\npage: {users: {anna: 123456789}}\n"
    with pytest.raises(ConfigError, match=r"page\.users\.anna: ") as error:
        watch_file_from_text(text, Path("cameras.yaml"))
    assert "123456789" not in str(error.value)


def test_a_wrong_change_changes_nothing(path: Path) -> None:
    before = path.read_text()
    with pytest.raises(ConfigError, match="points"):
        WatchFileEditor(path).put_rules("yard", [{"name": "x", "kind": "zone", "points": [[0, 0]]}])
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ["cameras.yaml"]


def test_a_file_that_cannot_be_written_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = path.read_text()
    with pytest.raises(ConfigError, match="No space left on device"):
        WatchFileEditor(path).put_rules("yard", [])
    assert path.read_text() == before
    assert len(list(path.parent.iterdir())) == 1


def test_the_file_keeps_its_mode_and_its_link(path: Path) -> None:
    path.chmod(0o640)
    link = path.with_name("link.yaml")
    link.symlink_to(path)
    WatchFileEditor(link).put_rules("yard", [])
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://h/1", "rtsp://h/1"),
        ("rtsp://u:p@h/1", "rtsp://***@h/1"),
        ("rtsp://u:p/@x@h/1", "rtsp://***@h/1"),
        ("rtsp://u:${P}@h/1", "rtsp://u:${P}@h/1"),
        ("rtsp://${U}@h/1", "rtsp://${U}@h/1"),
        ("rtsp://u:x${P}@h/1", "rtsp://***@h/1"),
        ("http://h/1?token=abc", "http://h/1?***"),
        ("clip.mp4", "clip.mp4"),
    ],
)
def test_shown_urls(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_the_document_names_every_field_and_its_files_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parent.parent / "docs" / "cameras.md").read_text(encoding="utf-8")
    monkeypatch.setenv("GATE_PASSWORD", "offen4711")
    monkeypatch.setenv("HOOK_SECRET", "whsec_abcdefgh")
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        watch_file_from_text(block, Path("cameras.yaml"))
    models: list[type[BaseModel]] = [
        WatchFile, Camera, Page, AnnotatedStream, SpoolSettings, MediaSettings, ObjectFilter, Tracking, Ground, SecondStage,
        ReIdentification, Privacy, JsonlSink, FolderSink, SqlSink, RedisStreamSink, RedisPubSubSink, KafkaSink,
        MqttSink, WebhookSink,
    ]  # fmt: skip
    words = set(re.findall(r"\w+", text))
    missing = [f"{m.__name__}.{field}" for m in models for field in m.model_fields if field not in words]
    assert not missing
