# SPDX-License-Identifier: Apache-2.0
"""Runs the checks side by side; none can hold up the report."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from sightline.deploy.doctor.check import Check, Found, Result, Status
from sightline.redact import redact

CHECK_SECONDS = 90.0
_AT_ONCE = 4


def run_checks(checks: Sequence[Check], *, timeout_seconds: float = CHECK_SECONDS) -> list[Result]:
    """Results in the order of the checks. A check that fails or hangs is reported as not there."""
    found: dict[int, Found] = {}
    turns = threading.BoundedSemaphore(_AT_ONCE)

    def look(index: int, check: Check) -> None:
        with turns:
            try:
                found[index] = check.look()
            except Exception as error:  # a check's own fault is a finding, not the end of the report
                found[index] = Found(False, f"the check failed: {type(error).__name__}: {error}")

    threads = [
        threading.Thread(target=look, args=(index, check), daemon=True) for index, check in enumerate(checks)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout_seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = Found(False, f"no answer in {timeout_seconds:g} s")
    return [_result(check, found.get(index, late)) for index, check in enumerate(checks)]


def is_main_road_open(results: Sequence[Result]) -> bool:
    """True where build, serve and watch are possible."""
    return all(result.status is not Status.MISSING for result in results)


def _result(check: Check, found: Found) -> Result:
    status = Status.OK if found.is_there else Status.MISSING if check.needed else Status.OPTIONAL
    return Result(check.group, check.name, status, redact(found.detail), "" if found.is_there else found.fix)
