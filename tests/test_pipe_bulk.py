# SPDX-License-Identifier: Apache-2.0
"""`sightline bulk`: one line an image, over kills, on a folder tree, on fsspec's memory store and on a local Ray."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import typer
from pycocotools.coco import COCO
from typer.testing import CliRunner

from sightline.clients.pipe import Plan
from sightline.clients.pipe.bulk import Bulk, BulkTally
from sightline.clients.pipe.bulk_shards import names_of
from sightline.clients.pipe.bulk_store import FolderStore, RemoteStore, images_below, store_at
from sightline.clients.pipe.bulk_work import BulkSettings
from sightline.clients.pipe.cli import QUARANTINED_STATUS, register_pipe
from sightline.deploy import LocalServer
from sightline.errors import BadInputError, OutputError
from tests.red_models import write_repository
from tests.test_pipe_folder import ATTEMPTS, Forker, box_of, first_box, image_of

COUNT = 120


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A real tritonserver with the detector of pure red."""
    repository = write_repository(tmp_path_factory.mktemp("red"))
    with LocalServer(repository, log_dir=tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    running = Forker(tmp_path_factory.mktemp("forker") / "log")
    yield running
    running.close()


def name_of(number: int) -> str:
    return f"{'abc'[number % 3]}/{number % 5}/{number:04d}.png"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for number in range(COUNT):
        path = root / name_of(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_of(number))
    (root / "a" / "bad.png").write_bytes(b"bad")
    (root / "a" / "note.txt").write_text("no image")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "link.png").symlink_to(root / name_of(0))
    os.mkfifo(root / "a" / "fifo.png")
    (root / os.fsdecode(b"\xff\n.png")).write_bytes(image_of(COUNT))
    return root


def settings_of(server: LocalServer, source: object, out: object, **more: Any) -> BulkSettings:
    values: dict[str, Any] = {"images_per_shard": 25, "in_flight": 8, **more}
    return BulkSettings(str(source), str(out), Plan(("red",)), server.grpc_address, **values)


def run(settings: BulkSettings) -> BulkTally:
    return Bulk(settings).run()


def lines_below(out: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted((out / "results").iterdir())
        for line in path.read_bytes().splitlines()
    ]


def check_all(lines: list[dict[str, Any]]) -> None:
    """Each image of `tree` once, with its own box."""
    found = {line["image"]: line for line in lines}
    assert len(found) == len(lines) == COUNT + 2
    for number in range(COUNT):
        assert first_box(found[name_of(number)]) == box_of(number)
    assert first_box(found["\\xff\n.png"]) == box_of(COUNT)
    assert "no JPEG" in found["a/bad.png"]["error"]


