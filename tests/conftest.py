# SPDX-License-Identifier: Apache-2.0
"""The real parts, started once a session on free ports of 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import lasting_port

_SHOWN_CHARACTERS = 3000
LONG_FILES = (
    "test_families", "test_build_attacks", "test_sources_torch", "test_cameras", "test_native", "test_watch", "test_client",
    "test_sources_keras", "test_engine_life", "test_faults_outputs", "test_fuzz", "test_readme", "test_demo", "test_page_wall",
    "test_perf", "test_transport_inprocess", "test_package", "test_train_tasks", "test_deploy", "test_faults_cameras",
    "test_train", "test_proof", "test_pipe_bulk", "test_tensorrt_first_start", "test_deepstream", "test_dali_graphs",
    "test_train_shipped", "test_dali_server",
)  # fmt: skip
"""Begun first, the longest before the others, so that at the end no worker is left alone with one of them."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """With SIGHTLINE_REQUIRE_ALL=1 a test that is skipped for want of a part fails; only training may be left out."""
    report = yield
    if report.skipped and os.environ.get("SIGHTLINE_REQUIRE_ALL") == "1" and "train" not in item.keywords:
        report.outcome = "failed"
        report.longrepr = f"skipped, but SIGHTLINE_REQUIRE_ALL=1: {report.longrepr}"
    return report


class _FailuresAtOnce:
    """Tells a failure when it happens: a run that is cut off never comes to its summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write_line(f"\n{report.nodeid} failed in {report.when} after {report.duration:.0f} s")
            terminal.write_line(report.longreprtext[-_SHOWN_CHARACTERS:])


def pytest_configure(config: pytest.Config) -> None:
    """The process that shows the results, not a worker."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_FailuresAtOnce(config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In each process the same order; --no-loadscope-reorder keeps it."""
    rank = {name: position for position, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def _own_runtime_folder() -> Iterator[None]:
    """Tests neither see nor disturb servers that the user runs."""
    folder = tempfile.mkdtemp(prefix="sightline-tests-")
    os.environ["SIGHTLINE_RUNTIME_DIR"] = folder
    os.environ.pop("SIGHTLINE_RECORDS", None)
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    return lasting_port()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped detector, built from its card."""
    from sightline.builders import repository_from_card
    from sightline.card import load_card
    from sightline.model_repository import shipped_card

    folder = tmp_path_factory.mktemp("repository")
    repository_from_card(load_card(shipped_card("street_detect")), folder)
    return folder


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A real tritonserver with the shipped detector, ready."""
    from sightline.deploy import LocalServer

    with LocalServer(repository, log_dir=tmp_path_factory.mktemp("server-log")) as running:
        yield running
        running.kill()  # what a clean end is, tests/test_deploy.py says; it takes Triton seconds


@pytest.fixture(scope="session")
def cameras() -> Iterator[object]:
    """A real RTSP server with two drawn 720p streams."""
    from sightline.perf.cameras import CameraServer

    with CameraServer(scenes=2, seconds=3.0) as running:
        yield running
