# SPDX-License-Identifier: Apache-2.0
"""The life of a real tritonserver: start, secrets, addresses, deaths, stop. Only the models are tiny."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from sightline import runtime
from sightline.deploy import LocalServer
from sightline.deploy.local.ports import free_ports, listening_sockets
from sightline.deploy.local.process import subreaper
from sightline.deploy.local.stubs import find_stubs
from sightline.deploy.local.supervisor import Health, RestartPolicy, Step, Supervisor
from sightline.errors import AlreadyServedError, PortInUseError, ServerError, ServerStartError
from tests.triton_models import MODEL_THAT_ANSWERS_NONSENSE, MODEL_THAT_DOES_NOT_LOAD, write_repository

PATIENCE_SECONDS = 120.0  # against a hang only


@pytest.fixture(scope="module")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("tiny"), instances=2)


@pytest.fixture(scope="module")
def tiny(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    policy = RestartPolicy(
        base_delay_seconds=0.01, jitter=0.0, crash_limit=100, crash_window_seconds=3600, stable_seconds=3600
    )
    log = tmp_path_factory.mktemp("log")
    with LocalServer(tiny_repository, log_dir=log, restart_policy=policy) as server:
        yield server
        server.kill()  # draining is tested elsewhere


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def processes_of(session: int) -> list[int]:
    """PIDs of the session, zombies too."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if entry.name.isdigit() and int(fields[3]) == session:
            found.append(int(entry.name))
    return found


def living(session: int) -> list[int]:
    """PIDs of the session, after reaping what we have adopted."""
    for pid in processes_of(session):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return processes_of(session)


@pytest.fixture
def adopter() -> Iterator[None]:
    """This process adopts and reaps orphans, so that the first process of a container need not."""
    subreaper.acquire()
    yield
    subreaper.release()


def regions(server: LocalServer | None = None) -> set[str]:
    """Regions of one server of this process, or of all."""
    serial = server_serial(server) if server else r"\d+"
    pattern = re.compile(rf"sightline_server_{_namespace()}_{os.getpid()}_\d+_{serial}_")
    return {name for name in os.listdir("/dev/shm") if pattern.match(name)}


def temporary_folders(server: LocalServer) -> set[str]:
    """What a live server of this process has made in /tmp."""
    own = f"run-{_namespace()}_{os.getpid()}_*_{server_serial(server)}"
    lists = runtime.runtime_folder().glob(f"{own}/temporary-folders")
    return {line for path in lists for line in path.read_text().splitlines() if Path(line).is_dir()}


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def infer(server: LocalServer, data: bytes = b"picture", *, timeout: float = PATIENCE_SECONDS) -> int:
    client = triton.InferenceServerClient(server.grpc_address)
    try:
        image = triton.InferInput("IMAGE", [1, len(data)], "UINT8")
        image.set_data_from_numpy(np.frombuffer(data, np.uint8)[None])
        return int(client.infer("tiny", [image], client_timeout=timeout).as_numpy("COUNT")[0, 0])
    finally:
        client.close()


def post(server: LocalServer, path: str, token: str | None) -> int:
    request = urllib.request.Request(f"http://{server.http_address}/{path}", data=b"", method="POST")
    if token:
        request.add_header(runtime.TOKEN_KEY, token)
    return status_of(request)


