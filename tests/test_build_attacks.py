# SPDX-License-Identifier: Apache-2.0
"""`sightline build` under a hostile or unlucky user: stopped at any moment, no room, two at once, garbage, odd labels.

Every build is the real command in a process of its own; the processes are forked from one that has the imports behind it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from sightline.builders import card_from_onnx, repository_from_card, sources
from sightline.builders.build import Progress
from sightline.builders.repository import versions
from sightline.cli import app
from sightline.clients import Client
from sightline.deploy import LocalServer
from sightline.deploy.local.run_id import run_id_of_region
from sightline.deploy.local.supervisor import RestartPolicy
from sightline.errors import SightlineError
from tests import build_attacks
from tests.onnx_models import bright_rectangle, planted, write_pictures

INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL
BOX = (64, 48, 192, 160)


@dataclass(frozen=True)
class Done:
    """One run of the command. answered_seconds: from the signal to the end. pid: of its process.

    missed: the signal came later than asked for, as this process was starved, or the build was at its last step before.
    """

    status: int
    output: str
    pid: int
    answered_seconds: float
    missed: bool = False

    @property
    def error(self) -> str:
        """The text after "error: "; fails where there is a traceback or another word of failure."""
        assert "Traceback" not in self.output, self.output
        assert self.output.count("error: ") == 1, self.output
        return self.output.partition("error: ")[2].strip()


class Attacker:
    """Runs the command in forks of a process whose runtime folder is its own."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self._environment = {**os.environ, "SIGHTLINE_RUNTIME_DIR": str(runtime), "OMP_NUM_THREADS": "1"}
        root = str(Path(__file__).resolve().parents[1])
        self._environment["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, str(build_attacks.script())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment,
        )  # fmt: skip

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()
        self._process.wait(timeout=60)

    def build(
        self,
        folder: Path,
        *arguments: str,
        at: str = "",
        delay_seconds: float = 0.0,
        number: int = 0,
        **order: Any,
    ) -> Done:
        """at: the mark at which the signal `number` is sent to the whole group, as a terminal does."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"arguments": arguments, "folder": str(folder), **order}) + "\n")
        self._process.stdin.flush()
        pid, sent, killed, published, late = 0, 0.0, 0.0, math.inf, 0.0
        for line in self._process.stdout:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "pid":
                pid = int(rest)
            if kind == "mark" and rest.endswith(" publish"):
                published = float(rest.partition(" ")[0])
            if kind == "mark" and at and not sent and rest.partition(" ")[2].startswith(at):
                assert pid, "group 0 is our own"
                time.sleep(delay_seconds)
                sent = time.monotonic()
                with contextlib.suppress(ProcessLookupError):  # it was faster
                    os.killpg(pid, number)
                killed = time.monotonic()
                late = killed - float(rest.partition(" ")[0]) - delay_seconds
            elif kind == "end":
                status, output = json.loads(rest)
                assert sent or not at, f"the build never came to '{at}': {output}"
                missed = late > _IN_TIME_SECONDS or published < killed
                return Done(status, output, pid, time.monotonic() - sent, missed)
        raise AssertionError("the process that forks has ended")

    def processes(self) -> list[str]:
        """Everything that builds have started and that still runs: children inherit the environment."""
        wanted = f"SIGHTLINE_RUNTIME_DIR={self.runtime}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self._process.pid:
                continue
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
            except OSError:
                continue
        return found


def regions(pid: int) -> list[str]:
    """Shared memory of the server of a build."""
    names = (path.name for path in Path("/dev/shm").glob("sightline_server_*"))
    return [name for name in names if (run := run_id_of_region(name)) and run.pid == pid]


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files below the folder; the records, which a build may touch without changing them, left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "records.db" not in path.name
    }


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    runtime = tmp_path_factory.mktemp("runtime")
    runtime.chmod(0o700)
    running = Attacker(runtime)
    yield running
    running.close()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, attacker: Attacker) -> Path:
    """A folder with toy.onnx, and a repository with its first version."""
    folder = tmp_path_factory.mktemp("work")
    planted(folder / "toy.onnx", classes=3, class_id=1)
    write_pictures(folder / "few", BOX)
    done = attacker.build(folder, *UNPROVEN)
    assert done.status == 0, done.output
    return folder


BUILD = ("toy.onnx", "--repository", "repository")
PROVEN, UNPROVEN = (*BUILD, "--images", "few"), (*BUILD, "--no-proof")

# ---------------------------------------------------------------- stopped

_MOMENTS = [
    ("check", 0.0, INT), ("convert", 0.02, TERM), ("engine", 0.1, KILL), ("write", 0.01, TERM), ("prove: start", 0.0, INT),
    ("prove: start", 0.3, TERM), ("prove: start", 0.5, KILL), ("prove: pictures", 0.0, INT), ("publish", 0.0, INT),
    ("publish", 0.002, TERM), ("publish", 0.004, KILL), ("publish", 0.01, KILL),
]  # fmt: skip
_ENDED_SECONDS = 120.0  # against a hang only
_IN_TIME_SECONDS = 0.1
ATTEMPTS = 10  # a moment that was missed, since this process may be slow, is waited for again


@pytest.mark.parametrize(("at", "delay_seconds", "number"), _MOMENTS)
def test_a_build_stopped_at_any_moment_leaves_whole_versions_and_nothing_else(
    attacker: Attacker, work: Path, at: str, delay_seconds: float, number: int
) -> None:
    repository = work / "repository"
    arguments = UNPROVEN if at == "publish" else PROVEN
    for _ in range(ATTEMPTS):
        before, known = snapshot(repository), versions(repository, "toy")
        done = attacker.build(work, *arguments, at=at, delay_seconds=delay_seconds, number=number)
        if at == "publish" or not done.missed:
            break
        _wait_for_nothing(attacker)
    assert at == "publish" or not done.missed
    after = versions(repository, "toy")
    assert len(after) - len(known) in ((0, 1) if at == "publish" else (0,))
    assert [version.number for version in after if version.public] != []
    for version in after:
        assert all((repository / file).is_file() for file in version.manifest["files"])
    if at != "publish":
        assert snapshot(repository) == before
    if number == KILL:
        _wait_for_nothing(attacker)
        return
    if done.status:
        assert done.status == 128 + number
        assert done.error.startswith("stopped by")
        published = "nothing was published" not in done.error
        assert published == (len(after) > len(known))
    _wait_for_nothing(attacker)
    assert regions(done.pid) == []
    assert sorted(path.name for path in work.iterdir() if path.name.startswith(".")) == _stale(work)
    assert list(attacker.runtime.glob("*")) == _dead_runs(attacker)


def _wait_for_nothing(attacker: Attacker) -> None:
    deadline = time.monotonic() + _ENDED_SECONDS
    while attacker.processes():
        assert time.monotonic() < deadline, attacker.processes()
        time.sleep(0.05)


def _stale(work: Path) -> list[str]:
    """Staging folders of builds that were killed: of processes that are gone."""
    return sorted(
        path.name
        for path in work.glob(".sightline-build-*")
        if not Path("/proc", path.name.split("-")[2]).exists()
    )


def _dead_runs(attacker: Attacker) -> list[Path]:
    return [path for path in attacker.runtime.glob("run-*") if "_" in path.name]


@pytest.mark.parametrize(
    ("source", "at", "delay_seconds", "number"),
    [
        ("model.keras", "export: start TensorFlow", 0.3, INT),
        ("model.keras", "export: start TensorFlow", 0.6, KILL),
        ("torchvision:resnet18", "export: export: torch", 0.6, TERM),
    ],
)
def test_a_framework_at_work_is_stopped_as_well(
    attacker: Attacker, work: Path, source: str, at: str, delay_seconds: float, number: int
) -> None:
    with zipfile.ZipFile(work / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")
    arguments = (source, "--task", "classify", "--size", "64x64", "--repository", f"stopped_{int(number)}")
    for _ in range(ATTEMPTS):
        done = attacker.build(work, *arguments, at=at, delay_seconds=delay_seconds, number=number)
        _wait_for_nothing(attacker)
        if not done.missed:
            break
        shutil.rmtree(work / f"stopped_{int(number)}", ignore_errors=True)
    assert not done.missed
    if number == KILL:
        return
    assert done.status == 128 + number, done.output
    assert "nothing was published" in done.error
    assert not (work / f"stopped_{int(number)}").exists()


def test_the_next_build_works_and_sweeps_what_killed_ones_left(attacker: Attacker, work: Path) -> None:
    for _ in range(ATTEMPTS):
        done = attacker.build(work, *PROVEN, at="prove: pictures", number=KILL)
        if not done.missed:
            break
    assert not done.missed
    assert list(work.glob(".sightline-build-*"))
    done_after = attacker.build(work, *PROVEN)
    assert done_after.status == 0, done_after.output
    assert list(work.glob(".sightline-build-*")) == []
    assert list(attacker.runtime.iterdir()) == []
    _wait_for_nothing(attacker)
    assert regions(done.pid) == regions(done_after.pid) == []
    numbers = [version.number for version in versions(work / "repository", "toy")]
    stages = {path.name.split("_")[1] for path in (work / "repository").glob("toy_v*")}
    assert stages == {f"v{number}" for number in numbers}  # half a version is swept as well
    assert not list((work / "repository").rglob("__pycache__"))


# ---------------------------------------------------------------- no room


@pytest.mark.parametrize("step", ["engine", "write", "prove: start", "prove: pictures 8", "publish"])
def test_a_full_disk_at_any_step_names_the_place(attacker: Attacker, work: Path, step: str) -> None:
    """A limit on the size of a file fails writes in the kernel as a full disk does, in other libraries' code as well."""
    repository = work / "repository"
    before, known = snapshot(repository), versions(repository, "toy")
    done = attacker.build(work, *(UNPROVEN if step == "publish" else PROVEN), full_at=step)
    assert done.status == 1, done.output
    assert "File too large" in done.error
    place = "tritonserver cannot be started" if step == "prove: start" else "repository"
    assert place in done.error or str(work) in done.error
    if step == "publish":  # the version is whole; the one before stays public
        now = versions(repository, "toy")
        assert len(now) == len(known) + 1
        assert [v.number for v in now if v.public] == [v.number for v in known if v.public]
    else:
        assert snapshot(repository) == before
    _wait_for_nothing(attacker)
    assert _stale(work) == []


