# SPDX-License-Identifier: Apache-2.0
"""Versions of a running server change over: no request fails, whatever happens to who changes them."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from sightline.builders.publish import publish_version, switch_version
from sightline.builders.records import open_records
from sightline.builders.records.actions import cut_off, promote, remove, rollback
from sightline.builders.repository import make_public, public_models, public_number
from sightline.cli import app
from sightline.clients import Client
from sightline.deploy import LocalServer
from sightline.deploy.local.reload import held_stages, served_numbers, serving
from sightline.deploy.local.supervisor import RestartPolicy
from sightline.errors import BuildError
from sightline.naming import STAGE_NAME
from tests.records_parts import NAME, PICTURE, Answer, Asking, answer_of, build, encoded_picture, wait_until

SWITCHES = 4
KILLS = 4
MOST_TRIES = 40
PAUSE_SECONDS = 0.01
BROKEN = 3
GOES_ON = r"version 3 of toy does not load; version 1 is public and goes on: .*toy_v3_network"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 (public) and 2 of a detector, and 3, whose network's file is damaged."""
    folder = tmp_path_factory.mktemp("live") / "repository"
    build(folder, 1)
    build(folder, 2, publish=False)
    build(folder, BROKEN, publish=False)
    network = folder / f"{NAME}_v{BROKEN}_network" / "1" / "model.xml"
    network.write_bytes(network.read_bytes()[: network.stat().st_size // 2])
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    policy = RestartPolicy(canary_failures=20)  # a server that is only slow for a while is not restarted
    log = tmp_path_factory.mktemp("log")
    with LocalServer(repository, log_dir=log, restart_policy=policy) as running:
        yield running
        running.kill()  # draining is tested elsewhere


@pytest.fixture(scope="module")
def answers(repository: Path, server: LocalServer) -> dict[int, Answer]:
    """What each version answers, the same for files and frames; no answer is given by both."""
    found: dict[int, Answer] = {}
    with Client(server.grpc_address) as client:
        for number in (2, 1):
            switch_version(repository, NAME, number)
            pair = {answer_of(client.detect(NAME, image)) for image in (encoded_picture(), PICTURE)}
            assert len(pair) == 1
            found[number] = pair.pop()
    assert found[1] != found[2]
    assert all(len(answer[0]) == 1 for answer in found.values())
    return found


@pytest.fixture(autouse=True)
def _same_server(server: LocalServer) -> Iterator[None]:
    """No test of this file may cost a restart."""
    before = server.pid
    yield
    assert (server.restarts, server.pid, server.state) == (0, before, "ready")


def stages_held(repository: Path) -> set[int]:
    """Versions of which the server holds a stage."""
    state = serving(repository)
    assert state is not None
    found = [STAGE_NAME.fullmatch(name) for name in held_stages(state)]
    return {int(match["number"]) for match in found if match and match["name"] == NAME}


def test_promotes_and_rollbacks_fail_no_request(
    repository: Path, server: LocalServer, answers: dict[int, Answer]
) -> None:
    with open_records(repository) as records, Asking(server.grpc_address, PAUSE_SECONDS) as asking:
        for turn in range(SWITCHES):
            asked = asking.asked
            if turn % 2 == 0:
                switched = promote(records, NAME, 2)
                assert (switched.before, switched.served) == (1, True)
            else:
                number, switched = rollback(records, NAME)
                assert (number, switched.before, switched.served) == (1, 2, True)
            public = 2 if turn % 2 == 0 else 1
            assert stages_held(repository) == {public}
            assert wait_until(lambda asked=asked: asking.asked > asked + 1)  # type: ignore[misc]
            assert records.get(NAME, public).status == "public"
    assert asking.errors == []
    assert set(asking.answers) == set(answers.values())
    events = [event.what for event in records.events(NAME) if event.what in ("promoted", "rolled back")]
    assert events[-SWITCHES:] == ["promoted", "rolled back"] * (SWITCHES // 2)


def _switch_unchecked(repository: Path, way: str) -> None:
    if way == "by a build":  # which has made its version public by then
        assert make_public(repository, NAME, BROKEN) == 1
        publish_version(repository, NAME, BROKEN, 1)
    else:
        switch_version(repository, NAME, BROKEN)


@pytest.mark.parametrize("way", ["files checked", "files not checked", "by a build"])
def test_a_broken_version_leaves_the_old_one_going(
    repository: Path, server: LocalServer, answers: dict[int, Answer], way: str
) -> None:
    switch_version(repository, NAME, 1)
    with open_records(repository) as records, Asking(server.grpc_address, PAUSE_SECONDS) as asking:
        assert wait_until(lambda: asking.asked > 2)
        if way == "files checked":
            with pytest.raises(BuildError, match=r"version 3 .* is damaged: toy_v3_network/1/model.xml"):
                promote(records, NAME, BROKEN)
        else:
            with pytest.raises(BuildError, match=GOES_ON):
                _switch_unchecked(repository, way)
        asked = asking.asked
        assert wait_until(lambda: asking.asked > asked + 2)
        assert records.get(NAME, BROKEN).status == "built"
    assert asking.errors == []
    assert set(asking.answers) == {answers[1]}
    assert public_number(repository, NAME) == 1
    assert stages_held(repository) == {1}


def test_what_the_server_answers_with_is_not_removed(repository: Path, server: LocalServer) -> None:
    switch_version(repository, NAME, 1)
    with open_records(repository) as records:
        with pytest.raises(BuildError, match="version 1 of toy; promote another one first"):
            remove(records, NAME, 1)
        assert records.get(NAME, 1).status == "public"


_PROMOTER = """
import os, sys, time
from pathlib import Path
import tritonclient.grpc
from sightline.builders.records import open_records
from sightline.builders.records.actions import promote
from sightline.deploy.local import reload
from google.protobuf import text_format
repository = Path(sys.argv[1])
for line in sys.stdin:
    number, kill_after_seconds = line.split()
    pid = os.fork()
    if pid == 0:
        with open_records(repository) as records:
            promote(records, "toy", int(number))
        os._exit(0)
    if kill_after_seconds != "never":
        time.sleep(float(kill_after_seconds))
        os.kill(pid, 9)  # whose number nobody else can have before it is waited for
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Promoter:
    """A process for each promotion, fast, for it has imported everything before."""

    def __init__(self, repository: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROMOTER, str(repository)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def promote(self, number: int, *, kill_after_seconds: float | None = None) -> int:
        """Exit status of a process that promotes this version: -9 where it was killed before its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        when = "never" if kill_after_seconds is None else kill_after_seconds
        self._process.stdin.write(f"{number} {when}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=120)


@pytest.fixture
def promoter(repository: Path) -> Iterator[Promoter]:
    opened = Promoter(repository)
    yield opened
    opened.close()


def listed(repository: Path) -> dict[int, Any]:
    done = CliRunner().invoke(app, ["models", "list", NAME, "--json", "--repository", str(repository)])
    assert done.exit_code == 0, done.output
    return {one["number"]: one for one in json.loads(done.stdout)}


def check_consistent(repository: Path) -> None:
    """Each public ensemble can be read and names stages that are there, with its labels and its manifest."""
    for model in public_models(NAME):
        folder = repository / model
        text = (folder / "config.pbtxt").read_text(encoding="utf-8")
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        (number,) = config.version_policy.specific.versions
        assert (folder / str(number)).is_dir()
        steps = [step.model_name for step in config.ensemble_scheduling.step]
        assert {step.split("_v")[1].split("_")[0] for step in steps} == {str(number)}
        assert all((repository / step / "config.pbtxt").is_file() for step in steps)
        files = {output.label_filename for output in config.output if output.label_filename}
        assert all((folder / file).is_file() for file in files)


def tells_the_truth(repository: Path, client: Client, answers: dict[int, Answer]) -> bool:
    """Whether the list says what the repository holds and what the server answers at this moment."""
    before = answer_of(client.detect(NAME, encoded_picture()))
    found = listed(repository)
    after = answer_of(client.detect(NAME, encoded_picture()))
    public = [number for number, one in found.items() if one["status"] == "public"]
    served = [number for number, one in found.items() if one["served"]]
    assert public == [public_number(repository, NAME)]
    return before == after and [answers[number] for number in served] == [after]


def test_killed_promotions_leave_a_repository_that_tells_the_truth(
    repository: Path, server: LocalServer, answers: dict[int, Answer], promoter: Promoter
) -> None:
    chance = random.Random(4)
    switch_version(repository, NAME, 1)
    with Asking(server.grpc_address, PAUSE_SECONDS) as asking, Client(server.grpc_address) as client:
        began = time.monotonic()
        assert promoter.promote(2) == 0
        span = time.monotonic() - began
        killed = tries = 0
        while killed < KILLS:
            tries += 1
            assert tries <= MOST_TRIES
            other = 2 if public_number(repository, NAME) == 1 else 1
            if promoter.promote(other, kill_after_seconds=chance.uniform(0, span)) == -9:
                killed += 1
            else:  # too late: the first one may have taken long
                span *= 0.8
            check_consistent(repository)
            assert wait_until(lambda: tells_the_truth(repository, client, answers))
        with open_records(repository) as records:
            promote(records, NAME, 2)
            assert records.get(NAME, 2).status == "public"
    assert asking.errors == []
    assert set(asking.answers) == set(answers.values())
    assert cut_off(repository, NAME) is None
    assert stages_held(repository) == {2}
    state = serving(repository)
    assert state is not None
    assert set(served_numbers(state, public_models(NAME)).values()) == {2}
    for model in public_models(NAME):
        assert sorted(path.name for path in (repository / model).iterdir() if path.name[0] != "s") == [
            "2", "config.pbtxt", "labels_v2.txt",
        ]  # fmt: skip


def test_a_switch_that_was_cut_off_is_told_and_completed(repository: Path, server: LocalServer) -> None:
    switch_version(repository, NAME, 1)
    frames = public_models(NAME)[0]
    whole = repository / f"{NAME}_v2_network" / "public" / frames
    for path in ("config.pbtxt", "labels_v2.txt"):
        shutil.copy(whole / path, repository / frames / path)
    (repository / frames / "2").mkdir()
    (repository / frames / ".config.pbtxt.999999999").write_text("half")
    done = CliRunner().invoke(app, ["models", "list", "--repository", str(repository)])
    assert "a switch of toy was cut off" in done.stderr
    assert "sightline models promote toy:2" in done.stderr
    done = CliRunner().invoke(app, ["models", "promote", "toy:1", "--repository", str(repository)])
    assert done.exit_code == 0
    assert cut_off(repository, NAME) is None
    assert not (repository / frames / ".config.pbtxt.999999999").exists()
    check_consistent(repository)
