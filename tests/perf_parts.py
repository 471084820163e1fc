# SPDX-License-Identifier: Apache-2.0
"""What the tests that run perf_analyzer share."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_perf_analyzer() -> Iterator[None]:
    """No other process of these tests runs perf_analyzer meanwhile: the names of its regions are the machine's.

    The product's own lock lies in the runtime folder, of which each test process has one.
    """
    with (Path(tempfile.gettempdir()) / f"sightline-tests-perf-{os.getuid()}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
