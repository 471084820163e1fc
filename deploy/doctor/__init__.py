# SPDX-License-Identifier: Apache-2.0
"""What this machine can do, what is missing, how to get it: a table of small checks."""

from __future__ import annotations

from sightline.deploy.doctor.check import Check, Found, Result, Status
from sightline.deploy.doctor.run import is_main_road_open, run_checks
from sightline.deploy.doctor.table import CHECKS

__all__ = ["CHECKS", "Check", "Found", "Result", "Status", "is_main_road_open", "run_checks"]