def test_a_full_disk_when_the_first_version_becomes_public(attacker: Attacker, work: Path) -> None:
    """Nothing half written for Triton to look at; the version is whole, and the next build is public."""
    arguments = ("toy.onnx", "--repository", "first", "--no-proof")
    done = attacker.build(work, *arguments, full_at="publish")
    assert done.status == 1, done.output
    assert "cannot be made public in first: " in done.error
    assert "File too large" in done.error
    assert "no version is public" in done.error
    assert all(path.name.startswith("toy_v1_") for path in (work / "first").iterdir() if path.is_dir())
    assert attacker.build(work, *arguments).status == 0
    assert [(v.number, v.public) for v in versions(work / "first", "toy")] == [(1, False), (2, True)]


# ---------------------------------------------------------------- two at once


_BESIDE = ("toy.onnx", "--name", "beside", "--repository", "shared", "--no-proof")


def test_two_builds_at_once(attacker: Attacker, work: Path) -> None:
    """Of one model the second is refused at once; of two models both succeed."""
    others: list[Done] = []

    class Busy(Progress):
        def step(self, name: Any) -> None:
            if name == "engine":
                others.append(attacker.build(work, "toy.onnx", "--repository", "shared", "--no-proof"))
                others.append(attacker.build(work, *_BESIDE))

    repository_from_card(card_from_onnx(work / "toy.onnx"), work / "shared", progress=Busy())
    refused, beside = others
    assert refused.status == 1
    assert "another build of 'toy' into shared is under way" in refused.error
    assert beside.status == 0, beside.output
    for name in ("toy", "beside"):
        assert [(version.number, version.public) for version in versions(work / "shared", name)] == [
            (1, True)
        ]


