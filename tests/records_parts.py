# SPDX-License-Identifier: Apache-2.0
"""Repositories with versions that answer differently, threads that ask without pause, and a PostgreSQL server."""

from __future__ import annotations

import io
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from sightline.builders import repository_from_card
from sightline.builders.build import BuildReport, Choices
from sightline.card import ModelCard, card_from_dict
from sightline.clients import Client
from sightline.results import Detections
from tests.onnx_models import bright_rectangle, planted

NAME = "toy"
LABELS = ("left", "right", "other")
PICTURE = bright_rectangle(128, 128, (32, 48, 96, 80))
PATIENCE_SECONDS = 60.0
Answer = tuple[Any, ...]


def toy_card(folder: Path, version: int, **values: Any) -> ModelCard:
    """A detector whose versions differ in every stage: another size, another class, another limit."""
    size = 64 if version % 2 else 96
    folder.mkdir(parents=True, exist_ok=True)
    source = planted(folder / f"toy{version}.onnx", classes=3, class_id=version % 3, size=(size, size))
    fields = {
        "name": NAME,
        "source": str(source),
        "input": {"size": [size, size]},
        "labels": list(LABELS),
        "limits": {"score": 0.5 + version / 100},
        **values,
    }
    return card_from_dict(fields, folder)


def build(repository: Path, version: int, *, publish: bool = True, **values: Any) -> BuildReport:
    card = toy_card(repository.parent / "sources", version, **values)
    return repository_from_card(card, repository, Choices(publish=publish))


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def answer_of(result: Detections) -> Answer:
    return (
        tuple(tuple(float(v) for v in row) for row in result.boxes),
        tuple(float(score) for score in result.scores),
        tuple(int(kind) for kind in result.classes),
    )


def encoded_picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "PNG")
    return file.getvalue()


class Asking:
    """Threads that ask for files and for raw frames; counts by answer, and what failed.

    pause_seconds: between two requests of a thread, where the processor is needed for something else.
    """

    def __init__(self, address: str, pause_seconds: float = 0.0) -> None:
        self._address, self._stop, self._pause_seconds = address, threading.Event(), pause_seconds
        self.answers: dict[Answer, int] = {}
        self.errors: list[str] = []
        images = (encoded_picture(), PICTURE)
        self._threads = [threading.Thread(target=self._ask, args=(image,)) for image in images]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def asked(self) -> int:
        """Requests that were answered."""
        return sum(self.answers.values())

    def _ask(self, image: Any) -> None:
        with Client(self._address, timeout_seconds=PATIENCE_SECONDS) as client:
            while not self._stop.is_set():
                try:
                    answer = answer_of(client.detect(NAME, image))
                    self.answers[answer] = self.answers.get(answer, 0) + 1
                except Exception as error:  # every kind of failure counts
                    self.errors.append(f"{type(error).__name__}: {error}")
                if self._pause_seconds:
                    time.sleep(self._pause_seconds)


@contextmanager
def postgres() -> Iterator[tuple[str, str]]:
    """A PostgreSQL server of this test, on a socket in its own folder; (URL with a password, the password).

    It refuses to run as root, so that root starts it as nobody.
    """
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = binaries[-1] if binaries else Path(shutil.which("initdb") or "")
    if not found.is_file():
        import pytest

        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    user: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="sightline-pg-", dir="/tmp"))
    password = secrets.token_urlsafe(12)
    (folder / "password").write_text(password)
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for path in (folder, folder / "password"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    process: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [
                found, "-D", folder / "data", "-U", "sightline", "--auth=scram-sha-256", "--no-sync",
                f"--pwfile={folder / 'password'}",
            ],
            check=True, capture_output=True, timeout=120, cwd=folder, **user,
        )  # fmt: skip
        log = (folder / "log").open("wb")
        process = subprocess.Popen(
            [
                found.with_name("postgres"), "-D", folder / "data", "-k", folder, "-h", "", "-F",
                "-c", "shared_buffers=16MB", "-c", "max_connections=30",
            ],
            stdout=log, stderr=log, cwd=folder, **user,
        )  # fmt: skip
        log.close()
        url = f"postgresql://sightline:{password}@/postgres?host={folder}"
        assert wait_until(lambda: _answers(url)), (folder / "log").read_text()
        yield url, password
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