def status_of(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_ready_means_that_every_canary_passed(tiny: LocalServer) -> None:
    assert tiny.state == "ready"
    assert tiny.models == ("tiny", "tiny_frames")
    assert infer(tiny) == 1


def test_state_file_lets_clients_find_the_token(tiny: LocalServer) -> None:
    for address in (tiny.grpc_address, tiny.http_address):
        state = runtime.read_state(int(address.rpartition(":")[2]))
        assert state is not None
        assert (state.state, state.supervisor_pid, state.token) == ("ready", os.getpid(), tiny.token)
    assert runtime.state_file(state.grpc_port).stat().st_mode & 0o777 == 0o600


def test_listens_on_loopback_only(tiny: LocalServer) -> None:
    own = set()
    for entry in os.scandir(f"/proc/{tiny.pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            own.add(os.readlink(entry.path))
    listening = {
        (port, address) for port, address, inode in listening_sockets() if f"socket:[{inode}]" in own
    }
    wanted = {int(a.rpartition(":")[2]) for a in (tiny.grpc_address, tiny.http_address, tiny.metrics_address)}
    assert {port for port, _ in listening} == wanted
    mapped = "0000000000000000FFFF00000100007F"  # ::ffff:127.0.0.1, as gRPC's dual-stack socket writes it
    assert {address for _, address in listening} <= {"0100007F", mapped}


def test_token_is_nowhere_to_be_read(tiny: LocalServer) -> None:
    assert tiny.pid is not None
    token = tiny.token.encode()
    assert len(token) >= 32
    pids = processes_of(tiny.pid)
    assert len(pids) >= 5, "the server and two instances of each of two models"
    for pid in pids:
        for name in ("cmdline", "environ"):
            assert token not in Path(f"/proc/{pid}/{name}").read_bytes()
    infer(tiny)
    post(tiny, "v2/repository/index", tiny.token)
    for log in tiny.log_path.parent.iterdir():
        assert token not in log.read_bytes()
    assert tiny.log_path.stat().st_mode & 0o077 == 0


def test_children_do_not_inherit_the_preloaded_library(tiny: LocalServer) -> None:
    assert tiny.pid is not None
    for stub in find_stubs(tiny.pid):
        environment = Path(f"/proc/{stub.pid}/environ").read_bytes()
        assert b"LD_PRELOAD" not in environment
        assert b"SIGHTLINE_PARENT_PID" not in environment
        assert "libsightline_argfile" not in Path(f"/proc/{stub.pid}/maps").read_text()


@pytest.mark.parametrize("token", ["", "wrong", "right"])
def test_restricted_calls_need_the_token(tiny: LocalServer, token: str) -> None:
    key = tiny.token if token == "right" else token
    for path in (
        "v2/repository/index",
        "v2/repository/models/tiny/unload",
        "v2/systemsharedmemory/unregister",
    ):
        if token == "right" and path.endswith("unload"):
            continue
        assert (post(tiny, path, key) == 200) is (token == "right"), path
    headers = {f"triton-grpc-protocol-{runtime.TOKEN_KEY}": key} if key else None
    client = triton.InferenceServerClient(tiny.grpc_address)
    calls: list[Callable[..., Any]] = [
        client.get_model_repository_index,
        client.get_system_shared_memory_status,
        client.get_trace_settings,
        client.get_log_settings,
    ]
    for call in calls:
        if token == "right":
            call(headers=headers)
        else:
            with pytest.raises(triton.InferenceServerException, match="restricted"):
                call(headers=headers)
    assert client.get_model_config("tiny") is not None
    assert client.get_inference_statistics("tiny") is not None
    client.close()


def test_regions_are_private(tiny: LocalServer) -> None:
    assert regions()
    for name in regions():
        assert os.stat(f"/dev/shm/{name}").st_mode & 0o077 == 0


def test_second_server_of_a_repository_names_the_first(tiny: LocalServer, tiny_repository: Path) -> None:
    with pytest.raises(AlreadyServedError) as error:
        LocalServer(tiny_repository).start()
    assert f"process {os.getpid()}" in str(error.value)
    assert tiny.grpc_address.rpartition(":")[2] in str(error.value)


def test_port_clash_names_the_program_and_the_way_out(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(PortInUseError) as error:
            LocalServer(repository, grpc_port=holder.getsockname()[1]).start()
    assert f"PID {os.getpid()}" in str(error.value)
    assert "--grpc-port" in str(error.value)
    assert not list(repository.glob(".sightline*"))


def test_overload_is_no_illness(tiny: LocalServer) -> None:
    restarts, answers = tiny.restarts, []

    def flood() -> None:
        for _ in range(2):
            try:
                answers.append(infer(tiny, bytes([15])))
            except triton.InferenceServerException as error:
                answers.append("Exceeds maximum queue size" in str(error))

    threads = [threading.Thread(target=flood) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert False not in answers
    assert True in answers, "the flood must have filled the queue"
    assert (tiny.state, tiny.restarts) == ("ready", restarts)


def test_killed_server_is_ready_again_and_leaves_no_orphan(tiny: LocalServer) -> None:
    first, restarts = tiny.pid, tiny.restarts
    assert first is not None
    old_regions, old_folders = regions(tiny), temporary_folders(tiny)
    assert old_regions
    assert old_folders
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: tiny.restarts == restarts + 1 and tiny.state == "ready")
    assert processes_of(first) == []
    assert not old_regions & regions(tiny)
    assert not old_folders & temporary_folders(tiny)
    assert len(temporary_folders(tiny)) == len(old_folders)
    assert infer(tiny) == 1


def test_dead_stub_behind_a_green_health_is_found(tiny: LocalServer) -> None:
    assert tiny.pid is not None
    restarts = tiny.restarts
    victim = next(stub for stub in find_stubs(tiny.pid) if stub.model == "tiny_network")
    os.kill(victim.pid, signal.SIGKILL)
    assert wait_until(lambda: tiny.restarts == restarts + 1 and tiny.state == "ready")
    assert [infer(tiny) for _ in range(4)] == [1] * 4


def test_restart_policy_can_be_given(tiny: LocalServer) -> None:
    """The second death in a row is followed by the given delay, not by the usual one."""
    while tiny.restarts < 2:  # the deaths above count
        restarts = tiny.restarts
        assert tiny.pid is not None
        os.kill(tiny.pid, signal.SIGKILL)
        assert wait_until(lambda before=restarts: tiny.restarts > before and tiny.state == "ready")  # type: ignore[misc]
    assert "starting it anew in 0.0 s" in tiny.log_path.read_text()


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    """Nor does a folder that is no model do any harm."""
    repository = write_repository(tmp_path / "repository")
    (repository / "source").mkdir()
    (repository / "source" / "card.yaml").write_text("name: source\n", encoding="utf-8")
    (repository / "source" / "model.onnx").write_bytes(b"onnx")
    server = LocalServer(repository, log_dir=tmp_path / "log")
    before = regions()
    server.start()
    assert server.models == ("tiny", "tiny_frames")
    assert infer(server) == 1
    session, port = server.pid, int(server.grpc_address.rpartition(":")[2])
    assert session is not None
    server.stop()
    server.stop()
    assert (server.state, server.pid) == ("stopped", None)
    assert processes_of(session) == []
    assert regions() == before
    assert runtime.read_state(port) is None
    assert not list(
        runtime.runtime_folder().glob(f"run-{_namespace()}_{os.getpid()}_*_{server_serial(server)}")
    )
    assert not list(repository.glob(".sightline*"))


def server_serial(server: LocalServer) -> str:
    """Number of the server among those of this process, as the names of its regions have it."""
    found = re.search(r"sightline_server_\d+_\d+_\d+_(\d+)_", server.log_path.read_text())
    assert found, "the server's log names its region prefix"
    return found.group(1)


def test_model_that_does_not_load_is_quoted(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository", model=MODEL_THAT_DOES_NOT_LOAD)
    server = LocalServer(repository, log_dir=tmp_path / "log")
    started = time.monotonic()
    with pytest.raises(ServerStartError, match="the weights are missing") as error:
        server.start(timeout_seconds=600)
    assert time.monotonic() - started < 300, "it must not wait for the time limit"
    assert "tiny_network" in str(error.value)
    assert str(tmp_path / "log") in str(error.value)
    assert server.state == "failed"
    assert not list(repository.glob(".sightline*"))


def test_green_server_with_a_failing_canary_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit is over as soon as the canary has failed."""
    checked = Supervisor.checked

    def late(supervisor: Supervisor, now: float, health: Health, reason: str = "") -> Step:
        return checked(supervisor, now + (600 if "not finite" in reason else 0), health, reason)

    monkeypatch.setattr(Supervisor, "checked", late)
    repository = write_repository(tmp_path / "repository", model=MODEL_THAT_ANSWERS_NONSENSE)
    server = LocalServer(repository, log_dir=tmp_path / "log")
    with pytest.raises(
        ServerStartError, match=r"not ready after 600 s: canary of tiny: output BOXES .* not finite"
    ):
        server.start(timeout_seconds=600)
    assert server.state in ("failed", "stopped")


def test_interrupt_while_the_thread_starts_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's exception out of Thread.start: only one side cleans up, and nobody goes on in the background."""
    repository = write_repository(tmp_path / "repository")
    server = LocalServer(repository, log_dir=tmp_path / "log", models=["tiny"])
    start = threading.Thread.start
    threads: list[threading.Thread] = []

    def interrupted(thread: threading.Thread) -> None:
        if thread.name != "tritonserver":
            start(thread)
            return
        threads.append(thread)
        if len(threads) == 2:
            start(thread)
            assert wait_until(lambda: server.pid is not None)
        raise KeyboardInterrupt

    for moment in ("before the thread runs", "after"):
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.start()
        monkeypatch.undo()
        assert not threads[-1].is_alive(), moment
        if moment == "before the thread runs":
            start(threads[0])  # the late thread finds that it is not wanted
            threads[0].join(PATIENCE_SECONDS)
        assert (server.state, server.pid) == ("stopped", None), moment
        assert not list(repository.glob(".sightline*")), moment
    with server:  # the lock and the object are free again
        assert server.models == ("tiny", "tiny_frames")
        assert infer(server) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_other_hosts_are_refused_with_the_reason(tmp_path: Path, host: str) -> None:
    with pytest.raises(ServerError, match=r"listens on 127\.0\.0\.1 only.*CVEs"):
        LocalServer(tmp_path, host=host)


def test_empty_repository_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="sightline build"):
        LocalServer(tmp_path).start()
    with pytest.raises(ServerError, match="is no folder"):
        LocalServer(tmp_path / "none").start()


def test_unknown_model_is_named(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository")
    for name in ("other", "../tiny"):
        with pytest.raises(ServerError, match="is not in"):
            LocalServer(repository, models=[name]).start()


class Serve:
    """`sightline serve` as a process."""

    def __init__(self, repository: Path, log: Path) -> None:
        self._repository, self._log = repository, log
        self._start()

    def _start(self) -> None:
        repository, log = self._repository, self._log
        self.http, self.grpc, self.metrics = free_ports(3)
        command = [sys.executable, "-m", "sightline.cli", "serve", "--repository", str(repository)]
        command += [
            "--http-port",
            str(self.http),
            "--grpc-port",
            str(self.grpc),
            "--metrics-port",
            str(self.metrics),
        ]
        self.output = log / "serve.txt"
        with self.output.open("w") as file:
            self.process = subprocess.Popen([*command, "--log-dir", str(log)], stdout=file, stderr=file)

    def is_ready(self) -> bool:
        if self.process.poll() is not None and "is held by" in self.output.read_text():
            self._start()  # another process took one of the ports meanwhile
        assert self.process.poll() is None, self.output.read_text()
        state = runtime.read_state(self.grpc)
        return state is not None and state.state == "ready"

    def server_pid(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return int(next(text for path in children if (text := path.read_text().strip())).split()[0])


@pytest.mark.usefixtures("adopter")
def test_killed_supervisor_takes_its_server_along_and_the_next_serve_sweeps(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository")
    first = Serve(repository, tmp_path)
    assert wait_until(first.is_ready)
    server_pid = first.server_pid()
    prefix = f"sightline_server_{_namespace()}_{first.process.pid}_"
    assert any(name.startswith(prefix) for name in os.listdir("/dev/shm"))
    first.process.kill()
    first.process.wait()
    os.kill(server_pid, signal.SIGSTOP)  # stays although it is told to go: the next serve must end it
    second = Serve(repository, tmp_path)
    assert wait_until(second.is_ready)
    assert wait_until(lambda: not living(server_pid))
    assert not any(name.startswith(prefix) for name in os.listdir("/dev/shm"))
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(timeout=PATIENCE_SECONDS) == 0
    text = second.output.read_text()
    assert f"127.0.0.1:{second.grpc}" in text
    assert "tiny_frames" in text
    assert "stopped" in text


@pytest.mark.usefixtures("adopter")
def test_server_ends_with_its_supervisor(tmp_path: Path) -> None:
    serve = Serve(write_repository(tmp_path / "repository"), tmp_path)
    assert wait_until(serve.is_ready)
    server_pid = serve.server_pid()
    serve.process.kill()
    serve.process.wait()
    assert wait_until(lambda: not living(server_pid))


def test_manifest_of_the_lock_names_pid_and_ports(tiny: LocalServer, tiny_repository: Path) -> None:
    held = json.loads((tiny_repository / ".sightline-serve.lock").read_text())
    assert held["pid"] == os.getpid()
    assert f"127.0.0.1:{held['grpc']}" == tiny.grpc_address
