# SPDX-License-Identifier: Apache-2.0
"""`sightline pipe` from folder to folder against a real server: torn writes, kill -9, poison, outages."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from sightline.clients.pipe import Pipe, PipeSettings, Plan, Tally, address_from, folder_source
from sightline.clients.pipe.cli import INTERRUPTED_STATUS, QUARANTINED_STATUS, register_pipe
from sightline.clients.pipe.files import STATE_FOLDER
from sightline.deploy import LocalServer
from sightline.errors import BadInputError, ModelNotFoundError, OutputError
from tests.red_models import encoded, write_repository
from tests.test_pipe_parts import check_opex

TORN_WRITES = int(os.environ.get("SIGHTLINE_TORN_WRITES", "64"))
KILLS = 2
ATTEMPTS = 10  # a command may come to its end before this process, which may be slow, stops it
FORKER = """
import json, os, sys
import tritonclient.grpc, typer
from PIL import Image
import redis, sightline.clients.pipe.bulk, sightline.clients.pipe.pipe, sightline.clients.pipe.progress
from sightline.clients.pipe.cli import register_pipe

app = typer.Typer()
register_pipe(app)
for line in sys.stdin:
    order = json.loads(line)
    if isinstance(order, int):
        print(os.waitstatus_to_exitcode(os.waitpid(order, 0)[1]), flush=True)
        continue
    child = os.fork()
    if child == 0:
        log = os.open(order[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            app(order[1:])
        except SystemExit as end:
            os._exit(end.code)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    print(child, flush=True)
"""


class Forker:
    """Starts commands in processes of their own without importing everything anew for each."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _order(self, order: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, *arguments: object) -> int:
        """Process id of a new `pipe` or `bulk`."""
        return self._order([str(self.log), *map(str, arguments)])

    def wait(self, process: int) -> int:
        """Its exit status, minus the signal's number where one ended it."""
        return self._order(process)

    def kill(self, process: int) -> None:
        """kill -9, and wait for the end."""
        os.kill(process, signal.SIGKILL)
        self.wait(process)

    def close(self) -> None:
        """End the helper."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(120)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    running = Forker(tmp_path_factory.mktemp("forker") / "log")
    yield running
    running.close()


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A real tritonserver with the detector of pure red."""
    repository = write_repository(tmp_path_factory.mktemp("red"))
    with LocalServer(repository, log_dir=tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "out"


def box_of(number: int) -> list[int]:
    """Where the red rectangle of image `number` is: different for each of many thousands."""
    x, y = 2 * (number % 50), 2 * (number // 50 % 25)
    return [x, y, x + 8 + number // 1250, y + 8]


def image_of(number: int, kind: str = "PNG") -> bytes:
    pixels = np.full((64, 160, 3), 90, np.uint8)
    x1, y1, x2, y2 = box_of(number)
    pixels[y1:y2, x1:x2] = (255, 0, 0)
    return encoded(pixels, kind)


def settings_of(server: LocalServer, source: Path, out: Path, **more: Any) -> PipeSettings:
    values: dict[str, Any] = {
        "once": True,
        "settle_seconds": 0.05,
        "watch_seconds": 0.05,
        "doubt_seconds": 1.0,
        "in_flight": 8,
        **more,
    }
    return PipeSettings(
        address_from(str(source)),
        address_from(str(out)),
        values.pop("plan", Plan(("red",))),
        server.grpc_address,
        **values,
    )


def run(settings: PipeSettings) -> tuple[Tally, list[str]]:
    lines: list[str] = []
    tally = Pipe(settings, lines.append).run()
    return tally, lines


def results(out: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_bytes()) for path in out.glob("*.json")}


def first_box(result: dict[str, Any]) -> list[float]:
    box: list[float] = result["answers"][0]["detections"][0]["box"]
    return box


def wait_until(happened: Callable[[], bool], seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def test_a_folder_is_answered_and_its_images_lie_beside_the_results(
    red: LocalServer, folders: tuple[Path, Path]
) -> None:
    source, out = folders
    for number, name in enumerate(("a.png", "a.jpg", "B.WEBP")):
        kind = {"png": "PNG", "jpg": "PNG", "webp": "WEBP"}[name.rpartition(".")[2].lower()]
        (source / name).write_bytes(image_of(number, kind))
    (source / "notes.txt").write_text("no image")
    (source / "upload.jpg.part").write_bytes(b"\xff\xd8")
    tally, lines = run(settings_of(red, source, out))
    assert (tally.done, tally.quarantined, tally.is_interrupted) == (3, 0, False)
    assert lines == []
    assert sorted(p.name for p in source.iterdir()) == ["notes.txt", "upload.jpg.part"]
    assert sorted(p.name for p in out.iterdir() if p.name not in (STATE_FOLDER, "quarantine")) == [
        "B.WEBP",
        "B.WEBP.json",
        "a.jpg",
        "a.jpg.json",
        "a.png",
        "a.png.json",
    ]
    found = results(out)
    assert first_box(found["a.png.json"]) == box_of(0)
    assert first_box(found["a.jpg.json"]) == box_of(1)
    one = found["B.WEBP.json"]
    assert (one["image"], one["width"], one["height"], one["format"]) == ("B.WEBP", 160, 64, "sightline-1")
    assert len({value["number"] for value in found.values()}) == 3


def test_a_second_image_of_a_name_has_its_own_result(red: LocalServer, folders: tuple[Path, Path]) -> None:
    source, out = folders
    for number in (1, 2, 3):
        (source / "snapshot.png").write_bytes(image_of(number))
        assert run(settings_of(red, source, out))[0].done == 1
    found = results(out)
    names = ["snapshot.png.json", "snapshot-2.png.json", "snapshot-3.png.json"]
    assert [first_box(found[name]) for name in names] == [box_of(n) for n in (1, 2, 3)]
    assert (out / "snapshot-3.png").read_bytes() == image_of(3)


def test_names_of_any_kind(red: LocalServer, folders: tuple[Path, Path]) -> None:
    source, out = folders
    names = [
        b"-rf.png",
        b"new\nline.png",
        b"\xff\xfe.png",
        b"x" * 251 + b".png",
        "höhe ☂.png".encode(),
        b"%s{}'\".png",
    ]
    for number, name in enumerate(names):
        with open(os.fsencode(source) + b"/" + name, "wb") as file:
            file.write(image_of(number))
    assert run(settings_of(red, source, out))[0].done == len(names)
    assert os.listdir(source) == []
    boxes = sorted(first_box(value) for value in results(out).values())
    assert boxes == sorted(box_of(number) for number in range(len(names)))


def test_poison_is_put_aside_with_its_reason(red: LocalServer, folders: tuple[Path, Path]) -> None:
    source, out = folders
    bomb = bytearray(image_of(0))
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    damaged = bytearray(image_of(1))
    damaged[45:60] = bytes(15)
    for name, data in {
        "text.png": b"hello",
        "bomb.png": bytes(bomb),
        "damaged.png": bytes(damaged),
        "half.png": image_of(2)[:-20],
        "empty.jpg": b"",
        "good.png": image_of(3),
    }.items():
        (source / name).write_bytes(data)
    tally, lines = run(settings_of(red, source, out))
    assert (tally.done, tally.quarantined) == (1, 5)
    assert os.listdir(source) == []
    quarantine = out / "quarantine"
    reasons = {p.name: json.loads(p.read_bytes()) for p in quarantine.glob("*.reason.json")}
    assert {name.removesuffix(".reason.json") for name in reasons} == {
        "text.png",
        "bomb.png",
        "damaged.png",
        "half.png",
        "empty.jpg",
    }
    assert "no JPEG, PNG or WebP" in reasons["text.png.reason.json"]["error"]
    assert "at most 50000000" in reasons["bomb.png.reason.json"]["error"]
    assert "ends in the middle" in reasons["half.png.reason.json"]["error"]
    assert all(value["kind"] == "BadInputError" for value in reasons.values())
    assert (quarantine / "half.png").read_bytes() == image_of(2)[:-20]
    assert len(lines) == 5


def test_kept_inputs_are_asked_once_and_again_when_they_change(
    red: LocalServer, folders: tuple[Path, Path]
) -> None:
    source, out = folders
    for number in range(3):
        (source / f"{number}.png").write_bytes(image_of(number))
    (source / "bad.png").write_bytes(b"bad")
    kept = settings_of(red, source, out, then="keep")
    assert run(kept)[0].done == 3
    assert run(kept)[0].done == 0
    (source / "1.png").write_bytes(image_of(9))
    assert run(kept)[0].done == 1
    assert sorted(p.name for p in source.iterdir()) == ["0.png", "1.png", "2.png", "bad.png"]
    assert first_box(results(out)["1-2.png.json"]) == box_of(9)
    assert (out / "quarantine" / "bad.png").read_bytes() == b"bad"
    with pytest.raises(BadInputError, match="holds what a pipe of red> as json has begun"):
        run(replace(kept, format="coco"))
    (out / "1-2.png.json").unlink()
    assert (
        run(replace(kept, then="delete"))[0].done == 0
    )  # it is not asked again; whoever took the result has it


def test_deleted_inputs_and_a_place_for_the_done(red: LocalServer, folders: tuple[Path, Path]) -> None:
    source, out = folders
    (source / "a.png").write_bytes(image_of(1))
    run(settings_of(red, source, out, then="delete"))
    assert (os.listdir(source), (out / "a.png").exists(), (out / "a.png.json").exists()) == ([], False, True)
    (source / "b.png").write_bytes(image_of(1))
    done, bad = out.parent / "done", out.parent / "bad"
    (source / "c.png").write_bytes(b"bad")
    run(settings_of(red, source, out, done=done, quarantine=bad))
    assert (done / "b.png").exists()
    assert (out / "b.png.json").exists()
    assert (bad / "c.png.reason.json").exists()


def test_coco_and_opex(red: LocalServer, folders: tuple[Path, Path]) -> None:
    source, out = folders
    for number in range(4):
        (source / f"{number}.png").write_bytes(image_of(number))
    everything = out / "all.json"
    settings = settings_of(red, source, out, format="coco", coco_all=everything, done=out.parent / "done")
    assert run(settings)[0].done == 4
    (source / "9.png").write_bytes(image_of(9))
    assert run(settings)[0].done == 1
    coco = COCO(str(everything))
    assert sorted(image["file_name"] for image in coco.dataset["images"]) == [
        f"{n}.png" for n in (0, 1, 2, 3, 9)
    ]
    for image in coco.dataset["images"]:
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        x, y, width, height = annotation["bbox"]
        assert [x, y, x + width, y + height] == box_of(int(image["file_name"][0]))
        assert coco.loadCats([annotation["category_id"]])[0]["name"] == "red"
        single = json.loads((out / f"{image['file_name']}.json").read_bytes())
        assert [one["image_id"] for one in single] == [image["id"]]
        assert len(coco.loadRes(single).getAnnIds()) == 1
    (source / "o.png").write_bytes(image_of(5))
    opex = out.parent / "opex"
    run(settings_of(red, source, opex, format="opex"))
    value = json.loads((opex / "o.png.json").read_bytes())
    check_opex(value)
    left, top, right, bottom = box_of(5)
    assert value["objects"][0]["bbox"] == {"left": left, "top": top, "right": right, "bottom": bottom}


def test_chained_and_fanned_out_models(red: LocalServer, server: Any, folders: tuple[Path, Path]) -> None:
    """The crop of a red rectangle is red altogether, so that the second model's box is the first one's."""
    source, out = folders
    (source / "a.png").write_bytes(image_of(7))
    (source / "none.png").write_bytes(encoded(np.full((30, 40, 3), 90, np.uint8)))
    plan = Plan(("red", "red_frames_of_files"), ("red", "red"))
    with pytest.raises(ModelNotFoundError):
        run(settings_of(red, source, out, plan=plan))
    run(settings_of(red, source, out, plan=Plan(("red",), ("red", "red"))))
    answer = results(out)["a.png.json"]["answers"][0]
    for _ in range(3):
        (found,) = answer["detections"]
        assert found["box"] == box_of(7)
        answer = found.get("next", {"detections": []})
    assert results(out)["none.png.json"]["answers"][0]["detections"] == []
    for labels, is_asked in (("other,red", True), ("other", False)):
        (source / f"{is_asked}.png").write_bytes(image_of(7))
        only = out.parent / f"only-{is_asked}"
        run(settings_of(red, source, only, plan=Plan(("red",), (f"red:{labels}",))))
        (found,) = results(only)[f"{is_asked}.png.json"]["answers"][0]["detections"]
        assert ("next" in found) is is_asked
    (source / "b.png").write_bytes(image_of(7))
    street = out.parent / "street"
    run(settings_of(server, source, street, plan=Plan(("street_detect",), ("street_detect",))))
    (value,) = results(street).values()
    assert value["answers"][0]["version"] == 1


def torn_writer(source: Path, count: int, failures: list[BaseException]) -> set[int]:
    """Writes in every way that a poller gets wrong. Numbers of the images that are whole in the end."""
    rng = random.Random(5)
    whole: set[int] = set()
    slow: list[tuple[Path, bytes, int, Any]] = []
    try:
        for number in range(count):
            data, path = image_of(number), source / f"{number:05d}.png"
            match number % 8:
                case 0 | 1:  # slow: cut at any byte, the rest comes later, the file stays open
                    cut = rng.randrange(1, len(data))
                    file = open(path, "wb", buffering=0)  # noqa: SIM115
                    file.write(data[:cut])
                    slow.append((path, data, cut, file))
                    whole.add(number)
                case 2:  # slow: closed in between
                    cut = rng.randrange(1, len(data))
                    path.write_bytes(data[:cut])
                    slow.append((path, data, cut, None))
                    whole.add(number)
                case 3:
                    part = source / f".{number}.part"
                    part.write_bytes(data)
                    part.rename(path)
                    whole.add(number)
                case 4:  # a decoy of the same name first, then renamed over
                    part = source / f"{number}.part"
                    part.write_bytes(data)
                    path.write_bytes(data[: len(data) // 2])
                    part.replace(path)
                    whole.add(number)
                case 5:
                    path.symlink_to(source / "00000.png")
                case 6:
                    os.mkfifo(path)
                case 7:  # the writer dies
                    path.write_bytes(data[: rng.randrange(1, len(data))])
            while len(slow) > 12 or (slow and number == count - 1):
                finish, data, cut, file = slow.pop(rng.randrange(len(slow)))
                time.sleep(0.004)
                with file or open(finish, "ab") as rest:
                    rest.write(data[cut:])
    except BaseException as error:
        failures.append(error)
    return whole


def test_torn_writes(red: LocalServer, folders: tuple[Path, Path]) -> None:
    """None is read half, none twice, none is missing; links and pipes stay."""
    source, out = folders
    failures: list[BaseException] = []
    whole: set[int] = set()
    pipe = Pipe(settings_of(red, source, out, once=False, doubt_seconds=3600.0))
    writer = threading.Thread(target=lambda: whole.update(torn_writer(source, TORN_WRITES, failures)))
    runner = threading.Thread(target=pipe.run)
    writer.start()
    runner.start()
    writer.join()
    halves = sum(number % 8 == 7 for number in range(TORN_WRITES))
    wait_until(lambda: pipe.tally.done >= len(whole))
    assert isinstance(pipe._source, folder_source.FolderSource)
    # not while the writer, which may be slow, is at work
    pipe._source._settling = replace(pipe._source._settling, doubt_seconds=1.0)
    wait_until(lambda: pipe.tally.done >= len(whole) and pipe.tally.quarantined >= halves)
    pipe.stop()
    runner.join(120)
    assert failures == []
    assert (pipe.tally.done, pipe.tally.quarantined) == (len(whole), halves)
    found = results(out)
    assert {int(name[:5]) for name in found} == whole
    assert len(found) == len(whole)
    for name, value in found.items():
        assert first_box(value) == box_of(int(name[:5])), name
    assert {int(p.name[:5]) % 8 for p in (out / "quarantine").glob("*.reason.json")} == {7}
    assert {int(p.name[:5]) % 8 for p in source.glob("0*")} == {5, 6}


def command(server: LocalServer, source: Path, out: Path) -> list[object]:
    options = ["--model", "red", "--server", server.grpc_address, "--settle", "0.05", "--watch", "0.05"]
    return ["pipe", source, out, *options, "--once", "--in-flight", "8"]


def test_kill_nine_leaves_each_image_with_one_result(
    red: LocalServer, forker: Forker, folders: tuple[Path, Path]
) -> None:
    """Somebody takes the results away meanwhile, so that only the journal knows what there was."""
    source, out = folders
    count = 25 * KILLS
    rng = random.Random(8)
    taken: list[str] = []

    def take() -> None:
        for path in out.glob("*.json") if out.exists() else ():
            value = json.loads(path.read_bytes())
            assert first_box(value) == box_of(int(value["image"].split(".")[0]))
            taken.append(path.name)
            path.unlink()

    for _ in range(ATTEMPTS):
        shutil.rmtree(out, ignore_errors=True)
        taken.clear()
        for number in range(count):
            (source / f"{number}.png").write_bytes(image_of(number))
        for _ in range(KILLS):
            process = forker.start(*command(red, source, out))
            wanted = len(taken) + rng.randrange(1, 25)
            until = time.monotonic() + 240
            while len(taken) < wanted and os.listdir(source) and time.monotonic() < until:
                take()
            forker.kill(process)
        if os.listdir(source):
            break
    assert os.listdir(source), "all was done before the last kill"
    assert forker.wait(forker.start(*command(red, source, out))) == 0, forker.log.read_text()
    take()
    assert sorted(taken) == sorted(f"{number}.png.json" for number in range(count))
    assert os.listdir(source) == []
    assert sum(1 for _ in out.glob("*.png")) == count
    assert os.listdir(out / STATE_FOLDER) == ["journal.sqlite"]


def test_a_server_that_is_away_is_waited_for_and_nothing_is_poison(
    red: LocalServer, folders: tuple[Path, Path]
) -> None:
    source, out = folders
    lines: list[str] = []
    for number in range(150):
        (source / f"{number}.png").write_bytes(image_of(number))
    killed: list[int] = []

    def kill_once(tally: Tally) -> None:
        """On the pipe's own thread, so that it cannot be done with all images first."""
        if tally.done > 5 and not killed:
            assert red.pid is not None
            killed.append(red.pid)
            os.kill(killed[0], signal.SIGKILL)  # its supervisor starts another one on the same port

    pipe = Pipe(settings_of(red, source, out, once=False), lines.append, kill_once)
    runner = threading.Thread(target=pipe.run)
    runner.start()
    wait_until(lambda: any("waiting for it" in line for line in lines))
    wait_until(lambda: pipe.tally.done == 150)
    pipe.stop()
    runner.join(120)
    assert pipe.tally.quarantined == 0
    assert len(results(out)) == 150
    assert any("answers again" in line for line in lines)
    wait_until(lambda: red.state == "ready" and red.pid not in (None, *killed))


def test_two_pipes_do_not_share_a_folder(red: LocalServer, folders: tuple[Path, Path]) -> None:
    source, out = folders
    pipe = Pipe(settings_of(red, source, out, once=False))
    runner = threading.Thread(target=pipe.run)
    runner.start()
    (source / "a.png").write_bytes(image_of(1))
    wait_until(lambda: pipe.tally.done == 1)
    with pytest.raises(OutputError, match="another pipe works on"):
        run(settings_of(red, source, out))
    with pytest.raises(OutputError, match="another pipe works on images of folder"):
        run(settings_of(red, source, out.parent / "other"))
    pipe.stop()
    runner.join(120)
    assert pipe.tally.is_interrupted
    assert run(settings_of(red, source, out))[0].done == 0


def test_a_signal_ends_it_with_a_summary(
    red: LocalServer, forker: Forker, folders: tuple[Path, Path]
) -> None:
    source, out = folders
    for _ in range(ATTEMPTS):
        shutil.rmtree(out, ignore_errors=True)
        for number in range(200):
            (source / f"{number}.png").write_bytes(image_of(number))
        process = forker.start(*command(red, source, out))
        wait_until(lambda: out.exists() and any(out.glob("*.json")))
        os.kill(process, signal.SIGINT)
        status = forker.wait(process)
        if os.listdir(source):
            break
    assert status == INTERRUPTED_STATUS
    done = len(results(out))
    assert f"{done} done" in forker.log.read_text().splitlines()[-1]
    assert 0 < done < 200
    assert len(os.listdir(source)) == 200 - done


def test_the_command_tells_by_its_status(red: LocalServer, folders: tuple[Path, Path]) -> None:
    source, out = folders
    app = typer.Typer()
    register_pipe(app)
    (source / "a.png").write_bytes(image_of(1))
    common = ["pipe", str(source), str(out), "--server", red.grpc_address, "--once", "--settle", "0.05"]
    good = CliRunner().invoke(app, [*common, "--model", "red"])
    assert (good.exit_code, "1 done" in good.stderr) == (0, True), good.output
    (source / "b.png").write_bytes(b"bad")
    os.symlink("a.png", source / "link.png")
    bad = CliRunner().invoke(app, [*common, "--model", "red"])
    assert bad.exit_code == QUARANTINED_STATUS
    assert "1 quarantined" in bad.stderr
    assert "1 names are no plain files" in bad.stderr
    assert isinstance(CliRunner().invoke(app, [*common, "--model", "none"]).exception, ModelNotFoundError)
    assert CliRunner().invoke(app, [*common, "--protocol", "smtp"]).exit_code == 2


def test_pictures_of_the_street(server: Any, folders: tuple[Path, Path]) -> None:
    from sightline.scenes import Scene

    source, out = folders
    Image.fromarray(Scene(seed=5).frame(1.0)[0]).save(source / "street.jpg")
    settings = settings_of(server, source, out, plan=Plan(("street_detect",)), score=0.5)
    assert run(settings)[0].done == 1
    (answer,) = results(out)["street.jpg.json"]["answers"]
    assert answer["detections"]
    assert all(one["score"] >= 0.5 for one in answer["detections"])


def test_to_another_file_system_the_image_goes_when_its_copy_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, rename = tmp_path / "a.png", tmp_path / "done" / "a.png", os.rename
    (target.parent / STATE_FOLDER).mkdir(parents=True)
    source.write_bytes(b"image")

    def other_disk(old: bytes, new: bytes) -> None:
        if old == os.fsencode(source):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(old, new)

    def power_cut(folder: bytes) -> None:
        assert folder == os.fsencode(target.parent)
        raise OutputError("cut")

    monkeypatch.setattr(os, "rename", other_disk)
    with monkeypatch.context() as patch:
        patch.setattr(folder_source, "sync_folder", power_cut)
        with pytest.raises(OutputError, match="cut"):
            folder_source._move(os.fsencode(source), os.fsencode(target))
    assert source.exists()
    folder_source._move(os.fsencode(source), os.fsencode(target))
    assert (source.exists(), target.read_bytes()) == (False, b"image")
