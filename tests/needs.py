# SPDX-License-Identifier: Apache-2.0
"""What a test needs installed. Nothing is imported: a framework takes seconds, and some change other packages."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needs(*packages: str) -> None:
    """Skip the test or, at the top of a file, all of its tests where one is missing."""
    missing = [name for name in packages if not _is_installed(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (make test installs it)", allow_module_level=True)


def needs_gstreamer() -> None:
    """Skip the test where the system's GStreamer cannot serve RTSP."""
    from sightline.perf.cameras import gstreamer_missing

    if missing := gstreamer_missing():
        pytest.skip(f"needs GStreamer's RTSP server: apt install {' '.join(missing)}")


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a package around it
        return False