# ---------------------------------------------------------------- labels, and a server that serves meanwhile

ODD_LABELS = (
    '"quoted" \'twice\' \\n \\" {0} %s $HOME `id`',
    '<script>alert("x")</script>&amp;<img src=x onerror=alert(1)>',
    "[bold red]Straße 🚦 žluťoučký 車[/bold red] " + "x" * 157,
)


def test_odd_labels_survive_and_no_request_fails_while_a_new_version_comes(
    attacker: Attacker, work: Path
) -> None:
    (work / "odd.txt").write_text("\n".join(ODD_LABELS), encoding="utf-8")
    build = ("toy.onnx", "--name", "odd", "--repository", "odd", "--labels", "odd.txt", "--images", "few")
    first = attacker.build(work, *build)
    assert first.status == 0, first.output
    assert "Straße" in first.output
    repository = work / "odd"
    config = text_format.Parse(
        (repository / "odd" / "config.pbtxt").read_text(encoding="utf-8"), model_config_pb2.ModelConfig()
    )
    assert json.loads(config.parameters["sightline"].string_value)["labels"] == list(ODD_LABELS)
    text = (repository / "odd" / "labels_v1.txt").read_text(encoding="utf-8")
    assert tuple(text.splitlines()) == ODD_LABELS
    page = (repository / "odd_v1_network" / "proof" / "proof.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    with pytest.MonkeyPatch.context() as patch:  # the build must find the server
        patch.setenv("SIGHTLINE_RUNTIME_DIR", str(attacker.runtime))
        patient = RestartPolicy(canary_failures=100)  # one that is late on a busy machine is well
        with (
            LocalServer(repository, restart_policy=patient) as server,
            Client(server.grpc_address, timeout_seconds=60) as client,
        ):
            found = client.detect("odd", bright_rectangle(384, 224, BOX))
            assert found.labels == ODD_LABELS
            np.testing.assert_allclose(found.boxes[0], BOX, atol=1)
            _ask_through_a_build(attacker, work, server, build)
            with Client(server.grpc_address, timeout_seconds=60) as later:
                assert later.detect("odd", bright_rectangle(384, 224, BOX)).labels == ODD_LABELS[::-1]


def _ask_through_a_build(attacker: Attacker, work: Path, server: LocalServer, build: tuple[str, ...]) -> None:
    stop, answers = threading.Event(), list[tuple[str, ...]]()
    failures: list[BaseException] = []

    def ask() -> None:
        with Client(server.grpc_address, timeout_seconds=60) as client:
            while not stop.is_set():
                try:
                    answers.append(client.detect("odd", bright_rectangle(384, 224, BOX)).labels)
                except BaseException as error:
                    failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    (work / "odd.txt").write_text("\n".join(ODD_LABELS[::-1]), encoding="utf-8")
    done = attacker.build(work, *build, "--no-proof")
    end = time.monotonic() + _ENDED_SECONDS
    while len(answers) <= 10 and time.monotonic() < end:
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert done.status == 0, done.output
    assert failures == []
    assert set(answers) <= {ODD_LABELS, ODD_LABELS[::-1]}
    assert len(answers) > 10


# ---------------------------------------------------------------- garbage


class _Code:
    """A pickle that runs a command where it is opened."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch PWNED",)


@pytest.fixture(scope="module")
def garbage(work: Path) -> Path:
    """A folder of everything that is no model."""
    folder = work / "garbage"
    folder.mkdir()
    planted(folder / "ok.onnx", classes=3, class_id=1)
    Image.new("RGB", (64, 64)).save(folder / "photo.jpg")
    os.mkfifo(folder / "pipe.onnx")
    os.mkfifo(folder / "pipe.yaml")
    (folder / "loop.onnx").symlink_to("loop.onnx")
    (folder / "empty.onnx").touch()
    for name, size in (("huge.onnx", 1 << 42), ("huge.yaml", 1 << 40), ("huge.txt", 1 << 40)):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
    )
    (folder / "bomb.yaml").write_text(bomb)
    (folder / "code.yaml").write_text('!!python/object/apply:os.system ["touch PWNED"]\n')
    (folder / "code.pt").write_bytes(pickle.dumps(_Code()))
    with zipfile.ZipFile(folder / "archive.pt", "w") as archive:
        archive.writestr("archive/version", "3")
    card = "name: toy\nsource: ok.onnx\ninput: {size: [384, 224]}\n"
    for name, more in (
        ("unknown", "colour: red\n"), ("contradiction", "task: classify\nhead: yolov8\n"),
        ("weights", "weights: ok.onnx\n"), ("arguments", "source_args: {a: 1}\n"), ("engine", "engine: {kind: tensorrt}\n"),
        ("labels", "labels: [a, b]\n"), ("precision", "engine: {kind: onnxruntime, precision: bf16}\n"),
    ):  # fmt: skip
        (folder / f"{name}.yaml").write_text(card + more)
    (folder / "scheme.yaml").write_text("name: toy\nsource: 's3://bucket/x.onnx'\n")
    (folder / "missing.yaml").write_text("name: toy\nsource: none.onnx\n")
    (folder / "two.txt").write_text("a\nb\n")
    (folder / "binary.txt").write_bytes(bytes(range(256)))
    (folder / "bad").mkdir()
    (folder / "bad" / "a.jpg").write_bytes(os.urandom(3000))
    os.mkfifo(folder / "bad" / "b.jpg")
    (folder / "nothing").mkdir()
    return folder


_REFUSED = [
    ("photo.jpg", "JPEG picture"), ("nothing", "saved_model.pb"), ("pipe.onnx", "pipe, device or socket"),
    ("pipe.yaml", "pipe, device or socket"), ("/dev/zero", "pipe, device or socket"), ("loop.onnx", "symbolic links"),
    ("empty.onnx", "no graph"), ("huge.onnx", "larger than"), ("huge.yaml", "short text"), ("bomb.yaml", "aliases"),
    ("code.yaml", "plain YAML"), ("code.pt", "no architecture"), ("archive.pt", "archive.pt"),
    ("unknown.yaml", "colour"), ("contradiction.yaml", "head is yolov8"), ("weights.yaml", "weights is given"),
    ("arguments.yaml", "source_args is given"), ("engine.yaml", "engine.kind is tensorrt"),
    ("labels.yaml", "3 classes against 2 labels"), ("precision.yaml", "bf16"), ("scheme.yaml", "scheme 's3'"),
    ("missing.yaml", "none.onnx does not exist"), ("s3://bucket/x.onnx", "scheme 's3'"),
    ("huggingface:none", "nothing is downloaded"), ("keras:pipe.onnx", "pipe, device or socket"),
    ("ok.onnx --size 640", "--size"), ("ok.onnx --size ²x²", "--size"), ("ok.onnx --size 1x99999999999", "--size"),
    ("ok.onnx --size 300x200", "384x224"), ("ok.onnx --arg x", "--arg"), ("ok.onnx --arg a=2001-99-99", "source_args"),
    ("ok.onnx --target moon", "--target"), ("ok.onnx --task dance", "task"), ("ok.onnx --head nope", "head"),
    ("ok.onnx --engine nope", "engine.kind"), ("ok.onnx --precision fp64", "engine.precision"),
    ("ok.onnx --score nan", "limits.score"), ("ok.onnx --batch 99999999999", "engine.batch"),
    ("ok.onnx --name ../x", "name"), ("ok.onnx --branch nope", "branch is given"),
    ("ok.onnx --labels none.txt", "none.txt"), ("ok.onnx --labels pipe.onnx", "--labels"),
    ("ok.onnx --labels /dev/zero", "--labels"), ("ok.onnx --labels huge.txt", "huge.txt"),
    ("ok.onnx --labels two.txt", "2 labels"), ("ok.onnx --labels binary.txt", "binary.txt"),
    ("ok.onnx --images none", "none"),
    ("ok.onnx --precision int8 --calibration none", "none"), ("ok.onnx --precision int8 --calibration bad", "bad"),
    ("ok.onnx --no-proof --write-card /none/x.yaml", "/none/x.yaml"),
]  # fmt: skip


_REFUSED_BY_A_PROCESS = [
    ("/dev/zero", "pipe, device or socket"), ("bomb.yaml", "aliases"), ("code.pt", "no architecture"),
    ("ok.onnx --size 640", "--size"), ("ok.onnx --images bad", "bad"),
]  # fmt: skip


def assert_nothing_was_written(folder: Path, said: str) -> None:
    assert not (folder / "made").exists(), said
    assert not list(folder.glob(".sightline*")), said
    assert not (folder / "PWNED").exists(), said


def test_garbage_is_refused_in_words_and_nothing_is_written(
    garbage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(garbage)
    for arguments, words in _REFUSED:
        done = CliRunner().invoke(app, ["build", *arguments.split(), "--repository", "made"])
        text = done.output + str(done.exception)
        said = f"sightline build {arguments} ended with {done.exception!r}: {text}"
        assert isinstance(done.exception, SightlineError) or done.exit_code == 2, said
        assert words in text, said
        assert len(text) < 2000, said
        assert_nothing_was_written(garbage, said)


def test_a_process_that_is_given_garbage_ends_in_words(attacker: Attacker, garbage: Path) -> None:
    for arguments, words in _REFUSED_BY_A_PROCESS:
        done = attacker.build(garbage, *arguments.split(), "--repository", "made")
        said = f"sightline build {arguments} ended with {done.status}: {done.output}"
        assert done.status > 0, said
        assert done.status != 70, said
        assert "Traceback" not in done.output, said
        assert words in done.output, said
        assert len(done.output) < 2000, said
        assert_nothing_was_written(garbage, said)


@pytest.mark.parametrize(
    ("missing", "source"),
    [
        ("torch", "torchvision:resnet18"),
        ("transformers", "huggingface:hub"),
        ("tensorflow", "keras:ok.onnx"),
        ("openvino", "ok.onnx"),
    ],
)
def test_a_framework_that_is_missing_is_named_with_its_extra(
    attacker: Attacker, garbage: Path, missing: str, source: str
) -> None:
    if source == "huggingface:hub":
        (garbage / "hub").mkdir(exist_ok=True)
        (garbage / "hub" / "config.json").write_text('{"model_type": "vit"}')
    done = attacker.build(garbage, source, "--repository", "made", missing=[missing])
    assert done.status == 1, done.output
    extras = set(re.findall(r"sightline\[([a-z]+)\]", done.error))
    assert extras
    assert extras <= set(metadata("sightline").get_all("Provides-Extra", []))
    assert not (garbage / "made").exists()


def test_every_extra_that_the_sources_name_is_one() -> None:
    extras = set(metadata("sightline").get_all("Provides-Extra", []))
    for path in Path(sources.__file__).parent.glob("*.py"):
        assert set(re.findall(r"sightline\[([a-z]+)\]", path.read_text(encoding="utf-8"))) <= extras, path
