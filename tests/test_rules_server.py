# SPDX-License-Identifier: Apache-2.0
"""What our rules call broken, the real tritonserver refuses for the same reason; and a stage that fails its warm-up."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException

from sightline.builders import repository_from_card
from sightline.builders.rules import check_repository
from sightline.card import card_from_dict
from sightline.deploy import LocalServer
from sightline.deploy.local.supervisor import RestartPolicy
from sightline.errors import ServerStartError
from sightline.runtime import TOKEN_KEY
from tests.onnx_models import planted
from tests.rules_cases import CASES, Broken, prefix_of, world

JUDGED = [case for case in CASES if case.says is not None]
STAGES = ("decode", "letterbox", "network")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built detector, the whole small repository, and every broken one, with names of their own."""
    folder = tmp_path_factory.mktemp("rules")
    source = planted(folder / "toy.onnx", size=(64, 32))
    card = card_from_dict({"name": "toy", "source": source, "input": {"size": (64, 32)}}, folder)
    models = folder / "repository"
    repository_from_card(card, models)
    world("whole_").write(models)
    for case in JUDGED:
        case.world(prefix_of(case)).write(models)
    return models


class Loader:
    """Loads models of a running server through the model-control API."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._client = triton.InferenceServerClient(server.grpc_address)

    def __call__(self, model: str) -> bool:
        """Whether the model is ready after it was loaded. Raises InferenceServerException."""
        headers = {f"triton-grpc-protocol-{TOKEN_KEY}": self._server.token}
        self._client.load_model(model, headers=headers, client_timeout=120)
        return bool(self._client.is_model_ready(model))

    def refusal(self, model: str) -> str:
        """Why the server does not load it: the answer, and for what it refuses while it looks around, its log."""
        with pytest.raises(InferenceServerException) as error:
            self(model)
        assert not self._client.is_model_ready(model)
        answer, said = str(error.value), list[str]()
        deadline = time.monotonic() + 60
        while "failed to poll" in answer and not said and time.monotonic() < deadline:
            log = self._server.log_path.read_text(encoding="utf-8", errors="replace")
            said = [line for line in log.splitlines() if f"'{model}'" in line]
            time.sleep(0.05)
        return "\n".join([answer, *said])

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def load(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    log = tmp_path_factory.mktemp("rules-log")
    policy = RestartPolicy(canary_failures=20)  # a server that is only slow for a while is not brought down
    with LocalServer(repository, models=["toy"], log_dir=log, restart_policy=policy) as server:
        loader, pid = Loader(server), server.pid
        yield loader
        loader.close()
        assert (server.state, server.restarts, server.pid) == ("ready", 0, pid), "no test may bring it down"
        server.kill()  # draining is tested elsewhere


def test_the_whole_one_is_loaded(load: Loader) -> None:
    assert load("whole_pair")
    assert load("whole_single")


@pytest.mark.parametrize("case", JUDGED, ids=lambda case: case.rule)
def test_the_real_server_judges_alike(load: Loader, case: Broken) -> None:
    model = f"{prefix_of(case)}{case.model}"
    if case.says:
        assert case.says in load.refusal(model)
    else:
        assert load(model), "a warning is something that loads"


def copied(repository: Path, stage: str, name: str) -> Path:
    """The stage of the built detector under another name."""
    folder = repository / name
    shutil.copytree(repository / f"toy_v1_{stage}", folder)
    (folder / "sightline_part.json").unlink()
    path = folder / "config.pbtxt"
    config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
    config.name = name
    path.write_text(text_format.MessageToString(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_whose_warm_up_file_is_short_does_not_get_ready(
    repository: Path, load: Loader, stage: str
) -> None:
    assert load(copied(repository, stage, f"whole_{stage}").name)
    folder = copied(repository, stage, f"short_{stage}")
    file = max((folder / "warmup").iterdir(), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1])
    assert re.search(r"warmup setting expects \d+ bytes", load.refusal(folder.name))
    found = check_repository(repository, "local")
    assert {one.rule for one in found if one.model == folder.name} == {"warmup-file"}


def test_a_server_whose_stage_cannot_answer_its_picture_does_not_get_ready(
    repository: Path, tmp_path: Path
) -> None:
    """The file is as long as it must be; what is in it is no picture.

    Triton 2.51 may end over it: it asks for a thread's last instance in the moment in which the list of them is empty.
    """
    broken = tmp_path / "repository"
    for folder in repository.glob("toy*"):
        shutil.copytree(folder, broken / folder.name)
    file = broken / "toy_v1_decode" / "warmup" / "picture.jpg"
    file.write_bytes(b"\xff" * file.stat().st_size)
    server = LocalServer(broken, log_dir=tmp_path / "log", restart=False)
    with pytest.raises(ServerStartError):
        server.start()
    server.stop()
