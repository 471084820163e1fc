# SPDX-License-Identifier: Apache-2.0
"""The public faces hold what they promise."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["sightline", "sightline.clients", "sightline.deploy"])
def test_all_names_import(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    for item in module.__all__:
        assert getattr(module, item) is not None


def test_clients_face() -> None:
    import sightline.clients

    assert sorted(sightline.clients.__all__) == [
        "AsyncClient",
        "Client",
        "PendingDetection",
        "PendingResult",
        "class_colour",
        "draw_class_map",
        "draw_classification",
        "draw_detections",
        "draw_result",
    ]
    assert sightline.clients.Client is importlib.import_module("sightline").Client


@pytest.mark.parametrize("name", ["sightline", "sightline.clients"])
def test_unknown_names_are_attribute_errors(name: str) -> None:
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        importlib.import_module(name).absent  # noqa: B018


def test_import_stays_light() -> None:
    """Neither the package nor the command's help loads gRPC, video or the network."""
    heavy = ("tritonclient", "grpc", "aiohttp", "av", "openvino", "numpy", "PIL")
    script = (
        "import sys, sightline, sightline.clients, sightline.cli;"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_long_test_files_exist() -> None:
    """What stands first in the order of the tests is not a name of yesterday."""
    from tests.conftest import LONG_FILES

    assert {name for name in LONG_FILES if not Path(__file__).with_name(f"{name}.py").exists()} == set()
