# SPDX-License-Identifier: Apache-2.0
"""`python -m sightline.perf.streams`: the same as `sightline bench-streams`."""

from __future__ import annotations

import typer

from sightline.perf.streams.command import bench_streams

if __name__ == "__main__":
    typer.run(bench_streams)
