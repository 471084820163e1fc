# SPDX-License-Identifier: Apache-2.0
"""`python -m sightline.perf.faults [--full] [NAME …]`."""

from __future__ import annotations

import typer

from sightline.perf.faults.command import faults

if __name__ == "__main__":
    typer.run(faults)