def test_a_tree_has_one_line_an_image(red: LocalServer, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told: list[int] = []
    tally = Bulk(settings_of(red, tree, out), progress=lambda t: told.append(t.done)).run()
    assert (tally.done, tally.poisoned, tally.before, tally.total) == (COUNT + 1, 1, 0, COUNT + 2)
    assert max(told) == COUNT + 1
    lines = lines_below(out)
    check_all(lines)
    assert [line.get("number", n) for n, line in enumerate(lines, 1)] == list(range(1, COUNT + 3))
    assert len(list((out / "results").iterdir())) == 5
    (poison,) = (out / "poison").iterdir()
    assert json.loads(poison.read_bytes())["image"] == "a/bad.png"
    again = run(settings_of(red, tree, out))
    assert (again.done, again.before, again.has_poison) == (0, COUNT + 2, True)
    with pytest.raises(BadInputError, match="its results is 'json', not 'coco'"):
        run(settings_of(red, tree, out, format="coco"))
    with pytest.raises(BadInputError, match="inside the images"):
        run(settings_of(red, tree, tree / "out"))


def test_killed_again_and_again_it_goes_on(
    red: LocalServer, forker: Forker, tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    rng = random.Random(2)
    command = ["bulk", tree, out, "--model", "red", "--server", red.grpc_address, "--shard", "12"]
    for _ in range(ATTEMPTS):
        shutil.rmtree(out, ignore_errors=True)
        for kill in range(2):
            process = forker.start(*command, "--in-flight", "4", "--quiet")
            until = time.monotonic() + 240
            while len(list((out / "results").glob("*.jsonl"))) <= 2 * kill and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.05)
            forker.kill(process)
        before = len(lines_below(out))
        if before < COUNT:
            break
    tally = run(settings_of(red, tree, out, images_per_shard=12))
    assert COUNT > tally.before == before > 0
    check_all(lines_below(out))


def test_listing_goes_on_behind_the_last_list(tree: Path) -> None:
    store = FolderStore(tree)
    names = list(images_below(store))
    assert names == sorted(names)
    assert len(names) == COUNT + 2
    for position in (0, 1, 60, 100, len(names) - 1):
        assert list(images_below(store, names[position])) == names[position + 1 :]


def test_object_storage_through_fsspec(red: LocalServer, tree: Path) -> None:
    """fsspec's memory store has what s3 has too: whole objects, folders that are only prefixes."""
    memory = fsspec.filesystem("memory")
    for number in range(40):
        memory.pipe_file(f"/pictures/{name_of(number)}", image_of(number))
    memory.pipe_file("/pictures/a/bad.png", b"bad")
    tally = run(settings_of(red, "memory://pictures", "memory://out", images_per_shard=15))
    assert (tally.done, tally.poisoned) == (40, 1)
    names = sorted(RemoteStore("memory://out").names(("results",)))
    assert names == [f"{n:08d}.jsonl" for n in range(3)]
    lines = [json.loads(line) for n in names for line in memory.cat_file(f"/out/results/{n}").splitlines()]
    found = {line["image"]: line for line in lines}
    assert len(found) == len(lines) == 41
    assert all(first_box(found[name_of(number)]) == box_of(number) for number in range(40))
    assert len(names_of(store_at("memory://out"), 0)) == 15
    memory.rm("/out/results/00000001.jsonl")
    assert run(settings_of(red, "memory://pictures", "memory://out", images_per_shard=15)).before == 26
    assert memory.exists("/out/results/00000001.jsonl")
    memory.rm("/pictures", recursive=True)
    memory.rm("/out", recursive=True)


def test_a_store_that_fails_stops_the_run_and_makes_no_poison(
    red: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(4):
        memory.pipe_file(f"/failing/{number}.png", image_of(number))
    monkeypatch.setattr("sightline.clients.pipe.bulk_store.FIRST_PAUSE_SECONDS", 0.001)

    def failing(*_: object, **__: object) -> bytes:
        raise ConnectionResetError("the store hung up")

    settings = settings_of(red, "memory://failing", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "cat_file", failing)
        with pytest.raises(OutputError, match=r"failed 6 times.*run the same command again"):
            run(settings)
    tally = run(settings)
    assert (tally.done, tally.poisoned) == (4, 0)
    memory.rm("/failing", recursive=True)


def test_ray_works_on_shards(
    red: LocalServer, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real Ray on this machine; on several the same tasks run wherever there is a core."""
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        tally = run(settings_of(red, tree, tmp_path / "out", images_per_shard=60, ray="local"))
        assert ray.is_initialized()
    finally:
        ray.shutdown()
    assert (tally.done, tally.poisoned) == (COUNT + 1, 1)
    check_all(lines_below(tmp_path / "out"))


def test_the_command_and_its_coco_lines(red: LocalServer, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.png").write_bytes(image_of(4))
    app = typer.Typer()
    register_pipe(app)
    command = [
        "bulk",
        str(source),
        str(out),
        "--model",
        "red",
        "--server",
        red.grpc_address,
        "--format",
        "coco",
    ]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, "1 done" in result.stderr) == (0, True), result.output
    (line,) = lines_below(out)
    assert (line["image"], line["image_id"], line["width"], line["height"]) == ("a.png", 1, 160, 64)
    coco = COCO()
    coco.dataset = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 2, "name": "red"}]}
    coco.createIndex()
    (annotation,) = coco.loadRes(line["results"]).dataset["annotations"]
    x, y, width, height = annotation["bbox"]
    assert [x, y, x + width, y + height] == box_of(4)
    (source / "b.png").write_bytes(b"bad")
    other = [*command[:2], str(tmp_path / "other"), *command[3:]]
    assert CliRunner().invoke(app, other).exit_code == QUARANTINED_STATUS
    with pytest.raises(BadInputError, match=r"1\.\.1000000"):
        settings_of(red, source, out, images_per_shard=0)
    with pytest.raises(BadInputError, match="is not there"):
        run(settings_of(red, tmp_path / "absent", out))
